"""Gathers effects; what is said to the agent goes out as few ``[Tape, Send]`` pairs as order allows.

Invariant: nothing is sent to the agent through here that a ``Tape`` right before it does not hold, and
whatever was said before an effect is added stands before that effect.
"""

import hashlib

from weirgate_ingress.gates.core import Effect, Send, Side, Tape

_GATHER_LIMIT_BYTES = 256 * 1024


class Tally:
    """What the agent was sent for one operation."""

    __slots__ = ("bytes_out", "number", "sha256")

    def __init__(self, number: int) -> None:
        self.number = number
        self.bytes_out = 0
        self.sha256 = hashlib.sha256()


class Outbox:
    """The effects of one ``feed``."""

    __slots__ = ("_effects", "_said", "_said_bytes", "_tally", "bytes_out")

    def __init__(self) -> None:
        self._effects: list[Effect] = []
        self._said: list[bytes] = []
        self._said_bytes = 0
        self._tally = Tally(0)
        self.bytes_out = 0
        """Bytes to the agent over the session."""

    def say(self, tally: Tally, raw: bytes) -> None:
        """Say something to the agent, as part of an operation (number 0: of none)."""
        if not raw:
            return
        if tally is not self._tally:
            self.flush()
            self._tally = tally
        self._said.append(raw)
        self._said_bytes += len(raw)
        if self._said_bytes >= _GATHER_LIMIT_BYTES:
            self.flush()

    def add(self, effect: Effect) -> None:
        """Add an effect after all that was said."""
        self.flush()
        self._effects.append(effect)

    def send_upstream(self, raw: bytes) -> None:
        """Add bytes for the upstream."""
        self.add(Send(side=Side.UPSTREAM, data=raw))

    def tell(self, raw: bytes) -> None:
        """Send the agent what belongs to no recording: start-up, and the last word of a session."""
        self.bytes_out += len(raw)
        self.add(Send(side=Side.AGENT, data=raw))

    def take(self) -> list[Effect]:
        """Return all effects gathered, in order, and start anew."""
        self.flush()
        effects, self._effects = self._effects, []
        return effects

    def flush(self) -> None:
        """Turn what was said into effects."""
        if not self._said:
            return
        raw = self._said[0] if len(self._said) == 1 else b"".join(self._said)
        self._said.clear()
        self._said_bytes = 0
        tally = self._tally
        tally.bytes_out += len(raw)
        tally.sha256.update(raw)
        self.bytes_out += len(raw)
        self._effects.append(Tape(direction="o", operation=tally.number, data=raw))
        self._effects.append(Send(side=Side.AGENT, data=raw))
