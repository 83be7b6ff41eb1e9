"""Sending documents to the console, and saying what became of them."""

from collections.abc import Sequence
from typing import Any

from weirgate_cli.apply import Documents
from weirgate_cli.gateway import Failed, Gateway
from weirgate_cli.source import Problem


def send(gateway: Gateway, documents: Documents, *, dry_run: bool) -> dict[str, Any]:
    """Publish documents; return what the console did.

    Raises:
        Failed: it refused; ``problems_of`` says why.
    """
    sent = [
        {
            "kind": one.kind,
            "body": one.body,
            "file": one.file,
            "line": one.line,
            "lines": dict(one.lines),
            "cedar_file": one.cedar_file,
        }
        for one in documents.documents
    ]
    return gateway.call("POST", "/v1/config", {"documents": sent, "dry_run": dry_run})


def problems_of(found: Sequence[dict[str, Any]]) -> list[Problem]:
    """Read the problems of an answer."""
    return [
        Problem(
            file=str(one["file"]),
            line=int(one["line"]),
            what=str(one["what"]),
            right=one.get("right"),
            severity=str(one.get("severity", "error")),
        )
        for one in found
    ]


def refused_problems(error: Failed) -> list[Problem]:
    """Return the problems a refusal lists; none, where it is about something else."""
    return problems_of(error.body.get("problems") or [])
