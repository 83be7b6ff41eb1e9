"""The shells of ``weirgate log verify`` and ``weirgate log rebuild``."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from weirgate_bus.port import Bus, Delivery
from weirgate_contracts.subjects import (
    AUDIT_STREAM,
    AUDIT_SUBJECTS,
    RECORDING_STREAM,
)
from weirgate_recorder.chain import Report, Verifier, Witness
from weirgate_recorder.query import ReadModel
from weirgate_recorder.schema import SCHEMA
from weirgate_recorder.sink import Opener, extent
from weirgate_recorder.store import Extent, Store

REBUILD_SCHEMA: Final = "weirgate_rebuild"
_BATCH: Final = 2000
_PROGRESS: Final = 20_000

Progress = Callable[[str], None]


async def verify(bus: Bus, read_model: ReadModel | None, *, progress: Progress) -> Report:
    """Recompute the chain over the whole log.

    The read model's state is one snapshot from before the log is read, so the log can only be longer than it.

    Args:
        bus: Of a user who may read the log.
        read_model: To compare each message with; ``None``: with the checkpoints in the log alone.
        progress: Told now and then how far it is.
    """
    verifier = Verifier()
    async with AsyncExitStack() as stack:
        stored = None
        witnesses: AsyncIterator[tuple[int, Witness]] | None = None
        if read_model is not None:
            stored = await read_model.position(AUDIT_STREAM)
            witnesses = read_model.witnesses()
            stack.push_async_callback(_close, witnesses)
        ahead = await _next(witnesses)
        async for each in bus.read(AUDIT_STREAM, subjects=[AUDIT_SUBJECTS]):
            while ahead is not None and ahead[0] < each.sequence:
                ahead = await _next(witnesses)
            verifier.feed(
                sequence=each.sequence,
                subject=each.subject,
                message_id=each.headers.get("Nats-Msg-Id", ""),
                body=each.body,
                witness=ahead[1] if ahead is not None and ahead[0] == each.sequence else None,
            )
            if each.sequence % _PROGRESS == 0:
                progress(f"{each.sequence} messages")
    return verifier.finish(stored=stored)


async def _next(witnesses: AsyncIterator[tuple[int, Witness]] | None) -> tuple[int, Witness] | None:
    return await anext(witnesses, None) if witnesses is not None else None


async def _close(witnesses: AsyncIterator[tuple[int, Witness]]) -> None:
    close = getattr(witnesses, "aclose", None)
    if close is not None:
        await close()


class Contradicted(Exception):
    """The log is no longer what the read model stored of it: a rebuild would throw the witness away."""

    def __init__(self, sequence: int) -> None:
        super().__init__(f"the log at {sequence} is not what the read model stored of it")
        self.sequence = sequence


class Busy(Exception):
    """Another rebuild is under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """The read model was made again."""

    events: int
    recordings: int
    mismatches: tuple[int, ...]
    """Checkpoints in the log that the log itself does not match."""
    holes: tuple[tuple[int, int], ...]


async def rebuild(
    dsn: str,
    audit: Bus,
    recordings: Callable[[int], AsyncIterator[Delivery]],
    opener: Opener,
    *,
    discard_witness: bool,
    progress: Progress,
) -> Rebuilt:
    """Make the read model again from the log, beside the one that serves, and put it in its place.

    Services run on: the recorder goes on writing what stands until the moment of the exchange, and on what
    came in its place after it; readers see the one or the other, whole.

    Args:
        dsn: Address of the read model.
        audit: Bus of a user who may read the log.
        recordings: Gives recording messages from a sequence on.
        opener: Opens recordings.
        discard_witness: Go on even where the log is no longer what the read model stored of it.
        progress: Told now and then how far it is.

    Raises:
        Contradicted: see there; nothing has changed.
        Busy: another rebuild is under way; nothing has changed.
        StoreUnavailable: the read model is away; nothing has changed.
        BusError: NATS is away; nothing has changed.
    """
    standing = await Store.connect(dsn, stream=AUDIT_STREAM)
    try:
        if not await standing.lock_rebuild():
            raise Busy
        await standing.drop(REBUILD_SCHEMA)
        events = await Store.connect(dsn, stream=AUDIT_STREAM, schema=REBUILD_SCHEMA)
        index = await Store.connect(dsn, stream=RECORDING_STREAM, schema=REBUILD_SCHEMA)
        try:
            mismatches, holes = await _fill_events(events, audit, progress)
            await _fill_recordings(index, recordings, opener, progress)
            wrong = await standing.first_difference(REBUILD_SCHEMA)
            if wrong is not None and not discard_witness:
                raise Contradicted(wrong)
            await standing.take_name(REBUILD_SCHEMA)
        finally:
            await events.close()
            await index.close()
        # What came between the end of the reading and the exchange; a running recorder may be at it already.
        tail = await Store.connect(dsn, stream=AUDIT_STREAM, schema=SCHEMA)
        tail_index = await Store.connect(dsn, stream=RECORDING_STREAM, schema=SCHEMA)
        try:
            more, more_holes = await _fill_events(tail, audit, progress)
            await _fill_recordings(tail_index, recordings, opener, progress)
            return Rebuilt(
                events=(await tail.position()).sequence,
                recordings=(await tail_index.position()).sequence,
                mismatches=mismatches + more,
                holes=holes + more_holes,
            )
        finally:
            await tail.close()
            await tail_index.close()
    except BaseException:
        if not standing.closed:
            await standing.drop(REBUILD_SCHEMA)
        raise
    finally:
        await standing.close()


async def _fill_events(
    store: Store, bus: Bus, progress: Progress
) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    mismatches: list[int] = []
    holes: list[tuple[int, int]] = []
    gathered: list[Delivery] = []

    async def write() -> None:
        written = await store.write_events(gathered, from_stream=True)
        mismatches.extend(written.mismatches)
        holes.extend(written.holes)
        gathered.clear()

    start = (await store.position()).sequence + 1
    async for each in bus.read(AUDIT_STREAM, subjects=[AUDIT_SUBJECTS], start=start):
        gathered.append(each)
        if len(gathered) >= _BATCH:
            await write()
        if each.sequence % _PROGRESS == 0:
            progress(f"{each.sequence} events")
    if gathered:
        await write()
    return tuple(mismatches), tuple(holes)


async def _fill_recordings(
    store: Store,
    recordings: Callable[[int], AsyncIterator[Delivery]],
    opener: Opener,
    progress: Progress,
) -> None:
    gathered: list[Extent] = []
    reached = (await store.position()).sequence
    async for each in recordings(reached + 1):
        reached = each.sequence
        kept = extent(each, opener)
        if kept is not None:
            gathered.append(kept)
        if len(gathered) >= _BATCH:
            await store.write_extents(gathered, reached=reached, from_stream=True)
            gathered.clear()
            progress(f"{reached} recording messages")
    await store.write_extents(gathered, reached=reached, from_stream=True)
