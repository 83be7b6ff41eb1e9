"""Turn a segment into an operation: give names their meaning, list the statements to be judged, lay out the
bytes to be sent and the answers owed for them.

Rules:

* Parse: one statement, phase ``prepare``; the first Bind of it in the same segment turns it into ``run``.
* Bind of an earlier statement, or a second Bind: one statement, ``run``, with the parameters of that Bind.
* Describe of an earlier statement or portal: one statement, ``prepare`` (columns are knowledge too).
* Execute of an earlier portal: one statement, ``fetch``.
* Rows never come without their columns being known: where the agent did not describe a portal in this
segment, a
  Describe of the gate's own goes before its Execute. What was described in an earlier segment counts for
  nothing.
"""

import re
from base64 import b64encode
from collections import deque
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal

from weirgate_contracts.operation import PARAMETERS_LIMIT_BYTES, STATEMENT_LIMIT_BYTES, Parameter, Statement
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.postgres.name import Names, check_name
from weirgate_ingress.gates.postgres.operation import Operation, Step, StepKind
from weirgate_ingress.gates.postgres.segment import Segment
from weirgate_ingress.gates.sqlstate import PORTAL_UNKNOWN_STATE, STATEMENT_UNKNOWN_STATE
from weirgate_wire.postgres.message import Bind, Close, Describe, Execute, Flush, Parse, Query, Sync

_MAY_DEFINE = re.compile(
    r"\b(prepare|deallocate|discard|declare|close|search_path|set_config)\b|^\W*(set|reset|rollback)\b",
    re.IGNORECASE,
)
"""Keywords cannot be spelt with escapes, so no such statement is without the word. Too many cost an
operation more."""
_FLUSH = Flush().encode()
_SYNC = Sync().encode()


Phase = Literal["prepare", "run", "fetch"]


class Unsendable(Exception):
    """The segment is refused without being asked about."""

    def __init__(self, refusal: Refusal, sqlstate: str | None = None) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal
        self.sqlstate = sqlstate


@dataclass(slots=True)
class _Slot:
    text: str
    phase: Phase
    parameters: tuple[Parameter, ...] = ()


@dataclass(slots=True)
class _Compiler:
    names: Names
    slots: list[_Slot] = field(default_factory=list[_Slot])
    wire: list[bytes] = field(default_factory=list[bytes])
    steps: deque[Step] = field(default_factory=deque[Step])
    parsed: dict[str, int] = field(default_factory=dict[str, int])
    """Statements of this segment, to their slot."""
    closed_statements: set[str] = field(default_factory=set[str])
    bound: dict[str, int] = field(default_factory=dict[str, int])
    closed_portals: set[str] = field(default_factory=set[str])
    fetched: dict[str, int] = field(default_factory=dict[str, int])
    described: set[str] = field(default_factory=set[str])
    parameters_left: int = PARAMETERS_LIMIT_BYTES

    def parse(self, message: Parse) -> None:
        check_name(message.name)
        _check_length(message.text)
        if self.names.full:
            raise Unsendable(
                Refusal(
                    code=RefusalCode.TOO_MANY,
                    reason="This session keeps too much SQL in prepared statements.",
                    hint="Close prepared statements that are no longer needed.",
                )
            )
        self.parsed[message.name] = self.slot(message.text, "prepare")
        self.steps.append(Step(StepKind.PARSE, message.name, message.text))

    def bind(self, message: Bind) -> None:
        check_name(message.portal)
        known = self.parsed.get(message.statement)
        text = self.statement_text(message.statement)
        parameters = self.parameters(message)
        if known is not None and self.slots[known].phase == "prepare":
            self.slots[known].phase = "run"
            self.slots[known].parameters = parameters
        else:
            known = self.slot(text, "run", parameters)
        self.bound[message.portal] = known
        self.closed_portals.discard(message.portal)
        self.fetched.pop(message.portal, None)
        self.described.discard(message.portal)
        self.steps.append(Step(StepKind.BIND, message.portal, text))

    def describe(self, message: Describe) -> None:
        if message.what == "S":
            text = self.statement_text(message.name)
            known = self.parsed.get(message.name)
            if known is None:
                known = self.slot(text, "prepare")
            self.steps.append(Step(StepKind.DESCRIBE_STATEMENT, message.name, statement=known))
        else:
            number = self.bound.get(message.name)
            if number is None:
                number = self.slot(self.portal_text(message.name), "prepare")
            self.steps.append(Step(StepKind.DESCRIBE_PORTAL, message.name, statement=number))
            if message.name in self.bound or message.name in self.fetched:
                self.described.add(message.name)

    def execute(self, message: Execute) -> None:
        portal = message.portal
        number = self.bound.get(portal)
        if number is None:
            number = self.fetched.get(portal)
        if number is None:
            number = self.slot(self.portal_text(portal), "fetch")
            self.fetched[portal] = number
        if portal not in self.described:
            self.wire.append(Describe("P", portal).encode())
            self.steps.append(Step(StepKind.DESCRIBE_PORTAL, portal, statement=number, own=True))
            self.described.add(portal)
        self.steps.append(Step(StepKind.EXECUTE, portal, statement=number))

    def close(self, message: Close) -> None:
        if message.what == "S":
            self.parsed.pop(message.name, None)
            self.closed_statements.add(message.name)
            self.steps.append(Step(StepKind.CLOSE_STATEMENT, message.name))
        else:
            self.bound.pop(message.name, None)
            self.fetched.pop(message.name, None)
            self.described.discard(message.name)
            self.closed_portals.add(message.name)
            self.steps.append(Step(StepKind.CLOSE_PORTAL, message.name))

    def slot(self, text: str, phase: Phase, parameters: tuple[Parameter, ...] = ()) -> int:
        self.slots.append(_Slot(text, phase, parameters))
        return len(self.slots) - 1

    def statement_text(self, name: str) -> str:
        known = self.parsed.get(name)
        if known is not None:
            return self.slots[known].text
        text = None if name in self.closed_statements else self.names.prepared.get(name)
        if text is None:
            raise _unknown("prepared statement", name, STATEMENT_UNKNOWN_STATE)
        return text

    def portal_text(self, name: str) -> str:
        portal = None if name in self.closed_portals else self.names.portals.get(name)
        if portal is None:
            raise _unknown("portal", name, PORTAL_UNKNOWN_STATE)
        if portal.declared:
            # What opened it is not what is done now: its rows are fetched, as SQL would fetch them.
            quoted = name.replace('"', '""')
            return f'FETCH FROM "{quoted}"'
        return portal.text

    def parameters(self, message: Bind) -> tuple[Parameter, ...]:
        shown: list[Parameter] = []
        for number, cell in enumerate(message.parameters):
            if cell is None:
                shown.append(_NULL)
                continue
            size = len(cell)
            if size > self.parameters_left:
                shown.append(Parameter(sha256=sha256(cell).hexdigest(), size_bytes=size))
                continue
            self.parameters_left -= size
            if message.parameter_format(number) == 0:
                try:
                    shown.append(Parameter(text=cell.decode(), size_bytes=size))
                    continue
                except UnicodeDecodeError:
                    pass
            shown.append(Parameter(base64=b64encode(cell).decode(), size_bytes=size))
        return tuple(shown)


_NULL = Parameter()


def compile_query(message: Query, raw: bytes, number: int) -> Operation:
    """Make the operation of a simple query.

    Raises:
        Unsendable: the text is too long.
    """
    _check_length(message.text)
    return Operation(
        number=number,
        ends="query",
        raw=raw,
        wire=raw,
        digest=sha256(raw).hexdigest(),
        statements=(Statement(text=message.text, phase="run", simple=True),),
        steps=deque((Step(StepKind.QUERY),)),
    )


def compile_batch(segment: Segment, names: Names, number: int) -> tuple[Operation, Segment | None]:
    """Make the operation of an extended segment; without statements it is bookkeeping, with number 0.

    Returns:
        The operation, and the rest of the segment where it must wait for the operation's end.

    Raises:
        Unsendable: a text is too long, or a name means nothing.
        PeerError: a name no agent may use.
    """
    compiler = _Compiler(names)
    ends = segment.ends
    rest: Segment | None = None
    for at, (message, raw) in enumerate(segment.messages):
        match message:
            case Parse():
                compiler.parse(message)
            case Bind():
                compiler.bind(message)
            case Describe():
                compiler.describe(message)
            case Execute():
                compiler.execute(message)
            case Close():
                compiler.close(message)
            case Query():
                raise AssertionError("a Query stands alone in its segment")
        compiler.wire.append(raw)
        if isinstance(message, Execute) and at + 1 < len(segment.messages):
            text = compiler.slots[compiler.steps[-1].statement].text
            if _MAY_DEFINE.search(text):
                left = segment.messages[at + 1 :]
                rest = Segment(ends, left, sum(len(one) for _, one in left))
                segment = Segment("cut", segment.messages[: at + 1])
                break
    if segment.ends == "sync":
        compiler.wire.append(_SYNC)
        compiler.steps.append(Step(StepKind.SYNC))
    else:
        compiler.wire.append(_FLUSH)
    wire = b"".join(compiler.wire)
    statements = tuple(
        Statement(text=one.text, phase=one.phase, parameters=one.parameters) for one in compiler.slots
    )
    operation = Operation(
        number=number if statements else 0,
        ends=segment.ends,
        raw=b"".join(raw for _, raw in segment.messages),
        wire=wire,
        digest=sha256(wire).hexdigest() if statements else "",
        statements=statements,
        steps=compiler.steps,
    )
    return operation, rest


def _check_length(text: str) -> None:
    # The quick test first: no text is shorter in bytes than in characters, none longer than four times.
    if len(text) * 4 > STATEMENT_LIMIT_BYTES and len(text.encode()) > STATEMENT_LIMIT_BYTES:
        raise Unsendable(
            Refusal(
                code=RefusalCode.TOO_LARGE,
                reason=f"A statement longer than {STATEMENT_LIMIT_BYTES} bytes is not judged.",
                hint="Send the values as parameters or by COPY instead of writing them into the text.",
            )
        )


def _unknown(what: str, name: str, sqlstate: str) -> Unsendable:
    shown = f'{what} "{name}" does not exist' if name else f"unnamed {what} does not exist"
    return Unsendable(
        Refusal(
            code=RefusalCode.UNSUPPORTED,
            reason=shown,
            hint="Prepare it again in this session, and send the batch again.",
        ),
        sqlstate,
    )
