"""Dial an HTTP upstream, and write the heads it is sent. The credential is read for one dial, and stands in no
attribute that is shown, no log and no exception.

Source: RFC 9110 section 7.2 (Host), RFC 6750, RFC 7617, RFC 6125.
"""

import asyncio
import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from weirgate_ingress.credential import CredentialError, Credentials
from weirgate_ingress.socket import tune
from weirgate_ingress.token import Admission
from weirgate_ingress.upstreams import Link, Sink, unavailable
from weirgate_wire.error import UsageError
from weirgate_wire.http.head import RequestHead

CONNECT_TIMEOUT_S: Final = 10.0
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A connection to an HTTP upstream, idle."""

    link: Link
    transport: asyncio.Transport
    host: str
    base: str
    header: tuple[str, str] | None = field(repr=False)
    query: str | None = field(repr=False)
    endpoint: bool = False
    """``base`` is the one path there is: nothing is put behind it."""
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])

    def encode(self, head: RequestHead) -> bytes:
        """Write a judged head as the upstream is sent it: with host, base path and credential.

        Raises:
            UsageError: it cannot be written, which is a bug of ours.
        """
        target = self.base if self.endpoint else f"{self.base}{head.target}"
        if self.query is not None:
            target += ("&" if "?" in target else "?") + self.query
        headers = [("host", self.host), *head.headers]
        if self.header is not None:
            name, value = self.header
            headers = [(known, text) for known, text in headers if known != name]
            headers.append((name, value))
        return RequestHead(method=head.method, target=target, headers=tuple(headers)).encode()

    def attach(self, sink: Sink) -> None:
        """Deliver to a session from now on."""
        self.link.attach(sink, b"")

    async def cancel(self) -> None:
        """HTTP/1.1 has no way to say so but to hang up, which the gate does."""


class Origins:
    """Dials registered HTTP upstreams."""

    def __init__(self, credentials: Credentials | None = None) -> None:
        self._credentials = credentials or Credentials()
        self._contexts: dict[tuple[str | None, int], ssl.SSLContext] = {}

    async def dial(self, admission: Admission, *, parameters: Any = None, minor: int = 0) -> Origin:
        """Connect the upstream of the resource an agent was admitted to.

        Raises:
            DialError: with ``upstream_unavailable``.
        """
        resource = admission.resource
        parts = urlsplit(resource.upstream)
        host = parts.hostname or ""
        try:
            credential = self._credentials.read(resource)
            header, query = _injected(resource.inject, credential)
            context = self._context(resource.ca) if parts.scheme == "https" else None
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                transport, link = await asyncio.get_running_loop().create_connection(
                    Link, host, parts.port or _PORTS[parts.scheme], ssl=context
                )
        except CredentialError as error:
            raise unavailable(resource, str(error)) from error
        except TimeoutError as error:
            raise unavailable(resource, "no answer in time") from error
        except ssl.SSLError as error:
            raise unavailable(resource, f"TLS: {error.reason or type(error).__name__}") from error
        except OSError as error:
            raise unavailable(resource, f"{type(error).__name__}: {error.strerror or ''}") from error
        tune(transport)
        return Origin(
            link=link,
            transport=transport,
            host=parts.netloc.rpartition("@")[2],
            base=(parts.path or "/") if resource.protocol == "mcp" else parts.path.rstrip("/"),
            endpoint=resource.protocol == "mcp",
            header=header,
            query=query,
        )

    def _context(self, ca: str | None) -> ssl.SSLContext:
        # Reading a trust store costs up to 30 ms; read again when the file changes.
        stamp = Path(ca).stat().st_mtime_ns if ca is not None else 0
        context = self._contexts.get((ca, stamp))
        if context is None:
            context = ssl.create_default_context(cafile=ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.set_alpn_protocols(["http/1.1"])
            self._contexts[ca, stamp] = context
        return context


def _injected(inject: str | None, credential: str | None) -> tuple[tuple[str, str] | None, str | None]:
    """Return the header field, or the piece of the query, that carries a credential."""
    if inject is None or credential is None:
        return None, None
    if any(char in credential for char in "\r\n\0"):
        raise CredentialError("the credential has a line break in it")
    kind, _, name = inject.partition(":")
    match kind:
        case "bearer":
            return ("authorization", f"Bearer {credential}"), None
        case "basic":
            return ("authorization", f"Basic {base64.b64encode(credential.encode()).decode()}"), None
        case "header":
            return (name.lower(), credential), None
        case "query":
            return None, f"{name}={quote(credential, safe='')}"
        case _:
            raise UsageError(f"no way to inject: {kind}")
