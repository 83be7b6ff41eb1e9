"""How the ``weirgate`` command reaches an embedded gateway's log, recordings and read model.

The log is read from NATS as the user ``auditor``, who may read and nothing else: so it can be read and
proved with the console, the recorder and the read model away.
"""

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from weirgate_bus.jetstream import JetStreamBus
from weirgate_bus.port import Bus, BusDenied, Delivery
from weirgate_chassis.seal import Sealer, read_key
from weirgate_contracts.subjects import RECORDING_STREAM

_USER: Final = "auditor"
_RECORDER: Final = "recorder"


class Unreachable(Exception):
    """The gateway's files do not say where it is; the text says which file, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A gateway on this machine, by its data directory."""

    directory: Path

    def endpoints(self) -> dict[str, Any]:
        """Return what the gateway has written about itself.

        Raises:
            Unreachable: it is not there.
        """
        path = self.directory / "endpoints.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise Unreachable(
                f"{path} is not there: no gateway runs on this data directory; "
                "start one with `weirgate up`, or name another with --data-dir"
            ) from None
        except (OSError, ValueError) as error:
            raise Unreachable(f"{path} cannot be read: {error}") from error
        if not isinstance(found, dict):
            raise Unreachable(f"{path} is not what `weirgate up` writes")
        return found

    def nats_url(self) -> str:
        """Return where NATS listens."""
        try:
            return str(self.endpoints()["nats"]["url"])
        except (KeyError, TypeError):
            raise Unreachable(f"{self.directory / 'endpoints.json'} names no nats.url") from None

    def read_model_dsn(self) -> str:
        """Return the address of the read model.

        Raises:
            Unreachable: it is not written down.
        """
        path = self.directory / "secrets" / "read-model.dsn"
        try:
            return path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise Unreachable(f"{path} cannot be read: {error.strerror}") from error

    def sealer(self) -> Sealer:
        """Return what opens recordings.

        Raises:
            Unreachable: the key is not there, or is none.
        """
        path = self.directory / "secrets" / "recording.key"
        try:
            return Sealer(read_key(path))
        except (OSError, ValueError) as error:
            raise Unreachable(f"{path} cannot be read: {error}") from error

    def _seed(self, user: str) -> Path:
        path = self.directory / "secrets" / "nkeys" / f"{user}.nk"
        if not path.is_file():
            raise Unreachable(f"{path} is not there: this account may not read the log")
        return path

    @contextlib.asynccontextmanager
    async def bus(self, user: str = _USER) -> AsyncGenerator[Bus]:
        """Connect to NATS as one user.

        Raises:
            Unreachable: the address or the key is not there.
            BusError: NATS is away.
        """
        bus = await JetStreamBus.connect(self.nats_url(), self._seed(user), f"weirgate-{user}")
        try:
            yield bus
        finally:
            await bus.close()

    async def recordings(self, subjects: Sequence[str], *, start: int = 1) -> AsyncIterator[Delivery]:
        """Give messages of recordings, as ``auditor`` where that user may, else as ``recorder``."""
        given = False
        try:
            async with self.bus() as bus:
                async for each in bus.read(RECORDING_STREAM, subjects=subjects, start=start):
                    given = True
                    yield each
            return
        except BusDenied:
            if given:
                raise
        async with self.bus(_RECORDER) as bus:
            async for each in bus.read(RECORDING_STREAM, subjects=subjects, start=start):
                yield each
