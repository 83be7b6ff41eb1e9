"""HTTP/1.1, strictly: bytes to messages and back.

``head`` reads and writes heads, ``target`` what is asked for, ``framing`` says where bodies end and reads them,
``hop`` knows the fields of one hop, ``media`` reads media types, ``check`` holds a request head against itself.
"""

from weirgate_wire.error import PeerError, UsageError
from weirgate_wire.http.check import request_check
from weirgate_wire.http.field import Headers, HeadTooLong
from weirgate_wire.http.framing import (
    HOP_BY_HOP,
    LAST_CHUNK,
    BodyReader,
    Framing,
    chunk,
    hop_by_hop,
    last_chunk,
    request_framing,
    response_framing,
)
from weirgate_wire.http.head import Head, HeadReader, RequestHead, ResponseHead
from weirgate_wire.http.media import read_media_type
from weirgate_wire.http.target import Target, read_authority, read_target, split_absolute

__all__ = [
    "HOP_BY_HOP",
    "LAST_CHUNK",
    "BodyReader",
    "Framing",
    "Head",
    "HeadReader",
    "HeadTooLong",
    "Headers",
    "PeerError",
    "RequestHead",
    "ResponseHead",
    "Target",
    "UsageError",
    "chunk",
    "hop_by_hop",
    "last_chunk",
    "read_authority",
    "read_media_type",
    "read_target",
    "request_check",
    "request_framing",
    "response_framing",
    "split_absolute",
]
