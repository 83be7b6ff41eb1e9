"""Verdicts computed again from the log: to prove it can be done, and to see which other rules would flip."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from weirgate_contracts.config import ToolsDocument
from weirgate_contracts.events import (
    ApprovalRequested,
    CatalogObserved,
    ConfigPublished,
    Event,
    OperationAllowed,
    OperationDenied,
    OperationHeld,
    OperationIntercepted,
)
from weirgate_contracts.modelapi import joined
from weirgate_contracts.refusal import RefusalCode
from weirgate_policy import wording
from weirgate_policy.bundle import Bundle, BundleError, compile_policies
from weirgate_policy.case import Word, word_of
from weirgate_policy.judge import Granted, Judgement, JudgingState, judge, labels_of
from weirgate_policy.ruling import Asking
from weirgate_policy.view import ResourceView
from weirgate_sql.model import Catalog
from weirgate_sql.touch import touch

NOT_OF_THE_RULES = frozenset({
    RefusalCode.UPSTREAM_UNAVAILABLE, RefusalCode.VERDICT_TIMEOUT, RefusalCode.HELD_REFUSED,
})  # fmt: skip
"""Refusals that told of the state of the service or of an approval: no rule would change them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One verdict of the log, and what it would be."""

    sequence: int
    operation: OperationIntercepted
    recorded: Judgement
    now: Judgement

    @property
    def flipped(self) -> tuple[Word, Word] | None:
        """The two words, where they differ."""
        was, now = word_of(self.recorded), word_of(self.now)
        return None if was == now else (was, now)

    @property
    def identical(self) -> bool:
        """Whether the verdicts are the same byte for byte, but for who stamped them when."""
        plain = {"id": "", "at": "", "trace": None}
        return self.recorded.model_copy(update=plain) == self.now.model_copy(update=plain)

    @property
    def unmask_changed(self) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """Labels shown in clear then and now, where both are allowed and they differ."""
        was, now = self.recorded, self.now
        if not isinstance(was, OperationAllowed) or not isinstance(now, OperationAllowed):
            return None
        return None if was.unmask == now.unmask else (was.unmask, now.unmask)


def replay(
    events: Iterable[tuple[int, Event]], policies: Mapping[str, str] | None = None
) -> Iterator[Replayed]:
    """Judge again every operation of a log.

    Args:
        events: The AUDIT stream from its beginning, in order, each with its sequence.
        policies: Judge with these instead of those in the log; ``None``: with those of each verdict's
        revision.

    Yields:
        One for each verdict that rules decided. Others (an upstream away, an approval that did not hold)
        and those whose operation or catalog is not in ``events`` are left out.

    Raises:
        BundleError: ``policies`` cannot be judged with.
    """
    past = _Past(None if policies is None else compile_policies(policies))
    for sequence, event in events:
        match event:
            case ConfigPublished():
                past.published(sequence, event)
            case CatalogObserved():
                past.catalogs[event.resource, event.revision] = event
            case OperationIntercepted():
                past.operations[event.id] = event
            case ApprovalRequested():
                past.requests[event.request] = event
            case OperationAllowed() | OperationDenied() | OperationHeld():
                operation = past.operations.pop(event.intercepted, None)
                if operation is None or _not_of_the_rules(event, operation):
                    continue
                state = past.state(operation.resource, event)
                if state is not None:
                    now = judge(operation, state, granted=past.granted(operation))
                    yield Replayed(sequence=sequence, operation=operation, recorded=event, now=now)
            case _:
                continue


def _not_of_the_rules(verdict: Judgement, operation: OperationIntercepted) -> bool:
    if not isinstance(verdict, OperationDenied):
        return False
    if verdict.refusal.code in NOT_OF_THE_RULES:
        return True
    if operation.protocol not in ("http", "mcp"):
        return not verdict.catalog_revision
    # A call needs no catalog: what tells that nothing was judged is the revision, or the refusal itself.
    return verdict.policy_revision == 0 or verdict.refusal == wording.configuration_unknown()


@dataclass(slots=True)
class _Past:
    """What was published when."""

    instead: Bundle | None
    history: list[tuple[int, ConfigPublished]] = field(default_factory=list[tuple[int, ConfigPublished]])
    catalogs: dict[tuple[str, str], CatalogObserved] = field(
        default_factory=dict[tuple[str, str], CatalogObserved]
    )
    operations: dict[str, OperationIntercepted] = field(default_factory=dict[str, OperationIntercepted])
    requests: dict[str, ApprovalRequested] = field(default_factory=dict[str, ApprovalRequested])
    states: dict[tuple[str, str, int], JudgingState] = field(
        default_factory=dict[tuple[str, str, int], JudgingState]
    )

    def published(self, sequence: int, event: ConfigPublished) -> None:
        self.history.append((sequence, event))

    def granted(self, operation: OperationIntercepted) -> Granted | None:
        if operation.grant is None:
            return None
        request = self.requests.get(operation.grant.request)
        if request is None:
            return None
        return Granted(request=request.request, groups=frozenset(request.groups), quorum=request.quorum)

    def state(self, resource: str, verdict: Judgement) -> JudgingState | None:
        key = (resource, verdict.catalog_revision, verdict.policy_revision)
        found = self.states.get(key)
        if found is None and (made := self._make(*key)) is not None:
            found = self.states[key] = made
        return found

    def _make(self, resource: str, catalog_revision: str, revision: int) -> JudgingState | None:
        bodies = self._bodies(revision)
        if catalog_revision:
            observed = self.catalogs.get((resource, catalog_revision))
            if observed is None:
                return None
            labels = _labels(bodies, resource, "columns")
            view = ResourceView(name=resource, catalog=Catalog.from_dict(observed.catalog), labels=labels)
        else:
            document = bodies.get(("resource", resource))
            if document is None or document["protocol"] not in ("http", "mcp"):
                return None
            labels = _labels(bodies, resource, "fields")
            protocol, api = document["protocol"], document.get("api")
            routes = joined(api, tuple(document.get("routes", ())))
            view = ResourceView(name=resource, protocol=protocol, routes=routes, api=api)
        named = [
            rule["label"]
            for (kind, _), body in bodies.items()
            if kind == "masking"
            for rule in body["rules"]
            if "*" not in rule["label"]
        ]
        texts = {body["name"]: body["cedar"] for (kind, _), body in bodies.items() if kind == "policy"}
        tools = bodies.get(("tools", resource)) if view.protocol == "mcp" else None
        return JudgingState(
            revision=revision,
            read=touch,
            asking=Asking(bundle=self.instead or _compiled(texts), view=view),
            labels=labels_of(*labels.values(), *named),
            tools=None if tools is None else ToolsDocument.model_validate(tools),
        )

    def _bodies(self, revision: int) -> dict[tuple[str, str], dict[str, Any]]:
        """Return every document that stood at a revision, by kind and name."""
        newest: dict[tuple[str, str], dict[str, Any] | None] = {}
        for sequence, event in self.history:
            if sequence <= revision:
                newest[event.config, event.name] = event.body
        return {key: body for key, body in sorted(newest.items()) if body is not None}


def _labels(bodies: Mapping[tuple[str, str], dict[str, Any]], resource: str, of: str) -> dict[str, str]:
    labels: dict[str, str] = {}
    for (kind, _), body in bodies.items():
        if kind == "labels" and body["resource"] == resource:
            labels.update(body.get(of, {}))  # a document of an earlier release has no fields
    return labels


def _compiled(texts: Mapping[str, str]) -> Bundle:
    try:
        return compile_policies(texts)
    except BundleError as error:
        return Bundle.refusing(error.problems)
