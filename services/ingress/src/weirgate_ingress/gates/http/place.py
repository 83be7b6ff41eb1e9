"""Which resource an authority leads to. Pure: made anew from the registered resources whenever they change.

===============================  ============================================================================
an agent asks for                and gets the resource
===============================  ============================================================================
``Host: api.internal[:port]``    that lists ``api.internal:port`` under ``hosts``, or else ``api.internal``: the
                                 port is then the gateway's own, whatever it is
a proxy for ``api.internal``     that lists it with this port, or without one where the port is the scheme's own;
                                 or else the one whose upstream is just there
===============================  ============================================================================

Where more than one resource remains nobody gets any: ``apply`` refuses a host that two resources have, and
two resources with the same upstream are told apart by ``hosts``.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from weirgate_contracts.authority import DEFAULT_PORTS, Authority, split_authority, upstream_authority
from weirgate_contracts.config import ResourceDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A resource under one of its authorities."""

    resource: str
    """Its name."""
    base: str = ""
    """What a path begins with here, without a slash at its end: the base path of the upstream where the authority is
    the upstream's own. It is taken off, for what is judged begins behind it."""

    def inner(self, path: str) -> str | None:
        """Return the path within the resource; ``None``: it leads elsewhere.

        Args:
            path: in normal form.
        """
        if not self.base:
            return path
        if path == self.base:
            return "/"
        return path[len(self.base) :] if path.startswith(f"{self.base}/") else None


class Places(Protocol):
    """Finds resources by authority. Hosts are in the spelling of ``read_authority``."""

    def hosted(self, host: str, port: int) -> tuple[Place, ...]:
        """Return whose ``hosts`` has an authority that a request to the gateway itself names as ``Host``."""
        ...

    def forwarded(self, scheme: str, host: str, port: int) -> tuple[Place, ...]:
        """Return which resources an authority leads to that the gateway is asked for as a proxy."""
        ...


class Nowhere:
    """No authority leads anywhere."""

    def hosted(self, host: str, port: int) -> tuple[Place, ...]:
        """Return nothing."""
        return ()

    def forwarded(self, scheme: str, host: str, port: int) -> tuple[Place, ...]:
        """Return nothing."""
        return ()


class Register:
    """Finds resources by authority.

    Args:
        resources: all that are registered; those of other protocols are passed over.
    """

    def __init__(self, resources: Iterable[ResourceDocument] = ()) -> None:
        self._hosts: dict[Authority, tuple[Place, ...]] = {}
        self._upstreams: dict[tuple[str, str, int], tuple[Place, ...]] = {}
        for resource in resources:
            if resource.protocol != "postgres":
                self._enter(resource)

    def _enter(self, resource: ResourceDocument) -> None:
        parts = urlsplit(resource.upstream)
        own = upstream_authority(resource.upstream)
        base = parts.path.rstrip("/")
        for written in resource.hosts:
            host, port = split_authority(written)
            itself = own is not None and host == own[0] and port in (None, own[1])
            place = Place(resource=resource.name, base=base if itself else "")
            self._hosts[host, port] = (*self._hosts.get((host, port), ()), place)
        if own is not None:
            where = (parts.scheme, *own)
            place = Place(resource=resource.name, base=base)
            self._upstreams[where] = (*self._upstreams.get(where, ()), place)

    def hosted(self, host: str, port: int) -> tuple[Place, ...]:
        """Return whose ``hosts`` has it, with this port or else without one."""
        return self._hosts.get((host, port)) or self._hosts.get((host, None), ())

    def forwarded(self, scheme: str, host: str, port: int) -> tuple[Place, ...]:
        """Return whose ``hosts`` has it, or else whose upstream is there."""
        listed = self._hosts.get((host, port), ())
        if not listed and port == DEFAULT_PORTS[scheme]:
            listed = self._hosts.get((host, None), ())
        return listed or self._upstreams.get((scheme, host, port), ())


class LivePlaces:
    """The register of now, for sessions that outlive it.

    Args:
        resources: gives the registered resources by name: a mapping that is replaced when they change, and never
            changed itself.
    """

    def __init__(self, resources: Callable[[], Mapping[str, ResourceDocument]]) -> None:
        self._resources = resources
        self._known: Mapping[str, ResourceDocument] | None = None
        self._register = Register()

    @property
    def register(self) -> Register:
        """The register, made anew where the resources are others."""
        resources = self._resources()
        if resources is not self._known:
            self._register = Register(resources.values())
            self._known = resources
        return self._register

    def hosted(self, host: str, port: int) -> tuple[Place, ...]:
        """Ask the register of now."""
        return self.register.hosted(host, port)

    def forwarded(self, scheme: str, host: str, port: int) -> tuple[Place, ...]:
        """Ask the register of now."""
        return self.register.forwarded(scheme, host, port)


def choose(places: Iterable[Place], path: str | None) -> Place | None:
    """Return the one place a request is for; ``None``: there is none, or more than one.

    Args:
        places: under one authority.
        path: in normal form; the longest base that covers it counts. ``None``: it is not known yet.
    """
    found = [one for one in places if path is None or one.inner(path) is not None]
    if path is not None and found:
        longest = max(len(one.base) for one in found)
        found = [one for one in found if len(one.base) == longest]
    return found[0] if len(found) == 1 else None
