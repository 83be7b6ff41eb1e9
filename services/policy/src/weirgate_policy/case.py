"""Cases for policies: statements of agents, and the verdict each should get, judged by the very same judge.

A file of cases::

    catalog: shop.json            # a catalog as in `CatalogObserved`, beside this file
    labels: {public.customers.email: pii.email}
    cases:
      - agent: reader
        groups: [readers]
        resource: shop
        sql: select email from customers
        expect: allow              # allow | deny | hold
        rule: read-only/read       # optional: this rule is among those that decided
        code: masked_predicate     # optional, for deny
      - agent: reader
        resource: crm
        call: {method: GET, path: /v1/customers/7, query: {limit: 10}}
        expect: allow

Of HTTP, ``call`` stands in place of ``sql``; ``routes`` beside ``cases`` gives the templates of its resource, ``api``
the model API it speaks. Of MCP, ``mcp`` does; ``tools`` beside ``cases`` gives the definitions people approved.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Self, cast, get_args

import yaml
from pydantic import Field, ValidationError, model_validator

from weirgate_contracts.config import ROUTE, ToolsDocument
from weirgate_contracts.events import OperationAllowed, OperationDenied, OperationHeld, OperationIntercepted
from weirgate_contracts.identity import Identity
from weirgate_contracts.model import ModelApi
from weirgate_contracts.modelapi import joined
from weirgate_contracts.operation import SessionContext, Statement
from weirgate_contracts.refusal import RefusalCode
from weirgate_contracts.value import ResourceName, Value
from weirgate_policy.bundle import Bundle, compile_policies
from weirgate_policy.casecall import CaseCall
from weirgate_policy.casemessage import CaseMessage
from weirgate_policy.judge import Judgement, JudgingState, judge, labels_of
from weirgate_policy.ruling import Asking
from weirgate_policy.view import ResourceView
from weirgate_sql.model import Catalog
from weirgate_sql.touch import touch

Word = Literal["allow", "deny", "hold"]


class BadCases(ValueError):
    """A file of cases cannot be used. The text names file and line."""


class Case(Value):
    """One statement or call and what should become of it."""

    agent: str
    groups: tuple[str, ...] = ()
    user: str | None = None
    run: str | None = None
    tool: str | None = None
    resource: ResourceName
    sql: str | None = None
    call: CaseCall | None = None
    mcp: CaseMessage | None = None
    phase: Literal["prepare", "run", "fetch"] = "run"
    transaction: Literal["I", "T", "E"] = "I"
    search_path: tuple[str, ...] | None = None
    prepared: dict[str, str] = Field(default_factory=dict)
    cursors: dict[str, str] = Field(default_factory=dict)
    expect: Word
    rule: str | None = None
    code: RefusalCode | None = None
    unmask: tuple[str, ...] | None = None
    """For ``allow``: exactly these labels in clear."""
    visible: tuple[str, ...] | None = None
    """Of MCP, for ``allow`` of what ``offers``: exactly these are shown."""
    permits: tuple[str, ...] | None = None
    """Of MCP, for ``allow``: exactly these requests the server may make."""

    @model_validator(mode="after")
    def _check_operation(self) -> Self:
        if [self.sql, self.call, self.mcp].count(None) != 2:
            raise ValueError("write one of 'sql', 'call' and 'mcp'")
        return self

    @property
    def protocol(self) -> Literal["postgres", "http", "mcp"]:
        """Of the resource."""
        if self.mcp is not None:
            return "mcp"
        return "postgres" if self.call is None else "http"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseOutcome:
    """What became of one case."""

    file: str
    line: int
    case: Case
    got: Word
    rules: tuple[str, ...]
    code: RefusalCode | None
    reason: str
    """Of a refusal or a hold; empty where it is allowed."""
    problem: str | None
    """What is not as expected; ``None``: all is."""

    @property
    def passed(self) -> bool:
        """Whether the verdict is the expected one."""
        return self.problem is None


@dataclass(frozen=True, slots=True, kw_only=True)
class _CaseFile:
    catalog: Catalog | None
    labels: Mapping[str, str]
    routes: Sequence[str] | None = None
    api: ModelApi | None = None
    tools: Mapping[str, str] | None = None
    cases: Sequence[tuple[int, Case]] = field(default_factory=list[tuple[int, Case]])


def run_cases(
    paths: Sequence[Path],
    *,
    policies: Mapping[str, str],
    catalogs: Mapping[str, Catalog] | None = None,
    labels: Mapping[str, Mapping[str, str]] | None = None,
    routes: Mapping[str, Sequence[str]] | None = None,
    apis: Mapping[str, ModelApi] | None = None,
    tools: Mapping[str, Mapping[str, str]] | None = None,
) -> list[CaseOutcome]:
    """Judge every case of some files.

    Args:
        paths: YAML files of cases.
        policies: Name to Cedar text.
        catalogs: By resource; a file's own ``catalog`` comes first.
        labels: By resource, ``schema.table.column``, or route or tool and pattern, to label; a file's own ``labels``
            come on top.
        routes: By resource of HTTP, its templates; a file's own ``routes`` come first.
        apis: By resource of HTTP, the model API it speaks; a file's own ``api`` comes first.
        tools: By resource of MCP, the tools people approved with their digests; a file's own ``tools`` come first.

    Raises:
        BadCases: a file cannot be read, or a resource has no catalog and a statement is sent to it.
        BundleError: the policies cannot be judged with.
    """
    bundle = compile_policies(policies)
    outcomes: list[CaseOutcome] = []
    for path in paths:
        found = _read(path)
        states: dict[tuple[str, str], JudgingState] = {}
        for line, case in found.cases:
            key = (case.resource, case.protocol)
            own = found.routes if found.routes is not None else (routes or {}).get(case.resource, ())
            api = found.api or (apis or {}).get(case.resource)
            listed = joined(api, tuple(own))
            pinned = found.tools if found.tools is not None else (tools or {}).get(case.resource)
            if key not in states:
                known = {**(labels or {}).get(case.resource, {}), **found.labels}
                if case.protocol == "http":
                    states[key] = call_state_of(
                        case.resource, bundle=bundle, routes=listed, labels=known, api=api
                    )
                elif case.protocol == "mcp":
                    states[key] = call_state_of(
                        case.resource, bundle=bundle, labels=known, protocol="mcp",
                        tools=_pinned(case.resource, pinned),
                    )  # fmt: skip
                else:
                    catalog = found.catalog or (catalogs or {}).get(case.resource)
                    if catalog is None:
                        raise BadCases(f"{path}:{line}: there is no catalog of {case.resource}")
                    states[key] = state_of(case.resource, bundle=bundle, catalog=catalog, labels=known)
            verdict = judge(operation_of(case, listed, api, tools=pinned), states[key])
            outcomes.append(_outcome(str(path), line, case, verdict))
    return outcomes


def _pinned(resource: str, tools: Mapping[str, str] | None) -> ToolsDocument | None:
    return None if tools is None else ToolsDocument(resource=resource, tools=dict(tools))


def state_of(
    resource: str, *, bundle: Bundle, catalog: Catalog, labels: Mapping[str, str], revision: int = 0
) -> JudgingState:
    """Return what operations on a resource are judged under, made without a service."""
    view = ResourceView(name=resource, catalog=catalog, labels=labels)
    return JudgingState(
        revision=revision,
        read=touch,
        asking=Asking(bundle=bundle, view=view),
        labels=labels_of(*labels.values()),
    )


def call_state_of(
    resource: str,
    *,
    bundle: Bundle,
    labels: Mapping[str, str],
    routes: Sequence[str] = (),
    protocol: Literal["http", "mcp"] = "http",
    tools: ToolsDocument | None = None,
    revision: int = 0,
    api: ModelApi | None = None,
) -> JudgingState:
    """Return what calls of a resource of HTTP or MCP are judged under, made without a service."""
    view = ResourceView(name=resource, protocol=protocol, routes=routes, api=api)
    return JudgingState(
        revision=revision,
        read=touch,
        asking=Asking(bundle=bundle, view=view),
        labels=labels_of(*labels.values()),
        tools=tools,
    )


def operation_of(
    case: Case,
    routes: Sequence[str] = (),
    api: ModelApi | None = None,
    *,
    tools: Mapping[str, str] | None = None,
) -> OperationIntercepted:
    """Return the operation a case stands for; a call's path is looked up among the templates, what a server offers
    among the approved tools."""
    call = case.call.call(routes, api) if case.call is not None else None
    if case.mcp is not None:
        call = case.mcp.message(tools)
    sql = case.sql or ""
    statement = Statement(text=sql, phase=case.phase, simple=case.phase == "run")
    return OperationIntercepted(
        ingress="case",
        session="case",
        operation=1,
        protocol=case.protocol,
        resource=case.resource,
        identity=Identity(
            agent=case.agent,
            user=case.user,
            groups=tuple(sorted(set(case.groups))),
            run=case.run,
            tool=case.tool,
            issuer="case",
            token_id="case",  # noqa: S106  (a name for the log, no secret)
            expires_at=0,
        ),
        statements=(statement,) if call is None else (),
        call=call,
        context=SessionContext(
            database=case.resource if call is None else "",
            search_path=case.search_path,
            transaction=case.transaction,
            prepared=case.prepared,
            cursors=case.cursors,
        ),
        digest=sha256((sql if call is None else call.model_dump_json()).encode()).hexdigest(),
    )


def word_of(verdict: Judgement) -> Word:
    """Return a verdict in one word."""
    match verdict:
        case OperationDenied():
            return "deny"
        case OperationHeld():
            return "hold"
        case OperationAllowed():
            return "allow"


def _outcome(file: str, line: int, case: Case, verdict: Judgement) -> CaseOutcome:
    got = word_of(verdict)
    code, reason = None, ""
    if isinstance(verdict, OperationDenied):
        code, reason = verdict.refusal.code, verdict.refusal.reason
    elif isinstance(verdict, OperationHeld):
        reason = verdict.reason
    problem = None
    if got != case.expect:
        problem = f"expected {case.expect}, got {got}" + (f": {reason}" if reason else "")
    elif case.rule is not None and case.rule not in verdict.rules:
        problem = f"expected rule {case.rule}, decided by {', '.join(verdict.rules) or 'no rule'}"
    elif case.code is not None and case.code is not code:
        problem = f"expected code {case.code}, got {code}"
    elif case.unmask is not None and case.unmask != getattr(verdict, "unmask", None):
        problem = f"expected {case.unmask} in clear, got {getattr(verdict, 'unmask', ())}"
    elif case.visible is not None and case.visible != getattr(verdict, "visible", None):
        problem = f"expected {case.visible} to be shown, got {getattr(verdict, 'visible', None)}"
    elif case.permits is not None and case.permits != getattr(verdict, "permits", None):
        problem = f"expected the server may ask {case.permits}, got {getattr(verdict, 'permits', None)}"
    return CaseOutcome(
        file=file,
        line=line,
        case=case,
        got=got,
        rules=verdict.rules,
        code=code,
        reason=reason,
        problem=problem,
    )


def _read(path: Path) -> _CaseFile:
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        whole: object = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadCases(f"{path}: cannot be read: {error}") from error
    if not isinstance(whole, dict) or not isinstance(node, yaml.MappingNode):
        raise BadCases(f"{path}:1: write 'cases:' and a list under it")
    body = cast(dict[str, Any], whole)
    if unknown := set(body) - {"catalog", "labels", "routes", "api", "tools", "cases"}:
        names = ", ".join(sorted(map(str, unknown)))
        raise BadCases(f"{path}:1: unknown {names}; known are catalog, labels, routes, api, tools, cases")
    lines = _lines(node)
    cases: list[tuple[int, Case]] = []
    for number, one in enumerate(body.get("cases") or ()):
        try:
            cases.append((lines[number], Case.model_validate(one)))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise BadCases(f"{path}:{lines[number]}: {where}: {first['msg']}") from error
    if not cases:
        raise BadCases(f"{path}:1: there are no cases in it")
    routes = _routes(path, body["routes"]) if "routes" in body else None
    catalog = read_snapshot(path.parent / body["catalog"]) if "catalog" in body else None
    api = body.get("api")
    if api is not None and api not in get_args(ModelApi):
        raise BadCases(f"{path}:1: api: {api!r} is not known; write one of {', '.join(get_args(ModelApi))}")
    tools = _tools(path, body["tools"]) if "tools" in body else None
    return _CaseFile(
        catalog=catalog, labels=body.get("labels") or {}, routes=routes, api=api, tools=tools, cases=cases
    )


def _tools(path: Path, given: object) -> dict[str, str]:
    try:
        return ToolsDocument.model_validate({"resource": "case", "tools": given}).tools
    except ValidationError as error:
        raise BadCases(f"{path}: tools: write name to the 64 digits of its definition's digest") from error


def _routes(path: Path, given: object) -> list[str]:
    routes = cast("list[object]", given) if isinstance(given, list) else [given]
    for route in routes:
        if not isinstance(route, str) or ROUTE.fullmatch(route) is None:
            raise BadCases(
                f"{path}:1: routes: {route!r} is no template; write '/v1/customers/{{id}}' in quotes"
            )
    return cast("list[str]", routes)


def read_snapshot(path: Path) -> Catalog:
    """Read a catalog from a file: ``Catalog.to_dict`` as JSON, or a ``CatalogObserved`` event.

    Raises:
        BadCases: it is something else.
    """
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        return Catalog.from_dict(body.get("catalog", body))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadCases(f"{path}: is no catalog ({type(error).__name__})") from error


def _lines(node: yaml.MappingNode) -> list[int]:
    for key, value in node.value:
        if getattr(key, "value", None) == "cases" and isinstance(value, yaml.SequenceNode):
            return [one.start_mark.line + 1 for one in value.value]
    return []
