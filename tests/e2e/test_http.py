"""HTTP agents through the gateway: judged, masked, held and recorded, with nothing changed but address and token."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import requests

from weirgate_testkit.gateway import RunningGateway, eventually


def bearer(gateway: RunningGateway, agent: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {gateway.token(agent)}"}


@pytest.fixture
def analyst(gateway: RunningGateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.http_url(), headers=bearer(gateway, "analyst")) as client:
        yield client


@pytest.fixture
def admin(gateway: RunningGateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.http_url(), headers=bearer(gateway, "admin-bot")) as client:
        yield client


def direct(gateway: RunningGateway, path: str) -> httpx.Response:
    crm = gateway.endpoints["upstreams"]["crm"]
    token = Path(crm["token_file"]).read_text().strip()
    return httpx.get(crm["url"] + path, headers={"Authorization": f"Bearer {token}"})


def raw(gateway: RunningGateway, sent: bytes) -> bytes:
    where = gateway.endpoints["http"]
    with socket.create_connection((where["host"], where["port"]), timeout=10) as peer:
        peer.sendall(sent)
        got = b""
        while data := peer.recv(65536):
            got += data
        return got


# ---------------------------------------------------------------- clients


def test_who_may_see_everything_sees_what_the_upstream_says(
    gateway: RunningGateway, admin: httpx.Client
) -> None:
    for path in ("/v1/customers?limit=3", "/v1/customers/7", "/v1/export.csv", "/v1/nothing"):
        through, itself = admin.get(path), direct(gateway, path)
        assert (through.status_code, through.content) == (itself.status_code, itself.content)
        assert through.headers["content-type"] == itself.headers["content-type"]
    assert admin.head("/v1/customers/7").content == b""
    assert admin.delete("/v1/customers/7").status_code == 204


def test_requests_keeps_its_connection_over_many_requests(gateway: RunningGateway) -> None:
    with requests.Session() as session:
        session.headers.update(bearer(gateway, "admin-bot"))
        names = [
            session.get(f"{gateway.http_url()}/v1/customers/{n}", timeout=10).json()["id"]
            for n in range(1, 21)
        ]
    assert names == list(range(1, 21))


def test_curl_with_the_token_as_password(gateway: RunningGateway) -> None:
    done = subprocess.run(
        ["curl", "-sS", "-u", f"analyst:{gateway.token('analyst')}", f"{gateway.http_url()}/v1/customers/5"],
        capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["id"] == 5


def test_curl_over_tls_sends_a_body_in_chunks(gateway: RunningGateway) -> None:
    where = gateway.endpoints
    url = f"https://127.0.0.1:{where['http']['port']}/crm/v1/payments"
    done = subprocess.run(
        ["curl", "-sS", "--cacert", where["ca"], "-H", f"Authorization: Bearer {gateway.token('admin-bot')}",
         "-H", "Content-Type: application/json", "-H", "Transfer-Encoding: chunked", "-d", '{"amount": 12}', url],
        capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == {"status": "paid", "payment": {"amount": 12}}


def test_another_agent_on_the_same_connection_is_another_session(gateway: RunningGateway) -> None:
    with httpx.Client(base_url=gateway.http_url(), limits=httpx.Limits(max_connections=1)) as client:
        mark = f"shared{time.time_ns()}"
        for agent in ("analyst", "admin-bot", "analyst", "analyst"):
            answer = client.get(f"/v1/customers/3?mark={mark}", headers=bearer(gateway, agent))
            assert answer.status_code == 200
            assert ("@example.com" in answer.text) == (agent == "admin-bot")
    asked = [
        (one["session"], one["identity"]["agent"])
        for one in gateway.events()
        if one["kind"] == "operation.intercepted" and mark in json.dumps(one)
    ]
    assert [agent for _, agent in asked] == ["analyst", "admin-bot", "analyst", "analyst"]
    assert len({session for session, _ in asked}) == 3
    assert asked[2] == asked[3]


def test_many_agents_at_once_each_get_their_own_answer(gateway: RunningGateway) -> None:
    def ask(number: int) -> int:
        answer = httpx.get(
            f"{gateway.http_url()}/v1/customers/{number}", headers=bearer(gateway, "analyst"), timeout=20
        )
        return int(answer.json()["id"])

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(1, 65))) == list(range(1, 65))


# ---------------------------------------------------------------- masking


def test_labelled_fields_are_masked_and_the_rest_is_untouched(
    gateway: RunningGateway, analyst: httpx.Client
) -> None:
    shown, itself = analyst.get("/v1/customers/5").json(), direct(gateway, "/v1/customers/5").json()
    assert shown["email"] != itself["email"]
    assert "@example.com" not in json.dumps(shown)
    assert shown["card"].endswith(itself["card"][-4:])
    assert shown["card"] != itself["card"]
    for name in ("id", "name", "city"):
        assert shown[name] == itself[name]
    # A detector finds in free text what no label names.
    assert "@example.org" not in shown["notes"]
    assert shown["notes"].startswith("Prefers mail to ")


def test_an_export_and_a_stream_of_events_are_masked(analyst: httpx.Client) -> None:
    export = analyst.get("/v1/export.csv")
    assert "@example" not in export.text
    assert len(export.text.splitlines()) == 501
    with analyst.stream("GET", "/v1/events?count=4") as events:
        lines = list(events.iter_lines())
    found = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert [one["id"] for one in found] == [1, 2, 3, 4]
    assert "@example" not in "\n".join(lines)


# ---------------------------------------------------------------- refusals and holds


def test_a_refusal_is_a_problem_a_model_can_act_on(gateway: RunningGateway) -> None:
    before = len(gateway.crm_log())
    answer = httpx.post(
        f"{gateway.http_url()}/v1/payments", headers=bearer(gateway, "reader"), json={"amount": 5}
    )
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "denied"
    assert problem["status"] == 403
    assert problem["detail"]
    assert problem["hint"]
    assert len(gateway.crm_log()) == before


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/crm/v1/customers", {}, 401, "token_invalid"),
        ("/crm/v1/customers", {"Authorization": "Bearer nonsense"}, 401, "token_invalid"),
        ("/nowhere/x", None, 404, "resource_unknown"),
        ("/shop/x", None, 404, "resource_unknown"),
        ("/", None, 404, "resource_unknown"),
    ],
)
def test_who_is_not_known_learns_nothing(
    gateway: RunningGateway, path: str, headers: dict[str, str] | None, status: int, code: str
) -> None:
    where = gateway.endpoints["http"]
    url = f"http://{where['host']}:{where['port']}{path}"
    answer = httpx.get(url, headers=bearer(gateway, "analyst") if headers is None else headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (answer.headers.get("www-authenticate") is not None) == (status == 401)


def test_a_held_request_goes_through_once_a_person_agrees(gateway: RunningGateway) -> None:
    before = len(gateway.crm_log())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(
            httpx.post,
            f"{gateway.http_url()}/v1/payments",
            headers=bearer(gateway, "writer"),
            json={"amount": 42},
            timeout=60,
        )

        request = gateway.held("/v1/payments")
        assert '{"amount":42}' in request["text"].replace(" ", "")
        assert len(gateway.crm_log()) == before
        gateway.weirgate("approvals", "grant", request["id"])
        answer = waiting.result(30)
    assert answer.status_code == 201
    assert [line["method"] for line in gateway.crm_log()[before:]] == ["POST"]


def test_an_upstream_that_repeats_its_credential_is_cut_off(gateway: RunningGateway) -> None:
    token = Path(gateway.endpoints["upstreams"]["crm"]["token_file"]).read_text().strip()
    assert token in direct(gateway, "/v1/debug").text
    answer = httpx.get(f"{gateway.http_url()}/v1/debug", headers=bearer(gateway, "admin-bot"))
    assert (answer.status_code, answer.json()["code"]) == (502, "credential_echoed")
    assert token not in answer.text
    assert token not in json.dumps(gateway.events(last=50))


def test_rules_say_which_answers_pass(gateway: RunningGateway, tmp_path: Path) -> None:
    (tmp_path / "answers.yaml").write_text("kind: policy\nname: answers\nfile: answers.cedar\n")
    (tmp_path / "answers.cedar").write_text(
        'permit (principal in Group::"tellers", action == Action::"connect", resource == Resource::"crm");\n'
        '@answer("status=2xx, type=application/json")\n'
        'permit (principal in Group::"tellers", action in Action::"http.read", resource in Resource::"crm");\n'
    )
    gateway.weirgate("apply", "-f", str(tmp_path / "answers.yaml"))
    token = gateway.mint("teller", "tellers")
    with httpx.Client(base_url=gateway.http_url(), headers={"Authorization": f"Bearer {token}"}) as agent:
        assert eventually(lambda: agent.get("/v1/customers/1").status_code == 200)
        for path in ("/v1/export.csv", "/v1/nothing"):
            answer = agent.get(path)
            assert (answer.status_code, answer.json()["code"]) == (403, "limit_exceeded")
        assert agent.get("/v1/customers/2").json()["id"] == 2


def test_what_is_malformed_is_refused_and_reaches_nobody(gateway: RunningGateway) -> None:
    token = gateway.token("admin-bot").encode()
    before = len(gateway.crm_log())
    smuggled = (
        b"POST /crm/v1/payments HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer " + token + b"\r\n"
        b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"
    )
    climbing = b"GET /crm/v1/../../etc HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer " + token + b"\r\n\r\n"
    for sent in (smuggled, climbing, b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        assert raw(gateway, sent).startswith(b"HTTP/1.1 400 ")
    assert len(gateway.crm_log()) == before


# ---------------------------------------------------------------- records


def test_no_credential_of_either_side_is_in_events_or_recordings(
    gateway: RunningGateway, analyst: httpx.Client
) -> None:
    analyst.get("/v1/customers/9?note=findme")
    crm = gateway.endpoints["upstreams"]["crm"]
    secret = Path(crm["token_file"]).read_text().strip()
    events = eventually(lambda: [one for one in gateway.events(last=200) if "findme" in json.dumps(one)], 10)
    session = events[0]["session"]
    shown = eventually(lambda: gateway.weirgate("sessions", "replay", session, check=False).stdout, 10)
    assert "/v1/customers/9" in shown
    for text in (json.dumps(gateway.events(last=400)), shown):
        assert secret not in text
        assert gateway.token("analyst") not in text
    assert all(line["credential"] for line in gateway.crm_log())


def test_each_request_that_reached_the_upstream_was_intercepted_and_allowed_before(
    gateway: RunningGateway, admin: httpx.Client
) -> None:
    for number in range(30, 40):
        admin.get(f"/v1/customers/{number}?durable=yes")
    reached = [line for line in gateway.crm_log() if "durable=yes" in line["target"]]
    events = gateway.events()
    asked = {
        (one["session"], one["operation"]): one["call"]["path"]
        for one in events
        if one["kind"] == "operation.intercepted"
        and one.get("call")
        and ["durable", "yes"] in one["call"]["query"]
    }
    allowed = {(one["session"], one["operation"]) for one in events if one["kind"] == "operation.allowed"}
    assert sorted(line["target"].partition("?")[0] for line in reached) == sorted(asked.values())
    assert set(asked) <= allowed


def test_a_killed_session_ends_and_says_so(gateway: RunningGateway) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(
            httpx.post,
            f"{gateway.http_url()}/v1/payments",
            headers=bearer(gateway, "writer"),
            json={"amount": 99},
            timeout=60,
        )

        session = gateway.held("99")["session"]
        gateway.weirgate("sessions", "kill", f"one/{session}")
        assert waiting.result(20).json()["code"] == "killed"
