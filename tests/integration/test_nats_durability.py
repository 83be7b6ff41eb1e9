"""What the log promises, tried on a real server: settings read back, and kill -9 loses nothing acknowledged."""

import asyncio
import json
import tempfile
from pathlib import Path

import pytest

from weirgate_bus import BusUnavailable, staging, topology
from weirgate_bus.connection import Connection
from weirgate_bus.jetstream import BusMisconfigured, JetStreamBus
from weirgate_bus.nkey import new_seed, read_seed
from weirgate_bus.port import BusDenied
from weirgate_bus.provision import provision
from weirgate_chassis.ids import new_id
from weirgate_testkit.nats import SMALL, prepare, running_nats


async def test_a_well_configured_server_passes_for_every_service(tmp_path: Path) -> None:
    with running_nats(tmp_path) as server:
        for user in topology.SERVICES:
            bus = await JetStreamBus.connect(server.url, server.seed(user), user)
            await bus.self_check()
            await bus.close()


@pytest.mark.parametrize("written", ["2m", '"1s"', ""])
async def test_a_server_that_does_not_sync_every_write_is_refused(tmp_path: Path, written: str) -> None:
    server = prepare(tmp_path)
    line = f"sync_interval: {written}" if written else ""
    server.config.write_text(server.config.read_text().replace("sync_interval: always", line))
    server.start()
    try:
        await provision(server.url, server.seed("provision"), SMALL)
        bus = await JetStreamBus.connect(server.url, server.seed("ingress"), "ingress")
        with pytest.raises(BusMisconfigured, match="sync_interval"):
            await bus.self_check()
        await bus.close()
    finally:
        server.stop()


@pytest.mark.parametrize(
    "changed",
    [{"max_age": 1_000_000_000 * 3600}, {"discard": "old"}, {"republish": None}, {"allow_atomic": False}],
)
async def test_a_stream_that_somebody_changed_is_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    with running_nats(tmp_path) as server:
        connection = await Connection.open(
            server.url, read_seed(server.seed("provision")), "x", inbox=topology.inbox("provision")
        )
        config = topology.stream_config("AUDIT", SMALL) | changed
        answer = await connection.request("$JS.API.STREAM.UPDATE.AUDIT", json.dumps(config).encode())
        assert "error" not in answer.object()
        await connection.close()
        bus = await JetStreamBus.connect(server.url, server.seed("policy"), "policy")
        with pytest.raises(BusMisconfigured, match=next(iter(changed))):
            await bus.self_check()
        await bus.close()
        with pytest.raises(BusMisconfigured):
            await provision(server.url, server.seed("provision"), SMALL)


async def test_provisioning_twice_changes_nothing_and_may_enlarge(tmp_path: Path) -> None:
    with running_nats(tmp_path) as server:
        await provision(server.url, server.seed("provision"), SMALL)
        larger = topology.Limits(audit_bytes=2 * SMALL.audit_bytes, recording_bytes=SMALL.recording_bytes)
        await provision(server.url, server.seed("provision"), larger)
        bus = await JetStreamBus.connect(server.url, server.seed("ingress"), "ingress")
        await bus.self_check()
        await bus.close()


async def test_a_key_the_server_does_not_know_is_refused(tmp_path: Path) -> None:
    with running_nats(tmp_path) as server:
        stranger = tmp_path / "ingress.nk"
        stranger.write_bytes(new_seed())
        with pytest.raises(BusDenied):
            await JetStreamBus.connect(server.url, stranger, "stranger", deadline_s=1)


async def test_no_server_is_told_apart_from_no_permission(tmp_path: Path) -> None:
    server = prepare(tmp_path)
    with pytest.raises(BusUnavailable):
        await JetStreamBus.connect(server.url, server.seed("ingress"), "ingress", deadline_s=0.5)


@pytest.mark.parametrize("in_memory", [False, True])
async def test_killing_the_server_loses_nothing_that_was_acknowledged(
    tmp_path: Path, in_memory: bool
) -> None:
    acknowledged: dict[str, int] = {}
    unknown: set[str] = set()

    with running_nats(tmp_path) as server, tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        if in_memory:
            assert staging.stage_in_memory(tmp_path / "store", Path(memory))
        bus = await JetStreamBus.connect(server.url, server.seed("ingress"), "ingress")
        stop = asyncio.Event()

        async def publish(number: int) -> None:
            while not stop.is_set():
                id = new_id()
                try:
                    stored = await bus.publish(
                        f"audit.session.opened.here.s{number}", id.encode(), id=id, deadline_s=15
                    )
                    acknowledged[id] = stored.sequence
                except BusUnavailable:
                    unknown.add(id)

        publishers = [asyncio.create_task(publish(number)) for number in range(40)]
        for _ in range(3):
            await asyncio.sleep(0.5)
            await asyncio.to_thread(server.restart)
        await asyncio.sleep(0.5)
        stop.set()
        await asyncio.gather(*publishers)
        found = {
            each.body.decode(): each.sequence
            async for each in bus.read("AUDIT", subjects=("audit.session.opened.here.*",))
        }
        count = len([each async for each in bus.read("AUDIT", subjects=("audit.session.opened.here.*",))])
        await bus.close()
    assert len(acknowledged) > 100
    assert {id: sequence for id, sequence in acknowledged.items() if found.get(id) != sequence} == {}
    assert count == len(found), "an id was stored twice"
    assert set(found) <= set(acknowledged) | unknown


async def test_a_server_that_freezes_is_noticed_within_seconds(tmp_path: Path) -> None:
    with running_nats(tmp_path) as server:
        bus = await JetStreamBus.connect(server.url, server.seed("ingress"), "ingress")
        id = new_id()
        server.pause()
        with pytest.raises(BusUnavailable):
            await bus.publish("audit.session.opened.here.s", b"x", id=id, deadline_s=0.5)
        for _ in range(60):
            if not bus.connected:
                break
            await asyncio.sleep(0.1)
        assert not bus.connected
        server.resume()
        stored = await bus.publish("audit.session.opened.here.s", b"x", id=id, deadline_s=10)
        assert (await bus.get("AUDIT", stored.sequence)).body == b"x"
        await bus.close()
