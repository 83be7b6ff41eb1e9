"""What an agent is told when the rules say no: what was refused, by which rule, and the next allowed step.

An agent learns no name here that it did not write itself. ``select * from staff`` refused for a column says
that a column is in the way and not which: else refusals were a catalog one could read by trying.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_policy.body import Unread
from weirgate_policy.entity import route_id
from weirgate_policy.pair import Pair
from weirgate_policy.view import Ref

REASON_LIMIT = 1900
UNLISTED = "(unlisted path)"
"""Names a path that fits no template: the path itself may hold values."""
_ASK = "Do without it, or ask the people who run this gateway for a rule that permits it."
_HINTS = {
    "connect": "Nothing can be done on this resource; ask the people who run this gateway for access.",
    "select": "Name the columns you need instead of *, and leave out what is not permitted.",
    "insert": "Reading may still be permitted; writing this needs a rule that permits it.",
    "update": "Reading may still be permitted; writing this needs a rule that permits it.",
    "delete": "Reading may still be permitted; deleting needs a rule that permits it.",
    "truncate": "Reading may still be permitted; deleting needs a rule that permits it.",
    "system.sensitive": "Use information_schema, pg_class or pg_attribute to learn of tables and columns.",
}
_LATERAL = {
    "lateral.program": "runs a program on the upstream's host",
    "lateral.file": "reads or writes files on the upstream's host",
    "lateral.dynamic": "runs text that cannot be read beforehand",
    "lateral.foreign": "reaches another database or host",
    "lateral.extension": "loads code into the upstream",
    "lateral.system": "changes the upstream's own configuration or catalogs",
    "lateral.role": "changes who the session is",
    "lateral.replication": "uses replication",
    "lateral.largeobject": "uses large objects, which no rule can see into",
    "lateral.function": "calls a function that leads out of the tables",
}


class Words:
    """What the agent wrote, to tell which names it knows."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._text = "\n".join(texts).casefold()

    def has(self, name: str) -> bool:
        """Say whether a name stands in the text as a word of its own."""
        return (
            bool(name)
            and re.search(rf"(?<![\w$]){re.escape(name.casefold())}(?![\w$])", self._text) is not None
        )

    def name(self, ref: Ref, resource: str) -> str:
        """Return how to speak of something to the agent."""
        match ref.kind:
            case "Resource":
                return f"resource {resource}"
            case "Column":
                table = _dotted(ref.schema, ref.name) if self.has(ref.name) else None
                if table and self.has(ref.column):
                    return f"{table}.{ref.column}"
                return f"a column of {table}" if table else "a column behind this statement"
            case "Table":
                return (
                    _dotted(ref.schema, ref.name)
                    if self.has(ref.name)
                    else "a relation behind this statement"
                )
            case "Function":
                whole = _dotted(ref.schema, ref.name)
                return f"{whole}()" if self.has(ref.name) else "a function behind this statement"
            case _:
                return ref.name


def _dotted(schema: str, name: str) -> str:
    return name if schema in ("", "pg_catalog") else f"{schema}.{name}"


def refused_pair(
    pair: Pair, *, words: Words, resource: str, rules: tuple[str, ...], reasons: tuple[str, ...], failed: bool
) -> Refusal:
    """Return the refusal for a question the rules answered with no."""
    thing = words.name(pair.ref, resource)
    if failed:
        because = f"rule {', '.join(rules)} could not be evaluated, and that denies"
    elif rules:
        because = f"rule {', '.join(rules)} forbids it"
    else:
        because = "no rule permits it"
    said = f" ({'; '.join(reasons)})" if reasons else ""
    code, what, hint = (
        RefusalCode.DENIED,
        f"{pair.action} on {thing} is refused",
        _HINTS.get(pair.action, _ASK),
    )
    if pair.action.startswith("lateral."):
        code = RefusalCode.LATERAL
        what = f"this statement {_LATERAL.get(pair.action, 'leads sideways')} ({pair.action}) and is refused"
        hint = "Reach the rows you need with plain SELECT, INSERT, UPDATE or DELETE on tables."
    elif pair.action == "opaque":
        code = RefusalCode.OPAQUE
        what = f"what {thing} touches cannot be seen, so it is refused"
        hint = (
            "Write out the query it stands for."
            if pair.ref.kind == "Function"
            else "Check the name and its schema; a relation made a moment ago may be tried again in a second."
        )
    return Refusal(code=code, reason=f"{what}: {because}{said}."[:REASON_LIMIT], rules=rules, hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedCall:
    """A call the rules said no to. Names method and template; never a value of path, query, header or body."""

    action: str
    method: str
    route: str | None
    resource: str
    rules: tuple[str, ...]

    def by_rules(self, reasons: tuple[str, ...]) -> Refusal:
        """Return the refusal where a rule forbids it, or none permits it."""
        if self.rules:
            said = f" ({'; '.join(reasons)})" if reasons else ""
            return self._refusal(f"{self._named()} forbids it{said}", _ASK)
        if self.route is None:
            hint = "Check the path: it is none of the routes this resource lists. Or ask"
        elif self.method not in ("GET", "HEAD", "OPTIONS"):
            hint = "Reading (GET) may still be permitted. Or ask"
        else:
            hint = "Ask"
        wanted = f'{self.action} on Route::"{route_id(self.resource, self.route or "")}"'
        return self._refusal(
            "no rule permits it", f"{hint} the people who run this gateway to permit {wanted}."
        )

    def by_body(self, why: Unread) -> Refusal:
        """Return the refusal where a rule reads a body that was not read."""
        return self._refusal(f"{self._named()} reads its body, which {why.reason}", why.hint, why.code)

    def by_model(self) -> Refusal:
        """Return the refusal where a rule reads which model is asked, and that cannot be known."""
        return self._refusal(
            f"{self._named()} reads which model is asked, and of this call that cannot be known in one way only",
            "Ask by a route of the model API, with a body of JSON as the API has it (UTF-8, each name once).",
            RefusalCode.UNPARSABLE,
        )

    def by_twice(self, where: str) -> Refusal:
        """Return the refusal where a rule reads a name that stands more than once."""
        because = f"{self._named()} reads a name that stands more than once in {where}"
        return self._refusal(because, "Send each name once.", RefusalCode.UNPARSABLE)

    def by_fault(self) -> Refusal:
        """Return the refusal where a rule fails."""
        return self._refusal(f"{self._named()} could not be evaluated, and that denies", _ASK)

    def _named(self) -> str:
        return f"rule {', '.join(self.rules)}"

    def _refusal(self, because: str, hint: str, code: RefusalCode = RefusalCode.DENIED) -> Refusal:
        what = f"{_called(self.method, self.route, self.resource)} ({self.action}) is refused"
        return Refusal(code=code, reason=f"{what}: {because}."[:REASON_LIMIT], rules=self.rules, hint=hint)


def _called(method: str, route: str | None, resource: str) -> str:
    return f"{method[:40]} {route or UNLISTED} on {resource}"


def hold_unread(
    method: str, route: str | None, resource: str, groups: tuple[str, ...], rules: tuple[str, ...]
) -> Refusal:
    """Return the refusal for a call that people would have to agree to without its body being read."""
    return Refusal(
        code=RefusalCode.UNSUPPORTED,
        reason=f"{_called(method, route, resource)} waits for the word of {', '.join(groups)}, and its body is of "
        "a type that is not read: an approval cannot be bound to what nobody read."[:REASON_LIMIT],
        rules=rules,
        hint="Send the body as JSON or as a form.",
    )


def routes_changed(resource: str) -> Refusal:
    """Return the refusal for a call whose route ingress saw otherwise than the judge."""
    return Refusal(
        code=RefusalCode.CATALOG_CHANGED,
        reason=f"the routes of {resource} were changed a moment ago.",
        hint="Send it again.",
    )


def masked_predicate(ref: Ref, label: str, *, flows: bool, words: Words, resource: str) -> Refusal:
    """Return the refusal for a masked column that decides which rows come back, or is written elsewhere."""
    thing = words.name(ref, resource)
    does = "would be copied in clear to another place" if flows else "decides which rows come back or how"
    hint = (
        "Select it (it comes masked) without storing it elsewhere."
        if flows
        else "Select it (it comes masked), and filter, join, group or order by another, such as a key."
    )
    return Refusal(
        code=RefusalCode.MASKED_PREDICATE,
        reason=f"{thing} is masked for you (label {label}) and {does}, which would give its values away.",
        hint=hint,
    )


def unreadable(reason: str) -> Refusal:
    """Return the refusal for a text that cannot be read."""
    return Refusal(
        code=RefusalCode.UNPARSABLE,
        reason=f"the statement cannot be read: {reason}"[:REASON_LIMIT],
        hint="Correct it, or say the same in simpler SQL, one statement at a time.",
    )


def not_understood(reason: str) -> Refusal:
    """Return the refusal for a statement no rule can speak of."""
    return Refusal(
        code=RefusalCode.UNSUPPORTED,
        reason=f"the operation cannot be judged: {reason}"[:REASON_LIMIT],
        hint="Say it in another form.",
    )


def path_unknown() -> Refusal:
    """Return the refusal for a statement behind one that changes the search_path in a way nobody can
    foresee."""
    return Refusal(
        code=RefusalCode.OPAQUE,
        reason="the search_path changes earlier in this operation in a way that cannot be foreseen, so names "
        "after it cannot be resolved.",
        hint="Send the statements after it as an operation of their own.",
    )


def broken_policies(count: int) -> Refusal:
    """Return the refusal while the published policies cannot be judged with."""
    return Refusal(
        code=RefusalCode.DENIED,
        reason=f"the published policies cannot be judged with ({count} problems), so nothing is allowed.",
        hint="Nothing can be done from here: the people who run this gateway must publish others.",
    )


def configuration_unknown() -> Refusal:
    """Return the refusal while the configuration cannot be trusted."""
    return Refusal(
        code=RefusalCode.DENIED,
        reason="the configuration of this gateway cannot be read at present, so nothing is allowed.",
        hint="Try again in some seconds.",
    )


def resource_unknown(resource: str) -> Refusal:
    """Return the refusal for a resource nobody has registered."""
    return Refusal(
        code=RefusalCode.RESOURCE_UNKNOWN,
        reason=f"there is no resource {resource}.",
        hint="Connect to a resource that is registered.",
    )


def catalog_missing(resource: str) -> Refusal:
    """Return the refusal while the catalog of a resource is not known, or too old to be believed."""
    return Refusal(
        code=RefusalCode.UPSTREAM_UNAVAILABLE,
        reason=f"the catalog of {resource} cannot be read at present, so nothing on it can be judged.",
        hint="Try again in some seconds.",
    )


def judge_failed() -> Refusal:
    """Return the refusal where judging itself failed."""
    return Refusal(
        code=RefusalCode.UNSUPPORTED,
        reason="the operation could not be judged: the judge failed on it.",
        hint="Say the same in a simpler form; the people who run this gateway find the fault in its log.",
    )


def grant_refused(why: str) -> Refusal:
    """Return the refusal for an approval that does not hold for this operation."""
    return Refusal(
        code=RefusalCode.HELD_REFUSED,
        reason=f"the approval does not hold for this operation: {why}.",
        hint="Send it again to ask for a new approval.",
    )


def overloaded() -> Refusal:
    """Return the refusal while too many operations wait to be judged."""
    return Refusal(
        code=RefusalCode.VERDICT_TIMEOUT,
        reason="too many operations wait to be judged.",
        hint="Try again in a moment.",
    )
