"""An upstream's answer that holds the credential goes no further, however it is cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.echo import LEAST_BYTES, CredentialEchoed, Echoes, EchoGuard, forms_of

SECRET = 'sk-/secret+of="the house"'


def through(guard: EchoGuard, pieces: list[bytes]) -> bytes:
    return b"".join(guard.feed(piece) for piece in pieces) + guard.finish()


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in at)})
    return [data[one:other] for one, other in itertools.pairwise(places)]


@pytest.mark.parametrize("form", forms_of(SECRET))
@given(st.lists(st.integers(0, 10_000), max_size=6))
def test_every_form_is_found_wherever_it_is_cut(form: bytes, at: list[int]) -> None:
    passed = b""
    guard = EchoGuard(forms_of(SECRET))
    with pytest.raises(CredentialEchoed):
        for piece in cut(b"before " + form + b" after", at):
            passed += guard.feed(piece)
    assert b"before ".startswith(passed[:7])
    assert len(passed[7:]) < LEAST_BYTES


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_what_does_not_hold_it_passes_whole(pieces: list[bytes]) -> None:
    assert through(EchoGuard(forms_of(SECRET)), pieces) == b"".join(pieces)


@given(st.lists(st.integers(0, 10_000), max_size=6))
def test_beginnings_of_it_pass_once_they_are_none(at: list[int]) -> None:
    data = SECRET.encode()[:-1] + b"sk-" + SECRET.encode()[:9] + b"s"
    assert through(EchoGuard(forms_of(SECRET)), cut(data, at)) == data


def test_the_password_of_basic_counts_and_short_ones_do_not() -> None:
    assert b"long-enough" in forms_of("user:long-enough")
    assert forms_of("a:b") == ()
    assert EchoGuard(()).feed(b"x") == b"x"


def test_the_end_of_an_answer_is_never_waited_for() -> None:
    guard = EchoGuard(forms_of(SECRET))
    for end in range(1, LEAST_BYTES):
        assert guard.feed(b"the end: " + SECRET.encode()[:end]) == b"the end: " + SECRET.encode()[:end]
        assert guard.feed(b"\n") == b"\n"


class Sink:
    def __init__(self) -> None:
        self.got: list[bytes | str] = []

    def upstream_sent(self, data: bytes) -> None:
        self.got.append(data)

    def upstream_lost(self) -> None:
        self.got.append("lost")

    def upstream_full(self) -> None:
        self.got.append("full")

    def upstream_drained(self) -> None:
        self.got.append("drained")


def test_a_sink_gets_what_may_pass_and_nothing_after_the_credential() -> None:
    sink, refusals = Sink(), list[Refusal]()
    echoes = Echoes(sink, EchoGuard(forms_of(SECRET)), refusals.append)
    echoes.upstream_full()
    echoes.upstream_drained()
    echoes.upstream_sent(b"one ")
    echoes.upstream_sent(SECRET.encode()[:12])
    echoes.upstream_sent(SECRET.encode()[12:] + b" two")
    echoes.upstream_sent(b" three")
    echoes.upstream_lost()
    assert sink.got == ["full", "drained", b"one "]
    assert [refusal.code for refusal in refusals] == [RefusalCode.CREDENTIAL_ECHOED]


def test_what_was_held_back_comes_when_the_upstream_is_done_and_an_aside_just_ends() -> None:
    sink = Sink()
    echoes = Echoes(sink, EchoGuard(forms_of(SECRET)), None)
    echoes.upstream_sent(b"x" + SECRET.encode()[:12])
    echoes.upstream_lost()
    assert sink.got == [b"x", SECRET.encode()[:12], "lost"]
    other = Sink()
    echoes = Echoes(other, EchoGuard(forms_of(SECRET)), None)
    echoes.upstream_sent(SECRET.encode())
    assert other.got == ["lost"]
