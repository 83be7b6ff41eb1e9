"""The ``weirgate`` command against a console, an approval service and a NATS that are all real."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from typer.testing import CliRunner, Result

from weirgate_bus.jetstream import JetStreamBus
from weirgate_chassis.clock import now
from weirgate_chassis.ids import new_id
from weirgate_cli.main import make_app
from weirgate_console.tokens import new_issuer_key, public_jwks
from weirgate_contracts.events import Event, OperationHeld
from weirgate_contracts.identity import Identity
from weirgate_testkit.nats import NatsServer, running_nats
from weirgate_testkit.port import free_port

WEIRGATE = str(Path(sys.executable).parent / "weirgate")
AGENT = Identity(agent="bot", user="alice", issuer="i", token_id="t", expires_at=2_000_000_000)
DOCUMENTS = """\
kind: resource
name: shop
protocol: postgres
upstream: postgresql://app@127.0.0.1:5432/shop
---
kind: labels
resource: shop
columns: {public.customers.email: pii.email}
---
kind: masking
rules: [{label: "pii.*", transform: redact}]
---
kind: reviewers
name: dba
groups: [dbas]
---
kind: policy
name: writers
file: writers.cedar
"""
CEDAR = """\
@id("write")
@hold("dba")
permit (principal, action == Action::"update", resource);
"""


@dataclass
class House:
    """A data directory as ``weirgate up`` leaves it, with the processes behind it."""

    directory: Path
    nats: NatsServer
    url: str
    app: typer.Typer

    def weirgate(self, *arguments: str, status: int = 0, **more: Any) -> Result:
        given = {"WEIRGATE_DATA_DIR": str(self.directory), "WEIRGATE_URL": None} | more.get("env", {})
        ran = CliRunner().invoke(self.app, arguments, env=given)
        assert ran.exit_code == status, f"{arguments}: {ran.exit_code}\n{ran.stdout}\n{ran.stderr}"
        assert ran.exception is None or isinstance(ran.exception, SystemExit)
        return ran

    def held(self, quorum: int = 1) -> str:
        request = new_id()
        event = OperationHeld(
            ingress="in1", session="s1", operation=1, intercepted=request, digest="d", policy_revision=1,
            catalog_revision="c", resource="shop", identity=AGENT, groups=("dba",), quorum=quorum,
            window_s=600, reason="why", text="update customers set name = \x1b[31m'x'",
        )  # fmt: skip
        asyncio.run(self._record("policy", event))
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            listed = json.loads(self.weirgate("approvals", "list", "--json").stdout)
            if any(one["id"] == request for one in listed):
                return request
        raise AssertionError("it was never listed")

    async def _record(self, user: str, event: Event) -> None:
        bus = await JetStreamBus.connect(self.nats.url, self.nats.seed(user), "test")
        event = event.stamped(id=new_id(), at=now())
        await bus.publish(event.subject, event.encoded(), id=event.id)
        await bus.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Generator[House]:
    directory = tmp_path_factory.mktemp("gateway")
    (directory / "secrets").mkdir()
    private = new_issuer_key()
    (directory / "secrets" / "issuer.jwk").write_text(json.dumps(private))
    (directory / "secrets" / "admin.token").write_text("a" * 64)
    (directory / "jwks.json").write_text(json.dumps(public_jwks(private)))
    (directory / "issuers.json").write_text(json.dumps([{"issuer": "dev", "jwks_file": "jwks.json"}]))
    port, health = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    with running_nats(directory / "nats") as nats:
        common = {"WEIRGATE_NATS_URL": nats.url}
        console = {
            "WEIRGATE_CONSOLE_LISTEN": f"127.0.0.1:{port}",
            "WEIRGATE_HEALTH_LISTEN": f"127.0.0.1:{health}",
            "WEIRGATE_ISSUERS_FILE": str(directory / "issuers.json"),
            "WEIRGATE_ISSUER_KEY_FILE": str(directory / "secrets" / "issuer.jwk"),
            "WEIRGATE_JWKS_FILE": str(directory / "jwks.json"),
            "WEIRGATE_ADMIN_TOKEN_FILE": str(directory / "secrets" / "admin.token"),
        }
        clean = {key: value for key, value in os.environ.items() if not key.startswith("WEIRGATE_")}
        running = [
            subprocess.Popen(
                [sys.executable, "-m", f"weirgate_{name}"],
                env=clean | common | own | {"WEIRGATE_NATS_NKEY_FILE": str(nats.seed(name))},
                stderr=(directory / f"{name}.log").open("wb"),
            )
            for name, own in (("console", console), ("approval", {}))
        ]
        try:
            _until_ready(f"http://127.0.0.1:{health}/readyz", running[0], directory / "console.log")
            where = {"console": {"url": url}, "nats": {"url": nats.url}}
            (directory / "endpoints.json").write_text(json.dumps(where))
            yield House(directory, nats, url, make_app())
        finally:
            for process in running:
                process.terminate()
            for process in running:
                assert process.wait(15) == 0


def _until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    raise AssertionError(log.read_text())


@pytest.fixture
def documents(house: House, tmp_path: Path) -> Path:
    (tmp_path / "gateway.yaml").write_text(DOCUMENTS)
    (tmp_path / "writers.cedar").write_text(CEDAR)
    house.weirgate("apply", "-f", str(tmp_path))
    return tmp_path


def test_what_is_applied_stands_and_is_not_published_twice(house: House, documents: Path) -> None:
    again = house.weirgate("apply", "-f", str(documents))
    assert again.stdout.splitlines() == [
        "labels shop: unchanged", "masking default: unchanged", "reviewers dba: unchanged",
        "policy writers: unchanged", "resource shop: unchanged",
    ]  # fmt: skip
    shown = json.loads(house.weirgate("config", "show", "--json").stdout)
    assert {one["kind"] for one in shown["documents"]} == {
        "labels",
        "masking",
        "policy",
        "resource",
        "reviewers",
    }
    assert '@hold("dba")' in house.weirgate("config", "show", "policy", "writers").stdout


def test_a_rule_that_can_never_fire_names_the_line_of_the_cedar_file(house: House, documents: Path) -> None:
    before = json.loads(house.weirgate("config", "show", "--json").stdout)["revision"]
    (documents / "writers.cedar").write_text(CEDAR.replace('"update"', '"updaet"'))
    ran = house.weirgate("apply", "-f", str(documents), status=1)
    assert f"{documents / 'writers.cedar'}:3: " in ran.stderr
    assert ran.stdout == ""
    assert json.loads(house.weirgate("config", "show", "--json").stdout)["revision"] == before


def test_a_hold_for_nobody_is_refused(house: House, documents: Path) -> None:
    (documents / "writers.cedar").write_text(CEDAR.replace('"dba"', '"dbaa"'))
    ran = house.weirgate("apply", "-f", str(documents), status=1)
    assert f"{documents / 'writers.cedar'}:2: " in ran.stderr
    assert "dbaa" in ran.stderr


def test_a_broken_file_is_refused_before_anything_is_sent(house: House, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("kind: resorce\n")
    ran = house.weirgate("apply", "-f", str(tmp_path / "x.yaml"), status=1)
    assert f"{tmp_path / 'x.yaml'}:1: there is no kind 'resorce' (did you mean 'resource'?)" in ran.stderr


@pytest.mark.usefixtures("documents")
def test_a_request_is_listed_shown_and_granted(house: House) -> None:
    request = house.held()
    table = house.weirgate("approvals", "list").stdout
    assert request in table
    assert "\x1b" not in table, "what an agent wrote steers the terminal of whoever decides"
    assert "dba 0/1" in table
    shown = house.weirgate("approvals", "show", request).stdout
    assert "\x1b" not in shown
    assert "alice" in shown
    granted = house.weirgate("approvals", "grant", request, "--reason", "fine").stdout
    assert granted.startswith(f"{request}: granted; usable once, until ")
    again = house.weirgate("approvals", "refuse", request, status=1)
    assert "already granted by local-admin; nothing changed" in again.stderr


@pytest.mark.usefixtures("documents")
def test_two_people_decide_with_tokens_of_their_own(house: House) -> None:
    request = house.held(quorum=2)

    def person(name: str, *groups: str) -> dict[str, Any]:
        named = [argument for group in groups for argument in ("--group", group)]
        token = house.weirgate("token", "mint", "--person", name, *named, "--ttl", "5m").stdout.strip()
        return {"env": {"WEIRGATE_URL": house.url, "WEIRGATE_TOKEN": token}}

    agreed = house.weirgate("approvals", "grant", request, **person("bob", "dbas"))
    assert agreed.stdout.strip() == f"{request}: recorded; others must agree too: dba 1/2"
    mine = house.weirgate("approvals", "grant", request, status=1, **person("alice", "dbas"))
    assert "Alice asked for this operation and cannot decide it." in mine.stderr
    other = house.weirgate("approvals", "refuse", request, status=1, **person("eve", "sales"))
    assert "none of the groups that may decide: dbas" in other.stderr
    house.weirgate("apply", "-f", str(house.directory), status=1, **person("bob", "dbas"))
    done = house.weirgate("approvals", "grant", request, "--json", **person("carol", "dbas"))
    assert json.loads(done.stdout)["approval"]["decided_by"] == ["bob", "carol"]


def test_a_token_is_all_that_stands_on_stdout(house: House) -> None:
    ran = house.weirgate("token", "mint", "--agent", "bot", "--group", "readers", "--resource", "shop")
    assert ran.stdout.count(".") == 2
    assert len(ran.stdout.split()) == 1
    assert ran.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("token", "mint", "--group", "x"), 2, "name either --agent or --person"),
        (("token", "mint", "--agent", "a", "--ttl", "soon"), 2, "write 30s, 15m, 8h or 1d"),
        (("token", "mint", "--agent", "a", "--ttl", "90d"), 1, "lives at most"),
        (("token", "mint", "--agent", "a b"), 1, "agent"),
        (("approvals", "show", "nope"), 1, "ids have 26 characters"),
        (("approvals", "grant", "0" * 26), 1, "There is no approval request"),
        (("approvals", "list", "--state", "opne"), 2, "there is no state 'opne'"),
        (("sessions", "kill", "in1"), 2, "write INGRESS/SESSION"),
        (("sessions", "kill", "in1/none"), 1, "There is no session none"),
        (("config", "show", "policy", "none"), 1, "there is no policy none"),
        (("config", "withdraw", "policy", "none"), 1, "There is no policy 'none'"),
        (("apply", "-f", "/nowhere.yaml"), 1, "there is no such file"),
        (("apply",), 2, ""),
        (("aply",), 2, "No such command"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence_with_its_status(
    house: House, arguments: tuple[str, ...], status: int, said: str
) -> None:
    assert said in house.weirgate(*arguments, status=status).stderr


def test_the_installed_command_ends_with_the_same_status_and_no_traceback(house: House) -> None:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WEIRGATE_")}
    for arguments, status in ((["approvals", "list", "--json"], 0), (["approvals", "show", "nope"], 1)):
        ran = subprocess.run(
            [WEIRGATE, *arguments, "--data-dir", str(house.directory)],
            text=True, capture_output=True, timeout=120, check=False, env=clean,
        )  # fmt: skip
        assert ran.returncode == status
        assert "Traceback" not in ran.stderr


def test_without_a_gateway_the_next_step_is_said(house: House, tmp_path: Path) -> None:
    ran = house.weirgate("approvals", "list", "--data-dir", str(tmp_path), status=1)
    assert f"no gateway is running on {tmp_path}" in ran.stderr
    assert "weirgate up" in ran.stderr


@pytest.mark.parametrize(
    ("url", "token", "status", "said"),
    [
        ("http://console.example.com", "t", 2, "in clear"),
        ("ftp://x", "t", 2, "no address"),
        ("https://console.example.com", "", 2, "WEIRGATE_TOKEN is not"),
        ("http://127.0.0.1:1", "t", 1, "does not answer"),
    ],
)
def test_a_token_never_goes_over_a_network_in_clear(
    house: House, url: str, token: str, status: int, said: str
) -> None:
    environment = {"WEIRGATE_URL": url, "WEIRGATE_TOKEN": token}
    assert said in house.weirgate("config", "show", status=status, env=environment).stderr


def test_the_console_takes_no_call_past_its_limits(house: House) -> None:
    headers = {"authorization": "Bearer " + "a" * 64}
    answer = httpx.post(f"{house.url}/v1/tokens", content=b"x" * 200_000, headers=headers)
    assert answer.status_code == 413
    answer = httpx.get(f"{house.url}/v1/approvals", headers={"authorization": "Bearer " + "b" * 64})
    assert answer.status_code == 401
    assert "server" not in answer.headers


@pytest.mark.usefixtures("documents")
def test_policies_are_checked_without_a_gateway(house: House, documents: Path) -> None:
    ran = house.weirgate("policy", "check", str(documents), "--json")
    assert json.loads(ran.stdout) == []
    (documents / "writers.cedar").write_text("permit (principal, action, resource) when { nope };")
    assert (
        f"{documents / 'writers.cedar'}:1: "
        in house.weirgate("policy", "check", str(documents), status=1).stderr
    )


def test_the_log_can_be_judged_again(house: House) -> None:
    ran = house.weirgate(
        "policy", "replay", "--json", env={"WEIRGATE_DATA_DIR": str(house.directory)}, status=1
    )
    assert "the log cannot be read" in ran.stderr, "without the auditor's key nobody reads it"
    keys = house.directory / "secrets" / "nkeys"
    keys.mkdir()
    (keys / "auditor.nk").write_bytes(house.nats.seed("auditor").read_bytes())
    assert json.loads(house.weirgate("policy", "replay", "--json").stdout) == []
