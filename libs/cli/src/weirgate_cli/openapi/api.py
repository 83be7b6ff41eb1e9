"""What an API document says of paths: which routes there are, what each is for, and which can be none.

Source: OpenAPI Specification 3.0.4 and 3.1.1 (Paths, Path Item, Server Objects), Swagger 2.0.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from weirgate_cli.openapi.template import NoTemplate, make_template
from weirgate_cli.openapi.tree import mapping, resolve, sequence

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
PATHS_LIMIT = 20_000
_ELSEWHERE = "register that server as a resource of its own"
_BUNDLE = "bundle the document into one file first"


class NotAnApi(Exception):
    """The document is none of an API, or of a version that is not read."""

    def __init__(self, what: str, next: str) -> None:
        super().__init__(what)
        self.what = what
        self.next = next


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path."""

    method: str
    """Upper case."""
    id: str
    summary: str
    node: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Route:
    """A template and what is behind it."""

    template: str
    operations: list[Operation] = field(default_factory=list[Operation])


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A path that no route was made of."""

    path: str
    why: str
    next: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where an API says it is."""

    origin: str
    """Scheme and authority, lower case; empty: it does not say."""
    path: str
    """Without a slash at its end."""


@dataclass(slots=True, kw_only=True)
class Api:
    """One document."""

    root: dict[str, Any]
    version: str
    """As it names itself: ``OpenAPI 3.1.0``, ``Swagger 2.0``."""
    title: str
    server: Server
    routes: list[Route] = field(default_factory=list[Route])
    left_out: list[LeftOut] = field(default_factory=list[LeftOut])


def read_api(root: dict[str, Any], *, before: str) -> Api:
    """Read a document.

    Args:
        root: It, as values.
        before: What stands before every path of the document that names no server of its own; empty or a path without
            a slash at its end.

    Raises:
        NotAnApi: see there.
    """
    api = begin(root)
    reading = _Reading(api, before)
    paths = mapping(root.get("paths"))
    if len(paths) > PATHS_LIMIT:
        raise NotAnApi(f"it has more than {PATHS_LIMIT} paths", "split it")
    for path, given in paths.items():
        if not path.startswith("x-"):
            reading.take(path, given)
    return api


def begin(root: dict[str, Any]) -> Api:
    """Read what stands before the paths.

    Raises:
        NotAnApi: see there.
    """
    swagger, openapi = str(root.get("swagger") or ""), str(root.get("openapi") or "")
    if swagger not in ("2.0", "2") and not openapi.startswith(("3.0", "3.1")):
        said = (
            f"it is version {openapi or swagger}"
            if openapi or swagger
            else "it says neither 'openapi' nor 'swagger'"
        )
        raise NotAnApi(said[:100], "OpenAPI 3.0 and 3.1 and Swagger 2.0 are read")
    if not mapping(root.get("paths")):
        raise NotAnApi(
            "it has no 'paths'", "name the document that has them; parts of it can be bundled into one file"
        )
    info = mapping(root.get("info"))
    return Api(
        root=root,
        version=f"OpenAPI {openapi}" if openapi else "Swagger 2.0",
        title=f"{info.get('title') or 'an API'} {info.get('version') or ''}".strip(),
        server=_server(root.get("servers")) if openapi else _host(root),
    )


def _server(servers: object) -> Server:
    first = mapping(next(iter(sequence(servers)), None))
    url = str(first.get("url") or "")
    for name, variable in mapping(first.get("variables")).items():
        url = url.replace("{" + name + "}", str(mapping(variable).get("default") or ""))
    return read_server(url)


def _host(root: dict[str, Any]) -> Server:
    host, base = str(root.get("host") or ""), str(root.get("basePath") or "")
    schemes = [str(one) for one in sequence(root.get("schemes"))]
    scheme = "https" if "https" in schemes or not schemes else schemes[0]
    base = base if base.startswith("/") or not base else f"/{base}"
    return read_server(f"{scheme}://{host}{base}" if host else base)


def read_server(url: str) -> Server:
    """Read the address of a server; what cannot be read says nothing."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return Server(origin="", path="")
    path = parts.path if parts.path.startswith("/") else f"/{parts.path}"
    if "{" in url or parts.scheme not in ("http", "https", ""):
        return Server(origin="", path="")
    origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}".lower() if host and parts.scheme else ""
    return Server(origin=origin, path=path.rstrip("/"))


class _Reading:
    """Collects routes over all paths."""

    def __init__(self, api: Api, before: str) -> None:
        self._api = api
        self._before = before
        self._shapes: dict[tuple[str, ...], Route] = {}

    def take(self, path: str, given: object) -> None:
        item, wrong = resolve(self._api.root, given)
        if wrong is not None:
            self._leave_out(path, wrong, _BUNDLE)
            return
        node = mapping(item)
        operations = list(_operations(node))
        seen: set[str] = set()
        for operation in operations or (None,):
            servers = (operation.node.get("servers") if operation else None) or node.get("servers")
            before = self._place(path, _server(servers) if servers else None, seen)
            if before is not None:
                self._add(before + path if path.startswith("/") else path, operation, seen)

    def _place(self, path: str, server: Server | None, seen: set[str]) -> str | None:
        """Return what stands before a path; ``None``: it is not of this upstream."""
        own = self._api.server
        if server is None or server == own:
            return self._before
        if server.origin and server.origin != own.origin:
            if server.origin not in seen:
                seen.add(server.origin)
                self._leave_out(path, f"it is served by {server.origin}", _ELSEWHERE)
            return None
        root = own.path[: len(own.path) - len(self._before)] if own.path.endswith(self._before) else None
        if root is not None and (server.path == root or server.path.startswith(f"{root}/")):
            return server.path[len(root) :]
        if "servers" not in seen:
            seen.add("servers")
            self._leave_out(path, f"it is below {server.path or '/'}, away from the others", _ELSEWHERE)
        return None

    def _add(self, path: str, operation: Operation | None, seen: set[str]) -> None:
        template = make_template(path)
        if isinstance(template, NoTemplate):
            if path not in seen:
                seen.add(path)
                self._leave_out(path, template.why, template.next)
            return
        shape = tuple("{}" if part.startswith("{") else part for part in template.split("/"))
        route = self._shapes.get(shape)
        if route is None:
            route = self._shapes[shape] = Route(template=template)
            self._api.routes.append(route)
        elif route.template != template and path not in seen:
            seen.add(path)
            self._leave_out(
                path, f"it matches the same paths as {route.template}", "nothing: that one serves it"
            )
        if operation is not None:
            route.operations.append(operation)

    def _leave_out(self, path: str, why: str, next: str) -> None:
        self._api.left_out.append(LeftOut(path=path, why=why, next=next))


def _operations(item: dict[str, Any]) -> Iterator[Operation]:
    for method in METHODS:
        if isinstance(item.get(method), dict):
            node = mapping(item[method])
            yield Operation(
                method=method.upper(),
                id=str(node.get("operationId") or ""),
                summary=str(node.get("summary") or ""),
                node=node,
            )
