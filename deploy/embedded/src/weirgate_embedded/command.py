"""`weirgate up` and `weirgate down`."""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any, cast

import psutil
import typer

from weirgate_bus.topology import Limits
from weirgate_embedded import postgres
from weirgate_embedded.layout import DEFAULT_PORT_BASE, Layout, UpRefused
from weirgate_embedded.up import Gateway, obey_signals

_DataDir = Annotated[
    Path,
    typer.Option("--data-dir", envvar="WEIRGATE_DATA_DIR", help="Where the gateway keeps everything it has."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the root application."""
    app.command("up")(up)
    app.command("down")(down)
    demo = typer.Typer(no_args_is_help=True, help="The demo: addresses to connect to, a tool to call.")
    demo.command("url")(url)
    demo.command("call")(call)
    app.add_typer(demo, name="demo")


def up(
    data_dir: _DataDir = Path(".weirgate"),
    demo: Annotated[
        bool, typer.Option("--demo", help="Bring a demo shop, starter rules and tokens.")
    ] = False,
    port_base: Annotated[
        int,
        typer.Option(
            envvar="WEIRGATE_PORT_BASE", min=1024, max=65000, help="First of the ports it listens on."
        ),
    ] = DEFAULT_PORT_BASE,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="SERVICE:WEIRGATE_NAME=VALUE for one service, or upstream:NAME=VALUE."),
    ] = None,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Mirror the log into an account of its own, as a cluster does.")
    ] = False,
    audit_max_bytes: Annotated[
        int, typer.Option(min=1 << 20, help="Size at which the log is full and refuses.")
    ] = Limits().audit_bytes,
    recording_max_bytes: Annotated[
        int, typer.Option(min=1 << 20, help="The same for recordings.")
    ] = Limits().recording_bytes,
) -> None:
    """Run a whole gateway on this machine: NATS, PostgreSQL and every service, a process each.

    It stays in the foreground and restarts what dies. Ctrl-C or SIGTERM stops all of it; the data stays in
    --data-dir, and the next start goes on from there. All addresses stand in DATA_DIR/endpoints.json once it is ready.
    """
    settings: dict[str, str] = {}
    upstream: dict[str, str] = {}
    for item in setting or []:
        name, equals, value = item.partition("=")
        if not equals or ":" not in name:
            print(f"--set {item}: write SERVICE:WEIRGATE_NAME=VALUE", file=sys.stderr)
            raise typer.Exit(2)
        if name.startswith("upstream:"):
            upstream[name.removeprefix("upstream:")] = value
        else:
            settings[name] = value
    layout = Layout(directory=data_dir.absolute(), port_base=port_base)
    gateway = Gateway(
        layout,
        demo,
        environment=settings,
        upstream_settings=upstream,
        mirror=mirror,
        limits=Limits(audit_bytes=audit_max_bytes, recording_bytes=recording_max_bytes),
    )
    obey_signals(gateway)
    try:
        gateway.run(ready=_tell)
    except UpRefused as error:
        print(f"weirgate up: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


def down(
    data_dir: _DataDir = Path(".weirgate"),
    purge: Annotated[bool, typer.Option(help="Also delete the data directory, the log included.")] = False,
) -> None:
    """Stop the gateway that runs on a data directory."""
    directory = data_dir.absolute()
    try:
        pid = int((directory / "lock").read_text())
    except (FileNotFoundError, ValueError):
        pid = 0
    if pid and psutil.pid_exists(pid):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 60
        while psutil.pid_exists(pid) and (directory / "lock").exists():
            if time.monotonic() > deadline:
                print(f"weirgate down: pid {pid} has not stopped within 60 s", file=sys.stderr)
                raise typer.Exit(1)
            time.sleep(0.1)
        print("stopped", file=sys.stderr)
    else:
        print(f"no gateway is running on {directory}", file=sys.stderr)
    if purge:
        shutil.rmtree(directory, ignore_errors=True)


def url(
    agent: Annotated[str, typer.Argument(help="reader, analyst, writer or admin-bot.")],
    resource: Annotated[
        str, typer.Argument(help="shop (PostgreSQL), crm, models (HTTP), helpdesk (MCP).")
    ] = "shop",
    data_dir: _DataDir = Path(".weirgate"),
) -> None:
    """Print the address (with a token) by which one of the demo's agents reaches a demo resource."""
    where, token = _endpoints(data_dir, agent)
    protocols = {one["name"]: one["protocol"] for one in where["demo"]["resources"]}
    protocol = protocols.get(resource)
    if protocol is None:
        print(f"the demo has no resource {resource!r}; it has {', '.join(protocols)}", file=sys.stderr)
        raise typer.Exit(1)
    scheme, place = ("postgresql", where["postgres"]) if protocol == "postgres" else ("http", where["http"])
    print(f"{scheme}://{agent}:{token}@{place['host']}:{place['port']}/{resource}")


def call(
    agent: Annotated[str, typer.Argument(help="reader, analyst, writer or admin-bot.")],
    tool: Annotated[str | None, typer.Argument(help="Name of the tool; without it they are listed.")] = None,
    arguments: Annotated[str, typer.Argument(help="Its arguments, a JSON object.")] = "{}",
    data_dir: _DataDir = Path(".weirgate"),
) -> None:
    """Call a tool of the demo's MCP server as one of its agents, by the official SDK."""
    where, token = _endpoints(data_dir, agent)
    try:
        given = json.loads(arguments)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        print("the arguments are no JSON object; write '{\"id\": 5}'", file=sys.stderr)
        raise typer.Exit(2)
    # Importing the SDK takes a second, which no other command should.
    from weirgate_embedded.demo.call import CallFailed, call_tool

    url = f"http://{where['http']['host']}:{where['http']['port']}/helpdesk"
    try:
        done, said = call_tool(url, token, tool, cast("dict[str, Any]", given))
    except CallFailed as error:
        print(f"weirgate demo call: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    print(said)
    if not done:
        raise typer.Exit(1)


def _endpoints(data_dir: Path, agent: str) -> tuple[dict[str, Any], str]:
    """Return what runs where, and the agent's token."""
    try:
        where = json.loads((data_dir / "endpoints.json").read_text())
    except FileNotFoundError as error:
        print(f"no gateway is running on {data_dir}; start it with `weirgate up --demo`", file=sys.stderr)
        raise typer.Exit(1) from error
    tokens: dict[str, str] = where["demo"].get("tokens", {})
    if agent not in tokens:
        print(f"the demo has no agent {agent!r}; it has {', '.join(tokens) or 'none'}", file=sys.stderr)
        raise typer.Exit(1)
    return where, tokens[agent]


def _tell(gateway: Gateway) -> None:
    """Print lines to paste."""
    if not gateway.with_demo:
        print(f"ready; addresses in {gateway.layout.endpoints}", file=sys.stderr, flush=True)
        return
    psql = shutil.which("psql") or str(postgres.wheel_bin() / "psql")
    here = gateway.layout.directory
    weirgate = Path(sys.argv[0]).absolute()

    def line(agent: str, sql: str) -> str:
        return f'  {psql} "$({weirgate} demo url {agent} --data-dir {here})" -c "{sql}"'

    print(
        "\n".join(
            [
                "",
                "Paste in another terminal. An analyst sees personal data masked:",
                line("analyst", "select name, email, phone, card from customers order by id limit 5"),
                "A masked column may not decide which rows come back:",
                line("analyst", "select name from customers where email = 'quinn.patel1@example.com'"),
                "A writer's UPDATE waits for a person (grant it in a third terminal):",
                line("writer", "update orders set status = 'returned' where id = 7"),
                f"  {weirgate} approvals list --data-dir {here}",
                f"  {weirgate} approvals grant --data-dir {here} REQUEST",
                "Nothing leads sideways:",
                line("reader", "copy (select 1) to program 'id'"),
                "The same agent reaches an HTTP API; e-mail addresses are masked there, too:",
                f'  curl "$({weirgate} demo url analyst crm --data-dir {here})/v1/customers?limit=3"',
                "… or by the address it always had, with nothing but the proxy set:",
                f'  curl -x "$({weirgate} demo url analyst crm --data-dir {here} | sed s,/crm$,,)" '
                "http://crm.internal/v1/customers/5",
                "Tools of an MCP server, its answers masked, too; a refund over 100 waits for a person:",
                f"  {weirgate} demo call analyst --data-dir {here}",
                f"  {weirgate} demo call analyst lookup_customer '{{\"id\": 5}}' --data-dir {here}",
                "A model (scripted) is asked; it never sees the card, and the log has the tokens:",
                f'  curl "$({weirgate} demo url analyst models --data-dir {here})/v1/chat/completions" --json '
                '\'{"model": "demo-small", "messages": [{"role": "user", "content": "my card is 4111111111111111"}]}\'',
                "What happened, and the proof that nothing was changed since:",
                f"  {weirgate} sessions list --data-dir {here}",
                f"  {weirgate} log verify --data-dir {here}",
                "",
                "Ctrl-C stops all of it.",
            ]
        ),
        file=sys.stderr,
        flush=True,
    )
