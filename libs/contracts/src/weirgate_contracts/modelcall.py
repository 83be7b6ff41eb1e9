"""Reading what an agent asks of a model, from the body of its call. Pure; ingress and cases of policies share it.

What two readers could read differently is not read at all, and a rule that reads the model then denies: a name twice in
an object or in another case than the API has it (some readers take ``Model`` for ``model``), a number where text should
be, tools without names.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from weirgate_contracts.http import HttpCall, is_json, is_plain
from weirgate_contracts.model import NAME_LIMIT, TOOLS_LIMIT, ModelApi, ModelCall
from weirgate_contracts.modelapi import shape_of

DEPTH_LIMIT = 200
"""Objects and arrays within each other; what is deeper is not read."""
_TOKENS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_tokens_to_sample")
_LISTS = ("messages", "input", "tools", "functions", "mcp_servers")
_READ = frozenset(("model", "stream", "system", "prompt", *_TOKENS, *_LISTS))
"""Names of the body that facts are made of."""
_SPOKEN = ("messages", "input", "system", "prompt")
_IMAGES = frozenset(("image", "image_url", "input_image", "computer_screenshot"))
_FILES = frozenset(("file", "input_file", "document", "input_audio", "audio", "container_upload"))
_INT8 = 1 << 63


class _Doubtful(ValueError):
    """It can be read in more than one way, or not at all."""


def read_model(api: ModelApi | None, call: HttpCall, whole: bytes | None) -> ModelCall | None:
    """Return what a call asks of a model; ``None``: it asks nothing of one, or that cannot be read in one way only.

    Args:
        api: of the resource; ``None``: it is no model's.
        call: with its route and headers.
        whole: its body, where it was read whole.
    """
    shape = shape_of(api, call.method, call.route) if api is not None else None
    if api is None or shape is None or whole is None or call.body is None:
        return None
    if not is_json(call.body.type) or not is_plain(call):
        return None
    try:
        return _read(api, shape, whole.decode())
    except (ValueError, RecursionError):
        return None


def _read(api: ModelApi, shape: str, text: str) -> ModelCall:
    whole: object = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    if not isinstance(whole, dict):
        raise _Doubtful("no object")
    body = cast("dict[str, Any]", whole)
    if any(name not in _READ and name.casefold() in _READ for name in body):
        raise _Doubtful("a name in another case")
    _shallow(body)
    kinds = {kind for name in _SPOKEN for kind in _kinds(body.get(name))}
    return ModelCall(
        api=api,
        shape=shape,
        name=_name(body.get("model") if body.get("model") is not None else ""),
        stream=_flag(body.get("stream")),
        tools=_tools(body),
        max_tokens=_tokens(body),
        messages=_count(body),
        images=not kinds.isdisjoint(_IMAGES),
        files=not kinds.isdisjoint(_FILES),
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name.casefold() for name, _ in pairs}) != len(pairs):
        raise _Doubtful("a name stands twice in an object")
    return dict(pairs)


def _constant(name: str) -> object:
    raise _Doubtful(f"{name} is no JSON")


def _shallow(whole: object) -> None:
    level: list[object] = [whole]
    for _ in range(DEPTH_LIMIT):
        level = [one for value in level for one in _inside(value)]
        if not level:
            return
    raise _Doubtful("too deep")


def _inside(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from cast("dict[str, object]", value).values()
    elif isinstance(value, list):
        yield from cast("list[object]", value)


def _name(given: object) -> str:
    if not isinstance(given, str) or len(given) > NAME_LIMIT:
        raise _Doubtful("no name")
    given.encode()  # half a surrogate pair is no text: UnicodeEncodeError is a ValueError
    return given


def _flag(given: object) -> bool:
    if given is not None and not isinstance(given, bool):
        raise _Doubtful("neither true nor false")
    return given is True


def _tokens(body: Mapping[str, Any]) -> int | None:
    found = [body[name] for name in _TOKENS if body.get(name) is not None]
    # True is an int to Python, and to no API.
    if any(type(one) is not int or not 0 <= one < _INT8 for one in found):
        raise _Doubtful("no number of tokens")
    return max(found, default=None)


def _count(body: Mapping[str, Any]) -> int:
    for name in ("messages", "input", "prompt"):
        given: object = body.get(name)
        if given is not None:
            return len(cast("list[object]", given)) if isinstance(given, list) else 1
    return 0


def _tools(body: Mapping[str, Any]) -> tuple[str, ...]:
    found = {_tool(one) for one in _list(body, "tools")}
    found |= {_name(_members(one).get("name")) for one in _list(body, "functions")}
    found |= {f"mcp:{_name(_members(one).get('name'))}" for one in _list(body, "mcp_servers")}
    if "" in found or len(found) > TOOLS_LIMIT:
        raise _Doubtful("a tool without a name, or too many")
    return tuple(sorted(_name(one) for one in found))


def _tool(given: object) -> str:
    tool = _members(given)
    kind = tool.get("type")
    if kind == "mcp":
        return f"mcp:{_name(tool.get('server_label'))}"
    inner = tool.get(kind) if kind in ("function", "custom") else None
    # Chat completions name a function within, responses and messages beside its type.
    name = _members(inner).get("name") if inner is not None else tool.get("name", kind)
    if inner is not None and tool.get("name", name) != name:
        raise _Doubtful("two names for a tool")
    return _name(name)


def _list(body: Mapping[str, Any], name: str) -> Sequence[object]:
    given: object = body.get(name)
    if given is None:
        return ()
    if not isinstance(given, list):
        raise _Doubtful("no list")
    return cast("list[object]", given)


def _members(given: object) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise _Doubtful("no object")
    return cast("dict[str, Any]", given)


def _kinds(value: object) -> Iterator[str]:
    stack: list[object] = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, dict) and isinstance(kind := cast("dict[str, object]", one).get("type"), str):
            yield kind
        stack.extend(_inside(one))
