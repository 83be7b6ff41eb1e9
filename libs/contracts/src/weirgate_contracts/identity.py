"""Who is on the other side of a session."""

from pydantic import Field

from weirgate_contracts.value import ResourceName, Value


class Identity(Value):
    """What a verified token says. Nothing in it is taken from what the agent merely claims."""

    agent: str = Field(min_length=1, max_length=128)
    """The agent: ``act.sub`` of a delegated token, else ``sub``."""
    user: str | None = Field(default=None, max_length=256)
    """The person the agent works for: ``sub`` of a delegated token."""
    groups: tuple[str, ...] = ()
    """Groups of the agent itself, sorted. A person's groups are never inherited."""
    run: str | None = Field(default=None, max_length=128)
    """One agent's piece of work, across sessions and protocols."""
    tool: str | None = Field(default=None, max_length=128)
    """The tool of the agent this token was narrowed to."""
    resources: tuple[ResourceName, ...] | None = None
    """Resources the token is narrowed to; ``None``: no narrowing."""
    issuer: str
    token_id: str
    """``jti``; the token itself appears nowhere."""
    expires_at: int
    """Seconds since 1970, ``exp``."""

    def is_same_party(self, other: "Identity") -> bool:
        """Say whether both are one party: all that stands in the token but its own number and its end.

        A token that was renewed is the same party; another person, group, run, tool or narrowing is not.
        """
        return self._lasting() == other._lasting()

    def _lasting(self) -> "Identity":
        return self.model_copy(update={"token_id": "", "expires_at": 0})
