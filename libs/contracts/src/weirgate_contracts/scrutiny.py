"""What can be said of one document beyond its model: which place is wrong, and what would be right. Pure.

The models refuse all of it themselves where it could do harm. Here it gets a place in the document and a
hint, and here is what a model would take although it can never work: a template no path can match, two
templates for the same paths.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast
from urllib.parse import parse_qsl, urlsplit

from weirgate_contracts.authority import split_authority
from weirgate_contracts.config import DIGEST, FIELD, ROUTE, TOOL
from weirgate_contracts.events.config import ConfigKind
from weirgate_contracts.injection import INJECT, NEVER_INJECTED, token_url_fault

Path = tuple[str | int, ...]

_SECRET_OPTIONS = ("password", "sslpassword", "passfile")
_NEVER_EMPTY: Mapping[str, tuple[str, ...]] = {
    "masking": ("rules",),
    "reviewers": ("groups",),
    "tools": ("reviewers",),
}
_OVER_HTTP = ("http", "mcp")
_SCHEMES = {"postgres": ("postgresql", "postgres"), "http": ("http", "https"), "mcp": ("http", "https")}
_ADDRESSES = {
    "postgres": "postgresql://user@host:port/database",
    "http": "https://host:port/base",
    "mcp": "https://host:port/mcp",
}
_ONLY: Mapping[str, tuple[str, ...]] = {
    "hosts": _OVER_HTTP,
    "inject": _OVER_HTTP,
    "oauth2": _OVER_HTTP,
    "sigv4": _OVER_HTTP,
    "client_cert": _OVER_HTTP,
    "client_key": _OVER_HTTP,
    "ca": _OVER_HTTP,
    "routes": ("http",),
    "api": ("http",),
    "mask_requests": ("http",),
    "hold_wait_s": ("http",),
    "unread": _OVER_HTTP,
    "catalog": ("postgres",),
    "catalog_credential": ("postgres",),
}
"""Fields that only some protocols have."""
_LABELLED = ("columns", "fields", "request_fields")
_NAME = re.compile(r"\{([^/{}]*)\}")
_PERCENT = re.compile(r"%(?![0-9A-F]{2})")
_NEVER_CODED = re.compile(r"%(?:2[DEF]|3[0-9]|4[1-9A-F]|5[0-9ACF]|6[1-9A-F]|7[0-9AEF]|[01][0-9A-F])")
"""Letters, digits and ``-._~`` stand decoded in normal form; slashes and control characters stand in no path."""
_TEMPLATE = "write a template such as /v1/customers/{id}; a name in braces stands for one whole segment"
_INJECT = "write 'inject: bearer', or basic, header:NAME, query:NAME, oauth2, sigv4"
_BESIDE = {
    "oauth2": "write 'oauth2: {token_url: \"https://host/path\", client_id: NAME}'",
    "sigv4": "write 'sigv4: {region: eu-central-1, service: s3, access_key_id: ID}'",
}
_FIELD = (
    "write a route (of MCP a tool) and a pointer, such as '/v1/customers/{id} /email' or 'lookup_customer /email', or "
    "'* /**/ssn' for every one"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """One thing wrong with one document."""

    path: Path
    """Where in the document, as keys and indexes."""
    what: str
    """What is wrong. Never holds a value that could be a secret."""
    right: str | None = None
    """What would be right, where that can be said."""
    severity: Literal["error", "warning"] = "error"
    """An error stops publishing; a warning is shown."""


def scrutinise(kind: ConfigKind, body: Mapping[str, Any]) -> Iterator[Complaint]:
    """Give what is wrong with a document of this kind that the model cannot say, or not the place of."""
    match kind:
        case "labels":
            yield from _labels(body)
        case "resource":
            yield from _resource(body)
        case "tools":
            yield from _tools(body)
        case _:
            pass
    for field in _NEVER_EMPTY.get(kind, ()):
        if field in body and not body[field]:
            yield Complaint(path=(field,), what=f"{field!r} is empty", right="give at least one")


# ---------------------------------------------------------------- labels


def _labels(body: Mapping[str, Any]) -> Iterator[Complaint]:
    # A document as published holds all of them, those it does not need empty.
    if not any(body.get(field) for field in _LABELLED):
        given = next((field for field in _LABELLED if field in body), None)
        if given is not None:
            yield Complaint(path=(given,), what=f"{given!r} is empty", right="give at least one")
            return
        yield Complaint(
            path=(),
            what="neither 'columns' nor 'fields' stands here",
            right="write 'columns: {public.customers.email: pii.email}' for postgres, "
            "'fields: {\"/v1/customers/{id} /email\": pii.email}' for http, "
            "or 'fields: {lookup_customer /email: pii.email}' for mcp",
        )
    for column in _keys(body.get("columns")):
        parts = column.split(".")
        if len(parts) < 3 or not all(parts):
            yield Complaint(
                path=("columns", column),
                what=f"{column!r} is no column",
                right="write schema.table.column, for instance public.customers.email",
            )
    for kind in ("fields", "request_fields"):
        for field in _keys(body.get(kind)):
            if (wrong := _wrong_field(field)) is not None:
                what, right = wrong
                yield Complaint(path=(kind, field), what=f"{field!r} is no field: {what}", right=right)


def _wrong_field(field: str) -> tuple[str, str] | None:
    route, space, pointer = field.partition(" ")
    if not space or not pointer:
        return "a route and a pointer stand there, with one space between", _FIELD
    tool = TOOL.fullmatch(route) is not None
    if route != "*" and not tool and (wrong := _wrong_route(route)) is not None:
        return (
            f"{route!r} is no route, {wrong}",
            _TEMPLATE + "; of MCP the name of a tool; or '*' for every one",
        )
    if "**" in pointer.split("/")[2:]:
        return "'**' stands only as the first step", "write '/**/email': any number of steps, then email"
    if re.search(r"~(?![01])", pointer) is not None:
        return "a '~' in a pointer is written '~0', and a '/' within a step '~1'", _FIELD
    if FIELD.fullmatch(field) is None:
        return f"{pointer!r} is no pointer", _FIELD
    return None


def _keys(given: object) -> Iterable[str]:
    if isinstance(given, Mapping):
        return [str(key) for key in cast(Mapping[object, object], given)]
    return ()


# ---------------------------------------------------------------- resources


def _resource(body: Mapping[str, Any]) -> Iterator[Complaint]:
    protocol = body.get("protocol")
    secret = False
    for field in ("upstream", "catalog"):
        if isinstance(address := body.get(field), str) and _has_secret(address):
            secret = True
            yield Complaint(
                path=(field,),
                what="a password stands in the address",
                right="leave it out and name it by 'credential: env:NAME' or 'credential: file:/path'",
            )
    if protocol != "postgres" and isinstance(hosts := body.get("hosts"), list | tuple):
        yield from _hosts(cast("list[object]", hosts))
    if protocol not in _SCHEMES:
        return
    for field in ("upstream", "catalog") if protocol == "postgres" else ("upstream",):
        if isinstance(address := body.get(field), str) and not secret:
            yield from _address(str(protocol), field, address)
    for field, protocols in _ONLY.items():
        if protocol not in protocols and _says_something(body.get(field)):
            yield Complaint(
                path=(field,),
                what=f"{field!r} is for 'protocol: {protocols[0]}'",
                right=f"leave it out, or write 'protocol: {protocols[0]}'",
            )
    if protocol in _OVER_HTTP:
        yield from _http(body)


def _says_something(given: Any) -> bool:
    """Say whether a field is given: false, nothing and an empty list are what a field that is left out means, too."""
    return bool(given) or (isinstance(given, int) and not isinstance(given, bool))


def _address(protocol: str, field: str, address: str) -> Iterator[Complaint]:
    right = f"write '{field}: {_ADDRESSES[protocol]}'"
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        yield Complaint(path=(field,), what="the address cannot be read", right=right)
        return
    other = "http" if protocol == "postgres" else "postgres"  # an address tells http from mcp by nothing
    if parts.scheme in _SCHEMES[other]:
        what = f"a {parts.scheme}:// address is of 'protocol: {other}', and this is 'protocol: {protocol}'"
        yield Complaint(path=(field,), what=what, right=f"{right}, or 'protocol: {other}'")
    elif parts.scheme not in _SCHEMES[protocol]:
        yield Complaint(path=(field,), what=f"this is no address of 'protocol: {protocol}'", right=right)
    elif not host:
        yield Complaint(path=(field,), what="the address names no host", right=right)
    elif protocol == "postgres" and not parts.username:
        yield Complaint(path=(field,), what="the address names no user", right=right)
    elif protocol in _OVER_HTTP:
        for what, given in (("user", parts.username), ("query", parts.query), ("fragment", parts.fragment)):
            if given is not None and given != "":
                hint = "name it by 'credential: env:NAME' with 'inject: basic'" if what == "user" else right
                yield Complaint(
                    path=(field,), what=f"an upstream of {protocol} has no {what} in its address", right=hint
                )


def _http(body: Mapping[str, Any]) -> Iterator[Complaint]:
    credential, inject = body.get("credential"), body.get("inject")
    if credential is not None and inject is None:
        yield Complaint(
            path=("credential",),
            what="'credential' stands without 'inject', so it would never be sent",
            right="write 'inject: bearer', or basic, header:NAME, query:NAME",
        )
    if inject is not None and credential is None:
        yield Complaint(
            path=("inject",),
            what="'inject' stands without 'credential', so there is nothing to send",
            right="write 'credential: env:NAME' or 'credential: file:/path'",
        )
    if isinstance(inject, str) and INJECT.fullmatch(inject) is None:
        # Not quoted: who mistakes the field writes the credential here.
        yield Complaint(
            path=("inject",),
            what="'inject' says how the credential is sent, and this is no way to",
            right=_INJECT,
        )
    elif isinstance(inject, str) and inject.lower().removeprefix("header:") in NEVER_INJECTED:
        what = "a credential in this field would change how the message is read"
        yield Complaint(path=("inject",), what=what, right="name another header:NAME")
    yield from _shown(body)
    upstream = body.get("upstream")
    # A token endpoint of oauth2 is verified against it, too.
    if body.get("ca") and inject != "oauth2" and isinstance(upstream, str) and upstream.startswith("http:"):
        what = "'ca' is for an https:// upstream: over http:// nothing is verified"
        yield Complaint(path=("ca",), what=what, right="write 'upstream: https://…', or leave 'ca' out")
    routes = body.get("routes")
    if isinstance(routes, list | tuple):
        yield from _routes(cast("list[object]", routes))


def _shown(body: Mapping[str, Any]) -> Iterator[Complaint]:
    """What goes with a credential: the documents of ``oauth2`` and ``sigv4``, and a certificate."""
    inject, upstream = body.get("inject"), body.get("upstream")
    for name, right in _BESIDE.items():
        if inject == name and body.get(name) is None:
            what = f"'inject: {name}' stands without '{name}'"
            yield Complaint(path=("inject",), what=what, right=right)
        elif inject != name and body.get(name) is not None:
            what = f"{name!r} stands without 'inject: {name}'"
            yield Complaint(path=(name,), what=what, right=f"write 'inject: {name}', or leave it out")
    oauth2 = body.get("oauth2")
    if isinstance(oauth2, Mapping):
        address = cast(Mapping[str, object], oauth2).get("token_url")
        if isinstance(address, str) and (fault := token_url_fault(address)) is not None:
            right = "write 'token_url: https://host/path'"
            yield Complaint(path=("oauth2", "token_url"), what=fault, right=right)
    for one, other in (("client_cert", "client_key"), ("client_key", "client_cert")):
        if body.get(one) is not None and body.get(other) is None:
            yield Complaint(
                path=(one,),
                what=f"{one!r} stands without {other!r}",
                right=f"write '{other}: file:/path' or '{other}: env:NAME'",
            )
    if body.get("client_cert") and isinstance(upstream, str) and upstream.startswith("http:"):
        what = "'client_cert' is for an https:// upstream: it is shown in the TLS handshake"
        yield Complaint(
            path=("client_cert",), what=what, right="write 'upstream: https://…', or leave it out"
        )


def _routes(routes: Iterable[object]) -> Iterator[Complaint]:
    seen: dict[str, str] = {}
    for index, route in enumerate(routes):
        if not isinstance(route, str):
            continue
        if (wrong := _wrong_route(route)) is not None:
            what = f"{route!r} is no template: {wrong}"
            yield Complaint(path=("routes", index), what=what, right=_TEMPLATE)
            continue
        first = seen.setdefault(_NAME.sub("{}", route), route)
        if first != route:
            what = f"{route!r} and {first!r} match the same paths"
            yield Complaint(path=("routes", index), what=what, right="keep one of them")
        elif list(routes).index(route) != index:
            yield Complaint(path=("routes", index), what=f"{route!r} stands twice", right="keep one of them")


def _hosts(hosts: Iterable[object]) -> Iterator[Complaint]:
    seen: set[str] = set()
    for index, host in enumerate(hosts):
        if not isinstance(host, str):
            continue
        try:
            split_authority(host)
        except ValueError as error:
            what, _, right = str(error).partition("; ")
            yield Complaint(path=("hosts", index), what=what, right=right)
            continue
        if host in seen:
            yield Complaint(path=("hosts", index), what=f"{host!r} stands twice", right="keep one of them")
        seen.add(host)


def _wrong_route(route: str) -> str | None:
    if not route.startswith("/"):
        return "it begins with '/'"
    if "?" in route or "#" in route:
        return "it is a path, without query and fragment"
    if "//" in route:
        return "no segment but the last is empty"
    if any(segment in (".", "..") for segment in route.split("/")):
        return "dot segments are resolved before a path is judged, so none could match"
    if ROUTE.fullmatch(route) is None:
        return "it holds what no template can"
    if _PERCENT.search(route) is not None:
        return "paths are judged with their percent-encoding in upper case, so none could match"
    if (coded := _NEVER_CODED.search(route)) is not None:
        return f"{coded.group()} stands in no path that is judged, so none could match"
    names = _NAME.findall(route)
    if len(set(names)) != len(names):
        return "a name stands twice in it"
    return None


def _has_secret(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.password is not None or any(
            name.lower() in _SECRET_OPTIONS for name, _ in parse_qsl(parts.query, keep_blank_values=True)
        )
    except ValueError:
        return False


# ---------------------------------------------------------------- tools


def _tools(body: Mapping[str, Any]) -> Iterator[Complaint]:
    tools = body.get("tools")
    if not isinstance(tools, Mapping):
        return
    for name, digest in cast(Mapping[object, object], tools).items():
        path: Path = ("tools", str(name))
        if not isinstance(digest, str) or DIGEST.fullmatch(digest) is None:
            what = f"{str(name)[:64]!r} has no digest of a definition"
            right = "write the 64 digits, 0-9 and a-f, that 'weirgate tools pin' prints; in quotes"
            yield Complaint(path=path, what=what, right=right)
        elif not 0 < len(str(name)) <= 2048:
            what = "the name of a tool has 1 to 2048 characters"
            yield Complaint(path=path, what=what, right="write the tool's name as the server offers it")
