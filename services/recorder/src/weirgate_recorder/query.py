"""The read model: reads, for the ``weirgate`` command. Each opens a connection, asks, and closes it."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self, TypeAlias

import asyncpg

from weirgate_recorder.chain import GENESIS, Witness
from weirgate_recorder.schema import SCHEMA
from weirgate_recorder.store import StoreUnavailable

_CONNECT_DEADLINE_S: Final = 5.0
_DEADLINE_S: Final = 120.0
_PREFETCH: Final = 2000

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFilter:
    """Which sessions are listed; what is ``None`` does not matter."""

    agent: str | None = None
    resource: str | None = None
    since: datetime | None = None
    verdict: str | None = None
    """Sessions with at least one operation that got it; ``held``: that was held, whatever came of it."""
    state: str | None = None
    limit: int = 50


class Ambiguous(LookupError):
    """Several sessions are meant by what was given."""


class ReadModel:
    """A connection that only reads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, dsn: str) -> AsyncGenerator[Self]:
        """Connect, read one state of the read model, disconnect.

        Raises:
            StoreUnavailable: it is away, or holds nothing yet.
        """
        try:
            connection: Connection = await asyncpg.connect(
                dsn,
                timeout=_CONNECT_DEADLINE_S,
                command_timeout=_DEADLINE_S,
                server_settings={
                    "application_name": "weirgate",
                    "search_path": SCHEMA,
                    "timezone": "UTC",
                    "default_transaction_read_only": "on",
                },
            )
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise StoreUnavailable(f"{type(error).__name__}: {error}") from error
        try:
            # One snapshot: a session that is recorded on meanwhile is shown as it is at one moment.
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                yield cls(connection)
        except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError) as error:
            raise StoreUnavailable("the read model holds nothing yet: no recorder has run") from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise StoreUnavailable(f"{type(error).__name__}: {error}") from error
        finally:
            connection.terminate()

    async def sessions(self, wanted: SessionFilter) -> list[Row]:
        """Return sessions, the newest first."""
        rows = await self._connection.fetch(
            """
            select s.*, o.asked, o.denied, o.held, o.failed, o.cells_masked, o.rows
            from sessions s
            left join lateral (
                select count(*) as asked,
                       count(*) filter (where verdict = 'denied') as denied,
                       count(*) filter (where request is not null) as held,
                       count(*) filter (where outcome in ('error', 'failed', 'refused')) as failed,
                       coalesce(sum(cells_masked), 0)::bigint as cells_masked,
                       coalesce(sum(rows), 0)::bigint as rows
                from operations where operations.session = s.session
            ) o on true
            where ($1::text is null or s.agent = $1)
              and ($2::text is null or s.resource = $2)
              and ($3::timestamptz is null or s.opened_at >= $3)
              and ($4::text is null or exists (
                    select from operations v where v.session = s.session
                    and (v.verdict = $4 or ($4 = 'held' and v.request is not null))))
              and ($5::text is null or s.state = $5)
            order by s.opened_at desc nulls last, s.session desc
            limit $6
            """,
            wanted.agent,
            wanted.resource,
            wanted.since,
            wanted.verdict,
            wanted.state,
            wanted.limit,
        )
        return [dict(row) for row in rows]

    async def session(self, given: str) -> Row:
        """Return one session, by its id or by how its id begins or ends.

        Raises:
            KeyError: there is none.
            Ambiguous: there are several.
        """
        rows = await self._connection.fetch("select * from sessions where session = $1", given)
        if not rows:
            rows = await self._connection.fetch(
                "select * from sessions"
                " where starts_with(session, $1) or right(session, length($1)) = $1 limit 2",
                given.upper(),
            )
        if len(rows) > 1:
            raise Ambiguous(given)
        if not rows:
            raise KeyError(given)
        return dict(rows[0])

    async def operations(self, session: str) -> list[Row]:
        """Return the operations of a session, in order."""
        rows = await self._connection.fetch(
            "select * from operations where session = $1 order by operation", session
        )
        return [dict(row) for row in rows]

    async def approvals(self, session: str) -> list[Row]:
        """Return the approval requests of a session, in order."""
        rows = await self._connection.fetch(
            "select * from approvals where session = $1 order by requested_at, request", session
        )
        return [dict(row) for row in rows]

    async def recording(self, session: str) -> Row | None:
        """Return where the recording of a session lies."""
        row = await self._connection.fetchrow("select * from recordings where session = $1", session)
        return dict(row) if row is not None else None

    async def position(self, stream: str) -> int:
        """Return how far a stream is stored."""
        found = await self._connection.fetchval("select sequence from position where stream = $1", stream)
        return int(found or 0)

    async def witnesses(self) -> AsyncIterator[tuple[int, Witness]]:
        """Give what was stored of each message of the log, in order of sequence."""
        previous = GENESIS
        cursor = self._connection.cursor(
            "select sequence, message_id, link from events order by sequence", prefetch=_PREFETCH
        )
        async for row in cursor:
            yield (
                row["sequence"],
                Witness(previous=previous, link=row["link"], message_id=row["message_id"]),
            )
            previous = row["link"]
