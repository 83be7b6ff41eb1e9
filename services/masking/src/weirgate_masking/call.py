"""The planner of HTTP: an intercepted call in, a mask plan for the body of its answer out, and for its own. Pure.

A label stands on a route and a pattern: ``/v1/customers/{id} /email``, or ``* /**/ssn`` for every route. What
is not certain is masked, and what cannot be known makes the plan impossible, which ingress refuses:

=======================================================  ==============================================
a call of a route                                        the labels of that route and those of ``*``
a call whose path matches no route                       every label of the resource
a call whose path matches another route here than it     every label of the resource: routes were published
did where it was intercepted                             anew meanwhile
a label of a route the resource no longer has            applies to every call
a pattern with several labels                            the strictest of their transforms
a label no rule matches                                  ``redact``
a body of a type that cannot be read                     as the resource says; where it says nothing it is
                                                         refused if the resource has any label, else passed
a request, where the resource masks requests             the labels for requests in the same way; a body that
                                                         cannot be read is refused, unless the resource says
a resource that is not registered, or is not of HTTP     impossible
=======================================================  ==============================================
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.events import OperationIntercepted
from weirgate_contracts.masking import BodyPlan, FieldPlan, MaskingRule, Plan
from weirgate_contracts.modelapi import routes_of
from weirgate_contracts.route import match_route
from weirgate_masking.rules import Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class CallState:
    """Everything beside the call that its plan depends on."""

    resource: ResourceDocument | None
    """``None``: it is not registered."""
    fields: Mapping[str, str]
    """Of the resource: route and pattern to label."""
    request_fields: Mapping[str, str] = field(default_factory=dict[str, str])
    """The same for bodies of requests."""
    rules: tuple[MaskingRule, ...] = ()


def is_call(operation: OperationIntercepted) -> bool:
    """Say whether an operation is of HTTP or MCP: no catalog stands behind it, and its plan is one of a body."""
    return operation.call is not None or operation.protocol in ("http", "mcp")


def certain_route(operation: OperationIntercepted, resource: ResourceDocument | None) -> str | None:
    """Return the route of a call where this service sees the same one as ingress; ``None``: it is not certain."""
    call = operation.call
    if call is None or call.route is None or resource is None:
        return None
    found = match_route(routes_of(resource), call.path)
    return call.route if found is not None and found[0] == call.route else None


def plan_call(operation: OperationIntercepted, state: CallState) -> Plan:
    """Plan what of the answer to a call must be masked, whatever the verdict unmasks."""
    resource, call = state.resource, operation.call
    if resource is None:
        return Plan(statements=(), impossible="the resource is not registered")
    if resource.protocol != "http" or operation.protocol != "http":
        return Plan(statements=(), impossible="the resource is not one of HTTP")
    if call is None or operation.statements:
        return Plan(statements=(), impossible="the operation is no HTTP call")
    rules = Rules(state.rules, operation.identity.groups)
    unread = resource.unread or ("refuse" if state.fields else "pass")
    route, routes = certain_route(operation, resource), routes_of(resource)

    def planned(labelled: Mapping[str, str]) -> tuple[FieldPlan, ...]:
        return tuple(
            FieldPlan(pattern=pattern, labels=labels, transform=rules.strictest(labels))
            for pattern, labels in _labelled(labelled, route, routes)
        )

    request = None
    if resource.mask_requests:
        request = BodyPlan(fields=planned(state.request_fields), unread=resource.unread or "refuse")
    body = BodyPlan(fields=planned(state.fields), unread=unread)
    return Plan(statements=(), body=body, request=request, detectors=rules.detectors)


def _labelled(
    fields: Mapping[str, str], route: str | None, routes: Iterable[str]
) -> list[tuple[str, tuple[str, ...]]]:
    """Return each pattern that applies with all its labels, sorted."""
    # Left out is only what certainly belongs to another route: "*" and routes nobody knows stay.
    elsewhere = frozenset(routes) - {route} if route is not None else frozenset[str]()
    found: dict[str, set[str]] = {}
    for place, label in fields.items():
        of, _, pattern = place.partition(" ")
        if of not in elsewhere:
            found.setdefault(pattern, set()).add(label)
    return [(pattern, tuple(sorted(labels))) for pattern, labels in sorted(found.items())]
