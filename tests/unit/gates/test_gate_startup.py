"""From the first byte to a dialled upstream."""

import pytest

from weirgate_contracts.events import SessionClosed, SessionOpened, SessionRefused
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.gates.core import (
    Bytes,
    CancelOther,
    Dial,
    Dialled,
    DialRefused,
    Effect,
    Hangup,
    LoggedIn,
    Login,
    LoginRefused,
    Record,
    Send,
    Side,
    StartTls,
    TlsStarted,
)
from weirgate_testkit.story import IDENTITY, PARAMETERS, SHOP, Story, encoded
from weirgate_wire.postgres.error import decode_fields
from weirgate_wire.postgres.message import AUTH_CLEARTEXT, Authentication, PasswordMessage, Query
from weirgate_wire.postgres.startup import (
    PROTOCOL_3_0,
    PROTOCOL_3_2,
    CancelRequest,
    GssEncRequest,
    SslRequest,
    StartupMessage,
    negotiate_protocol_version,
)

ASK_PASSWORD = Authentication(AUTH_CLEARTEXT)


def opening(**parameters: str) -> StartupMessage:
    return StartupMessage(version=PROTOCOL_3_0, parameters={"user": "bot", "database": "shop"} | parameters)


def refuses_with(story: Story, code: RefusalCode, sqlstate: str | None = None) -> None:
    def told(effect: Effect) -> bool:
        assert isinstance(effect, Send)
        fields = decode_fields(effect.data[5:])
        assert fields["S"] == fields["V"] == "FATAL"
        assert sqlstate is None or fields["C"] == sqlstate
        return f"weirgate: {code.value}" in fields["D"]

    story.expect(Record, SessionRefused).expect(Send, Side.AGENT, told).expect(Hangup)


def test_an_agent_logs_in_inside_tls() -> None:
    story = Story(cleartext_allowed=False).agent_sends(SslRequest()).expect(Send, b"S").expect(StartTls)
    story.feed(TlsStarted(version="TLSv1.3")).agent_sends(opening()).expect(Send, ASK_PASSWORD)
    story.agent_sends(PasswordMessage(b"tok")).expect(Login, lambda e: (e.agent, e.token) == ("bot", "tok"))
    assert "tok" not in repr(story.all)
    story.feed(LoggedIn(identity=IDENTITY, resource=SHOP)).expect(
        Record, lambda e: e.event.tls == "TLSv1.3"
    ).expect(Dial)
    story.feed(Dialled(parameters=PARAMETERS, process_id=1, secret=b"1234")).expect(Send, Side.AGENT)


def test_direct_tls_needs_no_request() -> None:
    story = Story(cleartext_allowed=False).feed(TlsStarted(version="TLSv1.3"))
    story.agent_sends(opening()).expect(Send, ASK_PASSWORD)


def test_without_tls_both_encryption_requests_are_answered_no_once_each() -> None:
    story = Story(tls_available=False).agent_sends(GssEncRequest()).expect(Send, b"N")
    story.agent_sends(SslRequest()).expect(Send, b"N").agent_sends(opening()).expect(Send, ASK_PASSWORD)
    again = Story(tls_available=False).agent_sends(SslRequest()).expect(Send, b"N").agent_sends(SslRequest())
    refuses_with(again, RefusalCode.PROTOCOL)


def test_bytes_in_clear_behind_ssl_request_are_refused() -> None:
    refuses_with(Story().agent_sends(SslRequest(), opening()), RefusalCode.PROTOCOL)
    story = Story().agent_sends(SslRequest()).expect(Send, b"S").expect(StartTls).agent_sends(opening())
    story.expect(Record, SessionRefused).expect(Hangup)


def test_a_token_in_clear_is_refused_before_it_is_asked_for() -> None:
    story = Story(cleartext_allowed=False).agent_sends(opening())
    refuses_with(story, RefusalCode.TLS_REQUIRED, "28000")


def test_a_newer_protocol_and_unknown_options_are_negotiated() -> None:
    asked = StartupMessage(
        version=0x0003_270F, parameters={"user": "bot", "database": "shop", "_pq_.grease": "1"}
    )
    story = Story().agent_sends(asked)
    story.expect(Send, negotiate_protocol_version(PROTOCOL_3_2, ["_pq_.grease"])).expect(Send, ASK_PASSWORD)
    assert story.gate.secret_size_bytes == 32
    older = Story().agent_sends(opening()).expect(Send, ASK_PASSWORD)
    assert older.gate.secret_size_bytes == 4


@pytest.mark.parametrize("version", [0x0002_0000, 0x0004_0000, 0])
def test_other_protocols_are_refused(version: int) -> None:
    refuses_with(Story().agent_sends(StartupMessage(version=version, parameters={})), RefusalCode.UNSUPPORTED)


def test_a_cancel_request_says_nothing() -> None:
    story = Story().agent_sends(CancelRequest(process_id=9, secret=b"s" * 32))
    story.expect(CancelOther, lambda e: (e.process_id, e.secret) == (9, b"s" * 32)).expect(Hangup)


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"replication": "database"}, RefusalCode.UNSUPPORTED),
        ({"user": ""}, RefusalCode.PROTOCOL),
        ({"database": ""}, RefusalCode.RESOURCE_UNKNOWN),
        ({"client_encoding": "LATIN1"}, RefusalCode.UNSUPPORTED),
        ({"role": "postgres"}, RefusalCode.UNSUPPORTED),
        ({"options": "-c session_preload_libraries=x"}, RefusalCode.UNSUPPORTED),
        ({"options": "-W 3"}, RefusalCode.UNSUPPORTED),
        ({"standard_conforming_strings": "off"}, RefusalCode.UNSUPPORTED),
    ],
)
def test_parameters_that_lead_elsewhere_are_refused(parameters: dict[str, str], code: RefusalCode) -> None:
    refuses_with(Story().agent_sends(opening(**parameters)), code)


def test_allowed_parameters_are_dialled_with_and_the_encoding_is_ours() -> None:
    options = r"-c statement_timeout=5s --lock-timeout=1s -csearch_path=a\ b"
    story = Story().agent_sends(opening(options=options, datestyle="ISO", client_encoding="'utf-8'"))
    story.expect(Send, ASK_PASSWORD).agent_sends(PasswordMessage(b"t")).expect(Login)
    story.feed(LoggedIn(identity=IDENTITY, resource=SHOP)).expect(Record, SessionOpened)
    story.expect(
        Dial,
        lambda e: (
            e.parameters
            == {
                "statement_timeout": "5s",
                "lock_timeout": "1s",
                "search_path": "a b",
                "DateStyle": "ISO",
                "client_encoding": "UTF8",
            }
        ),
    )


@pytest.mark.parametrize("size", [0, 7, 10_001, 0x7FFF_FFFF, 0xFFFF_FFFF])
def test_a_start_up_packet_of_impossible_length_is_refused_from_its_first_four_bytes(size: int) -> None:
    refuses_with(Story().agent_sends(size.to_bytes(4, "big")), RefusalCode.PROTOCOL)


def test_a_password_that_is_too_long_is_refused_from_its_header() -> None:
    story = Story().agent_sends(opening()).expect(Send, ASK_PASSWORD)
    refuses_with(story.agent_sends(b"p\x7f\xff\xff\xff"), RefusalCode.PROTOCOL)


def test_a_bad_token_is_told_and_recorded_once_by_the_shell() -> None:
    story = Story().agent_sends(opening()).expect(Send, ASK_PASSWORD).agent_sends(PasswordMessage(b"t"))
    story.expect(Login)
    story.feed(LoginRefused(refusal=Refusal(code=RefusalCode.TOKEN_INVALID, reason="No.")))
    story.expect(Send, Side.AGENT, lambda e: b"C28P01\0" in e.data).expect(Hangup)


def test_an_upstream_that_is_away_closes_the_session() -> None:
    story = Story().agent_sends(opening()).expect(Send, ASK_PASSWORD).agent_sends(PasswordMessage(b"t"))
    story.expect(Login).feed(LoggedIn(identity=IDENTITY, resource=SHOP)).expect(Record, SessionOpened).expect(
        Dial
    )
    story.feed(DialRefused(refusal=Refusal(code=RefusalCode.UPSTREAM_UNAVAILABLE, reason="Away.")))
    story.expect(Record, SessionClosed).expect(Send, Side.AGENT, lambda e: b"C08001\0" in e.data).expect(
        Hangup
    )


def test_while_a_login_is_under_way_the_agent_is_not_read_and_nothing_is_lost() -> None:
    story = Story().agent_sends(opening()).expect(Send, ASK_PASSWORD)
    story.agent_sends(PasswordMessage(b"t"), Query("select 1")).expect(Login)
    assert not story.gate.wants_agent_bytes
    story.feed(LoggedIn(identity=IDENTITY, resource=SHOP)).expect(Record, SessionOpened).expect(Dial)
    story.feed(Dialled(parameters=PARAMETERS, process_id=1, secret=b"1234")).expect(Send, Side.AGENT)
    story.asks("select 1")


def test_an_upstream_in_another_encoding_is_not_let_near_an_agent() -> None:
    story = Story().agent_sends(opening()).expect(Send, ASK_PASSWORD).agent_sends(PasswordMessage(b"t"))
    story.expect(Login).feed(LoggedIn(identity=IDENTITY, resource=SHOP)).expect(Record, SessionOpened).expect(
        Dial
    )
    story.feed(Dialled(parameters={"client_encoding": "LATIN1"}, process_id=1, secret=b"1234"))
    story.expect(Record, SessionClosed).expect(Send, Side.AGENT).expect(Hangup)


def test_a_deadline_ends_a_login_and_nothing_follows() -> None:
    story = Story().stopped(RefusalCode.LOGIN_TIMEOUT)
    refuses_with(story, RefusalCode.LOGIN_TIMEOUT)
    story.agent_sends(opening()).expect_nothing()
    assert story.gate.ended


def test_an_agent_that_leaves_before_it_said_anything_is_not_worth_a_record() -> None:
    Story().agent_leaves().expect(Hangup)


def test_a_start_up_may_come_byte_by_byte() -> None:
    story = Story()
    raw = encoded(opening())
    for at in range(len(raw) - 1):
        story.feed(Bytes(side=Side.AGENT, data=raw[at : at + 1])).expect_nothing()
    story.feed(Bytes(side=Side.AGENT, data=raw[-1:])).expect(Send, ASK_PASSWORD)
