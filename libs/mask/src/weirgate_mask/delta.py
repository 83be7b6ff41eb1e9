"""The deltas of a model's streamed answer: where they stand, which belong together, what ends them.

A *place* is one growing text: the content of one choice, the arguments of one tool call. Places of one answer
(a choice; a whole message elsewhere) are a *group*: when another place of the group goes on, or the group
ends, what is held back of a place must be out.

Known are the chat and text completions and the responses of OpenAI's API and the messages of Anthropic's;
others that stream in the same shape are masked alike.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any, cast

PATTERNS = (
    "/choices/*/delta/content",
    "/choices/*/delta/refusal",
    "/choices/*/delta/reasoning",
    "/choices/*/delta/reasoning_content",
    "/choices/*/delta/function_call/arguments",
    "/choices/*/delta/tool_calls/*/function/arguments",
    "/choices/*/delta/tool_calls/*/custom/input",
    "/choices/*/delta/audio/transcript",
    "/choices/*/text",
    "/delta",
    "/delta/text",
    "/delta/partial_json",
    "/delta/thinking",
    "/completion",
)
"""Where deltas stand, as field patterns."""
_STEPS = tuple(tuple(pattern[1:].split("/")) for pattern in PATTERNS)
_ENDS = ("content_block_start", "content_block_stop", "message_delta", "message_stop", "error")
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A piece of growing text in one event."""

    group: Hashable
    place: Hashable
    path: Path
    text: str


def deltas(document: object) -> list[Delta]:
    """Return the deltas of a document, in the order their tokens stand in it."""
    return [_delta(document, path, text) for path, text in _strings(document, _STEPS, ())]


def ended_groups(document: object) -> list[Hashable] | None:
    """Return the groups an event ends; ``None``: all."""
    top = _members(document)
    kind = top.get("type")
    if isinstance(kind, str):
        responses = kind.startswith("response.") and kind.endswith(
            (".done", ".completed", ".failed", ".incomplete", ".cancelled")
        )
        if kind in _ENDS or responses:
            return None
    elif "error" in top:
        return None
    choices = top.get("choices")
    ended: list[Hashable] = []
    for number, choice in enumerate(cast("list[object]", choices) if isinstance(choices, list) else []):
        members = _members(choice)
        if members.get("finish_reason") is not None:
            ended.append(("choice", _index(members, number)))
    return ended


def _strings(value: Any, patterns: tuple[tuple[str, ...], ...], path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        if () in patterns:
            yield path, value
    elif isinstance(value, dict):
        for key, member in cast("dict[str, Any]", value).items():
            following = tuple(steps[1:] for steps in patterns if steps and steps[0] in (key, "*"))
            if following:
                yield from _strings(member, following, (*path, key))
    elif isinstance(value, list):
        following = tuple(steps[1:] for steps in patterns if steps and steps[0] == "*")
        if following:
            for number, element in enumerate(cast("list[Any]", value)):
                yield from _strings(element, following, (*path, number))


def _delta(document: object, path: Path, text: str) -> Delta:
    top = _members(document)
    if path[0] != "choices":
        group = ("response", str(top.get("item_id")))
        return Delta(group=group, place=(str(top.get("type")), _numbers(top), path), path=path, text=text)
    choices = top["choices"]
    number = path[1]
    choice = _members(
        cast("list[object]", choices)[number]
        if isinstance(choices, list) and isinstance(number, int)
        else None
    )
    index = _index(choice, number)
    if "tool_calls" not in path:
        return Delta(group=("choice", index), place=(index, path[2:]), path=path, text=text)
    call = path[4]
    calls = _members(choice.get("delta")).get("tool_calls")
    member = _members(
        cast("list[object]", calls)[call] if isinstance(calls, list) and isinstance(call, int) else 0
    )
    return Delta(group=("choice", index), place=(index, "tool", _index(member, call)), path=path, text=text)


def _numbers(top: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(top.get(name)) for name in ("item_id", "index", "output_index", "content_index"))


def _index(members: dict[str, Any], otherwise: str | int) -> str:
    return str(members.get("index", otherwise))


def _members(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
