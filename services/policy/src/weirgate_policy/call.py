"""Judging one HTTP call: which route it is, what it says, and the one question it raises.

============================  ==================================================================================
question                      asked on
============================  ==================================================================================
``connect``                   the Resource
``http.get``, ``http.post`` …  the Route whose template the path fits, or the one of all paths that fit none
``http.upgrade``              the same, where the connection is to become a WebSocket
``http.message``              the same, of one message of the agent over a WebSocket
``unmask``                    every label
============================  ==================================================================================

Invariants: the route is worked out here, from the configuration the verdict is given under, and one that ingress
saw differently is refused; a body that was not read whole is never held (an approval would be bound to what
nobody read); a call that may ask a model nobody could read is refused where a rule for it reads the model; no value
of a query, header or body stands in a refusal or in ``touched``.
"""

from dataclasses import replace
from typing import Literal

from weirgate_contracts.events import OperationIntercepted
from weirgate_contracts.http import MESSAGE_METHOD, HttpCall, call_text
from weirgate_contracts.operation import Touched
from weirgate_contracts.refusal import Refusal
from weirgate_contracts.route import match_route
from weirgate_policy import wording
from weirgate_policy.body import Fields, Unread, read_fields
from weirgate_policy.entity import route_id
from weirgate_policy.finding import Finding, JudgingState, base_context, seen_in_clear
from weirgate_policy.modelfacts import facts_of, reads_model
from weirgate_policy.obligation import strictest
from weirgate_policy.pair import Pair
from weirgate_policy.rule import WHOLE_CONTEXT
from weirgate_policy.ruling import Asking, ContextValue, Ruling
from weirgate_policy.tag import Tagged, tagged
from weirgate_policy.view import Ref
from weirgate_policy.vocabulary import METHODS, ancestry

_NOISE = frozenset({
    "accept", "accept-encoding", "accept-language", "cache-control", "connection", "content-length", "host",
    "pragma", "priority", "traceparent", "tracestate", "user-agent",
})  # fmt: skip
"""Header fields that tell nothing to who decides on a held call."""
_UPGRADE, _MESSAGE = "http.upgrade", "http.message"


def finding_of(
    operation: OperationIntercepted, call: HttpCall, state: JudgingState, asking: Asking
) -> Finding:
    """Return the first reason to refuse a call, or everything an allowed or held verdict says."""
    return _Judging(operation, call, state, asking).finding()


def action_of(call: HttpCall) -> str:
    """Return the action a call is; methods count in upper case only, as they are written."""
    if call.upgrade is not None:
        return _MESSAGE if call.method == MESSAGE_METHOD else _UPGRADE
    return METHODS.get(call.method, "http.other")


class _Judging:
    """The judging of one call."""

    def __init__(
        self, operation: OperationIntercepted, call: HttpCall, state: JudgingState, asking: Asking
    ) -> None:
        self.operation = operation
        self.call = call
        self.state = state
        self.asking = asking
        self.fields: Fields | Unread = Fields()
        if asking.bundle.uses("body") or asking.bundle.uses("numbers"):
            self.fields = read_fields(call)
        self.query = tagged(call.query)

    def finding(self) -> Finding:
        operation, call, asking = self.operation, self.call, self.asking
        found = match_route(asking.view.routes, call.path)
        if (call.route, call.arguments) != (found or (None, {})):
            return Finding(refusal=wording.routes_changed(operation.resource))
        if call.model is not None and call.model.api != asking.view.api:
            return Finding(refusal=wording.routes_changed(operation.resource))
        action = action_of(call)
        touched = (_touched(action, call),)
        base = base_context(operation)
        questions = (
            (Pair("connect", Ref("Resource")), base),
            (Pair(action, Ref("Route", name=call.route or "")), base | self._context()),
        )
        rulings: list[Ruling] = []
        for pair, context in questions:
            if pair.action == action and (refusal := self._model_unread(pair)) is not None:
                return Finding(refusal=refusal, rules=refusal.rules, touched=touched)
            ((_, ruling),) = asking.ask(operation.identity, [pair], context)
            if not ruling.permitted:
                refusal = self._refused(pair, ruling)
                return Finding(refusal=refusal, rules=refusal.rules, touched=touched)
            rulings.append(ruling)
        asked = strictest(ruling.obligation for ruling in rulings)
        rules = tuple(sorted({rule for ruling in rulings for rule in ruling.rules}))
        if asked.hold and call.body is not None and not call.body.whole:
            refusal = wording.hold_unread(call.method, call.route, operation.resource, asked.hold, rules)
            return Finding(refusal=refusal, rules=rules, touched=touched)
        return Finding(
            rules=rules,
            touched=touched,
            obligation=replace(asked, rows=None),
            unmask=seen_in_clear(self.state, asking, operation),
            messages=self._messages() if action == _UPGRADE else None,
        )

    def _messages(self) -> Literal["judge", "record"]:
        """Say whether any rule could fire on a message of this agent over this route."""
        bundle, identity, view = self.asking.bundle, self.operation.identity, self.asking.view
        piece = bundle.slice(identity.agent, frozenset(identity.groups), _MESSAGE)
        route = view.id(Ref("Route", name=self.call.route or ""))
        fits = any(rule.may_match_route(route, view.name) for rule in piece.rules.values())
        return "judge" if fits else "record"

    def _model_unread(self, pair: Pair) -> Refusal | None:
        """Refuse a call that may ask a model nobody could read, where a rule for it reads the model."""
        call, asking, identity = self.call, self.asking, self.operation.identity
        if asking.view.api is None or call.body is None or call.model is not None:
            return None
        piece = asking.bundle.slice(identity.agent, frozenset(identity.groups), pair.action)
        place = route_id(self.operation.resource, call.route or "")
        reading = [
            id for id, rule in piece.rules.items() if reads_model(rule, self.operation.resource, place)
        ]
        if not reading:
            return None
        return wording.RefusedCall(
            action=pair.action,
            method=call.method,
            route=call.route,
            resource=self.operation.resource,
            rules=tuple(sorted(reading)),
        ).by_model()

    def _context(self) -> dict[str, ContextValue]:
        call, body = self.call, self.call.body
        found: dict[str, ContextValue] = {
            "method": call.method,
            "path": call.path,
            "query": self.query,
            "arguments": Tagged(values=call.arguments),
            "headers": _headers(call),
            "bodyType": body.type if body is not None else "",
            "bodyWhole": body is None or body.whole,
        }
        if call.route is not None:
            found["route"] = call.route
        size = 0 if body is None else body.size_bytes
        if size is not None:
            found["bodySize"] = size
        if call.model is not None:
            found["model"] = facts_of(call.model)
        if isinstance(self.fields, Fields):
            found |= {"body": self.fields.values, "numbers": self.fields.numbers}
        return found

    def _refused(self, pair: Pair, ruling: Ruling) -> Refusal:
        call, resource = self.call, self.operation.resource
        if pair.action == "connect":
            return wording.refused_pair(
                pair, words=wording.Words(()), resource=resource, rules=ruling.rules, reasons=ruling.reasons,
                failed=ruling.failed,
            )  # fmt: skip
        refused = wording.RefusedCall(
            action=pair.action, method=call.method, route=call.route, resource=resource, rules=ruling.rules
        )
        if ruling.failed:
            rules = [self.asking.bundle.rules[id] for id in ruling.rules if id in self.asking.bundle.rules]
            context = {name for rule in rules for name in rule.context}
            reads = {read for rule in rules for read in rule.tags}
            if isinstance(self.fields, Unread) and context & {"body", "numbers", WHOLE_CONTEXT}:
                return refused.by_body(self.fields)
            if self.query.doubted(reads, "query"):
                return refused.by_twice("its query")
            if isinstance(self.fields, Fields) and (
                self.fields.values.doubted(reads, "body") or self.fields.numbers.doubted(reads, "numbers")
            ):
                return refused.by_twice("its form")
            return refused.by_fault()
        return refused.by_rules(ruling.reasons)


def _touched(action: str, call: HttpCall) -> Touched:
    name = (f"{call.method} {call.route or wording.UNLISTED}",)
    reads = "http.read" in ancestry(action)
    return Touched(verb=action, reads=name if reads else (), writes=() if reads else name)


def _headers(call: HttpCall) -> Tagged:
    """Return the header fields: one that stands there more than once is one list. Source: RFC 9110, 5.3."""
    found: dict[str, str] = {}
    for one in call.headers:
        found[one.name] = f"{found[one.name]}, {one.value}" if one.name in found else one.value
    return Tagged(values=found)


def shown_call(call: HttpCall) -> str:
    """Return what would be done, for the people who decide: the call, headers that matter, and the body."""
    parts = [call_text(call.method, call.path, call.query)]
    parts += [f"{one.name}: {one.value}" for one in call.headers if one.name not in _NOISE]
    if (body := call.body) is not None and body.size_bytes != 0:
        if body.text is not None:
            parts += ["", body.text]
        else:
            size = "?" if body.size_bytes is None else body.size_bytes
            parts += ["", f"[{size} bytes, sha256 {body.sha256 or '?'}]"]
    return "\n".join(parts)
