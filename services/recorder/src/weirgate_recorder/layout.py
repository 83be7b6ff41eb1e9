"""Text for people: tables that fit the screen, nothing that could drive the terminal. Pure.

What is shown comes from agents and upstreams. A control character in it could move the cursor, rename the
window or hide a line of the very record somebody is reading, so every one of them is shown as an escape.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

WIDTH: Final = 100
"""Columns of the narrowest screen output is made for."""
_NARROWEST: Final = 4
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_NAMED: Final = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def visible(text: str) -> str:
    """Return a text on one line in which every character is seen."""
    if text.isascii() and text.isprintable():
        return text
    return "".join([_shown(character) for character in text])


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN:
        return character
    return _NAMED.get(character) or f"\\u{ord(character):04x}"


def lines_of(text: str) -> list[str]:
    """Return a text of several lines (a statement) as lines that are safe to show; tabs become spaces."""
    return [visible(line.expandtabs(4)) for line in text.replace("\r\n", "\n").split("\n")]


def size_cells(text: str) -> int:
    """Return how many cells of the screen a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1
        for each in text
    )


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Return a text cut or padded to exactly so many cells; what was cut ends in an ellipsis."""
    size = size_cells(text)
    if size > width:
        kept, size = "", 0
        for each in text:
            more = size_cells(each)
            if size + more > width - 1:
                break
            kept += each
            size += more
        text, size = kept + "…", size + 1
    return " " * (width - size) + text if right else text + " " * (width - size)


def widths(columns: Sequence[Sequence[str]], limit: int, *, gap: int) -> list[int]:
    """Share out a line: each column gets what it needs, and where that is too much the widest give way.

    Args:
        columns: Texts of each column, heading first.
        limit: Cells of the whole line.
        gap: Cells between two columns.
    """
    wanted = [max((size_cells(text) for text in column), default=1) for column in columns]
    left = limit - gap * (len(columns) - 1)
    while sum(wanted) > left:
        widest = max(wanted)
        if widest <= _NARROWEST:
            break
        next_widest = max((each for each in wanted if each < widest), default=_NARROWEST)
        at_widest = wanted.count(widest)
        excess = sum(wanted) - left
        step = max(1, min(widest - max(next_widest, _NARROWEST), -(-excess // at_widest)))
        wanted = [each - step if each == widest else each for each in wanted]
    return wanted


def grid(
    headings: Sequence[str],
    rows: Sequence[Sequence[str | None]],
    *,
    right: Sequence[bool] = (),
    limit: int = WIDTH,
    indent: str = "",
    ruled: bool = False,
    whole: int = 0,
) -> Iterator[str]:
    """Give the lines of a table.

    Args:
        headings: One per column.
        rows: As many texts each; ``None`` is NULL, which shows as ``∅``.
        right: Columns that stand right-aligned.
        limit: Cells a line may take, with its indent.
        indent: Put before each line.
        whole: So many of the first columns are never narrowed.
        ruled: A line under the headings, and bars between columns, as psql has them.
    """
    shown = [[visible(cell) if cell is not None else "∅" for cell in row] for row in rows]
    heads = [visible(heading) for heading in headings]
    columns = [[heads[n], *(row[n] if n < len(row) else "" for row in shown)] for n in range(len(heads))]
    bar = " │ " if ruled else "  "
    kept = [max(map(size_cells, column)) for column in columns[:whole]]
    room = limit - len(indent) - sum(each + len(bar) for each in kept)
    sizes = kept + widths(columns[whole:], room, gap=len(bar))
    sides = [n < len(right) and right[n] for n in range(len(heads))]
    # What does not fit even at its narrowest is cut at the edge: a line never wraps.
    edge = limit - len(indent)
    yield indent + fit(bar.join(fit(each, sizes[n]) for n, each in enumerate(heads)), edge).rstrip()
    if ruled:
        yield indent + "─┼─".join("─" * size for size in sizes)[:edge]
    for row in shown:
        line = bar.join(
            fit(row[n] if n < len(row) else "", sizes[n], right=sides[n]) for n in range(len(heads))
        )
        yield indent + fit(line, edge).rstrip()


def span(duration_us: int | None) -> str:
    """Return a duration for people."""
    if duration_us is None:
        return ""
    if duration_us < 1000:
        return f"{duration_us} µs"
    if duration_us < 1_000_000:
        return f"{duration_us / 1000:.1f} ms"
    if duration_us < 60_000_000:
        return f"{duration_us / 1_000_000:.1f} s"
    minutes, rest = divmod(duration_us // 1_000_000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"


def size(count_bytes: int | None) -> str:
    """Return a number of bytes for people."""
    if count_bytes is None:
        return ""
    value = float(count_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{count_bytes} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError
