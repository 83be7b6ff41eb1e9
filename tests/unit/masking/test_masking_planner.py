"""Plans: what must be masked, whatever the verdict unmasks."""

from collections.abc import Mapping

import pytest

from weirgate_contracts.events import OperationIntercepted
from weirgate_contracts.identity import Identity
from weirgate_contracts.labels import DETECTOR_LABELS
from weirgate_contracts.masking import CopyOptions, MaskingRule, OutputPlan, Plan, Transform
from weirgate_contracts.operation import SessionContext, Statement
from weirgate_masking.copying import copy_options
from weirgate_masking.planner import PlanningState, plan, state_of
from weirgate_masking.rules import Rules
from weirgate_sql.lineage import outputs
from weirgate_sql.model import Catalog, Column, Relation, Unreadable
from weirgate_sql.parse import split
from weirgate_sql.touch import touch

REDACT = Transform(kind="redact")
PARTIAL = Transform(kind="partial", keep_last=4)
RULES = (
    MaskingRule(label="payment.card", transform=Transform(kind="null"), groups=("interns",)),
    MaskingRule(label="pii.*", transform=REDACT),
    MaskingRule(label="payment.card", transform=PARTIAL),
)
LABELS = {
    "public.customers.email": "pii.email",
    "public.customers.card": "payment.card",
    "public.staff.salary": "hr.salary",
}


def relation(
    called: str, oid: int, kind: str = "r", definition: str | None = None, /, **columns: str
) -> Relation:
    return Relation(
        schema="public",
        name=called,
        oid=oid,
        kind=kind,
        definition=definition,
        columns=tuple(
            Column(name=column, number=number, type=type_.replace("_", " "))
            for number, (column, type_) in enumerate(columns.items(), start=1)
        ),
    )


RELATIONS = (
    relation("customers", 100, id="integer", name="text", email="text", card="character_varying(40)"),
    relation("orders", 101, id="integer", customer="integer", total="numeric"),
    relation("staff", 102, id="integer", salary="integer"),
    relation(
        "mails",
        103,
        "v",
        " SELECT customers.id, customers.email AS mail FROM customers;",
        id="integer",
        mail="text",
    ),
    relation("lost", 104, "v", None, id="integer"),
)
CATALOG = Catalog(
    database="shop",
    login="app",
    search_path=("public",),
    relations={f"{one.schema}.{one.name}": one for one in RELATIONS},
    server_version=180000,
)


def state(
    labels: Mapping[str, str] = LABELS,
    rules: tuple[MaskingRule, ...] = RULES,
    catalog: Catalog | None = CATALOG,
) -> PlanningState:
    return state_of(columns=labels, rules=rules, catalog=catalog, lineage=outputs, touch=touch)


STATE = state()


def operation(*texts: str, groups: tuple[str, ...] = (), context: SessionContext | None = None,
              phase: str = "run") -> OperationIntercepted:  # fmt: skip
    return OperationIntercepted(
        ingress="i1",
        session="s1",
        operation=1,
        protocol="postgres",
        resource="shop",
        identity=Identity(agent="a", groups=groups, issuer="t", token_id="t", expires_at=0),
        statements=tuple(Statement.model_validate({"text": text, "phase": phase}) for text in texts),
        context=context or SessionContext(database="shop"),
        digest="d",
    )


def planned(*texts: str, state: PlanningState = STATE, groups: tuple[str, ...] = (),
            context: SessionContext | None = None) -> Plan:  # fmt: skip
    return plan(operation(*texts, groups=groups, context=context), state)


def outputs_of(*texts: str, context: SessionContext | None = None) -> list[OutputPlan]:
    found = planned(*texts, context=context)
    assert found.impossible is None
    last = found.statements[-1].outputs
    assert last is not None
    return list(last)


def labels_of(*texts: str) -> list[tuple[str, ...]]:
    return [output.labels for output in outputs_of(*texts)]


def test_a_star_is_masked_column_by_column() -> None:
    found = outputs_of("select * from customers")
    assert [(one.name, one.labels, one.transform) for one in found] == [
        ("id", (), None),
        ("name", (), None),
        ("email", ("pii.email",), REDACT),
        ("card", ("payment.card",), PARTIAL),
    ]
    assert found[3].type == "character varying(40)"


@pytest.mark.parametrize(
    "text",
    [
        "select email as id from customers",
        "select upper(email) || 'x' from customers",
        "with c as (select email from customers) select * from c",
        "select (select email from customers limit 1)",
        "select 'x' union all select email from customers",
        "select max(email) from customers",
        "select string_agg(email, ',') from customers",
        "select mail from mails",
        "update customers set name = email returning name",
        "delete from customers returning email",
        "insert into customers (email) values ('x') returning email",
        "prepare p as select email from customers; execute p",
        "declare c cursor for select email from customers; fetch all from c",
        "copy customers (email) to stdout",
        "copy (select email from customers) to stdout with (format csv)",
        "select case when true then email end from customers",
    ],
)
def test_whatever_is_derived_from_a_labelled_column_is_masked(text: str) -> None:
    assert labels_of(text) == [("pii.email",)]


def test_a_whole_row_has_every_label_and_the_strictest_transform() -> None:
    for text in ("select c from customers c", "select to_jsonb(c) from customers c"):
        (output,) = outputs_of(text)
        assert output.labels == ("payment.card", "pii.email")
        assert output.transform == REDACT


def test_what_touches_no_label_is_clear() -> None:
    assert labels_of("select count(*) from customers") == [()]
    assert labels_of("select id, total from orders") == [(), ()]


def test_a_label_no_rule_matches_is_redacted() -> None:
    (output,) = outputs_of("select salary from staff")
    assert output.labels == ("hr.salary",)
    assert output.transform == REDACT


def test_the_first_rule_for_the_agents_groups_counts() -> None:
    found = planned("select card from customers", groups=("interns",))
    assert found.statements[0].outputs is not None
    assert found.statements[0].outputs[0].transform == Transform(kind="null")
    assert outputs_of("select card from customers")[0].transform == PARTIAL


def test_each_inner_statement_has_a_plan_in_order() -> None:
    found = planned("select id from orders; select email from customers", "show search_path")
    assert [None if one.outputs is None else one.outputs[0].labels for one in found.statements] == [
        (),
        ("pii.email",),
        None,
    ]


def test_statements_that_return_no_rows_of_relations_have_no_outputs() -> None:
    for text in (
        "show search_path",
        "explain select email from customers",
        "begin",
        "set search_path = public",
    ):
        assert planned(text).statements[0].outputs is None


def test_a_name_of_the_session_is_followed_to_its_text() -> None:
    context = SessionContext(
        database="shop",
        prepared={"p": "select email from customers"},
        cursors={"c": "select card from customers"},
    )
    assert outputs_of("execute p", context=context)[0].labels == ("pii.email",)
    assert outputs_of("fetch 5 from c", context=context)[0].labels == ("payment.card",)


def test_a_name_an_earlier_statement_defines_is_followed() -> None:
    assert labels_of("prepare q as select email from customers", "execute q") == [("pii.email",)]


def test_labelled_columns_are_those_of_what_is_read() -> None:
    found = planned("select id from customers").labelled
    assert {(one.table_oid, one.column_number, one.label) for one in found} == {
        (100, 3, "pii.email"),
        (100, 4, "payment.card"),
    }
    assert planned("select id from orders").labelled == ()


def test_a_views_column_is_labelled_by_what_it_shows() -> None:
    found = planned("select id from mails").labelled
    assert (103, 2, "pii.email") in {(one.table_oid, one.column_number, one.label) for one in found}


def test_a_statement_that_writes_may_reach_every_labelled_column() -> None:
    assert {one.table_oid for one in planned("delete from orders").labelled} >= {100, 102}


def test_a_label_on_a_views_column_masks_the_column_behind_it() -> None:
    view = state(labels={"public.mails.mail": "pii.email"})
    for text in ("select mail from mails", "select email from customers"):
        found = planned(text, state=view)
        assert found.statements[0].outputs is not None
        assert found.statements[0].outputs[0].labels == ("pii.email",)


def test_detectors_are_on_where_a_rule_names_their_label() -> None:
    assert {one.label for one in planned("select 1").detectors} == {
        "pii.email", "pii.phone", "pii.ssn", "pii.ip", "payment.card",
    }  # fmt: skip
    assert [one.label for one in Rules((MaskingRule(label="*", transform=REDACT),), ()).detectors] == list(
        DETECTOR_LABELS
    )
    assert Rules((MaskingRule(label="*", transform=REDACT, groups=("x",)),), ("y",)).detectors == ()


def test_without_labels_no_catalog_and_no_lineage_is_needed() -> None:
    found = planned("select whatever from nowhere", state=state(labels={}, catalog=None))
    assert found.impossible is None
    assert found.statements[0].outputs is None
    assert found.detectors
    assert planned("select 1", state=state(labels={}, rules=(), catalog=None)) == Plan(
        statements=planned("select 1", state=state(labels={}, rules=())).statements
    )


def test_labels_without_a_catalog_make_every_plan_impossible() -> None:
    assert planned("select 1", state=state(catalog=None)).impossible


@pytest.mark.parametrize(
    "text",
    [
        "select * from nowhere",
        "selec 1",
        "select most_common_vals from pg_stats",
        "select * from pg_stats",
        "copy customers to stdout with (format csv, delimiter 'ab')",
        "copy customers to stdout with (encoding 'LATIN1')",
        "execute nobody_knows",
    ],
)
def test_what_cannot_be_followed_is_impossible(text: str) -> None:
    found = planned(text)
    assert found.impossible
    assert all(one.outputs is None for one in found.statements)


def test_an_impossible_plan_names_every_label_that_could_be_in_the_answer() -> None:
    found = planned("select * from nowhere")
    assert found.at_stake is not None
    assert set(found.at_stake) == set(LABELS.values()) | {one.label for one in planned("select 1").detectors}


def test_what_is_at_stake_in_a_text_nobody_can_read_or_without_a_catalog_is_not_known() -> None:
    assert planned("selec 1").at_stake is None
    assert planned("select 1", state=state(catalog=None)).at_stake is None


def options_of(text: str) -> CopyOptions | None:
    return copy_options(split(text)[0])


def test_copy_options_are_read_from_the_statement() -> None:
    assert options_of("copy t to stdout") == CopyOptions()
    assert options_of("copy t to stdout (format csv)") == CopyOptions(format="csv", delimiter=",", null="")
    assert options_of(
        "copy t to stdout with csv header quote '''' escape '!' null 'x' delimiter ';'"
    ) == CopyOptions(format="csv", delimiter=";", null="x", quote="'", escape="!", header=True)
    assert options_of("copy t to stdout (format csv, quote '~')") == CopyOptions(
        format="csv", delimiter=",", null="", quote="~", escape="~"
    )
    assert options_of("copy t to stdout (header false, delimiter E'\\t')") == CopyOptions()
    assert options_of("copy t to stdout (format csv, header on, force_quote *)") == CopyOptions(
        format="csv", delimiter=",", null="", header=True
    )
    assert options_of("copy t to stdout binary") == CopyOptions(format="binary")
    assert options_of("copy t from stdin") is None
    assert options_of("select 1") is None


@pytest.mark.parametrize(
    "options",
    ["format json", "delimiter 'ä'", "null E'a\\nb'", "header maybe", "default 'x'", "encoding 'LATIN1'"],
)
def test_copy_options_that_cannot_be_masked_are_refused(options: str) -> None:
    with pytest.raises(Unreadable):
        options_of(f"copy t to stdout (format csv, {options})".replace("csv, format", "text, format"))
