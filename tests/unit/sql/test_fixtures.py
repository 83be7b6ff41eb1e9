"""Every case in fixtures/cases: SQL, and behind ``-->`` what the readers must say of it.

A case ends at an empty line. ``! column`` marks an output that is one column unchanged, ``a+b`` several sources;
names without a schema are in ``public``. After a change that is meant, ``python tests/unit/sql/test_fixtures.py``
writes the files anew: read the difference as you would read code.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from weirgate_contracts.operation import SessionContext
from weirgate_sql.lineage import Unplannable, outputs
from weirgate_sql.model import Catalog, ColumnRef, Output, Touch, Unreadable
from weirgate_sql.touch import touch

FIXTURES = Path(__file__).parent / "fixtures"
CATALOG = Catalog.from_dict(json.loads((FIXTURES / "catalog.json").read_text()))
CONTEXT = SessionContext(
    database="shop",
    prepared={"known": "select email from customers where id = $1"},
    cursors={"open_cursor": "declare open_cursor cursor for select name, phone from customers"},
)


def cases(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the SQL of each case in a file, and the lines that are expected of it."""
    for block in path.read_text().strip().split("\n\n"):
        lines = block.split("\n")
        sql = "\n".join(line for line in lines if not line.startswith("-->"))
        yield sql, "\n".join(line for line in lines if line.startswith("-->"))


def _short(ref: ColumnRef) -> str:
    return f"{ref.table}.{ref.column}" if ref.schema == "public" else str(ref)


def _refs(refs: Iterable[ColumnRef]) -> str:
    by_table: dict[str, list[str]] = {}
    for ref in refs:
        by_table.setdefault(_short(ref).rpartition(".")[0], []).append(ref.column)
    return " ".join(f"{table}({','.join(sorted(columns))})" for table, columns in sorted(by_table.items()))


def _touched(one: Touch) -> Iterator[str]:
    tables = [
        f"{how}:{name if schema == 'public' else f'{schema}.{name}'}" for schema, name, how in one.tables
    ]
    yield f"--> {one.verb}: {' '.join(sorted(tables))}".rstrip()
    for part in ("reads", "writes", "predicates", "flows"):
        refs: frozenset[ColumnRef] = getattr(one, part)
        if refs:
            yield f"-->   {part} {_refs(refs)}"
    for part in ("functions", "capabilities", "opaque"):
        names: frozenset[str] = getattr(one, part)
        if part == "functions":
            names = frozenset(name.removeprefix("pg_catalog.") for name in names)
        if names:
            yield f"-->   {part} {' '.join(sorted(names))}"
    for defined in one.defines:
        yield f"-->   defines {defined.kind} {defined.name} {defined.text}"
    if one.search_path is not None:
        yield f"-->   search_path {one.search_path}"
    if one.search_path_may_change:
        yield "-->   search_path may change"
    if one.catalog_may_change:
        yield "-->   catalog may change"


def _output(one: Output) -> str:
    mark = "!" if one.direct else ""
    sources = "+".join(sorted(map(_short, one.sources)))
    return f"{one.name}={mark}{sources}" if sources else one.name


def said(sql: str) -> str:
    """Return what the readers say of a text, as it stands in a fixture file."""
    try:
        touched = touch(sql, CATALOG, CONTEXT)
    except Unreadable as error:
        return f"--> refused: {error}"
    unplannable = ""
    returned: tuple[tuple[Output, ...] | None, ...] = ()
    try:
        returned = outputs(sql, CATALOG, CONTEXT)
    except Unplannable as error:
        unplannable = f"--> unplannable: {error}"
    lines: list[str] = []
    for number, one in enumerate(touched):
        lines += _touched(one)
        if returned and (columns := returned[number]) is not None:
            lines.append(f"-->   returns {' '.join(map(_output, columns))}".rstrip())
    if unplannable:
        lines.append(unplannable)
    return "\n".join(lines) if lines else "--> nothing"


ALL = [(path.stem, *case) for path in sorted(FIXTURES.glob("cases/*.sql")) for case in cases(path)]


@pytest.mark.parametrize(("name", "sql", "expected"), ALL, ids=[f"{n}: {s[:70]}" for n, s, _ in ALL])
def test_the_readers_say_of_each_statement_what_stands_under_it(name: str, sql: str, expected: str) -> None:
    assert said(sql) == expected


def test_there_are_enough_cases() -> None:
    assert len(ALL) >= 300


if __name__ == "__main__":
    for path in sorted(FIXTURES.glob("cases/*.sql")):
        path.write_text("\n\n".join(f"{sql}\n{said(sql)}" for sql, _ in cases(path)) + "\n")
