"""What each NATS user may do, asked of a real server by a client that tries it all."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from weirgate_bus import Delivery, topology
from weirgate_bus.connection import Answer, Connection
from weirgate_bus.jetstream import JetStreamBus
from weirgate_bus.nkey import read_seed
from weirgate_bus.port import BusDenied, BusError, BusUnavailable
from weirgate_chassis.ids import new_id
from weirgate_contracts.subjects import WRITES
from weirgate_testkit.nats import NatsServer, running_nats

STREAM_CALLS = [
    *(
        f"$JS.API.STREAM.{call}.{stream}"
        for stream in ("AUDIT", "RECORDING")
        for call in ("CREATE", "UPDATE", "DELETE", "PURGE", "MSG.DELETE", "RESTORE", "SNAPSHOT")
    ),
    "$JS.API.STREAM.CREATE.ANOTHER",
    "$JS.API.META.LEADER.STEPDOWN",
    "$JS.API.STREAM.LEADER.STEPDOWN.AUDIT",
    "$JS.API.CONSUMER.DELETE.AUDIT.recorder",
    "$JS.API.ACCOUNT.PURGE.APP",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with running_nats(tmp_path_factory.mktemp("nats"), mirror=True) as running:
        yield running


async def login(server: NatsServer, user: str) -> Connection:
    return await Connection.open(
        server.url, read_seed(server.seed(user)), user, inbox=topology.inbox(user), deadline_s=5
    )


@pytest.fixture(params=topology.SERVICES)
async def service(
    server: NatsServer, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[str, Connection]]:
    connection = await login(server, request.param)
    yield request.param, connection
    await connection.close()


def example(pattern: str) -> str:
    return pattern.replace("*", "x")


async def may_publish(connection: Connection, subject: str) -> bool:
    try:
        await connection.request(subject, b"{}", deadline_s=0.5)
    except BusDenied:
        return False
    except BusUnavailable:
        return True  # permitted, and nobody answers: a core subject
    return True


async def test_each_service_publishes_on_its_own_subjects_and_on_no_other(
    service: tuple[str, Connection],
) -> None:
    user, connection = service
    for owner, patterns in WRITES.items():
        for pattern in patterns:
            assert await may_publish(connection, example(pattern)) == (owner == user), (user, pattern)


async def test_no_service_can_touch_a_stream(service: tuple[str, Connection]) -> None:
    _, connection = service
    for subject in STREAM_CALLS:
        assert not await may_publish(connection, subject), subject


async def test_nobody_can_forge_what_the_stream_says_is_stored(service: tuple[str, Connection]) -> None:
    _, connection = service
    assert not await may_publish(connection, "stored.audit.operation.allowed.here.s1")
    assert not await may_publish(connection, "$JS.ACK.AUDIT.somebody.1.1.1.1.0")
    assert not await may_publish(connection, f"{topology.inbox('ingress')}.1")


async def test_nobody_hears_the_inbox_of_another(service: tuple[str, Connection]) -> None:
    user, connection = service
    others = [name for name in topology.SERVICES if name != user]
    routes = [connection.route(f"{topology.inbox(name)}.>", _ignore) for name in others]
    routes += [connection.route(pattern, _ignore) for pattern in (">", "$SYS.>", "recording.>", "_INBOX.>")]
    await connection.settled()
    assert all(route.denied for route in routes)


async def test_nobody_takes_messages_from_the_durable_consumer_of_another(
    service: tuple[str, Connection],
) -> None:
    user, connection = service
    for owner, streams in topology.DURABLES.items():
        if owner == user:
            continue
        for stream, names in streams.items():
            for name in names:
                for call in ("MSG.NEXT", "CREATE", "RESET", "DELETE"):
                    subject = f"$JS.API.CONSUMER.{call}.{stream}.{name}"
                    assert not await may_publish(connection, subject), (user, subject)


async def test_an_ephemeral_consumer_cannot_take_the_name_of_a_durable(server: NatsServer) -> None:
    recorder = await JetStreamBus.connect(server.url, server.seed("recorder"), "recorder")
    batches = recorder.follow("AUDIT", durable="recorder", subjects=("audit.>",))
    waiting = asyncio.ensure_future(anext(batches))
    await asyncio.sleep(0.3)
    before = await consumer(server, "recorder")
    masking = await login(server, "masking")
    for named in ({"durable_name": "recorder"}, {"name": "recorder"}):
        config = named | {
            "deliver_subject": f"{masking.inbox}.steal",
            "ack_policy": "none",
            "filter_subject": "audit.>",
        }
        body = json.dumps({"stream_name": "AUDIT", "config": config}).encode()
        answer = (await masking.request("$JS.API.CONSUMER.CREATE.AUDIT", body)).object()
        assert "error" in answer or answer["name"] != "recorder", answer
    assert await consumer(server, "recorder") == before
    waiting.cancel()
    await masking.close()
    await recorder.close()


async def consumer(server: NatsServer, name: str) -> object:
    provision = await login(server, "provision")
    answer = (await provision.request(f"$JS.API.CONSUMER.INFO.AUDIT.{name}")).object()
    await provision.close()
    return answer["config"]


async def test_an_old_message_routed_to_another_subject_is_found_out(server: NatsServer) -> None:
    """Whoever may read may have the server deliver stored messages anywhere; their subject stays their own."""
    ingress = await JetStreamBus.connect(server.url, server.seed("ingress"), "ingress")
    await ingress.publish("audit.session.opened.here.old", b"old", id=new_id())
    heard: list[Delivery] = []
    await ingress.subscribe("stored.audit.operation.allowed.here.forged", heard.append)
    masking = await login(server, "masking")
    config = {
        "deliver_subject": "stored.audit.operation.allowed.here.forged",
        "ack_policy": "none",
        "deliver_policy": "all",
        "filter_subject": "audit.session.opened.here.old",
    }
    body = json.dumps({"stream_name": "AUDIT", "config": config}).encode()
    answer = (await masking.request("$JS.API.CONSUMER.CREATE.AUDIT", body)).object()
    if "error" not in answer:
        with pytest.raises(BusError, match="routed"):
            await asyncio.wait_for(ingress.watch(), 5)
    assert heard == []
    await masking.close()
    await ingress.close()


async def test_provision_makes_streams_and_writes_no_event(server: NatsServer) -> None:
    connection = await login(server, "provision")
    assert not await may_publish(connection, "audit.operation.allowed.here.s1")
    assert not await may_publish(connection, "audit.config.policy.published.x")
    assert not await may_publish(connection, "recording.here.s1")
    await connection.close()


async def test_the_streams_deny_deletes_and_purges_even_to_provision(server: NatsServer) -> None:
    ingress = await JetStreamBus.connect(server.url, server.seed("ingress"), "ingress")
    stored = await ingress.publish("audit.session.opened.here.keep", b"", id=new_id())
    await ingress.close()
    connection = await login(server, "provision")
    for subject, body in (
        ("$JS.API.STREAM.PURGE.AUDIT", b"{}"),
        ("$JS.API.STREAM.MSG.DELETE.AUDIT", json.dumps({"seq": stored.sequence}).encode()),
    ):
        answer = (await connection.request(subject, body)).object()
        assert "error" in answer, subject
    await connection.close()


async def test_the_mirror_in_its_own_account_holds_what_audit_holds(server: NatsServer) -> None:
    ingress = await JetStreamBus.connect(server.url, server.seed("ingress"), "ingress")
    stored = await ingress.publish("audit.session.opened.here.mirrored", b"copy me", id=new_id())
    await ingress.close()
    mirror = await login(server, "mirror")
    ask = json.dumps({"seq": stored.sequence}).encode()
    answer: dict[str, Any] = {}
    for _ in range(100):
        answer = (await mirror.request(f"$JS.API.STREAM.MSG.GET.{topology.MIRROR_STREAM}", ask)).object()
        if "error" not in answer:
            break
        await asyncio.sleep(0.1)
    assert answer["message"]["subject"] == "audit.session.opened.here.mirrored"
    await mirror.close()
    provision = await login(server, "provision")
    lost: Answer = await provision.request(f"$JS.API.STREAM.DELETE.{topology.MIRROR_STREAM}")
    assert "error" in lost.object()  # another account: provision does not even see it
    await provision.close()


def _ignore(subject: str, reply: str, head: bytes, body: bytes) -> None:
    pass
