"""A recording of a PostgreSQL session, read back as people would tell it. Pure.

Frames go in, *scenes* come out: what the agent said, and what it was answered. Answers carry no name of
what they answer, so what is still to be answered is kept in order, as the protocol answers in order:

=============  ==========================================================  =====================
awaiting       ends with                                                   after an error
=============  ==========================================================  =====================
query          ReadyForQuery (any number of tables and tags before it)     goes on to that
describe       RowDescription, NoData                                      dropped up to a sync
execute        CommandComplete, EmptyQueryResponse, PortalSuspended        dropped up to a sync
sync           ReadyForQuery
=============  ==========================================================  =====================

What cannot be read is a :class:`Bytes` scene, never left out: a transcript that hides what it does not
understand proves nothing. Of a large result the first rows are kept and all are counted.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from weirgate_contracts.recording import Frame
from weirgate_recorder.cell import NUMBERS, show_cell
from weirgate_recorder.scene import (
    SHOWN_BYTES,
    Bytes,
    Copied,
    Done,
    Left,
    Notified,
    Said,
    Scene,
    Table,
    Told,
)
from weirgate_wire.postgres import PeerError, Splitter
from weirgate_wire.postgres import frame as wire
from weirgate_wire.postgres.agent import (
    Bind,
    Close,
    CopyDone,
    CopyFail,
    Describe,
    Execute,
    FunctionCall,
    Parse,
    Query,
    Sync,
    Terminate,
    decode_agent,
)
from weirgate_wire.postgres.row import each_frame, split_row
from weirgate_wire.postgres.upstream import (
    COPY_DONE,
    EMPTY_QUERY_RESPONSE,
    NO_DATA,
    PORTAL_SUSPENDED,
    CommandComplete,
    CopyResponse,
    ErrorResponse,
    FieldDescription,
    NoticeResponse,
    NotificationResponse,
    ReadyForQuery,
    RowDescription,
    decode_upstream,
)

_LIMITS: Final = dict.fromkeys(range(0x21, 0x7F), wire.STREAM_LIMIT_BYTES)


@dataclass(slots=True)
class _Awaited:
    kind: Literal["query", "describe", "execute", "sync"]
    statement: str | None = None
    columns: tuple[FieldDescription, ...] | None = None
    formats: tuple[int, ...] = ()


@dataclass(slots=True)
class _Portal:
    statement: str
    bind: Bind
    columns: tuple[FieldDescription, ...] | None = None


@dataclass(slots=True)
class _Statement:
    text: str
    types: tuple[int, ...] = ()
    columns: tuple[FieldDescription, ...] | None = None


@dataclass(slots=True)
class _Gathering:
    """A table or COPY data that is still coming."""

    scene: Table | Copied
    columns: tuple[FieldDescription, ...] = ()
    kept: list[tuple[str | None, ...]] = field(default_factory=list[tuple[str | None, ...]])
    lines: list[str] = field(default_factory=list[str])
    count: int = 0
    size_bytes: int = 0


class Transcript:
    """Reads the frames of one session, in order.

    Args:
        rows: Rows (or lines) of each result that are kept.
    """

    def __init__(self, *, rows: int = 20) -> None:
        self._rows = rows
        self._splitters = {
            "i": Splitter(_LIMITS, run_kinds=frozenset(b"d")),
            "o": Splitter(_LIMITS, run_kinds=frozenset(b"Dd")),
        }
        self._awaited: deque[_Awaited] = deque()
        self._statements: dict[str, _Statement] = {}
        self._portals: dict[str, _Portal] = {}
        self._gathering: _Gathering | None = None
        self._lost: set[str] = set()

    def feed(self, frame: Frame) -> Iterator[Scene]:
        """Take the next frame, give the scenes it completes."""
        splitter = self._splitters.get(frame.direction)
        if splitter is None or frame.direction in self._lost:
            yield self._unread(frame, frame.body)
            return
        splitter.feed(frame.body)
        while True:
            try:
                unit = splitter.next()
                if unit is None:
                    return
                scenes = list(self._unit(frame, unit))
            except PeerError:
                yield from self._close()
                yield self._unread(frame, splitter.rest())
                self._lost.add(frame.direction)
                return
            yield from scenes

    def finish(self) -> Iterator[Scene]:
        """Give what was still coming when the recording ended."""
        yield from self._close()

    def _unread(self, frame: Frame, body: bytes) -> Bytes:
        return Bytes(
            at_us=frame.at_us,
            operation=frame.operation,
            direction=frame.direction,
            size_bytes=len(body),
            start=body[:SHOWN_BYTES],
        )

    def _unit(self, frame: Frame, unit: wire.Frame | wire.Run | wire.Part) -> Iterator[Scene]:
        match unit:
            case wire.Frame() if frame.direction == "i":
                yield from self._agent(frame, unit)
            case wire.Frame():
                yield from self._answer(frame, unit)
            case wire.Run(kind=0x44):
                self._take_rows(frame, unit.block)
            case wire.Run():
                yield from self._take_copy(frame, unit.block)
            case wire.Part():
                raise PeerError("parts are not asked for")

    # ------------------------------------------------------------ from the agent

    def _agent(self, frame: Frame, unit: wire.Frame) -> Iterator[Scene]:
        message = decode_agent(unit.kind, unit.body)
        at_us, operation = frame.at_us, frame.operation
        match message:
            case Query(text=text):
                self._awaited.append(_Awaited("query"))
                yield Said(at_us=at_us, operation=operation, phase="run", text=text)
            case Parse(name=name, text=text, types=types):
                self._statements[name] = _Statement(text, types)
                yield Said(at_us=at_us, operation=operation, phase="prepare", text=text)
            case Bind(portal=portal, statement=statement):
                self._portals[portal] = _Portal(statement, message)
            case Describe(what="S", name=name):
                self._awaited.append(_Awaited("describe", statement=name))
            case Describe():
                self._awaited.append(_Awaited("describe"))
            case Execute(portal=portal, rows=limit):
                yield self._execute(at_us, operation, portal, limit)
            case Close(what="S", name=name):
                self._statements.pop(name, None)
            case Close(name=name):
                self._portals.pop(name, None)
            case Sync():
                self._awaited.append(_Awaited("sync"))
            case CopyDone():
                yield from self._close()
            case CopyFail(reason=reason):
                yield from self._close()
                yield Told(
                    at_us=at_us, operation=operation, severity="COPY FAIL", code="", text=reason, failed=True
                )
            case FunctionCall():
                yield Said(at_us=at_us, operation=operation, phase="function", text="(function call)")
            case Terminate():
                yield Left(at_us=at_us, operation=operation)
            case _:
                pass

    def _execute(self, at_us: int, operation: int, name: str, limit: int) -> Said:
        portal = self._portals.get(name)
        statement = self._statements.get(portal.statement) if portal else None
        columns = (portal.columns if portal else None) or (statement.columns if statement else None)
        self._awaited.append(
            _Awaited("execute", columns=columns, formats=portal.bind.result_formats if portal else ())
        )
        parameters: list[str | None] = []
        if portal is not None:
            types = statement.types if statement else ()
            for number, raw in enumerate(portal.bind.parameters):
                oid = types[number] if number < len(types) else 0
                parameters.append(
                    show_cell(raw, type_oid=oid, binary=portal.bind.parameter_format(number) == 1)
                )
        return Said(
            at_us=at_us,
            operation=operation,
            phase="run",
            text=statement.text if statement else f"(portal {name or 'unnamed'})",
            parameters=tuple(parameters),
            limit=limit,
        )

    # ------------------------------------------------------------ to the agent

    def _answer(self, frame: Frame, unit: wire.Frame) -> Iterator[Scene]:
        message = decode_upstream(unit.kind, unit.body)
        at_us, operation = frame.at_us, frame.operation
        match message:
            case RowDescription(fields=fields):
                yield from self._close()
                self._described(frame, fields)
            case CommandComplete(tag=tag):
                yield from self._close()
                self._ended("execute")
                yield Done(at_us=at_us, operation=operation, tag=tag)
            case ErrorResponse(fields=fields):
                yield from self._close()
                self._failed()
                yield _told(at_us, operation, fields, failed=True)
            case NoticeResponse(fields=fields):
                yield _told(at_us, operation, fields, failed=False)
            case NotificationResponse(channel=channel, payload=payload):
                yield Notified(at_us=at_us, operation=operation, channel=channel, payload=payload)
            case CopyResponse(direction=direction):
                yield from self._close()
                self._gathering = _Gathering(
                    Copied(
                        at_us=at_us,
                        operation=operation,
                        direction="out" if direction == "out" else "in",
                        lines=(),
                        messages=0,
                        size_bytes=0,
                    )
                )
            case ReadyForQuery():
                yield from self._close()
                self._synced()
            case _ if message == COPY_DONE:
                yield from self._close()
            case _ if message in (EMPTY_QUERY_RESPONSE, PORTAL_SUSPENDED):
                yield from self._close()
                self._ended("execute")
            case _ if message == NO_DATA:
                self._ended("describe")
            case _:
                pass

    def _described(self, frame: Frame, fields: tuple[FieldDescription, ...]) -> None:
        if self._awaited and self._awaited[0].kind == "describe":
            described = self._awaited.popleft()
            if described.statement is not None:
                statement = self._statements.get(described.statement)
                if statement is not None:
                    statement.columns = fields
            for awaited in self._awaited:
                if awaited.kind == "sync":
                    break
                if awaited.kind == "execute" and awaited.columns is None:
                    awaited.columns = fields
            for portal in self._portals.values():
                if portal.columns is None and described.statement is None:
                    portal.columns = fields
            return
        self._begin_table(frame, fields)

    def _begin_table(self, frame: Frame, fields: tuple[FieldDescription, ...]) -> _Gathering:
        self._gathering = _Gathering(
            Table(
                at_us=frame.at_us,
                operation=frame.operation,
                columns=tuple(each.name for each in fields),
                numbers=tuple(each.type_oid in NUMBERS for each in fields),
                rows=(),
                count=0,
                size_bytes=0,
            ),
            columns=fields,
        )
        return self._gathering

    def _take_rows(self, frame: Frame, block: bytes) -> None:
        gathering = self._gathering
        if gathering is None or not isinstance(gathering.scene, Table):
            gathering = self._begin_table(frame, self._expected_columns())
        gathering.size_bytes += len(block)
        for start, end in each_frame(block):
            gathering.count += 1
            if len(gathering.kept) < self._rows:
                cells = split_row(block, start, end)
                fields = gathering.columns
                gathering.kept.append(
                    tuple(
                        show_cell(
                            cell,
                            type_oid=fields[n].type_oid if n < len(fields) else 0,
                            binary=fields[n].format == 1 if n < len(fields) else _is_binary(cell),
                        )
                        for n, cell in enumerate(cells)
                    )
                )

    def _expected_columns(self) -> tuple[FieldDescription, ...]:
        """The columns of the portal whose rows come now, in the formats its Bind asked for."""
        for awaited in self._awaited:
            if awaited.kind != "execute":
                continue
            columns, formats = awaited.columns or (), awaited.formats
            if len(formats) <= 1:
                overall = formats[0] if formats else 0
                return tuple(_formatted(each, overall) for each in columns)
            last = len(formats) - 1
            return tuple(_formatted(each, formats[min(n, last)]) for n, each in enumerate(columns))
        return ()

    def _take_copy(self, frame: Frame, block: bytes) -> Iterator[Scene]:
        gathering = self._gathering
        direction: Literal["in", "out"] = "in" if frame.direction == "i" else "out"
        if gathering is None or not isinstance(gathering.scene, Copied):
            yield from self._close()
            scene = Copied(
                at_us=frame.at_us,
                operation=frame.operation,
                direction=direction,
                lines=(),
                messages=0,
                size_bytes=0,
            )
            gathering = self._gathering = _Gathering(scene)
        for start, end in each_frame(block):
            gathering.count += 1
            gathering.size_bytes += end - start
            if len(gathering.lines) < self._rows:
                piece = block[start:end]
                shown = "\\x" + piece.hex() if _is_binary(piece) else piece.decode("utf-8", "replace")
                gathering.lines += shown.splitlines()[: self._rows - len(gathering.lines)]

    def _close(self) -> Iterator[Scene]:
        gathering, self._gathering = self._gathering, None
        if gathering is None:
            return
        match gathering.scene:
            case Table() as scene:
                columns = scene.columns or tuple(
                    f"({n})" for n, _ in enumerate(next(iter(gathering.kept), ()))
                )
                yield replace(
                    scene,
                    columns=columns,
                    numbers=scene.numbers or (False,) * len(columns),
                    rows=tuple(gathering.kept),
                    count=gathering.count,
                    size_bytes=gathering.size_bytes,
                )
            case Copied() as scene:
                yield replace(
                    scene,
                    lines=tuple(gathering.lines),
                    messages=gathering.count,
                    size_bytes=gathering.size_bytes,
                )

    # ------------------------------------------------------------ what is still to be answered

    def _ended(self, kind: str) -> None:
        if self._awaited and self._awaited[0].kind == kind:
            self._awaited.popleft()

    def _failed(self) -> None:
        while self._awaited and self._awaited[0].kind in ("describe", "execute"):
            self._awaited.popleft()

    def _synced(self) -> None:
        while self._awaited and self._awaited.popleft().kind not in ("query", "sync"):
            pass


def _told(at_us: int, operation: int, fields: Mapping[str, str], *, failed: bool) -> Told:
    given = fields
    return Told(
        at_us=at_us,
        operation=operation,
        severity=given.get("V") or given.get("S") or ("ERROR" if failed else "NOTICE"),
        code=given.get("C", ""),
        text=given.get("M", ""),
        detail=given.get("D"),
        hint=given.get("H"),
        failed=failed,
    )


def _is_binary(piece: bytes | None) -> bool:
    return piece is not None and b"\x00" in piece


def _formatted(column: FieldDescription, format: int) -> FieldDescription:
    return FieldDescription(
        column.name,
        column.table_oid,
        column.column_number,
        column.type_oid,
        column.type_size,
        column.type_modifier,
        format,
    )
