"""Held requests that do not wait for ever: 202, and the same request sent again goes through once."""

import json
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

from weirgate_testkit.gateway import RunningGateway, eventually

ASYNC = {"Prefer": "respond-async"}


def headers(gateway: RunningGateway, agent: str = "writer", **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {gateway.token(agent)}"} | ASYNC | more


def pay(gateway: RunningGateway, amount: int, **more: Any) -> httpx.Response:
    """Send the one request of a test, each time on a connection of its own."""
    return httpx.post(
        f"{gateway.http_url()}/v1/payments",
        headers=headers(gateway, **more),
        json={"amount": amount},
        timeout=20,
    )


def look(gateway: RunningGateway, answer: httpx.Response, agent: str = "writer") -> httpx.Response:
    url = urljoin(gateway.http_url(), answer.headers["location"])
    return httpx.get(url, headers=headers(gateway, agent), timeout=20)


def state(gateway: RunningGateway, answer: httpx.Response, wanted: str) -> dict[str, Any]:
    return eventually(
        lambda: found if (found := look(gateway, answer).json())["status"] == wanted else {}, 10
    )


def payments(gateway: RunningGateway, since: int) -> list[str]:
    return [line["method"] for line in gateway.crm_log()[since:] if line["target"].endswith("/v1/payments")]


def of_request(gateway: RunningGateway, request: str) -> list[str]:
    """Every kind of event that names a request, in the order of the log."""
    return [one["kind"] for one in gateway.events(last=1000) if request in json.dumps(one)]


@pytest.fixture
def amount() -> int:
    """No two tests send the same request."""
    return time.time_ns() % 1_000_000_000


def test_a_held_request_is_answered_at_once_and_goes_through_when_sent_again(
    gateway: RunningGateway, amount: int
) -> None:
    before = len(gateway.crm_log())
    first = pay(gateway, amount)
    assert first.status_code == 202
    told = first.json()
    assert told["status"] == "held"
    assert re.fullmatch(rf"/\.well-known/weirgate/crm/requests/{told['request']}", first.headers["location"])
    assert int(first.headers["retry-after"]) > 0
    assert first.headers["preference-applied"] == "respond-async"
    assert look(gateway, first).status_code == 202
    # The agent that asked has left, and still people may decide.
    gateway.weirgate("approvals", "grant", told["request"])
    granted = state(gateway, first, "granted")
    assert granted["until"]
    assert payments(gateway, before) == []
    again = pay(gateway, amount)
    assert again.status_code == 201
    assert again.json()["payment"] == {"amount": amount}
    state(gateway, first, "used")
    assert payments(gateway, before) == ["POST"]
    # Sent a third time it is another payment, which people are asked about anew.
    third = pay(gateway, amount)
    assert third.status_code == 202
    assert third.json()["request"] != told["request"]
    assert payments(gateway, before) == ["POST"]
    kinds = of_request(gateway, told["request"])
    assert kinds.count("approval.requested") == 1
    assert kinds.index("operation.deferred") < kinds.index("approval.granted") < kinds.index("grant.used")
    assert kinds.index("grant.used") < kinds.index("operation.allowed")


def test_curl_is_told_to_come_back_too(gateway: RunningGateway, amount: int) -> None:
    def curl(*more: str) -> str:
        return subprocess.run(
            ["curl", "-sSi", "-u", f"writer:{gateway.token('writer')}", *more],
            capture_output=True, text=True, timeout=20, check=True,
        ).stdout  # fmt: skip

    url = f"{gateway.http_url()}/v1/payments"
    once = ("-H", "Prefer: respond-async", "-H", "Content-Type: application/json")
    sent = (*once, "-d", json.dumps({"amount": amount}), url)
    first = curl(*sent)
    assert first.startswith("HTTP/1.1 202 Accepted")
    place = next(line.split(": ")[1] for line in first.splitlines() if line.lower().startswith("location"))
    gateway.weirgate("approvals", "grant", place.rpartition("/")[2])
    eventually(lambda: '"granted"' in curl(urljoin(url, place)), 10)
    assert curl(*sent).startswith("HTTP/1.1 201 ")


def test_a_request_waits_as_long_as_the_agent_asks(gateway: RunningGateway, amount: int) -> None:
    began = time.monotonic()
    answer = pay(gateway, amount, Prefer="wait=1")
    assert answer.status_code == 202
    assert 0.9 < time.monotonic() - began < 5
    assert answer.headers["preference-applied"] == "wait=1"


def test_who_comes_back_too_early_opens_no_second_request(gateway: RunningGateway, amount: int) -> None:
    first = pay(gateway, amount)
    with httpx.Client(headers=headers(gateway), timeout=20) as client:
        for _ in range(3):  # the connection stays in use
            again = client.post(f"{gateway.http_url()}/v1/payments", json={"amount": amount})
            assert again.status_code == 202
            assert again.headers["location"] == first.headers["location"]
        assert client.get(f"{gateway.http_url()}/v1/customers/5").status_code == 200
    waiting = json.loads(gateway.weirgate("approvals", "list", "--json").stdout)
    assert sum(str(amount) in one["text"] for one in waiting) == 1
    kinds = of_request(gateway, first.json()["request"])
    assert kinds.count("operation.deferred") == 4
    assert kinds.count("approval.requested") == 1
    assert "approval.withdrawn" not in kinds


def test_a_refusal_is_told_once_and_then_people_are_asked_anew(gateway: RunningGateway, amount: int) -> None:
    first = pay(gateway, amount)
    gateway.weirgate("approvals", "refuse", first.json()["request"], "--reason", "not today")
    assert "not today" in state(gateway, first, "refused")["detail"]
    second = pay(gateway, amount)
    assert (second.status_code, second.json()["code"]) == (403, "held_refused")
    assert "not today" in second.json()["detail"]
    third = eventually(lambda: [one for one in [pay(gateway, amount)] if one.status_code == 202], 5)
    assert third[0].json()["request"] != first.json()["request"]


def test_another_body_is_another_request(gateway: RunningGateway, amount: int) -> None:
    before = len(gateway.crm_log())
    first = pay(gateway, amount)
    gateway.weirgate("approvals", "grant", first.json()["request"])
    state(gateway, first, "granted")
    changed = pay(gateway, amount + 1)
    assert changed.status_code == 202
    assert changed.json()["request"] != first.json()["request"]
    assert payments(gateway, before) == []


def test_nobody_else_learns_of_a_request_or_uses_its_grant(gateway: RunningGateway, amount: int) -> None:
    before = len(gateway.crm_log())
    first = pay(gateway, amount)
    request = first.json()["request"]
    for agent in ("analyst", "admin-bot", "reader"):
        answer = look(gateway, first, agent)
        assert (answer.status_code, answer.json()["code"]) == (404, "resource_unknown")
        assert request not in answer.text
    gateway.weirgate("approvals", "grant", request)
    state(gateway, first, "granted")
    twin = gateway.mint("twin", "writers")
    other = httpx.post(
        f"{gateway.http_url()}/v1/payments",
        headers={"Authorization": f"Bearer {twin}"} | ASYNC,
        json={"amount": amount},
        timeout=20,
    )
    assert other.status_code == 202
    assert request not in other.text
    assert payments(gateway, before) == []
    assert pay(gateway, amount).status_code == 201


def test_of_many_who_come_back_at_once_one_gets_through(gateway: RunningGateway, amount: int) -> None:
    before = len(gateway.crm_log())
    first = pay(gateway, amount)
    gateway.weirgate("approvals", "grant", first.json()["request"])
    state(gateway, first, "granted")
    with ThreadPoolExecutor(8) as pool:
        statuses = [one.status_code for one in pool.map(pay, [gateway] * 8, [amount] * 8)]
    assert sorted(set(statuses)) in ([201], [201, 202], [201, 403], [201, 202, 403])
    assert statuses.count(201) == 1
    assert payments(gateway, before) == ["POST"]


def test_the_state_can_only_be_looked_at(gateway: RunningGateway, amount: int) -> None:
    first = pay(gateway, amount)
    url = urljoin(gateway.http_url(), first.headers["location"])
    assert httpx.post(url, headers=headers(gateway), json={}).status_code == 501
    assert httpx.head(url, headers=headers(gateway)).status_code == 202
    assert httpx.get(url[:-1] + "Z", headers=headers(gateway)).status_code == 404
    assert httpx.get(url.rpartition("/")[0], headers=headers(gateway)).status_code == 404
    assert httpx.get(url).status_code == 401
