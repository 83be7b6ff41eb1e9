"""A real ingress: NATS, PostgreSQL with TLS behind it, scripted judges beside it, real clients in front."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from weirgate_contracts.events import (
    ApprovalGranted,
    ConfigPublished,
    Event,
    OperationIntercepted,
    SessionClosed,
    SessionOpened,
    SessionRefused,
)
from weirgate_embedded.postgres import Postgres
from weirgate_testkit.ingress import RunningIngress, resource, running_ingress
from weirgate_testkit.nats import NatsServer, running_nats
from weirgate_testkit.postgres import running_postgres_tls

Stage = tuple[RunningIngress, Postgres, NatsServer]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage, None, None]:
    directory = tmp_path_factory.mktemp("ingress")
    (directory / "up").mkdir()
    hba = "hostssl all all 127.0.0.1/32 scram-sha-256\n"
    with (
        running_postgres_tls(directory / "up", hba=hba) as upstream,
        running_nats(directory / "nats") as nats,
        running_ingress(
            directory / "in",
            nats,
            {
                "shop": resource(upstream, query="?sslmode=require&channel_binding=require"),
                "away": resource(upstream, query="?sslmode=disable", name="away"),
            },
            settings={"WEIRGATE_LOGIN_DEADLINE_S": "2"},
        ) as ingress,
    ):
        yield ingress, upstream, nats


def until(done: Callable[[], object], within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def of(ingress: RunningIngress, kind: type[Event], **fields: object) -> list[Event]:
    return [
        each
        for each in ingress.events()
        if isinstance(each, kind) and all(getattr(each, name) == value for name, value in fields.items())
    ]


def session_of(ingress: RunningIngress) -> str:
    opened = of(ingress, SessionOpened)[-1]
    assert isinstance(opened, SessionOpened)
    return opened.session


@pytest.mark.parametrize(
    ("mode", "more", "tls"),
    [
        ("disable", "", False),
        ("require", "", True),
        ("verify-full", "&sslrootcert={ca}", True),
        ("require", "&sslnegotiation=direct", True),
        ("require", "&max_protocol_version=3.2", True),
        ("disable", "&max_protocol_version=3.2", False),
    ],
)
def test_an_agent_logs_in_with_its_token(stage: Stage, mode: str, more: str, tls: bool) -> None:
    ingress = stage[0]
    dsn = ingress.dsn(mode=mode) + more.format(ca=ingress.directory / "ca.pem")
    with psycopg.connect(dsn, autocommit=True) as agent:
        assert agent.execute("select current_user, 40 + 2").fetchone() == ("postgres", 42)
        assert agent.pgconn.ssl_in_use is tls
    opened = of(ingress, SessionOpened)[-1]
    assert isinstance(opened, SessionOpened)
    assert (opened.tls is not None) is tls
    assert opened.identity.agent == "reader"


def test_a_large_result_arrives_whole(stage: Stage) -> None:
    with psycopg.connect(stage[0].dsn(), autocommit=True) as agent:
        count = total = 0
        for number, _ in agent.execute("select i, repeat('x', 100) from generate_series(1, 200000) i"):
            count += 1
            total += number
        assert (count, total) == (200_000, 200_000 * 200_001 // 2)


@pytest.mark.parametrize(
    ("agent", "resource", "claims", "code"),
    [
        ("reader", "nowhere", {}, "resource_unknown"),
        ("reader", "shop", {"resources": ["crm"]}, "resource_unknown"),
        ("reader", "shop", {"aud": "other"}, "token_invalid"),
        ("reader", "shop", {"exp": 1}, "token_expired"),
        ("reader", "shop", {"sub": "somebody-else"}, "token_invalid"),
    ],
)
def test_a_refused_login_is_in_the_log(
    stage: Stage, agent: str, resource: str, claims: dict[str, Any], code: str
) -> None:
    ingress = stage[0]
    with pytest.raises(psycopg.OperationalError, match=code):
        psycopg.connect(ingress.dsn(agent, resource=resource, **claims))
    refused = of(ingress, SessionRefused)[-1]
    assert isinstance(refused, SessionRefused)
    assert refused.refusal.code == code
    assert refused.claimed_agent == agent
    assert refused.claimed_resource == resource


def test_an_upstream_that_does_not_let_us_in_is_told_without_its_secret(stage: Stage) -> None:
    ingress = stage[0]
    with pytest.raises(psycopg.OperationalError, match="upstream_unavailable") as error:
        psycopg.connect(ingress.dsn(resource="away"))
    assert "password" not in str(error.value).lower()
    assert "postgres-password" not in ingress.log_text()


def test_a_denied_statement_leaves_the_session_usable(stage: Stage) -> None:
    with psycopg.connect(stage[0].dsn(), autocommit=True) as agent:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            agent.execute("select 'deny me'")
        assert agent.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize(
    ("text", "code"), [("select 'say nothing'", "verdict_timeout"), ("select 'plan nothing'", "plan_timeout")]
)
def test_a_silent_judge_is_a_refusal_within_the_deadline(
    stage: Stage, text: LiteralString, code: str
) -> None:
    with psycopg.connect(stage[0].dsn(), autocommit=True) as agent:
        begun = time.monotonic()
        with pytest.raises(psycopg.Error, match=code):
            agent.execute(text)
        assert time.monotonic() - begun < 10
        assert agent.execute("select 1").fetchone() == (1,)


def test_a_held_statement_shows_a_notice_and_runs_once_granted(stage: Stage) -> None:
    ingress = stage[0]
    notices: list[str] = []
    with psycopg.connect(ingress.dsn(), autocommit=True) as agent:
        agent.add_notice_handler(lambda said: notices.append(f"{said.message_primary} {said.message_hint}"))
        found: list[object] = []
        waiting = threading.Thread(target=lambda: found.append(agent.execute("select 'hold me'").fetchone()))
        waiting.start()
        until(lambda: held(ingress))
        asked = held(ingress)[0]
        ingress.publish(
            ApprovalGranted(
                ingress="one",
                session=asked.session,
                request=asked.id,
                operation=asked.operation,
                digest=asked.digest,
                by=("ann",),
                expires_at="2030-01-01T00:00:00.000000Z",
            ),
            "approval",
        )
        waiting.join(20)
        assert found == [("hold me",)]
        assert any("weirgate approvals grant " + asked.id in each for each in notices)


def held(ingress: RunningIngress) -> list[OperationIntercepted]:
    return [
        each
        for each in ingress.events("audit.operation.intercepted.>")
        if isinstance(each, OperationIntercepted) and any("hold me" in one.text for one in each.statements)
    ]


def test_a_cancel_ends_a_held_statement_and_a_running_one(stage: Stage) -> None:
    with psycopg.connect(stage[0].dsn(), autocommit=True) as agent:
        for text in ("select 'hold me'", "select pg_sleep(60)"):
            threading.Timer(1.0, agent.cancel_safe).start()
            begun = time.monotonic()
            with pytest.raises(psycopg.Error):
                agent.execute(text)
            assert time.monotonic() - begun < 20
        assert agent.execute("select 1").fetchone() == (1,)


def test_a_killed_session_is_told_so(stage: Stage) -> None:
    ingress = stage[0]
    with psycopg.connect(ingress.dsn(), autocommit=True) as agent:
        agent.execute("select 1")
        session = session_of(ingress)
        ingress.kill(session)
        with pytest.raises(psycopg.OperationalError):
            keep_asking(agent)
        until(lambda: of(ingress, SessionClosed, session=session, reason="killed"))


def test_a_token_that_expires_ends_its_session(stage: Stage) -> None:
    ingress = stage[0]
    with psycopg.connect(ingress.dsn(exp=int(time.time()) + 4), autocommit=True) as agent:
        agent.execute("select 1")
        session = session_of(ingress)
        until(lambda: of(ingress, SessionClosed, session=session, reason="expired"))
        with pytest.raises(psycopg.OperationalError):
            agent.execute("select 1")


def test_silent_and_slow_strangers_cost_an_agent_nothing(stage: Stage) -> None:
    ingress = stage[0]
    with contextlib.ExitStack() as strangers:
        last = strangers.enter_context(socket.create_connection(("127.0.0.1", ingress.port)))
        for number in range(1000):
            stranger = strangers.enter_context(socket.create_connection(("127.0.0.1", ingress.port)))
            if number % 10 == 0:
                stranger.sendall(b"\0\0\0")
        begun = time.monotonic()
        with psycopg.connect(ingress.dsn(), autocommit=True) as agent:
            assert agent.execute("select 1").fetchone() == (1,)
        assert time.monotonic() - begun < 5
        last.settimeout(20)
        assert last.recv(1) == b"", "the login deadline ends a socket that says nothing"


def test_bytes_in_clear_behind_the_request_for_tls_end_the_connection(stage: Stage) -> None:
    with socket.create_connection(("127.0.0.1", stage[0].port)) as stranger:
        stranger.settimeout(10)
        stranger.sendall(bytes.fromhex("0000000804d2162f") + b"\0\0\0\x08\0\x03\0\0")
        assert not stranger.recv(1).startswith(b"S")


def test_direct_tls_without_its_protocol_name_is_refused(stage: Stage) -> None:
    ingress = stage[0]
    context = ssl.create_default_context(cafile=str(ingress.directory / "ca.pem"))
    with socket.create_connection(("127.0.0.1", ingress.port)) as plain:
        plain.settimeout(10)
        with (
            contextlib.suppress(ssl.SSLError, ConnectionError),
            context.wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            secured.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert secured.recv(1) == b""
    until(lambda: [each for each in of(ingress, SessionRefused) if "ALPN" in repr(each)])


def test_a_length_of_two_gibibytes_and_noise_end_only_their_own_session(stage: Stage) -> None:
    ingress = stage[0]
    for noise in (b"\x7f\xff\xff\xff\0\x03\0\0", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 64):
        with socket.create_connection(("127.0.0.1", ingress.port)) as stranger:
            stranger.settimeout(10)
            stranger.sendall(noise)
            with contextlib.suppress(ConnectionError):
                while stranger.recv(4096):
                    pass
    with psycopg.connect(ingress.dsn(), autocommit=True) as agent:
        assert agent.execute("select 1").fetchone() == (1,)


def test_a_withdrawn_resource_ends_its_sessions(stage: Stage) -> None:
    ingress, upstream, _ = stage
    other = resource(upstream, name="passing")
    ingress.publish(ConfigPublished(config="resource", name="passing", body=other, by="test"), "console")
    until(lambda: connects(ingress, "passing"))
    with psycopg.connect(ingress.dsn(resource="passing"), autocommit=True) as agent:
        ingress.publish(ConfigPublished(config="resource", name="passing", body=None, by="test"), "console")
        with pytest.raises(psycopg.OperationalError):
            keep_asking(agent)


def keep_asking(agent: "psycopg.Connection[tuple[object, ...]]") -> None:
    for _ in range(50):
        agent.execute("select 1")
        time.sleep(0.1)


def connects(ingress: RunningIngress, name: str) -> bool:
    try:
        psycopg.connect(ingress.dsn(resource=name)).close()
    except psycopg.OperationalError:
        return False
    return True


def test_nothing_secret_is_in_the_log_of_the_process_or_in_the_events(stage: Stage) -> None:
    ingress = stage[0]
    with psycopg.connect(ingress.dsn(), autocommit=True) as agent:
        agent.execute("select 1")
    text = ingress.log_text() + "".join(each.model_dump_json() for each in ingress.events())
    assert "postgres-password" not in text
    assert "eyJ" not in text, "no token"


def test_a_log_that_is_away_refuses_and_comes_back(stage: Stage) -> None:
    ingress, _, nats = stage
    with psycopg.connect(ingress.dsn(), autocommit=True) as agent:
        agent.execute("select 1")
        nats.pause()
        try:
            begun = time.monotonic()
            with pytest.raises(psycopg.OperationalError, match="log"):
                agent.execute("select 1")
            assert time.monotonic() - begun < 10
        finally:
            nats.resume()
    until(lambda: connects(ingress, "shop"), 30)


def test_a_graceful_stop_tells_every_session(stage: Stage, tmp_path: Path) -> None:
    _, upstream, nats = stage
    with (
        running_ingress(
            tmp_path, nats, {"shop": resource(upstream)}, settings={"WEIRGATE_NAME": "two"}, judges=False
        ) as ingress,
        psycopg.connect(ingress.dsn(), autocommit=True) as agent,
    ):
        ingress.processes[-1].terminate()
        assert ingress.processes[-1].wait(20) == 0
        with pytest.raises(psycopg.OperationalError):
            agent.execute("select 1")
        assert [
            each
            for each in of(ingress, SessionClosed, reason="shutdown")
            if isinstance(each, SessionClosed) and each.ingress == "two"
        ]
