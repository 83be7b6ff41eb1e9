"""The codecs of the masks against what a real PostgreSQL sends and takes."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.pq import Format

from weirgate_contracts.masking import Transform, TransformKind
from weirgate_mask.cell import cell_masker
from weirgate_mask.keys import Keyring
from weirgate_mask.kind import kind_of
from weirgate_mask.substitute import Substitute
from weirgate_testkit.postgres import running_postgres

KEYS = Keyring(b"k" * 32)
TRANSFORMS: tuple[TransformKind, ...] = ("redact", "partial", "null", "generalise", "pseudonym", "format")
VALUES = [
    ("text", "'jörg@example.com'"),
    ("varchar(40)", "'4111 1111 1111 1111'"),
    ("char(12)", "'padded'"),
    ("name", "'somebody'"),
    ("json", """'{"a": "b"}'"""),
    ("jsonb", """'{"a": ["b", 1]}'"""),
    ("uuid", "'6f1c1f4e-4b3a-4f69-9d53-0d6c9f6f2b11'"),
    ("int2", "'-32768'"),
    ("int4", "2147483647"),
    ("int8", "4111111111111111"),
    ("numeric", "-12345678901234567890.0001"),
    ("numeric", "0.00"),
    ("numeric", "10000"),
    ("numeric(20,6)", "0.000123"),
    ("float4", "0.1"),
    ("float8", "1e300"),
    ("bool", "true"),
    ("date", "'2019-05-17'"),
    ("date", "'0044-03-15 BC'"),
    ("date", "'infinity'"),
    ("timestamp", "'2019-05-17 08:30:01.25'"),
    ("timestamptz", "'2019-05-17 08:30:01.25+02'"),
    ("time", "'08:30:01'"),
    ("interval", "'1 day 2 hours'"),
    ("inet", "'192.168.7.9'"),
    ("inet", "'2001:db8::1/64'"),
    ("cidr", "'10.1.0.0/16'"),
    ("bytea", r"'\x00ff27'"),
    ("text[]", """'{one,"two, \\"2\\"",NULL}'"""),
    ("text[]", "array[array['a','b'],array['c','NULL']]"),
    ("int4[]", "'[2:4]={17,-5,NULL}'"),
    ("uuid[]", "array['6f1c1f4e-4b3a-4f69-9d53-0d6c9f6f2b11']::uuid[]"),
    ("int4range", "'[1,5)'"),
    ("money", "12.5"),
    ("bit(3)", "b'101'"),
]  # fmt: skip


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[psycopg.Connection]:
    with (
        running_postgres(tmp_path_factory.mktemp("values")) as server,
        psycopg.connect(server.dsn(), autocommit=True) as made,
    ):
        yield made


def fetched(connection: psycopg.Connection, type_: str, literal: str, *, binary: bool) -> tuple[int, bytes]:
    query = sql.SQL("select {}::{}").format(sql.SQL(literal), sql.SQL(type_))  # pyright: ignore[reportArgumentType]
    result = connection.pgconn.exec_params(
        query.as_bytes(connection), [], result_format=Format.BINARY if binary else Format.TEXT
    )
    cell = result.get_value(0, 0)
    assert cell is not None
    return result.ftype(0), cell


def taken_back(connection: psycopg.Connection, type_: str, cell: bytes, *, binary: bool) -> bytes | None:
    query = f"select $1::{type_}::text".encode()
    oid = connection.execute("select %s::regtype::oid", (type_.partition("(")[0],)).fetchone()
    assert oid is not None
    result = connection.pgconn.exec_params(
        query, [cell], param_types=[oid[0]], param_formats=[Format.BINARY if binary else Format.TEXT]
    )
    assert result.ntuples == 1, result.error_message
    return result.get_value(0, 0)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize(("type_", "literal"), VALUES)
def test_postgres_takes_a_masked_value_back_as_one_of_its_type(
    connection: psycopg.Connection, type_: str, literal: str, transform: TransformKind
) -> None:
    substitute = Substitute("pii.test", Transform(kind=transform, keep_last=2), KEYS)
    shown: list[bytes | None] = []
    for binary in (False, True):
        oid, cell = fetched(connection, type_, literal, binary=binary)
        masked = cell_masker(kind_of(oid), binary, substitute)(cell)
        shown.append(
            None if masked is None else taken_back(connection, type_.partition("(")[0], masked, binary=binary)
        )
    if transform != "partial" and type_ not in ("json", "jsonb", "xml"):
        assert shown[0] == shown[1]
