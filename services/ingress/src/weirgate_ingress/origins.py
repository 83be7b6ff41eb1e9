"""Dial an HTTP upstream, and write the heads it is sent. The credential is read for one dial, and stands in no
attribute that is shown, no log and no exception.

Source: RFC 9110 section 7.2 (Host), RFC 6125, RFC 9113 section 3.2 (HTTP/2 by ALPN).
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.refusal import Refusal
from weirgate_ingress.credential import CredentialError, Credentials
from weirgate_ingress.echo import Echoes, EchoGuard, forms_of
from weirgate_ingress.http2 import ALPN, Http2Line
from weirgate_ingress.injection import Injection, Injections
from weirgate_ingress.origin_tls import Contexts
from weirgate_ingress.socket import tune
from weirgate_ingress.token import Admission
from weirgate_ingress.upstreams import Link, Sink, unavailable
from weirgate_wire.http.head import RequestHead

CONNECT_TIMEOUT_S: Final = 10.0
_PORTS = {"http": 80, "https": 443}


class Line(Protocol):
    """Who delivers what the upstream sends."""

    def attach(self, sink: Sink, rest: bytes) -> None: ...
    def detach(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A connection to an HTTP upstream, idle."""

    resource: ResourceDocument
    link: Line
    transport: asyncio.Transport
    write_head: Callable[[RequestHead], None]
    host: str
    base: str
    injection: Injection = field(repr=False)
    endpoint: bool = False
    """``base`` is the one path there is: nothing is put behind it."""
    guard: EchoGuard = field(default_factory=EchoGuard, repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])

    def send_head(self, head: RequestHead, body_sha256: str | None) -> bool:
        """Send a judged head: with host, base path and credential.

        Args:
            head: as judged.
            body_sha256: of the body, hexadecimal; ``None``: it streams.

        Returns:
            False: nothing was sent, for the credential is to be had anew; see :meth:`prepare`.

        Raises:
            UsageError: it cannot be written, which is a bug of ours.
        """
        placed = RequestHead(
            method=head.method,
            target=self.base if self.endpoint else f"{self.base}{head.target}",
            headers=(("host", self.host), *head.headers),
        )
        try:
            final = self.injection.apply(placed, body_sha256)
        except CredentialError:
            return False
        self.guard.expect(form for secret in self.injection.secrets for form in forms_of(secret))
        self.write_head(final)
        return True

    async def prepare(self) -> None:
        """Get the credential anew.

        Raises:
            DialError: it is not to be had.
        """
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self.injection.prepare()
        except CredentialError as error:
            raise unavailable(self.resource, str(error)) from error
        except TimeoutError as error:
            raise unavailable(self.resource, "no credential in time") from error

    def distrust(self) -> None:
        """The upstream did not take the credential: where another can be had the next operation gets it."""
        self.injection.refused()

    def attach(self, sink: Sink, refuse: Callable[[Refusal], None] | None = None) -> None:
        """Deliver to a session from now on.

        Args:
            sink: takes what the upstream sends.
            refuse: told why the rest of an answer is not delivered; absent: the upstream counts as lost.
        """
        self.link.attach(Echoes(sink, self.guard, refuse), b"")

    async def cancel(self) -> None:
        """HTTP has no way to say so but to hang up, which the gate does."""


class Origins:
    """Dials registered HTTP upstreams.

    Args:
        credentials: where credentials are read.
        clock: the time of signatures.
    """

    def __init__(
        self,
        credentials: Credentials | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        found = credentials or Credentials()
        self._contexts = Contexts(found)
        self._injections = Injections(found, self._contexts, clock)

    async def dial(self, admission: Admission, *, parameters: Any = None, minor: int = 0) -> Origin:
        """Connect the upstream of the resource an agent was admitted to.

        Args:
            admission: of the agent.
            parameters: ``{"http": "1.1"}``: HTTP/2 is not offered.
            minor: of no meaning here.

        Raises:
            DialError: with ``upstream_unavailable``.
        """
        resource = admission.resource
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return await self._dial(resource, plain=(parameters or {}).get("http") == "1.1")
        except CredentialError as error:
            raise unavailable(resource, str(error)) from error
        except TimeoutError as error:
            raise unavailable(resource, "no answer in time") from error
        except ssl.SSLError as error:
            raise unavailable(resource, f"TLS: {error.reason or type(error).__name__}") from error
        except OSError as error:
            raise unavailable(resource, f"{type(error).__name__}: {error.strerror or ''}") from error

    async def _dial(self, resource: ResourceDocument, *, plain: bool = False) -> Origin:
        parts = urlsplit(resource.upstream)
        context: ssl.SSLContext | None = None
        if parts.scheme == "https":
            offered = (ALPN, "http/1.1") if resource.http2 and not plain else ("http/1.1",)
            context = self._contexts.of(resource, offered)
        injection = await self._injections.of(resource)
        transport, link = await asyncio.get_running_loop().create_connection(
            Link, parts.hostname or "", parts.port or _PORTS[parts.scheme], ssl=context
        )
        tune(transport)
        line: Line = link
        spoken: asyncio.Transport = transport
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() == ALPN:
            line = spoken = multiplexed = Http2Line(link, transport, secret=injection.names)
            multiplexed.start()
            write_head = multiplexed.send_head
        else:

            def write_head(head: RequestHead) -> None:
                transport.write(head.encode())

        return Origin(
            resource=resource,
            link=line,
            transport=spoken,
            write_head=write_head,
            host=parts.netloc.rpartition("@")[2],
            base=(parts.path or "/") if resource.protocol == "mcp" else parts.path.rstrip("/"),
            endpoint=resource.protocol == "mcp",
            injection=injection,
        )
