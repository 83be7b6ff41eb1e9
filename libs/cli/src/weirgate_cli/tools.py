"""``weirgate tools``: approving the definitions of a server's tools, from what the gateway has seen of them."""

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer

from weirgate_cli.gateway import Failed
from weirgate_cli.option import DataDir, Json, answering
from weirgate_cli.say import give, give_json, plain, tell
from weirgate_contracts.events import Event, OperationIntercepted
from weirgate_contracts.mcp import McpItem


def pin(
    resource: Annotated[str, typer.Argument(help="The resource, of protocol mcp.")],
    reviewers: Annotated[
        list[str] | None,
        typer.Option("--reviewers", help="Who is asked about calls of other tools. May be repeated."),
    ] = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Print a document that approves the tools a server offers now, for review. Publishes nothing.

    It is made of the newest list that an agent asked the server for: nothing is asked of the server. Read what the
    tools say of themselves before you publish it with 'weirgate apply'.
    """
    from weirgate_cli.history import read_log

    with answering():
        log = read_log(data_dir, subjects=("audit.operation.intercepted.>",))
        found = newest_tools(resource, (event for _, event in log))
        if found is None:
            hint = "let an agent list them once (tools/list), then ask again"
            raise Failed(f"the gateway has seen no list of tools of {resource}", hint)
        tools, at = found
        twice = sorted(name for name, digests in tools.items() if len(digests) > 1)
        if twice:
            hint = "only one of them could be called; ask whoever runs the server which it is"
            raise Failed(f"the server offers {plain(twice[0])!r} more than once, defined differently", hint)
        body = {
            "resource": resource,
            "reviewers": reviewers or ["tools"],
            "tools": {name: min(digests) for name, digests in sorted(tools.items())},
        }
        tell(f"{len(tools)} {'tool' if len(tools) == 1 else 'tools'} as listed at {at}; review, then publish")
        if as_json:
            give_json({"kind": "tools", **body})
            return
        give(_yaml(body))


def newest_tools(resource: str, events: Iterable[Event]) -> tuple[dict[str, set[str]], str] | None:
    """Return the tools of the newest list of a resource, each with the digests it was offered with, and when.

    A list may come in pages, each a question of its own: those of the session that listed last count, from the last
    request without a cursor on.

    Args:
        resource: Its name.
        events: Of the log, in order.
    """
    sessions: dict[tuple[str, str], dict[str, set[str]]] = {}
    newest: tuple[dict[str, set[str]], str] | None = None
    for event in events:
        if not isinstance(event, OperationIntercepted) or event.resource != resource or event.call is None:
            continue
        mcp = event.call.mcp
        if mcp is None or mcp.offered is None or mcp.method != "tools/list":
            continue
        page = _digests(mcp.offered)
        key = (event.ingress, event.session)
        if key in sessions and _goes_on(event):
            for name, digests in page.items():
                sessions[key].setdefault(name, set()).update(digests)
        else:
            sessions[key] = page
        newest = (sessions[key], event.at)
    return newest


def _digests(offered: Iterable[McpItem]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for item in offered:
        if item.kind == "tool":
            found.setdefault(item.name, set()).add(item.sha256)
    return found


def _goes_on(event: OperationIntercepted) -> bool:
    """Say whether a request asks for a further page."""
    body = event.call.body if event.call is not None else None
    try:
        message: Any = json.loads(body.text or "") if body is not None else {}
        return bool(message["params"]["cursor"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _yaml(body: Mapping[str, object]) -> str:
    import yaml

    text: str = yaml.safe_dump(
        {"kind": "tools", **body}, sort_keys=False, allow_unicode=False, default_flow_style=False, width=1000
    )
    return text.rstrip("\n")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    tools = typer.Typer(help="Tools of MCP servers: approve their definitions.", no_args_is_help=True)
    tools.command("pin", no_args_is_help=True)(pin)
    app.add_typer(tools, name="tools")
