"""WebSocket through the HTTP gate: opened as judged, every message recorded, judged or masked, closed both ways."""

from typing import Any

import pytest

from weirgate_contracts.events import (
    OperationAbandoned,
    OperationFailed,
    OperationFinished,
    OperationRefused,
    SessionClosed,
)
from weirgate_contracts.operation import Limits
from weirgate_contracts.refusal import RefusalCode
from weirgate_ingress.gates.core import (
    Alarm,
    Ask,
    Dial,
    Dialled,
    Hangup,
    Record,
    Send,
    SendHead,
    Side,
    Stop,
    Tape,
    Undial,
    Withdraw,
)
from weirgate_ingress.gates.http.socket import UNANSWERED
from weirgate_testkit.http_story import status_of
from weirgate_testkit.socket_story import (
    SocketStory,
    close,
    close_in,
    events_in,
    frame,
    handshake_fields,
    messages_in,
    plain,
)
from weirgate_wire.websocket import MESSAGE_LIMIT_BYTES, Close, Opcode, Ping, Pong, encode_frame


def test_the_handshake_is_judged_and_made_anew() -> None:
    one = SocketStory().request(**handshake_fields(origin="https://app.test", sec_websocket_protocol="a, b"))
    one.known().expect(Ask)
    assert one.ask is not None
    call = one.ask.event.call
    assert call is not None
    assert (call.method, call.upgrade, call.route) == ("GET", "websocket", "/v1/customers/{id}")
    one.expect_nothing_sent_to(Side.UPSTREAM).sent_on()
    head = one.head
    assert head.get("sec-websocket-key") != handshake_fields()["sec_websocket_key"]
    assert head.get("sec-websocket-extensions") is None
    assert (head.get("origin"), head.get("sec-websocket-protocol")) == ("https://app.test", "a, b")
    assert (head.get("upgrade"), head.get("connection"), head.get("authorization")) == (
        "websocket", "Upgrade", None,
    )  # fmt: skip
    one.upstream_sends(one.switching(sec_websocket_protocol="b"))
    one.says(lambda raw: one.is_switched(raw) and b"sec-websocket-protocol: b" in raw)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sec_websocket_version": "8"},
        {"sec_websocket_key": "short"},
        {"connection": "keep-alive"},
        {"sec_websocket_protocol": "a, a"},
        {"content_length": "3"},
    ],
)
def test_a_malformed_handshake_is_refused_unasked(wrong: dict[str, str]) -> None:
    one = SocketStory().request(**handshake_fields(**wrong))
    one.left.clear()
    assert status_of(one.said) == 400
    one.expect_nothing_sent_to(Side.UPSTREAM)


@pytest.mark.parametrize("fields", [{"upgrade": "h2c"}, {"upgrade": "websocket, h2c"}])
def test_another_upgrade_is_not_served(fields: dict[str, str]) -> None:
    one = SocketStory().request(**handshake_fields(**fields))
    one.left.clear()
    assert status_of(one.said) == 501


def test_without_a_seed_no_upgrade_is_served() -> None:
    one = SocketStory(seed=b"").request(**handshake_fields())
    one.left.clear()
    assert status_of(one.said) == 501


@pytest.mark.parametrize(
    "wrong",
    [
        {"sec_websocket_accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="},
        {"sec_websocket_extensions": "permessage-deflate"},
        {"sec_websocket_protocol": "nobody-asked"},
        {"upgrade": "h2c"},
        {"connection": "close"},
    ],
)
def test_a_101_that_does_not_answer_is_a_bad_gateway(wrong: dict[str, str]) -> None:
    one = SocketStory().request(**handshake_fields()).known().expect(Ask).sent_on()
    one.upstream_sends(one.switching(**wrong))
    one.expect(Record, OperationFailed).expect(Undial).says(lambda raw: status_of(raw) == 502)


def test_an_upstream_that_does_not_switch_is_answered_as_ever() -> None:
    one = SocketStory().request(**handshake_fields()).known().expect(Ask).sent_on()
    one.upstream_sends(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    one.says(lambda raw: status_of(raw) == 403).expect(Record, OperationFinished)
    one.request().expect(Ask)
    one.left.clear()


# ---------------------------------------------------------------- messages of the agent


def test_a_message_is_an_operation_of_its_own_and_goes_on_only_when_allowed() -> None:
    one = SocketStory().opened()
    opening = one.ask.event if one.ask else None
    one.agent_sends(frame('{"amount": 5}')).expect(Ask).expect_nothing_sent_to(Side.UPSTREAM)
    assert one.ask is not None
    assert opening is not None
    call = one.ask.event.call
    assert call is not None
    assert call.body is not None
    assert (call.method, call.upgrade, call.path, call.body.type, call.body.text) == (
        "MESSAGE", "websocket", "/v1/customers/7", "application/json", '{"amount": 5}',
    )  # fmt: skip
    assert (one.ask.event.operation, one.ask.event.digest != opening.digest) == (2, True)
    one.allow().passes('{"amount": 5}')


def test_messages_behind_one_that_waits_wait_in_order_and_pings_are_answered() -> None:
    one = SocketStory().opened()
    one.agent_sends(frame("one"), frame("tw", final=False), frame("o", opcode=Opcode.CONTINUATION)).expect(
        Ask
    )
    one.held()
    one.agent_sends(frame(b"still there?", opcode=Opcode.PING)).expect(Tape, "i")
    one.says(lambda raw: events_in(raw, masked=False) == [Pong(b"still there?")])
    one.agent_sends(close(of_agent=True))
    one.allow().passes("one").expect(Ask)
    one.allow().passes("two").goes_up(1000).expect(Alarm)
    one.upstream_sends(close()).says(lambda raw: close_in(raw).code == 1000)
    one.expect(Record, OperationFinished).expect(Record, SessionClosed).expect(Hangup)


def test_a_refused_message_closes_with_the_reason_and_never_reaches_the_upstream() -> None:
    one = SocketStory().opened().agent_sends(frame("drop it"), frame("and this")).expect(Ask)
    one.refused(rules=("p/1",)).goes_up(1001)
    one.says(lambda raw: _is_close(raw, 1008, "denied: operation 2: Not for you.")).expect(Alarm)
    assert not messages_in(one.told_upstream, masked=True)
    one.upstream_sends(plain("late"), close()).agent_sends(frame("more"), close(1008, of_agent=True))
    one.expect(Record, OperationFinished).expect(Record, SessionClosed).expect(Hangup)


def test_a_refusal_the_agent_does_not_answer_ends_by_the_alarm() -> None:
    one = SocketStory().opened().agent_sends(frame("drop it")).expect(Ask)
    one.refused().goes_up(1001).says().expect(Alarm, lambda e: e.after_s == 10.0)
    one.feed(Stop(refusal=UNANSWERED))
    one.expect(Record, OperationFinished).expect(Record, SessionClosed).expect(Hangup)


def test_what_the_verdict_is_not_about_is_not_sent_on() -> None:
    one = SocketStory().opened().agent_sends(frame("x")).expect(Ask)
    one.allow(digest="0" * 64).expect(Record, OperationRefused).goes_up(1001)
    one.says(lambda raw: close_in(raw).code == 1008).expect(Alarm)


def test_without_word_of_messages_they_are_judged() -> None:
    SocketStory().opened(messages=None).agent_sends(frame("x")).expect(Ask).left.clear()


def test_where_no_rule_reads_them_messages_pass_as_they_come_recorded_first() -> None:
    one = SocketStory().opened(messages="record")
    raw = frame("a long one" * 100)
    one.agent_sends(raw[:50]).expect(Tape, "i").expect(Send, Side.UPSTREAM)
    one.agent_sends(raw[50:], frame(b"\x00\x01")).expect(Tape, "i").expect(Send, Side.UPSTREAM)
    assert messages_in(one.told_upstream, masked=True) == [b"a long one" * 100, b"\x00\x01"]


def test_a_message_too_long_to_be_judged_is_refused_by_its_header() -> None:
    one = SocketStory().opened().agent_sends(frame("x" * (MESSAGE_LIMIT_BYTES + 1))[:14])
    one.expect(Record, OperationRefused).goes_up(1001).says(lambda raw: close_in(raw).code == 1009)
    one.expect(Alarm).expect(Record, OperationFinished).expect(Record, SessionClosed).expect(Hangup)


def test_a_frame_that_is_not_masked_ends_it() -> None:
    one = SocketStory().opened(messages="record").agent_sends(frame("well"), plain("in clear"))
    one.expect(Tape, "i").expect(Send, Side.UPSTREAM).goes_up(1001)
    one.says(lambda raw: close_in(raw).code == 1002).expect(Alarm)
    one.expect(Record, OperationFailed).expect(Record, SessionClosed).expect(Hangup)


def test_read_ahead_is_bounded_while_a_message_waits() -> None:
    one = SocketStory(ahead_limit_bytes=1000).opened().agent_sends(frame("first")).expect(Ask)
    assert one.gate.wants_agent_bytes
    one.agent_sends(*[frame("")] * 20)
    assert not one.gate.wants_agent_bytes
    one.allow().passes("first").expect(Ask)
    one.left.clear()


# ---------------------------------------------------------------- messages of the upstream


def test_messages_of_the_upstream_pass_where_nothing_is_masked() -> None:
    one = SocketStory().opened(messages="record", early=plain("early"))
    one.says(lambda raw: raw.endswith(plain("early")))
    one.upstream_sends(plain("fra", final=False)).says(plain("fra", final=False))
    one.upstream_sends(plain("gment", opcode=Opcode.CONTINUATION), plain(b"\xff"))
    one.says(plain("gment", opcode=Opcode.CONTINUATION) + plain(b"\xff"))
    one.upstream_sends(plain(b"p", opcode=Opcode.PING)).expect(Tape, "i")
    one.expect(Send, Side.UPSTREAM, lambda e: events_in(e.data, masked=True) == [Pong(b"p")])


def test_text_is_masked_whole_whatever_its_fragments() -> None:
    one = SocketStory().opened(masked=True)
    one.upstream_sends(plain("a sec", final=False)).expect_nothing()
    one.upstream_sends(plain("ret b", opcode=Opcode.CONTINUATION)).says(plain("a ****** b"))
    one.upstream_sends(close(1000, "the secret")).says(lambda raw: _is_close(raw, 1000, "the ******"))
    one.expect(Alarm).agent_sends(close(of_agent=True)).goes_up(1000)
    one.expect(Record, lambda e: e.event.cells_masked == 2 and e.event.bytes_out > 0)
    one.expect(Record, SessionClosed).expect(Hangup)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (plain(b"\x00"), 1003),
        (plain("BROKEN"), 1011),
        (plain("x" * (MESSAGE_LIMIT_BYTES + 1)), 1009),
        (frame("masked"), 1014),
        (b"\xc1\x00", 1014),
    ],
)
def test_what_cannot_be_masked_or_read_goes_no_further(sent: bytes, code: int) -> None:
    one = SocketStory().opened(masked=True).upstream_sends(sent)
    one.says(lambda raw: close_in(raw).code == code).expect(Alarm)
    one.expect(Record, OperationFailed).expect(Undial)
    one.agent_sends(close(code, of_agent=True)).expect(Record, SessionClosed).expect(Hangup)
    assert not messages_in(one.said.partition(b"\r\n\r\n")[2], masked=False)


def test_binary_passes_a_mask_that_lets_pass_what_it_cannot_read() -> None:
    one = SocketStory().opened(masked=True, unread="pass").upstream_sends(plain(b"\x00")).says(plain(b"\x00"))
    one.left.clear()


def test_more_than_the_agent_may_take_closes() -> None:
    one = SocketStory().opened(limits=Limits(size_bytes=10)).upstream_sends(plain("12345678")).says()
    one.upstream_sends(plain("123")).says(lambda raw: close_in(raw).code == 1008).expect(Alarm)
    one.expect(Record, OperationFailed).expect(Undial)


# ---------------------------------------------------------------- ends


def test_the_upstream_gone_without_a_close_is_said() -> None:
    one = SocketStory().opened().agent_sends(frame("x")).expect(Ask)
    one.upstream_leaves().expect(Withdraw).expect(Record, OperationAbandoned)
    one.says(lambda raw: close_in(raw).code == 1014).expect(Alarm).expect(Record, OperationFailed)
    one.agent_leaves().expect(Record, SessionClosed).expect(Hangup)


def test_an_agent_that_has_said_close_behind_a_message_is_not_waited_for() -> None:
    one = SocketStory().opened().agent_sends(frame("x"), close(of_agent=True)).expect(Ask)
    one.refused().goes_up(1001).says(lambda raw: close_in(raw).code == 1008)
    one.expect(Record, OperationFinished).expect(Record, SessionClosed).expect(Hangup)
    two = SocketStory().opened().agent_sends(frame("x"), close(of_agent=True)).expect(Ask).held()
    two.upstream_sends(close(1001)).says(lambda raw: close_in(raw).code == 1001)
    two.expect(Withdraw).expect(Record, OperationAbandoned).goes_up(1000)
    two.expect(Record, OperationFinished).expect(Record, SessionClosed).expect(Hangup)


def test_the_agent_gone_abandons_the_tunnel_and_what_waits() -> None:
    one = SocketStory().opened().agent_sends(frame("x")).expect(Ask).held()
    one.agent_leaves().expect(Withdraw).expect(Record, OperationAbandoned).expect(Record, OperationAbandoned)
    one.expect(Record, SessionClosed).expect(Hangup)


@pytest.mark.parametrize(
    ("code", "closed", "end"),
    [
        (RefusalCode.KILLED, 1008, OperationAbandoned),
        (RefusalCode.SHUTDOWN, 1001, OperationAbandoned),
        (RefusalCode.TOKEN_EXPIRED, 1008, OperationFailed),
    ],
)
def test_a_session_that_is_ended_says_why_in_its_close(code: RefusalCode, closed: int, end: Any) -> None:
    one = SocketStory().opened().agent_sends(frame("x")).expect(Ask).stopped(code).expect(Withdraw)
    one.expect(Record, OperationAbandoned if end is OperationAbandoned else OperationRefused).expect(
        Record, end
    )
    one.expect(Record, SessionClosed).expect(Send, Side.AGENT, lambda e: close_in(e.data).code == closed)
    one.expect(Hangup)


def test_a_log_that_is_away_is_said_first() -> None:
    one = SocketStory().opened().stopped(RefusalCode.LOG_UNAVAILABLE).expect(Record, OperationFailed)
    one.expect(Send, Side.AGENT, lambda e: close_in(e.data).code == 1013)
    one.expect(Record, SessionClosed).expect(Hangup)


def test_the_reason_of_a_close_goes_on_only_where_no_rule_reads_messages() -> None:
    for messages, reason in (("judge", ""), ("record", "bye")):
        one = SocketStory().opened(messages=messages)  # type: ignore[arg-type]
        one.agent_sends(close(4000, "bye", of_agent=True)).goes_up(4000).expect(Alarm)
        assert close_in(one.told_upstream, masked=True) == Close(4000, reason)


def test_masking_keys_are_never_the_same() -> None:
    one = SocketStory().opened(messages="record")
    for _ in range(200):
        one.agent_sends(frame("same")).expect(Tape, "i").expect(Send, Side.UPSTREAM)
    sent = [e.data for e in one.all if isinstance(e, Send) and e.side is Side.UPSTREAM]
    assert len(set(sent)) == 200


def test_a_ping_that_rides_between_fragments_is_answered() -> None:
    one = SocketStory().opened().agent_sends(frame("a", final=False), frame(b"", opcode=Opcode.PING))
    one.expect(Tape, "i", lambda e: events_in(e.data, masked=False) == [Ping(b"")])
    one.says(encode_frame(Opcode.PONG, b""))
    one.agent_sends(frame("b", opcode=Opcode.CONTINUATION)).expect(Ask).allow().passes("ab")


def _is_close(raw: bytes, code: int, reason: str) -> bool:
    return close_in(raw) == Close(code, reason)


def test_a_token_that_rides_as_a_subprotocol_is_in_no_event_and_no_recording() -> None:
    token = "base64url.bearer.authorization.k8s.io.c2VjcmV0"
    one = SocketStory().request(**handshake_fields(sec_websocket_protocol=f"{token}, v4.channel.k8s.io"))
    one.known().expect(Ask).sent_on()
    assert one.head.get("sec-websocket-protocol") == f"{token}, v4.channel.k8s.io"
    assert one.ask is not None
    assert token not in one.ask.event.model_dump_json()
    assert "[withheld], v4.channel.k8s.io" in one.ask.event.model_dump_json()
    assert token.encode() not in b"".join(e.data for e in one.all if isinstance(e, Tape))


def test_the_gate_dials_for_an_upgrade_as_for_any_request() -> None:
    one = SocketStory().request(**handshake_fields()).known().expect(Ask).allow().expect(Dial)
    one.feed(Dialled(parameters={}, process_id=0, secret=b"")).expect(Tape, "i").expect(SendHead)
