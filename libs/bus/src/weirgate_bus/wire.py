"""The NATS client protocol: bytes to messages and back. Pure.

Source: NATS documentation, "Client Protocol" (INFO, CONNECT, HPUB, SUB, HMSG, PING, -ERR).

A parser of our own, because it calls the receiver straight from the bytes: no task, queue or object a message
(the figures are in ADR "The NATS client is our own").
"""

from collections.abc import Iterator, Mapping
from typing import Protocol

LINE_LIMIT_BYTES = 1024 * 1024
"""Longest control line: INFO of a large cluster is some ten KiB."""
_M, _H, _PLUS = b"MH+"
_STATUS = b"NATS/1.0"


class WireError(Exception):
    """The server did not speak the protocol."""


class Receiver(Protocol):
    """What the parser calls."""

    def message(self, sid: bytes, subject: str, reply: str, head: bytes, body: bytes) -> None:
        """A message for a subscription. ``head``: its header block, empty: none."""
        ...

    def control(self, line: bytes) -> None:
        """Any other line: INFO, PING, PONG, -ERR."""
        ...


class Parser:
    """Cuts the stream of one connection into messages. Feed it bytes cut anywhere."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._chunks: list[bytes] = []
        self._have = 0
        self._need = 0

    def feed(self, data: bytes) -> None:
        """Take some bytes, call the receiver for each message they complete.

        Raises:
            WireError: they are not the protocol.
        """
        if self._chunks:
            self._chunks.append(data)
            self._have += len(data)
            if self._have < self._need:
                return  # a large body is joined once, not at every read
            data = b"".join(self._chunks)
            self._chunks = []
        at = self._cut(data)
        if at < len(data):
            self._chunks = [data[at:]]
            self._have = len(data) - at

    def _cut(self, data: bytes) -> int:
        """Cut off every whole message; returns where the first incomplete one starts."""
        receiver = self._receiver
        size = len(data)
        at = 0
        self._need = 0
        while at < size:
            end = data.find(b"\r\n", at)
            if end < 0:
                if size - at > LINE_LIMIT_BYTES:
                    raise WireError("a line without end")
                break
            kind = data[at]
            if kind in (_M, _H):
                parts = data[at:end].split(b" ")
                try:
                    total = int(parts[-1])
                    head_size = int(parts[-2]) if kind == _H else 0
                    named = parts[1:-2] if kind == _H else parts[1:-1]
                    subject, sid = named[0], named[1]
                    reply = named[2].decode() if len(named) == 3 else ""
                except (ValueError, IndexError) as error:
                    raise WireError("a message line that is none") from error
                start = end + 2
                stop = start + total
                if not 0 <= head_size <= total:
                    raise WireError("a header longer than its message")
                if stop + 2 > size:
                    self._need = stop + 2 - at
                    break
                at = stop + 2
                middle = start + head_size
                receiver.message(sid, subject.decode(), reply, data[start:middle], data[middle:stop])
            else:
                if kind != _PLUS:
                    receiver.control(data[at:end])
                at = end + 2
        return at


def publication(subject: str, reply: str, headers: bytes, body: bytes) -> bytes:
    """Write one HPUB. ``headers`` are ``Name: value`` lines, each with its line end."""
    head = len(headers) + 12
    return b"HPUB %b %b %d %d\r\nNATS/1.0\r\n%b\r\n%b\r\n" % (
        subject.encode(), reply.encode(), head, head + len(body), headers, body,
    )  # fmt: skip


def plain(subject: str, reply: str, body: bytes) -> bytes:
    """Write one PUB."""
    return b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(body), body)


def status_of(head: bytes) -> tuple[int, str]:
    """Read the status line of a header block: 0 where there is none."""
    line = head[: head.find(b"\r\n")][len(_STATUS) :].strip()
    number, _, text = line.partition(b" ")
    return (int(number), text.decode("utf-8", "replace")) if number.isdigit() else (0, "")


def header(head: bytes, name: bytes) -> str:
    """Read one header by its exact name; empty: it is not there."""
    start = head.find(b"\r\n" + name + b":")
    if start < 0:
        return ""
    start += len(name) + 3
    return head[start : head.find(b"\r\n", start)].decode("utf-8", "replace").strip()


class Headers(Mapping[str, str]):
    """Headers of a message, read when somebody asks."""

    __slots__ = ("_head", "_read")

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._read: dict[str, str] | None = None

    def _all(self) -> dict[str, str]:
        if self._read is None:
            self._read = {}
            for line in self._head.split(b"\r\n")[1:]:
                name, colon, value = line.partition(b":")
                if colon:
                    self._read[name.decode("utf-8", "replace")] = value.decode("utf-8", "replace").strip()
        return self._read

    def __getitem__(self, key: str) -> str:
        return self._all()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())
