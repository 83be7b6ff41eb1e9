"""Making the streams, as the one user that may. No running service is that user."""

from pathlib import Path
from typing import Any

from weirgate_bus import topology
from weirgate_bus.connection import Connection
from weirgate_bus.consume import call
from weirgate_bus.jetstream import BusMisconfigured
from weirgate_bus.nkey import read_seed, write_seed
from weirgate_bus.port import BusUnavailable
from weirgate_bus.topology import MIRROR_STREAM, Limits
from weirgate_contracts.subjects import AUDIT_STREAM, RECORDING_STREAM

_NOT_FOUND = 10059


def make_keys(directory: Path) -> dict[str, str]:
    """Make the NKey of every user that has none yet, as ``<user>.nk``; returns the public keys."""
    return {user: write_seed(directory / f"{user}.nk") for user in topology.USERS}


async def provision(
    url: str,
    seed_file: Path,
    limits: Limits,
    *,
    mirror_seed_file: Path | None = None,
    deadline_s: float = 10.0,
) -> None:
    """Make the streams where they are missing, and check them where they stand. Safe to repeat.

    A stream that stands with other limits on its size is changed to these; any other difference is refused,
    since it means that somebody else has changed it.

    Args:
        url: servers, separated by commas.
        seed_file: seed of the user ``provision``.
        limits: how much the streams may hold.
        mirror_seed_file: seed of the user ``mirror``; ``None``: no mirror.

    Raises:
        BusMisconfigured: a stream stands and is not what it must be.
        BusError: the servers cannot be reached, or refuse.
    """
    connection = await Connection.open(
        url, read_seed(seed_file), "provision", inbox=topology.inbox("provision"), deadline_s=deadline_s
    )
    try:
        for name in (AUDIT_STREAM, RECORDING_STREAM):
            await _stream(connection, name, topology.stream_config(name, limits))
    finally:
        await connection.close()
    if mirror_seed_file is None:
        return
    connection = await Connection.open(
        url, read_seed(mirror_seed_file), "mirror", inbox=topology.inbox("mirror"), deadline_s=deadline_s
    )
    try:
        await _stream(connection, MIRROR_STREAM, topology.mirror_config(limits))
    finally:
        await connection.close()


async def _stream(connection: Connection, name: str, wanted: dict[str, Any]) -> None:
    answer = (await connection.request(f"$JS.API.STREAM.INFO.{name}")).object()
    error = answer.get("error")
    if error is not None and error.get("err_code") != _NOT_FOUND:
        raise BusUnavailable(f"{name}: {error.get('description')}")
    if error is not None:
        answer = await call(connection, f"$JS.API.STREAM.CREATE.{name}", wanted)
    elif set(_differing(wanted, answer["config"])) & {"max_bytes", "num_replicas"}:
        resized = answer["config"] | {key: wanted[key] for key in ("max_bytes", "num_replicas")}
        answer = await call(connection, f"$JS.API.STREAM.UPDATE.{name}", resized)
    problems = topology.differences(wanted, answer["config"])
    if problems:
        raise BusMisconfigured(f"stream {name}: " + "; ".join(problems))


def _differing(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    return [key for key, value in wanted.items() if (found.get(key) or None) != (value or None)]
