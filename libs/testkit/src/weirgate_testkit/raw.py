"""A client that logs in with a password and then looks at nothing of an answer but its length.

A real driver would be the slowest part of the chain and hide what is measured.
"""

import base64
import hashlib
import hmac
import os
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

_READ_BYTES = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What came."""

    rows: int
    size_bytes: int
    seconds: float
    """From the query to ReadyForQuery."""


class Failed(Exception):
    """The server said no."""


def drain(url: str, sql: str, *, every_s: float = 0.0, call: Callable[[], None] | None = None) -> Drained:
    """Run a query and throw its rows away, counting them by the command tag."""
    with login(url) as peer:
        began = time.perf_counter()
        next_call = began
        peer.sendall(query(sql))
        buffer = bytearray(_READ_BYTES)
        size = 0
        tail = b""
        while True:
            count = peer.recv_into(buffer)
            if count == 0:
                raise Failed("closed in the middle")
            size += count
            tail = (tail + bytes(buffer[max(0, count - 128) : count]))[-128:]
            if tail[-6:-1] == b"Z\0\0\0\x05":
                break
            if call is not None and time.perf_counter() > next_call:
                call()
                next_call = time.perf_counter() + every_s
        seconds = time.perf_counter() - began
    at = tail.rfind(b"SELECT ")
    if at < 0:
        raise Failed(f"no rows came: {tail!r}")
    return Drained(rows=int(tail[at + 7 : tail.index(b"\0", at)]), size_bytes=size, seconds=seconds)


def query(sql: str) -> bytes:
    """Return a simple query message."""
    text = sql.encode() + b"\0"
    return b"Q" + struct.pack(">I", len(text) + 4) + text


def login(url: str) -> socket.socket:
    """Connect in clear and log in; returns the socket after the first ReadyForQuery.

    Raises:
        Failed: with the server's words.
    """
    parts = urlsplit(url)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    peer = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 5432))
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    pairs = (
        b"".join(f"{k}\0{v}\0".encode() for k, v in {"user": user, "database": parts.path[1:]}.items())
        + b"\0"
    )
    peer.sendall(struct.pack(">II", len(pairs) + 8, 196608) + pairs)
    scram = _Scram(password)
    while True:
        kind, body = message(peer)
        if kind == b"E":
            raise Failed(body.replace(b"\0", b" ").decode(errors="replace"))
        if kind == b"R":
            answer = scram.answer(struct.unpack_from(">I", body)[0], body[4:], password)
            if answer is not None:
                peer.sendall(b"p" + struct.pack(">I", len(answer) + 4) + answer)
        if kind == b"Z":
            return peer


def message(peer: socket.socket) -> tuple[bytes, bytes]:
    """Read one message: its type and its body."""
    head = _exactly(peer, 5)
    return head[:1], _exactly(peer, struct.unpack(">I", head[1:])[0] - 4)


def _exactly(peer: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        part = peer.recv(count - len(got))
        if not part:
            raise Failed("closed during login")
        got += part
    return got


class _Scram:
    """RFC 5802, as far as a bench needs it."""

    def __init__(self, password: str) -> None:
        self.password = password.encode()
        self.nonce = base64.b64encode(os.urandom(18)).decode()

    def answer(self, code: int, body: bytes, password: str) -> bytes | None:
        if code == 3:
            return password.encode() + b"\0"
        if code == 10:
            first = f"n,,n=,r={self.nonce}".encode()
            return b"SCRAM-SHA-256\0" + struct.pack(">I", len(first)) + first
        if code == 11:
            server = body.decode()
            part = dict(item.split("=", 1) for item in server.split(","))
            salted = hashlib.pbkdf2_hmac("sha256", self.password, base64.b64decode(part["s"]), int(part["i"]))
            key = hmac.digest(salted, b"Client Key", "sha256")
            bare = f"c=biws,r={part['r']}"
            signed = f"n=,r={self.nonce},{server},{bare}".encode()
            proof = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
            mixed = bytes(a ^ b for a, b in zip(key, proof, strict=True))
            return f"{bare},p={base64.b64encode(mixed).decode()}".encode()
        return None
