"""How a ``COPY … TO STDOUT`` writes its rows, read from the statement."""

from typing import Any

from weirgate_contracts.masking import CopyOptions
from weirgate_sql.model import Unreadable
from weirgate_sql.parse import Parsed

_IGNORED = frozenset(("force_quote", "encoding", "freeze"))
"""Options that change no boundary between fields. ``encoding`` is refused where it is not UTF-8."""


def copy_options(statement: Parsed) -> CopyOptions | None:
    """Return how rows are written; ``None`` for a statement that is not COPY to the agent.

    Raises:
        Unreadable: an option that is not known, or a value that cannot be.
    """
    node = statement.node
    if statement.kind != "CopyStmt" or node.get("is_from"):
        return None
    given: dict[str, Any] = {}
    for option in node.get("options", ()):
        element = option["DefElem"]
        name, value = element["defname"], _value(element.get("arg"))
        if name == "encoding" and str(value).upper().replace("-", "").replace("_", "") not in (
            "UTF8",
            "UNICODE",
        ):
            raise Unreadable("COPY in another encoding than UTF-8 cannot be masked")
        if name not in _IGNORED:
            given[name] = value
    format_ = given.pop("format", "text")
    if format_ not in ("text", "csv", "binary"):
        raise Unreadable(f"COPY in format {format_!r} cannot be masked")
    csv = format_ == "csv"
    quote = str(given.pop("quote", '"'))
    options = CopyOptions(
        format=format_,
        delimiter=str(given.pop("delimiter", "," if csv else "\t")),
        null=str(given.pop("null", "" if csv else "\\N")),
        quote=quote,
        escape=str(given.pop("escape", quote)),
        header=_flag(given.pop("header", False)),
    )
    if given:
        raise Unreadable(f"COPY option {sorted(given)[0]!r} is not known")
    if any(len(one) != 1 or not one.isascii() for one in (options.delimiter, options.quote, options.escape)):
        raise Unreadable("a COPY delimiter, quote and escape are one character each")
    if any(one in options.null for one in "\r\n"):
        raise Unreadable("a COPY null marker holds no line break")
    return options


def _value(argument: dict[str, Any] | None) -> object:
    if argument is None:
        return True
    ((kind, node),) = argument.items()
    match kind:
        case "String":
            return node.get("sval", "")
        case "Boolean":
            return node.get("boolval", False)
        case "Integer":
            return node.get("ival", 0)
        case "List" | "A_Star":
            return True
        case _:
            raise Unreadable("a COPY option that cannot be read")


def _flag(value: object) -> bool:
    if isinstance(value, str):
        if value.lower() in ("true", "on", "1", "match"):
            return True
        if value.lower() in ("false", "off", "0"):
            return False
        raise Unreadable("a COPY header is on or off")
    return bool(value)
