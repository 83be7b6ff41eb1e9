"""YAML text to plain values that remember their lines.

Not ``yaml.safe_load``: that one keeps the last of two equal keys, expands aliases without bound, reads ``no``
as false, and forgets where everything stood.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from weirgate_contracts.document import Path

DEPTH_LIMIT = 16
_WORDS = {"tag:yaml.org,2002:null": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong, at one place, with what would be right."""

    file: str
    line: int
    """From 1."""
    what: str
    right: str | None = None
    severity: str = "error"

    def __str__(self) -> str:
        mark = "" if self.severity == "error" else f"{self.severity}: "
        tail = f" ({self.right})" if self.right else ""
        return f"{self.file}:{self.line}: {mark}{self.what}{tail}"


class BadSource(Exception):
    """The text cannot be read; ``problems`` says all that is wrong."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """One YAML document, as written."""

    line: int
    value: dict[str, Any]
    lines: dict[Path, int] = field(default_factory=dict[Path, int])
    """Line of every key and item."""

    def line_of(self, path: Path) -> int:
        """Return the line of a path, or of the nearest thing around it that was written."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, self.line)


def read_yaml(text: str, file: str) -> list[Written]:
    """Read every document of a text; empty ones are left out.

    Raises:
        BadSource: not YAML, or YAML that nobody should have to guess the meaning of.
    """
    problems: list[Problem] = []
    documents: list[Written] = []
    try:
        for node in _compose(text):
            reading = _Reading(file=file)
            value = reading.read(node, ())
            line = _line(node)
            problems += reading.problems
            if value is None:
                continue
            if not isinstance(value, dict):
                what = "a document is a mapping that begins with 'kind:'"
                problems.append(Problem(file=file, line=line, what=what, right="write 'kind: resource'"))
                continue
            documents.append(Written(line=line, value=value, lines=reading.lines))
    except yaml.MarkedYAMLError as error:
        problems.append(_unreadable(error, text, file))
    except (yaml.YAMLError, RecursionError) as error:
        problems.append(Problem(file=file, line=1, what=f"this is not YAML: {str(error).splitlines()[0]}"))
    if problems:
        raise BadSource(problems)
    return documents


def _compose(text: str) -> Iterator[Node]:
    return yaml.compose_all(text, Loader=yaml.SafeLoader)  # type: ignore[no-any-return]


def _line(node: Node) -> int:
    return node.start_mark.line + 1


def _unreadable(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    said = text.splitlines()
    here = said[line - 1] if line <= len(said) else ""
    if "\t" in here[: len(here) - len(here.lstrip())]:
        return Problem(file=file, line=line, what="a tab indents this line", right="use spaces")
    problem = str(error.problem or error.context or "it cannot be read")
    return Problem(file=file, line=line, what=f"this is not YAML: {problem}", right=_yaml_hint(problem))


def _yaml_hint(problem: str) -> str | None:
    if "mapping values are not allowed" in problem:
        return "put a text that holds ': ' in quotes, and check the indentation"
    if "alias" in problem:
        return "a text that begins with '*' stands in quotes"
    if "while scanning" in problem or "found character" in problem:
        return "put the text in quotes"
    if "expected <block end>" in problem:
        return "check the indentation of this line and the one before it"
    return None


class _Reading:
    """Turns the nodes of one document into values, collecting lines and problems."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self._seen: set[int] = set()

    def read(self, node: Node, path: Path) -> Any:
        if len(path) > DEPTH_LIMIT:
            self._say(node, "nested too deeply", None)
            return None
        if not isinstance(node, ScalarNode):
            if id(node) in self._seen:
                self._say(node, "aliases of mappings and lists are not read here", "write it out again")
                return None
            self._seen.add(id(node))
        match node:
            case MappingNode():
                return self._mapping(node, path)
            case SequenceNode():
                return [self._item(item, (*path, index)) for index, item in enumerate(node.value)]
            case ScalarNode():
                return self._scalar(node)
            case _:
                self._say(node, "this cannot be read", None)
                return None

    def _item(self, node: Node, path: Path) -> Any:
        self.lines[path] = _line(node)
        return self.read(node, path)

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self._say(key_node, "a key is a word", None)
                continue
            key = str(key_node.value)
            if key == "<<":
                self._say(key_node, "merge keys are not read here", "write the keys out")
                continue
            here: Path = (*path, key)
            if key in values:
                first = self.lines[here]
                self._say(key_node, f"{key!r} stands twice, first on line {first}", "keep one of them")
                continue
            self.lines[here] = _line(key_node)
            values[key] = self.read(value_node, here)
        return values

    def _scalar(self, node: ScalarNode) -> Any:
        text = str(node.value)
        match node.tag.removeprefix("tag:yaml.org,2002:"):
            case "str":
                return text
            case "null":
                return None
            case "bool":
                if text.lower() in ("true", "false"):
                    return text.lower() == "true"
                self._say(node, f"YAML reads {text} as a truth value", f"write {text!r} in quotes")
                return None
            case "int" | "float":
                try:
                    return int(text) if node.tag.endswith("int") else float(text)
                except ValueError:
                    self._say(node, f"YAML reads {text} as a number", f"write {text!r} in quotes")
                    return None
            case _:
                self._say(node, f"{text[:40]!r} is read as a date or a special type", "put it in quotes")
                return None

    def _say(self, node: Node, what: str, right: str | None) -> None:
        self.problems.append(Problem(file=self.file, line=_line(node), what=what, right=right))
