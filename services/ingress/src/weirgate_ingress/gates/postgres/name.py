"""Prepared statements and portals of a session: the SQL behind each name.

The wire and SQL (PREPARE, DECLARE) share each namespace. What is kept is a superset of what exists upstream,
and a name is changed only when the upstream confirms it (ParseComplete, BindComplete, CommandComplete). So a
name either is missing here, and then refused, or means the text that was judged.

Names longer than 63 bytes are refused: PostgreSQL keys its tables by the first 63, so two long names could
stand for each other, and one judged text for another.
"""

from dataclasses import dataclass

from weirgate_contracts.operation import Definition
from weirgate_wire.postgres.error import PeerError

NAME_LIMIT_BYTES = 63
OWN_NAME = "weirgate.own"
"""Statement, portal and savepoint name of the gate itself; agents may not use it."""


@dataclass(frozen=True, slots=True)
class Portal:
    """An open portal or cursor."""

    text: str
    outlives: bool
    """It may outlive its transaction (DECLARE … WITH HOLD)."""
    declared: bool = False
    """Opened by SQL (DECLARE), not by Bind."""


class Names:
    """The names of one session."""

    __slots__ = ("_limit_bytes", "_size_bytes", "portals", "prepared")

    def __init__(self, limit_bytes: int) -> None:
        self.prepared: dict[str, str] = {}
        self.portals: dict[str, Portal] = {}
        self._limit_bytes = limit_bytes
        self._size_bytes = 0

    @property
    def full(self) -> bool:
        """Whether so much is kept that nothing more may be prepared."""
        return self._size_bytes > self._limit_bytes

    def parsed(self, name: str, text: str) -> None:
        """The upstream has prepared a statement."""
        self.dropped_statement(name)
        self.prepared[name] = text
        self._size_bytes += len(name) + len(text)

    def bound(self, name: str, text: str, *, outlives: bool = False, declared: bool = False) -> None:
        """The upstream has opened a portal."""
        self.dropped_portal(name)
        self.portals[name] = Portal(text, outlives, declared)
        self._size_bytes += len(name) + len(text)

    def dropped_statement(self, name: str) -> None:
        """The upstream has forgotten a statement."""
        text = self.prepared.pop(name, None)
        if text is not None:
            self._size_bytes -= len(name) + len(text)

    def dropped_portal(self, name: str) -> None:
        """The upstream has closed a portal."""
        portal = self.portals.pop(name, None)
        if portal is not None:
            self._size_bytes -= len(name) + len(portal.text)

    def defined(self, definition: Definition, *, outlives: bool) -> None:
        """A statement that defines or drops names at SQL level has succeeded."""
        statement = definition.kind == "prepared"
        if definition.text is None:
            drop = self.dropped_statement if statement else self.dropped_portal
            for name in (
                list(self.prepared if statement else self.portals)
                if definition.name == "*"
                else [definition.name]
            ):
                drop(name)
        elif statement:
            self.parsed(definition.name, definition.text)
        else:
            self.bound(definition.name, definition.text, outlives=outlives, declared=True)

    def simple_query_begins(self) -> None:
        """A simple query drops the unnamed statement and the unnamed portal."""
        self.dropped_statement("")
        self.dropped_portal("")

    def transaction_ended(self) -> None:
        """Portals do not outlive their transaction, held cursors do."""
        if self.portals:
            for name in [name for name, portal in self.portals.items() if not portal.outlives]:
                self.dropped_portal(name)

    def prepared_for(self, text: str) -> dict[str, str]:
        """Return the statements a text may refer to: those named in it, where it says EXECUTE or
        DEALLOCATE."""
        if not self.prepared or not _says(text, ("execute", "deallocate")):
            return {}
        return {name: sql for name, sql in self.prepared.items() if name and _may_name(name, text)}

    def cursors_for(self, text: str) -> dict[str, str]:
        """Return the cursors a text may refer to: those named in it, where it has a word that takes one."""
        if not self.portals or not _says(text, ("fetch", "move", "close", "current", "cursor")):
            return {}
        return {name: portal.text for name, portal in self.portals.items() if name and _may_name(name, text)}


def check_name(name: str) -> None:
    """Check a name the agent chose.

    Raises:
        PeerError: longer than 63 bytes, or the gate's own.
    """
    if len(name) > NAME_LIMIT_BYTES // 4 and len(name.encode()) > NAME_LIMIT_BYTES:
        raise PeerError("a statement or portal name is longer than 63 bytes")
    if name == OWN_NAME:
        raise PeerError("a statement or portal name is reserved")


def _says(text: str, words: tuple[str, ...]) -> bool:
    lowered = text.lower()
    return any(word in lowered for word in words)


def _may_name(name: str, text: str) -> bool:
    # A name can be spelt with escapes or doubled quotes; then, and outside ASCII, it counts as named.
    lowered = text.lower()
    return not name.isascii() or '"' in name or 'u&"' in lowered or name.lower() in lowered
