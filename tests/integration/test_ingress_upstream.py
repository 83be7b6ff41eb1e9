"""Logging in to a real PostgreSQL: every method and TLS mode libpq knows."""

import asyncio
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.identity import Identity
from weirgate_embedded.postgres import Postgres
from weirgate_ingress.token import Admission
from weirgate_ingress.upstreams import DialError, Upstream, Upstreams
from weirgate_testkit.postgres import running_postgres_tls

HBA = """
hostssl   all  scram_tls  127.0.0.1/32  scram-sha-256
hostnossl all  scram_open 127.0.0.1/32  scram-sha-256
hostssl   all  md5_tls    127.0.0.1/32  md5
host      all  md5_any    127.0.0.1/32  md5
hostnossl all  clear_open 127.0.0.1/32  password
hostssl   all  clear_tls  127.0.0.1/32  password
host      all  trusted    127.0.0.1/32  trust
host      all  postgres   127.0.0.1/32  scram-sha-256
"""
IDENTITY = Identity(agent="reader", issuer="test", token_id="t", expires_at=4_000_000_000)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Postgres, Path], None, None]:
    directory = tmp_path_factory.mktemp("upstream")
    with running_postgres_tls(
        directory, hba=HBA, settings={"listen_addresses": "127.0.0.1,127.0.0.2"}
    ) as made:
        for name in ("scram_tls", "scram_open", "clear_open", "clear_tls", "trusted"):
            made.psql(f"create role {name} login password 'geheim-ß'")
        made.psql("set password_encryption = md5; create role md5_tls login password 'geheim-ß'")
        made.psql("set password_encryption = md5; create role md5_any login password 'geheim-ß'")
        yield made, directory / "ca.pem"


def admission(address: str, credential: str | None = "env:PASSWORD") -> Admission:
    made = Admission.__new__(Admission)
    document = ResourceDocument(name="shop", protocol="postgres", upstream=address, credential=credential)
    object.__setattr__(made, "identity", IDENTITY)
    object.__setattr__(made, "resource", document)
    return made


class Answers:
    """A sink that gathers what the upstream sends."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.grown = asyncio.Event()

    def upstream_sent(self, data: bytes) -> None:
        self.data += data
        self.grown.set()

    def upstream_lost(self) -> None:
        self.grown.set()

    def upstream_full(self) -> None:
        pass

    def upstream_drained(self) -> None:
        pass

    async def until(self, what: bytes) -> None:
        async with asyncio.timeout(10):
            while what not in self.data:
                self.grown.clear()
                await self.grown.wait()


def dial(
    server: tuple[Postgres, Path],
    user: str,
    query: str = "",
    *,
    password: str = "geheim-ß",
    minor: int = 0,
    host: str = "127.0.0.1",
    credential: str | None = "env:PASSWORD",
) -> tuple[Mapping[str, str], bool, int]:
    """Dial, ask one question, and return parameters, TLS and version."""
    address = f"postgresql://{user}@{host}:{server[0].port}/postgres{query}"

    async def work() -> tuple[Mapping[str, str], bool, int]:
        upstream = await Upstreams({"PASSWORD": password}).dial(
            admission(address, credential), parameters={"application_name": "probe"}, minor=minor
        )
        assert upstream.process_id
        answers = Answers()
        upstream.attach(answers)
        upstream.transport.write(b"Q\0\0\0\x0dselect 1\0")
        await answers.until(b"SELECT 1\0")
        upstream.transport.close()
        return upstream.parameters, upstream.tls, upstream.minor

    return uvloop.run(work())


@pytest.mark.parametrize(
    ("user", "query", "tls"),
    [
        ("scram_tls", "", True),
        ("scram_tls", "?channel_binding=require", True),
        ("scram_tls", "?sslmode=require&channel_binding=disable", True),
        ("scram_tls", "?sslmode=verify-ca&sslrootcert={ca}", True),
        ("scram_tls", "?sslmode=verify-full&sslrootcert={ca}", True),
        ("scram_tls", "?sslmode=allow", True),
        ("scram_tls", "?require_auth=scram-sha-256", True),
        ("scram_open", "", False),
        ("scram_open", "?sslmode=disable", False),
        ("scram_open", "?sslmode=allow", False),
        ("md5_tls", "", True),
        ("md5_any", "?sslmode=disable", False),
        ("clear_tls", "", True),
        ("clear_open", "", False),
        ("trusted", "?sslmode=disable", False),
        ("trusted", "?sslmode=prefer", True),
    ],
)
def test_every_method_and_mode_logs_in(
    server: tuple[Postgres, Path], user: str, query: str, tls: bool
) -> None:
    parameters, encrypted, _ = dial(server, user, query.format(ca=server[1]))
    assert encrypted is tls
    assert parameters["server_version"].startswith("1")
    assert parameters["application_name"] == "probe"


@pytest.mark.parametrize(
    ("user", "query"),
    [
        ("scram_tls", "?sslmode=disable"),
        ("scram_open", "?sslmode=require"),
        ("md5_tls", "?channel_binding=require"),
        ("clear_tls", "?require_auth=scram-sha-256"),
        ("trusted", "?require_auth=!none"),
        ("scram_tls", "?sslmode=verify-full&sslrootcert=/nowhere"),
        ("scram_tls", "?sslmode=verify-full"),
    ],
)
def test_what_is_asked_for_and_cannot_be_had_is_refused(
    server: tuple[Postgres, Path], user: str, query: str
) -> None:
    with pytest.raises(DialError) as error:
        dial(server, user, query)
    assert "geheim" not in str(error.value)
    assert error.value.refusal.code == "upstream_unavailable"


def test_a_name_the_certificate_does_not_have_is_refused_by_verify_full_only(
    server: tuple[Postgres, Path],
) -> None:
    query = f"sslrootcert={server[1]}"
    dial(server, "scram_tls", f"?sslmode=verify-full&{query}", host="localhost")
    # The server listens on 127.0.0.2, too, which its certificate does not name.
    dial(server, "scram_tls", f"?sslmode=verify-ca&{query}", host="127.0.0.2")
    with pytest.raises(DialError):
        dial(server, "scram_tls", f"?sslmode=verify-full&{query}", host="127.0.0.2")


def test_a_wrong_password_is_refused_and_named_nowhere(server: tuple[Postgres, Path]) -> None:
    for user in ("scram_tls", "md5_tls", "clear_tls"):
        with pytest.raises(DialError) as error:
            dial(server, user, password="wrong-secret")
        assert "28P01" in str(error.value)
        assert "wrong-secret" not in repr(error.value) + str(error.value.__cause__)


def test_a_credential_comes_from_a_file_or_not_at_all(server: tuple[Postgres, Path], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("geheim-ß\n")
    dial(server, "scram_tls", credential=f"file:{secret}")
    for credential in (f"file:{tmp_path}/none", "env:NOT_SET", None):
        with pytest.raises(DialError):
            dial(server, "scram_tls", credential=credential)


def test_a_server_that_knows_no_newer_version_is_spoken_to_in_the_old_one(
    server: tuple[Postgres, Path],
) -> None:
    _, _, minor = dial(server, "trusted", minor=2)
    assert minor == 0


def test_an_upstream_that_is_not_there_or_says_nothing_is_refused_in_time() -> None:
    async def work() -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        listening = await asyncio.start_server(silent, "127.0.0.1", 0)
        port: Any = listening.sockets[0].getsockname()[1]
        for address in (
            f"postgresql://a@127.0.0.1:{port}/d?connect_timeout=1",
            "postgresql://a@127.0.0.1:1/d",
            f"postgresql://a@127.0.0.1:{port}/d?nonsense=1",
        ):
            with pytest.raises(DialError):
                await Upstreams({}).dial(admission(address, None), parameters={})
        listening.close()

    uvloop.run(work())


@pytest.mark.parametrize("answer", [b"SX", b"S" + b"E" * 9, b"X", b""])
def test_bytes_injected_before_tls_are_refused(answer: bytes) -> None:
    async def work() -> None:
        async def inject(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(8)
            writer.write(answer)
            writer.close()

        listening = await asyncio.start_server(inject, "127.0.0.1", 0)
        port: Any = listening.sockets[0].getsockname()[1]
        with pytest.raises(DialError):
            await Upstreams({}).dial(
                admission(f"postgresql://a@127.0.0.1:{port}/d?sslmode=require", None), parameters={}
            )
        listening.close()

    uvloop.run(work())


def test_a_cancel_reaches_the_upstream(server: tuple[Postgres, Path]) -> None:
    async def work(user: str, tls: bool) -> None:
        address = f"postgresql://{user}@127.0.0.1:{server[0].port}/postgres"
        upstream: Upstream = await Upstreams({"PASSWORD": "geheim-ß"}).dial(admission(address), parameters={})
        assert upstream.tls is tls
        answers = Answers()
        upstream.attach(answers)
        upstream.transport.write(b"Q\0\0\0\x18select pg_sleep(60)\0")
        await asyncio.sleep(0.2)
        await upstream.cancel()
        await answers.until(b"C57014")
        upstream.transport.close()

    uvloop.run(work("scram_tls", True))
    uvloop.run(work("scram_open", False))
