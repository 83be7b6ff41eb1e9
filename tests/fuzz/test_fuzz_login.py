"""Whatever an upstream sends during login, we get an outcome or a ``PeerError``, and give away no password."""

import contextlib
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from weirgate_wire.error import PeerError
from weirgate_wire.postgres.frame import frame
from weirgate_wire.postgres.login import LoginTerms, UpstreamLogin, UpstreamReady
from weirgate_wire.postgres.scram import ScramClient

PASSWORD = "correct horse battery staple"
NONCE = "n" * 24


def login(**more: object) -> UpstreamLogin:
    terms = {"user": "app", "database": "shop", "password": PASSWORD, "nonce": NONCE} | more
    made = UpstreamLogin(LoginTerms(**terms))  # pyright: ignore[reportArgumentType]
    made.start()
    return made


@given(st.binary(max_size=400))
def test_noise_is_a_peer_error_or_nothing(noise: bytes) -> None:
    made = login()
    with contextlib.suppress(PeerError):
        out = made.feed(noise)
        assert PASSWORD.encode() not in out


def authentication(code: int, rest: bytes) -> bytes:
    """Body of an authentication request."""
    return code.to_bytes(4, "big") + rest


message = st.builds(
    frame,
    st.sampled_from([b"R", b"E", b"N", b"S", b"K", b"Z", b"v", b"T", b"D"]),
    st.one_of(
        st.binary(max_size=60),
        st.builds(
            authentication,
            st.sampled_from([0, 3, 5, 7, 10, 11, 12]),
            st.one_of(st.binary(max_size=40), st.just(b"SCRAM-SHA-256\0\0"), st.just(b"abcd")),
        ),
    ),
)


@given(st.lists(message, max_size=8))
def test_messages_in_any_order_never_log_in_without_the_proof_that_began(messages: list[bytes]) -> None:
    made = login(methods=frozenset(("scram-sha-256",)))
    with contextlib.suppress(PeerError):
        for each in messages:
            if made.outcome is not None:
                break
            assert PASSWORD.encode() not in made.feed(each)
    assert not isinstance(made.outcome, UpstreamReady)


TRUSTED = (
    frame(b"v", (2).to_bytes(4, "big") + bytes(4))
    + frame(b"R", bytes(4))
    + frame(b"S", b"server_version\x0018\0")
    + frame(b"K", bytes(8))
    + frame(b"Z", b"I")
)


@given(st.lists(st.integers(0, len(TRUSTED)), max_size=6))
def test_cutting_the_stream_anywhere_changes_nothing(cuts: list[int]) -> None:
    made = login(minor=9)
    edges = [0, *sorted(cuts), len(TRUSTED)]
    for start, end in pairwise(edges):
        if made.outcome is None:
            made.feed(TRUSTED[start:end])
    assert isinstance(made.outcome, UpstreamReady)
    assert made.outcome.parameters == {"server_version": "18"}
    assert made.outcome.minor == 2


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_a_scram_exchange_takes_no_noise(first: bytes, final: bytes) -> None:
    client = ScramClient(PASSWORD, nonce=NONCE)
    with contextlib.suppress(PeerError):
        client.final(first)
        client.verify(final)
        raise AssertionError("noise was taken for a proof")
