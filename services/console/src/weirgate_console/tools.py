"""Whether approved tools fit the resource they are of, and who is asked about others. Pure.

Definitions pinned for a resource that has no tools protect nothing, and a call that waits for reviewers whom
nobody named waits in vain: both are errors, from whichever side they come.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from weirgate_contracts.config import ResourceDocument, ToolsDocument
from weirgate_contracts.document import Complaint, meant

Bodies = Mapping[tuple[str, str], Mapping[str, Any]]


def pinned_tools(resource: str, bodies: Bodies) -> frozenset[str] | None:
    """Return the tools of a resource that people approved; ``None``: none is pinned."""
    body = bodies.get(("tools", resource))
    return None if body is None else frozenset(str(name) for name in body["tools"])


def unfit_tools(document: ToolsDocument | ResourceDocument, bodies: Bodies) -> Iterator[Complaint]:
    """Give what of approved tools does not fit the resource, at its place in the document that is sent.

    Args:
        document: What is sent.
        bodies: Every document by kind and name, as it would stand.
    """
    if isinstance(document, ResourceDocument):
        yield from _of_resource(document, bodies)
        return
    resource = bodies.get(("resource", document.resource))
    if resource is None:
        what = f"there is no resource {document.resource!r}"
        known = [name for kind, name in bodies if kind == "resource"]
        yield Complaint(path=("resource",), what=what, right=meant(document.resource, known))
    elif resource["protocol"] != "mcp":
        what = f"{document.resource!r} is a resource of 'protocol: {resource['protocol']}' and has no tools"
        yield Complaint(path=("resource",), what=what, right="name a resource of 'protocol: mcp'")


def _of_resource(document: ResourceDocument, bodies: Bodies) -> Iterator[Complaint]:
    pinned = ("tools", document.name) in bodies
    if pinned and document.protocol != "mcp":
        what = f"approved tools of {document.name!r} stand, and 'protocol: {document.protocol}' has none"
        yield Complaint(path=("protocol",), what=what, right=f"withdraw tools {document.name} first")
    if not pinned and document.protocol == "mcp":
        yield Complaint(
            path=("name",),
            what=f"no tool of {document.name!r} is pinned: the server can change what agents read of its tools",
            right=f"let an agent list them, then review what 'weirgate tools pin {document.name}' prints",
            severity="warning",
        )


def missing_reviewers(document: ToolsDocument, bodies: Bodies) -> Iterator[Complaint]:
    """Give reviewers that nobody named."""
    known = [name for kind, name in bodies if kind == "reviewers"]
    for name in document.reviewers:
        if name not in known:
            # Where the field is left out, the default is what stands there.
            what = f"there are no reviewers called {name}"
            right = f"publish a document: kind: reviewers, name: {name}; there are {', '.join(sorted(known)) or 'none'}"
            yield Complaint(path=("reviewers",), what=what, right=right)


def needs_reviewers(name: str, bodies: Bodies) -> str | None:
    """Return a resource whose approved tools ask these reviewers; ``None``: none does."""
    return next(
        (of for (kind, of), body in bodies.items() if kind == "tools" and name in body["reviewers"]), None
    )
