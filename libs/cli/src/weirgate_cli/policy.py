"""``weirgate policy``: checking rules before they are published. Needs no running gateway, but for replay."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer

from weirgate_cli.config import read
from weirgate_cli.gateway import Failed
from weirgate_cli.option import DataDir, Json, answering
from weirgate_cli.say import REFUSED, give_json, give_table, one_line, tell
from weirgate_contracts.http import call_text
from weirgate_contracts.mcp import message_text

Paths = Annotated[
    list[Path], typer.Argument(help="YAML files or directories as for 'weirgate apply', or .cedar files.")
]


def check(paths: Paths, as_json: Json = False) -> None:
    """Check policies: that they parse, fit the schema, and can fire. Publishes nothing, asks no gateway."""
    from weirgate_cli.source import Problem

    with answering():
        policies, files = _policies(paths)
        found: list[Problem] = []
        for checker in _checkers():
            for one in checker(policies, None):
                file, first_line = files[one.policy]
                found.append(
                    Problem(
                        file=file,
                        line=first_line + one.line,
                        what=one.message,
                        right=one.suggestion,
                        severity=one.severity,
                    )
                )
        wrong = [problem for problem in found if problem.severity == "error"]
        if as_json:
            give_json([{name: getattr(problem, name) for name in problem.__slots__} for problem in found])
        else:
            for problem in found:
                tell(str(problem))
            for name in _unpinned(paths):
                tell(
                    f"note: no tool of {name} is pinned: the server can change what agents read of its tools"
                )
            count = f"{len(policies)} {'policy' if len(policies) == 1 else 'policies'}"
            tell(f"{count} checked, {len(wrong)} {'thing is' if len(wrong) == 1 else 'things are'} wrong")
        if wrong:
            raise typer.Exit(REFUSED)


def _policies(paths: list[Path]) -> tuple[dict[str, str], dict[str, tuple[str, int]]]:
    """Return texts by name, and for each the file with the number of lines before its first."""
    policies: dict[str, str] = {}
    files: dict[str, tuple[str, int]] = {}
    for path in (path for path in paths if path.suffix == ".cedar"):
        try:
            policies[path.stem] = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Failed(f"{path} cannot be read", str(error)) from error
        files[path.stem] = (str(path), 0)
    others = [path for path in paths if path.suffix != ".cedar"]
    for one in read(others).documents if others else ():
        if one.kind == "policy":
            policies[one.name] = str(one.body["cedar"])
            files[one.name] = (
                (one.cedar_file, 0) if one.cedar_file else (one.file, one.lines.get("cedar", one.line))
            )
    if not policies:
        raise Failed(
            "there is no policy in it", "a policy is a document 'kind: policy' with 'file: NAME.cedar'"
        )
    return policies, files


def _checkers() -> Sequence[Callable[[Mapping[str, str], Any], Sequence[Any]]]:
    found = [one.load() for one in entry_points(group="weirgate.checkers")]
    if not found:
        raise Failed("no policy checker is installed here", "install weirgate-policy beside the command")
    return found


def judge_cases(
    paths: Paths,
    cases: Annotated[
        list[Path],
        typer.Option("--cases", help="A file of cases: statements and the verdict expected of each."),
    ],
    as_json: Json = False,
) -> None:
    """Judge cases with policies as the gateway would, and compare with what they expect. Asks no gateway."""
    with answering():
        policies, _ = _policies(paths)
        testing = _testing()
        try:
            outcomes: list[Any] = testing.run_cases(
                cases,
                policies=policies,
                labels=_labels(paths),
                routes=_routes(paths),
                apis=_apis(paths),
                tools=_tools(paths),
            )
        except (testing.BadCases, testing.BundleError) as error:
            raise Failed(str(error), "'weirgate policy check' says what is wrong with policies") from error
        failed = [one for one in outcomes if not one.passed]
        if as_json:
            give_json([_case(one) for one in outcomes])
        for one in failed:
            tell(f"{one.file}:{one.line}: {one.problem}")
        tell(f"{len(outcomes)} cases, {len(failed)} not as expected")
        if failed:
            raise typer.Exit(REFUSED)


def replay(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Judge with these policies instead of those of the time.")
    ] = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Judge again every operation in the log of this machine's gateway.

    Without policies each is judged under those of its time, and must come out the same to the byte: that is
    the proof that verdicts can be reproduced (exit status 1 where one does not). With policies, it shows
    which verdicts would be others.
    """
    from weirgate_cli.history import read_log

    with answering():
        policies = _policies(paths)[0] if paths else None
        testing = _testing()
        try:
            judged: list[Any] = list(testing.replay(read_log(data_dir), policies))
        except testing.BundleError as error:
            raise Failed(str(error), "'weirgate policy check' says what is wrong with policies") from error
        flipped = [one for one in judged if one.flipped or one.unmask_changed]
        changed = sum(not one.identical for one in judged)
        shown = [_replayed(one) for one in flipped]
        if as_json:
            give_json(shown)
        elif shown:
            head = ("sequence", "agent", "resource", "was", "now", "text")
            give_table([name.upper() for name in head], [[str(one[name]) for name in head] for one in shown])
        tell(f"{len(judged)} verdicts judged again, {changed} differ, {len(flipped)} in what they allow")
        if policies is None and changed:
            raise typer.Exit(REFUSED)


def _case(one: Any) -> dict[str, Any]:
    return {
        "file": one.file,
        "line": one.line,
        "sql": one.case.sql,
        "call": None if one.case.call is None else f"{one.case.call.method} {one.case.call.path}",
        "mcp": None if one.case.mcp is None else one.case.mcp.text(),
        "expect": one.case.expect,
        "got": one.got,
        "rules": list(one.rules),
        "code": one.code,
        "reason": one.reason,
        "problem": one.problem,
    }


def _replayed(one: Any) -> dict[str, Any]:
    was, now = one.flipped or ("allow", "allow")
    if one.unmask_changed:
        was, now = (f"allow, clear: {', '.join(labels) or 'nothing'}" for labels in one.unmask_changed)
    return {
        "sequence": one.sequence,
        "agent": one.operation.identity.agent,
        "resource": one.operation.resource,
        "was": was,
        "now": now,
        "rules": list(one.now.rules),
        "text": one_line(_text(one.operation), 80),
    }


def _text(operation: Any) -> str:
    if (call := operation.call) is not None and call.mcp is not None:
        return message_text(call.mcp.method, call.mcp.name)
    if call is not None:
        return call_text(call.method, call.path, call.query)
    return "; ".join(statement.text for statement in operation.statements)


def _labels(paths: list[Path]) -> dict[str, dict[str, str]]:
    return {
        one.name: {**one.body.get("columns", {}), **one.body.get("fields", {})}
        for one in _documents(paths)
        if one.kind == "labels"
    }


def _routes(paths: list[Path]) -> dict[str, list[str]]:
    return {one.name: list(one.body.get("routes", ())) for one in _documents(paths) if one.kind == "resource"}


def _apis(paths: list[Path]) -> dict[str, Any]:
    return {
        one.name: one.body["api"]
        for one in _documents(paths)
        if one.kind == "resource" and one.body.get("api") is not None
    }


def _tools(paths: list[Path]) -> dict[str, dict[str, str]]:
    return {one.name: dict(one.body["tools"]) for one in _documents(paths) if one.kind == "tools"}


def _unpinned(paths: list[Path]) -> list[str]:
    """Return the resources of MCP among the documents whose tools nobody approved there."""
    pinned = _tools(paths)
    return [
        one.name
        for one in _documents(paths)
        if one.kind == "resource" and one.body.get("protocol") == "mcp" and one.name not in pinned
    ]


def _documents(paths: list[Path]) -> Sequence[Any]:
    others = [path for path in paths if path.suffix != ".cedar"]
    return read(others).documents if others else ()


def _testing() -> Any:
    """Load what judges offline: the policy service's own code, where it is installed beside the command."""
    try:
        return import_module("weirgate_policy.testing")
    except ImportError as error:
        raise Failed("the policy service is not installed here", "install weirgate-policy") from error


def register(app: typer.Typer) -> None:
    """Add the commands."""
    known = next((one for one in app.registered_groups if one.name == "policy"), None)
    policy = known.typer_instance if known is not None else None
    if policy is None:
        policy = typer.Typer(help="Rules: check, test and replay them.", no_args_is_help=True)
        app.add_typer(policy, name="policy")
    policy.command("check", no_args_is_help=True)(check)
    policy.command("test", no_args_is_help=True)(judge_cases)
    policy.command("replay")(replay)
