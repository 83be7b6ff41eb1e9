"""Routes to the YAML of a resource: a document of its own, or the one list in a file that stands."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from weirgate_cli.openapi.api import Api, Route
from weirgate_cli.say import one_line
from weirgate_cli.source import BadSource, read_yaml

_PLAIN = re.compile(r"/[A-Za-z0-9._~/{}-]*")
_COMMENT_CHARS = 100
OPERATIONS_LIMIT = 9
"""Told of one route."""


class NotMerged(Exception):
    """The file cannot be changed as asked; it stands as it was."""

    def __init__(self, what: str, next: str) -> None:
        super().__init__(what)
        self.what = what
        self.next = next


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """A file with new routes, and nothing else changed."""

    text: str
    added: int
    kept: tuple[str, ...]
    """Routes that stood there and are none of the document's."""


def write_document(api: Api, *, source: str, name: str, upstream: str, protocol: str = "http") -> str:
    """Return a whole resource document."""
    lines = [
        f"# {_said(f'{api.title}, from {source} ({api.version})')}",
        "kind: resource",
        f"name: {name}",
        f"protocol: {protocol}",
        f"upstream: {json.dumps(upstream)}",
        "# How the key of the API is sent, and where it is read (docs/operating.md):",
        "# inject: bearer",
        "# credential: env:NAME",
        "routes:",
        *_items(api.routes, "  "),
    ]
    return "\n".join(lines) + "\n"


def write_candidates(found: Sequence[tuple[str, str]], name: str) -> str:
    """Return labels as comments: somebody must look at them before they stand."""
    lines = [
        "# ---",
        "# kind: labels",
        f"# resource: {name}",
        "# fields:  # by format and name: look, and uncomment",
    ]
    lines += [f"#   {json.dumps(field, ensure_ascii=False)}: {label}" for field, label in found]
    return "\n".join(lines) + "\n"


def find_resource(text: str, file: str, name: str) -> Mapping[str, Any]:
    """Return the resource document of a name, as written.

    Raises:
        BadSource: the file is not right.
        NotMerged: it holds no such document.
    """
    found = [one.value for one in read_yaml(text, file) if _is(one.value, name)]
    if len(found) != 1:
        raise NotMerged(
            f"{file} holds no document 'kind: resource, name: {name}'", "leave --into out to begin one"
        )
    return found[0]


def merge(text: str, api: Api, *, file: str, name: str, prune: bool) -> Merged:
    """Put routes into the document of a name; everything else in the file stays byte for byte.

    Args:
        text: Of the file.
        api: Whose routes.
        file: Its name, for what is said.
        name: Of the resource.
        prune: Drop the routes that stand there and are none of the document's.

    Raises:
        BadSource: the file is not right.
        NotMerged: it cannot be done.
    """
    before = find_resource(text, file, name)
    given = before.get("routes")
    stood = [str(one) for one in given] if isinstance(given, list) else []  # pyright: ignore[reportUnknownVariableType]
    own = {route.template for route in api.routes}
    kept = () if prune else tuple(dict.fromkeys(one for one in stood if one not in own))
    made = _replaced(text, name, api.routes, kept)
    _check(text, made, file, name, [*(route.template for route in api.routes), *kept])
    return Merged(text=made, added=len(own.difference(stood)), kept=kept)


def _is(document: Mapping[str, Any], name: str) -> bool:
    return document.get("kind") == "resource" and document.get("name") == name


def _check(text: str, made: str, file: str, name: str, routes: list[str]) -> None:
    """Read what was made, and see that nothing but the routes is another: it is text that was changed."""
    expected = [one.value for one in read_yaml(text, file)]
    for one in expected:
        if _is(one, name):
            one["routes"] = routes
    try:
        found = [one.value for one in read_yaml(made, file)]
    except BadSource as error:
        raise NotMerged(
            f"{file} is written in a way that cannot be changed here", "put the routes in by hand"
        ) from error
    if found != expected:
        raise NotMerged(
            f"{file} is written in a way that cannot be changed here", "put the routes in by hand"
        )


def _replaced(text: str, name: str, routes: Sequence[Route], kept: Sequence[str]) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    node = next(one for one in _mappings(text) if _is(_scalars(one), name))
    if node.flow_style:
        raise NotMerged("the document stands in braces", "write each of its fields on a line of its own")
    indent = " " * node.start_mark.column
    lines = ["routes:", *_items(routes, f"{indent}  ")]
    if kept:
        lines += [
            f"{indent}  # not in the document they were imported from",
            *(f"{indent}  - {_quoted(one)}" for one in kept),
        ]
    block = newline.join(lines)
    pair = next((one for one in node.value if one[0].value == "routes"), None)
    if pair is not None:
        key, value = pair
        start, end = int(key.start_mark.index), max(_end(value), int(key.end_mark.index) + 1)
        return text[:start] + block + text[end:]
    end = _end(node.value[-1][1])
    line_end = text.find("\n", end)
    at = len(text) if line_end < 0 else line_end - (text[line_end - 1 : line_end] == "\r")
    return f"{text[:at]}{newline}{indent}{block}{text[at:]}"


def _mappings(text: str) -> Iterator[MappingNode]:
    nodes: Iterator[Node] = yaml.compose_all(text, Loader=yaml.SafeLoader)
    return (node for node in nodes if isinstance(node, MappingNode))


def _scalars(node: MappingNode) -> dict[str, str]:
    return {str(key.value): str(value.value) for key, value in node.value if isinstance(value, ScalarNode)}


def _end(node: Node) -> int:
    """Return where a value ends: a list in block style says it ends where the next thing begins, behind comments."""
    while isinstance(node, SequenceNode | MappingNode) and not node.flow_style and node.value:
        last: Any = node.value[-1]
        node = last[1] if isinstance(node, MappingNode) else last
    return int(node.end_mark.index)


def _items(routes: Sequence[Route], indent: str) -> Iterator[str]:
    for route in routes:
        for operation in route.operations[:OPERATIONS_LIMIT]:
            said = f"{operation.method} {operation.id}".strip() + (
                f": {operation.summary}" if operation.summary else ""
            )
            yield f"{indent}# {_said(said)}"
        yield f"{indent}- {_quoted(route.template)}"


def _said(text: str) -> str:
    """Return text fit for a comment: what an API says of itself must not become a line of YAML."""
    return one_line(text, _COMMENT_CHARS)


def _quoted(route: str) -> str:
    return route if _PLAIN.fullmatch(route) else json.dumps(route)
