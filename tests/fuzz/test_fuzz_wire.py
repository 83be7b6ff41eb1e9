"""Noise gives PeerError or nothing; cutting a stream anywhere changes nothing."""

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from weirgate_wire.postgres.agent import decode_agent, decode_password
from weirgate_wire.postgres.error import PeerError, decode_fields
from weirgate_wire.postgres.frame import Frame, Part, Run, Splitter, frame
from weirgate_wire.postgres.limit import UPSTREAM_RUN_KINDS, agent_limits, upstream_limits
from weirgate_wire.postgres.row import each_frame, join_row, split_row
from weirgate_wire.postgres.startup import split_startup
from weirgate_wire.postgres.upstream import decode_upstream

LIMITS = upstream_limits(1_000_000)
SHORT = st.builds(frame, st.sampled_from([bytes((kind,)) for kind in LIMITS]), st.binary(max_size=40))


def long_frame(kind: bytes, size: int) -> bytes:
    return frame(kind, b"x" * size)


LONG = st.builds(long_frame, st.sampled_from([b"D", b"d"]), st.sampled_from([1000, 300_000]))
FRAMES = st.lists(st.one_of(SHORT, LONG), max_size=12)


def frames_of(block: bytes) -> list[tuple[int, int]]:
    return list(each_frame(block))


def units(splitter: Splitter) -> list[tuple[int, bytes]]:
    """What is handed out, runs and parts joined."""
    found: list[tuple[int, bytes]] = []
    joined = True
    while (unit := splitter.next()) is not None:
        match unit:
            case Frame(kind=kind, raw=raw):
                found.append((kind, raw))
            case Run(kind=kind, block=raw, count=count):
                assert count == len(list(each_frame(raw)))
                found.append((kind, raw))
            case Part(kind=kind, piece=raw):
                found.append((kind, raw))
        joined = False
    assert joined or found
    return found


def merged(found: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    whole: list[tuple[int, bytes]] = []
    for kind, raw in found:
        if whole and whole[-1][0] == kind and kind in UPSTREAM_RUN_KINDS:
            whole[-1] = (kind, whole[-1][1] + raw)
        else:
            whole.append((kind, raw))
    return whole


@settings(deadline=None)
@given(FRAMES, st.lists(st.integers(0, 700_000), max_size=8), st.booleans())
def test_where_a_stream_is_cut_changes_nothing(frames: list[bytes], cuts: list[int], stream: bool) -> None:
    raw = b"".join(frames)
    at_once = Splitter(LIMITS, run_kinds=UPSTREAM_RUN_KINDS)
    piecewise = Splitter(LIMITS, run_kinds=UPSTREAM_RUN_KINDS)
    at_once.streams = piecewise.streams = lambda: stream
    at_once.feed(raw)
    expected = merged(units(at_once))
    found: list[tuple[int, bytes]] = []
    start = 0
    for cut in [*sorted(min(cut, len(raw)) for cut in cuts), len(raw)]:
        piecewise.feed(raw[start:cut])
        found += units(piecewise)
        start = cut
    assert merged(found) == expected
    assert b"".join(one for _, one in expected) == raw
    assert piecewise.buffered_bytes == 0


@given(st.binary(max_size=200), st.booleans())
def test_noise_on_a_splitter_is_refused_or_waits(noise: bytes, upstream: bool) -> None:
    splitter = Splitter(LIMITS if upstream else agent_limits(1000), run_kinds=UPSTREAM_RUN_KINDS)
    splitter.feed(noise)
    try:
        found = units(splitter)
    except PeerError:
        return
    assert noise.startswith(b"".join(raw for _, raw in found))


@given(st.sampled_from(sorted(agent_limits(1))), st.binary(max_size=120))
def test_noise_as_a_message_of_the_agent_is_refused_or_reads_back(kind: int, body: bytes) -> None:
    try:
        message = decode_agent(kind, body)
    except PeerError:
        return
    assert message.encode() == frame(bytes((kind,)), body)


@given(st.integers(0, 255), st.binary(max_size=120))
def test_noise_as_a_message_of_the_upstream_is_refused_or_reads_back(kind: int, body: bytes) -> None:
    try:
        message = decode_upstream(kind, body)
    except PeerError:
        return
    again = message.encode()
    assert decode_upstream(again[0], again[5:]) == message


@given(st.binary(max_size=300), st.integers(0, 2**32 - 1))
def test_noise_as_a_start_up_packet_is_refused_or_waits(noise: bytes, size: int) -> None:
    for raw in (noise, size.to_bytes(4, "big") + noise, (len(noise) + 4).to_bytes(4, "big") + noise):
        try:
            split = split_startup(raw)
        except PeerError:
            continue
        if split is not None:
            assert 8 <= split[1] <= len(raw)


@given(st.binary(max_size=100))
def test_noise_as_fields_a_password_and_a_row_is_refused(noise: bytes) -> None:
    decoders: list[Callable[[bytes], object]] = [decode_fields, decode_password, split_row, frames_of]
    for decode in decoders:
        try:
            decode(noise)
        except PeerError:
            continue


@given(st.lists(st.one_of(st.none(), st.binary(max_size=20)), max_size=20))
def test_any_row_reads_back(cells: list[bytes | None]) -> None:
    assert split_row(join_row(cells), 5) == cells
