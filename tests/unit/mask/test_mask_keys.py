"""Keys and placeholders."""

import hmac

import pytest

from weirgate_mask.keys import Keyring
from weirgate_mask.placeholder import find_placeholders, is_placeholder, placeholder, pseudonym

KEYS = Keyring(b"k" * 32)
OTHER = Keyring(b"o" * 32)


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Keyring(b"short")


def test_each_purpose_and_label_has_a_key_of_its_own() -> None:
    derived = {KEYS.derive(purpose, label) for purpose in ("a", "b") for label in ("pii.email", "pii.phone")}
    assert len(derived) == 4
    assert KEYS.derive("a", "pii.email") != OTHER.derive("a", "pii.email")


def test_a_digest_is_hmac_sha256_of_the_derived_key() -> None:
    for value in (b"", b"x", b"y" * 1000):
        expected = hmac.digest(KEYS.derive("a", "pii.email"), value, "sha256")
        assert KEYS.digest("a", "pii.email", value) == expected


def test_a_keyring_shows_no_key() -> None:
    assert repr(KEYS) == "Keyring()"


def test_a_placeholder_is_recognised_by_its_key_alone() -> None:
    for text in (placeholder("pii.email", KEYS), pseudonym("payment.card", b"4111", KEYS)):
        assert is_placeholder(text, KEYS)
        assert not is_placeholder(text, OTHER)
        assert not is_placeholder(text + " ", KEYS)
        assert find_placeholders(f"update t set a = '{text}' where b", KEYS) == [text]


def test_a_forged_placeholder_is_not_one() -> None:
    real = placeholder("pii.email", KEYS)
    assert not is_placeholder(real.replace("pii.email", "pii.phone"), KEYS)
    assert not is_placeholder("[pii.email:000000000000]", KEYS)
    assert not is_placeholder("[pii.email:0123456789abcdef.000000000000]", KEYS)


def test_pseudonyms_of_equal_values_are_equal_and_of_others_are_not() -> None:
    assert pseudonym("pii.email", b"a", KEYS) == pseudonym("pii.email", b"a", KEYS)
    assert pseudonym("pii.email", b"a", KEYS) != pseudonym("pii.email", b"b", KEYS)
    assert pseudonym("pii.email", b"a", KEYS) != pseudonym("pii.phone", b"a", KEYS)
