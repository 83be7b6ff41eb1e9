"""Every statement that real clients send of their own accord must be readable.

The texts were taken from a server's own log (``log_statement = all``): psql's backslash commands, pgbench, SQLAlchemy's
reflection, LangChain's SQLDatabase, asyncpg's type introspection, psycopg's type information, cursors and COPY.
"""

import json
from pathlib import Path

import pytest

from weirgate_contracts.operation import SessionContext
from weirgate_sql.lineage import outputs
from weirgate_sql.model import Catalog, Column, Relation
from weirgate_sql.touch import touch

FIXTURES = Path(__file__).parent / "fixtures"
PGBENCH = {
    "accounts": "aid bid abalance filler", "branches": "bid bbalance filler", "tellers": "tid bid tbalance filler",
    "history": "tid bid aid delta mtime filler",
}  # fmt: skip


def _catalog() -> Catalog:
    shop = Catalog.from_dict(json.loads((FIXTURES / "catalog.json").read_text()))
    relations = dict(shop.relations)
    for number, (name, columns) in enumerate(PGBENCH.items()):
        relations[f"public.pgbench_{name}"] = Relation(
            schema="public", name=f"pgbench_{name}", oid=17000 + number, kind="r",
            columns=tuple(Column(name=c, number=n, type="integer") for n, c in enumerate(columns.split(), 1)),
        )  # fmt: skip
    return Catalog(
        database="shop", login="app", search_path=("public",), relations=relations,
        functions=shop.functions, server_version=shop.server_version,
    )  # fmt: skip


CATALOG = _catalog()
CONTEXT = SessionContext(
    database="shop",
    cursors={
        "srv": "DECLARE srv CURSOR FOR select * from orders",
        "scr": "DECLARE scr CURSOR FOR table products",
    },
)
TEXTS = [
    (path.stem, text)
    for path in sorted(FIXTURES.glob("clients/*.sql"))
    for text in path.read_text().rstrip("\n").split("\n-- next\n")
]


@pytest.mark.parametrize(
    ("client", "text"), TEXTS, ids=[f"{client}: {' '.join(text.split())[:80]}" for client, text in TEXTS]
)
def test_what_a_client_sends_of_its_own_accord_is_read_and_leads_nowhere(client: str, text: str) -> None:
    touched = touch(text, CATALOG, CONTEXT)
    outputs(text, CATALOG, CONTEXT)
    for one in touched:
        assert not one.opaque
        assert not [name for name in one.capabilities if name.startswith(("lateral.", "system."))]


def test_introspection_gives_columns_of_no_user_relation() -> None:
    for client, text in TEXTS:
        if client not in ("psql", "sqlalchemy"):
            continue
        for columns in outputs(text, CATALOG, CONTEXT):
            for column in columns or ():
                assert not [ref for ref in column.sources if ref.schema == "public"]


def test_there_are_texts_of_every_client() -> None:
    assert {client for client, _ in TEXTS} == {
        "asyncpg", "langchain", "pgbench", "psql", "psycopg", "sqlalchemy"
    }  # fmt: skip
