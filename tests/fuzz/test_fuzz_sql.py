"""Whatever text comes, the SQL readers answer or say ``Unreadable``: never another exception, never a
crash."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weirgate_contracts.operation import SessionContext
from weirgate_sql import analysis
from weirgate_sql.lineage import outputs
from weirgate_sql.model import Catalog, Unreadable
from weirgate_sql.parse import split
from weirgate_sql.touch import touch

FIXTURES = Path(__file__).parents[1] / "unit" / "sql" / "fixtures"
CATALOG = Catalog.from_dict(json.loads((FIXTURES / "catalog.json").read_text()))
CONTEXT = SessionContext(
    database="shop", prepared={"p": "select 1"}, cursors={"c": "select email from customers"}
)


def _seeds() -> list[str]:
    found: list[str] = []
    for path in sorted(FIXTURES.glob("cases/*.sql")):
        found += [
            "\n".join(line for line in block.split("\n") if not line.startswith("-->"))
            for block in path.read_text().split("\n\n")
        ]
    for path in sorted(FIXTURES.glob("clients/*.sql")):
        found += path.read_text().split("\n-- next\n")
    return found


SEEDS = _seeds()
WORDS = sorted({word for seed in SEEDS for word in seed.replace("(", " ( ").replace(")", " ) ").split()})


def _read(text: str) -> None:
    try:
        touch(text, CATALOG, CONTEXT)
        outputs(text, CATALOG, CONTEXT)
    except Unreadable as error:
        if not str(error):
            raise AssertionError("a refusal says why") from error


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200))
def test_noise_is_unreadable_or_read(text: str) -> None:
    _read(text)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join))
def test_words_in_any_order_are_unreadable_or_read(text: str) -> None:
    _read(text)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(SEEDS), st.data())
def test_a_statement_with_parts_swapped_is_unreadable_or_read(seed: str, data: st.DataObject) -> None:
    words = seed.split()
    for _ in range(data.draw(st.integers(1, 3))):
        if words:
            place = data.draw(st.integers(0, len(words) - 1))
            words[place] = data.draw(st.sampled_from(WORDS))
    _read(" ".join(words))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(SEEDS), st.sampled_from(SEEDS))
def test_one_query_inside_another_is_unreadable_or_read(outer: str, inner: str) -> None:
    _read(f"select * from ({inner}) as q, ({outer}) as r")
    _read(f"with q as ({inner}) {outer}")
    _read(f"declare d cursor for {inner}; fetch d; prepare z as {outer}; execute z")


@pytest.mark.parametrize("seed", SEEDS)
def test_no_reader_trips_over_a_tree_of_the_fixtures(seed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # ``analyse`` turns a stumble into a refusal; here the stumble itself must not happen.
    try:
        split(seed)
        analysis._analyse(seed, CATALOG, CONTEXT)
    except Unreadable as error:
        if "way this gateway does not know" in str(error):
            raise AssertionError("a reader stumbled") from error


HOSTILE: dict[str, Callable[[int], str]] = {
    "brackets": lambda n: "select " + "(" * n + "1" + ")" * n,
    "from brackets": lambda n: "select * from " + "(" * n + "orders cross join customers" + ")" * n,
    "subqueries": lambda n: "select * from " + "(select * from " * n + "orders" + ") x" * n,
    "sum": lambda n: "select " + "+".join(["id"] * n) + " from orders",
    "and": lambda n: "select 1 from orders where " + " and ".join(["id = 1"] * n),
    "not": lambda n: "select " + "not " * n + "true",
    "minus": lambda n: "select " + "- " * n + "1",
    "calls": lambda n: "select " + "lower(" * n + "'a'" + ")" * n,
    "case": lambda n: "select " + "case when true then " * n + "1" + " end" * n,
    "union": lambda n: " union all ".join(["select id from orders"] * n),
    "arrays": lambda n: "select array" + "[" * n + "1" + "]" * n,
    "casts": lambda n: "select id" + "::text" * n + " from orders",
    "subscripts": lambda n: "select note" + "[1]" * n + " from orders",
    "joins": lambda n: "select 1 from orders" + " cross join orders" * n,
    "with": lambda n: "with " + ", ".join(f"c{i} as (select * from customers)" for i in range(n)) + " select 1",
    "statements": lambda n: "select 1;" * n,
    "comments": lambda n: "select " + "/*" * n + "*/" * n + "1",
    "values": lambda n: "insert into orders (id) values " + ",".join(["(1)"] * n),
    "in": lambda n: "select id from orders where id in (" + ",".join(["1"] * n) + ")",
    "stars": lambda n: "select " + ",".join(["customers.*"] * n) + " from customers",
    "lateral": lambda n: "select 1 from orders" + "".join(f", lateral (select id) l{i}" for i in range(n)),
    "signs": lambda n: "select " + "+-" * n + "1",
    "operators": lambda n: "select " + "*+" * n + "1",
    "nested with": lambda n: "with recursive r as (" * n + "select 1 union all select 1 from r" + ") select 1" * n,
}  # fmt: skip


@pytest.mark.parametrize("size", [10, 100, 1000, 20000])
@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_size_is_unreadable_or_read(name: str, size: int) -> None:
    text = HOSTILE[name](size)
    _read(text[: 1024 * 1024])


def test_recursive_queries_inside_each_other_are_bounded() -> None:
    text = "select 1 as a"
    for depth in range(12):
        name = f"r{depth}"
        inner = f"select a + 1 from {name}, ({text}) s"
        text = f"with recursive {name}(a) as (select 1 union all {inner}) select a from {name}"
    _read(text)


@pytest.mark.parametrize("text", ["select 1\x00", "select '\ud800'", "select '" + "x" * (1024 * 1024) + "'"])
def test_what_no_sql_text_can_be_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        split(text)
