"""The judge on a small shop, with what statements do written by hand: what it refuses, holds and allows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from weirgate_contracts.events import OperationAllowed, OperationDenied, OperationHeld, OperationIntercepted
from weirgate_contracts.identity import Identity
from weirgate_contracts.operation import Parameter, SessionContext, Statement
from weirgate_contracts.refusal import RefusalCode
from weirgate_policy.bundle import Bundle, compile_policies
from weirgate_policy.judge import Granted, Judgement, JudgingState, judge, labels_of
from weirgate_policy.ruling import Asking
from weirgate_policy.view import ResourceView
from weirgate_sql.model import Catalog, Column, ColumnRef, Defines, Function, Relation, Touch, Unreadable

LABELS = {
    "public.customers.email": "pii.email",
    "public.customers.card": "payment.card",
    "public.staff.salary": "pay.salary",
}
EVENT = "01J00000000000000000000001"


def relation(oid: int, name: str, *columns: str, schema: str = "public", kind: str = "r") -> Relation:
    """A relation whose columns are all text."""
    return Relation(
        schema=schema, name=name, oid=oid, kind=kind,
        columns=tuple(Column(name=one, number=at, type="text") for at, one in enumerate(columns, start=1)),
    )  # fmt: skip


def catalog() -> Catalog:
    """The shop."""
    relations = (
        relation(1, "customers", "id", "name", "email", "card"),
        relation(2, "orders", "id", "customer_id", "total"),
        relation(3, "staff", "id", "name", "salary"),
        relation(4, "a.b", "x"),
    )
    refund = Function(schema="public", name="refund", language="plpgsql", security_definer=True)
    return Catalog(
        database="shop", login="app", search_path=("public",),
        relations={f"{one.schema}.{one.name}": one for one in relations},
        functions={"public.refund": (refund,)}, server_version=180000,
    )  # fmt: skip


def columns(table: str, *names: str) -> frozenset[ColumnRef]:
    """References to columns of a table in ``public``."""
    return frozenset(ColumnRef(schema="public", table=table, column=name) for name in names)


def reads(table: str, *names: str, **more: frozenset[object]) -> Touch:
    """A SELECT of some columns."""
    return Touch(
        verb="select",
        reads=columns(table, *names),
        tables=frozenset({("public", table, "read")}),
        **more,  # type: ignore[arg-type]
    )


@dataclass
class World:
    """Policies, what texts do, and an agent."""

    policies: Mapping[str, str]
    touches: Mapping[str, Sequence[Touch] | str] = field(default_factory=dict[str, Sequence[Touch] | str])
    """Text to what it does; a string is why it cannot be read."""
    labels: Mapping[str, str] = field(default_factory=lambda: LABELS)

    def __post_init__(self) -> None:
        self.asked: list[tuple[str, SessionContext]] = []
        view = ResourceView(name="shop", catalog=catalog(), labels=self.labels)
        self.state = JudgingState(
            revision=7,
            read=self.read,
            asking=Asking(bundle=compile_policies(self.policies), view=view),
            labels=labels_of(*self.labels.values()),
        )

    def read(self, text: str, _: Catalog, context: SessionContext) -> Sequence[Touch]:
        """Say what a text does."""
        self.asked.append((text, context))
        known = self.touches[text]
        if isinstance(known, str):
            raise Unreadable(known)
        return known

    def judge(self, *texts: str, granted: Granted | None = None, **more: object) -> Judgement:
        """Judge texts, bound and run unless told otherwise."""
        return judge(operation(*texts, **more), self.state, granted=granted)  # type: ignore[arg-type]


def operation(
    *texts: str,
    agent: str = "reader",
    groups: tuple[str, ...] = ("readers",),
    phase: str = "run",
    phases: Sequence[str] | None = None,
    context: SessionContext | None = None,
    session: str = "s1",
    number: int = 1,
    digest: str = "d1",
    id: str = EVENT,
    **identity: object,
) -> OperationIntercepted:
    """An intercepted operation."""
    return OperationIntercepted(
        id=id, at="2026-01-01T00:00:00.000000Z", ingress="i1", session=session, operation=number,
        protocol="postgres", resource="shop", digest=digest,
        identity=Identity(
            agent=agent, groups=tuple(sorted(groups)), issuer="test", token_id="t", expires_at=0, **identity  # type: ignore[arg-type]
        ),
        statements=tuple(
            Statement(text=text, phase=one, simple=False)  # type: ignore[arg-type]
            for text, one in zip(texts, phases or [phase] * len(texts), strict=True)
        ),
        context=context or SessionContext(database="shop"),
    )  # fmt: skip


READ = {
    "read": """
@id("basics") permit(principal in Group::"readers", action in Action::"basic", resource in Resource::"shop");
@id("select")
permit(principal in Group::"readers", action in Action::"read", resource in Schema::"shop/public");
"""
}


def allowed(judgement: Judgement) -> OperationAllowed:
    """It is allowed."""
    assert isinstance(judgement, OperationAllowed), judgement
    return judgement


def denied(judgement: Judgement, code: RefusalCode = RefusalCode.DENIED) -> OperationDenied:
    """It is denied with this code."""
    assert isinstance(judgement, OperationDenied), judgement
    assert judgement.refusal.code is code, judgement.refusal
    return judgement


def held(judgement: Judgement) -> OperationHeld:
    """A person decides."""
    assert isinstance(judgement, OperationHeld), judgement
    return judgement


# ---------------------------------------------------------------- fail closed


def test_without_any_policy_nothing_is_allowed() -> None:
    refusal = denied(World({}, {"select 1": [Touch(verb="select")]}).judge("select 1")).refusal
    assert "no rule permits it" in refusal.reason
    assert refusal.hint


def test_policies_that_cannot_be_judged_with_deny_everything() -> None:
    from weirgate_policy.problem import Problem

    world = World(READ, {"select 1": [Touch(verb="select")]})
    assert world.state.asking is not None
    world.state.asking.bundle = Bundle.refusing([Problem(policy="p", line=1, column=1, message="bad")])
    assert "policies cannot be judged with" in denied(world.judge("select 1")).refusal.reason


def test_a_resource_without_a_catalog_is_refused() -> None:
    state = JudgingState(revision=3, read=lambda text, catalog, session: ())
    verdict = judge(operation("select 1"), state)
    denied(verdict, RefusalCode.UPSTREAM_UNAVAILABLE)
    assert verdict.policy_revision == 3


def test_what_cannot_be_read_is_refused_with_its_reason() -> None:
    world = World(READ, {"selec 1": 'syntax error at or near "selec"'})
    assert "selec" in denied(world.judge("selec 1"), RefusalCode.UNPARSABLE).refusal.reason


def test_a_second_statement_that_cannot_be_read_refuses_the_first_too() -> None:
    world = World(READ, {"select 1": [Touch(verb="select")], "x": "no"})
    denied(world.judge("select 1", "x"), RefusalCode.UNPARSABLE)


@pytest.mark.parametrize(
    "touch",
    [
        Touch(verb="teleport"),
        Touch(verb="copy.sideways"),
        Touch(verb="select", capabilities=frozenset({"levitate"})),
        Touch(verb="select", opaque=frozenset({"planet:mars"})),
        Touch(verb="select", tables=frozenset({("public", "orders", "lick")})),
        Touch(verb="delete"),
        Touch(verb="merge"),
        Touch(verb="copy.in"),
    ],
)
def test_a_word_no_rule_can_speak_of_is_refused_even_where_everything_is_permitted(touch: Touch) -> None:
    world = World({"all": "permit(principal, action, resource);"}, {"?": [touch]})
    denied(world.judge("?"), RefusalCode.UNSUPPORTED)


def test_a_rule_that_fails_denies_although_another_permits() -> None:
    failing = """
    @id("all") permit(principal, action, resource);
    @id("sum") forbid(principal, action == Action::"select", resource)
    when { context.statements * 9223372036854775807 > 1 };
    """
    world = World({"p": failing}, {"a": [reads("orders", "id")], "b": [reads("orders", "id")]})
    refusal = denied(world.judge("a", "b")).refusal
    assert refusal.rules == ("p/sum",)
    assert "could not be evaluated" in refusal.reason


def test_a_forbid_wins_over_every_permit() -> None:
    rules = READ | {
        "no": '@id("staff") @reason("salaries") '
        'forbid(principal, action, resource in Table::"shop/public.staff");'
    }
    world = World(rules, {"select name from staff": [reads("staff", "name")]})
    refusal = denied(world.judge("select name from staff")).refusal
    assert refusal.rules == ("no/staff",)
    assert "salaries" in refusal.reason


def test_a_forbid_on_a_column_refuses_a_statement_that_reads_it() -> None:
    rules = READ | {
        "no": 'forbid(principal, action == Action::"select", resource == Column::"shop/public.staff.salary");'
    }
    touches = {
        "select salary from staff": [reads("staff", "salary")],
        "select name from staff": [reads("staff", "name")],
    }
    world = World(rules, touches)
    allowed(world.judge("select name from staff"))
    assert "public.staff.salary" in denied(world.judge("select salary from staff")).refusal.reason


def test_a_forbid_on_the_table_itself_counts_though_columns_are_asked_one_by_one() -> None:
    rules = READ | {
        "no": 'forbid(principal, action == Action::"select", resource == Table::"shop/public.staff");'
    }
    denied(World(rules, {"q": [reads("staff", "name")]}).judge("q"))


def test_a_forbid_on_a_label_counts_for_every_column_that_has_it() -> None:
    rules = READ | {"no": 'forbid(principal, action == Action::"select", resource in Label::"pay");'}
    world = World(rules, {"q": [reads("staff", "salary")], "r": [reads("staff", "name")]})
    denied(world.judge("q"))
    allowed(world.judge("r"))


def test_a_permit_on_columns_alone_is_enough_for_those_columns() -> None:
    rules = {
        "p": """
    permit(principal, action == Action::"connect", resource);
    permit(principal, action == Action::"select", resource == Column::"shop/public.staff.name");
    """
    }
    touches = {"a": [reads("staff", "name")], "b": [reads("staff", "name", "salary")],
               "c": [Touch(verb="select", tables=frozenset({("public", "staff", "read")}))]}  # fmt: skip
    world = World(rules, touches)
    allowed(world.judge("a"))
    denied(world.judge("b"))
    denied(world.judge("c"))


def test_two_names_that_look_alike_with_dots_are_two_tables() -> None:
    rules = {
        "p": """
    permit(principal, action == Action::"connect", resource);
    permit(principal, action == Action::"select", resource in Table::"shop/public.a.b");
    """
    }
    denied(World(rules, {"q": [reads("a.b", "x")]}).judge("q"))
    quoted = {"p": rules["p"].replace('public.a.b"', 'public.\\"a.b\\""')}
    allowed(World(quoted, {"q": [reads("a.b", "x")]}).judge("q"))


# ---------------------------------------------------------------- what is asked


@pytest.mark.parametrize(
    ("touch", "code"),
    [
        (Touch(verb="copy.out", capabilities=frozenset({"lateral.program"})), RefusalCode.LATERAL),
        (Touch(verb="lateral.role"), RefusalCode.LATERAL),
        (Touch(verb="lateral.unheard_of"), RefusalCode.LATERAL),
        (Touch(verb="update", tables=frozenset({("pg_catalog", "pg_class", "update")})), RefusalCode.LATERAL),
        (Touch(verb="select", opaque=frozenset({"relation:nosuch"})), RefusalCode.OPAQUE),
        (Touch(verb="select", opaque=frozenset({"function:public.refund"})), RefusalCode.OPAQUE),
        (Touch(verb="select", tables=frozenset({("pg_catalog", "pg_authid", "read")})), RefusalCode.DENIED),
        (Touch(verb="session.notify"), RefusalCode.DENIED),
        (Touch(verb="session.unheard_of"), RefusalCode.DENIED),
        (Touch(verb="ddl.create_table", tables=frozenset({("public", "t", "ddl")})), RefusalCode.DENIED),
        (Touch(verb="select", capabilities=frozenset({"lock"})), RefusalCode.DENIED),
        (Touch(verb="maintenance.vacuum"), RefusalCode.DENIED),
        (Touch(verb="grant"), RefusalCode.DENIED),
        (Touch(verb="truncate", tables=frozenset({("public", "orders", "truncate")})), RefusalCode.DENIED),
        (Touch(verb="select", functions=frozenset({"public.refund"})), RefusalCode.DENIED),
    ],
)
def test_a_reader_may_not(touch: Touch, code: RefusalCode) -> None:
    denied(World(READ, {"q": [touch]}).judge("q"), code)


@pytest.mark.parametrize(
    "touch",
    [
        Touch(verb="select", functions=frozenset({"pg_catalog.lower"})),
        Touch(verb="select", tables=frozenset({("pg_catalog", "pg_class", "read")})),
        Touch(verb="transaction"),
        Touch(verb="session.set"),
        Touch(verb="session.show"),
        Touch(verb="select", capabilities=frozenset({"explain"})),
        Touch(
            verb="copy.out", reads=columns("orders", "id"), tables=frozenset({("public", "orders", "read")})
        ),
    ],
)
def test_a_reader_may(touch: Touch) -> None:
    allowed(World(READ, {"q": [touch]}).judge("q"))


def test_everything_is_permitted_where_everything_is_permitted() -> None:
    touch = Touch(
        verb="ddl.unheard_of", capabilities=frozenset({"lateral.file", "lateral.unheard_of", "unlogged"}),
        opaque=frozenset({"relation:x", "function:f"}), tables=frozenset({("public", "orders", "ddl")}),
        predicates=columns("customers", "email"),
    )  # fmt: skip
    verdict = allowed(World({"all": "permit(principal, action, resource);"}, {"q": [touch]}).judge("q"))
    assert {"pii.email", "payment.card", "pay.salary", "secret.jwt"} <= set(verdict.unmask)


def test_copy_in_needs_the_insert_it_is() -> None:
    rules = {
        "p": """
    permit(principal, action == Action::"connect", resource);
    permit(principal, action == Action::"copy.in", resource in Resource::"shop");
    """
    }
    touch = Touch(
        verb="copy.in", writes=columns("orders", "id"), tables=frozenset({("public", "orders", "insert")})
    )
    assert "insert" in denied(World(rules, {"q": [touch]}).judge("q")).refusal.reason


# ---------------------------------------------------------------- masking


UNMASK = READ | {
    "clear": '@id("mail") permit(principal, action == Action::"unmask", resource in Label::"pii");'
}


def test_labels_are_shown_in_clear_only_where_unmask_is_permitted() -> None:
    touches = {"q": [reads("customers", "email")]}
    assert allowed(World(READ, touches).judge("q")).unmask == ()
    assert allowed(World(UNMASK, touches).judge("q")).unmask == (
        "pii.email",
        "pii.ip",
        "pii.phone",
        "pii.ssn",
    )


def test_a_permit_with_a_hold_unmasks_nothing() -> None:
    rules = READ | {"clear": '@hold("dba") permit(principal, action == Action::"unmask", resource);'}
    assert allowed(World(rules, {"q": [reads("customers", "email")]}).judge("q")).unmask == ()


def test_a_masked_column_in_a_predicate_is_refused_and_named_where_the_agent_wrote_it() -> None:
    text = "select name from customers where email = 'x'"
    touch = reads("customers", "name", "email", predicates=columns("customers", "email"))
    refusal = denied(World(READ, {text: [touch]}).judge(text), RefusalCode.MASKED_PREDICATE).refusal
    assert "public.customers.email" in refusal.reason
    assert "pii.email" in refusal.reason
    assert refusal.hint
    allowed(World(UNMASK, {text: [touch]}).judge(text))


def test_a_masked_column_that_is_stored_elsewhere_is_refused() -> None:
    rules = {"all": 'permit(principal, action, resource) unless { action == Action::"unmask" };'}
    touch = Touch(verb="insert", reads=columns("customers", "email"), flows=columns("customers", "email"),
                  writes=columns("orders", "total"),
                  tables=frozenset(
                      {("public", "orders", "insert"), ("public", "customers", "read")}))  # fmt: skip
    denied(World(rules, {"q": [touch]}).judge("q"), RefusalCode.MASKED_PREDICATE)


def test_a_refusal_names_nothing_the_agent_did_not_write() -> None:
    rules = READ | {
        "no": 'forbid(principal, action == Action::"select", resource == Column::"shop/public.staff.salary");'
    }
    star = "select * from staff"
    refusal = denied(World(rules, {star: [reads("staff", "id", "name", "salary")]}).judge(star)).refusal
    assert "salary" not in refusal.reason
    assert "a column of public.staff" in refusal.reason
    view = "select * from people"
    hidden = denied(World(rules, {view: [reads("staff", "salary")]}).judge(view)).refusal
    assert "staff" not in hidden.reason
    distinct = "select distinct * from customers"
    touch = reads("customers", "email", predicates=columns("customers", "email"))
    masked = denied(World(READ, {distinct: [touch]}).judge(distinct), RefusalCode.MASKED_PREDICATE).refusal
    assert "customers.email" not in masked.reason


# ---------------------------------------------------------------- holds, limits, grants


WRITE = READ | {
    "write": """
@id("update") @hold("dba") @quorum("2") @window("10m") @reason("changes data")
permit(principal in Group::"readers", action == Action::"update", resource in Resource::"shop");
"""
}
UPDATE = Touch(
    verb="update", writes=columns("orders", "total"), tables=frozenset({("public", "orders", "update")})
)


def test_a_hold_shows_people_what_would_be_done() -> None:
    op = operation("update orders set total = $1")
    op = op.model_copy(
        update={
            "statements": (
                op.statements[0].model_copy(update={"parameters": (Parameter(text="5"), Parameter())}),
            )
        }
    )
    world = World(WRITE, {"update orders set total = $1": [UPDATE]})
    verdict = held(judge(op, world.state))
    assert (verdict.groups, verdict.quorum, verdict.window_s, verdict.reason) == (
        ("dba",),
        2,
        600,
        "changes data",
    )
    assert verdict.text == "update orders set total = $1\n-- $1 = '5'\n-- $2 = NULL"


def test_of_several_permits_the_strictest_counts() -> None:
    more = WRITE | {
        "wide": """
    @limit("rows=500,bytes=2KB") permit(principal, action, resource);
    @hold("legal") @window("2m") @limit("rows=900")
    permit(principal, action == Action::"update", resource in Resource::"shop");
    """
    }
    verdict = held(World(more, {"q": [UPDATE]}).judge("q"))
    assert (verdict.groups, verdict.quorum, verdict.window_s) == (("dba", "legal"), 2, 120)
    given = Granted(request=EVENT, groups=frozenset({"dba", "legal"}), quorum=2)
    verdict = allowed(World(more, {"q": [UPDATE]}).judge("q", granted=given))
    assert (verdict.limits.rows, verdict.limits.size_bytes) == (500, 2000)


def test_a_grant_lets_a_held_operation_pass_once_enough_people_agreed() -> None:
    world = World(WRITE, {"q": [UPDATE]})
    assert (
        allowed(world.judge("q", granted=Granted(request=EVENT, groups=frozenset({"dba"}), quorum=2))).request
        == EVENT
    )
    held(world.judge("q", granted=Granted(request=EVENT, groups=frozenset({"dba"}), quorum=1)))
    held(world.judge("q", granted=Granted(request=EVENT, groups=frozenset({"hr"}), quorum=2)))


def test_a_grant_does_not_lift_a_denial() -> None:
    world = World(READ, {"q": [UPDATE]})
    denied(world.judge("q", granted=Granted(request=EVENT, groups=frozenset({"dba"}), quorum=9)))


def test_preparing_a_held_statement_is_allowed_and_running_it_is_held() -> None:
    world = World(
        WRITE,
        {"q": [UPDATE], "r": [Touch(verb="delete", tables=frozenset({("public", "orders", "delete")}))]},
    )
    allowed(world.judge("q", phase="prepare"))
    allowed(world.judge("q", phase="fetch"))
    held(world.judge("q", "q", phases=("prepare", "run")))
    denied(world.judge("r", phase="prepare"))


# ---------------------------------------------------------------- the session


def test_names_and_the_search_path_of_one_statement_count_for_the_next() -> None:
    touches = {
        "set search_path = x": [Touch(verb="session.set", search_path=("x",), search_path_may_change=True)],
        "prepare p as select 1": [
            Touch(verb="session.prepare", defines=(Defines(kind="prepared", name="p", text="select 1"),))
        ],
        "select 1": [Touch(verb="select")],
        "execute p": [Touch(verb="select")],
    }
    world = World(READ, touches)
    verdict = allowed(world.judge("set search_path = x", "select 1", "prepare p as select 1", "execute p"))
    assert [(one.number, one.kind, one.name) for one in verdict.defines] == [(2, "prepared", "p")]
    assert verdict.search_path_may_change
    assert world.asked[-1][1].search_path == ("x",)
    assert world.asked[-1][1].prepared == {"p": "select 1"}


def test_names_behind_an_unforeseeable_search_path_are_refused() -> None:
    touches = {"set": [Touch(verb="session.set", search_path_may_change=True)], "q": [reads("orders", "id")],
               "commit": [Touch(verb="transaction")]}  # fmt: skip
    world = World(READ, touches)
    denied(world.judge("set", "q"), RefusalCode.OPAQUE)
    allowed(world.judge("set", "commit"))


def test_prepared_names_change_a_verdict_only_where_the_text_can_refer_to_them() -> None:
    world = World(READ, {"execute p": [Touch(verb="select")], "select 1": [Touch(verb="select")]})
    for text, times in (("select 1", 1), ("execute p", 2)):
        world.asked.clear()
        for sql in ("select 1", "select 2"):
            world.judge(text, context=SessionContext(database="shop", prepared={"p": sql}))
        assert len(world.asked) == times


def test_rules_can_speak_of_what_the_token_says() -> None:
    rules = READ | {
        "narrow": """
    @id("tool") forbid(principal, action == Action::"select", resource)
    unless {
        context has tool && context.tool == "report" && context has user && context.user == User::"ann"
    };
    @id("run") forbid(principal, action == Action::"connect", resource)
    when { context has run && context.run.name like "night-*" };
    """
    }
    world = World(rules, {"q": [reads("orders", "id")]})
    assert denied(world.judge("q")).rules == ("narrow/tool",)
    denied(world.judge("q", tool="other", user="ann"))
    denied(world.judge("q", tool="report", user="bob"))
    allowed(world.judge("q", tool="report", user="ann"))
    allowed(world.judge("q", tool="report", user="ann", run="day-1"))
    assert denied(world.judge("q", tool="report", user="ann", run="night-1")).rules == ("narrow/run",)


def test_the_same_operation_gets_the_same_verdict_whatever_was_judged_before() -> None:
    touches = {"q": [reads("customers", "email")], "r": [reads("staff", "salary")], "s": [UPDATE]}
    rules = WRITE | {"no": 'forbid(principal, action == Action::"select", resource in Label::"pay");'}
    one, other = World(rules, touches), World(rules, touches)
    first = [one.judge(text, groups=groups) for text in "qrs" for groups in (("readers",), ("x",))]
    again = [other.judge(text, groups=groups) for groups in (("x",), ("readers",)) for text in "srq"]
    assert sorted(first, key=lambda v: v.model_dump_json()) == sorted(
        again, key=lambda v: v.model_dump_json()
    )
    assert first == [one.judge(text, groups=groups) for text in "qrs" for groups in (("readers",), ("x",))]


def test_agents_no_rule_names_share_what_is_worked_out_and_one_that_is_named_does_not() -> None:
    rules = READ | {"one": 'forbid(principal == Agent::"mallory", action == Action::"select", resource);'}
    world = World(rules, {"q": [reads("orders", "id")]})
    allowed(world.judge("q", agent="ann"))
    assert world.state.asking is not None
    slices = len(world.state.asking.bundle.slices)
    allowed(world.judge("q", agent="bob", groups=("readers", "others")))
    assert len(world.state.asking.bundle.slices) == slices
    denied(world.judge("q", agent="mallory"))


def test_a_partition_is_protected_by_what_is_said_of_the_table_it_belongs_to() -> None:
    rules = READ | {
        "no": """
    forbid(principal, action == Action::"select", resource == Column::"shop/public.staff.salary");
    """
    }
    world = World(rules, {"q": [reads("staff_old", "salary")], "r": [reads("staff_old", "name")]})
    view = world.state.asking.view if world.state.asking else None
    assert view is not None
    part = Relation(
        schema="public",
        name="staff_old",
        oid=9,
        kind="r",
        parents=("public.staff",),
        columns=view.catalog.relations["public.staff"].columns,
    )
    relations = {**view.catalog.relations, "public.staff_old": part}
    view.catalog = replace(view.catalog, relations=relations)
    assert view.labels_on("public", "staff_old", "salary") == ("pay.salary",)
    denied(world.judge("q"))
    allowed(world.judge("r"))
