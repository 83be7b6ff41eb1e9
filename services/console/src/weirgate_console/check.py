"""Checking documents together, before anything is published. Pure, but for loading the checkers.

A document by itself is read by :mod:`weirgate_contracts.document`. Here is what only shows among several: a
name given twice, labels of a resource that is not there, a rule that meets no label, what a checker says.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Literal

from pydantic import Field

from weirgate_console.hosts import clashing_hosts
from weirgate_console.labels import unfit_labels
from weirgate_console.tools import missing_reviewers, pinned_tools, unfit_tools
from weirgate_contracts.config import (
    LabelsDocument,
    MaskingDocument,
    PolicyDocument,
    ResourceDocument,
    ToolsDocument,
)
from weirgate_contracts.document import (
    BadDocument,
    Complaint,
    Document,
    meant,
    name_of,
    place,
    read_document,
    read_kind,
)
from weirgate_contracts.labels import DETECTOR_LABELS
from weirgate_contracts.modelapi import joined
from weirgate_contracts.value import Value, label_matches

CHECKERS = "weirgate.checkers"
"""Entry points that check policies: installed by whoever judges with them, loaded when the console starts."""

Bodies = Mapping[tuple[str, str], Mapping[str, Any]]
"""Documents by kind and name, as they stand in the log or would."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Names that exist, for a checker to find rules that can never fire."""

    resources: frozenset[str]
    reviewers: frozenset[str]
    labels: frozenset[str]
    catalogs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    routes: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    """Templates of every HTTP resource."""
    tools: Mapping[str, frozenset[str] | None] = field(default_factory=dict[str, "frozenset[str] | None"])
    """By resource of MCP the tools people approved; ``None``: none is pinned."""


Checker = Callable[[Mapping[str, str], Any], Sequence[Any]]
"""Policies by name to Cedar text, and what is known; gives problems with ``policy``, ``line``, ``message``,
``suggestion`` and ``severity``."""


class Sent(Value):
    """One document to publish, and where it was written."""

    kind: str
    body: dict[str, Any]
    file: str | None = None
    line: int = 1
    lines: dict[str, int] = Field(default_factory=dict[str, int])
    """Line of each place in ``body``, keys and indexes joined by ``/``."""
    cedar_file: str | None = None
    """Where the text of a policy was read from."""


class Found(Value):
    """One problem, and where."""

    file: str
    line: int
    what: str
    right: str | None = None
    severity: Literal["error", "warning"] = "error"


def load_checkers() -> dict[str, Checker]:
    """Load every installed checker. One that does not load raises: its silence would pass for consent."""
    return {one.name: one.load() for one in entry_points(group=CHECKERS)}


def read_sent(sent: Sequence[Sent]) -> tuple[list[tuple[Sent, Document]], list[Found]]:
    """Read every document by itself; return those that are right, and what is wrong with the others."""
    documents: list[tuple[Sent, Document]] = []
    problems: list[Found] = []
    first: dict[tuple[str, str], Sent] = {}
    for one in sent:
        try:
            document = read_document(read_kind(one.kind), one.body)
        except BadDocument as error:
            problems += [found_in(one, complaint) for complaint in error.complaints]
            continue
        key = (one.kind, name_of(document))
        if first.setdefault(key, one) is not one:
            where = f"{first[key].file or 'sent'}:{first[key].line}"
            what = f"a second {one.kind} {key[1]!r}, the first is {where}"
            problems.append(found_in(one, Complaint(path=(), what=what, right="join the two, or rename one")))
            continue
        documents.append((one, document))
    return documents, problems


def check_together(
    documents: Sequence[tuple[Sent, Document]], standing: Bodies, checkers: Mapping[str, Checker]
) -> list[Found]:
    """Check documents against each other and against what stands."""
    bodies = {**standing, **{(one.kind, name_of(doc)): doc.model_dump(mode="json") for one, doc in documents}}
    known = names_in(bodies)
    problems: list[Found] = []
    labelled = {document.resource for _, document in documents if isinstance(document, LabelsDocument)}
    for one, document in documents:
        if isinstance(document, LabelsDocument) or (
            isinstance(document, ResourceDocument) and document.name not in labelled
        ):
            problems += [found_in(one, complaint) for complaint in unfit_labels(document, bodies)]
        if isinstance(document, ToolsDocument | ResourceDocument):
            problems += [found_in(one, complaint) for complaint in unfit_tools(document, bodies)]
        if isinstance(document, ToolsDocument):
            problems += [found_in(one, complaint) for complaint in missing_reviewers(document, bodies)]
        if isinstance(document, ResourceDocument):
            problems += [found_in(one, complaint) for complaint in clashing_hosts(document, bodies)]
        if isinstance(document, MaskingDocument):
            problems += [found_in(one, complaint) for complaint in _idle_rules(document, bodies)]
    sent = {document.name: one for one, document in documents if isinstance(document, PolicyDocument)}
    if sent:
        problems += _check_policies(bodies, known, sent, checkers)
    return problems


def policy_errors(bodies: Bodies, checkers: Mapping[str, Checker]) -> dict[tuple[str, str], str]:
    """Return what makes published policies fail their check: by policy and message, the message."""
    known, texts = names_in(bodies), _policy_texts(bodies)
    return {
        (problem.policy, problem.message): problem.message
        for checker in checkers.values()
        for problem in checker(texts, known)
        if problem.severity == "error"
    }


def names_in(bodies: Bodies) -> Known:
    """Collect the names that documents define."""
    masked = (
        str(rule["label"])
        for (kind, _), body in bodies.items()
        if kind == "masking"
        for rule in body["rules"]
    )
    return Known(
        resources=frozenset(name for kind, name in bodies if kind == "resource"),
        reviewers=frozenset(name for kind, name in bodies if kind == "reviewers"),
        labels=frozenset({*_given_labels(bodies), *(label for label in masked if "*" not in label)}),
        routes={
            name: joined(body.get("api"), tuple(body.get("routes") or ()))
            for (kind, name), body in bodies.items()
            if kind == "resource" and body.get("protocol") == "http"
        },
        tools={
            name: pinned_tools(name, bodies)
            for (kind, name), body in bodies.items()
            if kind == "resource" and body.get("protocol") == "mcp"
        },
    )


def found_in(sent: Sent, complaint: Complaint) -> Found:
    """Say in which file and line a complaint is."""
    path = complaint.path
    while path and place(path) not in sent.lines:
        path = path[:-1]
    return Found(
        file=sent.file or "sent",
        line=sent.lines.get(place(path), sent.line),
        what=complaint.what,
        right=complaint.right,
        severity=complaint.severity,
    )


def _check_policies(
    bodies: Bodies, known: Known, sent: Mapping[str, Sent], checkers: Mapping[str, Checker]
) -> list[Found]:
    if not checkers:
        one = next(iter(sent.values()))
        what = "no policy checker is installed beside the console, so no policy can be published"
        right = "install weirgate-policy beside the console"
        return [found_in(one, Complaint(path=(), what=what, right=right))]
    texts = _policy_texts(bodies)
    return [
        _found_in_policy(problem, sent.get(problem.policy))
        for checker in checkers.values()
        for problem in checker(texts, known)
    ]


def _found_in_policy(problem: Any, sent: Sent | None) -> Found:
    severity: Literal["error", "warning"] = "error" if problem.severity == "error" else "warning"
    if sent is None:
        # Another policy, published before: shown, but not the fault of what is sent now.
        file, line, severity = f"policy {problem.policy} (published)", problem.line, "warning"
    elif sent.cedar_file is not None:
        file, line = sent.cedar_file, problem.line
    else:
        file, line = sent.file or "sent", sent.lines.get("cedar", sent.line) + problem.line
    return Found(file=file, line=line, what=problem.message, right=problem.suggestion, severity=severity)


def _policy_texts(bodies: Bodies) -> dict[str, str]:
    return {name: str(body["cedar"]) for (kind, name), body in bodies.items() if kind == "policy"}


def _given_labels(bodies: Bodies) -> set[str]:
    labelled = (body for (kind, _), body in bodies.items() if kind == "labels")
    # A document published by an earlier release has no fields.
    return {
        str(label)
        for body in labelled
        for field in ("columns", "fields", "request_fields")
        for label in body.get(field, {}).values()
    }


def _idle_rules(document: MaskingDocument, bodies: Bodies) -> Iterable[Complaint]:
    """Warn of rules whose label nobody carries: it may be labelled later, but a typo looks just the same."""
    carried = _given_labels(bodies) | set(DETECTOR_LABELS)
    for index, rule in enumerate(document.rules):
        if not any(label_matches(rule.label, label) for label in carried):
            what = f"no column, no field and no detector carries {rule.label!r}"
            right = meant(rule.label, carried)
            yield Complaint(path=("rules", index, "label"), what=what, right=right, severity="warning")
