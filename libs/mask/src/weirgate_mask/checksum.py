"""Checksums and number rules of card numbers, IBANs and social security numbers."""

_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)

IBAN_LENGTH: dict[str, int] = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27,
    "BR": 29, "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28,
    "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23,
    "GL": 18, "GR": 27, "GT": 28, "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26,
    "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21,
    "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28,
    "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22,
    "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25,
    "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}  # fmt: skip
"""Country to length, from the SWIFT IBAN registry."""


def _luhn_sum(digits: str, doubled: int) -> int:
    total = 0
    for at, char in enumerate(reversed(digits)):
        digit = ord(char) - 48
        total += _DOUBLED[digit] if at % 2 == doubled else digit
    return total


def luhn(digits: str) -> bool:
    """Say whether decimal digits pass the Luhn check (ISO/IEC 7812-1)."""
    return _luhn_sum(digits, 1) % 10 == 0


def luhn_digit(digits: str) -> int:
    """Return the digit that makes ``digits`` plus it pass the Luhn check."""
    return -_luhn_sum(digits, 0) % 10


def card_number(digits: str) -> bool:
    """Say whether decimal digits are a payment card number: known issuer range and length, and the Luhn
    check."""
    size = len(digits)
    if not 13 <= size <= 19 or not luhn(digits):
        return False
    two, three, four = int(digits[:2]), int(digits[:3]), int(digits[:4])
    if digits[0] == "4":
        known = size in (13, 16, 19)
    elif 51 <= two <= 55 or 2221 <= four <= 2720:
        known = size == 16
    elif two in (34, 37):
        known = size == 15
    elif two in (36, 38, 39) or 300 <= three <= 305:
        known = 14 <= size <= 19
    elif two in (35, 60, 62, 64, 65):
        known = size >= 16
    else:
        known = two == 50 or 56 <= two <= 69
    return known and len(set(digits)) > 1


def iban(text: str) -> bool:
    """Say whether letters and digits, upper case, without spaces, are an IBAN (ISO 13616, modulus 97)."""
    if IBAN_LENGTH.get(text[:2]) != len(text):
        return False
    try:
        return int("".join(str(int(char, 36)) for char in text[4:] + text[:4])) % 97 == 1
    except ValueError:
        return False


def social_security_number(area: str, group: str, serial: str) -> bool:
    """Say whether the three parts can be a US social security number."""
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"
