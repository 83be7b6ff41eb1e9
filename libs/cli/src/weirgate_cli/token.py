"""``weirgate token``: the development issuer."""

from typing import Annotated

import typer

from weirgate_cli.gateway import Misused, find
from weirgate_cli.option import DataDir, Json, answering, seconds
from weirgate_cli.say import give, give_json

Several = list[str] | None


def mint(
    agent: Annotated[str | None, typer.Option(help="The agent the token is for.")] = None,
    person: Annotated[str | None, typer.Option(help="Instead: a person, for the console.")] = None,
    group: Annotated[Several, typer.Option(help="A group of the agent or person; may be repeated.")] = None,
    user: Annotated[str | None, typer.Option(help="The person the agent works for.")] = None,
    run: Annotated[str | None, typer.Option(help="The run it is for: one piece of work.")] = None,
    tool: Annotated[str | None, typer.Option(help="The agent's tool it is narrowed to.")] = None,
    resource: Annotated[Several, typer.Option(help="A resource it is narrowed to; may be repeated.")] = None,
    ttl: Annotated[str, typer.Option(help="How long it lives: 30s, 15m, 8h.")] = "15m",
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Print a token for an agent, or for a person. That it was minted, and by whom, is in the log first."""
    with answering():
        if (agent is None) == (person is None):
            raise Misused("name either --agent or --person", "weirgate token mint --agent reporting-bot")
        if person is not None and (user or run or tool or resource):
            raise Misused("a person's token takes --group and --ttl only", "the others narrow an agent")
        done = find(data_dir).call(
            "POST",
            "/v1/tokens",
            {
                "agent": agent,
                "person": person,
                "groups": group or [],
                "user": user,
                "run": run,
                "tool": tool,
                "resources": resource,
                "ttl_s": seconds(ttl),
            },
        )
        give_json(done) if as_json else give(str(done["token"]))


def register(app: typer.Typer) -> None:
    """Add the commands."""
    token = typer.Typer(help="Tokens of the development issuer.", no_args_is_help=True)
    token.command("mint", no_args_is_help=True)(mint)
    app.add_typer(token, name="token")
