"""What commands print: what was asked for on stdout, everything else on stderr."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

DONE, REFUSED, MISUSED = 0, 1, 2
"""Exit status of every command."""


def tell(text: str) -> None:
    """Say how it goes, on stderr."""
    print(text, file=sys.stderr, flush=True)


def give(text: str) -> None:
    """Print what was asked for, on stdout."""
    print(plain(text), flush=True)


def give_json(value: object) -> None:
    """Print JSON, on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False), flush=True)


def plain(text: str) -> str:
    """Return text without control characters: it came from an agent and must not steer a terminal."""
    return "".join(each if each.isprintable() or each in "\n\t" else f"\\x{ord(each):02x}" for each in text)


def one_line(text: str, width: int) -> str:
    """Return text on one line, cut to a width."""
    flat = plain(" ".join(text.split()))
    return flat if len(flat) <= width else flat[: width - 1] + "…"


def give_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns, on stdout."""
    lines = [tuple(head), *(tuple(one_line(cell, 60) for cell in row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    sys.stdout.flush()


def give_fields(fields: Mapping[str, Any]) -> None:
    """Print names and values, one a line, on stdout."""
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        if value not in (None, "", [], ()):
            first, *more = plain(str(value)).splitlines() or [""]
            print(f"{name.ljust(width)}  {first}")
            for line in more:
                print(" " * (width + 2) + line)
    sys.stdout.flush()


def until(moment: str) -> str:
    """Say how long it is until a moment: ``in 12m``, or ``over``."""
    try:
        left_s = (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds()
    except ValueError:
        return moment
    if left_s <= 0:
        return "over"
    for unit, seconds in (("d", 86400), ("h", 3600), ("m", 60)):
        if left_s >= seconds:
            return f"in {int(left_s // seconds)}{unit}"
    return f"in {int(left_s)}s"
