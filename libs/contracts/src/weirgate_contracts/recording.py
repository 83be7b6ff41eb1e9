"""Frames of a recording: what went in and out of a session, as the agent saw it.

One message of the RECORDING stream holds one or more frames, back to back::

    1 byte version (1) · frames
    frame: 1 byte direction ('i' from the agent, 'o' to the agent) · 4 bytes operation number (0: none)
           · 8 bytes microseconds since 1970 · 4 bytes length · that many bytes      (big-endian)

The whole is sealed (see ``weirgate_chassis.seal``) before it is published.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from weirgate_contracts.value import Token

_HEAD = struct.Struct(">cIQI")
_VERSION = b"\x01"
MESSAGE_HEAD = _VERSION
"""What the body of a message begins with; frames follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Some bytes that went one way."""

    direction: str
    """``i``: from the agent; ``o``: to the agent."""
    operation: int
    at_us: int
    body: bytes


def recording_subject(ingress: Token, session: Token) -> str:
    """Subject a session's recording is published on."""
    return f"recording.{ingress}.{session}"


def encode_frames(frames: Iterable[Frame]) -> bytes:
    """Join frames into the (unsealed) body of one message."""
    parts: list[bytes] = [_VERSION]
    for frame in frames:
        parts.append(_HEAD.pack(frame.direction.encode(), frame.operation, frame.at_us, len(frame.body)))
        parts.append(frame.body)
    return b"".join(parts)


def frame_head(direction: bytes, operation: int, at_us: int, size_bytes: int) -> bytes:
    """Return what stands before the bytes of one frame, for a writer that builds no ``Frame`` per message."""
    return _HEAD.pack(direction, operation, at_us, size_bytes)


def decode_frames(body: bytes) -> Iterator[Frame]:
    """Split the (opened) body of one message.

    Raises:
        ValueError: not a version this release knows, or cut short.
    """
    if body[:1] != _VERSION:
        raise ValueError("recording: unknown version")
    at = 1
    while at < len(body):
        if at + _HEAD.size > len(body):
            raise ValueError("recording: cut short")
        direction, operation, at_us, length = _HEAD.unpack_from(body, at)
        at += _HEAD.size
        if at + length > len(body):
            raise ValueError("recording: cut short")
        yield Frame(
            direction=direction.decode(), operation=operation, at_us=at_us, body=body[at : at + length]
        )
        at += length
