"""The small parts of the gate: names, search_path, blanks."""

import pytest

from weirgate_contracts.operation import Definition
from weirgate_ingress.gates.postgres.name import Names
from weirgate_ingress.gates.postgres.operation import is_blank
from weirgate_ingress.gates.postgres.searchpath import parse_search_path
from weirgate_wire.postgres.error import PeerError


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("", ()),
        (" ", ()),
        ('"$user", public', ("$user", "public")),
        ("A , b", ("a", "b")),
        ('"A ""quoted"", b",c', ('A "quoted", b', "c")),
        ("É", ("É",)),
        ('""', ("",)),
    ],
)
def test_a_search_path_is_a_list_of_identifiers(value: str, path: tuple[str, ...]) -> None:
    assert parse_search_path(value) == path


@pytest.mark.parametrize("value", ["a,", ",a", "a b", '"a', '"a"b', "a,,b"])
def test_what_is_no_search_path_is_refused(value: str) -> None:
    with pytest.raises(PeerError):
        parse_search_path(value)


@pytest.mark.parametrize("text", ["", " ;\n;", "-- x", "-- x\r ;", "/* a /* b */ c */ ;", "/* open"])
def test_blanks_and_comments_hold_no_statement(text: str) -> None:
    assert is_blank(text)


@pytest.mark.parametrize("text", ["x", "-- x\ny", "/* a */ b", "/ *", "- -", "/* /* */ */ */"])
def test_anything_else_may_be_one(text: str) -> None:
    assert not is_blank(text)


def test_a_text_is_given_the_names_it_may_refer_to() -> None:
    names = Names(1000)
    names.parsed("q", "select 1")
    names.parsed("Odd Name", "select 2")
    names.parsed("", "select 3")
    names.bound("c", "select 4")
    assert names.prepared_for("EXECUTE Q") == {"q": "select 1"}
    assert names.prepared_for('execute "Odd Name"') == {"Odd Name": "select 2"}
    assert names.prepared_for('execute u&"\\006fdd name"') == {"q": "select 1", "Odd Name": "select 2"}
    assert names.prepared_for("select q from t") == {}
    assert names.cursors_for("fetch 1 from c") == {"c": "select 4"}
    assert names.cursors_for("select c") == {}


def test_names_are_forgotten_when_what_they_name_is_gone() -> None:
    names = Names(1000)
    names.bound("wire", "select 1")
    names.defined(Definition(number=0, kind="cursor", name="held", text="select 2"), outlives=True)
    names.transaction_ended()
    assert set(names.portals) == {"held"}
    names.defined(Definition(number=0, kind="prepared", name="a", text="select 1"), outlives=False)
    names.defined(Definition(number=0, kind="prepared", name="b", text="select 1"), outlives=False)
    names.defined(Definition(number=0, kind="prepared", name="a", text=None), outlives=False)
    assert set(names.prepared) == {"b"}
    names.defined(Definition(number=0, kind="prepared", name="*", text=None), outlives=False)
    names.defined(Definition(number=0, kind="cursor", name="*", text=None), outlives=False)
    assert (names.prepared, names.portals) == ({}, {})


def test_only_so_much_sql_is_kept() -> None:
    names = Names(10)
    assert not names.full
    names.parsed("a", "select 1 + 1 + 1")
    assert names.full
    names.dropped_statement("a")
    assert not names.full
