"""What an upstream is told aside costs the session nothing, whatever the upstream does."""

import asyncio
from typing import Any, cast

import pytest

from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress import aside as module
from weirgate_ingress.aside import Asides
from weirgate_ingress.gates.core import Aside
from weirgate_ingress.injection import Plain
from weirgate_ingress.origins import Origin
from weirgate_ingress.upstreams import DialError, Link
from weirgate_wire.http.head import RequestHead

SAID = Aside(head=RequestHead(method="POST", target="/", headers=(("content-length", "2"),)), body=b"{}")


class Wire:
    """A transport to nowhere."""

    def __init__(self) -> None:
        self.written = b""
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = True


def origin() -> tuple[Origin, Wire, Link]:
    wire, link = Wire(), Link()
    link.connection_made(cast("Any", wire))
    made = Origin(
        resource=ResourceDocument(name="tools", protocol="mcp", upstream="http://tools.test/mcp"),
        link=link, transport=cast("Any", wire), write_head=lambda head: wire.write(head.encode()), host="tools.test",
        base="/mcp", endpoint=True, injection=Plain(header=("authorization", "Bearer s3cr3t")),
    )  # fmt: skip
    return made, wire, link


async def test_it_is_written_with_the_credential_to_the_endpoint_and_the_socket_is_closed() -> None:
    made, wire, link = origin()

    async def dial() -> Origin:
        asyncio.get_running_loop().call_soon(link.data_received, b"HTTP/1.1 202 Accepted\r\n")
        return made

    await Asides().say(SAID, dial)
    assert wire.written.startswith(b"POST /mcp HTTP/1.1\r\nhost: tools.test\r\n")
    assert b"authorization: Bearer s3cr3t\r\n" in wire.written
    assert wire.written.endswith(b"{}")
    assert wire.aborted


async def test_an_upstream_that_is_away_or_hangs_up_is_no_matter() -> None:
    async def away() -> Origin:
        raise DialError(Refusal(code=RefusalCode.UPSTREAM_UNAVAILABLE, reason="away"), "away")

    made, wire, link = origin()

    async def hangs_up() -> Origin:
        asyncio.get_running_loop().call_soon(link.connection_lost, None)
        return made

    asides = Asides()
    await asides.say(SAID, away)
    await asides.say(SAID, hangs_up)
    assert wire.aborted


async def test_an_upstream_that_says_nothing_is_left_in_time_and_few_are_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "DEADLINE_S", 0.05)
    dialled: list[Wire] = []
    most = 0

    async def dial() -> Origin:
        nonlocal most
        made, wire, _ = origin()
        dialled.append(wire)
        most = max(most, sum(not one.aborted for one in dialled))
        return made

    asides = Asides()
    await asyncio.gather(*(asides.say(SAID, dial) for _ in range(6)))
    assert len(dialled) == 6
    assert most <= module.AT_ONCE
    assert all(wire.aborted for wire in dialled)
