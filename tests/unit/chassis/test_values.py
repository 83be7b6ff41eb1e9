"""Ids, clock, seal, metrics, log: the small parts."""

import io
import json
import logging
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from weirgate_bus.port import BusUnavailable
from weirgate_chassis import log
from weirgate_chassis.clock import rfc3339
from weirgate_chassis.ids import Ulids, new_id, new_trace_id
from weirgate_chassis.metric import Metrics
from weirgate_chassis.seal import Sealer, SealError, read_key


def test_ids_grow_and_never_repeat() -> None:
    ids = [new_id() for _ in range(10_000)]
    assert ids == sorted(set(ids))
    assert all(len(id) == 26 for id in ids)


def test_ids_grow_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Ulids()
    first = made.next()
    monkeypatch.setattr("weirgate_chassis.ids.time.time_ns", lambda: 0)
    assert made.next() > first


def test_a_trace_id_is_32_hexadecimal_digits() -> None:
    assert len(bytes.fromhex(new_trace_id())) == 16


def test_times_are_written_with_microseconds() -> None:
    assert rfc3339(1_700_000_000_000_042) == "2023-11-14T22:13:20.000042Z"


def test_what_is_sealed_opens_for_its_subject_only() -> None:
    sealer, other = Sealer(bytes(32)), Sealer(b"x" * 32)
    sealed = sealer.seal(b"secret", "recording.here.s1")
    assert b"secret" not in sealed
    assert sealer.open(sealed, "recording.here.s1") == b"secret"
    for opener, subject, body in (
        (sealer, "recording.here.s2", sealed),
        (other, "recording.here.s1", sealed),
        (sealer, "recording.here.s1", sealed[:-1]),
        (sealer, "recording.here.s1", b""),
        (sealer, "recording.here.s1", b"\x02" + sealed[1:]),
    ):
        with pytest.raises(SealError):
            opener.open(body, subject)


def test_no_two_bodies_are_sealed_alike() -> None:
    sealer = Sealer(bytes(32))
    assert len({sealer.seal(b"same", "s") for _ in range(1000)}) == 1000


def test_a_key_file_holds_32_bytes_or_is_refused_without_being_shown(tmp_path: Path) -> None:
    path = tmp_path / "k"
    path.write_text("00" * 32 + "\n")
    assert read_key(path) == bytes(32)
    for wrong in ("00" * 31, "geheim"):
        path.write_text(wrong)
        with pytest.raises(ValueError) as refused:
            read_key(path)
        assert wrong not in str(refused.value)


def test_metrics_are_written_as_prometheus_reads_them() -> None:
    metrics = Metrics()
    counter = metrics.counter("weirgate_x_total", "What.", ("kind",))
    counter.add('a"b')
    counter.add('a"b', by=2)
    metrics.gauge("weirgate_y", "How many.", lambda: 3)
    histogram = metrics.histogram("weirgate_z_seconds", "How long.", (0.1, 1))
    for value in (0.05, 0.1, 0.5, 5):
        histogram.observe(value)
    text = metrics.text()
    assert 'weirgate_x_total{kind="a\\"b"} 3' in text
    assert "weirgate_y 3" in text
    assert 'weirgate_z_seconds_bucket{le="0.1"} 2' in text
    assert 'weirgate_z_seconds_bucket{le="+Inf"} 4' in text
    assert "weirgate_z_seconds_count 4" in text
    with pytest.raises(ValueError):
        metrics.counter("weirgate_y", "Again.")


def test_a_log_line_is_one_json_object_with_constant_text() -> None:
    stream = io.StringIO()
    log.configure(service="policy", instance="one", level="info", stream=stream)
    log.debug("not shown")
    log.info("session opened", resource="shop", rows=3)
    logging.getLogger("library").error("said %s", "a secret")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["text"] for line in lines] == ["session opened", "from a library"]
    assert lines[0]["resource"] == "shop"
    assert lines[0]["service"] == "policy"
    assert "a secret" not in stream.getvalue()


class _Row(BaseModel):
    number: int


def test_an_error_of_a_dependency_is_described_without_what_it_quotes() -> None:
    with pytest.raises(ValidationError) as refused:
        _Row.model_validate({"number": "4111111111111111 or so"})
    assert log.describe(refused.value) == "ValidationError"
    assert log.describe(ExceptionGroup("x", [BusUnavailable("gone")])) == "BusUnavailable: gone"
