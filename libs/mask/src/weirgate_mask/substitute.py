"""What the transforms make of one value. NULL (``None``) wherever a type cannot hold what is asked for."""

import hashlib
import ipaddress
import uuid
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal

from weirgate_contracts.masking import Transform
from weirgate_mask.checksum import luhn, luhn_digit
from weirgate_mask.keys import Keyring
from weirgate_mask.placeholder import placeholder, pseudonym
from weirgate_mask.strictness import strictest
from weirgate_mask.values import Interface, write_text

STEP = 10
"""Width of a number range where the rule names none."""
_TRIES = 64
_DAY_FIRST, _DAYS = date(1950, 1, 1), 36_525
_ASCII = 0x80


class Draw:
    """Numbers drawn from one value's keyed digest: equal value, equal numbers."""

    __slots__ = ("_bits", "_count", "_left", "_seed")

    def __init__(self, keys: Keyring, purpose: str, label: str, value: bytes, attempt: int = 0) -> None:
        self._seed = keys.digest(purpose, label, attempt.to_bytes(4) + value)
        self._count = 0
        self._bits = 0
        self._left = 0

    def below(self, limit: int) -> int:
        """Draw a number from 0 to ``limit`` - 1. The bias of the remainder is under 2**-32."""
        need = limit.bit_length() + 32
        while self._left < need:
            block = hashlib.sha256(self._seed + self._count.to_bytes(4)).digest()
            self._count += 1
            self._bits = self._bits << 256 | int.from_bytes(block)
            self._left += 256
        taken = self._bits & ((1 << need) - 1)
        self._bits >>= need
        self._left -= need
        return taken % limit


class Substitutes(dict[str, "Substitute"]):
    """Detector label to what stands in place of its finds."""

    def __init__(self, transforms: Mapping[str, Transform], keys: Keyring) -> None:
        super().__init__({label: Substitute(label, one, keys) for label, one in transforms.items()})

    def of(self, labels: Sequence[str]) -> "Substitute":
        """Return what masks a find of these labels: the strictest of them."""
        if len(labels) == 1:
            return self[labels[0]]
        transform = strictest(self[label].transform for label in labels)
        return next(self[label] for label in labels if self[label].transform == transform)


class Substitute:
    """One label's transform, bound to its key."""

    __slots__ = ("_keys", "label", "token", "transform")

    def __init__(self, label: str, transform: Transform, keys: Keyring) -> None:
        self.label = label
        self.transform = transform
        self.token = placeholder(label, keys)
        self._keys = keys

    # ------------------------------------------------------------ text

    def text(self, value: str) -> str | None:
        """Mask plain text."""
        transform = self.transform
        match transform.kind:
            case "redact":
                return self.token
            case "null":
                return None
            case "partial":
                return starred(value, transform.keep_first, transform.keep_last)
            case "generalise":
                return self._coarse_text(value)
            case "pseudonym":
                return pseudonym(self.label, write_text(value), self._keys)
            case "format":
                return self._shaped(value)

    def opaque_text(self, value: str) -> str | None:
        """Mask text with a syntax of its own (json, xml), of which no part may stand."""
        match self.transform.kind:
            case "null":
                return None
            case "pseudonym" | "format":
                return pseudonym(self.label, write_text(value), self._keys)
            case _:
                return self.token

    def octets(self, value: bytes) -> bytes | None:
        """Mask bytea."""
        match self.transform.kind:
            case "null":
                return None
            case "pseudonym" | "format":
                return pseudonym(self.label, value, self._keys).encode()
            case _:
                return self.token.encode()

    def _coarse_text(self, value: str) -> str:
        name, at, domain = value.rpartition("@")
        if at and name and "." in domain and not any(char.isspace() or char in '@<>,;"' for char in domain):
            return "*@" + domain
        try:
            return str(_network(ipaddress.ip_interface(value.strip())))
        except ValueError:
            return self.token

    def _shaped(self, value: str) -> str:
        canonical = write_text(value)
        shaped = value
        for attempt in range(_TRIES):
            shaped = _shape(value, Draw(self._keys, "format", self.label, canonical, attempt))
            if shaped != value:
                return shaped
        # Nothing in it can be replaced (punctuation alone): the shape would be the value.
        return self.token if shaped == value else shaped

    # ------------------------------------------------------------ numbers

    def integer(self, value: int, size: int) -> int | None:
        """Mask int2, int4 or int8; always in the type's range."""
        top = (1 << (size * 8 - 1)) - 1
        match self.transform.kind:
            case "generalise":
                step = self.transform.step or STEP
                coarse = value // step * step
                return coarse if -top - 1 <= coarse else None
            case "pseudonym":
                return 1 + Draw(self._keys, "pseudonym", self.label, b"%d" % value).below(top)
            case "format":
                shaped = self._shaped_number(value)
                return shaped if abs(shaped) <= top else shaped % top
            case _:
                return None

    def _shaped_number(self, value: int) -> int:
        digits = str(abs(value))
        low = 10 ** (len(digits) - 1) if len(digits) > 1 else 0
        shaped = abs(value)
        for attempt in range(_TRIES):
            draw = Draw(self._keys, "format", self.label, b"%d" % value, attempt)
            shaped = low + draw.below(10 ** len(digits) - low)
            if luhn(digits) and len(digits) >= 13:
                shaped = shaped // 10 * 10 + luhn_digit(str(shaped // 10))
            if shaped != abs(value):
                break
        return -shaped if value < 0 else shaped

    def numeric(self, value: Decimal) -> Decimal | None:
        """Mask numeric; the scale is kept."""
        sign, digits, exponent = value.as_tuple()
        assert isinstance(exponent, int)
        match self.transform.kind:
            case "generalise":
                step = Decimal(self.transform.step or STEP)
                quotient = int(value / step)
                if value < 0 and quotient * step != value:
                    quotient -= 1
                return quotient * step
            case "pseudonym":
                canonical = format(value.normalize(), "f").encode()
                return Decimal(1 + Draw(self._keys, "pseudonym", self.label, canonical).below(10**15))
            case "format":
                number = self._shaped_number(int("".join(map(str, digits))) * (-1 if sign else 1))
                return Decimal((int(number < 0), tuple(map(int, str(abs(number)))), exponent))
            case _:
                return None

    def real(self, value: float, size: int) -> float | None:
        """Mask float4 or float8, with whole numbers both can hold."""
        match self.transform.kind:
            case "generalise":
                step = self.transform.step or STEP
                return float(value // step * step)
            case "pseudonym" | "format":
                draw = Draw(self._keys, "pseudonym", self.label, repr(value).encode())
                return float(1 + draw.below(1 << (24 if size == 4 else 53)))
            case _:
                return None

    # ------------------------------------------------------------ the rest

    def day(self, value: date) -> date | None:
        """Mask date: the first day of its year, or a day of the years 1950 to 2049."""
        match self.transform.kind:
            case "generalise":
                return date(value.year, 1, 1)
            case "pseudonym" | "format":
                draw = Draw(self._keys, "pseudonym", self.label, value.isoformat().encode())
                return _DAY_FIRST + timedelta(days=draw.below(_DAYS))
            case _:
                return None

    def moment(self, value: datetime) -> datetime | None:
        """Mask timestamp: the first moment of its year, or a second of the years 1950 to 2049."""
        match self.transform.kind:
            case "generalise":
                return datetime(value.year, 1, 1)
            case "pseudonym" | "format":
                draw = Draw(self._keys, "pseudonym", self.label, value.isoformat().encode())
                first = datetime(_DAY_FIRST.year, _DAY_FIRST.month, _DAY_FIRST.day)
                return first + timedelta(seconds=draw.below(_DAYS * 86_400))
            case _:
                return None

    def identifier(self, value: uuid.UUID) -> uuid.UUID | None:
        """Mask uuid, with one of version 8 (RFC 9562: made by a rule of one's own)."""
        match self.transform.kind:
            case "pseudonym" | "format":
                digest = self._keys.digest("pseudonym", self.label, value.bytes)
                return uuid.UUID(bytes=digest[:16], version=8)
            case _:
                return None

    def address(self, value: Interface, *, cidr: bool) -> Interface | None:
        """Mask inet or cidr: its /24 or /48 network, or an address of 10.0.0.0/8 or fd00::/8."""
        match self.transform.kind:
            case "generalise":
                return ipaddress.ip_interface(_network(value))
            case "pseudonym" | "format":
                drawn = Draw(self._keys, "pseudonym", self.label, str(value).encode())
                bits = 24 if value.version == 4 else 120
                prefix = 10 if value.version == 4 else 0xFD
                number = (prefix << bits) + drawn.below(1 << bits)
                packed = number.to_bytes(4 if value.version == 4 else 16)
                return ipaddress.ip_interface(packed)
            case _:
                return None


def starred(value: str, first: int, last: int) -> str:
    """Star all but the first and last characters of a text."""
    # A value no longer than what is kept would stand there whole.
    if len(value) <= first + last:
        return "*" * len(value)
    return value[:first] + "*" * (len(value) - first - last) + value[len(value) - last :]


def _shape(value: str, draw: Draw) -> str:
    shaped: list[str] = []
    for char in value:
        if char.isdigit() or char.isnumeric():
            shaped.append(chr(48 + draw.below(10)))
        elif char.isalpha() or ord(char) >= _ASCII:
            shaped.append(chr((65 if char.isupper() else 97) + draw.below(26)))
        else:
            shaped.append(char)
    digits = [at for at, char in enumerate(value) if char.isascii() and char.isdigit()]
    if 13 <= len(digits) <= 19 and luhn("".join(value[at] for at in digits)):
        shaped[digits[-1]] = str(luhn_digit("".join(shaped[at] for at in digits[:-1])))
    return "".join(shaped)


def _network(value: Interface) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    bits = min(value.network.prefixlen, 24 if value.version == 4 else 48)
    return ipaddress.ip_network((value.packed, bits), strict=False)
