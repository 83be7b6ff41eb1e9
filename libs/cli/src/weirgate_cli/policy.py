"""``weirgate policy``: checking rules before they are published. Needs no running gateway, but for replay."""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer

from weirgate_cli.apply import Documents
from weirgate_cli.config import read
from weirgate_cli.gateway import Failed
from weirgate_cli.option import Json, answering
from weirgate_cli.say import REFUSED, give_json, tell
from weirgate_cli.source import Problem

Paths = Annotated[
    list[Path], typer.Argument(help="YAML files or directories as for 'weirgate apply', or .cedar files.")
]


def check(paths: Paths, as_json: Json = False) -> None:
    """Check policies: that they parse, fit the schema, and can fire. Publishes nothing, asks no gateway."""
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
    documents = read(others) if others else Documents(documents=())
    for one in documents.documents:
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


def register(app: typer.Typer) -> None:
    """Add the commands."""
    known = next((one for one in app.registered_groups if one.name == "policy"), None)
    policy = known.typer_instance if known is not None else None
    if policy is None:
        policy = typer.Typer(help="Rules: check, test and replay them.", no_args_is_help=True)
        app.add_typer(policy, name="policy")
    policy.command("check", no_args_is_help=True)(check)
