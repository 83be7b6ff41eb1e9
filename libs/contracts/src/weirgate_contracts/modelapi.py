"""Route packs: the paths of the model APIs we know, so that a resource need not list them. Pure.

Policy, masking and ingress ask :func:`routes_of`, and so see the same list. A pack holds what agents use: asking
models, and the files and batches that go with it. What administers an account (keys, users, fine-tuning) is in no pack:
it is ``<unlisted>``, and a permit on routes does not reach it.

Source: openai-python 3 (``resources/``), Anthropic API reference (messages, models, files).
"""

from collections.abc import Mapping
from functools import lru_cache

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.model import ModelApi

_OPENAI: Mapping[str, str | None] = {
    "/v1/chat/completions": "chat",
    "/v1/chat/completions/{completion_id}": None,
    "/v1/chat/completions/{completion_id}/messages": None,
    "/v1/completions": "completion",
    "/v1/responses": "response",
    "/v1/responses/compact": "response",
    "/v1/responses/input_tokens": "response",
    "/v1/responses/{response_id}": None,
    "/v1/responses/{response_id}/cancel": None,
    "/v1/responses/{response_id}/input_items": None,
    "/v1/conversations": None,
    "/v1/conversations/{conversation_id}": None,
    "/v1/conversations/{conversation_id}/items": None,
    "/v1/conversations/{conversation_id}/items/{item_id}": None,
    "/v1/embeddings": "embedding",
    "/v1/moderations": "moderation",
    "/v1/images/generations": "image",
    "/v1/images/edits": "image",
    "/v1/images/variations": "image",
    "/v1/audio/speech": "speech",
    "/v1/audio/transcriptions": "transcription",
    "/v1/audio/translations": "transcription",
    "/v1/models": None,
    "/v1/models/{model}": None,
    "/v1/files": None,
    "/v1/files/{file_id}": None,
    "/v1/files/{file_id}/content": None,
    "/v1/batches": None,
    "/v1/batches/{batch_id}": None,
    "/v1/batches/{batch_id}/cancel": None,
}
_ANTHROPIC: Mapping[str, str | None] = {
    "/v1/messages": "message",
    "/v1/messages/count_tokens": "count",
    "/v1/messages/batches": None,
    "/v1/messages/batches/{message_batch_id}": None,
    "/v1/messages/batches/{message_batch_id}/cancel": None,
    "/v1/messages/batches/{message_batch_id}/results": None,
    "/v1/complete": "completion",
    "/v1/models": None,
    "/v1/models/{model_id}": None,
    "/v1/files": None,
    "/v1/files/{file_id}": None,
    "/v1/files/{file_id}/content": None,
}
_PACKS: Mapping[str, Mapping[str, str | None]] = {"openai": _OPENAI, "anthropic": _ANTHROPIC}


def routes_of(resource: ResourceDocument) -> tuple[str, ...]:
    """Return the templates of a resource: those of its API, then its own."""
    return joined(resource.api, resource.routes)


@lru_cache(maxsize=256)
def joined(api: str | None, routes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the templates of an API, then others, each once.

    Args:
        api: as in ``ResourceDocument.api``; one that is not known adds nothing.
        routes: as in ``ResourceDocument.routes``.
    """
    return tuple(dict.fromkeys((*_PACKS.get(api or "", {}), *routes)))


def shape_of(api: ModelApi, method: str, route: str | None) -> str | None:
    """Return what kind of call a route is, as ``ModelCall.shape``; ``None``: none whose body says which model."""
    return _PACKS[api].get(route or "") if method == "POST" else None
