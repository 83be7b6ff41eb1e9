"""What an agent is told when something is refused: stable codes, one sentence, the next allowed step."""

from enum import StrEnum

from pydantic import Field

from weirgate_contracts.value import Value


class RefusalCode(StrEnum):
    """Every reason Weirgate has to refuse. A code is never renamed or reused after release."""

    DENIED = "denied"
    """A rule forbids it, or no rule permits it."""
    LATERAL = "lateral"
    """The statement leads sideways (program, file, foreign server, dynamic SQL …)."""
    MASKED_PREDICATE = "masked_predicate"
    """A masked column decides which rows come back."""
    HELD_REFUSED = "held_refused"
    HELD_EXPIRED = "held_expired"
    HELD_WITHDRAWN = "held_withdrawn"
    UNPARSABLE = "unparsable"
    """The text cannot be read, or two readings of it disagree."""
    OPAQUE = "opaque"
    """It touches something whose inside cannot be seen."""
    UNSUPPORTED = "unsupported"
    """A message kind or form that no judge understands."""
    CODING_UNKNOWN = "coding_unknown"
    """A body that must be read is in a content coding that cannot be."""
    TOO_LARGE = "too_large"
    PROTOCOL = "protocol"
    """The peer broke the protocol."""
    VERDICT_TIMEOUT = "verdict_timeout"
    PLAN_TIMEOUT = "plan_timeout"
    PLAN_MISMATCH = "plan_mismatch"
    """What came back is not what the mask plan covers."""
    PLAN_IMPOSSIBLE = "plan_impossible"
    CATALOG_CHANGED = "catalog_changed"
    """Verdict and plan saw different catalogs; the same statement may be sent again."""
    LIMIT_EXCEEDED = "limit_exceeded"
    CREDENTIAL_ECHOED = "credential_echoed"
    """The upstream repeats the gateway's credential in its answer."""
    LOG_UNAVAILABLE = "log_unavailable"
    LOG_FULL = "log_full"
    UPSTREAM_UNAVAILABLE = "upstream_unavailable"
    UPSTREAM_LOST = "upstream_lost"
    """The upstream went away while an operation was under way: its effect is unknown."""
    TOKEN_INVALID = "token_invalid"
    TOKEN_EXPIRED = "token_expired"
    RESOURCE_UNKNOWN = "resource_unknown"
    TLS_REQUIRED = "tls_required"
    MISDIRECTED = "misdirected"
    """A request inside a tunnel is for another host than the tunnel."""
    LOGIN_TIMEOUT = "login_timeout"
    TOO_MANY = "too_many"
    """A limit on sessions or unauthenticated connections is reached."""
    KILLED = "killed"
    SHUTDOWN = "shutdown"


class Refusal(Value):
    """What is refused, by which rule, and the next allowed step."""

    code: RefusalCode
    reason: str = Field(max_length=2000)
    """One sentence: what was refused and why. Never holds a masked value or a secret."""
    rules: tuple[str, ...] = ()
    """Ids of the rules that decided, where there are any."""
    hint: str | None = Field(default=None, max_length=2000)
    """The next allowed step, for a person or a model to act on."""
