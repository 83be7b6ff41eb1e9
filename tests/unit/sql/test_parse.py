"""Splitting by PostgreSQL's own grammar."""

import pytest

from weirgate_sql.model import Unreadable
from weirgate_sql.parse import split


def test_a_text_is_split_where_postgresql_splits_it() -> None:
    parsed = split("select ';' ; /* ; */ update t set a = $x$;$x$;\n")
    assert [(one.kind, one.text) for one in parsed] == [
        ("SelectStmt", "select ';'"),
        ("UpdateStmt", "update t set a = $x$;$x$"),
    ]


@pytest.mark.parametrize("text", ["", " ", ";", "-- nothing", "/* nothing */ ; ;"])
def test_a_text_of_nothing_has_no_statements(text: str) -> None:
    assert split(text) == ()


def test_slices_are_right_after_characters_of_several_bytes() -> None:
    parsed = split("select 'äöü€𐍈'; select 'x' as \"ñ\"; select 3")
    assert [one.text for one in parsed] == ["select 'äöü€𐍈'", "select 'x' as \"ñ\"", "select 3"]


def test_a_syntax_error_is_told_in_postgresqls_own_words() -> None:
    with pytest.raises(Unreadable, match='syntax error at or near "selec"'):
        split("selec 1")


def test_fifty_concatenations_are_no_reason_to_refuse() -> None:
    assert len(split("select " + " || ".join(["'a'"] * 150))) == 1


def test_a_chain_that_would_fill_the_stack_is_refused_and_nothing_crashes() -> None:
    with pytest.raises(Unreadable, match="nested too deeply"):
        split("select " + "+".join(["a"] * 500_000))


def test_a_long_but_flat_text_is_read() -> None:
    assert len(split("insert into t values " + ",".join(["(1, 'abc')"] * 50_000))) == 1
