"""Reading the log of this machine's gateway, as the user who may read and nothing else."""

import asyncio
import json
import os
from pathlib import Path

from weirgate_bus.jetstream import JetStreamBus
from weirgate_bus.port import BusError
from weirgate_cli.gateway import DEFAULT_DIRECTORY, Failed
from weirgate_contracts.events import Event, Undecodable, decode
from weirgate_contracts.subjects import AUDIT_STREAM, AUDIT_SUBJECTS


def read_log(
    data_dir: Path | None, *, subjects: tuple[str, ...] = (AUDIT_SUBJECTS,)
) -> list[tuple[int, Event]]:
    """Read every event of the log, or of some of its subjects, with its sequence.

    Raises:
        Failed: no gateway runs there, or the log holds what this release cannot read.
    """
    directory = data_dir or Path(os.environ.get("WEIRGATE_DATA_DIR") or DEFAULT_DIRECTORY)
    try:
        url = str(json.loads((directory / "endpoints.json").read_bytes())["nats"]["url"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        hint = "start one with 'weirgate up', or name its directory with --data-dir"
        raise Failed(f"no gateway is running on {directory}", hint) from error
    try:
        return asyncio.run(_read(url, directory / "secrets" / "nkeys" / "auditor.nk", subjects))
    except (BusError, OSError) as error:
        raise Failed("the log cannot be read", str(error)) from error


async def _read(url: str, seed: Path, subjects: tuple[str, ...]) -> list[tuple[int, Event]]:
    bus = await JetStreamBus.connect(url, seed, "weirgate-command", deadline_s=5.0)
    events: list[tuple[int, Event]] = []
    try:
        async for delivery in bus.read(AUDIT_STREAM, subjects=subjects):
            try:
                events.append((delivery.sequence, decode(delivery.body)))
            except Undecodable as error:
                raise Failed(
                    f"event {delivery.sequence} cannot be read by this release", str(error)
                ) from error
    finally:
        await bus.close()
    return events
