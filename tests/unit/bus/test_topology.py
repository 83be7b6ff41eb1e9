"""Permissions and stream settings, as rendered."""

import re
from pathlib import Path

import pytest

from weirgate_bus import topology
from weirgate_bus.nkey import Signer, new_seed
from weirgate_bus.port import BusDenied
from weirgate_bus.subject import matches, publishable
from weirgate_contracts.subjects import WRITES


def test_no_event_subject_has_two_writers() -> None:
    owned = [(user, pattern) for user, patterns in WRITES.items() for pattern in patterns]
    for user, pattern in owned:
        for other, wider in owned:
            assert user == other or not (matches(wider, pattern) or matches(pattern, wider)), (user, other)


@pytest.mark.parametrize("user", topology.SERVICES)
def test_no_service_may_call_anything_that_changes_a_stream(user: str) -> None:
    allowed = topology.permissions(user)["publish"]["allow"]
    for word in ("CREATE", "UPDATE", "DELETE", "PURGE", "MSG.DELETE", "RESTORE"):
        for stream in ("AUDIT", "RECORDING"):
            assert not any(matches(pattern, f"$JS.API.STREAM.{word}.{stream}") for pattern in allowed)


@pytest.mark.parametrize("user", topology.SERVICES)
def test_no_service_may_publish_under_a_wildcard_that_covers_everything(user: str) -> None:
    allowed = topology.permissions(user)["publish"]["allow"]
    assert not any(pattern.startswith((">", "*")) or pattern in ("$JS.>", "$JS.API.>") for pattern in allowed)


def test_the_auditor_writes_nothing() -> None:
    allowed = topology.permissions("auditor")["publish"]["allow"]
    assert not any(pattern.startswith(("audit.", "recording.", "control.")) for pattern in allowed)


def test_the_rendered_server_syncs_every_write_and_names_every_user() -> None:
    keys = {user: Signer(new_seed()).public for user in topology.USERS}
    text = topology.render(keys, listen="127.0.0.1:4222", store="/data")
    assert re.search(r"^  sync_interval: always$", text, re.MULTILINE)
    assert all(key in text for key in keys.values())
    assert "http:" not in text


def test_a_missing_key_is_an_error_and_not_an_open_door() -> None:
    with pytest.raises(KeyError):
        topology.render({}, listen="127.0.0.1:4222", store="/data")


def test_a_stream_that_is_what_was_asked_for_has_no_differences() -> None:
    wanted = topology.stream_config("AUDIT", topology.Limits())
    assert topology.differences(wanted, wanted | {"metadata": {"_nats.ver": "2"}}) == []
    assert topology.differences(wanted, wanted | {"deny_delete": False}) == ["deny_delete is False, not True"]
    assert topology.differences(wanted, wanted | {"republish": None}) != []


def test_a_seed_that_is_none_is_refused() -> None:
    with pytest.raises(BusDenied):
        Signer(b"SUNOTASEED")


@pytest.mark.parametrize(
    ("pattern", "subject", "covered"),
    [
        ("a.*.c", "a.b.c", True),
        ("a.*", "a.b.c", False),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        ("a.b", "a.b", True),
        ("a.*", "a.>", False),
        (">", "a.b", True),
    ],
)
def test_patterns_cover_subjects_as_nats_does(pattern: str, subject: str, covered: bool) -> None:
    assert matches(pattern, subject) == covered


@pytest.mark.parametrize("subject", ["", "a..b", "a.*", "a.>", "a b", "a\r\nPUB x", "a."])
def test_what_is_no_subject_is_never_sent(subject: str) -> None:
    assert not publishable(subject)


def test_the_example_for_operators_is_what_is_rendered() -> None:
    keys = {user: f"<public key of {user}>" for user in topology.USERS}
    example = Path(__file__).parents[3] / "deploy" / "nats" / "example.conf"
    assert example.read_text() == topology.render(keys, listen="0.0.0.0:4222", store="/data")
