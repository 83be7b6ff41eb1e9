"""What a call asks of a model, as rules read it: ``context.model``."""

from cedarpy import pst

from weirgate_contracts.model import ModelCall
from weirgate_policy.rule import WHOLE_CONTEXT, Rule
from weirgate_policy.ruling import Facts


def facts_of(model: ModelCall) -> Facts:
    """Return the record rules read; ``Model`` in ``schema.cedar``."""
    found: dict[str, str | int | tuple[str, ...]] = {
        "api": model.api,
        "shape": model.shape,
        "name": model.name,
        "stream": model.stream,
        "tools": model.tools,
        "messages": model.messages,
        "images": model.images,
        "files": model.files,
    }
    if model.max_tokens is not None:
        found["maxTokens"] = model.max_tokens
    return Facts(tuple(sorted(found.items())))


def reads_model(rule: Rule, resource: str, route: str) -> bool:
    """Say whether a rule reads which model a call asks, and its head leaves room for the call.

    Args:
        rule: one that can decide for the agent and the action.
        resource: of the call.
        route: id of the Route of the call.
    """
    if not {"model", WHOLE_CONTEXT} & rule.context:
        return False
    match rule.tree.resource:
        case pst.ScopeEq(entity=pst.EntityUid() as one) | pst.ScopeIn(entity=pst.EntityUid() as one):
            return one.id in (resource, route)
        case _:
            return True
