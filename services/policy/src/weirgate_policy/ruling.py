"""Asking Cedar: one ruling for each question, the rules that decided, and what they oblige to."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cedarpy import AuthzResult, Decision, Entities, is_authorized_batch

from weirgate_contracts.identity import Identity
from weirgate_policy.bundle import Bundle, Slice
from weirgate_policy.entity import carrier, entity, uid
from weirgate_policy.memory import Lru
from weirgate_policy.obligation import NOTHING, Obligation, strictest
from weirgate_policy.pair import Pair
from weirgate_policy.tag import Tagged, Tags, names_of
from weirgate_policy.view import Ref, ResourceView
from weirgate_policy.vocabulary import APPLIES, ATTRIBUTES, CONTEXTS, PARENTS, TAGS, ancestry

RULINGS_LIMIT = 50_000
REMEMBERED_LIMIT = 1024
"""Characters of a name and a context whose ruling is remembered: values an agent sends could fill the memory."""


class Entity(NamedTuple):
    """A reference to a User or a Run in a context."""

    kind: str
    id: str


class Facts(NamedTuple):
    """A record in a context, its members sorted by name; a tuple is a set of Cedar."""

    members: tuple[tuple[str, str | int | tuple[str, ...]], ...]


ContextValue = str | int | Entity | Tagged | Facts
Context = tuple[tuple[str, str | int | Entity | Tags | Facts], ...]
"""The attributes of the context that some rule of a slice reads, sorted by name; of tags those names it reads."""
RulingKey = tuple[str, frozenset[str], str, Ref, Context]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """The answer to one question."""

    permitted: bool
    rules: tuple[str, ...] = ()
    """Ids of the rules that decided, sorted; empty: no permit matched."""
    obligation: Obligation = NOTHING
    reasons: tuple[str, ...] = ()
    """What the forbids say about themselves."""
    failed: bool = False
    """A rule could not be evaluated; that denies even where another permits."""


_NO_PERMIT = Ruling(permitted=False)
_SOFT_PASS = Ruling(permitted=True)


@dataclass(slots=True, kw_only=True)
class Asking:
    """The rules, one resource, and every ruling given so far on it (rulings depend on nothing else)."""

    bundle: Bundle
    view: ResourceView
    known: Lru[RulingKey, Ruling] = field(default_factory=lambda: Lru(RULINGS_LIMIT))

    def ask(
        self, identity: Identity, pairs: Sequence[Pair], context: Mapping[str, ContextValue]
    ) -> list[tuple[Pair, Ruling]]:
        """Return a ruling for every pair, in order; columns no rule can tell apart share one question."""
        groups = frozenset(identity.groups)
        keys: list[RulingKey] = []
        slices: dict[str, tuple[Slice, Context]] = {}
        missing: dict[RulingKey, None] = {}
        for pair in pairs:
            if pair.action not in slices:
                piece = self.bundle.slice(identity.agent, groups, pair.action)
                slices[pair.action] = piece, _projected(piece, pair.action, context)
            piece, projection = slices[pair.action]
            key = (identity.agent, groups, pair.action, self._same(piece, pair.ref), projection)
            keys.append(key)
            if self.known.get(key) is None:
                missing[key] = None
        fresh = (
            self._ask(identity, missing, {action: one for action, (one, _) in slices.items()})
            if missing
            else {}
        )
        answers: list[tuple[Pair, Ruling]] = []
        for pair, key in zip(pairs, keys, strict=True):
            ruling = fresh.get(key) or self.known.get(key) or _NO_PERMIT
            if pair.soft and not ruling.permitted and not ruling.rules and not ruling.failed:
                ruling = _SOFT_PASS
            answers.append((pair, ruling))
        return answers

    def possible(
        self,
        identity: Identity,
        action: str,
        refs: Sequence[Ref],
        context: Mapping[str, ContextValue],
        *,
        resource_known: bool = True,
    ) -> list[bool]:
        """Say of each thing whether some operation of this action on it could be permitted, in order.

        Args:
            identity: Whose operation it would be.
            action: What it would be.
            refs: On what.
            context: All that is known of it beforehand.
            resource_known: ``False``: the things stand for others of their kind, not known by name.
        """
        groups = frozenset(identity.groups)
        piece = self.bundle.slice(identity.agent, groups, action)
        if not piece.permits or not refs:
            return [False] * len(refs)
        projection = _projected(piece, action, context)
        keys = [(identity.agent, groups, action, ref, projection) for ref in refs]
        policies = self.bundle.possible(identity.agent, groups, action, resource_known=resource_known)
        results = is_authorized_batch(
            self._requests(identity, action, keys), policies, self._entities(identity, keys)
        )
        if len(results) != len(refs):
            raise ValueError("fewer answers than questions")
        return [one.decision is Decision.Allow and not one.diagnostics.errors for one in results]

    def _requests(self, identity: Identity, action: str, keys: Sequence[RulingKey]) -> list[dict[str, Any]]:
        context = _json(keys[0][4], action)  # one projection for a slice, so one for all these keys
        return [
            {
                "principal": uid("Agent", identity.agent),
                "action": uid("Action", action),
                "resource": uid(key[3].kind, self.view.id(key[3])),
                "context": context,
            }
            for key in keys
        ]

    def _same(self, piece: Slice, ref: Ref) -> Ref:
        """Return the thing whose ruling counts for this one: any column stands for all that no rule tells
        apart."""
        if ref.kind != "Column" or piece.by_column:
            return ref
        relation = self.view.catalog.relations.get(f"{ref.schema}.{ref.name}")
        if relation is None or all(column.name != ref.column for column in relation.columns):
            return ref
        labels = self.view.labels_on(ref.schema, ref.name, ref.column) if piece.by_label else ()
        for column in relation.columns:
            if not piece.by_label or self.view.labels_on(ref.schema, ref.name, column.name) == labels:
                return Ref("Column", ref.schema, ref.name, column.name)
        return ref

    def _ask(
        self, identity: Identity, keys: Iterable[RulingKey], slices: Mapping[str, Slice]
    ) -> dict[RulingKey, Ruling]:
        answered: dict[RulingKey, Ruling] = {}
        by_action: dict[str, list[RulingKey]] = {}
        for key in keys:
            _, _, action, ref, _ = key
            if ref.kind not in APPLIES.get(action, ()):
                raise ValueError(f"{action} is not asked on a {ref.kind}")
            piece = slices[action]
            if not piece.permits and not piece.forbids:
                answered[key] = _NO_PERMIT
            else:
                by_action.setdefault(action, []).append(key)
        if by_action:
            asked = [key for several in by_action.values() for key in several]
            entities = self._entities(identity, asked)
            for action, several in by_action.items():
                answered |= self._rule(identity, slices[action], action, several, entities)
        for key, ruling in answered.items():
            if _size(key[4]) + len(key[3].name) <= REMEMBERED_LIMIT:
                self.known[key] = ruling
        return answered

    def _rule(
        self, identity: Identity, piece: Slice, action: str, keys: Sequence[RulingKey], entities: Entities
    ) -> dict[RulingKey, Ruling]:
        results = is_authorized_batch(self._requests(identity, action, keys), piece.policies, entities)
        if len(results) != len(keys):
            raise ValueError("fewer answers than questions")
        return {key: _ruling(result, piece) for key, result in zip(keys, results, strict=True)}

    def _entities(self, identity: Identity, keys: Sequence[RulingKey]) -> Entities:
        more = [_agent(identity.agent, identity.groups)]
        more += {_ACTIONS[name] for key in keys for name in ancestry(key[2])}
        named = {value for key in keys for _, value in key[4] if isinstance(value, Entity)}
        more += [entity(one.kind, one.id, name=one.id) for one in sorted(named)]
        more += {
            carrier(TAGS[name], f"{key[2]}/{name}", value.values)
            for key in keys
            for name, value in key[4]
            if isinstance(value, Tags)
        }
        return Entities.from_json_str(self.view.entities((key[3] for key in keys), more))


_ACTIONS = {
    name: entity("Action", name, tuple(("Action", parent) for parent in PARENTS[name])) for name in APPLIES
}


def _agent(agent: str, groups: Iterable[str]) -> str:
    return entity("Agent", agent, tuple(("Group", group) for group in groups), name=agent)


def _projected(piece: Slice, action: str, context: Mapping[str, ContextValue]) -> Context:
    known = ATTRIBUTES[CONTEXTS[action]]
    wanted = known if piece.whole_context else known & piece.context
    found: list[tuple[str, str | int | Entity | Tags | Facts]] = []
    for name in sorted(wanted & context.keys()):
        value = context[name]
        if not isinstance(value, Tagged):
            found.append((name, value))
        elif (tags := value.narrowed(names_of(piece.tags, name))) is not None:
            found.append((name, tags))
    return tuple(found)


def _size(context: Context) -> int:
    size = 0
    for _, value in context:
        if isinstance(value, Tags):
            size += sum(len(name) + len(str(one)) for name, one in value.values)
        elif isinstance(value, Facts):
            size += sum(len(name) + len(str(one)) for name, one in value.members)
        elif isinstance(value, str):
            size += len(value)
    return size


def _json(context: Context, action: str) -> str:
    found: dict[str, object] = {}
    for name, value in context:
        match value:
            case Entity():
                found[name] = {"__entity": uid(*value)}
            case Tags():
                # One projection for each action, so the action tells the entities of one question apart.
                found[name] = {"__entity": uid(TAGS[name], f"{action}/{name}")}
            case Facts():
                found[name] = dict(value.members)
            case _:
                found[name] = value
    return json.dumps(found)


def _ruling(result: AuthzResult, piece: Slice) -> Ruling:
    rules = tuple(sorted(result.diagnostics.reasons))
    if result.diagnostics.errors:
        broken = tuple(
            sorted(id for id in piece.rules if any(id in said for said in result.diagnostics.errors))
        )
        return Ruling(permitted=False, rules=broken, failed=True)
    matched = [piece.rules[id] for id in rules]
    if result.decision is Decision.Allow and matched and all(rule.permits for rule in matched):
        return Ruling(permitted=True, rules=rules, obligation=strictest(rule.obligation for rule in matched))
    if result.decision is Decision.Deny and not any(rule.permits for rule in matched):
        reasons = tuple(dict.fromkeys(reason for rule in matched for reason in rule.obligation.reasons))
        return Ruling(permitted=False, rules=rules, reasons=reasons)
    return Ruling(permitted=False, rules=rules, failed=True)
