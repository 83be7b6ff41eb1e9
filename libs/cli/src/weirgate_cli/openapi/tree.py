"""A JSON or YAML text to plain values, for documents others wrote: no types made, nothing expanded, depth bounded.

Scalars of YAML come as the text they are written as (``3.0`` is ``"3.0"``). Aliases share one value, so that a few
lines never become gigabytes, and merge keys (``<<``) keep each name once.
"""

import json
from typing import Any, cast

import yaml

DEPTH_LIMIT = 100
"""Deeper than any API document, and far from what Python's own recursion bears."""
TEXT_LIMIT_BYTES = 32 * 1024 * 1024
"""The longest public documents (GitHub's, Microsoft Graph's) have 12 and 30 MB."""
_HOPS_LIMIT = 16
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_OPEN: Any = object()
"""Stands for the value of an anchor that is still being read."""


class Unreadable(Exception):
    """The text is no document; ``line`` is where, from 1."""

    def __init__(self, what: str, line: int = 1) -> None:
        super().__init__(what)
        self.what = what
        self.line = line


def read_tree(text: str) -> dict[str, Any]:
    """Read the text of one document.

    Raises:
        Unreadable: it is no JSON and no YAML, holds no mapping, or is nested too deeply.
    """
    try:
        value = json.loads(text) if text.lstrip().startswith("{") else _yaml(text)
    except json.JSONDecodeError as error:
        # A mapping of YAML may begin with a brace too.
        try:
            value = _yaml(text)
        except Unreadable:
            raise Unreadable(f"this is not JSON: {error.msg}", error.lineno) from error
    except RecursionError as error:
        raise Unreadable("it is nested too deeply") from error
    if not isinstance(value, dict):
        raise Unreadable("it holds no mapping")
    return cast("dict[str, Any]", value)


def resolve(root: dict[str, Any], node: object) -> tuple[object, str | None]:
    """Follow ``$ref`` within the document; return what it leads to, or what is wrong."""
    for _ in range(_HOPS_LIMIT):
        if not isinstance(node, dict):
            return node, None
        reference = cast("dict[str, Any]", node).get("$ref")
        if not isinstance(reference, str):
            return cast("object", node), None
        if not reference.startswith("#"):
            return None, f"refers to another file ({reference[:80]!r})"
        found: object = root
        for step in reference[1:].split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and name in found:
                found = mapping(found)[name]
            else:
                return None, f"refers to what is not there ({reference[:80]!r})"
        node = found
    return None, "refers to itself"


def mapping(value: object) -> dict[str, Any]:
    """Return a mapping, empty where it is none."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def sequence(value: object) -> list[Any]:
    """Return a list, empty where it is none."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def _yaml(text: str) -> object:
    building = _Building()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            building.take(event)
            if building.done:
                return building.value
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Unreadable(
            f"this is not YAML: {error.problem or error.context}", mark.line + 1 if mark else 1
        ) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise Unreadable(f"this is not YAML: {str(error).splitlines()[0]}") from error
    return None


class _Building:
    """Puts one document together from what a parser meets, without recursion."""

    def __init__(self) -> None:
        self.value: object = None
        self.done = False
        self._anchors: dict[str, object] = {}
        self._stack: list[tuple[dict[str, Any] | list[Any], list[object], str | None]] = []
        """Collections that are open, each with a key that waits for its value, and its anchor."""

    def take(self, event: Any) -> None:
        match event:
            case yaml.ScalarEvent():
                null = not event.style and event.value in ("", "~", "null", "Null", "NULL")
                self._put(None if null else event.value, event.anchor)
            case yaml.AliasEvent():
                value = self._anchors.get(event.anchor or "", _OPEN)
                if value is _OPEN:
                    raise Unreadable(f"the alias *{event.anchor} holds itself, or nothing", _line(event))
                self._put(value, None)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                if len(self._stack) >= DEPTH_LIMIT:
                    raise Unreadable("it is nested too deeply", _line(event))
                if event.anchor:
                    self._anchors[event.anchor] = _OPEN
                opened: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
                self._stack.append((opened, [], event.anchor))
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                closed, _, anchor = self._stack.pop()
                self._put(closed, anchor)
            case _:
                pass

    def _put(self, value: object, anchor: str | None) -> None:
        if anchor:
            self._anchors[anchor] = value
        if not self._stack:
            self.value, self.done = value, True
            return
        into, waiting, _ = self._stack[-1]
        if isinstance(into, list):
            into.append(value)
        elif not waiting:
            waiting.append(value)
        else:
            key = waiting.pop()
            if key == "<<":
                for merged in value if isinstance(value, list) else (value,):
                    for name, one in mapping(merged).items():
                        into.setdefault(name, one)
            elif isinstance(key, str):
                into[key] = value


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
