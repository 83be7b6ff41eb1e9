"""An upstream's answer that holds the credential goes no further, however it is cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weirgate_ingress.echo import CredentialEchoed, EchoGuard, forms_of

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
    assert form[0:1] not in passed[7:]


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
