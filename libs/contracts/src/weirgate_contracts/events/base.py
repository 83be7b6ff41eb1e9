"""The envelope of every event."""

from typing import Any, ClassVar, Literal, Self

from weirgate_contracts.value import EventId, Token, Value


class Event(Value):
    """A recorded fact, in the past tense. Never edited after release: a change is a new class with a new ``v``.

    A core makes an event without ``id``, ``at`` and ``trace``; the shell stamps it before it is published.
    """

    SUBJECT: ClassVar[str]
    """Subject with ``{field}`` places, filled from the event."""

    kind: str
    v: Literal[1] = 1
    id: EventId = ""
    at: str = ""
    """RFC 3339 UTC with microseconds, the writer's clock."""
    trace: str | None = None
    """W3C trace id, 32 hexadecimal digits."""

    @property
    def subject(self) -> str:
        """Subject this event is published on."""
        return self.SUBJECT.format_map(self.__dict__)

    def stamped(self, *, id: str, at: str, trace: str | None = None, **more: Any) -> Self:
        """Return the event with its envelope filled in (and fields only a shell knows, such as durations)."""
        return self.model_copy(update={"id": id, "at": at, "trace": trace, **more})

    def encoded(self) -> bytes:
        """Return the event as JSON, UTF-8, without absent fields being dropped.

        Raises:
            ValueError: the event was never stamped.
        """
        if not self.id or not self.at:
            raise ValueError(f"{self.kind}: an event is stamped before it is published")
        return self.__pydantic_serializer__.to_json(self)


class SessionEvent(Event):
    """An event of one session: its subject ends in ``<ingress>.<session>``."""

    ingress: Token
    session: Token
