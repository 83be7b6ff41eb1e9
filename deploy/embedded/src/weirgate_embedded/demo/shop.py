"""The demo upstreams `shop` and `crm`: made once, registered, with the starter rules and one token an agent."""

import sys
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from weirgate_cli.apply import Problems, load
from weirgate_cli.gateway import Failed, Gateway
from weirgate_cli.publish import refused_problems, send
from weirgate_embedded.demo.crm import ROUTES
from weirgate_embedded.layout import Layout, UpRefused
from weirgate_embedded.postgres import Postgres
from weirgate_embedded.supervisor import Child, clean_environment

AGENTS: dict[str, tuple[str, ...]] = {
    "reader": ("readers",),
    "analyst": ("analysts",),
    "writer": ("writers",),
    "admin-bot": ("unrestricted",),
}
TOKEN_TTL_S = 12 * 3600


def seed(server: Postgres, layout: Layout, say: Callable[[str], None]) -> None:
    """Fill the demo upstream, once. A seed that was cut short is begun again."""
    done = server.psql("select count(*) from pg_database where datname = 'shop_seeded'").strip()
    if done == "1":
        return
    began = time.monotonic()
    server.psql("drop database if exists shop")
    server.psql("drop role if exists shop_app")
    server.psql("drop role if exists shop_catalog")
    secrets = (
        f"\\set app_password {layout.secret('shop.password')}\n"
        f"\\set catalog_password {layout.secret('shop-catalog.password')}\n"
    )
    server.psql(secrets + (files("weirgate_embedded.demo") / "shop.sql").read_text())
    # A marker nobody needs privileges to see and no half-done seed leaves behind.
    server.psql("create database shop_seeded with allow_connections false")
    say(f"demo shop seeded in {time.monotonic() - began:.1f} s")


def crm_child(layout: Layout) -> Child:
    """Return the HTTP upstream as a child to be supervised."""
    layout.secret("crm.token")
    return Child(
        name="crm",
        argv=[
            sys.executable, "-m", "weirgate_embedded.demo.crm", "--port", str(layout.port("crm")),
            "--token-file", str(layout.secrets / "crm.token"), "--log", str(layout.logs / "crm-access.log"),
        ],
        environment=clean_environment(),
        log_file=layout.logs / "crm.log",
    )  # fmt: skip


def documents(layout: Layout) -> Path:
    """Write what registers the shop, and return the directory with it and the starter rules."""
    directory = layout.directory / "demo"
    directory.mkdir(mode=0o700, exist_ok=True)
    port = layout.port("upstream")
    (directory / "resource.yaml").write_text(
        "kind: resource\n"
        "name: shop\n"
        "protocol: postgres\n"
        f"upstream: postgresql://shop_app@127.0.0.1:{port}/shop?sslmode=disable\n"
        f"credential: file:{layout.secrets / 'shop.password'}\n"
        f"catalog: postgresql://shop_catalog@127.0.0.1:{port}/shop?sslmode=disable\n"
        f"catalog_credential: file:{layout.secrets / 'shop-catalog.password'}\n"
    )
    routes = "".join(f"  - {route}\n" for route in ROUTES)
    (directory / "crm.yaml").write_text(
        "kind: resource\n"
        "name: crm\n"
        "protocol: http\n"
        f"upstream: http://127.0.0.1:{layout.port('crm')}\n"
        "hosts: [crm.internal]\n"
        "inject: bearer\n"
        f"credential: file:{layout.secrets / 'crm.token'}\n"
        f"routes:\n{routes}"
        "---\n"
        "kind: labels\n"
        "resource: crm\n"
        "fields:\n"
        '  "* /**/email": pii.email\n'
        '  "* /**/phone": pii.phone\n'
        '  "* /**/card": payment.card\n'
    )
    return directory


def publish(layout: Layout, say: Callable[[str], None]) -> dict[str, Any]:
    """Publish the demo's documents by the console and mint its tokens.

    Returns:
        What ``endpoints.json`` says under ``demo``.

    Raises:
        UpRefused: the console refused a document.
    """
    console = Gateway(url=f"http://127.0.0.1:{layout.port('console')}", token=layout.secret("admin.token"))
    try:
        for path in (documents(layout), starter_pack()):
            loaded = load(path)
            if isinstance(loaded, Problems):
                raise UpRefused("; ".join(str(problem) for problem in loaded.problems))
            send(console, loaded, dry_run=False)
    except Failed as error:
        found = "; ".join(str(problem) for problem in refused_problems(error))
        raise UpRefused(f"the demo's documents were refused: {error.message} {found}".rstrip()) from error
    tokens = {agent: _mint(console, agent, groups) for agent, groups in AGENTS.items()}
    say("demo resources shop and crm registered, tokens minted for " + ", ".join(tokens))
    return {
        "tokens": tokens,
        "resources": [{"name": "shop", "protocol": "postgres"}, {"name": "crm", "protocol": "http"}],
    }


def starter_pack() -> Path:
    """Directory of the starter rules."""
    return Path(str(files("weirgate_policy"))) / "packs" / "starter"


def _mint(console: Gateway, agent: str, groups: tuple[str, ...]) -> str:
    try:
        answer = console.call(
            "POST", "/v1/tokens", {"agent": agent, "groups": list(groups), "ttl_s": TOKEN_TTL_S}
        )
    except Failed as error:
        raise UpRefused(f"no token for {agent}: {error.message}") from error
    return str(answer["token"])


def upstreams(layout: Layout) -> dict[str, Any]:
    """What ``endpoints.json`` says of the demo upstream: for benches and tests that go direct."""
    return {
        "shop": {
            "host": "127.0.0.1",
            "port": layout.port("upstream"),
            "database": "shop",
            "user": "shop_app",
            "password_file": str(layout.secrets / "shop.password"),
            "superuser_password_file": str(layout.secrets / "upstream.password"),
            "log": str(layout.logs / "upstream.log"),
        },
        "crm": {
            "url": f"http://127.0.0.1:{layout.port('crm')}",
            "token_file": str(layout.secrets / "crm.token"),
            "log": str(layout.logs / "crm-access.log"),
        },
    }
