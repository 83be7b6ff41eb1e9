"""The commands ``weirgate sessions list|show|replay`` and ``weirgate log tail|verify|rebuild``.

Exit status: 0 done, 1 refused, not found or not sound, 2 wrong use. What was asked for goes to stdout,
everything else to stderr.
"""

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from weirgate_bus.port import BusError
from weirgate_contracts.recording import Frame, decode_frames
from weirgate_recorder import show, tail
from weirgate_recorder.layout import WIDTH
from weirgate_recorder.prove import Busy, Contradicted, rebuild, verify
from weirgate_recorder.query import Ambiguous, ReadModel, SessionFilter
from weirgate_recorder.reach import Gateway, Unreachable
from weirgate_recorder.reading import Reading
from weirgate_recorder.replay import document, moment, tell
from weirgate_recorder.scene import Scene
from weirgate_recorder.store import StoreUnavailable

REFUSED: Final = 1
MISUSED: Final = 2
_IDLE_LIMIT_S: Final = 3.0
"""Longest pause a replay keeps: nobody waits out an agent that was thinking."""
_AGO: Final = re.compile(r"^(\d+)([smhd])$")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_VERDICTS: Final = ("allowed", "denied", "held")

DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir", envvar="WEIRGATE_DATA_DIR", help="Data directory of the gateway.", show_envvar=True
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
_HERE: Final = Path(".weirgate")


def register(app: typer.Typer) -> None:
    """Add the commands to the ``weirgate`` command."""
    sessions = group(app, "sessions", "What agents did: list, show, replay.")
    sessions.command("list")(list_sessions)
    sessions.command("show")(show_session)
    sessions.command("replay")(replay_session)
    log = group(app, "log", "The log itself: read it, prove it, rebuild what is derived from it.")
    log.command("tail")(tail_log)
    log.command("verify")(verify_log)
    log.command("rebuild")(rebuild_read_model)


def group(app: typer.Typer, name: str, help: str) -> typer.Typer:
    """Return the group of commands with this name, made where there is none: several packages share one."""
    for known in app.registered_groups:
        if known.name == name and known.typer_instance is not None:
            return known.typer_instance
    made = typer.Typer(help=help, no_args_is_help=True)
    app.add_typer(made, name=name)
    return made


# ---------------------------------------------------------------- sessions


def list_sessions(
    agent: Annotated[str | None, typer.Option(help="Only of this agent.")] = None,
    resource: Annotated[str | None, typer.Option(help="Only to this resource.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Opened since: 15m, 6h, 2d, or a time in RFC 3339.")
    ] = None,
    verdict: Annotated[
        str | None, typer.Option(help="With an operation that was allowed, denied or held.")
    ] = None,
    state: Annotated[str | None, typer.Option(help="open, closed or refused.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=100_000)] = 50,
    as_json: Json = False,
    data_dir: DataDir = _HERE,
) -> None:
    """List sessions, the newest first."""
    if verdict is not None and verdict not in _VERDICTS:
        _misused(f"--verdict {verdict}: write one of {', '.join(_VERDICTS)}")
    if state is not None and state not in ("open", "closed", "refused"):
        _misused(f"--state {state}: write open, closed or refused")
    wanted = SessionFilter(
        agent=agent, resource=resource, since=_since(since), verdict=verdict, state=state, limit=limit
    )

    async def ask() -> None:
        async with ReadModel.open(Gateway(directory=data_dir).read_model_dsn()) as read_model:
            rows = await read_model.sessions(wanted)
        if as_json:
            for row in rows:
                _print_json(row)
        elif rows:
            _print_lines(show.session_table(rows, width=_width()))
        else:
            _say("no session matches")

    _run(ask())


def show_session(
    session: Annotated[str, typer.Argument(help="Id of the session, or how it begins or ends.")],
    as_json: Json = False,
    data_dir: DataDir = _HERE,
) -> None:
    """Show a session: who, what was asked, each verdict with its rules and masks, and approvals."""

    async def ask() -> None:
        async with ReadModel.open(Gateway(directory=data_dir).read_model_dsn()) as read_model:
            found = await _find(read_model, session)
            operations = await read_model.operations(found["session"])
            approvals = await read_model.approvals(found["session"])
            recording = await read_model.recording(found["session"])
        if as_json:
            _print_json(found | {"operations": operations, "approvals": approvals, "recording": recording})
        else:
            _print_lines(show.session_page(found, operations, approvals, recording, width=_width()))

    _run(ask())


def replay_session(
    session: Annotated[str, typer.Argument(help="Id of the session, or how it begins or ends.")],
    speed: Annotated[float, typer.Option(help="So many times as fast as it was.", min=0.01)] = 1.0,
    instant: Annotated[
        bool, typer.Option("--instant", help="At once; always so where the output is no terminal.")
    ] = False,
    operation: Annotated[int | None, typer.Option(help="Only this operation.", min=1)] = None,
    rows: Annotated[int, typer.Option(help="Rows shown of each result, or lines of each body.", min=0)] = 20,
    raw: Annotated[
        bool, typer.Option("--raw", help="The recorded bytes themselves, in hexadecimal.")
    ] = False,
    as_json: Json = False,
    data_dir: DataDir = _HERE,
) -> None:
    """Replay what went in and out of a session, as the agent saw it."""
    paced = not instant and not as_json and sys.stdout.isatty()

    async def play() -> None:
        gateway = Gateway(directory=data_dir)
        ingress, found, protocol = await _place(gateway, session)
        sealer = gateway.sealer()
        reading = Reading(protocol, rows=rows)
        pace = _Pace(speed if paced else None)
        empty = True
        async for each in gateway.recordings([f"recording.{ingress}.{found}"]):
            empty = False
            try:
                frames = list(decode_frames(sealer.open(each.body, each.subject)))
            except ValueError as error:
                _fail(f"recording message {each.sequence} does not open: {error}")
            for frame in frames:
                if raw and (operation is None or frame.operation == operation):
                    await pace.wait(frame.at_us)
                    _print_raw(frame, as_json=as_json)
                elif not raw:
                    for scene in reading.feed(frame):
                        await _play(scene, pace, operation, as_json=as_json)
        if empty:
            _fail(f"there is no recording of session {found}")
        for scene in reading.finish():
            await _play(scene, pace, operation, as_json=as_json)

    _run(play())


class _Pace:
    """Waits as long as it took, speeded up; ``None``: not at all."""

    def __init__(self, speed: float | None) -> None:
        self._speed = speed
        self._last_us = 0

    async def wait(self, at_us: int) -> None:
        """Wait until it is time for what happened then."""
        if self._speed is not None and self._last_us and at_us > self._last_us:
            await asyncio.sleep(min((at_us - self._last_us) / 1_000_000, _IDLE_LIMIT_S) / self._speed)
        self._last_us = at_us


async def _play(scene: Scene, pace: _Pace, operation: int | None, *, as_json: bool) -> None:
    if operation is not None and scene.operation != operation:
        return
    await pace.wait(scene.at_us)
    if as_json:
        _print_json(document(scene))
    else:
        _print_lines(tell(scene, width=_width()))


def _print_raw(frame: Frame, *, as_json: bool) -> None:
    at = moment(frame.at_us).isoformat()
    if as_json:
        _print_json(
            {"at": at, "operation": frame.operation, "direction": frame.direction, "hex": frame.body.hex()}
        )
        return
    print(f"{at} #{frame.operation} {'▸' if frame.direction == 'i' else '◂'} {len(frame.body)} bytes")
    for start in range(0, len(frame.body), 24):
        piece = frame.body[start : start + 24]
        text = "".join(chr(each) if 32 <= each < 127 else "." for each in piece)
        print(f"  {start:06x}  {piece.hex():<48}  {text}")


async def _place(gateway: Gateway, given: str) -> tuple[str, str, str | None]:
    """Find ingress, full id and protocol; a full id needs no read model."""
    try:
        async with ReadModel.open(gateway.read_model_dsn()) as read_model:
            found = await _find(read_model, given)
        return found["ingress"], found["session"], found["protocol"]
    except (StoreUnavailable, Unreachable):
        if re.fullmatch(r"[A-Za-z0-9_-]{1,63}", given):
            return "*", given, None
        raise


async def _find(read_model: ReadModel, given: str) -> dict[str, Any]:
    try:
        return await read_model.session(given)
    except Ambiguous:
        _fail(f"several sessions begin or end with {given}; write more of it")
    except KeyError:
        _fail(f"there is no session {given}; `weirgate sessions list` names them")


# ---------------------------------------------------------------- log


def tail_log(
    last: Annotated[int, typer.Option(help="So many of the newest events.", min=0)] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    kind: Annotated[
        list[str] | None, typer.Option(help="Only these: operation.denied, or a family: operation.")
    ] = None,
    session: Annotated[str | None, typer.Option(help="Only of this session (whole id).")] = None,
    as_json: Json = False,
    data_dir: DataDir = _HERE,
) -> None:
    """Print the newest events of the log, and with --follow whatever comes."""
    if session is not None and not re.fullmatch(r"[A-Za-z0-9_-]{1,63}", session):
        _misused(f"--session {session}: not the id of a session")
    try:
        wanted = tail.subjects(kinds=kind or (), session=session)
    except tail.UnknownKind as error:
        _misused(f"--kind {error}: there are {', '.join(sorted(tail.KINDS))}")

    async def read() -> None:
        async with Gateway(directory=data_dir).bus() as bus:
            start = await tail.find_end(bus) + 1 if follow else 1
            for each in await tail.read_last(bus, wanted, last):
                _print_event(each, as_json=as_json)
                start = max(start, each.sequence + 1)
            if follow and wanted:
                async for each in tail.read_on(bus, wanted, start):
                    _print_event(each, as_json=as_json)

    _run(read())


def verify_log(
    alone: Annotated[
        bool,
        typer.Option("--log-only", help="Compare with the checkpoints in the log, not with the read model."),
    ] = False,
    as_json: Json = False,
    data_dir: DataDir = _HERE,
) -> None:
    """Prove that no event was changed, dropped, reordered or cut off since it was stored."""

    async def prove() -> None:
        gateway = Gateway(directory=data_dir)
        without: str | None = "as asked" if alone else None
        async with gateway.bus() as bus:
            report = None
            if not alone:
                try:
                    async with ReadModel.open(gateway.read_model_dsn()) as read_model:
                        report = await verify(bus, read_model, progress=_say)
                except (StoreUnavailable, Unreachable) as error:
                    without = str(error)
                    _say(f"without the read model: {error}")
            if report is None:
                report = await verify(bus, None, progress=_say)
        if as_json:
            _print_json(show.report_document(report, without=without))
        else:
            _print_lines(show.report_page(report, without=without))
        if not report.sound:
            raise typer.Exit(REFUSED)

    _run(prove())


def rebuild_read_model(
    discard_witness: Annotated[
        bool,
        typer.Option(
            "--discard-witness", help="Even where the log is no longer what the read model stored of it."
        ),
    ] = False,
    as_json: Json = False,
    data_dir: DataDir = _HERE,
) -> None:
    """Make the read model again from the log, while everything runs on."""

    async def make() -> None:
        gateway = Gateway(directory=data_dir)
        async with gateway.bus() as bus:
            try:
                done = await rebuild(
                    gateway.read_model_dsn(),
                    bus,
                    lambda start: gateway.recordings(["recording.>"], start=start),
                    gateway.sealer(),
                    discard_witness=discard_witness,
                    progress=_say,
                )
            except Busy:
                _fail("another rebuild is under way")
            except Contradicted as error:
                _fail(
                    f"{error}: the read model is the witness of that, and a rebuild would discard it. "
                    "See `weirgate log verify`; --discard-witness rebuilds all the same"
                )
        for sequence in done.mismatches:
            _say(f"warning: the checkpoint of {sequence} does not match the log; see `weirgate log verify`")
        for first, last in done.holes:
            _say(f"warning: the log does not hold {first} to {last}")
        if as_json:
            _print_json(
                {
                    "events": done.events,
                    "recordings": done.recordings,
                    "mismatches": done.mismatches,
                    "holes": done.holes,
                }
            )
        else:
            print(f"rebuilt from {done.events} events and {done.recordings} recording messages")

    _run(make())


# ---------------------------------------------------------------- common


def _run(work: Coroutine[Any, Any, None]) -> None:
    try:
        asyncio.run(work)
    except (Unreachable, StoreUnavailable) as error:
        _fail(str(error))
    except BusError as error:
        _fail(f"the log cannot be read: {type(error).__name__}: {error}")
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:
        # Whoever reads has enough (`| head`): the interpreter must not complain about it at the end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


def _fail(text: str) -> NoReturn:
    _say(text)
    raise typer.Exit(REFUSED)


def _misused(text: str) -> NoReturn:
    _say(text)
    raise typer.Exit(MISUSED)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print_json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False, default=_jsonable), flush=True)


def _jsonable(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    raise TypeError(type(value).__name__)


def _print_lines(lines: Any) -> None:
    for each in lines:
        print(each)
    sys.stdout.flush()


def _print_event(delivery: Any, *, as_json: bool) -> None:
    if as_json:
        _print_json(tail.document(delivery))
    else:
        print(tail.line(delivery, width=_width()), flush=True)


def _width() -> int:
    """As wide as the terminal, and where there is none as wide as is always right."""
    return max(60, shutil.get_terminal_size((WIDTH, 24)).columns) if sys.stdout.isatty() else WIDTH


def _since(given: str | None) -> datetime | None:
    if given is None:
        return None
    ago = _AGO.match(given)
    if ago is not None:
        return datetime.now(UTC) - timedelta(**{_UNITS[ago.group(2)]: int(ago.group(1))})
    try:
        moment_given = datetime.fromisoformat(given)
    except ValueError:
        _misused(f"--since {given}: write 15m, 6h, 2d, or a time such as 2026-03-01T12:00:00Z")
    return moment_given if moment_given.tzinfo is not None else moment_given.replace(tzinfo=UTC)
