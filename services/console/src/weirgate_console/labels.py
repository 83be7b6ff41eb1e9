"""Whether labels fit the resource they are put on. Pure.

A label that names what its resource cannot hold masks nothing, and nobody would notice: so it is an error,
from whichever side it comes, the labels or a resource that is published anew under labels that stand.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from weirgate_contracts.config import LabelsDocument, ResourceDocument
from weirgate_contracts.document import Complaint, Path, meant
from weirgate_contracts.modelapi import joined

_HOLDS = {"postgres": "columns", "http": "fields", "mcp": "fields"}
_RIGHT = {
    "columns": "write 'columns: {public.customers.email: pii.email}'",
    "fields": "write 'fields: {\"/v1/customers/{id} /email\": pii.email}'",
}


def unfit_labels(
    document: LabelsDocument | ResourceDocument, bodies: Mapping[tuple[str, str], Mapping[str, Any]]
) -> Iterator[Complaint]:
    """Give what of the labels does not fit the resource, at its place in the document that is sent.

    Args:
        document: What is sent.
        bodies: Every document by kind and name, as it would stand.
    """
    if isinstance(document, LabelsDocument):
        resource = bodies.get(("resource", document.resource))
        if resource is None:
            known = [name for kind, name in bodies if kind == "resource"]
            what = f"there is no resource {document.resource!r}"
            yield Complaint(path=("resource",), what=what, right=meant(document.resource, known))
            return
        yield from _unfit(document.model_dump(mode="json"), resource)
        return
    labels = bodies.get(("labels", document.name))
    if labels is None:
        return
    for complaint in _unfit(labels, document.model_dump(mode="json")):
        # These stand already: it is the resource that is sent now that would leave them without effect.
        path: Path = ("routes",) if len(complaint.path) > 1 else ("protocol",)
        what = f"labels of {document.name!r} stand that would not fit: {complaint.what}"
        yield Complaint(path=path, what=what, right="publish labels that fit with it")


def _unfit(labels: Mapping[str, Any], resource: Mapping[str, Any]) -> Iterator[Complaint]:
    protocol, name = str(resource["protocol"]), str(resource["name"])
    held = _HOLDS.get(protocol)
    if protocol != "http" and labels.get("request_fields"):
        what = f"{name!r} is a resource of 'protocol: {protocol}' and has no request_fields"
        yield Complaint(path=("request_fields",), what=what, right=_RIGHT.get(held or ""))
    for other in ("columns", "fields"):
        if other != held and labels.get(other):
            what = f"{name!r} is a resource of 'protocol: {protocol}' and has no {other}"
            yield Complaint(path=(other,), what=what, right=_RIGHT.get(held or ""))
    if protocol == "mcp":
        yield from _no_tools(labels, name)
    if protocol != "http":
        return
    routes = joined(resource.get("api"), tuple(str(route) for route in resource.get("routes", ())))
    for kind in ("fields", "request_fields"):
        for field in labels.get(kind, {}):
            route = str(field).partition(" ")[0]
            if route != "*" and route not in routes:
                what = f"{name!r} has no route {route!r}, so the label would never apply"
                right = meant(route, routes) if routes else f"add it to 'routes' of {name!r}, or write '*'"
                yield Complaint(path=(kind, str(field)), what=what, right=right)
    if labels.get("request_fields") and not resource.get("mask_requests"):
        what = f"{name!r} does not mask requests, so the labels would never apply"
        right = f"write 'mask_requests: true' in the resource {name!r}"
        yield Complaint(path=("request_fields",), what=what, right=right)


def _no_tools(labels: Mapping[str, Any], name: str) -> Iterator[Complaint]:
    # Which tools there are only the server knows: of a name nothing can be said, of a route it can.
    for field in labels.get("fields", {}):
        of = str(field).partition(" ")[0]
        if of.startswith("/"):
            what = (
                f"{name!r} is a resource of 'protocol: mcp' and has no routes, so the label would never apply"
            )
            right = "write the name of a tool, 'lookup_customer /email', or '* /**/email'"
            yield Complaint(path=("fields", str(field)), what=what, right=right)
