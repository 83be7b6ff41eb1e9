"""What ``weirgate apply`` reads: files to documents, or everything that is wrong with them. Sends nothing.

Everything is read before anything is said, and nothing is sent unless all of it is right.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, cast

from weirgate_cli.source import BadSource, Problem, Written, read_yaml
from weirgate_contracts.document import (
    BadDocument,
    Complaint,
    Path,
    meant,
    name_of,
    place,
    read_document,
    read_kind,
)
from weirgate_contracts.events.config import ConfigKind
from weirgate_contracts.masking import Transform

YAML_LIMIT_BYTES = 4 * 1024 * 1024
FILES_LIMIT = 1000
_TRANSFORM_FIELDS = frozenset(Transform.model_fields) - {"kind"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """One document, read and checked by itself."""

    kind: ConfigKind
    name: str
    body: dict[str, Any]
    """As it stands in ``ConfigPublished.body``."""
    file: str
    line: int
    lines: Mapping[str, int]
    """Line of each place in ``body`` (:func:`weirgate_contracts.document.place`)."""
    cedar_file: str | None = None
    """The ``.cedar`` file, where the text was read from one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """Everything a path holds, each document right by itself."""

    documents: tuple[Loaded, ...]
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Problems:
    """What is wrong; nothing may be sent."""

    problems: tuple[Problem, ...]


def load(*paths: FilePath) -> Documents | Problems:
    """Read files, or every ``.yaml`` and ``.yml`` below directories, with the ``.cedar`` files they name.

    Several paths are one set: a name is given once in all of them.
    """
    loading = _Loading()
    try:
        files = list(dict.fromkeys(file for path in paths for file in _files(path)))
    except BadSource as error:
        return Problems(problems=error.problems)
    for file in files:
        loading.take(file)
    for path in paths:
        if path.is_dir():
            loading.notice_unused(path)
    if not loading.problems and not loading.documents:
        loading.problems.append(
            Problem(file=str(paths[0]), line=1, what="there is no document in it", right=_FIRST)
        )
    if any(problem.severity == "error" for problem in loading.problems):
        return Problems(problems=tuple(sorted(loading.problems, key=lambda one: (one.file, one.line))))
    return Documents(documents=tuple(loading.documents), warnings=tuple(loading.problems))


_FIRST = "a document begins with 'kind:', docs/operating.md shows each"


def _files(path: FilePath) -> Iterator[FilePath]:
    if not path.exists():
        near = meant(path.name, (one.name for one in path.parent.iterdir())) if path.parent.is_dir() else None
        raise BadSource([Problem(file=str(path), line=1, what="there is no such file", right=near)])
    if path.is_file():
        yield path
        return
    found = sorted(
        file
        for pattern in ("*.yaml", "*.yml")
        for file in path.rglob(pattern)
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not found:
        right = "name a file, or a directory that holds .yaml files"
        raise BadSource([Problem(file=str(path), line=1, what="there is no .yaml file in it", right=right)])
    if len(found) > FILES_LIMIT:
        what = f"more than {FILES_LIMIT} .yaml files"
        raise BadSource([Problem(file=str(path), line=1, what=what, right="is this the right directory?")])
    yield from found


class _Loading:
    """Collects documents and problems over all files."""

    def __init__(self) -> None:
        self.documents: list[Loaded] = []
        self.problems: list[Problem] = []
        self._cedar: set[FilePath] = set()
        self._first: dict[tuple[str, str], Loaded] = {}

    def take(self, file: FilePath) -> None:
        try:
            written = read_yaml(_read_text(file, YAML_LIMIT_BYTES), str(file))
        except BadSource as error:
            self.problems += error.problems
            return
        for document in written:
            self._take_document(file, document)

    def notice_unused(self, root: FilePath) -> None:
        for file in sorted(root.rglob("*.cedar")):
            if file.resolve() not in self._cedar:
                what = "no document names this file, so it is not applied"
                right = f"add a document 'kind: policy' with 'file: {file.name}'"
                self.problems.append(
                    Problem(file=str(file), line=1, what=what, right=right, severity="warning")
                )

    def _take_document(self, file: FilePath, written: Written) -> None:
        body = dict(written.value)
        cedar_file: FilePath | None = None
        try:
            kind = read_kind(body.pop("kind", None))
        except BadDocument as error:
            self._say(file, written, error.complaints)
            return
        complaints: list[Complaint] = []
        if kind == "policy":
            cedar_file = self._read_cedar(file, body, complaints)
        if kind == "masking":
            body = _with_flat_transforms(body)
        try:
            document = read_document(kind, body)
        except BadDocument as error:
            complained = {complaint.path[:1] for complaint in complaints}
            complaints += [one for one in error.complaints if one.path[:1] not in complained]
            self._say(file, written, [*complaints])
            return
        if complaints:
            self._say(file, written, complaints)
            return
        loaded = Loaded(
            kind=kind,
            name=name_of(document),
            body=document.model_dump(mode="json"),
            file=str(file),
            line=written.line,
            lines={place(path): line for path, line in _canonical_lines(written.lines, body).items()},
            cedar_file=str(cedar_file) if cedar_file else None,
        )
        first = self._first.setdefault((kind, loaded.name), loaded)
        if first is not loaded:
            named = f"{'resource' if kind == 'labels' else 'name'}: {loaded.name}"
            what = f"a second document 'kind: {kind}, {named}', the first is {first.file}:{first.line}"
            right = "join the two, or give one another name"
            self.problems.append(Problem(file=str(file), line=written.line, what=what, right=right))
            return
        self.documents.append(loaded)

    def _read_cedar(
        self, file: FilePath, body: dict[str, Any], complaints: list[Complaint]
    ) -> FilePath | None:
        """Put the text of the named ``.cedar`` file in the document's place for it."""
        if "file" not in body:
            if "cedar" not in body:
                complaints.append(
                    Complaint(path=("cedar",), what="'file' is missing", right="write 'file: NAME.cedar'")
                )
            return None
        name = body.pop("file")
        if "cedar" in body:
            complaints.append(
                Complaint(path=("file",), what="'file' and 'cedar' both stand here", right="keep one of them")
            )
            return None
        if not isinstance(name, str) or not name:
            body["cedar"] = ""
            complaints.append(
                Complaint(path=("file",), what="'file' names a .cedar file", right="write 'file: NAME.cedar'")
            )
            return None
        cedar_file = file.parent / name
        body["cedar"] = ""
        try:
            body["cedar"] = _read_text(cedar_file, 512 * 1024)
        except BadSource as error:
            for problem in error.problems:
                what = f"{problem.file}: {problem.what}"
                complaints.append(Complaint(path=("file",), what=what, right=problem.right))
            return None
        self._cedar.add(cedar_file.resolve())
        return cedar_file

    def _say(
        self, file: FilePath, written: Written, complaints: list[Complaint] | tuple[Complaint, ...]
    ) -> None:
        for complaint in complaints:
            self.problems.append(
                Problem(
                    file=str(file),
                    line=written.line_of(_written_path(complaint.path, written)),
                    what=complaint.what,
                    right=complaint.right,
                    severity=complaint.severity,
                )
            )


def _read_text(file: FilePath, limit_bytes: int) -> str:
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        siblings = [one.name for one in file.parent.iterdir()] if file.parent.is_dir() else []
        alike = [name for name in siblings if name.endswith(file.suffix)]
        raise BadSource(
            [Problem(file=str(file), line=1, what="there is no such file", right=meant(file.name, alike))]
        ) from None
    except OSError as error:
        raise BadSource(
            [Problem(file=str(file), line=1, what=f"cannot be read: {error.strerror}")]
        ) from error
    if len(raw) > limit_bytes:
        what = f"longer than {limit_bytes // 1024} KiB"
        raise BadSource([Problem(file=str(file), line=1, what=what, right="split it")])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise BadSource(
            [Problem(file=str(file), line=line, what="not UTF-8", right="save it as UTF-8")]
        ) from error


# ---------------------------------------------------------------- rules may be written flat


def _rules(body: Mapping[str, Any]) -> list[Any]:
    rules = body.get("rules")
    return cast(list[Any], rules) if isinstance(rules, list) else []


def _with_flat_transforms(body: dict[str, Any]) -> dict[str, Any]:
    """Read ``{label: …, transform: partial, keep_last: 4}`` as the transform it means."""
    rules: list[Any] = []
    for rule in _rules(body):
        if isinstance(rule, dict):
            given = cast(dict[str, Any], rule)
            if isinstance(given.get("transform"), str):
                flat = {name: given[name] for name in _TRANSFORM_FIELDS if name in given}
                rest = {name: value for name, value in given.items() if name not in flat}
                rules.append({**rest, "transform": {"kind": given["transform"], **flat}})
                continue
        rules.append(rule)
    return {**body, "rules": rules} if rules else body


def _canonical_lines(lines: Mapping[Path, int], body: Mapping[str, Any]) -> dict[Path, int]:
    """Give every place in the document as published the line it was written on."""
    found = dict(lines)
    for index, rule in enumerate(_rules(body)):
        transform: object = cast(dict[str, Any], rule).get("transform") if isinstance(rule, dict) else None
        if isinstance(transform, dict):
            for name in cast(dict[str, Any], transform):
                line = lines.get(("rules", index, "transform" if name == "kind" else name))
                if line is not None:
                    found.setdefault(("rules", index, "transform", name), line)
    if ("file",) in lines:
        found[("cedar",)] = lines[("file",)]
    return found


def _written_path(path: Path, written: Written) -> Path:
    match path:
        case ("rules", int() as index, "transform", str() as name) if path not in written.lines:
            return ("rules", index, "transform" if name == "kind" else name)
        case ("cedar",) if ("file",) in written.lines:
            return ("file",)
        case _:
            return path


def publish_paths(paths: Sequence[FilePath], *, url: str, token: str) -> list[str]:
    """Load several paths as one set and publish it; return what is wrong, nothing where it was published."""
    from weirgate_cli.gateway import Failed, Gateway
    from weirgate_cli.publish import refused_problems, send

    loaded = load(*paths)
    if isinstance(loaded, Problems):
        return [str(problem) for problem in loaded.problems if problem.severity == "error"]
    try:
        send(Gateway(url=url, token=token), loaded, dry_run=False)
    except Failed as error:
        problems = [str(problem) for problem in refused_problems(error) if problem.severity == "error"]
        return problems or [error.message]
    return []
