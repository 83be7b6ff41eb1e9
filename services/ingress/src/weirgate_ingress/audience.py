"""For which resources a token is, by its audience.

============================================  =====================================================
``aud`` holds                                 the token is for
============================================  =====================================================
the issuer's audience (``A``)                 every resource
``A/<resource>`` one or more times            those resources, also where ``A`` stands there, too
neither                                       another gateway: it is refused
============================================  =====================================================

So an issuer whose audience here is the gateway's own address (``https://gateway.example``) can be asked for a token
for one resource by its address, as RFC 8707 has it, and such a token opens no other.

Source: RFC 8707 section 2; RFC 9068 section 3; Model Context Protocol 2025-11-25, "Authorization: Token handling".
"""

import re
from typing import Final

_RESOURCE: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def bound_resources(claimed: object, audience: str) -> tuple[str, ...] | None:
    """Return the resources a token is for; ``None``: every one.

    Args:
        claimed: the claim ``aud``.
        audience: of the issuer, as configured.

    Raises:
        ValueError: it is for none here.
    """
    entries = claimed if isinstance(claimed, list) else [claimed]
    texts = [entry for entry in entries if isinstance(entry, str)]
    prefix = audience.rstrip("/") + "/"
    bound = [text[len(prefix) :].rstrip("/") for text in texts if text.startswith(prefix) and text != prefix]
    named = tuple(sorted({name for name in bound if _RESOURCE.fullmatch(name)}))
    if bound:
        if not named:
            raise ValueError("its audience names no resource that could be here")
        return named
    if audience in texts or prefix in texts:
        return None
    raise ValueError("it is for another audience")
