"""The authority of an address: ``host`` or ``host:port``, in the one spelling that is compared.

Source: RFC 3986 section 3.2, RFC 9110 section 4.2.
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final
from urllib.parse import urlsplit

HOST_LIMIT_CHARS: Final = 253
"""Longest host name. Source: RFC 1035 section 2.3.4, without the root's dot."""
DEFAULT_PORTS: Final = {"http": 80, "https": 443}

Authority = tuple[str, int | None]
"""Host (an IPv6 address without brackets) and port; ``None``: none is written."""

_AUTHORITY = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:]+)(?::([0-9]+))?")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_RIGHT = "write a host or host:port, such as api.internal or api.internal:8443"


def split_authority(text: str) -> Authority:
    """Read an authority as a configuration document writes it.

    Raises:
        ValueError: it is not in its one spelling; the message says what is wrong and, after a semicolon, what
            would be right.
    """
    if "://" in text or "/" in text:
        raise ValueError(f"{text!r} is an address, and this is the host alone; {_RIGHT}")
    if "*" in text:
        raise ValueError(f"{text!r} has a wildcard, and every host is named; {_RIGHT}")
    if "@" in text:
        raise ValueError(f"a host has no user before it; {_RIGHT}")
    if text != text.lower():
        raise ValueError(f"{text!r} is not in lower case; write {text.lower()}")
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no host; {_RIGHT}, an IPv6 address in brackets")
    host, port = found.groups()
    if port is not None and (port.startswith("0") or len(port) > 5 or int(port) > 65535):
        raise ValueError(f"{text!r} has no port between 1 and 65535; {_RIGHT}")
    return _host(host, text), int(port) if port is not None else None


def write_authority(authority: Authority) -> str:
    """Write an authority as an address has it."""
    host, port = authority
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def upstream_authority(address: str) -> tuple[str, int] | None:
    """Return host and port of an ``http(s)://`` address; ``None`` where it has none that could be asked for."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port or DEFAULT_PORTS[parts.scheme]
        if not host:
            return None
        return str(IPv6Address(host)) if ":" in host else _host(host, address), port
    except (KeyError, ValueError):
        return None


def _host(host: str, text: str) -> str:
    try:
        if host.startswith("["):
            plain = str(IPv6Address(host[1:-1]))
            if plain != host[1:-1]:
                raise ValueError(f"{text!r} is not in its short form; write [{plain}]")
            return plain
        labels = host.split(".")
        if labels[-1].isdigit() or re.fullmatch(r"0x[0-9a-f]*", labels[-1]):
            # A name that ends in a number is an address to some resolvers: 127.1, 0x7f.1.
            return str(IPv4Address(host))
    except AddressValueError as error:
        raise ValueError(f"{text!r} is no address; write all four numbers, or [IPv6]") from error
    if len(host) > HOST_LIMIT_CHARS or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError(f"{text!r} is no host; {_RIGHT}, without a dot at the end")
    return host
