"""The digest of what a server offers: one number for a whole definition, by which a change of it is seen."""

import hashlib
import json
from collections.abc import Mapping


def definition_digest(definition: Mapping[str, object]) -> str:
    """Return the SHA-256 of a definition as canonical JSON (keys sorted, no white space, UTF-8), hexadecimal.

    Args:
        definition: a JSON object as parsed: text, numbers, booleans, null, lists and objects.

    Raises:
        ValueError: it holds a number that is none (NaN, infinity) or text that is no Unicode.
    """
    text = json.dumps(
        definition, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )  # fmt: skip
    return hashlib.sha256(text.encode()).hexdigest()
