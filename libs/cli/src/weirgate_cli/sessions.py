"""``weirgate sessions kill``."""

from typing import Annotated
from urllib.parse import quote

import typer

from weirgate_cli.gateway import Failed, Misused, find
from weirgate_cli.option import DataDir, answering
from weirgate_cli.say import give


def kill(
    session: Annotated[str, typer.Argument(help="INGRESS/SESSION, as 'weirgate approvals show' prints it.")],
    reason: Annotated[str | None, typer.Option("--reason", "-r", help="Why; it stands in the log.")] = None,
    data_dir: DataDir = None,
) -> None:
    """End a session now. What it was doing is given up, and what it asked people for is withdrawn."""
    with answering():
        ingress, slash, name = session.partition("/")
        if not slash or not ingress or not name:
            raise Misused(f"{session!r} names no session", "write INGRESS/SESSION")
        where = f"/v1/sessions/{quote(ingress, safe='')}/{quote(name, safe='')}/kill"
        done = find(data_dir).call("POST", where, {"reason": reason})
        if not done["closed"]:
            raise Failed("ingress was told and has not closed it yet", "see it: weirgate sessions show")
        give(f"{session}: ended")


def register(app: typer.Typer) -> None:
    """Add the command to the group the recorder's commands are in, or to one of its own."""
    for known in app.registered_groups:
        if known.name == "sessions" and known.typer_instance is not None:
            known.typer_instance.command("kill")(kill)
            return
    sessions = typer.Typer(help="What agents did.", no_args_is_help=True)
    sessions.command("kill")(kill)
    app.add_typer(sessions, name="sessions")
