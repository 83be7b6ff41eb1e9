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
from weirgate_contracts.config import FIELD, INJECT, ROUTE
from weirgate_contracts.events.config import ConfigKind

Path = tuple[str | int, ...]

_SECRET_OPTIONS = ("password", "sslpassword", "passfile")
_NEVER_EMPTY: Mapping[str, tuple[str, ...]] = {
    "masking": ("rules",),
    "reviewers": ("groups",),
}
_SCHEMES = {"postgres": ("postgresql", "postgres"), "http": ("http", "https")}
_ADDRESSES = {"postgres": "postgresql://user@host:port/database", "http": "https://host:port/base"}
_ONLY: Mapping[str, tuple[str, ...]] = {
    "http": ("inject", "ca", "routes", "unread", "hosts"),
    "postgres": ("catalog", "catalog_credential"),
}
_NAME = re.compile(r"\{([^/{}]*)\}")
_PERCENT = re.compile(r"%(?![0-9A-F]{2})")
_NEVER_CODED = re.compile(r"%(?:2[DEF]|3[0-9]|4[1-9A-F]|5[0-9ACF]|6[1-9A-F]|7[0-9AEF]|[01][0-9A-F])")
"""Letters, digits and ``-._~`` stand decoded in normal form; slashes and control characters stand in no path."""
_TEMPLATE = "write a template such as /v1/customers/{id}; a name in braces stands for one whole segment"
_FIELD = "write a route and a pointer, such as '/v1/customers/{id} /email', or '* /**/ssn' for every route"


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
        case _:
            pass
    for field in _NEVER_EMPTY.get(kind, ()):
        if field in body and not body[field]:
            yield Complaint(path=(field,), what=f"{field!r} is empty", right="give at least one")


# ---------------------------------------------------------------- labels


def _labels(body: Mapping[str, Any]) -> Iterator[Complaint]:
    # A document as published holds both, the one it does not need empty.
    if not body.get("columns") and not body.get("fields"):
        given = next((field for field in ("columns", "fields") if field in body), None)
        if given is not None:
            yield Complaint(path=(given,), what=f"{given!r} is empty", right="give at least one")
            return
        yield Complaint(
            path=(),
            what="neither 'columns' nor 'fields' stands here",
            right="write 'columns: {public.customers.email: pii.email}' for postgres, "
            "or 'fields: {\"/v1/customers/{id} /email\": pii.email}' for http",
        )
    for column in _keys(body.get("columns")):
        parts = column.split(".")
        if len(parts) < 3 or not all(parts):
            yield Complaint(
                path=("columns", column),
                what=f"{column!r} is no column",
                right="write schema.table.column, for instance public.customers.email",
            )
    for field in _keys(body.get("fields")):
        if (wrong := _wrong_field(field)) is not None:
            what, right = wrong
            yield Complaint(path=("fields", field), what=f"{field!r} is no field: {what}", right=right)


def _wrong_field(field: str) -> tuple[str, str] | None:
    route, space, pointer = field.partition(" ")
    if not space or not pointer:
        return "a route and a pointer stand there, with one space between", _FIELD
    if route != "*" and (wrong := _wrong_route(route)) is not None:
        return f"{route!r} is no route, {wrong}", _TEMPLATE + "; or '*' for every route"
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
    if protocol not in ("postgres", "http"):
        return
    for field in ("upstream", "catalog") if protocol == "postgres" else ("upstream",):
        if isinstance(address := body.get(field), str) and not secret:
            yield from _address(str(protocol), field, address)
    for other, fields in _ONLY.items():
        if other == protocol:
            continue
        for field in fields:
            if body.get(field):
                yield Complaint(
                    path=(field,),
                    what=f"{field!r} is for 'protocol: {other}'",
                    right=f"leave it out, or write 'protocol: {other}'",
                )
    if protocol == "http":
        yield from _http(body)


def _address(protocol: str, field: str, address: str) -> Iterator[Complaint]:
    right = f"write '{field}: {_ADDRESSES[protocol]}'"
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        yield Complaint(path=(field,), what="the address cannot be read", right=right)
        return
    other = "http" if protocol == "postgres" else "postgres"
    if parts.scheme in _SCHEMES[other]:
        what = f"a {parts.scheme}:// address is of 'protocol: {other}', and this is 'protocol: {protocol}'"
        yield Complaint(path=(field,), what=what, right=f"{right}, or 'protocol: {other}'")
    elif parts.scheme not in _SCHEMES[protocol]:
        yield Complaint(path=(field,), what=f"this is no address of 'protocol: {protocol}'", right=right)
    elif not host:
        yield Complaint(path=(field,), what="the address names no host", right=right)
    elif protocol == "postgres" and not parts.username:
        yield Complaint(path=(field,), what="the address names no user", right=right)
    elif protocol == "http":
        for what, given in (("user", parts.username), ("query", parts.query), ("fragment", parts.fragment)):
            if given is not None and given != "":
                hint = "name it by 'credential: env:NAME' with 'inject: basic'" if what == "user" else right
                yield Complaint(
                    path=(field,), what=f"an upstream of http has no {what} in its address", right=hint
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
            right="write 'inject: bearer', or basic, header:NAME, query:NAME",
        )
    upstream = body.get("upstream")
    if body.get("ca") and isinstance(upstream, str) and upstream.startswith("http:"):
        what = "'ca' is for an https:// upstream: over http:// nothing is verified"
        yield Complaint(path=("ca",), what=what, right="write 'upstream: https://…', or leave 'ca' out")
    routes = body.get("routes")
    if isinstance(routes, list | tuple):
        yield from _routes(cast("list[object]", routes))


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
