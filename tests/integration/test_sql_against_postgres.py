"""The SQL readers against a real PostgreSQL 18: it must agree on every column a statement returns.

Each statement of the unit fixtures that the server takes is described by it (RowDescription), and names, number and
origin of the columns are compared with ``outputs``: a column the server says is ``customers.email`` itself must have
exactly that among its sources.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import pq

from weirgate_contracts.operation import SessionContext
from weirgate_embedded.postgres import Postgres
from weirgate_sql.lineage import Unplannable, outputs
from weirgate_sql.model import Catalog, Column, ColumnRef, Function, Relation, Unreadable
from weirgate_sql.parse import split
from weirgate_testkit.postgres import running_postgres

FIXTURES = Path(__file__).parents[1] / "unit" / "sql" / "fixtures"

RELATIONS = """
set search_path = '';
select coalesce(json_agg(x), '[]') from (
  select n.nspname, c.relname, c.oid::int, c.relkind::text,
    coalesce((select json_agg(json_build_array(attname, attnum, pg_catalog.format_type(atttypid, atttypmod))
              order by attnum) from pg_catalog.pg_attribute
              where attrelid = c.oid and attnum > 0 and not attisdropped), '[]'),
    case when relkind in ('v', 'm') then pg_catalog.pg_get_viewdef(c.oid) end,
    coalesce((select json_agg(pn.nspname || '.' || pc.relname) from pg_catalog.pg_inherits
              join pg_catalog.pg_class pc on pc.oid = inhparent
              join pg_catalog.pg_namespace pn on pn.oid = pc.relnamespace where inhrelid = c.oid), '[]')
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = relnamespace
  where relkind in ('r', 'v', 'm', 'f', 'p', 'S')
    and nspname not in ('pg_catalog', 'information_schema', 'pg_toast') order by 1, 2
) as x(schema, name, oid, kind, columns, definition, parents)"""

FUNCTIONS = """
set search_path = '';
select coalesce(json_agg(x), '[]') from (
  select n.nspname, proname, lanname, prosecdef, case when lanname = 'sql' then
    coalesce(nullif(prosrc, ''), pg_catalog.pg_get_function_sqlbody(p.oid)) end,
    proretset, coalesce(pg_catalog.pg_get_function_result(p.oid), '')
  from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = pronamespace
  join pg_catalog.pg_language l on l.oid = prolang
  where nspname not in ('pg_catalog', 'information_schema') order by 1, 2
) as x(schema, name, language, definer, body, returns_set, result)"""


def read_catalog(server: Postgres) -> Catalog:
    """Read the catalog of the database ``shop`` as the policy service does."""
    relations: dict[str, Relation] = {}
    for row in json.loads(server.psql(RELATIONS, database="shop")):
        columns = tuple(Column(name=c[0], number=c[1], type=c[2]) for c in row["columns"])
        relations[f"{row['schema']}.{row['name']}"] = Relation(
            schema=row["schema"], name=row["name"], oid=row["oid"], kind=row["kind"], columns=columns,
            definition=row["definition"], parents=tuple(row["parents"]),
        )  # fmt: skip
    functions: dict[str, tuple[Function, ...]] = {}
    for row in json.loads(server.psql(FUNCTIONS, database="shop")):
        key = f"{row['schema']}.{row['name']}"
        one = Function(
            schema=row["schema"], name=row["name"], language=row["language"], security_definer=row["definer"],
            body=row["body"], returns_set=row["returns_set"], result=row["result"],
        )  # fmt: skip
        functions[key] = (*functions.get(key, ()), one)
    return Catalog(
        database="shop", login="app", search_path=("public",), relations=relations, functions=functions,
        server_version=180004,
    )  # fmt: skip


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Postgres, Catalog]]:
    with running_postgres(tmp_path_factory.mktemp("sql")) as server:
        server.psql("create database shop")
        server.psql((FIXTURES / "shop.sql").read_text(), database="shop")
        yield server, read_catalog(server)


def _without_oids(catalog: Catalog) -> dict[str, object]:
    body = catalog.to_dict()
    body["relations"] = [[*one[:2], 0, *one[3:]] for one in body["relations"]]
    return body


def _statements() -> list[str]:
    found: list[str] = []
    for path in sorted(FIXTURES.glob("cases/*.sql")):
        found += [
            "\n".join(line for line in block.split("\n") if not line.startswith("-->"))
            for block in path.read_text().strip().split("\n\n")
        ]
    for client in ("psql", "sqlalchemy", "langchain", "asyncpg"):
        found += (FIXTURES / "clients" / f"{client}.sql").read_text().rstrip("\n").split("\n-- next\n")
    return found


def test_the_catalog_of_the_fixtures_is_what_a_server_says(shop: tuple[Postgres, Catalog]) -> None:
    written = Catalog.from_dict(json.loads((FIXTURES / "catalog.json").read_text()))
    assert _without_oids(written) == _without_oids(shop[1])


def test_the_server_describes_the_columns_that_lineage_names(shop: tuple[Postgres, Catalog]) -> None:
    server, catalog = shop
    by_oid = {relation.oid: relation for relation in catalog.relations.values()}
    context = SessionContext(database="shop")
    compared = 0
    with psycopg.connect(server.dsn("shop"), autocommit=True) as connection:
        link = connection.pgconn
        for text in _statements():
            try:
                if len(split(text)) != 1:
                    continue
                (columns,) = outputs(text, catalog, context)
            except (Unreadable, Unplannable):
                continue
            link.prepare(b"", text.encode())
            described = link.describe_prepared(b"")
            if described.status != pq.ExecStatus.COMMAND_OK or columns is None or text[:4].lower() == "copy":
                continue  # the server refuses it, or nothing is claimed about its rows
            names = [(described.fname(number) or b"").decode() for number in range(described.nfields)]
            assert [column.name for column in columns] == names, text
            compared += 1
            for number, column in enumerate(columns):
                relation = by_oid.get(described.ftable(number))
                if relation is None:
                    continue
                position = described.ftablecol(number)
                if position > 0:
                    name = relation.columns[position - 1].name
                    ref = ColumnRef(schema=relation.schema, table=relation.name, column=name)
                    assert ref in column.sources, (text, column)
    assert compared >= 250


def test_rows_that_carry_a_mark_are_traced_to_the_column_that_holds_it(
    shop: tuple[Postgres, Catalog],
) -> None:
    """Every column of the shop holds a mark of its own; wherever a mark comes out, lineage must have named it."""
    server, catalog = shop
    context = SessionContext(database="shop")
    marks: dict[str, ColumnRef] = {}
    with psycopg.connect(server.dsn("shop")) as connection:
        connection.execute("set statement_timeout = 1000")  # some fixtures recurse without end
        connection.execute(
            "set session_replication_role = replica"
        )  # no foreign keys: rows come in any order
        for relation in catalog.relations.values():
            if relation.kind != "r" or relation.name == "events_2024":
                continue
            names: list[str] = []
            values: list[str] = []
            for column in relation.columns:
                if column.type == "text" or column.type.startswith("character"):
                    mark = f"mk{len(marks):02d}"
                    marks[mark] = ColumnRef(schema=relation.schema, table=relation.name, column=column.name)
                    names.append(column.name)
                    values.append(f"'{mark}'")
                elif column.type == "integer" or column.type.startswith("numeric"):
                    names.append(column.name)
                    values.append("1")
            into = f"{relation.schema}.{relation.name} ({','.join(names)})"
            connection.execute(f"insert into {into} values ({','.join(values)})")  # pyright: ignore[reportArgumentType, reportCallIssue]
        connection.execute("refresh materialized view city_counts")
        connection.commit()
        seen = 0
        for text in _statements():
            try:
                statements = split(text)
                if len(statements) != 1 or statements[0].kind not in (
                    "SelectStmt",
                    "UpdateStmt",
                    "InsertStmt",
                ):
                    continue
                (columns,) = outputs(text, catalog, context)
            except (Unreadable, Unplannable):
                continue
            if columns is None or "pg_sleep" in text or "$" in text or "pg_" in text:
                continue
            try:
                rows = connection.execute(text.encode(), prepare=False).fetchall()
            except psycopg.Error:
                connection.rollback()
                continue
            connection.rollback()
            for row in rows:
                for column, cell in zip(columns, row, strict=True):
                    for mark, ref in marks.items():
                        if mark in str(cell).lower():
                            seen += 1
                            assert ref in column.sources, (text, column.name, ref)
    assert seen >= 100
