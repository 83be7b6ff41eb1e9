"""The read model: writes of the recorder. The log stays the truth, this can be made again from it at any
time.

Invariants:

* A batch and the position it leads to are stored in one transaction, so each message has its effect exactly
  once: what is delivered again is at or below the position and is left out, whoever delivers it and however
  often.
* The position never moves over a message that was not read. A batch that does not begin right after the
  position raises :class:`Behind`; the follower then reads what lies between from the stream itself.
* Only who holds the lock of a stream writes it, on the same connection: a recorder that lost its connection
  has lost its lock and cannot write.
* A message that cannot be projected is stored all the same, without a kind. Nothing sticks.

``synchronous_commit`` is off for these connections: what PostgreSQL loses in a crash it loses together with
the position, and it is read from the stream again.
"""

import contextlib
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self, TypeAlias, TypeVar

import asyncpg

from weirgate_bus.port import Delivery
from weirgate_contracts.subjects import AUDIT_STREAM, RECORDING_STREAM
from weirgate_recorder.chain import CHECKPOINT_SUBJECT, GENESIS, link
from weirgate_recorder.merge import (
    APPROVAL_COLUMNS,
    EVENT_COLUMNS,
    LOCK_POSITION,
    MAKE_PATCHES,
    MERGE_APPROVALS,
    MERGE_OPERATIONS,
    MERGE_SESSIONS,
    OPERATION_COLUMNS,
    OPERATION_KEYS,
    PATCHES,
    READ_POSITION,
    SESSION_COLUMNS,
)
from weirgate_recorder.project import UNREADABLE, Entry, Patch, Projection
from weirgate_recorder.schema import MIGRATIONS, SCHEMA

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_CONNECT_DEADLINE_S: Final = 5.0
_WRITE_DEADLINE_S: Final = 60.0
_LOCKS: Final = {AUDIT_STREAM: 0x7765_6972_0001, RECORDING_STREAM: 0x7765_6972_0002}
"""Advisory locks of the two streams ("weir"), and below that of the migrations."""
_MIGRATION_LOCK: Final = 0x7765_6972_0000
_REBUILD_LOCK: Final = 0x7765_6972_0003

_UNSTORABLE = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    ValueError,  # and these three on our side, before anything is sent
    TypeError,
    OverflowError,
)
"""What one malformed event can raise; everything else is the read model's own trouble and is tried again."""


class StoreUnavailable(Exception):
    """The read model is away, or did not do it. Nothing of the batch is stored; the same may be written
    again."""


class Behind(Exception):
    """The batch begins after the position: what lies between has to be read first."""

    def __init__(self, position: int) -> None:
        super().__init__(f"stored up to {position}")
        self.position = position


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a stream is stored."""

    sequence: int = 0
    link: bytes = GENESIS
    checkpointed: int = 0
    """Newest sequence that a checkpoint in the log covers."""
    fresh: int = 0
    """Newest message that is not itself a checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A batch is stored."""

    position: Position
    stored: int
    holes: tuple[tuple[int, int], ...] = ()
    """Stretches, both ends included, that the stream itself does not hold."""
    mismatches: tuple[int, ...] = ()
    """Sequences at which the log says another thing than was stored: a checkpoint, or a message given
    again."""
    unreadable: tuple[int, ...] = ()
    """Sequences that hold no event this release can read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """What is kept of one message of a recording."""

    sequence: int
    ingress: str
    session: str
    size_bytes: int
    frames: int | None
    """``None``: it could not be opened."""
    first_at: datetime | None = None
    last_at: datetime | None = None


_Numbered = TypeVar("_Numbered", Delivery, Extent)


class Store:
    """One connection to the read model."""

    def __init__(self, connection: Connection, stream: str) -> None:
        self._connection = connection
        self._stream = stream

    @classmethod
    async def connect(cls, dsn: str, *, stream: str, schema: str = SCHEMA) -> Self:
        """Connect, and make or migrate the tables.

        Args:
            dsn: Address of the read model.
            stream: The stream this connection is to write.
            schema: Where the tables are; a rebuild fills another one first.

        Raises:
            StoreUnavailable: it is away, or refuses.
        """
        async with _translated():
            connection: Connection = await asyncpg.connect(
                dsn,
                timeout=_CONNECT_DEADLINE_S,
                command_timeout=_WRITE_DEADLINE_S,
                server_settings={
                    "application_name": f"weirgate-recorder-{stream.lower()}",
                    "search_path": schema,
                    "synchronous_commit": "off",
                    "timezone": "UTC",
                },
            )
            store = cls(connection, stream)
            try:
                await store._migrate(schema)
                await connection.execute(MAKE_PATCHES)
            except BaseException:
                connection.terminate()
                raise
            return store

    async def _migrate(self, schema: str) -> None:
        async with self._connection.transaction():
            await self._connection.execute("select pg_advisory_xact_lock($1)", _MIGRATION_LOCK)
            await self._connection.execute(f'create schema if not exists "{schema}"')
            await self._connection.execute(
                "create table if not exists migration"
                " (version integer primary key, at timestamptz not null default now())"
            )
            done: int = await self._connection.fetchval("select coalesce(max(version), 0) from migration")
            if done > len(MIGRATIONS):
                raise StoreUnavailable(f"the read model is of a newer release (version {done})")
            for version, statements in enumerate(MIGRATIONS[done:], done + 1):
                await self._connection.execute(statements)
                await self._connection.execute("insert into migration (version) values ($1)", version)
            for stream in _LOCKS:
                await self._connection.execute(
                    "insert into position (stream, sequence, link) values ($1, 0, $2) on conflict do nothing",
                    stream,
                    GENESIS,
                )

    async def lead(self) -> bool:
        """Try to become the one that writes this stream; it holds as long as the connection does."""
        async with _translated():
            return bool(
                await self._connection.fetchval("select pg_try_advisory_lock($1)", _LOCKS[self._stream])
            )

    async def position(self) -> Position:
        """Return how far the stream is stored."""
        async with _translated():
            return await self._read_position(lock=False)

    async def _read_position(self, *, lock: bool) -> Position:
        row = await self._connection.fetchrow(LOCK_POSITION if lock else READ_POSITION, self._stream)
        if row is None:
            raise StoreUnavailable("the read model has lost its position; rebuild it")
        return Position(
            sequence=row["sequence"], link=row["link"], checkpointed=row["checkpointed"], fresh=row["fresh"]
        )

    async def write_events(self, deliveries: Sequence[Delivery], *, from_stream: bool = False) -> Written:
        """Store messages of the AUDIT stream.

        Args:
            deliveries: In any order, with any repeats.
            from_stream: They were read in order from the stream itself, right from the position: what is
                missing between them is missing in the stream.

        Raises:
            Behind: they begin after the position, or have holes, and do not come from the stream itself.
            StoreUnavailable: nothing is stored.
        """
        ordered = _ordered(deliveries)
        async with _translated():
            try:
                return await self._write_events(ordered, from_stream=from_stream, project=True)
            except _UNSTORABLE:
                if len(ordered) == 1:
                    return await self._write_events(ordered, from_stream=from_stream, project=False)
        half = len(ordered) // 2
        one = await self.write_events(ordered[:half], from_stream=from_stream)
        other = await self.write_events(ordered[half:], from_stream=from_stream)
        return Written(
            position=other.position,
            stored=one.stored + other.stored,
            holes=one.holes + other.holes,
            mismatches=one.mismatches + other.mismatches,
            unreadable=one.unreadable + other.unreadable,
        )

    async def _write_events(
        self, ordered: Sequence[Delivery], *, from_stream: bool, project: bool
    ) -> Written:
        async with self._connection.transaction():
            position = await self._read_position(lock=True)
            fresh = [each for each in ordered if each.sequence > position.sequence]
            holes = tuple(_holes(position.sequence, fresh))
            if holes and not from_stream:
                raise Behind(position.sequence)
            mismatches = await self._compare_again(ordered[: len(ordered) - len(fresh)])
            if not fresh:
                return Written(position=position, stored=0, mismatches=tuple(mismatches))
            rows: list[tuple[Any, ...]] = []
            unreadable: list[int] = []
            links: dict[int, bytes] = {}
            projection = Projection()
            chain, newest = position.link, position.fresh
            for each in fresh:
                entry = projection.take(each.sequence, each.body) if project else UNREADABLE
                message_id = each.headers.get("Nats-Msg-Id", "")
                chain = link(
                    chain, sequence=each.sequence, subject=each.subject, message_id=message_id, body=each.body
                )
                links[each.sequence] = chain
                rows.append(_event_row(each, message_id, entry, chain))
                if entry.kind is None:
                    unreadable.append(each.sequence)
                if each.subject != CHECKPOINT_SUBJECT:
                    newest = each.sequence
            await self._connection.copy_records_to_table("events", records=rows, columns=EVENT_COLUMNS)
            await self._merge(projection)
            mismatches += await self._compare_checkpoints(projection, links)
            covered = [each.sequence for each in projection.checkpoints]
            position = Position(
                sequence=fresh[-1].sequence,
                link=chain,
                checkpointed=max(position.checkpointed, *covered) if covered else position.checkpointed,
                fresh=newest,
            )
            await self._move(position, holes)
        return Written(
            position=position,
            stored=len(fresh),
            holes=holes,
            mismatches=tuple(mismatches),
            unreadable=tuple(unreadable),
        )

    async def _merge(self, projection: Projection) -> None:
        if projection.operations:
            names = tuple(OPERATION_COLUMNS)
            await self._connection.copy_records_to_table(
                PATCHES,
                records=[
                    (*key, patch["sequence"], *[patch.get(name) for name in names])
                    for key, patch in projection.operations.items()
                ],
                columns=(*OPERATION_KEYS, *names),
            )
            await self._connection.execute(MERGE_OPERATIONS)
        if projection.sessions:
            patches = list(projection.sessions.values())
            await self._connection.execute(
                MERGE_SESSIONS, list(projection.sessions), *_columns(patches, SESSION_COLUMNS)
            )
        if projection.approvals:
            patches = list(projection.approvals.values())
            await self._connection.execute(
                MERGE_APPROVALS, list(projection.approvals), *_columns(patches, APPROVAL_COLUMNS)
            )
            for request, patch in projection.approvals.items():
                if patch["endorsed_by"]:
                    await self._connection.execute(
                        "update approvals set endorsed_by = endorsed_by || $2::text[] where request = $1",
                        request,
                        list(patch["endorsed_by"]),
                    )

    async def _compare_checkpoints(self, projection: Projection, links: dict[int, bytes]) -> list[int]:
        wrong: list[int] = []
        for checkpoint in projection.checkpoints:
            known = links.get(checkpoint.sequence)
            if known is None:
                known = await self._connection.fetchval(
                    "select link from events where sequence = $1", checkpoint.sequence
                )
            if known is None or known.hex() != checkpoint.chain:
                wrong.append(checkpoint.sequence)
        return wrong

    async def _compare_again(self, again: Sequence[Delivery]) -> list[int]:
        """Compare what is delivered again with what was stored: a log that was swapped shows here first."""
        if not again:
            return []
        rows = await self._connection.fetch(
            "select sequence, link, coalesce((select before.link from events before"
            " where before.sequence < events.sequence order by before.sequence desc limit 1), $2) as previous"
            " from events where sequence = any($1::bigint[])",
            [each.sequence for each in again],
            GENESIS,
        )
        known = {row["sequence"]: row for row in rows}
        return [each.sequence for each in again if not _same(each, known.get(each.sequence))]

    async def _move(self, position: Position, holes: Sequence[tuple[int, int]]) -> None:
        await self._connection.execute(
            "update position set sequence = $2, link = $3, checkpointed = $4, fresh = $5 where stream = $1",
            self._stream,
            position.sequence,
            position.link,
            position.checkpointed,
            position.fresh,
        )
        if holes:
            await self._connection.executemany(
                "insert into gap (stream, first, last) values ($1, $2, $3) on conflict do nothing",
                [(self._stream, first, last) for first, last in holes],
            )

    async def write_extents(
        self, extents: Sequence[Extent], *, reached: int, from_stream: bool = False
    ) -> Position:
        """Store where recordings lie.

        Args:
            extents: In any order, with any repeats.
            reached: Sequence up to which the stream has been read, for ``from_stream``.
            from_stream: See :meth:`write_events`.

        Raises:
            Behind: they begin after the position, or have holes, and do not come from the stream itself.
            StoreUnavailable: nothing is stored.
        """
        ordered = _ordered(extents)
        async with _translated(), self._connection.transaction():
            position = await self._read_position(lock=True)
            fresh = [each for each in ordered if each.sequence > position.sequence]
            holes = list(_holes(position.sequence, fresh))
            if holes and not from_stream:
                raise Behind(position.sequence)
            if not fresh and (not from_stream or reached <= position.sequence):
                return position
            gathered: dict[str, list[Extent]] = {}
            for each in fresh:
                gathered.setdefault(each.session, []).append(each)
            await self._connection.executemany(
                """
                insert into recordings as stored
                    (session, ingress, first_sequence, last_sequence, messages, unreadable, frames,
                     size_bytes, first_at, last_at)
                values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
                on conflict (session) do update set
                    last_sequence = excluded.last_sequence,
                    messages = stored.messages + excluded.messages,
                    unreadable = stored.unreadable + excluded.unreadable,
                    frames = stored.frames + excluded.frames,
                    size_bytes = stored.size_bytes + excluded.size_bytes,
                    first_at = coalesce(stored.first_at, excluded.first_at),
                    last_at = coalesce(excluded.last_at, stored.last_at)
                """,
                [_recording_row(session, members) for session, members in gathered.items()],
            )
            position = Position(sequence=max(reached, fresh[-1].sequence if fresh else 0))
            # Recordings may be dropped by age; a hole before the first one kept is no loss.
            await self._move(position, holes)
            return position

    async def close(self) -> None:
        """Disconnect; the lock of the stream goes with it."""
        with contextlib.suppress(Exception):
            await self._connection.close(timeout=2.0)

    @property
    def closed(self) -> bool:
        """The connection is lost: connect again."""
        return self._connection.is_closed()

    async def lock_rebuild(self) -> bool:
        """Try to become the one that rebuilds; it holds as long as the connection does."""
        async with _translated():
            return bool(await self._connection.fetchval("select pg_try_advisory_lock($1)", _REBUILD_LOCK))

    async def first_difference(self, schema: str) -> int | None:
        """Return the first sequence at which what stands was stored with another link than in ``schema``.

        Raises:
            StoreUnavailable: it could not be found out.
        """
        async with _translated():
            found = await self._connection.fetchval(
                f"""
                select min(stored.sequence) from events stored
                left join "{schema}".events again using (sequence)
                where again.link is distinct from stored.link
                """  # noqa: S608  (the name is a constant of ours)
            )
            return int(found) if found is not None else None

    async def take_name(self, schema: str, *, over: str = SCHEMA) -> None:
        """Give the tables of ``schema`` the name ``over``; what had that name is dropped. One transaction.

        Raises:
            StoreUnavailable: nothing has changed.
        """
        async with _translated(), self._connection.transaction():
            # Takes turns with every batch: each locks a row of this table first.
            await self._connection.execute(f'lock table "{over}".position in access exclusive mode')
            await self._connection.execute(f'alter schema "{over}" rename to "{over}_old"')
            await self._connection.execute(f'alter schema "{schema}" rename to "{over}"')
            await self._connection.execute(f'drop schema "{over}_old" cascade')

    async def drop(self, schema: str) -> None:
        """Drop tables a rebuild has left behind.

        Raises:
            StoreUnavailable: nothing has changed.
        """
        async with _translated():
            await self._connection.execute(f'drop schema if exists "{schema}" cascade')


@contextlib.asynccontextmanager
async def _translated() -> AsyncGenerator[None]:
    try:
        yield
    except _UNSTORABLE:
        raise
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise StoreUnavailable(f"{type(error).__name__}: {error}") from error


def _ordered(given: Sequence[_Numbered]) -> list[_Numbered]:
    return sorted({each.sequence: each for each in given}.values(), key=lambda each: each.sequence)


def _holes(position: int, ordered: Sequence[Delivery] | Sequence[Extent]) -> Iterable[tuple[int, int]]:
    if ordered and ordered[-1].sequence == position + len(ordered):
        return
    for each in ordered:
        if each.sequence > position + 1:
            yield position + 1, each.sequence - 1
        position = each.sequence


def _event_row(each: Delivery, message_id: str, entry: Entry, chain: bytes) -> tuple[Any, ...]:
    return (
        each.sequence,
        each.subject,
        message_id,
        entry.kind,
        entry.session,
        entry.operation,
        entry.at,
        each.body,
        chain,
    )


def _columns(patches: Sequence[Patch], columns: dict[str, str]) -> list[list[Any]]:
    return [[patch.get(name) for patch in patches] for name in columns]


def _same(each: Delivery, row: asyncpg.Record | None) -> bool:
    return row is not None and row["link"] == link(
        row["previous"],
        sequence=each.sequence,
        subject=each.subject,
        message_id=each.headers.get("Nats-Msg-Id", ""),
        body=each.body,
    )


def _recording_row(session: str, members: Sequence[Extent]) -> tuple[Any, ...]:
    firsts = [each.first_at for each in members if each.first_at is not None]
    lasts = [each.last_at for each in members if each.last_at is not None]
    return (
        session,
        members[0].ingress,
        members[0].sequence,
        members[-1].sequence,
        len(members),
        sum(each.frames is None for each in members),
        sum(each.frames or 0 for each in members),
        sum(each.size_bytes for each in members),
        firsts[0] if firsts else None,
        lasts[-1] if lasts else None,
    )
