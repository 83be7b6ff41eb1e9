"""The WebSocket codec beside ``websockets``: both take and refuse the same, wherever the stream is cut."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import PayloadTooBig
from websockets.exceptions import ProtocolError as TheirError
from websockets.frames import Frame
from websockets.frames import Opcode as TheirOpcode
from websockets.protocol import OPEN, Protocol, Side

from weirgate_wire.websocket import (
    Close,
    Event,
    MessageReader,
    Opcode,
    Part,
    Ping,
    Pong,
    WebSocketError,
    encode_frame,
    mask,
)

LIMIT_BYTES = 70_000
KEYS = st.binary(min_size=4, max_size=4)
TEXTS = st.text("aé€😀{\x00 ", max_size=60).map(lambda text: text.encode())


def closing(code: int, text: str) -> bytes:
    return code.to_bytes(2, "big") + text.encode()[:123].decode("utf-8", "ignore").encode()


CLOSES = st.one_of(
    st.just(b""),
    st.builds(
        closing,
        st.one_of(st.integers(990, 1020), st.integers(2990, 5010)),
        st.text("aé€😀 ", max_size=30),
    ),
)


@st.composite
def frames(draw: st.DrawFn) -> tuple[Opcode, bytes, bool]:
    opcode = draw(st.sampled_from(Opcode))
    if opcode is Opcode.CLOSE:
        return opcode, draw(CLOSES), True
    if opcode >= Opcode.CLOSE:
        return opcode, draw(st.binary(max_size=125)), True
    sizes = st.sampled_from((125, 126, 127, 65535, 65536)).map(lambda size: b"x" * size)
    payload = draw(st.one_of(TEXTS, st.binary(max_size=40), sizes))
    return opcode, payload, draw(st.booleans())


@st.composite
def streams(draw: st.DrawFn, masked: bool) -> bytes:
    keys = KEYS if masked else st.none()
    found = draw(st.lists(frames(), max_size=8))
    raw = b"".join(encode_frame(one, body, final=final, key=draw(keys)) for one, body, final in found)
    if draw(st.booleans()):
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.binary(max_size=4)) + raw[at + draw(st.integers(0, 2)) :]
    return raw


def ours(raw: bytes, cuts: list[int], *, masked: bool) -> tuple[list[tuple[object, ...]], int | None]:
    """Whole messages and control frames in order, and the code of what ended them."""
    reader = MessageReader(masked=masked, limit_bytes=LIMIT_BYTES)
    said: list[tuple[object, ...]] = []
    held = b""
    try:
        for event in read(reader, raw, cuts):
            match event:
                case Part():
                    held = event.data if event.first else held + event.data
                    if event.last:
                        said.append(("text" if event.text else "binary", held))
                case Ping(data=data) | Pong(data=data):
                    said.append((type(event).__name__, data))
                case Close():
                    said.append(("Close", event.payload()))
    except WebSocketError as error:
        return said, int(error.code)
    return said, None


def read(reader: MessageReader, raw: bytes, cuts: list[int]) -> Iterator[Event]:
    at = 0
    for cut in [*cuts, len(raw)]:
        yield from reader.feed(raw[at : at + cut])
        at += cut


def theirs(raw: bytes, *, masked: bool) -> tuple[list[tuple[object, ...]], int | None]:
    protocol = Protocol(Side.SERVER if masked else Side.CLIENT, state=OPEN, max_size=LIMIT_BYTES)
    protocol.receive_data(raw)
    said: list[tuple[object, ...]] = []
    held: list[Frame] = []
    for event in protocol.events_received():
        assert isinstance(event, Frame)
        if event.opcode in (TheirOpcode.PING, TheirOpcode.PONG, TheirOpcode.CLOSE):
            said.append((event.opcode.name.title(), bytes(event.data)))
            continue
        held.append(event)
        if event.fin:
            kind, whole = held[0].opcode.name.lower(), b"".join(bytes(one.data) for one in held)
            held.clear()
            try:
                if kind == "text":
                    whole.decode()
            except UnicodeDecodeError:
                return said, 1007  # their sans-IO layer leaves this to who uses it
            said.append((kind, whole))
    error = protocol.parser_exc
    if isinstance(error, UnicodeDecodeError):
        return said, 1007
    if isinstance(error, PayloadTooBig):
        return said, 1009
    return said, 1002 if isinstance(error, TheirError) else None


@pytest.mark.parametrize("masked", [True, False])
@settings(max_examples=400)
@given(data=st.data(), cuts=st.lists(st.integers(1, 9), max_size=40))
def test_what_is_read_is_what_others_read_wherever_it_is_cut(
    masked: bool, data: st.DataObject, cuts: list[int]
) -> None:
    raw = data.draw(streams(masked))
    whole = ours(raw, [], masked=masked)
    assert ours(raw, cuts, masked=masked) == whole
    said, code = theirs(raw, masked=masked)
    if whole[1] == code:
        assert whole[0] == said
    else:
        # They take a Close within a message for an error, which RFC 6455 does not; we are stricter on lengths that
        # are not in their shortest form, and see text that is not UTF-8 before its message ends.
        broken_off = whole[1] is None and code == 1002 and whole[0][-1][0] == "Close"
        assert broken_off or whole[1] in (1002, 1007)
        shorter, longer = sorted((whole[0], said), key=len)
        assert longer[: len(shorter)] == shorter


@given(st.binary(max_size=300), KEYS)
def test_masking_is_its_own_inverse_and_byte_by_byte(data: bytes, key: bytes) -> None:
    assert mask(data, key) == bytes(byte ^ key[at % 4] for at, byte in enumerate(data))
    assert mask(mask(data, key), key) == data


@settings(max_examples=300)
@given(st.binary(max_size=200), st.booleans(), st.lists(st.integers(1, 5), max_size=20))
def test_noise_is_an_error_or_nothing(noise: bytes, masked: bool, cuts: list[int]) -> None:
    assert ours(noise, cuts, masked=masked) == ours(noise, [], masked=masked)
