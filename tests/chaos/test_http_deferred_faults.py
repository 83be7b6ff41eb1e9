"""Deferred requests under fire: what was told with a 202 holds, whatever is killed between it and the retry."""

import contextlib
import time
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

from weirgate_testkit.gateway import RunningGateway, eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


def headers(gateway: RunningGateway) -> dict[str, str]:
    return {"Authorization": f"Bearer {gateway.token('writer')}", "Prefer": "respond-async"}


def pay(gateway: RunningGateway, amount: int) -> httpx.Response:
    url = f"{gateway.http_url()}/v1/payments"
    return httpx.post(url, headers=headers(gateway), json={"amount": amount}, timeout=20)


def held(gateway: RunningGateway) -> tuple[int, httpx.Response]:
    amount = time.time_ns() % 1_000_000_000
    answer = pay(gateway, amount)
    assert answer.status_code == 202, answer.text
    return amount, answer


def is_granted(gateway: RunningGateway, answer: httpx.Response) -> bool:
    url = urljoin(gateway.http_url(), answer.headers["location"])
    with contextlib.suppress(httpx.HTTPError, ValueError):
        return bool(httpx.get(url, headers=headers(gateway), timeout=10).json().get("status") == "granted")
    return False


def grant(gateway: RunningGateway, answer: httpx.Response) -> None:
    request = answer.json()["request"]
    eventually(lambda: gateway.weirgate("approvals", "grant", request, check=False).returncode == 0, 40)
    eventually(lambda: is_granted(gateway, answer), 40)


def paid(gateway: RunningGateway, amount: int) -> int:
    """How often the upstream was paid this amount, by the answers it gave."""
    return sum(line.get("target", "").endswith("/v1/payments") for line in gateway.crm_log())


def events_of(gateway: RunningGateway, request: str) -> list[dict[str, Any]]:
    return [one for one in gateway.events() if one.get("request") == request]


@pytest.mark.parametrize("victim", ["ingress", "approval", "policy", "nats"])
def test_killed_between_the_202_and_the_decision(gateway: RunningGateway, victim: str) -> None:
    before = paid(gateway, 0)
    amount, answer = held(gateway)
    gateway.kill(victim)
    gateway.wait_ready()
    grant(gateway, answer)
    assert pay(gateway, amount).status_code == 201
    assert paid(gateway, amount) == before + 1
    assert pay(gateway, amount).status_code == 202  # and once only: this one is asked about anew
    kinds = [one["kind"] for one in events_of(gateway, answer.json()["request"])]
    assert kinds.count("approval.requested") == 1
    assert "approval.withdrawn" not in kinds


@pytest.mark.parametrize("victim", ["ingress", "policy"])
def test_killed_between_the_decision_and_the_retry(gateway: RunningGateway, victim: str) -> None:
    before = paid(gateway, 0)
    amount, answer = held(gateway)
    grant(gateway, answer)
    gateway.kill(victim)
    gateway.wait_ready()
    assert pay(gateway, amount).status_code == 201
    assert paid(gateway, amount) == before + 1


def test_a_used_grant_stays_used_over_a_restart_of_everything_that_knows_it(gateway: RunningGateway) -> None:
    before = paid(gateway, 0)
    amount, answer = held(gateway)
    grant(gateway, answer)
    assert pay(gateway, amount).status_code == 201
    for victim in ("ingress", "policy", "approval"):
        gateway.kill(victim)
    gateway.wait_ready()
    again = pay(gateway, amount)
    assert again.status_code == 202
    assert again.json()["request"] != answer.json()["request"]
    assert paid(gateway, amount) == before + 1


def test_policy_frozen_while_the_agent_comes_back(gateway: RunningGateway) -> None:
    before = paid(gateway, 0)
    amount, answer = held(gateway)
    grant(gateway, answer)
    with gateway.frozen("policy"):
        late = pay(gateway, amount)
        assert (late.status_code, late.json()["code"]) == (503, "verdict_timeout")
    # What policy finds when it goes on may have taken the grant for an agent that no longer waits: then people
    # are asked anew. Never is it done twice.
    gateway.wait_ready()
    again = eventually(lambda: [one for one in [pay(gateway, amount)] if one.status_code != 503], 20)[0]
    assert again.status_code in (201, 202, 403)
    assert paid(gateway, amount) == before + (again.status_code == 201)


def test_a_decision_that_comes_while_nats_is_away_is_known_afterwards(gateway: RunningGateway) -> None:
    before = paid(gateway, 0)
    amount, answer = held(gateway)
    with gateway.frozen("nats"), contextlib.suppress(httpx.HTTPError):
        assert pay(gateway, amount).status_code in (503, 507)
    gateway.wait_ready()
    grant(gateway, answer)
    assert eventually(lambda: pay(gateway, amount).status_code == 201, 20)
    assert paid(gateway, amount) == before + 1
