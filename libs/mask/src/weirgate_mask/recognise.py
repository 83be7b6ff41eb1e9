"""Exact recognisers, one for each detector label: where in a text does one stand, checksums and all.

Each takes the bytes of one text and yields (start, end). They see a text only after the multi-pattern scan
has hit in it, so they may be slow for what they find, but never worse than linear in the length of the text:
an agent chooses it.
"""

import base64
import binascii
import ipaddress
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from weirgate_mask.checksum import IBAN_LENGTH, card_number, iban, social_security_number

Span = tuple[int, int]

_LOCAL = frozenset(
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.!#$%&'*+/=?^_`{|}~-"
) | frozenset(range(0x80, 0x100))
_LOCAL_LIMIT = 64
"""RFC 5321, 4.5.3.1.1, in octets; a longer run before the at sign is masked from there on."""
_DOMAIN = re.compile(
    rb"(?:[0-9A-Za-z\x80-\xff](?:[0-9A-Za-z\x80-\xff-]{0,61}[0-9A-Za-z\x80-\xff])?\.){1,8}"
    rb"(?:[A-Za-z\x80-\xff]{2,63}|xn--[0-9A-Za-z-]{1,59})"
)


def email(text: bytes) -> Iterator[Span]:
    """Find e-mail addresses."""
    at = text.find(b"@")
    last = 0
    while at >= 0:
        domain = _DOMAIN.match(text, at + 1)
        start = at
        while start > last and at - start < _LOCAL_LIMIT and text[start - 1] in _LOCAL:
            start -= 1
        while start < at and text[start] in b".'`{=/":
            start += 1
        if domain is not None and start < at:
            last = domain.end()
            yield start, last
        at = text.find(b"@", at + 1)


_GROUPED = re.compile(rb"\d+(?:[ -]\d+)*")
_DIGITS = re.compile(rb"\d+")


def card(text: bytes) -> Iterator[Span]:
    """Find payment card numbers: 13 to 19 digits, in groups parted by one space or dash."""
    for run in _GROUPED.finditer(text):
        groups = [(one.start(), one.end()) for one in _DIGITS.finditer(text, run.start(), run.end())]
        first = 0
        while first < len(groups):
            first = yield from _card_at(text, groups, first)


def _card_at(text: bytes, groups: list[Span], first: int) -> Any:
    start = groups[first][0]
    if text[start - 1 : start] == b"." and text[max(start - 2, 0) : start - 1].isdigit():
        return first + 1  # the decimals of a number
    digits = ""
    for last in range(first, len(groups)):
        digits += text[groups[last][0] : groups[last][1]].decode()
        if len(digits) > 19:
            break
        if card_number(digits):
            yield start, groups[last][1]
            return last + 1
    return first + 1


_IBAN_HEAD = re.compile(rb"(?<![0-9A-Za-z])(?:[A-Z]{2}|[a-z]{2})\d{2}(?=[ 0-9A-Za-z])")


def account(text: bytes) -> Iterator[Span]:
    """Find IBANs, in one piece or in groups parted by one space."""
    for head in _IBAN_HEAD.finditer(text):
        length = IBAN_LENGTH.get(head.group()[:2].decode().upper(), 0)
        taken = bytearray()
        at = head.start()
        while len(taken) < length and at < len(text):
            byte = text[at : at + 1]
            if byte.isalnum():
                taken += byte
            elif byte != b" " or text[at - 1 : at] == b" ":
                break
            at += 1
        if length and not text[at : at + 1].isalnum() and iban(taken.decode().upper()):
            yield head.start(), at


_SSN = re.compile(rb"(?<![0-9A-Za-z-])(\d{3})([ -])(\d{2})\2(\d{4})(?![0-9A-Za-z]|-\d)")


def ssn(text: bytes) -> Iterator[Span]:
    """Find US social security numbers, written with dashes or spaces."""
    for match in _SSN.finditer(text):
        area, _, group, serial = match.groups()
        if social_security_number(area.decode(), group.decode(), serial.decode()):
            yield match.span()


_INTERNATIONAL = re.compile(rb"(?<![0-9A-Za-z+])\+[1-9](?:[ .()/-]{0,2}\d){7,14}(?![0-9])")
_NATIONAL = re.compile(
    rb"(?<![0-9A-Za-z.+-])(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[ .-])[2-9]\d{2}[ .-]\d{4}"
    rb"(?![0-9A-Za-z]|[.-]\d)"
)


def phone(text: bytes) -> Iterator[Span]:
    """Find telephone numbers: international with ``+`` (E.164: 8 to 15 digits), North American with
    separators."""
    for pattern in (_INTERNATIONAL, _NATIONAL):
        for match in pattern.finditer(text):
            yield match.span()


_V4 = re.compile(rb"(?<![0-9A-Za-z.])(?:\d{1,3}\.){3}\d{1,3}(?![0-9A-Za-z]|\.\d)")
_V6 = re.compile(rb"(?<![0-9A-Za-z:])[0-9A-Fa-f:]{2,39}(?:(?:\d{1,3}\.){3}\d{1,3})?(?![0-9A-Za-z:])")


def address(text: bytes) -> Iterator[Span]:
    """Find IP addresses, but for those that tell nothing of anybody (loopback, unspecified)."""
    for match in _V4.finditer(text):
        if _tells(match.group()):
            yield match.span()
    for match in _V6.finditer(text):
        found = match.group()
        # "a::b" is more often an operator or a namespace than an address.
        if found.count(b":") >= 2 and (len(found) >= 9 or found.count(b":") >= 4) and _tells(found):
            yield match.span()


def _tells(found: bytes) -> bool:
    try:
        parsed = ipaddress.ip_address(found.decode())
    except ValueError:
        return False
    return not (parsed.is_loopback or parsed.is_unspecified)


_AWS_ID = re.compile(
    rb"(?<![0-9A-Za-z])(?:AKIA|ASIA|AGPA|AIDA|AROA|ANPA|ANVA|AIPA|ABIA|ACCA)[0-9A-Z]{16}(?![0-9A-Za-z])"
)
_AWS_SECRET = re.compile(
    rb"aws.{0,20}(?:secret|key).{0,20}?[^0-9A-Za-z/+]([0-9A-Za-z/+]{40})(?![0-9A-Za-z/+=])", re.IGNORECASE
)


def aws_key(text: bytes) -> Iterator[Span]:
    """Find AWS access key ids, and secret keys where the text says what they are."""
    for match in _AWS_ID.finditer(text):
        yield match.span()
    for match in _AWS_SECRET.finditer(text):
        yield match.span(1)


_JWT = re.compile(rb"(?<![0-9A-Za-z_.-])(eyJ[0-9A-Za-z_-]{6,})\.[0-9A-Za-z_-]*\.[0-9A-Za-z_-]*")


def jwt(text: bytes) -> Iterator[Span]:
    """Find JSON web tokens whose header can be read."""
    for match in _JWT.finditer(text):
        head = match.group(1)
        try:
            header: object = json.loads(base64.urlsafe_b64decode(head + b"=" * (-len(head) % 4)))
        except (ValueError, binascii.Error, RecursionError):
            continue
        if isinstance(header, dict) and ("alg" in header or "enc" in header):
            yield match.span()


_KEY_BEGIN = re.compile(rb"-----BEGIN [0-9A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_END = re.compile(rb"-----END [0-9A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----")


def private_key(text: bytes) -> Iterator[Span]:
    """Find private keys in PEM armour; one that does not end goes on to the end of the text."""
    done = 0
    for match in _KEY_BEGIN.finditer(text):
        if match.start() < done:
            continue
        end = _KEY_END.search(text, match.end())
        done = end.end() if end else len(text)
        yield match.start(), done


_TOKEN = re.compile(
    rb"(?<![0-9A-Za-z_-])(?:"
    rb"gh[pousr]_[0-9A-Za-z]{36,255}|github_pat_[0-9A-Za-z_]{22,255}|glpat-[0-9A-Za-z_-]{20,64}"
    rb"|xox[abeoprs]-[0-9A-Za-z-]{10,255}|[rs]k_(?:live|test)_[0-9A-Za-z]{16,255}|sk-[0-9A-Za-z_-]{20,255}"
    rb"|AIza[0-9A-Za-z_-]{35}|npm_[0-9A-Za-z]{36}|hf_[0-9A-Za-z]{30,64}|dckr_pat_[0-9A-Za-z_-]{20,64}"
    rb"|pypi-[0-9A-Za-z_-]{40,255}|SG\.[0-9A-Za-z_-]{16,64}\.[0-9A-Za-z_-]{16,128}"
    rb")(?![0-9A-Za-z_])"
)
_BEARER = re.compile(rb"(?<![0-9A-Za-z])bearer +([0-9A-Za-z._~+/-]{20,4096}=*)", re.IGNORECASE)


def token(text: bytes) -> Iterator[Span]:
    """Find tokens that well-known issuers mark with a prefix, and what follows ``Bearer``."""
    for match in _TOKEN.finditer(text):
        yield match.span()
    for match in _BEARER.finditer(text):
        yield match.span(1)


RECOGNISERS: dict[str, Callable[[bytes], Iterator[Span]]] = {
    "pii.email": email,
    "pii.phone": phone,
    "pii.ssn": ssn,
    "pii.ip": address,
    "payment.card": card,
    "payment.iban": account,
    "secret.aws_key": aws_key,
    "secret.jwt": jwt,
    "secret.private_key": private_key,
    "secret.token": token,
}
"""Detector label to recogniser."""
