"""The hash chain: every edit, loss, reordering and insertion is found, and found at the right place."""

import struct
from dataclasses import dataclass, replace
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from weirgate_contracts.events import LogCheckpointed
from weirgate_recorder.chain import GENESIS, Fault, Report, Verifier, Witness, link


@dataclass(frozen=True)
class Message:
    subject: str
    message_id: str
    body: bytes


def stored(count: int) -> list[Message]:
    return [
        Message(f"audit.operation.finished.a.s{n % 3}", f"id{n}", b'{"n":%d}' % n)
        for n in range(1, count + 1)
    ]


def links_of(log: list[Message]) -> list[bytes]:
    links = [GENESIS]
    for sequence, message in enumerate(log, 1):
        links.append(
            link(
                links[-1],
                sequence=sequence,
                subject=message.subject,
                message_id=message.message_id,
                body=message.body,
            )
        )
    return links


def witnesses_of(log: list[Message]) -> dict[int, Witness]:
    links = links_of(log)
    return {
        n: Witness(previous=links[n - 1], link=links[n], message_id=message.message_id)
        for n, message in enumerate(log, 1)
    }


def verify(
    log: dict[int, Message], witnesses: dict[int, Witness] | None = None, last: int | None = None
) -> Report:
    verifier = Verifier()
    for sequence, message in sorted(log.items()):
        verifier.feed(
            sequence=sequence,
            subject=message.subject,
            message_id=message.message_id,
            body=message.body,
            witness=(witnesses or {}).get(sequence),
        )
    return verifier.finish(stored=last)


def numbered(log: list[Message]) -> dict[int, Message]:
    return dict(enumerate(log, 1))


def with_checkpoints(count: int, every: int) -> list[Message]:
    """A log in which a checkpoint of everything before it stands after each so many messages."""
    log: list[Message] = []
    for message in stored(count):
        log.append(message)
        if len(log) % every == 0:
            chain = links_of(log)[-1]
            event = LogCheckpointed(sequence=len(log), chain=chain.hex()).stamped(
                id="01J00000000000000000000000", at="2026-01-01T00:00:00.000000Z"
            )
            log.append(Message("audit.log.checkpoint", f"c{len(log)}", event.encoded()))
    return log


def test_the_link_is_what_the_documentation_says_byte_for_byte() -> None:
    def f(x: bytes) -> bytes:
        return struct.pack(">I", len(x)) + x

    body = b'{"kind":"x"}'
    expected = sha256(
        f(b"weirgate.log.link.v1")
        + f(sha256(b"weirgate.log.genesis.v1").digest())
        + f((7).to_bytes(8, "big"))
        + f(b"audit.log.degraded")
        + f(b"01J")
        + f(sha256(body).digest())
    ).digest()
    assert link(GENESIS, sequence=7, subject="audit.log.degraded", message_id="01J", body=body) == expected


def test_the_chain_of_a_known_log_never_changes_between_releases() -> None:
    assert GENESIS.hex() == "154b293c7ac955e22d186b9abb4ab1e5eee7b517debf3da529a414e257ce6806"
    assert links_of(stored(3))[-1].hex() == "6c25a8275113655d28ad1f9e427b17d5b8aa02d2a1448f09929e93b2457faec7"


@given(st.integers(1, 40))
def test_an_untouched_log_is_sound(count: int) -> None:
    log = stored(count)
    report = verify(numbered(log), witnesses_of(log), count)
    assert report.sound
    assert (report.messages, report.last, report.witnessed) == (count, count, count)
    assert report.chain == links_of(log)[-1]


@given(st.data())
def test_any_edited_message_is_named(data: st.DataObject) -> None:
    log = stored(data.draw(st.integers(1, 30)))
    at = data.draw(st.integers(1, len(log)))
    now = numbered(log)
    edits = [replace(now[at], body=b"{}"), replace(now[at], subject="audit.operation.allowed.a.s1")]
    now[at] = data.draw(st.sampled_from(edits))
    report = verify(now, witnesses_of(log), len(log))
    assert [(f.fault, f.first, f.last) for f in report.findings] == [(Fault.EDITED, at, at)]
    assert report.first_wrong == at


@given(st.data())
def test_every_stretch_that_is_missing_is_named(data: st.DataObject) -> None:
    log = stored(data.draw(st.integers(2, 30)))
    first = data.draw(st.integers(1, len(log) - 1))
    last = data.draw(st.integers(first, len(log) - 1))
    now = {n: message for n, message in numbered(log).items() if not first <= n <= last}
    report = verify(now, witnesses_of(log), len(log))
    assert [(f.fault, f.first, f.last) for f in report.findings] == [(Fault.MISSING, first, last)]


@given(st.data())
def test_messages_that_changed_places_are_both_named(data: st.DataObject) -> None:
    log = stored(data.draw(st.integers(2, 30)))
    one, other = sorted(data.draw(st.sets(st.integers(1, len(log)), min_size=2, max_size=2)))
    now = numbered(log)
    now[one], now[other] = now[other], now[one]
    report = verify(now, witnesses_of(log), len(log))
    assert [(f.fault, f.first) for f in report.findings] == [(Fault.REPLACED, one), (Fault.REPLACED, other)]


@given(st.data())
def test_an_inserted_message_is_named_at_its_place(data: st.DataObject) -> None:
    log = stored(data.draw(st.integers(1, 30)))
    at = data.draw(st.integers(1, len(log)))
    changed = [*log[: at - 1], Message("audit.operation.allowed.a.s", "forged", b"{}"), *log[at - 1 :]]
    report = verify(numbered(changed), witnesses_of(log), len(log))
    assert report.findings[0].fault is Fault.REPLACED
    assert report.first_wrong == at


@given(st.data())
def test_a_log_cut_short_is_truncated_where_the_read_model_goes_on(data: st.DataObject) -> None:
    log = stored(data.draw(st.integers(2, 30)))
    kept = data.draw(st.integers(0, len(log) - 1))
    report = verify(numbered(log[:kept]), witnesses_of(log), len(log))
    assert [(f.fault, f.first, f.last) for f in report.findings] == [(Fault.TRUNCATED, kept + 1, len(log))]


def test_checkpoints_alone_cover_a_sound_log_up_to_the_last_of_them() -> None:
    log = with_checkpoints(40, every=10)
    report = verify(numbered(log))
    assert report.sound
    assert report.checkpoints == 4
    assert report.covered == 40


@given(st.integers(1, 40))
def test_checkpoints_alone_say_between_which_two_a_change_lies(at: int) -> None:
    log = with_checkpoints(60, every=10)
    now = numbered(log)
    now[at] = replace(now[at], body=now[at].body.replace(b"1", b"3") + b" ")
    report = verify(now)
    changed = next(found for found in report.findings if found.fault is Fault.CHANGED)
    assert changed.first <= at <= changed.last
    assert changed.last - changed.first <= 10 or now[at].subject == "audit.log.checkpoint"
    assert report.covered < at


def test_one_change_is_one_finding_however_many_checkpoints_follow() -> None:
    log = with_checkpoints(60, every=10)
    now = numbered(log)
    now[13] = replace(now[13], body=b"{}")
    assert verify(now).faults == 1


def test_what_is_no_checkpoint_on_the_checkpoint_subject_is_found() -> None:
    log = [*stored(3), Message("audit.log.checkpoint", "c", b"{}")]
    assert [f.fault for f in verify(numbered(log)).findings] == [Fault.CHECKPOINT]


def test_a_checkpoint_of_the_future_is_found() -> None:
    event = LogCheckpointed(sequence=9, chain="00").stamped(
        id="01J00000000000000000000000", at="2026-01-01T00:00:00Z"
    )
    log = [*stored(3), Message("audit.log.checkpoint", "c", event.encoded())]
    assert [f.fault for f in verify(numbered(log)).findings] == [Fault.CHECKPOINT]


def test_a_message_given_twice_is_disorder() -> None:
    verifier = Verifier()
    for _ in range(2):
        verifier.feed(sequence=1, subject="audit.a", message_id="", body=b"")
    assert [f.fault for f in verifier.finish().findings] == [Fault.DISORDER]


def test_findings_are_bounded_and_all_counted() -> None:
    log = stored(300)
    now = {n: replace(message, body=b"other") for n, message in numbered(log).items()}
    report = verify(now, witnesses_of(log), 300)
    assert report.faults == 300
    assert len(report.findings) == 100


def test_a_hole_the_read_model_has_too_does_not_spoil_what_follows() -> None:
    log = {n: message for n, message in numbered(stored(9)).items() if n not in (4, 5)}
    links = {0: GENESIS}
    witnesses: dict[int, Witness] = {}
    before = GENESIS
    for n, m in log.items():
        links[n] = link(before, sequence=n, subject=m.subject, message_id=m.message_id, body=m.body)
        witnesses[n] = Witness(previous=before, link=links[n], message_id=m.message_id)
        before = links[n]
    report = verify(log, witnesses, 9)
    assert [(f.fault, f.first, f.last) for f in report.findings] == [(Fault.MISSING, 4, 5)]


def test_a_stretch_is_not_reported_beside_the_message_that_explains_it() -> None:
    log = with_checkpoints(40, every=10)
    now = numbered(log)
    now[13] = replace(now[13], body=b"{}")
    report = verify(now, witnesses_of(log), len(log))
    assert [(f.fault, f.first) for f in report.findings] == [(Fault.EDITED, 13)]
    assert report.faults == 1


def test_a_log_closed_up_over_a_dropped_message_is_wrong_before_the_checkpoint_that_moved() -> None:
    log = with_checkpoints(10, every=10)
    del log[4]
    report = verify(numbered(log))
    assert not report.sound
    assert report.findings[0].first <= 5 <= report.findings[0].last
