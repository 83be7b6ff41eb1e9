"""Placeholders: keyed tokens that stand for a masked value and can be recognised exactly.

Two forms, both naming the label::

    [pii.email:7f3a9c01d2e4]                     redact: the same for every value of the label
    [pii.email:3f9a0c1d2e4b5a69.7f3a9c01d2e4]    pseudonym: 16 digits of the value's keyed digest, then the
    tag

The last 12 hexadecimal digits are an HMAC over what stands before them, so nobody without the key can make
one, and a token found in a statement is ours for certain: an agent is trying to write a mask back over real
data.
"""

import re

from weirgate_mask.keys import Keyring

_FORM = re.compile(r"\[([a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*):(?:([0-9a-f]{16})\.)?([0-9a-f]{12})\]")


def _tag(label: str, value: str, keys: Keyring) -> str:
    return keys.digest("placeholder", label, value.encode())[:6].hex()


def placeholder(label: str, keys: Keyring) -> str:
    """Return the token that stands for any value of a label: it does not even tell equal from different."""
    return f"[{label}:{_tag(label, '', keys)}]"


def pseudonym(label: str, value: bytes, keys: Keyring) -> str:
    """Return the token that stands for one value of a label: equal in, equal out."""
    digest = keys.digest("pseudonym", label, value)[:8].hex()
    return f"[{label}:{digest}.{_tag(label, digest, keys)}]"


def find_placeholders(text: str, keys: Keyring) -> list[str]:
    """Return every token of ours in a text, in order."""
    found: list[str] = []
    for match in _FORM.finditer(text):
        label, value, tag = match.groups()
        if tag == _tag(label, value or "", keys):
            found.append(match.group())
    return found


def is_placeholder(text: str, keys: Keyring) -> bool:
    """Say whether a text is exactly one token of ours."""
    return find_placeholders(text, keys) == [text]
