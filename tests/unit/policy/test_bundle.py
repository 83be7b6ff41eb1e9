"""Checking policies before they are published: what is wrong, where, and what would be right."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weirgate_policy.bundle import BundleError, Known, check, compile_policies
from weirgate_policy.obligation import Obligation, strictest
from weirgate_policy.source import place_of, split_rules, syntax_error
from weirgate_policy.vocabulary import ACTIONS, APPLIES, ENTITY_TYPES, ancestry, schema
from weirgate_sql.kind import DDL, SIMPLE
from weirgate_sql.model import Catalog, Column, Relation

KNOWN = Known(
    resources={"shop"},
    reviewers={"dba", "legal"},
    labels={"pii.email", "pay.salary"},
    catalogs={
        "shop": Catalog(
            database="shop",
            login="app",
            search_path=("public",),
            relations={
                "public.orders": Relation(
                    schema="public",
                    name="orders",
                    oid=1,
                    kind="r",
                    columns=(Column(name="id", number=1, type="integer"),),
                )
            },
        )
    },
)
PERMIT = "permit(principal, action, resource)"


@pytest.mark.parametrize(
    ("text", "line", "column", "message", "suggestion"),
    [
        ("// x\npermit(principal, action resource);", 2, 26, "not Cedar", None),
        (PERMIT, 1, 36, "unexpected end", "semicolon"),
        (f"{PERMIT};\n\n{PERMIT} when {{ 1 + }};", 3, 48, "unexpected token", None),
        (f'{PERMIT} when {{ "a }};', 1, 44, "not Cedar", "double quotes"),
        (f'@holdd("dba") {PERMIT};', 1, 1, "unknown annotation @holdd", "@hold"),
        (f'@colour("red") {PERMIT};', 1, 1, "unknown annotation @colour", "known are"),
        ('@hold("dba") forbid(principal, action, resource);', 1, 1, "no meaning on a forbid", "permit"),
        (f'@quorum("2") {PERMIT};', 1, 1, "without @hold", "@hold"),
        (f'@hold("dba") @quorum("none") {PERMIT};', 1, 14, "no number of people", "1 to 10"),
        (f'@hold("dba") @quorum("0") {PERMIT};', 1, 14, "no number of people", "1 to 10"),
        (f'@hold("dba") @window("15 minutes") {PERMIT};', 1, 14, "no span of time", '@window("15m")'),
        (f'@hold("dba") @window("30d") {PERMIT};', 1, 14, "no span of time", "7d"),
        (f'@limit("row=5") {PERMIT};', 1, 1, "no limit", "rows"),
        (f'@limit("rows=-5") {PERMIT};', 1, 1, "no number of rows", "whole number"),
        (f'@limit("rows=5,rows=6") {PERMIT};', 1, 1, "given twice", None),
        (f'@hold("DBA!") {PERMIT};', 1, 1, "names no reviewers", "dba"),
        (f'@hold("dbb") {PERMIT};', 1, 1, "no reviewers called dbb", "dba"),
        (f'@id("a b") {PERMIT};', 1, 1, "is no id", "letters"),
        (f'@id("a") {PERMIT};\n@id("a") {PERMIT};', 2, 1, "two rules are called p/a", "once"),
        (f'@id("2") {PERMIT};\n{PERMIT};', 2, 1, "two rules are called p/2", "once"),
        ('permit(principal, action == Action::"selct", resource);', 1, 37, "no Action", "select"),
        ("permit(principal, action, resource is Tabel);", 1, 39, "no entity type", "Table"),
        ('permit(principal == User::"a", action, resource);', 1, 1, "never fire", "docs/policy.md"),
        ('permit(principal, action == Action::"unmask", resource is Table);', 1, 1, "never fire", None),
        ("permit(principal, action, resource == ?resource);", 1, 1, "template", "write the rule out"),
        (f"{PERMIT} when {{ false }};", 1, 37, "always false", None),
        (f"{PERMIT} unless {{ true || context has run }};", 1, 37, "always true", None),
        (f"{PERMIT} when {{ context has tol }};", 1, 37, "always false", None),
        (f"{PERMIT} when {{ resource is Group }};", 1, 37, "always false", None),
        (
            'permit(principal, action == Action::"select", resource) when { context.phase == "runs" };',
            1,
            57,
            "always false",
            None,
        ),
        (
            'permit(principal, action == Action::"select", resource) when { context.tool == "x" };',
            1,
            71,
            "may be absent",
            "guard it: context has tool",
        ),
        ('permit(principal, action, resource in Resource::"shp");', 1, 49, "no resource 'shp'", "shop"),
        ('permit(principal, action, resource in Table::"orders");', 1, 46, "can be no Table", "shop/public"),
        ('permit(principal, action, resource in Label::"pii.emial");', 1, 46, "no label", "pii.email"),
    ],
)
def test_a_problem_has_a_place_and_where_it_can_a_remedy(
    text: str, line: int, column: int, message: str, suggestion: str | None
) -> None:
    found = [one for one in check({"p": text}, KNOWN) if one.severity == "error"]
    assert found, "nothing was found"
    first = found[0]
    assert (first.line, first.column) == (line, column), first
    assert message in first.message
    if suggestion is not None:
        assert suggestion in (first.suggestion or "")


def test_what_may_be_meant_is_a_warning_only() -> None:
    later = check({"p": 'permit(principal, action, resource in Table::"shop/public.ordres");'}, KNOWN)
    assert [one.severity for one in later] == ["warning"]
    assert "shop/public.orders" in (later[0].suggestion or "")
    only = check(
        {"p": 'permit(principal, action == Action::"select", resource == Table::"shop/public.orders");'},
        KNOWN,
    )
    assert [one.severity for one in only] == ["warning"]
    assert "leaves out its columns" in only[0].message


def test_every_problem_of_every_policy_is_told_at_once() -> None:
    found = check({"a": f'@x("") {PERMIT};\n@y("") {PERMIT};', "b": "permit", "c": f"{PERMIT};"})
    assert [(one.policy, one.line) for one in found] == [("a", 1), ("a", 2), ("b", 1)]


def test_policies_that_hold_have_no_problem() -> None:
    text = """
    // All there is.
    @id("a") @hold("dba, legal") @quorum("2") @window("90m") @limit("rows=10,bytes=1MiB") @reason("because")
    permit(principal in Group::"g", action in [Action::"read", Action::"write"], resource in Resource::"shop")
    when { context has tool && context.tool like "a*" } unless { context.transaction == "open" };
    forbid(principal == Agent::"x", action, resource in Label::"secret");
    permit(principal, action == Action::"select", resource in Column::"shop/public.orders.id");
    """
    assert check({"p": text}, KNOWN) == []
    rule = compile_policies({"p": text}).rules["p/a"]
    assert rule.obligation == Obligation(
        hold=("dba", "legal"), quorum=2, window_s=5400, rows=10, size_bytes=2**20, reasons=("because",)
    )


def test_a_bundle_is_made_of_all_policies_or_of_none() -> None:
    with pytest.raises(BundleError) as refused:
        compile_policies({"good": f"{PERMIT};", "bad": "forbid("})
    assert refused.value.problems[0].policy == "bad"


def test_no_policy_and_an_empty_one_are_bundles_without_rules() -> None:
    assert not compile_policies({}).rules
    assert not compile_policies({"p": "", "q": "// nothing"}).rules


def test_of_several_obligations_the_strictest_counts() -> None:
    one = Obligation(hold=("b",), quorum=2, window_s=60, rows=5)
    other = Obligation(hold=("a",), quorum=1, window_s=30, rows=9, size_bytes=7)
    assert strictest([one, other]) == Obligation(hold=("a", "b"), quorum=2, window_s=30, rows=5, size_bytes=7)
    assert strictest([one, other]) == strictest([other, one])


# ---------------------------------------------------------------- the vocabulary


@pytest.mark.parametrize("action", sorted(name for name, kinds in APPLIES.items() if kinds))
def test_what_is_read_of_the_schema_is_what_cedar_reads(action: str) -> None:
    assert schema() is schema()
    for kind in ENTITY_TYPES - {"Agent", "User", "Run", "Group"}:
        text = f'permit(principal, action == Action::"{action}", resource is {kind});'
        assert (check({"p": text}) == []) is (kind in APPLIES[action]), (action, kind)
    for family in ancestry(action):
        assert family in ACTIONS
        head = f'permit(principal, action in Action::"{family}", resource)'
        inside = f'{head} when {{ action == Action::"{action}" }};'
        assert check({"p": inside}) == []


def test_every_kind_of_ddl_the_reader_knows_has_an_action_of_its_own() -> None:
    bare = {"drop", "rename", "set_schema", "alter_owner"}  # the reader puts the kind of object behind these
    assert {f"ddl.{what}" for what, _ in DDL.values() if what not in bare} <= ACTIONS
    for verb, capability in SIMPLE.values():
        assert capability is None or capability in ACTIONS
        assert verb in ACTIONS or verb in ("session.listen", "session.unlisten", "session.notify")


# ---------------------------------------------------------------- places


@given(st.text(alphabet=string.printable, max_size=60))
def test_any_text_is_cedar_or_has_a_place_where_it_stops(text: str) -> None:
    found = syntax_error(text)
    if found is None:
        return
    offset, message = found
    assert 0 <= offset <= len(text)
    assert message
    place = place_of(text, offset)
    assert place.line >= 1
    assert place.column >= 1


@given(st.text(alphabet='permit(principal, action, resource) when { "a" };/\n\\@', max_size=80))
def test_noise_is_never_judged_with(text: str) -> None:
    if any(one.severity == "error" for one in check({"p": text})):
        with pytest.raises(BundleError):
            compile_policies({"p": text})
    else:
        compile_policies({"p": text})


def test_a_semicolon_in_a_string_or_a_comment_ends_no_rule() -> None:
    text = (
        '@reason("a; b") permit(principal, action, resource); // c; d\nforbid(principal, action, resource);'
    )
    assert len(split_rules(text)) == 2
