"""Tokens of upstreams: got once, kept, got again in time, never told."""

import asyncio
import base64
import json
from urllib.parse import parse_qs

import pytest

from weirgate_contracts.injection import OAuth2Document
from weirgate_ingress.credential import CredentialError
from weirgate_ingress.oauth2 import LIFE_S, Token, TokenSource, read_token, token_request

DOCUMENT = OAuth2Document(
    token_url="https://login.test/token?x=1",
    client_id="gate:1",
    scope="read write",
    audience="https://api.test",
)


class Endpoint:
    """Gives tokens t1, t2, … on a clock of its own."""

    def __init__(self, life_s: float = 100.0) -> None:
        self.now = 1000.0
        self.asked = 0
        self.life_s = life_s
        self.wrong: str | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.source = TokenSource(self.fetch, self.clock)

    def clock(self) -> float:
        return self.now

    async def fetch(self) -> Token:
        self.asked += 1
        number = self.asked
        await self.gate.wait()
        if self.wrong is not None:
            raise CredentialError(self.wrong)
        return Token(value=f"t{number}", life_s=self.life_s)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_many_sessions_ask_once() -> None:
    endpoint = Endpoint()
    endpoint.gate.clear()
    waiting = [asyncio.create_task(endpoint.source.token()) for _ in range(50)]
    await settled()
    waiting[0].cancel()
    endpoint.gate.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == ["t1"] * 49
    assert endpoint.asked == 1


async def test_a_token_is_kept_renewed_ahead_and_not_used_at_its_end() -> None:
    endpoint = Endpoint()
    assert await endpoint.source.token() == "t1"
    endpoint.now += 79
    assert endpoint.source.current() == "t1"
    await settled()
    assert endpoint.asked == 1
    endpoint.now += 2
    # It ages: it is used on, and the next is got meanwhile.
    assert endpoint.source.current() == "t1"
    await settled()
    assert endpoint.asked == 2
    assert endpoint.source.current() == "t2"
    endpoint.now += 96
    assert endpoint.source.current() is None
    assert await endpoint.source.token() == "t3"


async def test_a_renewal_that_fails_leaves_the_old_token_until_its_end_and_rests() -> None:
    endpoint = Endpoint()
    await endpoint.source.token()
    endpoint.now += 85
    endpoint.wrong = "the token endpoint answered 500"
    for _ in range(10):
        assert endpoint.source.current() == "t1"
        await settled()
    assert endpoint.asked == 2
    endpoint.now += 11
    with pytest.raises(CredentialError, match="answered 500"):
        await endpoint.source.token()
    with pytest.raises(CredentialError, match="answered 500"):
        await endpoint.source.token()
    assert endpoint.asked == 3
    endpoint.now += 1.1
    endpoint.wrong = None
    assert await endpoint.source.token() == "t4"


async def test_a_refused_token_is_dropped_but_not_again_and_again() -> None:
    endpoint = Endpoint()
    assert await endpoint.source.token() == "t1"
    endpoint.source.refused("another")
    assert endpoint.source.current() == "t1"
    endpoint.source.refused("t1")
    assert await endpoint.source.token() == "t2"
    for _ in range(100):
        endpoint.source.refused("t2")
        assert await endpoint.source.token() == "t2"
    endpoint.now += 31
    endpoint.source.refused("t2")
    assert await endpoint.source.token() == "t3"


async def test_a_token_that_is_over_when_it_comes_is_none() -> None:
    endpoint = Endpoint(life_s=0.0)
    with pytest.raises(CredentialError, match="no time left"):
        await endpoint.source.token()


def test_the_client_shows_itself_in_the_head_or_in_the_form() -> None:
    head, _, body = token_request(DOCUMENT, "s e/c").partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /token?x=1 HTTP/1.1"
    assert "host: login.test" in lines
    shown = next(line for line in lines if line.startswith("authorization: Basic "))
    assert base64.b64decode(shown.split()[-1]) == b"gate%3A1:s+e%2Fc"
    form = parse_qs(body.decode())
    assert form == {
        "grant_type": ["client_credentials"], "scope": ["read write"], "audience": ["https://api.test"],
    }  # fmt: skip
    head, _, body = token_request(DOCUMENT.model_copy(update={"auth": "post"}), "s e/c").partition(
        b"\r\n\r\n"
    )
    assert b"authorization" not in head
    form = parse_qs(body.decode())
    assert (form["client_id"], form["client_secret"]) == (["gate:1"], ["s e/c"])


@pytest.mark.parametrize(
    ("expires", "life_s"), [(3600, 3600.0), ("600", 600.0), (None, LIFE_S), (10**9, 86_400.0), (1.5, 1.5)]
)
def test_a_token_is_read_with_its_life(expires: object, life_s: float) -> None:
    body = {"access_token": "abc", "token_type": "Bearer", "expires_in": expires}
    found = read_token(200, json.dumps(body).encode())
    assert (found.value, found.life_s) == ("abc", life_s)
    assert "abc" not in repr(found)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"", "holds no token"),
        (200, b"[1]", "holds no token"),
        (200, b"[" * 100_000, "holds no token"),
        (200, b'{"access_token": "a b"}', "holds no token"),
        (200, b'{"access_token": "a\\r\\nX: y"}', "holds no token"),
        (200, b'{"access_token": 7}', "holds no token"),
        (200, b'{"access_token": "SECRET", "token_type": "mac"}', "no bearer token"),
        (200, b'{"access_token": "SECRET", "expires_in": 0}', "without time left"),
        (200, b'{"access_token": "SECRET", "expires_in": -5}', "without time left"),
        (200, b'{"access_token": "SECRET", "expires_in": true}', "without time left"),
        (200, b'{"access_token": "SECRET", "expires_in": NaN}', "without time left"),
        (200, b'{"access_token": "SECRET", "expires_in": 1e999}', "without time left"),
        (401, b'{"error": "invalid_client", "error_description": "SECRET"}', "answered 401: invalid_client"),
        (400, b'{"error": "SECRET"}', "answered 400"),
        (302, b"SECRET", "answered 302"),
    ],
)
def test_what_is_no_token_is_refused_without_telling_what_it_was(status: int, body: bytes, said: str) -> None:
    with pytest.raises(CredentialError, match=said) as raised:
        read_token(status, body)
    assert "SECRET" not in str(raised.value)
