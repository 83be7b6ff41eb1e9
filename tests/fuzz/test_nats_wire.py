"""Noise in place of NATS gives an error or nothing."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from weirgate_bus import wire


class _Deaf:
    def message(self, sid: bytes, subject: str, reply: str, head: bytes, body: bytes) -> None:
        assert len(head) + len(body) >= 0

    def control(self, line: bytes) -> None:
        assert b"\r\n" not in line


_PIECES = st.sampled_from(
    [
        b"MSG ",
        b"HMSG ",
        b"a.b ",
        b"1 ",
        b"5",
        b"-1",
        b"99999999999",
        b"\r\n",
        b"PING",
        b"\xff",
        b"hello",
        b" ",
        b"INFO {",
    ]
)


@given(st.lists(st.one_of(_PIECES, st.binary(max_size=20)), max_size=30))
def test_noise_never_raises_anything_but_a_wire_error(pieces: list[bytes]) -> None:
    parser = wire.Parser(_Deaf())
    with suppress(wire.WireError):
        for piece in pieces:
            parser.feed(piece)
