"""The console's REST, over a log in memory, with the real desk on the other side of it."""

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from weirgate_approval.clerk import Clerk
from weirgate_bus.memory import MemoryBus, MemoryLog
from weirgate_chassis.clock import now, now_us
from weirgate_chassis.config import ConfigFeed
from weirgate_chassis.ids import new_id
from weirgate_console.api.app import make_app
from weirgate_console.api.door import Parts
from weirgate_console.api.guard import Guard
from weirgate_console.check import Checker
from weirgate_console.decide import Decisions
from weirgate_console.keys import Issuer
from weirgate_console.login import Doorkeeper
from weirgate_console.publish import Publisher
from weirgate_console.requests import Requests
from weirgate_console.tokens import Mint, new_issuer_key, public_jwks
from weirgate_contracts.events import (
    Event,
    OperationHeld,
    SessionClosed,
    SessionKilled,
    SessionOpened,
    TokenMinted,
    decode,
)
from weirgate_contracts.identity import Identity
from weirgate_contracts.operation import Touched

ADMIN = "a" * 64
ISSUER = "weirgate-development"
AGENT = Identity(agent="bot", user="alice", issuer="i", token_id="t", expires_at=2_000_000_000)
REVIEWERS = {"kind": "reviewers", "body": {"name": "dba", "groups": ["dbas"]}}


@dataclass(frozen=True, slots=True)
class Said:
    """What a checker says."""

    policy: str
    line: int
    message: str
    suggestion: str | None = None
    severity: str = "error"


def fake_check(policies: Mapping[str, str], known: Any) -> Sequence[Said]:
    """A checker: a rule holds for what stands after 'hold', and 'bad' is an error."""
    found: list[Said] = []
    for name, text in policies.items():
        for number, line in enumerate(text.splitlines(), start=1):
            if line.startswith("bad"):
                found.append(Said(name, number, "this is bad", "write good"))
            if line.startswith("hold ") and line.split()[1] not in known.reviewers:
                found.append(Said(name, number, f"nobody is {line.split()[1]}"))
    return found


class House:
    """A console over a log in memory."""

    def __init__(self, tmp_path: Path, *, checkers: Mapping[str, Checker] | None = None) -> None:
        self.log = MemoryLog()
        self.bus = MemoryBus(self.log, "console")
        self.private = new_issuer_key()
        jwks = tmp_path / "jwks.json"
        jwks.write_text(json.dumps(public_jwks(self.private)))
        issuer = Issuer(issuer=ISSUER, jwks_file=jwks)
        self.feed = ConfigFeed(self.bus, catalogs=False)
        self.requests = Requests(self.bus)
        parts = Parts(
            bus=self.bus,
            doorkeeper=Doorkeeper([issuer], ADMIN),
            requests=self.requests,
            decisions=Decisions(self.bus, self.requests, self.feed, deadline_s=0.5),
            publisher=Publisher(self.bus, {"fake": fake_check} if checkers is None else checkers),
            mint=Mint(self.bus, self.private, issuer, ttl_limit_s=3600),
        )
        self.app = make_app(parts)
        transport = httpx.ASGITransport(Guard(self.app, deadline_s=5.0))
        self.agent = httpx.AsyncClient(transport=transport, base_url="http://console")
        self.clerk = Clerk(MemoryBus(self.log, "approval"), now_us=now_us, new_id=new_id)

    async def start(self) -> None:
        await self.feed.start()
        await self.requests.start()
        self.clerk.review({"dba": frozenset({"dbas"})})

    async def call(
        self, method: str, path: str, token: str | None = ADMIN, body: Any = None, **more: Any
    ) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"} if token is not None else {}
        return await self.agent.request(method, path, headers=headers, json=body, **more)

    async def record(self, event: Event, user: str | None = None) -> None:
        event = event.stamped(id=new_id(), at=now())
        await MemoryBus(self.log, user).publish(event.subject, event.encoded(), id=event.id)

    async def held(self, *, quorum: int = 1, groups: tuple[str, ...] = ("dba",), **more: Any) -> str:
        request = new_id()
        said: dict[str, Any] = {
            "catalog_revision": "c", "resource": "shop", "reason": "writes are looked at",
            "text": "delete from t",
        } | more  # fmt: skip
        event = OperationHeld(
            ingress="in1", session="s1", operation=1, intercepted=request, digest="d", policy_revision=1,
            identity=AGENT, groups=groups, quorum=quorum, window_s=600, **said,
        )  # fmt: skip
        await self.record(event, "policy")
        async with asyncio.timeout(5):
            while await self.requests.find(request) is None:
                await asyncio.sleep(0.01)
        return request

    async def person(self, name: str, *groups: str) -> str:
        answer = await self.call("POST", "/v1/tokens", body={"person": name, "groups": groups})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])

    async def apply(self, *documents: dict[str, Any], **more: Any) -> httpx.Response:
        return await self.call("POST", "/v1/config", body={"documents": documents, **more})

    def events(self, prefix: str) -> list[Event]:
        return [decode(each.body) for each in self.log.messages() if each.subject.startswith(prefix)]


@asynccontextmanager
async def house(tmp_path: Path, *, approving: bool = True) -> AsyncGenerator[House]:
    made = House(tmp_path)
    await made.start()
    assert (await made.apply(REVIEWERS)).status_code == 200
    async with asyncio.TaskGroup() as tasks:
        following: asyncio.Task[None] | None = None
        if approving:
            await made.clerk.start(_at_once)
            following = tasks.create_task(made.clerk.follow())
        yield made
        if following is not None:
            following.cancel()
    await made.agent.aclose()


async def _at_once() -> None:
    return


# ---------------------------------------------------------------- who calls


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/approvals"),
        ("GET", f"/v1/approvals/{'0' * 26}"),
        ("POST", f"/v1/approvals/{'0' * 26}/grant"),
        ("POST", f"/v1/approvals/{'0' * 26}/refuse"),
        ("GET", "/v1/config"),
        ("POST", "/v1/config"),
        ("DELETE", "/v1/config/policy/x"),
        ("POST", "/v1/tokens"),
        ("POST", "/v1/sessions/in1/s1/kill"),
    ],
)
async def test_nobody_calls_anything_without_a_token(tmp_path: Path, method: str, path: str) -> None:
    async with house(tmp_path) as console:
        answer = await console.call(method, path, token=None, body={} if method == "POST" else None)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "not_signed_in"
        assert answer.headers["www-authenticate"] == "Bearer"


def forged(
    console: House, *, alg: str = "ES256", key: Any = None, kid: str | None = None, **claims: Any
) -> str:
    said: dict[str, Any] = {
        "iss": ISSUER, "aud": "weirgate-console", "sub": "bob", "groups": ["weirgate-admins"], "jti": "x",
        "exp": int(time.time()) + 60,
    } | claims  # fmt: skip
    said = {name: value for name, value in said.items() if value is not None}
    own = public_jwks(console.private)["keys"][0]["kid"]
    key = key or ECKey.import_key(console.private)
    return jwt.encode({"alg": alg, "kid": kid or own}, said, key, algorithms=[alg])


async def test_a_good_token_of_a_configured_issuer_signs_in(tmp_path: Path) -> None:
    async with house(tmp_path) as console:
        assert (await console.call("GET", "/v1/config", token=forged(console))).status_code == 200


async def test_hostile_tokens_are_refused(tmp_path: Path) -> None:
    async with house(tmp_path) as console:
        public = json.dumps(public_jwks(console.private)["keys"][0]).encode()
        none = "eyJhbGciOiJub25lIn0." + forged(console).split(".")[1] + "."
        header, payload, signature = forged(console).split(".")
        tokens = {
            "no signature": none,
            "another key": forged(console, key=ECKey.generate_key("P-256")),
            "the public key as a shared secret": forged(console, alg="HS256", key=OctKey.import_key(public)),
            "a key nobody publishes": forged(console, kid="other"),
            "another kind of key": forged(console, alg="RS256", key=RSAKey.generate_key(2048)),
            "an agent's audience": forged(console, aud="weirgate"),
            "no audience": forged(console, aud=None),
            "another issuer": forged(console, iss="https://evil.example"),
            "expired": forged(console, exp=int(time.time()) - 1),
            "never expires": forged(console, exp=None),
            "true as a time": forged(console, exp=True),
            "not yet": forged(console, nbf=int(time.time()) + 600),
            "an agent for a person": forged(console, act={"sub": "bot"}),
            "the administrator's name": forged(console, sub="local-admin"),
            "no name": forged(console, sub=" "),
            "groups that are none": forged(console, groups="weirgate-admins"),
            "a changed payload": f"{header}.{payload[:-2]}AA.{signature}",
            "cut": forged(console)[:-10],
            "too long": "a" * 20_000,
            "words": "not a token",
            "almost the admin token": ADMIN[:-1] + "b",
            "nothing": " ",
        }
        for name, token in tokens.items():
            answer = await console.call("GET", "/v1/approvals", token=token)
            assert answer.status_code == 401, name
            assert token.strip()[:40] not in answer.text or not token.strip(), name


async def test_only_administrators_publish_mint_and_kill(tmp_path: Path) -> None:
    async with house(tmp_path) as console:
        bob = await console.person("bob", "dbas")
        for method, path, body in (
            ("POST", "/v1/config", {"documents": [REVIEWERS]}),
            ("DELETE", "/v1/config/reviewers/dba", None),
            ("POST", "/v1/tokens", {"agent": "x"}),
            ("POST", "/v1/sessions/in1/s1/kill", {}),
        ):
            answer = await console.call(method, path, token=bob, body=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_admin"), path
        admin = await console.person("root", "weirgate-admins")
        assert (await console.call("POST", "/v1/tokens", token=admin, body={"agent": "x"})).status_code == 201


async def test_a_body_past_its_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async with house(tmp_path) as console:
        path = f"/v1/approvals/{'0' * 26}/grant"
        assert (await console.call("POST", path, body={"reason": "x" * 100_000})).status_code == 413

        async def endless() -> AsyncGenerator[bytes]:
            while True:
                yield b"x" * 10_000

        headers = {"authorization": f"Bearer {ADMIN}", "content-type": "application/json"}
        answer = await console.agent.post(path, content=endless(), headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff", b'{"documents": 1}', b'{"nope": 1}', b"[" * 60_000]
)
async def test_a_malformed_body_is_refused_in_one_sentence(tmp_path: Path, body: bytes) -> None:
    async with house(tmp_path) as console:
        headers = {"authorization": f"Bearer {ADMIN}", "content-type": "application/json"}
        answer = await console.agent.post("/v1/config", content=body, headers=headers)
        assert 400 <= answer.status_code < 500
        assert answer.json()["error"]["message"]


# ---------------------------------------------------------------- approvals


async def test_a_held_operation_is_listed_with_what_people_need(tmp_path: Path) -> None:
    async with house(tmp_path) as console:
        request = await console.held(quorum=2)
        (one,) = (await console.call("GET", "/v1/approvals", params={"state": "open"})).json()["approvals"]
        assert one["id"] == request
        assert (one["resource"], one["agent"], one["user"], one["text"]) == (
            "shop",
            "bot",
            "alice",
            "delete from t",
        )
        assert one["seats"] == [{"group": "dba", "needed": 2, "agreed": 0}]
        assert (await console.call("GET", f"/v1/approvals/{request}")).json() == one
        assert (await console.call("GET", "/v1/approvals", params={"state": "granted"})).json() == {
            "approvals": []
        }


async def test_an_eligible_person_grants(tmp_path: Path) -> None:
    async with house(tmp_path) as console:
        request = await console.held()
        bob = await console.person("bob", "dbas")
        answer = await console.call(
            "POST", f"/v1/approvals/{request}/grant", token=bob, body={"reason": "ok"}
        )
        assert answer.status_code == 200, answer.text
        assert answer.json()["outcome"] == "granted"
        approval = answer.json()["approval"]
        assert (approval["state"], approval["decided_by"], approval["decided_reason"]) == (
            "granted",
            ["bob"],
            "ok",
        )
        assert approval["usable_until"] > approval["ended_at"]


async def test_several_must_agree_and_each_is_told_how_far_it_is(tmp_path: Path) -> None:
    async with house(tmp_path) as console:
        request = await console.held(quorum=2)
        bob, carol = await console.person("bob", "dbas"), await console.person("carol", "dbas")
        first = await console.call("POST", f"/v1/approvals/{request}/grant", token=bob)
        assert (first.status_code, first.json()["outcome"]) == (200, "endorsed")
        assert first.json()["approval"]["seats"] == [{"group": "dba", "needed": 2, "agreed": 1}]
        again = await console.call("POST", f"/v1/approvals/{request}/grant", token=bob)
        assert (again.status_code, again.json()["error"]["code"]) == (409, "already_agreed")
        second = await console.call("POST", f"/v1/approvals/{request}/grant", token=carol)
        assert second.json()["outcome"] == "granted"
        assert second.json()["approval"]["decided_by"] == ["bob", "carol"]
        assert second.json()["approval"]["seats"] == [{"group": "dba", "needed": 2, "agreed": 2}]


async def test_the_local_administrator_is_one_person_in_every_group(tmp_path: Path) -> None:
    async with house(tmp_path) as console:
        request = await console.held()
        answer = await console.call("POST", f"/v1/approvals/{request}/grant")
        assert answer.json()["approval"]["decided_by"] == ["local-admin"]


async def test_what_was_decided_already_is_a_conflict_and_says_by_whom(tmp_path: Path) -> None:
    async with house(tmp_path) as console:
        request = await console.held()
        bob = await console.person("bob", "dbas")
        assert (await console.call("POST", f"/v1/approvals/{request}/refuse", token=bob)).json()[
            "outcome"
        ] == "refused"
        answer = await console.call("POST", f"/v1/approvals/{request}/grant")
        assert answer.status_code == 409
        assert answer.json()["error"]["message"] == "The request is already refused by bob; nothing changed."


@pytest.mark.parametrize(
    ("name", "groups", "why"),
    [
        ("alice", ("dbas",), "Alice asked for this operation and cannot decide it."),
        ("bot", ("dbas",), "Bot asked for this operation and cannot decide it."),
        ("eve", ("sales",), "Eve is in none of the groups that may decide: dbas."),
    ],
)
async def test_who_may_not_decide_is_told_why_and_nothing_is_recorded(
    tmp_path: Path, name: str, groups: tuple[str, ...], why: str
) -> None:
    async with house(tmp_path) as console:
        request = await console.held()
        token = await console.person(name, *groups)
        answer = await console.call("POST", f"/v1/approvals/{request}/grant", token=token)
        assert (answer.status_code, answer.json()["error"]["message"]) == (403, why)
        assert console.events("audit.admin.decided") == []


async def test_a_group_that_no_document_names_is_said(tmp_path: Path) -> None:
    async with house(tmp_path) as console:
        request = await console.held(groups=("legal",))
        answer = await console.call("POST", f"/v1/approvals/{request}/grant")
        assert answer.status_code == 403
        assert (
            "asks for legal, and no reviewers document says who that is" in answer.json()["error"]["message"]
        )


async def test_with_approval_away_the_decision_is_recorded_and_said_to_be_no_more(tmp_path: Path) -> None:
    async with house(tmp_path, approving=False) as console:
        await console.clerk.start(_at_once)
        following = asyncio.ensure_future(console.clerk.follow())
        request = await console.held()
        following.cancel()
        answer = await console.call("POST", f"/v1/approvals/{request}/grant")
        assert (answer.status_code, answer.json()["outcome"]) == (202, "recorded")


async def test_with_the_log_away_nothing_is_claimed(tmp_path: Path) -> None:
    async with house(tmp_path) as console:
        request = await console.held()
        console.log.go_away()
        answer = await console.call("POST", f"/v1/approvals/{request}/grant")
        assert answer.status_code == 503
        assert (await console.call("POST", "/v1/tokens", body={"agent": "x"})).status_code == 503
        assert (await console.apply(REVIEWERS)).status_code == 503
        console.log.come_back()


@pytest.mark.parametrize("id", ["*", ">", "a.b", "0" * 25, "..", "%2e%2e", "0" * 26 + "/x"])
async def test_an_id_that_is_none_reaches_no_subject(tmp_path: Path, id: str) -> None:
    async with house(tmp_path) as console:
        await console.held()
        answer = await console.call("POST", f"/v1/approvals/{id}/grant")
        assert answer.status_code in (404, 405, 422)


async def test_an_unknown_request_is_not_found(tmp_path: Path) -> None:
    async with house(tmp_path) as console:
        assert (await console.call("GET", f"/v1/approvals/{new_id()}")).status_code == 404


# ---------------------------------------------------------------- configuration


RESOURCE = {
    "kind": "resource",
    "body": {
        "name": "shop",
        "protocol": "postgres",
        "upstream": "postgresql://a@h/shop",
        "credential": "env:P",
    },
}
LABELS = {"kind": "labels", "body": {"resource": "shop", "columns": {"public.customers.email": "pii.email"}}}
MASKING = {"kind": "masking", "body": {"rules": [{"label": "pii.*", "transform": {"kind": "redact"}}]}}


def policy(text: str, **more: Any) -> dict[str, Any]:
    return {"kind": "policy", "body": {"name": "p", "cedar": text}, **more}


async def test_documents_are_published_protection_first_and_not_twice(tmp_path: Path) -> None:
    async with house(tmp_path) as console:
        answer = await console.apply(RESOURCE, policy("good"), MASKING, LABELS)
        assert answer.status_code == 200, answer.text
        kinds = [change["kind"] for change in answer.json()["published"]]
        assert kinds == ["labels", "masking", "policy", "resource"]
        again = await console.apply(RESOURCE, policy("good"), MASKING, LABELS)
        assert again.json()["published"] == []
        assert len(again.json()["unchanged"]) == 4
        changed = await console.apply(RESOURCE, policy("better"))
        assert [change["kind"] for change in changed.json()["published"]] == ["policy"]
        shown = (await console.call("GET", "/v1/config")).json()
        assert shown["revision"] == changed.json()["published"][0]["revision"]
        assert {(one["kind"], one["by"]) for one in shown["documents"]} == {
            (kind, "local-admin") for kind in ("labels", "masking", "policy", "resource", "reviewers")
        }


async def test_nothing_is_half_applied_and_every_problem_is_said_with_its_place(tmp_path: Path) -> None:
    async with house(tmp_path) as console:
        before = len(console.log.messages())
        labels = LABELS | {"file": "a.yaml", "line": 7, "lines": {"resource": 8, "columns": 9}}
        wrong = {
            "kind": "masking",
            "body": {"rules": [{"label": "P", "transform": {"kind": "x"}}]},
            "file": "b.yaml",
        }
        cedar = policy("good\nbad", cedar_file="p.cedar")
        answer = await console.apply(
            REVIEWERS | {"body": {"name": "new", "groups": ["g"]}}, labels, wrong, cedar
        )
        assert answer.status_code == 422
        places = [(one["file"], one["line"], one["severity"]) for one in answer.json()["problems"]]
        assert places == [
            ("b.yaml", 1, "error"), ("b.yaml", 1, "error"), ("a.yaml", 8, "error"), ("p.cedar", 2, "error"),
        ]  # fmt: skip
        assert answer.json()["problems"][2]["what"] == "there is no resource 'shop'"
        assert answer.json()["problems"][3]["right"] == "write good"
        assert len(console.log.messages()) == before


async def test_a_dry_run_checks_all_and_publishes_nothing(tmp_path: Path) -> None:
    async with house(tmp_path) as console:
        before = len(console.log.messages())
        answer = await console.apply(RESOURCE, dry_run=True)
        assert answer.json()["published"] == [{"kind": "resource", "name": "shop", "revision": None}]
        assert len(console.log.messages()) == before


async def test_a_rule_that_meets_no_label_is_warned_of_with_the_nearest(tmp_path: Path) -> None:
    async with house(tmp_path) as console:
        rule = {"label": "pii.emial", "transform": {"kind": "redact"}}
        answer = await console.apply({"kind": "masking", "body": {"rules": [rule]}})
        assert answer.status_code == 200
        (warning,) = answer.json()["warnings"]
        assert (warning["severity"], warning["right"]) == ("warning", "did you mean 'pii.email'?")


async def test_without_a_checker_no_policy_is_published(tmp_path: Path) -> None:
    console = House(tmp_path, checkers={})
    await console.start()
    answer = await console.apply(policy("good"))
    assert answer.status_code == 422
    assert "no policy checker is installed" in answer.json()["problems"][0]["what"]
    assert (await console.apply(RESOURCE)).status_code == 200


async def test_two_documents_of_one_name_are_refused(tmp_path: Path) -> None:
    async with house(tmp_path) as console:
        answer = await console.apply(RESOURCE, RESOURCE | {"file": "x.yaml", "line": 3})
        assert answer.status_code == 422
        assert answer.json()["problems"][0]["line"] == 3


async def test_a_password_in_an_address_is_refused_and_not_repeated(tmp_path: Path) -> None:
    async with house(tmp_path) as console:
        body = RESOURCE["body"] | {"upstream": "postgresql://a:hunter2@h/shop"}  # type: ignore[operator]
        answer = await console.apply({"kind": "resource", "body": body})
        assert answer.status_code == 422
        assert "hunter2" not in answer.text


HTTP = {
    "kind": "resource",
    "body": {"name": "crm", "protocol": "http", "upstream": "https://crm", "routes": ["/v1/customers/{id}"]},
}
FIELDS = {"kind": "labels", "body": {"resource": "crm", "fields": {"/v1/customers/{id} /email": "pii.email"}}}


async def test_an_http_resource_with_labels_of_its_fields_is_published_and_not_twice(tmp_path: Path) -> None:
    async with house(tmp_path) as console:
        answer = await console.apply(HTTP, FIELDS)
        assert answer.status_code == 200, answer.text
        assert len((await console.apply(HTTP, FIELDS)).json()["unchanged"]) == 2
        shown = (await console.call("GET", "/v1/config")).json()["documents"]
        again = [{"kind": one["kind"], "body": one["body"]} for one in shown if one["name"] == "crm"]
        assert len((await console.apply(*again)).json()["unchanged"]) == 2
        columns = {"kind": "labels", "body": {"resource": "crm", "columns": {"a.b.c": "pii.email"}}}
        refused = await console.apply(columns)
        assert refused.status_code == 422
        assert "has no columns" in refused.json()["problems"][0]["what"]


async def test_a_document_is_withdrawn_unless_something_needs_it(tmp_path: Path) -> None:
    async with house(tmp_path) as console:
        await console.apply(RESOURCE, LABELS, policy("hold dba"))
        needed = await console.call("DELETE", "/v1/config/reviewers/dba")
        assert (needed.status_code, needed.json()["error"]["code"]) == (409, "still_needed")
        assert (await console.call("DELETE", "/v1/config/resource/shop")).status_code == 409
        assert (await console.call("DELETE", "/v1/config/policy/p")).status_code == 200
        assert (await console.call("DELETE", "/v1/config/reviewers/dba")).status_code == 200
        assert (await console.call("DELETE", "/v1/config/reviewers/dba")).status_code == 404
        assert (await console.call("DELETE", "/v1/config/nothing/dba")).status_code == 422
        kinds = [one["kind"] for one in (await console.call("GET", "/v1/config")).json()["documents"]]
        assert kinds == ["labels", "resource"]


async def test_a_held_call_is_shown_in_the_words_policy_gave_it(tmp_path: Path) -> None:
    async with house(tmp_path) as console:
        text = 'POST /v1/orders?dry=1\n\n{"customer": 7}\n'
        touched = Touched(verb="http.post", writes=("/v1/orders",))
        request = await console.held(resource="crm", text=text, touched=(touched,), catalog_revision="")
        one = (await console.call("GET", f"/v1/approvals/{request}")).json()
        assert (one["resource"], one["text"], one["touched"]) == (
            "crm",
            text,
            [touched.model_dump(mode="json")],
        )
        (listed,) = (await console.call("GET", "/v1/approvals")).json()["approvals"]
        assert listed == one
        person = await console.person("carol", "dbas")
        granted = await console.call("POST", f"/v1/approvals/{request}/grant", token=person, body={})
        assert (granted.json()["outcome"], granted.json()["approval"]["text"]) == ("granted", text)


async def test_the_description_of_the_interface_names_nothing_it_does_not_hold(tmp_path: Path) -> None:
    described = House(tmp_path).app.openapi()
    assert described["openapi"].startswith("3.")
    named = set(re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(described)))
    assert named
    assert named <= set(described["components"]["schemas"])


# ---------------------------------------------------------------- tokens


async def test_a_minted_token_says_what_was_asked_and_is_recorded_first(tmp_path: Path) -> None:
    async with house(tmp_path) as console:
        wanted = {
            "agent": "bot",
            "user": "alice",
            "groups": ["b", "a"],
            "run": "r1",
            "tool": "sql",
            "resources": ["shop"],
        }
        answer = await console.call("POST", "/v1/tokens", body=wanted)
        assert answer.headers["cache-control"] == "no-store"
        token = answer.json()["token"]
        keys = (await console.call("GET", "/.well-known/jwks.json", token=None)).json()
        assert "d" not in keys["keys"][0]
        claims = jwt.decode(token, ECKey.import_key(keys["keys"][0]), algorithms=["ES256"]).claims
        assert {name: claims[name] for name in ("iss", "aud", "sub", "act", "run", "tool", "resources")} == {
            "iss": ISSUER, "aud": "weirgate", "sub": "alice", "act": {"sub": "bot", "groups": ["a", "b"]},
            "run": "r1", "tool": "sql", "resources": ["shop"],
        }  # fmt: skip
        assert claims["exp"] - claims["iat"] == 900
        (event,) = console.events("audit.admin.minted")
        assert isinstance(event, TokenMinted)
        assert (event.token_id, event.agent, event.user, event.by) == (
            claims["jti"],
            "bot",
            "alice",
            "local-admin",
        )
        assert all(token not in delivery.body.decode() for delivery in console.log.messages())


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"agent": "a", "person": "p"},
        {"agent": "a b"},
        {"agent": ""},
        {"agent": "a\n"},
        {"agent": "a", "ttl_s": 0},
        {"agent": "a", "ttl_s": 3601},
        {"person": "p", "resources": ["shop"]},
        {"person": "Local-Admin"},
        {"agent": "a", "resources": ["Shop!"]},
        {"agent": "a", "admin": True},
    ],
)
async def test_a_token_nobody_should_get_is_not_minted(tmp_path: Path, wanted: dict[str, Any]) -> None:
    async with house(tmp_path) as console:
        assert (await console.call("POST", "/v1/tokens", body=wanted)).status_code == 422
        assert console.events("audit.admin.minted") == []


async def test_the_issuer_is_discovered(tmp_path: Path) -> None:
    async with house(tmp_path) as console:
        found = (await console.call("GET", "/.well-known/openid-configuration", token=None)).json()
        assert (found["issuer"], found["jwks_uri"]) == (ISSUER, "http://console/.well-known/jwks.json")


# ---------------------------------------------------------------- sessions


async def test_a_killed_session_is_recorded_then_told_until_it_is_closed(tmp_path: Path) -> None:
    async with house(tmp_path) as console:
        opened = SessionOpened(
            ingress="in1",
            session="s1",
            protocol="postgres",
            resource="shop",
            identity=AGENT,
            peer="p",
            tls=None,
        )
        await console.record(opened, "ingress")
        told: list[str] = []

        async def close() -> None:
            await console.record(SessionClosed(ingress="in1", session="s1", reason="killed"), "ingress")

        tasks: list[asyncio.Task[None]] = []

        def hear(subject: str) -> None:
            told.append(subject)
            assert console.events("audit.admin.killed"), "told before it was recorded"
            tasks.append(asyncio.ensure_future(close()))

        ingress = MemoryBus(console.log, "ingress")
        await ingress.subscribe("control.session.kill.in1.*", lambda delivery: hear(delivery.subject))
        answer = await console.call("POST", "/v1/sessions/in1/s1/kill", body={"reason": "odd"})
        assert answer.json() == {"ingress": "in1", "session": "s1", "closed": True}
        assert told == ["control.session.kill.in1.s1"]
        (event,) = console.events("audit.admin.killed")
        assert isinstance(event, SessionKilled)
        assert (event.by, event.reason) == ("local-admin", "odd")
        assert (await console.call("POST", "/v1/sessions/in1/s1/kill")).status_code == 409
        assert (await console.call("POST", "/v1/sessions/in1/s2/kill")).status_code == 404


# ---------------------------------------------------------------- the document


async def test_the_openapi_document_describes_every_call_and_who_may(tmp_path: Path) -> None:
    async with house(tmp_path) as console:
        document = (await console.call("GET", "/v1/openapi.json", token=None)).json()
        assert document["openapi"].startswith("3.1")
        assert set(document["paths"]) == {
            "/v1/approvals", "/v1/approvals/{id}", "/v1/approvals/{id}/grant", "/v1/approvals/{id}/refuse",
            "/v1/config", "/v1/config/{kind}/{name}", "/v1/tokens", "/v1/sessions/{ingress}/{session}/kill",
            "/v1/healthz", "/.well-known/jwks.json", "/.well-known/openid-configuration",
        }  # fmt: skip
        for path, calls in document["paths"].items():
            for call in calls.values():
                assert call["summary"]
                if path.startswith("/v1/") and path != "/v1/healthz":
                    assert call["security"] == [{"HTTPBearer": []}], path
        text = json.dumps(document)
        names = set(document["components"]["schemas"])
        wanted = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
        assert wanted <= names
        assert (await console.call("GET", "/docs")).status_code == 404
