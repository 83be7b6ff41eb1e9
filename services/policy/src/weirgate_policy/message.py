"""Judging one message of MCP: what it uses, what it says, and the questions it raises.

===========================================  ================================  =======================
Message                                      Question                          Asked on
===========================================  ================================  =======================
any                                          ``connect``                       the Resource
``tools/call``                               ``mcp.call``                      the Tool
``resources/read`` ``/subscribe`` …          ``mcp.read``                      the McpResource
``prompts/get``                              ``mcp.prompt``                    the Prompt
handshake, lists, notifications, stream …    ``mcp.session``                   the Resource
a method nobody knows                        ``mcp.other``                     the Resource
any that is allowed                          ``mcp.sampling`` ``.elicitation``  the Resource: what the server
                                             ``.roots``                        may ask meanwhile
===========================================  ================================  =======================

A list as the server answered it is a question of its own (``McpCall.offered``): shown of it is what the agent
could use (:mod:`possible`), and of tools only those defined as people approved them, where any were.

Invariants: what the message says is read from the very text that is sent on; a tool whose definition nobody
approved is held and never allowed by rules alone; a URI that could be read two ways is judged as none; no
argument and no URI stands in a refusal or in ``touched``.
"""

import json
import re
from dataclasses import replace

from weirgate_contracts.events import OperationIntercepted
from weirgate_contracts.http import HttpCall
from weirgate_contracts.mcp import LISTS, McpCall, McpItem, message_text
from weirgate_contracts.operation import Touched
from weirgate_contracts.refusal import Refusal
from weirgate_policy import messageword, wording
from weirgate_policy.body import Fields, Unread, read_fields, read_members
from weirgate_policy.entity import scheme_of
from weirgate_policy.finding import Finding, JudgingState, base_context, seen_in_clear
from weirgate_policy.mcpmethod import ARGUED, OFFERS, REQUESTS, USES, action_of
from weirgate_policy.obligation import Obligation, strictest
from weirgate_policy.pair import Pair
from weirgate_policy.rule import WHOLE_CONTEXT
from weirgate_policy.ruling import Asking, ContextValue, Ruling
from weirgate_policy.tag import Tagged
from weirgate_policy.view import Ref

OFFERED_LIMIT = 10_000
"""Things in one list that are judged; a page of a list has tens of them."""
NEVER = "the tool's definition was never approved"
CHANGED = "the tool's definition changed since it was approved"
_ARGUMENTS = "/params/arguments"
_DOUBTFUL = re.compile(
    r"[\x00-\x20\x7f\\]|%(?![0-9A-F]{2})|%(?:2[DE]|3[0-9]|[46][1-9A-F]|[57][0-9A]|5F|7E)"
    r"|(?:^|[/:])\.{1,2}(?:[/?#]|$)"
)
"""What no URI in normal form holds. Source: RFC 3986, 6.2.2 (case, percent-encoding, dot segments)."""


def finding_of(
    operation: OperationIntercepted, call: HttpCall, state: JudgingState, asking: Asking
) -> Finding:
    """Return the first reason to refuse a message, or everything an allowed or held verdict says."""
    if call.mcp is None:
        raise ValueError("a call that is no message")
    return _Judging(operation, call, call.mcp, state, asking).finding()


class _Judging:
    """The judging of one message."""

    def __init__(
        self,
        operation: OperationIntercepted,
        call: HttpCall,
        message: McpCall,
        state: JudgingState,
        asking: Asking,
    ) -> None:
        self.operation = operation
        self.call = call
        self.message = message
        self.state = state
        self.asking = asking
        self.fields: Fields | Unread = Fields()

    def finding(self) -> Finding:
        pair = pair_of(self.message)
        if isinstance(pair, Refusal):
            return Finding(refusal=pair)
        offered = self.message.offered
        if offered is not None and len(offered) > OFFERED_LIMIT:
            return Finding(refusal=messageword.too_many_offered(OFFERED_LIMIT))
        self._read()
        touched = (_touched(pair),)
        base = base_context(self.operation)
        rulings: list[Ruling] = []
        for one, context in ((Pair("connect", Ref("Resource")), base), (pair, base | self._context())):
            ((_, ruling),) = self.asking.ask(self.operation.identity, [one], context)
            if not ruling.permitted:
                refusal = self._refused(one, ruling)
                return Finding(refusal=refusal, rules=refusal.rules, touched=touched)
            rulings.append(ruling)
        rules = tuple(sorted({rule for ruling in rulings for rule in ruling.rules}))
        asked = strictest([*(ruling.obligation for ruling in rulings), self._unapproved()])
        if offered is not None:
            # The list itself was asked for before, and held then if a rule says so.
            asked = Obligation(size_bytes=asked.size_bytes)
        if asked.hold and self.call.body is not None and not self.call.body.whole:
            resource = self.operation.resource
            refusal = messageword.hold_unread(self.message.method, resource, asked.hold, rules)
            return Finding(refusal=refusal, rules=rules, touched=touched)
        return Finding(
            rules=rules,
            touched=touched,
            obligation=replace(asked, rows=None),
            unmask=seen_in_clear(self.state, self.asking, self.operation),
            visible=None if offered is None else self._visible(offered, base),
            permits=self._permits(base),
        )

    def _read(self) -> None:
        uses = self.asking.bundle.uses
        if self.message.method in ARGUED and (uses("arguments") or uses("numbers")):
            self.fields = read_arguments(self.call)

    def _context(self) -> dict[str, ContextValue]:
        found: dict[str, ContextValue] = {"method": self.message.method}
        if isinstance(self.fields, Fields):
            found |= {"arguments": self.fields.values, "numbers": self.fields.numbers}
        return found

    def _unapproved(self) -> Obligation:
        """Return what a call of a tool asks for whose definition is not the one people approved."""
        pinned, message = self.state.tools, self.message
        if pinned is None or message.method != "tools/call" or message.name is None:
            return Obligation()
        approved = pinned.tools.get(message.name)
        if approved is not None and message.definition in (None, approved):
            return Obligation()
        reason = NEVER if approved is None else CHANGED
        return Obligation(hold=tuple(sorted(set(pinned.reviewers))), reasons=(reason,))

    def _visible(self, offered: tuple[McpItem, ...], base: dict[str, ContextValue]) -> tuple[str, ...]:
        """Return the names of which everything offered may be shown: two things of one name are one to the
        agent."""
        hidden = {item.name for item in offered if not self._as_approved(item)}
        for kind, (method, use) in OFFERS.items():
            items = [item for item in offered if item.kind == kind and item.name not in hidden]
            refs = [Ref(use.entity, name=item.name) for item in items]
            possible = self.asking.possible(
                self.operation.identity,
                use.action,
                refs,
                base | {"method": method},
                resource_known=kind != "template",
            )
            hidden |= {item.name for item, shown in zip(items, possible, strict=True) if not shown}
        return tuple(dict.fromkeys(item.name for item in offered if item.name not in hidden))

    def _as_approved(self, item: McpItem) -> bool:
        if item.kind == "resource" and is_doubtful(item.name):
            return False
        pinned = self.state.tools
        return item.kind != "tool" or pinned is None or pinned.tools.get(item.name) == item.sha256

    def _permits(self, base: dict[str, ContextValue]) -> tuple[str, ...]:
        pairs = [Pair(action, Ref("Resource")) for action in REQUESTS]
        # A permit that asks for a person's word lets nothing through here: the server waits for an answer at once.
        return tuple(
            REQUESTS[pair.action]
            for pair, ruling in self.asking.ask(self.operation.identity, pairs, base)
            if ruling.permitted and not ruling.obligation.hold
        )

    def _refused(self, pair: Pair, ruling: Ruling) -> Refusal:
        resource = self.operation.resource
        if pair.action == "connect":
            return wording.refused_pair(
                pair, words=wording.Words(()), resource=resource, rules=ruling.rules, reasons=ruling.reasons,
                failed=ruling.failed,
            )  # fmt: skip
        refused = messageword.RefusedMessage(
            action=pair.action,
            method=self.message.method,
            ref=pair.ref,
            resource=resource,
            rules=ruling.rules,
        )
        if not ruling.failed:
            return refused.by_rules(ruling.reasons)
        rules = [self.asking.bundle.rules[id] for id in ruling.rules if id in self.asking.bundle.rules]
        context = {name for rule in rules for name in rule.context}
        if isinstance(self.fields, Unread) and context & {"arguments", "numbers", WHOLE_CONTEXT}:
            return refused.by_arguments(self.fields)
        return refused.by_fault()


def pair_of(message: McpCall) -> Pair | Refusal:
    """Return the question a message raises beside ``connect``, or why nobody can ask one."""
    if message.offered is not None and message.method not in LISTS:
        return wording.not_understood("a list that nobody asked for")
    use = USES.get(message.method)
    if use is None:
        return Pair(action_of(message.method), Ref("Resource"))
    if message.kind != use.kind or not message.name:
        return wording.not_understood(f"{message.method} names nothing it uses")
    if use.kind == "resource" and is_doubtful(message.name):
        return messageword.uri_doubtful()
    return Pair(use.action, Ref(use.entity, name=message.name))


def is_doubtful(uri: str) -> bool:
    """Say whether a URI is not in normal form: then ``like "file:///public/*"`` says nothing about it."""
    scheme = uri.partition(":")[0]
    return _DOUBTFUL.search(uri) is not None or (scheme_of(uri) != "" and scheme != scheme.lower())


def read_arguments(call: HttpCall) -> Fields | Unread:
    """Return the arguments of a tool or prompt, by pointers that begin at them."""
    fields = read_fields(call)
    if isinstance(fields, Unread):
        return fields
    return Fields(values=_below(fields.values), numbers=_below(fields.numbers))


def _below(fields: Tagged) -> Tagged:
    begin = f"{_ARGUMENTS}/"
    return Tagged(
        values={
            name.removeprefix(_ARGUMENTS): value
            for name, value in fields.values.items()
            if name.startswith(begin)
        }
    )


def _touched(pair: Pair) -> Touched:
    match pair.action:
        case "mcp.call":
            return Touched(verb=pair.action, writes=(pair.ref.name,))
        case "mcp.read":
            return Touched(verb=pair.action, reads=(f"{scheme_of(pair.ref.name)}:",))
        case "mcp.prompt":
            return Touched(verb=pair.action, reads=(pair.ref.name,))
        case _:
            return Touched(verb=pair.action)


def shown_message(call: HttpCall, message: McpCall) -> str:
    """Return what would be done, for the people who decide: the tool and its arguments, or the text itself."""
    head, body = message_text(message.method, message.name), call.body
    if body is None or body.size_bytes == 0:
        return head
    if body.text is None:
        size = "?" if body.size_bytes is None else body.size_bytes
        return f"{head}\n\n[{size} bytes, sha256 {body.sha256 or '?'}]"
    members = read_members(body.text)
    params = members.get("params") if members is not None else None
    if members is None or not isinstance(params, dict):
        return f"{head}\n\n{body.text}"  # as it stands: whoever decides sees what two readers might read differently
    rest = {name: value for name, value in params.items() if name not in ("name", "uri", "arguments")}
    parts = [head]
    if "arguments" in params:
        parts += ["", json.dumps(params["arguments"], ensure_ascii=False, indent=2)]
    if rest:
        parts += ["", f"besides: {json.dumps(rest, ensure_ascii=False)}"]
    return "\n".join(parts)
