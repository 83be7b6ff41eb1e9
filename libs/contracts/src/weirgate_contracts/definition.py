"""The digest of what a server says about one of its tools, so that a change of it is seen. Pure.

A model reads the description of a tool and does as it says. A server that first offers a harmless description
and later another one ("rug pull") changes what agents do without anybody having agreed: so people approve a
definition by its digest.
"""

import json
from collections.abc import Mapping
from hashlib import sha256


def definition_digest(definition: Mapping[str, object]) -> str:
    """Return the SHA-256, hexadecimal, of a whole definition as canonical JSON.

    Canonical is: members sorted by name, no space, text as it is and not escaped, UTF-8. So neither the order of
    members nor the way a character is written counts; everything else does, ``1.0`` for ``1`` too.

    Args:
        definition: As ``tools/list`` gives it: name, description, schemas, annotations, whatever else is there.

    Raises:
        ValueError: it holds what no JSON can (``NaN``, half a surrogate pair), or nests too deeply.
    """
    try:
        text = json.dumps(
            definition, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
    except (RecursionError, TypeError) as error:
        raise ValueError("a definition that is no JSON, or nests too deeply") from error
    return sha256(text.encode()).hexdigest()
