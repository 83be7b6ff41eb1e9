"""What earlier statements do to later ones, within a text and from one text of an operation to the next."""

import json
from pathlib import Path

import pytest

from weirgate_contracts.operation import SessionContext
from weirgate_sql.lineage import Unplannable, outputs
from weirgate_sql.model import Catalog, Column, ColumnRef, Relation, Unreadable
from weirgate_sql.touch import after, touch

CATALOG = Catalog.from_dict(json.loads((Path(__file__).parent / "fixtures" / "catalog.json").read_text()))
START = SessionContext(database="shop")
EMAIL = ColumnRef(schema="hr", table="staff", column="email")


def test_the_sessions_own_search_path_decides_what_a_name_means() -> None:
    context = SessionContext(database="shop", search_path=("hr", "public"))
    (found,) = touch("select email from staff", CATALOG, context)
    assert found.reads == {EMAIL}


def test_the_users_own_schema_is_the_logins() -> None:
    context = SessionContext(database="shop", search_path=("$user", "public"))
    (found,) = touch("select id from orders", CATALOG, context)
    assert ("public", "orders", "read") in found.tables


def test_a_path_set_by_one_text_of_an_operation_holds_for_the_next() -> None:
    context = after(START, touch("set search_path = hr", CATALOG, START))
    (found,) = touch("select email from staff", CATALOG, context)
    assert found.reads == {EMAIL}


def test_a_path_that_may_have_changed_makes_bare_names_unreadable() -> None:
    context = after(START, touch("select set_config('search_path', 'hr', false)", CATALOG, START))
    with pytest.raises(Unreadable, match="search_path"):
        touch("select email from customers", CATALOG, context)
    assert touch("select email from public.customers", CATALOG, context)


def test_what_one_text_prepares_the_next_can_execute() -> None:
    context = after(START, touch("prepare p as delete from orders", CATALOG, START))
    (found,) = touch("execute p", CATALOG, context)
    assert found.verb == "delete"
    assert after(context, touch("deallocate all", CATALOG, context)).prepared == {}


def test_a_cursor_keeps_the_path_it_was_declared_under() -> None:
    context = after(START, touch("set search_path = hr; declare c cursor for table staff", CATALOG, START))
    context = after(context, touch("set search_path = public", CATALOG, context))
    ((_, _, email, *_),) = (outputs("fetch c", CATALOG, context)[0],)  # pyright: ignore[reportGeneralTypeIssues, reportOptionalIterable]
    assert email.sources == {EMAIL}


def test_a_prepared_statement_that_executes_itself_is_unreadable() -> None:
    context = SessionContext(database="shop", prepared={"a": "execute b", "b": "execute a"})
    with pytest.raises(Unreadable, match="stands behind itself"):
        touch("execute a", CATALOG, context)


def test_a_second_answer_is_the_same_as_the_first() -> None:
    text = "select email from customers"
    assert touch(text, CATALOG, START) == touch(text, CATALOG, START)
    other = SessionContext(database="shop", search_path=("hr",))
    assert touch(text, CATALOG, other) != touch(text, CATALOG, START)


def test_a_view_without_a_definition_is_opaque_and_cannot_be_planned() -> None:
    view = Relation(
        schema="public", name="v", oid=1, kind="v", columns=(Column(name="x", number=1, type="text"),)
    )
    catalog = Catalog(database="shop", login="app", search_path=("public",), relations={"public.v": view})
    (found,) = touch("select x from v", catalog, START)
    assert found.opaque == {"relation:public.v"}
    with pytest.raises(Unplannable):
        outputs("select x from v", catalog, START)


def test_views_that_name_each_other_are_opaque() -> None:
    relations = {
        f"public.{name}": Relation(
            schema="public", name=name, oid=1, kind="v", columns=(Column(name="x", number=1, type="text"),),
            definition=f"select x from public.{other}",
        )
        for name, other in (("a", "b"), ("b", "a"))
    }  # fmt: skip
    catalog = Catalog(database="shop", login="app", search_path=("public",), relations=relations)
    (found,) = touch("select x from a", catalog, START)
    assert found.opaque


def test_a_partitions_columns_bear_what_is_said_of_its_parents() -> None:
    (columns,) = outputs("select body from events_2024", CATALOG, START)
    assert columns is not None
    assert {str(ref) for ref in columns[0].sources} == {"public.events.body", "public.events_2024.body"}


def test_a_catalog_of_another_major_version_makes_a_system_star_unplanned_and_not_wrong() -> None:
    body = CATALOG.to_dict() | {"server_version": 150004}
    older = Catalog.from_dict(body)
    assert outputs("select * from pg_class", older, START) == (None,)
    with pytest.raises(Unplannable):
        outputs("select *, c.email from pg_class, customers c", older, START)


def test_a_catalog_is_the_same_after_a_round_trip() -> None:
    assert Catalog.from_dict(json.loads(json.dumps(CATALOG.to_dict()))).revision == CATALOG.revision
