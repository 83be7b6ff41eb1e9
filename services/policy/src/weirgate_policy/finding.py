"""What judging starts from and what it finds, whichever protocol an operation is of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from weirgate_contracts.config import ToolsDocument
from weirgate_contracts.events import OperationIntercepted
from weirgate_contracts.identity import Identity
from weirgate_contracts.labels import DETECTOR_LABELS
from weirgate_contracts.operation import Definition, SessionContext, Touched
from weirgate_contracts.refusal import Refusal
from weirgate_contracts.value import EventId
from weirgate_policy.memory import Lru
from weirgate_policy.obligation import NOTHING, Obligation
from weirgate_policy.pair import Pair
from weirgate_policy.ruling import Asking, ContextValue, Entity, Ruling
from weirgate_policy.view import Ref
from weirgate_sql.model import Catalog, Touch

FINDINGS_LIMIT = 8192

Reader = Callable[[str, Catalog, SessionContext], Sequence[Touch]]
"""``weirgate_sql.touch.touch``: raises Unreadable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """An approval that was read back from the log and found good for exactly this operation."""

    request: EventId
    groups: frozenset[str]
    """Reviewers who agreed, as the request asked for."""
    quorum: int

    def covers(self, obligation: Obligation) -> bool:
        """Say whether it is at least what the rules ask for now."""
        return set(obligation.hold) <= self.groups and obligation.quorum <= self.quorum


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found out about an operation's texts: the verdict without the names of one operation."""

    refusal: Refusal | None = None
    rules: tuple[str, ...] = ()
    touched: tuple[Touched, ...] = ()
    obligation: Obligation = NOTHING
    unmask: tuple[str, ...] = ()
    defines: tuple[Definition, ...] = ()
    search_path_may_change: bool = False
    catalog_may_change: bool = False
    visible: tuple[str, ...] | None = None
    """Of MCP: what of a list may be shown."""
    permits: tuple[str, ...] | None = None
    """Of MCP: what the server may ask of the agent."""
    messages: Literal["judge", "record"] | None = None
    """Of an upgrade: whether a rule could fire on its messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgingState:
    """Everything beside the operation that a verdict on one resource depends on."""

    revision: int
    """Log sequence of the newest configuration event in it."""
    read: Reader
    asking: Asking | None = None
    """Rules, catalog and labels; ``None``: see ``refusal``."""
    labels: tuple[str, ...] = ()
    """Every label ``unmask`` is answered for, sorted; see :func:`labels_of`."""
    refusal: Refusal | None = None
    """Why nothing can be judged on this resource at present."""
    findings: Lru[tuple[object, ...], Finding] = field(default_factory=lambda: Lru(FINDINGS_LIMIT))
    tools: ToolsDocument | None = None
    """Of MCP: the definitions of tools that people approved; ``None``: none is pinned."""
    unmasked: Lru[tuple[object, ...], tuple[str, ...]] = field(default_factory=lambda: Lru(FINDINGS_LIMIT))
    """What agents see in clear, by all that a rule can tell two of them apart by."""


def labels_of(*named: str) -> tuple[str, ...]:
    """Return every label to answer ``unmask`` for: those named by configuration, and those of the
    detectors."""
    return tuple(sorted({*named, *DETECTOR_LABELS}))


def base_context(operation: OperationIntercepted) -> dict[str, ContextValue]:
    """Return what rules can know of every operation. Facts the token does not state are left out."""
    identity: Identity = operation.identity
    found: dict[str, ContextValue] = {
        "resource": operation.resource,
        "protocol": operation.protocol,
        "database": operation.context.database,
    }
    if identity.user is not None:
        found["user"] = Entity("User", identity.user)
    if identity.run is not None:
        found["run"] = Entity("Run", identity.run)
    if identity.tool is not None:
        found["tool"] = identity.tool
    return found


def unmasked(
    asking: Asking, identity: Identity, labels: Sequence[str], base: dict[str, ContextValue]
) -> tuple[str, ...]:
    """Return those of some labels that the agent may see in clear."""
    pairs = [Pair("unmask", Ref("Label", name=label)) for label in labels]
    # A permit that asks for a person's word shows nothing in clear without it, and nobody is asked for a label.
    return tuple(
        pair.ref.name
        for pair, ruling in asking.ask(identity, pairs, base)
        if ruling.permitted and not ruling.obligation.hold
    )


def gravity(one: tuple[Pair, Ruling]) -> tuple[bool, ...]:
    """Sort what leads sideways before what is opaque before what is forbidden before what is not
    permitted."""
    pair, ruling = one
    return (
        not pair.action.startswith("lateral."),
        pair.action != "opaque",
        not ruling.failed,
        not ruling.rules,
    )


def seen_in_clear(state: JudgingState, asking: Asking, operation: OperationIntercepted) -> tuple[str, ...]:
    """Return the labels the agent of a call may see in clear; remembered."""
    identity, uses, base = operation.identity, asking.bundle.uses, base_context(operation)
    known = tuple((name, value) for name, value in base.items() if uses(name))
    key = (identity.agent, identity.groups, known)
    found = state.unmasked.get(key)
    if found is None:
        found = state.unmasked[key] = unmasked(asking, identity, state.labels, base)
    return found
