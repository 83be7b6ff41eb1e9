"""The embedded nats-server: keys, configuration, streams."""

import asyncio
import hashlib
import os
import shutil
import socket
import sys
import time
from pathlib import Path

from weirgate_bus import provision as streams
from weirgate_bus import topology
from weirgate_bus.port import BusError
from weirgate_bus.staging import stage_in_memory
from weirgate_embedded.layout import Layout, write_private
from weirgate_embedded.supervisor import Child, clean_environment

START_WITHIN_S = 20.0


class BrokerFailed(Exception):
    """NATS did not start, or the streams are not what they must be."""


def prepare(layout: Layout) -> None:
    """Make the users' keys and write the server's configuration."""
    keys = streams.make_keys(layout.secrets / "nkeys")
    store = layout.directory / "nats"
    store.mkdir(mode=0o700, exist_ok=True)
    address = f"127.0.0.1:{layout.port('nats')}"
    write_private(store / "nats.conf", topology.render(keys, listen=address, store=str(store)))


def child(layout: Layout) -> Child:
    """Return the server as a child to be supervised."""
    binary = Path(sys.executable).parent / "nats-server"
    return Child(
        name="nats",
        argv=[str(binary), "-c", str(layout.directory / "nats" / "nats.conf")],
        environment=clean_environment(),
        log_file=layout.logs / "nats.log",
    )


def provision(layout: Layout, limits: topology.Limits, *, mirror: bool) -> None:
    """Make the streams once the server listens.

    Raises:
        BrokerFailed: it does not, or they cannot be made.
    """
    port = layout.port("nats")
    deadline = time.monotonic() + START_WITHIN_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError as error:
            if time.monotonic() > deadline:
                log = layout.logs / "nats.log"
                words = log.read_text(errors="replace")[-600:] if log.exists() else ""
                raise BrokerFailed(f"NATS does not listen on port {port}; it said: {words}") from error
            time.sleep(0.02)
    try:
        asyncio.run(
            streams.provision(
                f"nats://127.0.0.1:{port}",
                layout.nkey("provision"),
                limits,
                mirror_seed_file=layout.nkey("mirror") if mirror else None,
            )
        )
    except BusError as error:
        raise BrokerFailed(f"the streams cannot be made: {error}") from error


def stage(layout: Layout) -> bool:
    """Let the server stage its atomic batches in memory (docs/adr/0008); it forgets that at each start.

    Returns:
        Whether it does now. Where there is no tmpfs of ours it never will, and batches are just slower.
    """
    return stage_in_memory(layout.directory / "nats", memory(layout))


def memory(layout: Layout) -> Path:
    """Return the directory on a tmpfs that is ours while the gateway runs."""
    digest = hashlib.sha256(str(layout.directory).encode()).hexdigest()[:16]
    return Path("/dev/shm") / f"weirgate-{os.getuid()}-{digest}"  # noqa: S108  (0700, and only its owner enters)


def clear(layout: Layout) -> None:
    """Remove what was staged in memory."""
    shutil.rmtree(memory(layout), ignore_errors=True)
