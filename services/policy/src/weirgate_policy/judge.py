"""The judge: an intercepted operation in, a verdict out. No clock, no randomness, nothing read or written.

A verdict is a function of the operation, the configuration at its revision, the catalog at its revision and,
where the operation is asked again with an approval, that approval. What is remembered in between changes its
cost only.

Order of the reasons to refuse, the first counts: resource or catalog not known · text not readable · sideways
· opaque · forbidden or not permitted · a masked column that decides or is copied · an approval that does not
hold. Only what passes all of them can be held, and only what is not held is allowed.
"""

import re
from collections.abc import Sequence

from weirgate_contracts.events import OperationAllowed, OperationDenied, OperationHeld, OperationIntercepted
from weirgate_contracts.operation import (
    STATEMENT_LIMIT_BYTES,
    Definition,
    Statement,
    Touched,
)
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_policy import call, message, wording
from weirgate_policy.finding import (
    Finding,
    Granted,
    JudgingState,
    Reader,
    base_context,
    gravity,
    labels_of,
    unmasked,
)
from weirgate_policy.obligation import WINDOW_DEFAULT_S, Obligation, strictest
from weirgate_policy.pair import NotUnderstood, Pair, pairs_of
from weirgate_policy.ruling import Asking, Ruling
from weirgate_policy.view import Ref
from weirgate_policy.vocabulary import TRANSACTIONS
from weirgate_sql.model import Touch, Unreadable

__all__ = ["Granted", "Judgement", "JudgingState", "Reader", "deny", "judge", "labels_of", "shown"]

TEXT_LIMIT_BYTES = 16 * 1024
"""Most of what a hold shows to the people who decide."""
REMEMBERED_LIMIT = 16 * 1024
"""Characters of an operation whose finding is remembered: 8192 texts of 1 MiB would be 8 GiB."""
STATEMENTS_LIMIT = 10_000
"""Statements of one operation that are judged; one with more is refused."""

Judgement = OperationAllowed | OperationDenied | OperationHeld

_REFERS = re.compile(r"execute|fetch|move|close|deallocate|current|cursor|declare|prepare|discard", re.I)
"""A text without any of these words can refer to no prepared statement and no cursor."""


def judge(
    operation: OperationIntercepted, state: JudgingState, *, granted: Granted | None = None
) -> Judgement:
    """Give the verdict on one operation.

    Args:
        operation: As ingress published it.
        state: Configuration and catalog of its resource.
        granted: The approval it is asked again with, already checked against the log.

    Returns:
        The event, not yet stamped.
    """
    if state.refusal is not None or state.asking is None:
        refusal = state.refusal or wording.catalog_missing(operation.resource)
        return _denied(operation, state, Finding(refusal=refusal))
    if state.asking.bundle.broken:
        refusal = wording.broken_policies(len(state.asking.bundle.broken))
        return _denied(operation, state, Finding(refusal=refusal))
    if (refusal := _outside(operation, state.asking)) is not None:
        return _denied(operation, state, Finding(refusal=refusal))
    if operation.call is not None:
        # Rulings are remembered; a finding depends on all that rules read of a call, which seldom comes again.
        judging = call.finding_of if operation.call.mcp is None else message.finding_of
        finding = judging(operation, operation.call, state, state.asking)
    elif _size(operation) > REMEMBERED_LIMIT:
        finding = _Judging(operation, state, state.asking).finding()
    else:
        key = _key(operation, state.asking)
        finding = state.findings.get(key)
        if finding is None:
            finding = state.findings[key] = _Judging(operation, state, state.asking).finding()
    if finding.refusal is not None:
        return _denied(operation, state, finding)
    if finding.obligation.hold and (granted is None or not granted.covers(finding.obligation)):
        return _held(operation, state, finding)
    return _allowed(operation, state, finding, granted)


def _outside(operation: OperationIntercepted, asking: Asking) -> Refusal | None:
    """Refuse what ingress should never have asked about."""
    narrowed = operation.identity.resources
    if narrowed is not None and operation.resource not in narrowed:
        return wording.resource_unknown(operation.resource)
    if operation.resource != asking.view.name or operation.protocol != asking.view.protocol:
        return wording.not_understood(f"{operation.resource} is not spoken to by {operation.protocol}")
    mcp = operation.call.mcp if operation.call is not None else None
    if (operation.protocol in ("http", "mcp")) != (operation.call is not None):
        return wording.not_understood("it is not of its protocol")
    if (operation.protocol == "mcp") != (mcp is not None):
        return wording.not_understood("it is not of its protocol")
    if operation.call is not None and operation.statements:
        return wording.not_understood("it is a call and a statement in one")
    return None


def deny(operation: OperationIntercepted, state: JudgingState | None, refusal: Refusal) -> OperationDenied:
    """Return a refusal that no rule decided: an approval that does not hold, a judge that failed."""
    return _denied(operation, state, Finding(refusal=refusal))


def _size(operation: OperationIntercepted) -> int:
    context = operation.context
    return (
        sum(len(one.text) for one in operation.statements)
        + sum(map(len, context.prepared.values()))
        + sum(map(len, context.cursors.values()))
    )


def _key(operation: OperationIntercepted, asking: Asking) -> tuple[object, ...]:
    """Return everything of an operation that can change what is found out about it."""
    identity, context, uses = operation.identity, operation.context, asking.bundle.uses
    refers = any(_REFERS.search(one.text) for one in operation.statements)
    return (
        identity.agent,
        identity.groups,
        identity.user if uses("user") else None,
        identity.run if uses("run") else None,
        identity.tool if uses("tool") else None,
        operation.protocol,
        context.database,
        context.search_path,
        context.transaction,
        tuple(sorted(context.prepared.items())) if refers else (),
        tuple(sorted(context.cursors.items())) if refers else (),
        tuple((one.text, one.phase, one.simple) for one in operation.statements),
    )


class _Judging:
    """The judging of one operation."""

    def __init__(self, operation: OperationIntercepted, state: JudgingState, asking: Asking) -> None:
        self.operation = operation
        self.state = state
        self.asking = asking
        self.view = asking.view
        self.words = wording.Words(one.text for one in operation.statements)
        self.session = operation.context
        self.path_known = True
        self.rules: set[str] = set()
        self.touched: list[Touched] = []
        self.obligations: list[Obligation] = []
        self.defines: list[Definition] = []
        self.search_path_may_change = False
        self.catalog_may_change = False

    def finding(self) -> Finding:
        """Return the first reason to refuse, or everything an allowed or held verdict says."""
        refusal = self._connect() or self._statements()
        if refusal is not None:
            return Finding(refusal=refusal, rules=refusal.rules, touched=tuple(self.touched))
        return Finding(
            rules=tuple(sorted(self.rules)),
            touched=tuple(self.touched),
            obligation=strictest(self.obligations),
            unmask=self.unmask,
            defines=tuple(self.defines),
            search_path_may_change=self.search_path_may_change,
            catalog_may_change=self.catalog_may_change,
        )

    def _connect(self) -> Refusal | None:
        identity = self.operation.identity
        base = base_context(self.operation)
        asked = self.asking.ask(identity, [Pair("connect", Ref("Resource"))], base)
        refusal = self._take(asked, holds=any(one.phase == "run" for one in self.operation.statements))
        if refusal is not None:
            return refusal
        self.unmask = unmasked(self.asking, identity, self.state.labels, base)
        return None

    def _statements(self) -> Refusal | None:
        for index, statement in enumerate(self.operation.statements):
            size = len(statement.text.encode())
            if size > STATEMENT_LIMIT_BYTES:
                return Refusal(
                    code=RefusalCode.TOO_LARGE,
                    reason=f"the statement has {size} bytes; at most {STATEMENT_LIMIT_BYTES} are judged.",
                    hint="Send it in parts, or bind the values as parameters.",
                )
            try:
                touches = self.state.read(statement.text, self.view.catalog, self.session)
            except Unreadable as error:
                return wording.unreadable(str(error))
            if index + len(touches) > STATEMENTS_LIMIT:
                return wording.not_understood(f"more than {STATEMENTS_LIMIT} statements in one operation")
            for inner, touch in enumerate(touches):
                refusal = self._statement(statement, touch, number=index + inner)
                if refusal is not None:
                    return refusal
        return None

    def _statement(self, statement: Statement, touch: Touch, *, number: int) -> Refusal | None:
        self.touched.append(
            Touched(
                verb=touch.verb,
                reads=tuple(sorted(map(str, touch.reads))),
                writes=tuple(sorted(map(str, touch.writes))),
                capabilities=tuple(sorted(touch.capabilities)),
            )
        )
        if not self.path_known and (touch.tables or touch.functions or touch.opaque):
            return wording.path_unknown()
        try:
            pairs = pairs_of(touch, self.view)
        except NotUnderstood as error:
            return wording.not_understood(str(error))
        context = base_context(self.operation) | {
            "verb": touch.verb,
            "phase": statement.phase,
            "transaction": TRANSACTIONS[self.operation.context.transaction],
            "statements": len(self.operation.statements),
        }
        asked = self.asking.ask(self.operation.identity, pairs, context)
        # Nothing runs when a statement is only prepared, and rows of an open portal were asked about when it
        # opened.
        refusal = self._take(asked, holds=statement.phase == "run") or self._masked(touch)
        if refusal is None:
            self._remember(statement, touch, number)
        return refusal

    def _take(self, asked: Sequence[tuple[Pair, Ruling]], *, holds: bool) -> Refusal | None:
        refused = [(pair, ruling) for pair, ruling in asked if not ruling.permitted]
        if refused:
            pair, ruling = min(refused, key=gravity)
            return wording.refused_pair(
                pair, words=self.words, resource=self.view.name, rules=ruling.rules,
                reasons=ruling.reasons, failed=ruling.failed,
            )  # fmt: skip
        for _, ruling in asked:
            self.rules |= set(ruling.rules)
            one = ruling.obligation
            self.obligations.append(one if holds else Obligation(rows=one.rows, size_bytes=one.size_bytes))
        return None

    def _masked(self, touch: Touch) -> Refusal | None:
        for columns, flows in ((touch.predicates, False), (touch.flows, True)):
            for column in sorted(columns):
                masked = [label for label in self.view.label(column) if label not in self.unmask]
                if masked:
                    ref = Ref("Column", column.schema, column.table, column.column)
                    return wording.masked_predicate(
                        ref, masked[0], flows=flows, words=self.words, resource=self.view.name
                    )
        return None

    def _remember(self, statement: Statement, touch: Touch, number: int) -> None:
        """Carry over what this statement changes for those after it, and tell ingress of it."""
        if statement.phase == "prepare":
            return
        prepared, cursors = dict(self.session.prepared), dict(self.session.cursors)
        for one in touch.defines:
            kind = "prepared" if one.kind == "prepared" else "cursor"
            self.defines.append(Definition(number=number, kind=kind, name=one.name, text=one.text))
            names = prepared if kind == "prepared" else cursors
            if one.text is not None:
                names[one.name] = one.text
            elif one.name == "*":
                names.clear()
            else:
                names.pop(one.name, None)
        if touch.defines:
            self.session = self.session.model_copy(update={"prepared": prepared, "cursors": cursors})
        self.search_path_may_change |= touch.search_path_may_change
        self.catalog_may_change |= touch.catalog_may_change
        if touch.search_path is not None:
            self.session = self.session.model_copy(update={"search_path": touch.search_path})
            self.path_known = True
        elif touch.search_path_may_change:
            self.path_known = False


def _denied(operation: OperationIntercepted, state: JudgingState | None, finding: Finding) -> OperationDenied:
    if finding.refusal is None:
        raise ValueError("a denial without a refusal")
    return OperationDenied(
        ingress=operation.ingress, session=operation.session, operation=operation.operation,
        intercepted=operation.id, digest=operation.digest,
        policy_revision=state.revision if state else 0, catalog_revision=_catalog_revision(state),
        rules=finding.refusal.rules, touched=finding.touched, refusal=finding.refusal,
    )  # fmt: skip


def _allowed(
    operation: OperationIntercepted, state: JudgingState, finding: Finding, granted: Granted | None
) -> OperationAllowed:
    return OperationAllowed(
        ingress=operation.ingress, session=operation.session, operation=operation.operation,
        intercepted=operation.id, digest=operation.digest,
        policy_revision=state.revision, catalog_revision=_catalog_revision(state),
        rules=finding.rules, touched=finding.touched, unmask=finding.unmask, limits=finding.obligation.limits,
        defines=finding.defines, search_path_may_change=finding.search_path_may_change,
        catalog_may_change=finding.catalog_may_change, request=granted.request if granted else None,
        visible=finding.visible, permits=finding.permits,
        messages=finding.messages,
    )  # fmt: skip


def _held(operation: OperationIntercepted, state: JudgingState, finding: Finding) -> OperationHeld:
    asked = finding.obligation
    return OperationHeld(
        ingress=operation.ingress, session=operation.session, operation=operation.operation,
        intercepted=operation.id, digest=operation.digest,
        policy_revision=state.revision, catalog_revision=_catalog_revision(state),
        rules=finding.rules, touched=finding.touched,
        resource=operation.resource, identity=operation.identity,
        groups=asked.hold, quorum=asked.quorum, window_s=asked.window_s or WINDOW_DEFAULT_S,
        reason="; ".join(asked.reasons) or f"a rule asks for the word of {', '.join(asked.hold)}",
        text=shown(operation), joins=operation.joins,
    )  # fmt: skip


def _catalog_revision(state: JudgingState | None) -> str:
    return state.asking.view.catalog_revision if state is not None and state.asking is not None else ""


def shown(operation: OperationIntercepted) -> str:
    """Return what would be done, for the people who decide: texts, and the values bound to them; or a call."""
    if operation.call is None:
        shown = _shown(operation.statements)
    elif operation.call.mcp is None:
        shown = call.shown_call(operation.call)
    else:
        shown = message.shown_message(operation.call, operation.call.mcp)
    text = shown.encode(errors="replace")
    if len(text) <= TEXT_LIMIT_BYTES:
        return text.decode()
    note = f"\n-- cut: {len(text)} bytes in all"
    return text[: TEXT_LIMIT_BYTES - len(note)].decode(errors="ignore") + note


def _shown(statements: Sequence[Statement]) -> str:
    parts: list[str] = []
    for one in statements:
        parts.append(one.text)
        for number, value in enumerate(one.parameters, start=1):
            if value.text is not None:
                parts.append(f"-- ${number} = {value.text!r}")
            elif value.base64 is not None:
                parts.append(f"-- ${number} = base64 {value.base64}")
            elif value.sha256 is not None:
                parts.append(f"-- ${number}: {value.size_bytes} bytes, sha256 {value.sha256}")
            else:
                parts.append(f"-- ${number} = NULL")
    return "\n".join(parts)
