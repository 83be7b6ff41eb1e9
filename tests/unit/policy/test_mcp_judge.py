"""The judge on messages of MCP: what it refuses, holds, allows and shows."""

import json
from hashlib import sha256
from typing import Any

import pytest

from weirgate_contracts.config import ToolsDocument
from weirgate_contracts.events import OperationAllowed, OperationDenied, OperationHeld, OperationIntercepted
from weirgate_contracts.http import HttpBody, HttpCall
from weirgate_contracts.identity import Identity
from weirgate_contracts.mcp import SERVER_REQUESTS, McpCall, McpItem
from weirgate_contracts.refusal import RefusalCode
from weirgate_policy.bundle import compile_policies
from weirgate_policy.case import call_state_of
from weirgate_policy.judge import Granted, Judgement, judge
from weirgate_policy.message import CHANGED, NEVER

SECRET = "hunter2-very-secret"
OPEN = """
@id("connect") permit(principal, action == Action::"connect", resource in Resource::"desk");
@id("session") permit(principal, action == Action::"mcp.session", resource in Resource::"desk");
"""
CALLS = '@id("calls") permit(principal, action == Action::"mcp.call", resource in Resource::"desk");\n'
GOOD, BAD = "a" * 64, "b" * 64


def body(message: Any, **more: Any) -> HttpBody:
    text = message if isinstance(message, str) else json.dumps(message)
    raw = text.encode()
    given: dict[str, Any] = {"size_bytes": len(raw), "sha256": sha256(raw).hexdigest(), "text": text}
    return HttpBody(type="application/json", whole=True, **(given | more))


def called(mcp: McpCall, params: Any = None, **more: Any) -> OperationIntercepted:
    message = {"jsonrpc": "2.0", "id": 1, "method": mcp.method, "params": params or {}}
    call = HttpCall(method="POST", path="/", body=more.pop("body", None) or body(message), mcp=mcp)
    identity = Identity(agent="bot", groups=("makers",), issuer="test", token_id="t", expires_at=0)
    given: dict[str, Any] = {
        "id": "01J00000000000000000000001", "at": "2026-01-01T00:00:00.000000Z", "ingress": "i1", "session": "s1",
        "operation": 1, "protocol": "mcp", "resource": "desk", "digest": "d1", "identity": identity, "call": call,
    }  # fmt: skip
    return OperationIntercepted(**(given | more))


class World:
    """Rules on one MCP server."""

    def __init__(self, rules: str = "", *, tools: dict[str, str] | None = None, **more: Any) -> None:
        pinned = None if tools is None else ToolsDocument(resource="desk", tools=tools, **more)
        self.state = call_state_of(
            "desk",
            bundle=compile_policies({"p": OPEN + rules}),
            labels={"* /email": "pii.email"},
            protocol="mcp",
            tools=pinned,
            revision=7,
        )

    def judge(self, operation: OperationIntercepted, granted: Granted | None = None) -> Judgement:
        first = judge(operation, self.state, granted=granted)
        assert judge(operation, self.state, granted=granted) == first
        if not isinstance(first, OperationHeld):  # those who decide see what the agent sends
            assert SECRET not in first.model_dump_json()
        return first

    def tool(self, name: str, arguments: Any = None, **more: Any) -> Judgement:
        mcp = McpCall(method="tools/call", kind="tool", name=name, definition=more.pop("definition", None))
        granted = more.pop("granted", None)
        params = {"name": name, "arguments": arguments or {}}
        return self.judge(called(mcp, params, **more), granted)

    def says(self, method: str, **more: Any) -> Judgement:
        return self.judge(called(McpCall(method=method, **more)))

    def visible(self, *items: McpItem | str, method: str = "tools/list", **more: Any) -> tuple[str, ...]:
        offered = tuple(
            McpItem(kind="tool", name=item, sha256=GOOD) if isinstance(item, str) else item for item in items
        )
        verdict = self.judge(called(McpCall(method=method, offered=offered), **more))
        assert isinstance(verdict, OperationAllowed), verdict
        assert verdict.visible is not None
        return verdict.visible


def allowed(verdict: Judgement) -> OperationAllowed:
    assert isinstance(verdict, OperationAllowed), verdict
    return verdict


def denied(verdict: Judgement, code: RefusalCode = RefusalCode.DENIED) -> OperationDenied:
    assert isinstance(verdict, OperationDenied), verdict
    assert verdict.refusal.code is code, verdict.refusal
    return verdict


def held(verdict: Judgement) -> OperationHeld:
    assert isinstance(verdict, OperationHeld), verdict
    return verdict


# ---------------------------------------------------------------- methods


@pytest.mark.parametrize(
    "method",
    ["initialize", "ping", "tools/list", "resources/list", "resources/templates/list", "prompts/list", "",
     "notifications/initialized", "notifications/cancelled", "logging/setLevel", "completion/complete",
     "notifications/stream", "session/end"],
)  # fmt: skip
def test_what_keeps_a_session_is_one_permission(method: str) -> None:
    verdict = allowed(World().says(method))
    assert verdict.rules == ("p/connect", "p/session")
    assert verdict.visible is None
    assert verdict.permits == ()
    assert verdict.catalog_revision == ""


@pytest.mark.parametrize("method", ["tasks/result", "notifications/unheard", "Tools/call", "x" * 256])
def test_a_method_nobody_knows_is_permitted_by_name_or_not_at_all(method: str) -> None:
    everything = 'permit(principal, action in [Action::"mcp", Action::"mcp.server"], resource);'
    refusal = denied(World(everything).says(method)).refusal
    assert "mcp.other" in refusal.reason
    assert 'mcp.other on Resource::"desk"' in (refusal.hint or "")
    allowed(World('permit(principal, action == Action::"mcp.other", resource);').says(method))


def test_a_tool_is_called_where_a_rule_permits_it_by_name() -> None:
    world = World(
        '@id("one") permit(principal, action == Action::"mcp.call", resource == Tool::"desk/lookup");'
    )
    verdict = allowed(world.tool("lookup", {"email": SECRET}))
    assert verdict.rules == ("p/connect", "p/one")
    assert (verdict.touched[0].verb, verdict.touched[0].writes) == ("mcp.call", ("lookup",))
    refusal = denied(world.tool("refund", {"email": SECRET})).refusal
    assert refusal.reason == "tools/call of refund on desk (mcp.call) is refused: no rule permits it."
    assert 'Tool::"desk/refund"' in (refusal.hint or "")
    denied(world.tool("Lookup"))


def test_resources_and_prompts_have_questions_of_their_own() -> None:
    world = World("""
        permit(principal, action == Action::"mcp.read", resource) when { resource.scheme == "file" };
        permit(principal, action == Action::"mcp.prompt", resource == Prompt::"desk/summary");
    """)
    for method in ("resources/read", "resources/subscribe", "resources/unsubscribe"):
        verdict = allowed(world.says(method, kind="resource", name=f"file:///{SECRET}"))
        assert verdict.touched[0].reads == ("file:",)
        denied(world.says(method, kind="resource", name=f"crm://{SECRET}"))
    allowed(world.says("prompts/get", kind="prompt", name="summary"))
    denied(world.says("prompts/get", kind="prompt", name="other"))


@pytest.mark.parametrize(
    "uri",
    ["file:///pub/../secret", "file:///pub/%2e%2e/secret", "FILE:///pub/x", "file:///pub/%73ecret", "file:///a b",
     "file:///pub\\..\\secret", "file:///%2fx", "../x", "file:..", "file:///a/.", "file:///a/..?x", "a:\n"],
)  # fmt: skip
def test_a_uri_that_two_readers_may_read_differently_is_never_judged_by_its_name(uri: str) -> None:
    world = World('permit(principal, action == Action::"mcp.read", resource);')
    denied(world.says("resources/read", kind="resource", name=uri), RefusalCode.UNPARSABLE)
    assert world.visible(McpItem(kind="resource", name=uri, sha256=GOOD), method="resources/list") == ()


@pytest.mark.parametrize(
    "uri", ["file:///a.b/..c/x?y=%20#z", "crm://customers/7", "no-scheme", "urn:a:b:C%2FD"]
)
def test_a_uri_in_normal_form_is_judged(uri: str) -> None:
    world = World('permit(principal, action == Action::"mcp.read", resource);')
    allowed(world.says("resources/read", kind="resource", name=uri))


def test_a_message_that_names_nothing_or_the_wrong_kind_is_not_understood() -> None:
    world = World(CALLS)
    for more in ({}, {"kind": "tool", "name": ""}, {"kind": "prompt", "name": "x"}, {"kind": "tool"}):
        denied(world.says("tools/call", **more), RefusalCode.UNSUPPORTED)
    item = McpItem(kind="tool", name="x", sha256=GOOD)
    denied(world.says("tools/call", offered=(item,)), RefusalCode.UNSUPPORTED)


def test_what_is_not_of_its_protocol_is_refused() -> None:
    world = World(CALLS)
    denied(world.judge(called(McpCall(method="ping"), protocol="http")), RefusalCode.UNSUPPORTED)
    plain = called(McpCall(method="ping")).model_copy(update={"call": HttpCall(method="POST", path="/")})
    denied(world.judge(plain), RefusalCode.UNSUPPORTED)
    denied(world.judge(plain.model_copy(update={"call": None})), RefusalCode.UNSUPPORTED)


# ---------------------------------------------------------------- arguments

HELD = '@hold("dba") ' + CALLS
SMALL = """
@id("small") permit(principal, action == Action::"mcp.call", resource == Tool::"desk/refund")
when { context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") <= 100
    && context.arguments.hasTag("/currency") && context.arguments.getTag("/currency") == "EUR" };
@id("large") @hold("dba") @reason("moves more than 100") @limit("bytes=1MB")
permit(principal, action == Action::"mcp.call", resource == Tool::"desk/refund");
"""


def test_rules_read_arguments_by_pointer_as_text_and_as_numbers() -> None:
    world = World(SMALL.replace('@hold("dba")', ""))
    assert "p/small" in allowed(world.tool("refund", {"amount": 100, "currency": "EUR"})).rules
    for arguments in ({"amount": 101, "currency": "EUR"}, {"amount": "5", "currency": "EUR"}, {"amount": 5}):
        assert "p/small" not in allowed(world.tool("refund", arguments)).rules


def test_a_hold_shows_the_tool_and_its_arguments() -> None:
    verdict = held(World(SMALL).tool("refund", {"amount": 500, "note": "für"}))
    assert verdict.groups == ("dba",)
    assert verdict.reason == "moves more than 100"
    assert verdict.text == 'tools/call refund\n\n{\n  "amount": 500,\n  "note": "für"\n}'


def test_a_hold_shows_the_text_itself_where_two_readers_could_read_it_differently() -> None:
    for text in (
        '{"params": {"arguments": {"a": 1, "A": 2}}}',
        '{"params": {"arguments": {"a": 19.90}}}',
        "[1]",
    ):
        assert text in held(World(HELD).tool("refund", body=body(text))).text
    deep = '{"params": {"arguments": ' + "[" * 3000 + "]" * 3000 + "}}"
    assert "[[[" in held(World(HELD).tool("refund", body=body(deep))).text
    said = held(World(HELD).tool("refund", body=body({"params": {"arguments": {}, "_meta": {"x": 1}}}))).text
    assert 'besides: {"_meta": {"x": 1}}' in said
    large = held(World(HELD).tool("refund", body=body("{}", text=None))).text
    assert large.startswith("tools/call refund\n\n[2 bytes, sha256 ")


@pytest.mark.parametrize(
    ("text", "code"),
    [('{"params": {"arguments": {"amount": 1, "Amount": 2}}}', RefusalCode.UNPARSABLE), ("{", RefusalCode.UNPARSABLE)],
)  # fmt: skip
def test_arguments_that_can_be_read_in_two_ways_are_refused_where_a_rule_reads_them(
    text: str, code: RefusalCode
) -> None:
    world = World(
        SMALL.replace('@id("large") @hold("dba") @reason("moves more than 100") @limit("bytes=1MB")', "")
    )
    refusal = denied(world.tool("refund", body=body(text)), code).refusal
    assert "reads its arguments" in refusal.reason
    allowed(World(CALLS).tool("refund", body=body(text)))


def test_arguments_too_large_to_be_read_deny_where_a_rule_reads_them() -> None:
    large = body("{}", text=None, size_bytes=70_000)
    denied(World(SMALL).tool("refund", body=large), RefusalCode.TOO_LARGE)


def test_what_was_not_read_whole_is_never_held() -> None:
    part = HttpBody(type="application/json", whole=False)
    rule = '@hold("dba") ' + CALLS
    denied(World(rule).tool("refund", body=part), RefusalCode.TOO_LARGE)


# ---------------------------------------------------------------- what the server may ask


def test_the_server_may_ask_what_rules_permit_and_holds_permit_nothing() -> None:
    assert allowed(World().says("ping")).permits == ()
    every = 'permit(principal, action in Action::"mcp.server", resource);'
    assert allowed(World(every).says("ping")).permits == SERVER_REQUESTS
    one = 'permit(principal in Group::"makers", action == Action::"mcp.roots", resource in Resource::"desk");'
    assert allowed(World(one).says("ping")).permits == ("roots/list",)
    assert allowed(World('@hold("dba") ' + one).says("ping")).permits == ()
    refused = every + 'forbid(principal, action == Action::"mcp.sampling", resource);'
    assert allowed(World(refused).says("ping")).permits == SERVER_REQUESTS[1:]
    agents = 'permit(principal, action in Action::"mcp", resource);'
    assert allowed(World(agents).says("ping")).permits == ()


# ---------------------------------------------------------------- what of a list is shown


def test_a_list_shows_what_some_rule_permits() -> None:
    one = 'permit(principal, action == Action::"mcp.call", resource == Tool::"desk/lookup");'
    assert World().visible("lookup", "refund") == ()
    assert World(one).visible("refund", "lookup") == ("lookup",)
    assert World(CALLS).visible("b", "a", "b") == ("b", "a")
    assert World(CALLS).visible() == ()


@pytest.mark.parametrize(
    ("rule", "shown"),
    [
        # Conditions on arguments may be met.
        ('when { context.arguments.hasTag("/x") && context.arguments.getTag("/x") == "1" }', True),
        ('unless { context.arguments.hasTag("/x") }', True),
        ('when { context.numbers.hasTag("/x") && context.numbers.getTag("/x") < 3 }', True),
        ('when { !(context.arguments.hasTag("/x")) }', True),
        ('when { if context.arguments.hasTag("/x") then false else principal.name == "bot" }', True),
        # What is known decides, also beside what is not.
        ('when { principal.name == "other" }', False),
        ('when { principal.name == "bot" }', True),
        ('when { principal.name == "other" && context.arguments.hasTag("/x") }', False),
        ('when { principal.name == "other" || context.arguments.hasTag("/x") }', True),
        ('unless { principal.name == "bot" && context.method == "tools/call" }', False),
        ('when { resource.name == "refund" }', False),
        ('when { context.method == "tools/call" }', True),
        ('when { context has user && context.arguments.hasTag("/x") }', False),
        ('when { if context has user then context.arguments.hasTag("/x") else false }', False),
    ],
)
def test_a_permit_with_conditions_shows_what_it_could_ever_permit(rule: str, shown: bool) -> None:
    world = World(f'permit(principal, action == Action::"mcp.call", resource in Resource::"desk") {rule};')
    assert world.visible("lookup") == (("lookup",) if shown else ())


@pytest.mark.parametrize(
    ("rule", "shown"),
    [
        ("", False),
        ('when { principal.name == "bot" }', False),
        ('when { principal.name == "other" }', True),
        ('unless { principal in Group::"makers" }', True),
        ('unless { principal in Group::"admins" }', False),
        ('when { resource.name like "look*" }', False),
        # Some arguments may avoid it.
        ('when { context.arguments.hasTag("/x") }', True),
        ('unless { context.arguments.hasTag("/x") }', True),
        ('when { principal.name == "bot" && context.arguments.hasTag("/x") }', True),
        ('when { principal.name == "bot" || context.arguments.hasTag("/x") }', False),
        ('unless { principal.name == "other" && context.arguments.hasTag("/x") }', False),
        ('unless { principal.name == "bot" && context.arguments.hasTag("/x") }', True),
        ('when { if context.arguments.hasTag("/x") then true else principal.name == "bot" }', False),
    ],
)
def test_a_forbid_hides_what_it_forbids_whatever_the_arguments(rule: str, shown: bool) -> None:
    world = World(CALLS + f'forbid(principal, action == Action::"mcp.call", resource) {rule};')
    assert world.visible("lookup") == (("lookup",) if shown else ())
    if not shown and "arguments" not in rule:
        denied(world.tool("lookup"))


def test_a_permit_for_others_or_another_action_shows_nothing() -> None:
    others = 'permit(principal in Group::"admins", action == Action::"mcp.call", resource);'
    prompts = 'permit(principal, action == Action::"mcp.prompt", resource);'
    assert World(others + prompts).visible("lookup") == ()
    assert World(prompts).visible(McpItem(kind="prompt", name="p", sha256=GOOD), method="prompts/list") == (
        "p",
    )


def test_what_is_held_is_shown_and_the_list_itself_is_not_held_twice() -> None:
    world = World('@hold("dba") ' + CALLS)
    assert world.visible("refund") == ("refund",)
    rules = '@hold("dba") permit(principal, action == Action::"mcp.session", resource);' + CALLS
    assert World(rules).visible("refund") == ("refund",)
    held(World(rules).says("tools/list"))


def test_resources_and_templates_are_shown_by_what_could_be_read() -> None:
    def shown(rule: str) -> tuple[str, ...]:
        items = (
            McpItem(kind="resource", name="file:///pub/a", sha256=GOOD),
            McpItem(kind="resource", name="crm://x", sha256=GOOD),
            McpItem(kind="template", name="file:///{path}", sha256=GOOD),
        )
        return World(f'permit(principal, action == Action::"mcp.read", {rule};').visible(
            *items, method="resources/list"
        )

    assert shown("resource)") == ("file:///pub/a", "crm://x", "file:///{path}")
    assert shown('resource) when { resource.name like "file:///pub/*" }') == (
        "file:///pub/a",
        "file:///{path}",
    )
    assert shown('resource == McpResource::"desk/crm://x")') == ("crm://x",)
    assert shown('resource in Resource::"other")') == ()
    assert shown('resource) when { principal.name == "other" && resource.scheme == "file" }') == ()


def test_two_things_of_one_name_are_shown_together_or_not_at_all() -> None:
    good = McpItem(kind="tool", name="lookup", sha256=GOOD)
    bad = McpItem(kind="tool", name="lookup", sha256=BAD)
    assert World(CALLS, tools={"lookup": GOOD}).visible(good, bad) == ()
    assert World(CALLS, tools={"lookup": GOOD}).visible(good, good) == ("lookup",)


def test_a_list_that_is_too_long_is_refused() -> None:
    items = tuple(McpItem(kind="tool", name=f"t{number}", sha256=GOOD) for number in range(10_001))
    denied(World(CALLS).judge(called(McpCall(method="tools/list", offered=items))), RefusalCode.TOO_LARGE)
    assert len(World(CALLS).visible(*items[:3000])) == 3000


def test_who_may_not_list_is_shown_nothing() -> None:
    rules = 'forbid(principal, action == Action::"mcp.session", resource);' + CALLS
    denied(World(rules).says("tools/list", offered=(McpItem(kind="tool", name="x", sha256=GOOD),)))


# ---------------------------------------------------------------- definitions that people approved


def test_without_a_document_nothing_is_pinned() -> None:
    assert World(CALLS).visible("lookup") == ("lookup",)
    allowed(World(CALLS).tool("lookup", definition=BAD))


def test_a_tool_that_is_not_as_approved_is_not_shown_and_its_call_is_held() -> None:
    world = World(CALLS, tools={"lookup": GOOD, "refund": BAD}, reviewers=("dba", "legal"))
    assert world.visible("lookup", "refund", "new") == ("lookup",)
    allowed(world.tool("lookup", definition=GOOD))
    allowed(world.tool("lookup"))
    changed, never = world.tool("lookup", definition=BAD), world.tool("new", definition=GOOD)
    assert (held(changed).reason, held(never).reason) == (CHANGED, NEVER)
    assert held(changed).groups == ("dba", "legal")
    assert held(world.tool("new")).reason == NEVER


def test_a_forbid_wins_over_a_changed_definition_and_what_nothing_permits_stays_refused() -> None:
    forbid = CALLS + 'forbid(principal, action == Action::"mcp.call", resource == Tool::"desk/lookup");'
    denied(World(forbid, tools={"lookup": GOOD}).tool("lookup", definition=BAD))
    denied(World("", tools={"lookup": GOOD}).tool("lookup", definition=BAD))


def test_a_changed_definition_adds_its_reviewers_to_those_a_rule_asks_for() -> None:
    verdict = held(World('@hold("dba") @reason("r") ' + CALLS, tools={}).tool("lookup"))
    assert verdict.groups == ("dba", "tools")
    assert verdict.reason == f"r; {NEVER}"


def test_an_approval_of_the_reviewers_lets_a_changed_tool_be_called_once_more_asked() -> None:
    world = World(CALLS, tools={})
    request = "01J00000000000000000000002"
    good = Granted(request=request, groups=frozenset({"tools"}), quorum=1)
    assert allowed(world.tool("lookup", granted=good)).request == request
    held(world.tool("lookup", granted=Granted(request=request, groups=frozenset({"dba"}), quorum=1)))
