"""Options every TCP socket of a session gets."""

import asyncio
import resource
import socket
from contextlib import suppress
from ipaddress import ip_address
from typing import Final

KEEPALIVE_IDLE_S: Final = 30
KEEPALIVE_INTERVAL_S: Final = 10
KEEPALIVE_PROBES: Final = 3
"""A peer that vanished without FIN is noticed within a minute, not after Linux's two hours."""


def tune_socket(sock: socket.socket) -> None:
    """Send small messages at once; notice a peer that vanished."""
    # Not every kind of socket has every option, and none of them is worth a connection.
    with suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)


def tune(transport: asyncio.BaseTransport) -> None:
    """The same for the socket of a transport."""
    found = transport.get_extra_info("socket")
    if found is not None:
        tune_socket(found)


def on_loopback(host: str) -> bool:
    """Whether an address a socket reports is this machine's own."""
    try:
        found = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def raise_descriptor_limit() -> None:
    """Take as many file descriptors as the system lets us have: the usual soft limit is 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
