"""Reading the fields of a body that was read whole: JSON and forms, to pointers and values.

Judged is what the upstream will read. So whatever two readers could read differently is not read at all: a name
twice in a JSON object (in whatever case), numbers JSON does not have, half a surrogate pair, another charset, a
coding of the bytes.

===========================  ====================================================
value                        as text, under its pointer (RFC 6901)
===========================  ====================================================
text, ``true``, ``null``     as it is: ``gold``, ``true``, ``null``
number                       as written: ``19.90``; and as a number, where it is whole
object, array                ``{}``, ``[]``: it is there; its members have pointers of their own
field of a form              its text under ``/name``; and as a number, where it is one
===========================  ====================================================

Source: RFC 8259, RFC 6901, WHATWG URL Standard (application/x-www-form-urlencoded).
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, cast
from urllib.parse import parse_qsl

from weirgate_contracts.http import BODY_TEXT_LIMIT_BYTES, READ_TYPES, HttpCall, is_json, is_plain
from weirgate_contracts.refusal import RefusalCode
from weirgate_policy.tag import Tagged, tagged

LONG = range(-(2**63), 2**63)
"""What a number of Cedar can be."""
FORM = "application/x-www-form-urlencoded"
DEPTH_LIMIT = 200
"""Objects and arrays within each other; what is deeper is not read."""
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """What a body says."""

    values: Tagged = Tagged()  # noqa: RUF009  (frozen)
    numbers: Tagged = Tagged()  # noqa: RUF009


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """Why a body's fields are not known. Texts are fit for an agent."""

    code: RefusalCode
    reason: str
    """Follows "its body": ``is of a type that is not read``."""
    hint: str


_TYPE = Unread(
    code=RefusalCode.UNSUPPORTED,
    reason="is of a type that is not read",
    hint=f"Send it as {' or '.join(READ_TYPES)}.",
)
_LARGE = Unread(
    code=RefusalCode.TOO_LARGE,
    reason=f"is larger than the {BODY_TEXT_LIMIT_BYTES} bytes whose fields are read",
    hint="Send it in smaller pieces.",
)
_CODED = Unread(
    code=RefusalCode.UNSUPPORTED,
    reason="is in a coding or charset that is not read",
    hint="Send it as plain UTF-8, without Content-Encoding.",
)
_MALFORMED = Unread(
    code=RefusalCode.UNPARSABLE,
    reason="cannot be read in one way only",
    hint="Send it as UTF-8 and well-formed; in JSON, each name once in an object.",
)


class _Number(str):
    """A number as written."""

    __slots__ = ()


class _Doubtful(ValueError):
    """It can be read in more than one way."""


def read_fields(call: HttpCall) -> Fields | Unread:
    """Return the fields of a call's body. A call without one has none."""
    body = call.body
    if body is None or (body.whole and body.size_bytes == 0):
        return Fields()
    if not (is_json(body.type) or body.type == FORM):
        return _TYPE
    if not body.whole:
        return _LARGE
    if not is_plain(call):
        return _CODED
    if body.text is None:
        return _LARGE if (body.size_bytes or 0) > BODY_TEXT_LIMIT_BYTES else _MALFORMED
    try:
        return _form(body.text) if body.type == FORM else _json(body.text)
    except (ValueError, RecursionError):
        return _MALFORMED


def _form(text: str) -> Fields:
    pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=10_000)
    values = tagged((f"/{_step(name)}", value) for name, value in pairs)
    numbers = {
        name: int(value)
        for name, value in values.values.items()
        if isinstance(value, str) and _WHOLE.fullmatch(value) and int(value) in LONG
    }
    return Fields(values=values, numbers=Tagged(values=numbers, twice=values.twice))


def _json(text: str) -> Fields:
    whole: object = json.loads(
        text, object_pairs_hook=_object, parse_int=_Number, parse_float=_Number, parse_constant=_constant
    )
    values: dict[str, str | int] = {}
    numbers: dict[str, str | int] = {}
    for pointer, value in _walk(whole):
        values[pointer] = _text(value)
        if isinstance(value, _Number) and (number := _long(value)) is not None:
            numbers[pointer] = number
    return Fields(values=Tagged(values=values), numbers=Tagged(values=numbers))


def read_members(text: str) -> dict[str, Any] | None:
    """Return a JSON object that can be read in one way only, to be shown; ``None``: it is no such object."""
    try:
        whole: object = json.loads(
            text, object_pairs_hook=_object, parse_float=_exact, parse_constant=_constant
        )
        json.dumps(whole, ensure_ascii=False, indent=2).encode()  # so that showing it cannot fail
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", whole) if isinstance(whole, dict) else None


def _exact(written: str) -> float:
    # 0.1000000000000000055 is shown as it is written or not at all.
    number = float(written)
    if repr(number) != written:
        raise _Doubtful("a number that would be shown as another")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Some readers take "Amount" for "amount", and of the two the last.
    if len({name.casefold() for name, _ in pairs}) != len(pairs):
        raise _Doubtful("a name stands twice in an object")
    return dict(pairs)


def _constant(name: str) -> object:
    raise _Doubtful(f"{name} is no JSON")


def _walk(whole: object) -> Iterator[tuple[str, object]]:
    stack: list[tuple[str, int, object]] = [("", 0, whole)]
    while stack:
        pointer, depth, value = stack.pop()
        if depth > DEPTH_LIMIT:
            raise _Doubtful("too deep")
        yield pointer, value
        if isinstance(value, dict):
            members = cast("dict[str, object]", value).items()
            stack += [(f"{pointer}/{_step(name)}", depth + 1, one) for name, one in members]
        elif isinstance(value, list):
            items = enumerate(cast("list[object]", value))
            stack += [(f"{pointer}/{index}", depth + 1, one) for index, one in items]


def _step(name: str) -> str:
    name.encode()  # half a surrogate pair is no text: UnicodeEncodeError is a ValueError
    return name.replace("~", "~0").replace("/", "~1")


def _text(value: object) -> str:
    match value:
        case str():
            value.encode()
            return str(value)
        case dict():
            return "{}"
        case list():
            return "[]"
        case _:
            return json.dumps(value)


def _long(written: str) -> int | None:
    """Return a number where it is a whole one that Cedar can hold: ``1000``, ``1e3`` and ``1000.0`` are."""
    try:
        number = Decimal(written)
        if number.adjusted() > 18 or number != number.to_integral_value():
            return None
    except InvalidOperation:
        return None
    return int(number) if int(number) in LONG else None
