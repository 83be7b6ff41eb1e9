"""The judge on calls of an HTTP API: what it refuses, holds and allows."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weirgate_contracts.events import OperationAllowed, OperationDenied, OperationHeld, OperationIntercepted
from weirgate_contracts.http import HttpBody, HttpCall, HttpHeader
from weirgate_contracts.identity import Identity
from weirgate_contracts.operation import AnswerLimit, SessionContext, Statement
from weirgate_contracts.refusal import RefusalCode
from weirgate_contracts.route import match_route
from weirgate_policy.body import Fields, Unread, read_fields
from weirgate_policy.bundle import compile_policies
from weirgate_policy.case import call_state_of
from weirgate_policy.judge import Granted, Judgement, judge
from weirgate_policy.obligation import BadAnnotation, read_annotations

ROUTES = ("/v1/customers", "/v1/customers/{id}", "/v1/payments", "/*unlisted")
SECRET = "hunter2-very-secret"
OPEN = """
@id("connect") permit(principal, action == Action::"connect", resource in Resource::"crm");
@id("read") permit(principal, action in Action::"http.read", resource in Resource::"crm");
@id("write") permit(principal, action in Action::"http.write", resource in Resource::"crm");
"""
CONNECT = '@id("connect") permit(principal, action == Action::"connect", resource);\n'


def body(content: Any, type: str = "application/json", **more: Any) -> HttpBody:
    """A body that was read whole; an object is written as JSON."""
    text = content if isinstance(content, str) else json.dumps(content)
    raw = text.encode()
    given: dict[str, Any] = {
        "whole": True,
        "size_bytes": len(raw),
        "sha256": sha256(raw).hexdigest(),
        "text": text,
    } | more
    return HttpBody(type=type, **given)


def called(
    line: str, *, query: Mapping[str, str] | tuple[tuple[str, str], ...] = (), **more: Any
) -> HttpCall:
    """A call, as ingress makes it: ``GET /v1/customers/7``."""
    method, path = line.split(" ")
    found = match_route(ROUTES, path) or (None, {})
    pairs = tuple(query.items()) if isinstance(query, Mapping) else query
    headers = tuple(HttpHeader(name=name, value=value) for name, value in more.pop("headers", ()))
    return HttpCall(
        method=method, path=path, query=pairs, route=found[0], arguments=found[1], headers=headers, **more
    )


def operation(call: HttpCall | None, **more: Any) -> OperationIntercepted:
    """An intercepted call."""
    identity = Identity(agent="bot", groups=("makers",), issuer="test", token_id="t", expires_at=0)
    given: dict[str, Any] = {
        "id": "01J00000000000000000000001", "at": "2026-01-01T00:00:00.000000Z", "ingress": "i1", "session": "s1",
        "operation": 1, "protocol": "http", "resource": "crm", "digest": "d1", "identity": identity, "call": call,
    }  # fmt: skip
    return OperationIntercepted(**(given | more))


class World:
    """Rules on one HTTP resource."""

    def __init__(self, rules: str, labels: Mapping[str, str] | None = None) -> None:
        self.state = call_state_of(
            "crm", bundle=compile_policies({"p": rules}), routes=ROUTES, labels=labels or {}, revision=7
        )

    def judge(self, line: str, *, granted: Granted | None = None, **more: Any) -> Judgement:
        """Judge one call, twice: what is remembered changes nothing."""
        asked = operation(called(line, **more))
        first = judge(asked, self.state, granted=granted)
        assert judge(asked, self.state, granted=granted) == first
        return first

    def allows(self, line: str, **more: Any) -> OperationAllowed:
        """It is allowed."""
        verdict = self.judge(line, **more)
        assert isinstance(verdict, OperationAllowed), verdict
        return verdict

    def denies(self, line: str, code: RefusalCode = RefusalCode.DENIED, **more: Any) -> OperationDenied:
        """It is denied with this code, and tells no value."""
        verdict = self.judge(line, **more)
        assert isinstance(verdict, OperationDenied), verdict
        assert verdict.refusal.code is code, verdict.refusal
        assert SECRET not in verdict.model_dump_json()
        return verdict

    def holds(self, line: str, **more: Any) -> OperationHeld:
        """A person decides."""
        verdict = self.judge(line, **more)
        assert isinstance(verdict, OperationHeld), verdict
        return verdict


# ---------------------------------------------------------------- routes and methods


def test_a_permitted_call_is_allowed_without_a_catalog_and_says_what_it_touches() -> None:
    verdict = World(OPEN).allows("GET /v1/customers/7", query={"q": SECRET})
    assert verdict.catalog_revision == ""
    assert verdict.policy_revision == 7
    assert verdict.rules == ("p/connect", "p/read")
    (touched,) = verdict.touched
    assert (touched.verb, touched.reads, touched.writes) == ("http.get", ("GET /v1/customers/{id}",), ())
    assert SECRET not in verdict.model_dump_json()
    (touched,) = World(OPEN).allows("POST /v1/payments").touched
    assert (touched.verb, touched.reads, touched.writes) == ("http.post", (), ("POST /v1/payments",))


@pytest.mark.parametrize(
    ("method", "action", "family"),
    [
        ("GET", "http.get", "read"), ("HEAD", "http.head", "read"), ("OPTIONS", "http.options", "read"),
        ("POST", "http.post", "write"), ("PUT", "http.put", "write"), ("PATCH", "http.patch", "write"),
        ("DELETE", "http.delete", "write"), ("PROPFIND", "http.other", "write"), ("get", "http.other", "write"),
        ("OTHER", "http.other", "write"),
    ],
)  # fmt: skip
def test_every_method_has_one_action_in_one_group(method: str, action: str, family: str) -> None:
    other = {"read": "write", "write": "read"}[family]
    for name in (action, f"http.{family}", "http"):
        world = World(CONNECT + f'permit(principal, action in Action::"{name}", resource);')
        assert world.allows(f"{method} /v1/payments").touched[0].verb == action
    World(CONNECT + f'permit(principal, action in Action::"http.{other}", resource);').denies(
        f"{method} /v1/payments"
    )


def test_without_a_rule_a_call_is_denied_with_what_would_be_needed() -> None:
    refusal = World(CONNECT).denies("GET /v1/customers/7").refusal
    assert refusal.reason == "GET /v1/customers/{id} on crm (http.get) is refused: no rule permits it."
    assert 'http.get on Route::"crm/v1/customers/{id}"' in (refusal.hint or "")


def test_without_connect_nothing_is_allowed() -> None:
    refusal = (
        World('permit(principal, action in Action::"http", resource);').denies("GET /v1/customers").refusal
    )
    assert refusal.reason == "connect on resource crm is refused: no rule permits it."


def test_a_permit_on_one_route_reaches_no_other() -> None:
    world = World(CONNECT + 'permit(principal, action, resource == Route::"crm/v1/customers/{id}");')
    world.allows("GET /v1/customers/7")
    world.denies("GET /v1/customers")
    world.denies("GET /v1/payments")
    world.denies("GET /elsewhere")


def test_a_path_that_fits_no_template_has_a_route_of_its_own_that_no_template_can_be() -> None:
    unlisted = World(CONNECT + 'permit(principal, action, resource == Route::"crm/<unlisted>");')
    assert unlisted.allows(f"GET /{SECRET}").touched[0].reads == ("GET (unlisted path)",)
    unlisted.denies("GET /v1/customers")
    unlisted.denies("GET /*unlisted")
    named = World(CONNECT + 'permit(principal, action, resource == Route::"crm/*unlisted");')
    named.allows("GET /*unlisted")
    refusal = named.denies(f"GET /{SECRET}").refusal
    assert "GET (unlisted path) on crm" in refusal.reason
    assert "Check the path" in (refusal.hint or "")


def test_rules_read_the_template_by_name_and_by_context() -> None:
    rules = 'permit(principal, action, resource is Route) when { resource.name == "/v1/customers/{id}" };'
    World(CONNECT + rules).allows("GET /v1/customers/7")
    World(CONNECT + rules).denies("GET /v1/payments")
    listed = 'permit(principal, action in Action::"http", resource) when { context has route };'
    World(CONNECT + listed).allows("GET /v1/payments")
    World(CONNECT + listed).denies("GET /elsewhere")
    path = 'permit(principal, action in Action::"http", resource) when { context.path like "/v1/*" };'
    World(CONNECT + path).allows("GET /v1/elsewhere")
    World(CONNECT + path).denies("GET /v2/elsewhere")


def test_a_forbid_wins_over_every_permit() -> None:
    forbid = """
    @id("no") @reason("no deleting") forbid(principal, action == Action::"http.delete", resource in Resource::"crm");
    """
    refusal = World(OPEN + forbid).denies("DELETE /v1/customers/7").refusal
    assert refusal.rules == ("p/no",)
    assert "no deleting" in refusal.reason
    World(OPEN + forbid).allows("GET /v1/customers/7")


def test_routes_that_ingress_saw_otherwise_are_refused_to_be_tried_again() -> None:
    state = World(OPEN).state
    call = called("GET /v1/customers/7")
    for other in (
        call.model_copy(update={"route": "/v1/customers", "arguments": {}}),
        call.model_copy(update={"route": None, "arguments": {}}),
        call.model_copy(update={"arguments": {"id": "8"}}),
        called("GET /elsewhere").model_copy(update={"route": "/v1/customers"}),
    ):
        verdict = judge(operation(other), state)
        assert isinstance(verdict, OperationDenied)
        assert verdict.refusal.code is RefusalCode.CATALOG_CHANGED


def test_what_is_no_call_is_no_operation_of_http() -> None:
    state = World(OPEN).state
    statement = Statement(text="select 1", phase="run")
    call = called("GET /v1/customers")
    for odd in (
        operation(None),
        operation(None, statements=(statement,)),
        operation(call, statements=(statement,)),
        operation(call, protocol="mcp"),
        operation(call, protocol="postgres", context=SessionContext(database="x")),
        operation(call, resource="other"),
    ):
        verdict = judge(odd, state)
        assert isinstance(verdict, OperationDenied), odd
        assert verdict.refusal.code is RefusalCode.UNSUPPORTED


# ---------------------------------------------------------------- what rules read of a call


def one_rule(condition: str) -> World:
    """A world with one rule on POST to payments, beside connecting."""
    head = 'permit(principal, action in [Action::"http.get", Action::"http.post"], resource)'
    return World(f'{CONNECT}@id("one") {head} when {{ {condition} }};')


def test_a_rule_reads_one_name_of_the_query() -> None:
    world = one_rule('context.query.hasTag("limit") && context.query.getTag("limit") == "10"')
    world.allows("GET /v1/customers", query={"limit": "10", "x": "y"})
    world.denies("GET /v1/customers", query={"limit": "1000"})
    world.denies("GET /v1/customers", query={"Limit": "10"})
    world.denies("GET /v1/customers")


@pytest.mark.parametrize("again", ["limit", "LIMIT"])
def test_a_name_that_stands_twice_in_the_query_denies_where_a_rule_reads_it(again: str) -> None:
    world = one_rule('context.query.hasTag("limit") && context.query.getTag("limit") == "10"')
    twice = (("limit", "10"), (again, SECRET))
    refusal = world.denies("GET /v1/customers", RefusalCode.UNPARSABLE, query=twice).refusal
    assert refusal.rules == ("p/one",)
    assert "more than once in its query" in refusal.reason
    world.allows("GET /v1/customers", query=(("limit", "10"), ("tag", "a"), ("tag", "b")))


def test_a_forbid_cannot_be_passed_by_with_a_second_value() -> None:
    forbid = """
    forbid(principal, action in Action::"http", resource)
    when { context.query.hasTag("role") && context.query.getTag("role") == "admin" };
    """
    World(OPEN + forbid).denies("GET /v1/customers", query={"role": "admin"})
    twice = (("role", "user"), ("role", "admin"))
    World(OPEN + forbid).denies("GET /v1/customers", RefusalCode.UNPARSABLE, query=twice)


def test_a_rule_reads_the_arguments_of_the_path() -> None:
    world = one_rule('context.arguments.hasTag("id") && context.arguments.getTag("id") == "a b"')
    world.allows("GET /v1/customers/a%20b")
    world.denies("GET /v1/customers/7")
    world.denies("GET /v1/customers")


def test_a_rule_reads_headers_of_which_several_are_one_list() -> None:
    world = one_rule('context.headers.hasTag("x-team") && context.headers.getTag("x-team") == "red, blue"')
    world.allows("GET /v1/customers", headers=[("x-team", "red"), ("x-team", "blue")])
    world.denies("GET /v1/customers", headers=[("x-team", "red")])
    world.denies("GET /v1/customers")


def test_a_rule_reads_fields_of_a_json_body_and_its_numbers() -> None:
    amount = 'context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") <= 1000'
    world = one_rule(
        f'context.body.hasTag("/to/iban") && context.body.getTag("/to/iban") like "DE*" && {amount}'
    )
    to = {"iban": "DE02"}
    world.allows("POST /v1/payments", body=body({"to": to, "amount": 1000}))
    world.allows("POST /v1/payments", body=body({"to": to, "amount": 1000}, "application/x+json"))
    world.allows("POST /v1/payments", body=body('{"to":{"iban":"DE02"},"amount":1e3}'))
    for amount in (1001, 10.5, "5", None, [5], 2**63):
        world.denies("POST /v1/payments", body=body({"to": to, "amount": amount}))
    world.denies("POST /v1/payments", body=body({"to": {"iban": SECRET}, "amount": 5}))
    world.denies("POST /v1/payments", body=body([]))


def test_pointers_reach_into_lists_and_tell_that_something_is_there() -> None:
    there = one_rule('context.body.hasTag("/items/1/a~1b") && context.body.getTag("/items/1/a~1b") == "true"')
    there.allows("POST /v1/payments", body=body({"items": [{}, {"a/b": True}]}))
    there.denies("POST /v1/payments", body=body({"items": [{"a/b": True}]}))
    none = one_rule('!context.body.hasTag("/admin")')
    none.allows("POST /v1/payments", body=body({"items": []}))
    none.denies("POST /v1/payments", body=body({"admin": {}}))


def test_a_rule_reads_fields_of_a_form() -> None:
    world = one_rule('context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") < 10')
    form = "application/x-www-form-urlencoded"
    world.allows("POST /v1/payments", body=body("amount=9&note=a+b", form))
    world.denies("POST /v1/payments", body=body("amount=90", form))
    world.denies("POST /v1/payments", body=body("amount=9.0", form))
    refusal = world.denies(
        "POST /v1/payments", RefusalCode.UNPARSABLE, body=body("amount=9&amount=90", form)
    ).refusal
    assert "more than once in its form" in refusal.reason
    world.allows("POST /v1/payments", body=body("amount=9&tag=a&tag=b", form))


def test_a_call_without_a_body_has_no_fields() -> None:
    one_rule('!context.body.hasTag("/amount")').allows("POST /v1/payments")
    one_rule('!context.body.hasTag("/amount")').allows("POST /v1/payments", body=body(""))
    one_rule(
        'context.bodyWhole && context.bodyType == "" && context has bodySize && context.bodySize == 0'
    ).allows("GET /v1/customers")


def test_a_rule_reads_type_and_size_of_a_body_that_is_not_read() -> None:
    world = one_rule('context.bodyType == "image/png" && !context.bodyWhole')
    world.allows("POST /v1/payments", body=HttpBody(type="image/png", whole=False))
    small = one_rule("context has bodySize && context.bodySize < 10")
    small.allows("POST /v1/payments", body=HttpBody(type="image/png", whole=False, size_bytes=9))
    small.denies("POST /v1/payments", body=HttpBody(type="image/png", whole=False, size_bytes=10))
    small.denies("POST /v1/payments", body=HttpBody(type="image/png", whole=False))


JSON_TYPE = "application/json"


@pytest.mark.parametrize(
    ("unread", "code"),
    [
        (HttpBody(type="image/png", whole=False, size_bytes=3), RefusalCode.UNSUPPORTED),
        (HttpBody(type="", whole=False), RefusalCode.UNSUPPORTED),
        (body("amount=1", "text/plain"), RefusalCode.UNSUPPORTED),
        (HttpBody(type=JSON_TYPE, whole=False, size_bytes=3), RefusalCode.TOO_LARGE),
        (body({}, size_bytes=70_000, text=None), RefusalCode.TOO_LARGE),
        (body({}, text=None), RefusalCode.UNPARSABLE),
        (body('{"amount":1,"amount":' + json.dumps(SECRET) + "}"), RefusalCode.UNPARSABLE),
        (body('{"amount":1,"Amount":2}'), RefusalCode.UNPARSABLE),
        (body('{"amount":1'), RefusalCode.UNPARSABLE),
        (body('{"amount":NaN}'), RefusalCode.UNPARSABLE),
        (body('{"amount":"\\ud800"}'), RefusalCode.UNPARSABLE),
        (body("[" * 30_000), RefusalCode.UNPARSABLE),
        (body('{"a":' * 300 + "1" + "}" * 300), RefusalCode.UNPARSABLE),
        (body("a=%ff", "application/x-www-form-urlencoded"), RefusalCode.UNPARSABLE),
    ],
)
@pytest.mark.parametrize("read", ['context.body.hasTag("/amount")', 'context.numbers.hasTag("/amount")'])
@pytest.mark.parametrize("effect", ["permit", "forbid"])
def test_a_body_that_is_not_read_denies_where_a_rule_reads_it(
    unread: HttpBody, code: RefusalCode, read: str, effect: str
) -> None:
    rule = f'@id("reads") {effect}(principal, action == Action::"http.post", resource) when {{ {read} }};'
    refusal = World(OPEN + rule).denies("POST /v1/payments", code, body=unread).refusal
    assert refusal.rules == ("p/reads",)
    assert "reads its body, which" in refusal.reason
    assert refusal.hint
    World(OPEN).allows("POST /v1/payments", body=unread)


@pytest.mark.parametrize(
    "headers",
    [
        [("content-type", "application/json; charset=utf-7")],
        [("content-type", "application/json"), ("content-type", "text/plain")],
        [("content-type", "application/json"), ("content-encoding", "gzip")],
    ],
)
def test_a_body_in_another_charset_or_coding_is_not_read(headers: list[tuple[str, str]]) -> None:
    world = one_rule('!context.body.hasTag("/amount")')
    world.denies("POST /v1/payments", RefusalCode.UNSUPPORTED, body=body({}), headers=headers)
    plain = [("content-type", 'application/json; charset="UTF-8"'), ("content-encoding", "identity")]
    world.allows("POST /v1/payments", body=body({}), headers=plain)


def test_a_rule_of_another_route_that_reads_the_body_is_not_in_the_way() -> None:
    forbid = """
    forbid(principal, action, resource == Route::"crm/v1/payments") when { context.body.hasTag("/amount") };
    """
    World(OPEN + forbid).allows("POST /v1/customers", body=HttpBody(type="image/png", whole=False))


def test_what_two_calls_say_is_never_mixed_up() -> None:
    world = one_rule('context.query.hasTag("a") && context.query.getTag("a") == "1"')
    world.allows("GET /v1/customers", query={"a": "1"})
    world.denies("GET /v1/customers", query={"a": "2"})
    world.denies("GET /v1/customers", query={"b": "1"})
    world.allows("GET /v1/customers", query={"a": "1", "b": "2"})
    asking = world.state.asking
    assert asking is not None
    remembered = len(asking.known)
    world.allows("GET /v1/customers", query={"a": "1", "c": "3"})
    assert len(asking.known) == remembered, "what no rule reads asks no new question"
    world.denies("GET /v1/customers", query={"a": "x" * 5000})
    assert len(asking.known) == remembered, "a large value is not remembered"


def test_a_name_that_is_worked_out_reads_the_whole() -> None:
    world = one_rule("context.query.hasTag(context.method)")
    world.allows("GET /v1/customers", query={"GET": "1"})
    world.denies("GET /v1/customers", query={"POST": "1"})
    world.denies("GET /v1/customers", RefusalCode.UNPARSABLE, query=(("GET", "1"), ("x", "1"), ("x", "2")))


def test_a_rule_that_fails_denies_although_another_permits() -> None:
    fails = """
    @id("sum") forbid(principal, action == Action::"http.get", resource)
    when { context has bodySize && (context.bodySize + 1) * 9223372036854775807 * 2 > 1 };
    """
    refusal = World(OPEN + fails).denies("GET /v1/customers").refusal
    assert "rule p/sum could not be evaluated" in refusal.reason


# ---------------------------------------------------------------- labels, limits, holds


def test_labels_of_fields_and_of_detectors_are_unmasked_only_where_permitted() -> None:
    labels = {"* /**/email": "pii.email", "/v1/payments /card": "payment.card"}
    assert World(OPEN, labels).allows("GET /v1/customers").unmask == ()
    unmask = '@id("mail") permit(principal, action == Action::"unmask", resource in Label::"pii");'
    assert "pii.email" in World(OPEN + unmask, labels).allows("GET /v1/customers").unmask
    assert "payment.card" not in World(OPEN + unmask, labels).allows("GET /v1/customers").unmask
    held = '@id("mail") @hold("dba") permit(principal, action == Action::"unmask", resource);'
    assert World(OPEN + held, labels).allows("GET /v1/customers").unmask == ()


def test_what_answers_may_be_stands_in_the_verdict_of_each_permit() -> None:
    rules = (
        CONNECT
        + '@answer("status=404|2xx") permit(principal, action, resource);'
        + '@answer("status=2xx, type=text/*|application/json") permit(principal, action, resource);'
    )
    found = World(rules).allows("GET /v1/customers")
    assert found.limits.answers is not None
    assert sorted(found.limits.answers, key=lambda one: one.types) == [
        AnswerLimit(statuses=("2xx", "404")),
        AnswerLimit(statuses=("2xx",), types=("application/json", "text/*")),
    ]


@pytest.mark.parametrize(
    "text", ["", "status=", "status=6xx", "type=json", "type=Text/css", "size=3", "status=2xx,status=2xx"]
)
def test_an_annotation_that_says_nothing_of_an_answer_is_refused(text: str) -> None:
    with pytest.raises(BadAnnotation):
        read_annotations("permit", {"answer": text})


def test_a_limit_of_bytes_stands_in_the_verdict() -> None:
    rules = CONNECT + '@limit("rows=5,bytes=1MB") permit(principal, action, resource);'
    limits = World(rules).allows("GET /v1/customers").limits
    assert (limits.rows, limits.size_bytes) == (None, 1_000_000)


HOLD = (
    CONNECT
    + """
@id("pay") @hold("dba, legal") @quorum("2") @window("5m") @reason("moves money")
permit(principal, action == Action::"http.post", resource == Route::"crm/v1/payments");
"""
)


def test_a_held_call_shows_people_what_would_be_done() -> None:
    verdict = World(HOLD).holds(
        "POST /v1/payments",
        query={"dry": "no"},
        headers=[("user-agent", "x"), ("content-type", "application/json"), ("idempotency-key", "k1")],
        body=body('{"amount": 5}'),
    )
    assert (verdict.groups, verdict.quorum, verdict.window_s, verdict.reason) == (
        ("dba", "legal"),
        2,
        300,
        "moves money",
    )
    assert verdict.text == (
        'POST /v1/payments?dry=no\ncontent-type: application/json\nidempotency-key: k1\n\n{"amount": 5}'
    )
    assert verdict.touched[0].writes == ("POST /v1/payments",)


def test_what_is_shown_of_a_held_call_is_cut_at_16_kib_and_says_so() -> None:
    verdict = World(HOLD).holds("POST /v1/payments", body=body({"note": "é" * 12_000}))
    assert len(verdict.text.encode()) <= 16 * 1024
    assert verdict.text.endswith(" bytes in all")
    large = body("[]", text=None, size_bytes=100_000)
    shown = World(HOLD).holds("POST /v1/payments", body=large).text
    assert shown == f"POST /v1/payments\n\n[100000 bytes, sha256 {large.sha256}]"


def test_a_held_call_goes_through_with_an_approval_that_covers_it() -> None:
    groups = frozenset({"dba", "legal"})
    enough = Granted(request="01J00000000000000000000009", groups=groups, quorum=2)
    verdict = World(HOLD).allows("POST /v1/payments", body=body({}), granted=enough)
    assert verdict.request == enough.request
    World(HOLD).holds(
        "POST /v1/payments",
        body=body({}),
        granted=Granted(request=enough.request, groups=groups, quorum=1),
    )


def test_a_call_whose_body_is_not_read_whole_is_never_held_and_no_approval_helps() -> None:
    granted = Granted(request="01J00000000000000000000009", groups=frozenset({"dba", "legal"}), quorum=9)
    streamed = HttpBody(type="application/octet-stream", whole=False, size_bytes=10)
    for grant in (None, granted):
        refusal = (
            World(HOLD)
            .denies("POST /v1/payments", RefusalCode.UNSUPPORTED, body=streamed, granted=grant)
            .refusal
        )
        assert "an approval cannot be bound to what nobody read" in refusal.reason
        assert refusal.rules == ("p/connect", "p/pay")


def test_the_strictest_of_several_permits_counts() -> None:
    small = """
    @id("small") permit(principal, action == Action::"http.post", resource)
    when { context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") <= 100 };
    @id("large") @hold("dba") permit(principal, action == Action::"http.post", resource)
    unless { context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") <= 100 };
    """
    world = World(CONNECT + small)
    world.allows("POST /v1/payments", body=body({"amount": 100}))
    world.holds("POST /v1/payments", body=body({"amount": 101}))
    world.holds("POST /v1/payments", body=body({"amount": "100"}))
    world.denies("POST /v1/payments", RefusalCode.UNSUPPORTED, body=HttpBody(type="text/plain", whole=False))


# ---------------------------------------------------------------- whatever an agent sends

WHOLE = World(
    CONNECT
    + 'permit(principal, action in Action::"http", resource) when { context.query.hasTag(context.method) || '
    "context.headers.hasTag(context.path) || context.body.hasTag(context.path) || context.bodyType == context.path };"
)
NAMES = st.text(max_size=8) | st.sampled_from(["__entity", "__extn", "__expr", "type", "id", "", "GET"])


@given(st.dictionaries(NAMES, st.text(max_size=8)), st.dictionaries(NAMES, st.text(max_size=8)))
def test_any_name_in_a_query_and_a_body_is_only_a_name(query: dict[str, str], fields: dict[str, str]) -> None:
    call = called("GET /v1/customers", query=query, body=body(fields))
    verdict = judge(operation(call), WHOLE.state)
    if isinstance(verdict, OperationDenied) and verdict.refusal.code is RefusalCode.UNPARSABLE:
        assert any(len({name.casefold() for name in one}) < len(one) for one in (query, fields))
    else:
        assert isinstance(verdict, OperationAllowed) == ("GET" in query)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)


@given(JSON)
def test_every_scalar_of_a_json_body_stands_under_its_pointer(content: object) -> None:
    found = read_fields(called("POST /v1/payments", body=body(content)))
    if isinstance(found, Unread):
        return
    for pointer, value in found.values.values.items():
        inner: Any = content
        for step in pointer.split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            inner = inner[int(name)] if isinstance(inner, list) else inner[name]
        if isinstance(inner, str):
            assert value == inner
        elif isinstance(inner, int) and not isinstance(inner, bool):
            assert value == str(inner)
            assert found.numbers.values.get(pointer) == (inner if -(2**63) <= inner < 2**63 else None)


@given(
    st.text(), st.sampled_from(["application/json", "application/x-www-form-urlencoded", "text/plain", ""])
)
def test_any_body_is_read_or_it_is_said_why_not(text: str, type: str) -> None:
    found = read_fields(called("POST /v1/payments", body=body(text, type)))
    assert isinstance(found, Fields | Unread)


# ---------------------------------------------------------------- WebSocket


OPENS = 'permit(principal, action in [Action::"connect", Action::"http.upgrade"], resource);\n'


def _messages(rules: str) -> str | None:
    verdict = World(rules).judge("GET /v1/customers/7", upgrade="websocket")
    assert isinstance(verdict, OperationAllowed)
    return verdict.messages


def test_a_permit_to_read_permits_no_upgrade_and_a_plain_get_is_no_upgrade() -> None:
    reads = World('permit(principal, action in [Action::"connect", Action::"http.read"], resource);')
    assert isinstance(reads.judge("GET /v1/customers/7", upgrade="websocket"), OperationDenied)
    verdict = reads.judge("GET /v1/customers/7")
    assert isinstance(verdict, OperationAllowed)
    assert verdict.messages is None
    assert isinstance(World(OPENS).judge("GET /v1/customers/7"), OperationDenied)


def test_messages_are_judged_exactly_where_a_rule_could_fire_on_one() -> None:
    assert _messages(OPENS) == "record"
    route = 'permit(principal, action == Action::"http.message", resource == Route::"crm/%s");'
    assert _messages(OPENS + route % "v1/customers/{id}") == "judge"
    assert _messages(OPENS + route % "v1/other") == "record"
    others = 'permit(principal == Agent::"else", action == Action::"http.message", resource);'
    assert _messages(OPENS + others) == "record"
    elsewhere = 'permit(principal, action == Action::"http.message", resource in Resource::"erp");'
    assert _messages(OPENS + elsewhere) == "record"
    assert _messages(OPENS + 'permit(principal, action, resource is Route in Resource::"crm");') == "judge"


def test_a_message_is_judged_by_its_fields_and_a_method_of_that_name_is_none() -> None:
    world = World(
        OPENS + 'permit(principal, action == Action::"http.message", resource) when '
        '{ context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") < 10 };'
    )
    for text, kind in (('{"amount": 5}', OperationAllowed), ('{"amount": 50}', OperationDenied)):
        verdict = world.judge("MESSAGE /v1/customers/7", upgrade="websocket", body=body(text))
        assert isinstance(verdict, kind)
    plain = world.judge("MESSAGE /v1/customers/7", upgrade="websocket", body=body("hello", type="text/plain"))
    assert isinstance(plain, OperationDenied)
    assert isinstance(world.judge("MESSAGE /v1/customers/7", body=body('{"amount": 5}')), OperationDenied)
