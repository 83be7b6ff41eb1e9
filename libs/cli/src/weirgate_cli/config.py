"""``weirgate apply`` and ``weirgate config``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weirgate_cli.gateway import Failed, find
from weirgate_cli.option import DataDir, Json, answering
from weirgate_cli.say import REFUSED, give, give_json, give_table, tell

if TYPE_CHECKING:
    from weirgate_cli.apply import Documents

# What reads documents is loaded by the commands that do: it takes longer to load than most commands to run.


def read(paths: list[Path]) -> "Documents":
    """Load paths, or say everything that is wrong and end."""
    from weirgate_cli.apply import Problems, load

    loaded = load(*paths)
    if isinstance(loaded, Problems):
        for problem in loaded.problems:
            tell(str(problem))
        wrong = sum(problem.severity == "error" for problem in loaded.problems)
        tell(f"weirgate: nothing was published, {wrong} {'thing is' if wrong == 1 else 'things are'} wrong")
        raise typer.Exit(REFUSED)
    for warning in loaded.warnings:
        tell(str(warning))
    return loaded


def apply(
    file: Annotated[
        list[Path], typer.Option("-f", "--file", help="A YAML file, or a directory of them. May be repeated.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, publish nothing.")] = False,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Publish resources, labels, masking rules, policies, reviewers and approved tools.

    Everything is checked together first. When anything is wrong, all of it is said, with file and line and
    what would be right, and nothing is published. What stands unchanged already is not published again.
    """
    from weirgate_cli.publish import problems_of, refused_problems, send

    with answering():
        documents = read(file)
        gateway = find(data_dir)
        try:
            done = send(gateway, documents, dry_run=dry_run)
        except Failed as error:
            for problem in refused_problems(error):
                tell(str(problem))
            raise
        for warning in problems_of(done["warnings"]):
            tell(str(warning))
        if as_json:
            give_json(done)
            return
        verb = "would be published" if dry_run else "published"
        for change in done["published"]:
            at = f" at revision {change['revision']}" if change["revision"] else ""
            give(f"{change['kind']} {change['name']}: {verb}{at}")
        for change in done["unchanged"]:
            give(f"{change['kind']} {change['name']}: unchanged")


def show(
    kind: Annotated[
        str | None,
        typer.Argument(help="Only this kind: resource, labels, masking, policy, reviewers, tools."),
    ] = None,
    name: Annotated[str | None, typer.Argument(help="Only this name; prints the document whole.")] = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Show the configuration as it stands, from the log."""
    with answering():
        found = find(data_dir).call("GET", "/v1/config")
        documents: list[dict[str, Any]] = [
            one for one in found["documents"] if kind in (None, one["kind"]) and name in (None, one["name"])
        ]
        if (kind or name) and not documents:
            raise Failed(
                f"there is no {kind or 'document'} {name or ''}".rstrip(), "see 'weirgate config show'"
            )
        if as_json:
            give_json({"revision": found["revision"], "documents": documents})
        elif name is not None:
            for one in documents:
                give_document(one)
        else:
            rows = [
                (one["kind"], one["name"], str(one["revision"]), one["by"], one["at"]) for one in documents
            ]
            give_table(("KIND", "NAME", "REVISION", "BY", "AT"), rows)


def give_document(document: dict[str, Any]) -> None:
    """Print one document as it could be applied again."""
    import yaml

    body = {key: value for key, value in document["body"].items() if value is not None}
    if "cedar" in body:
        give(f"# policy {document['name']}, revision {document['revision']}\n{body['cedar'].rstrip()}")
        return
    give(yaml.safe_dump({"kind": document["kind"], **body}, sort_keys=False, allow_unicode=True).rstrip())


def withdraw(
    kind: Annotated[str, typer.Argument(help="resource, labels, masking, policy, reviewers or tools.")],
    name: Annotated[str, typer.Argument(help="Its name; of labels, the resource's.")],
    data_dir: DataDir = None,
) -> None:
    """Withdraw one document. Refused while something that stands needs it."""
    from urllib.parse import quote

    with answering():
        where = f"/v1/config/{quote(kind, safe='')}/{quote(name, safe='')}"
        done = find(data_dir).call("DELETE", where)
        give(f"{done['kind']} {done['name']}: withdrawn at revision {done['revision']}")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("apply", no_args_is_help=True)(apply)
    config = typer.Typer(help="The configuration as it stands: show, withdraw.", no_args_is_help=True)
    config.command("show")(show)
    config.command("withdraw")(withdraw)
    app.add_typer(config, name="config")
