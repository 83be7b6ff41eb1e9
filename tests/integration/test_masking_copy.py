"""COPY as a real PostgreSQL writes it, masked, and read back by it."""

from collections.abc import Iterator
from typing import Literal, LiteralString

import psycopg
import pytest

from weirgate_contracts.labels import DETECTOR_LABELS
from weirgate_contracts.masking import DetectorPlan, OutputPlan, Plan, StatementPlan, Transform
from weirgate_mask.keys import Keyring
from weirgate_mask.placeholder import placeholder
from weirgate_mask.result import copy_masker
from weirgate_masking.copying import copy_options
from weirgate_sql.parse import split
from weirgate_testkit.postgres import running_postgres

KEYS = Keyring(b"k" * 32)
REDACT = Transform(kind="redact")
NASTY = [
    "",
    "plain",
    "tab\there",
    "line\nbreak",
    'quote " inside',
    "back\\slash",
    "\\N",
    ",",
    ";",
    "'",
    "ü€",
    "\r",
    "|",
]
OUTPUTS = (
    OutputPlan(name="id", type="integer"),
    OutputPlan(name="secret", labels=("pii.secret",), transform=REDACT, type="text"),
    OutputPlan(name="amount", labels=("pii.amount",), transform=Transform(kind="pseudonym"), type="numeric"),
    OutputPlan(name="note", type="text"),
)
OPTIONS: list[LiteralString] = [
    "",
    "(format text, delimiter '|', null 'nothing')",
    "(format text, delimiter '@')",
    "(format csv)",
    "(format csv, header)",
    "(format csv, delimiter ';', quote '''', escape '\\', null 'NULL')",
    "(format csv, force_quote *)",
    "(format binary)",
]


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[psycopg.Connection]:
    with (
        running_postgres(tmp_path_factory.mktemp("copy")) as server,
        psycopg.connect(server.dsn(), autocommit=True) as made,
    ):
        made.execute("create table t (id int, secret text, amount numeric, note text)")
        made.execute("create table back (like t)")
        with made.cursor() as cursor:
            for number, value in enumerate(NASTY):
                cursor.execute("insert into t values (%s, %s, %s, %s)", (number, value, number, value))
            cursor.execute("insert into t values (100, null, null, null)")
            cursor.execute("insert into t values (101, 'john', 5, 'write to john@example.com, please')")
        yield made


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("options", OPTIONS)
def test_a_masked_copy_is_still_a_copy(
    connection: psycopg.Connection, options: LiteralString, size: int
) -> None:
    statement: LiteralString = "copy t to stdout " + options
    one = StatementPlan(outputs=OUTPUTS, copy_options=copy_options(split(statement)[0]))
    detectors = tuple(DetectorPlan(label=label, transform=REDACT) for label in DETECTOR_LABELS)
    written: Literal["binary", "text"] = "binary" if "binary" in options else "text"
    masker = copy_masker(
        one, Plan(statements=(one,), detectors=detectors), frozenset(), format=written, columns=4, keys=KEYS
    )
    assert masker is not None
    with connection.cursor() as cursor, cursor.copy(statement) as out:
        data = b"".join(bytes(piece) for piece in out)
    masked = b"".join(masker.feed(data[at : at + size]) for at in range(0, len(data), size)) + masker.finish()
    connection.execute("truncate back")
    again: LiteralString = options.replace(", force_quote *", "")
    load: LiteralString = "copy back from stdin " + again
    with connection.cursor() as cursor, cursor.copy(load) as back:
        back.write(masked)
    before = connection.execute("select id, secret, amount, note from t order by id").fetchall()
    after = connection.execute("select id, secret, amount, note from back order by id").fetchall()
    assert len(after) == len(before)
    hidden = 0
    for (id_, secret, amount, note), (id_after, secret_after, amount_after, note_after) in zip(
        before, after, strict=True
    ):
        assert id_after == id_
        assert secret_after == (None if secret is None else placeholder("pii.secret", KEYS))
        assert (amount_after is None) == (amount is None)
        assert amount is None or amount_after != amount
        hidden += 2 * (secret is not None)
        if id_ == 101:
            assert note_after == f"write to {placeholder('pii.email', KEYS)}, please"
        else:
            assert note_after == note
    assert masker.cells_masked == hidden + 1
