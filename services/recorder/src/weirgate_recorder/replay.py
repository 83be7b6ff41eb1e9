"""A recording as the lines ``weirgate sessions replay`` prints. Pure.

::

    12:03:04.512  #1 ▸ select id, email from customers limit 2;
                       id │ email
                       ───┼──────────────
                        1 │ [pii.email]
                        2 │ [pii.email]
                       2 rows
                     ◂ SELECT 2
    12:03:05.100  #2 ▸ POST /v1/orders?dry=1 HTTP/1.1
                       content-type: application/json
                       │ {"customer":7}
                       14 B of application/json from the agent
    12:03:05.140  #2 ◂ 201 Created
                       content-type: application/json
                       │ {"id":12,"email":"[pii.email:7f3a9c01d2e4]"}
                       44 B of application/json to the agent
"""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from weirgate_recorder.layout import WIDTH, fit, grid, lines_of, size, visible
from weirgate_recorder.scene import (
    Answered,
    Body,
    Bytes,
    Called,
    Copied,
    Done,
    Left,
    Message,
    Notified,
    Said,
    Scene,
    Table,
    Told,
)

_MARGIN: Final = " " * 21
_TEXT_LINES_LIMIT: Final = 200


def document(scene: Scene) -> dict[str, Any]:
    """Return a scene as a JSON object."""
    fields: dict[str, Any] = asdict(scene)
    if isinstance(scene, Bytes):
        fields["start"] = scene.start.hex()
    at_us = fields.pop("at_us")
    return {"scene": type(scene).__name__.lower(), "at": moment(at_us).isoformat()} | fields


def moment(at_us: int) -> datetime:
    """Return a frame's time."""
    return datetime.fromtimestamp(at_us / 1_000_000, UTC)


def tell(scene: Scene, *, width: int = WIDTH) -> Iterator[str]:
    """Give the lines of a scene."""
    clock = moment(scene.at_us).strftime("%H:%M:%S.%f")[:12]
    number = f"#{scene.operation}" if scene.operation else ""
    head = f"{clock} {number:>5} "
    match scene:
        case Said(phase=phase, text=text):
            yield from _said(head, scene, "" if phase == "run" else f"({phase}) ", text, width)
        case Table():
            yield from grid(
                scene.columns, scene.rows, right=scene.numbers, limit=width, indent=_MARGIN, ruled=True
            )
            yield _MARGIN + _counted(scene)
        case Copied(direction=direction):
            for line in scene.lines:
                yield _MARGIN + fit(visible(line), width - len(_MARGIN)).rstrip()
            way = "from the agent" if direction == "in" else "to the agent"
            yield f"{_MARGIN}{scene.messages} messages of COPY data, {size(scene.size_bytes)}, {way}"
        case Done(tag=tag):
            yield f"{' ' * 19}◂ {visible(tag)}"
        case Told():
            yield from _told(head, scene, width)
        case Notified(channel=channel, payload=payload):
            yield _cut(f"{head}◂ NOTIFY {visible(channel)}: {visible(payload)}", width)
        case Left():
            yield f"{head}▸ (the agent left)"
        case Bytes():
            side = "from the agent" if scene.direction == "i" else "to the agent"
            yield f"{head}? {size(scene.size_bytes)} {side} that are no readable message"
            yield _cut(_MARGIN + scene.start[:64].hex(" ", 4), width)
        case Called():
            yield from _wrapped(f"{head}▸ ", visible(f"{scene.method} {scene.target} {scene.version}"), width)
            yield from _headers(scene.headers, width)
        case Answered():
            yield from _wrapped(f"{head}◂ ", visible(f"{scene.status} {scene.reason}".rstrip()), width)
            yield from _headers(scene.headers, width)
        case Body():
            yield from _body(scene, width)
        case Message():
            yield from _message(head, scene, width)


def _headers(headers: tuple[tuple[str, str], ...], width: int) -> Iterator[str]:
    for name, value in headers:
        yield from _wrapped(f"{_MARGIN}{visible(name)}: ", visible(value), width)


def _body(scene: Body, width: int) -> Iterator[str]:
    if scene.text:
        lines = lines_of(scene.text)
        if lines[-1] == "":
            del lines[-1]
        for line in lines[:_TEXT_LINES_LIMIT]:
            yield from _wrapped(_MARGIN + "│ ", line, width)
        if len(lines) > _TEXT_LINES_LIMIT:
            yield f"{_MARGIN}… {len(lines) - _TEXT_LINES_LIMIT} more lines"
    yield from _headers(scene.trailers, width)
    way = "from the agent" if scene.direction == "in" else "to the agent"
    told = f"{size(scene.size_bytes)} of {visible(scene.type)}" if scene.type else size(scene.size_bytes)
    parts = [
        f"{told} {way}",
        visible(scene.encoding),
        "not text" if scene.text is None and scene.size_bytes else "",
        "the beginning shown" if scene.text and scene.cut else "",
        "" if scene.whole else "cut off",
    ]
    yield _cut(_MARGIN + ", ".join(part for part in parts if part), width)


def _message(head: str, scene: Message, width: int) -> Iterator[str]:
    mark = "▸" if scene.direction == "in" else "◂"
    code = f" {scene.code}" if scene.code is not None else ""
    parts = [
        f"{scene.kind}{code}, {size(scene.size_bytes)}",
        "the beginning shown" if scene.text and scene.cut else "",
        "" if scene.whole else "cut off",
    ]
    yield _cut(f"{head}{mark} {', '.join(part for part in parts if part)}", width)
    if scene.text:
        for line in lines_of(scene.text):
            yield from _wrapped(_MARGIN + "│ ", line, width)


def _said(head: str, scene: Said, phase: str, text: str, width: int) -> Iterator[str]:
    lines = lines_of(text)
    if len(lines) > _TEXT_LINES_LIMIT:
        lines = [*lines[:_TEXT_LINES_LIMIT], f"… {len(lines) - _TEXT_LINES_LIMIT} more lines"]
    yield from _wrapped(f"{head}▸ {phase}", lines[0], width)
    for line in lines[1:]:
        yield from _wrapped(_MARGIN, line, width)
    if scene.parameters:
        shown = ", ".join("NULL" if each is None else visible(each) for each in scene.parameters)
        yield from _wrapped(_MARGIN + "with ", shown, width)


def _wrapped(start: str, text: str, width: int) -> Iterator[str]:
    """A statement is never cut: who reads a record must see all of it."""
    room = max(20, width - len(start))
    yield start + text[:room]
    rest, room = text[room:], width - len(_MARGIN) - 2
    while rest:
        yield f"{_MARGIN}  {rest[:room]}"
        rest = rest[room:]


def _counted(scene: Table) -> str:
    rows = f"{scene.count} row{'' if scene.count == 1 else 's'}"
    hidden = scene.count - len(scene.rows)
    return f"{rows}, {size(scene.size_bytes)}" + (f" (the first {len(scene.rows)} shown)" if hidden else "")


def _told(head: str, scene: Told, width: int) -> Iterator[str]:
    code = f" {scene.code}" if scene.code else ""
    mark = "✗" if scene.failed else "◂"
    yield from _wrapped(f"{head}{mark} {visible(scene.severity)}{code}: ", visible(scene.text), width)
    for name, text in (("detail", scene.detail), ("hint", scene.hint)):
        if text:
            yield from _wrapped(f"{_MARGIN}{name}: ", visible(text), width)


def _cut(line: str, width: int) -> str:
    return fit(line, width).rstrip()
