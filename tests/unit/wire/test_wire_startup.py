"""The packets a connection opens with."""

import pytest

from weirgate_wire.postgres.error import PeerError, UsageError
from weirgate_wire.postgres.startup import (
    PROTOCOL_3_2,
    CancelRequest,
    GssEncRequest,
    SslRequest,
    StartupMessage,
    UnsupportedVersion,
    negotiate_protocol_version,
    split_startup,
)


@pytest.mark.parametrize(
    "packet",
    [
        StartupMessage(version=PROTOCOL_3_2, parameters={"user": "é", "options": ""}),
        StartupMessage(version=0x3270F, parameters={}),
        SslRequest(),
        GssEncRequest(),
        CancelRequest(process_id=1, secret=b"1234"),
        CancelRequest(process_id=2**31 + 1, secret=b"x" * 256),
    ],
)
def test_a_packet_reads_back_and_says_how_long_it_was(packet: StartupMessage | SslRequest) -> None:
    raw = packet.encode()
    assert split_startup(raw + b"more") == (packet, len(raw))
    assert split_startup(raw[:-1]) is None


def test_other_major_versions_are_named() -> None:
    split = split_startup(b"\0\0\0\x08\0\2\0\1")
    assert split is not None
    assert isinstance(split[0], UnsupportedVersion)
    assert split[0].dotted == "2.1"


@pytest.mark.parametrize(
    "raw",
    [
        b"\0\0\0\x07",
        b"\x7f\xff\xff\xff",
        b"\0\0\0\x09" + SslRequest().encode()[4:] + b"x",
        b"\0\0\0\x0f" + CancelRequest(process_id=1, secret=b"123").encode()[4:],
        b"\0\0\0\x09\0\3\0\0x",
        b"\0\0\0\x0a\0\3\0\0\0x",
        b"\0\0\0\x0c\0\3\0\0a\0b\xff",
        b"\0\0\0\x11\0\3\0\0a\0b\0a\0c\0\0",
    ],
)
def test_what_is_no_packet_is_refused(raw: bytes) -> None:
    with pytest.raises(PeerError):
        split_startup(raw)


def test_a_cancel_secret_is_in_no_repr() -> None:
    assert "hush" not in repr(CancelRequest(process_id=1, secret=b"hush"))


def test_a_parameter_with_nul_is_our_bug() -> None:
    with pytest.raises(UsageError):
        StartupMessage(version=PROTOCOL_3_2, parameters={"a": "b\0c"}).encode()


def test_negotiation_names_the_version_in_full_and_the_options() -> None:
    assert negotiate_protocol_version(PROTOCOL_3_2, ["_pq_.a"])[5:] == b"\0\3\0\2\0\0\0\1_pq_.a\0"
