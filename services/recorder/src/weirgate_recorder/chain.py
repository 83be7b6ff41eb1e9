"""The hash chain over the AUDIT stream, and the check of it. Pure.

Every message of the stream gets a *link*: the SHA-256 of the link before it and of everything the message is
(``docs/log.md`` has it byte for byte)::

    F(x)     = 4 bytes length of x, big-endian · x
    GENESIS  = SHA-256("weirgate.log.genesis.v1")
    link(n)  = SHA-256( F("weirgate.log.link.v1") · F(link before) · F(n, 8 bytes big-endian) · F(subject)
                        · F(Nats-Msg-Id) · F(SHA-256(body)) )

The recorder publishes the link it has reached as a checkpoint event *into the same log*, so a
checkpoint is under every later link. Whoever changes one message has to change every later
checkpoint too, and the read model, and whatever copies of the log are elsewhere.

:class:`Verifier` recomputes the chain from what the stream holds now and compares it with

* every checkpoint it meets: says up to where the log is as it was, and between which two a change lies;
* the read model's own links (*witnesses*), where they are to be had: names each changed message.
"""

import struct
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Final

from weirgate_contracts.events import LogCheckpointed, Undecodable, decode

CHECKPOINT_SUBJECT: Final = LogCheckpointed.SUBJECT
GENESIS: Final = sha256(b"weirgate.log.genesis.v1").digest()
"""The link before sequence 1."""
LINK_SIZE: Final = 32

_DOMAIN: Final = b"weirgate.log.link.v1"
_HEAD: Final = struct.pack(">I", len(_DOMAIN)) + _DOMAIN + struct.pack(">I", LINK_SIZE)
_NUMBER: Final = struct.Struct(">IQI")
_LENGTH: Final = struct.Struct(">I")
_BODY_LENGTH: Final = _LENGTH.pack(32)

_WINDOW: Final = 1 << 18
"""Links kept to check checkpoints that reach back (some 40 MB). A checkpoint is published within
seconds of what it covers, some 100,000 messages at the most this stream takes; one that reaches
further back is not compared, which loses nothing: every later checkpoint covers what it covers."""
_FINDINGS_LIMIT: Final = 100
"""Findings kept in full; past that they are only counted, so that a rewritten log cannot fill the memory."""


def link(previous: bytes, *, sequence: int, subject: str, message_id: str, body: bytes) -> bytes:
    """Return the link of one message.

    Args:
        previous: Link of the message before it, :data:`GENESIS` for the first.
        sequence: Its sequence in the stream.
        subject: Its subject.
        message_id: Its ``Nats-Msg-Id`` header; empty where there is none.
        body: Its body, exactly as stored.
    """
    name, mark = subject.encode(), message_id.encode()
    return sha256(
        b"".join(
            (
                _HEAD,
                previous,
                _NUMBER.pack(8, sequence, len(name)),
                name,
                _LENGTH.pack(len(mark)),
                mark,
                _BODY_LENGTH,
                sha256(body).digest(),
            )
        )
    ).digest()


class Fault(StrEnum):
    """What is wrong with a stretch of the log."""

    MISSING = "missing"
    """The stream holds no message with these sequences."""
    EDITED = "edited"
    """The message is not the one the read model stored, though it carries the same id."""
    REPLACED = "replaced"
    """Another message stands here: reordered, or put in."""
    CHANGED = "changed"
    """A checkpoint does not match: something within this stretch is not as it was."""
    CHECKPOINT = "checkpoint"
    """What stands on the checkpoint subject is no checkpoint, or one of what does not come before it."""
    TRUNCATED = "truncated"
    """The log ends before what the read model has stored."""
    DISORDER = "disorder"
    """The stream gave a message out of order."""


_EXACT: Final = frozenset({Fault.MISSING, Fault.EDITED, Fault.REPLACED, Fault.DISORDER})
"""Faults that name the very messages that are wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, from ``first`` to ``last`` sequence, both included."""

    fault: Fault
    first: int
    last: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """What the read model stored of one message."""

    previous: bytes
    """The link it was chained to: of the message stored before it, :data:`GENESIS` for the first."""
    link: bytes
    message_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a check of the log has found."""

    messages: int
    last: int
    """Sequence of the last message, 0: the log is empty."""
    chain: bytes
    """Link of the last message, as recomputed."""
    checkpoints: int
    """Checkpoints that were compared."""
    covered: int
    """The newest checkpoint that matches covers the log up to here."""
    witnessed: int
    """Messages compared with the read model."""
    faults: int
    findings: tuple[Finding, ...] = field(repr=False)
    """In order of sequence, the first 100."""

    @property
    def first_wrong(self) -> int | None:
        """Lowest sequence that is wrong; with checkpoints alone, the start of the stretch that holds it."""
        return self.findings[0].first if self.findings else None

    @property
    def sound(self) -> bool:
        """Nothing is wrong."""
        return not self.faults


class Verifier:
    """Recomputes the chain over one stream, message by message.

    Invariants: ``feed`` is called in stream order from sequence 1; the recomputed chain never takes
    a link from the log or from the read model, so a forged witness or checkpoint can only raise
    a finding.
    """

    def __init__(self) -> None:
        self._chain = GENESIS
        self._last = 0
        self._messages = 0
        self._witnessed = 0
        self._checkpoints = 0
        self._covered = 0
        self._faults = 0
        self._findings: list[Finding] = []
        self._links: dict[int, bytes] = {}
        self._changed = False

    @property
    def last(self) -> int:
        """Sequence of the last message fed."""
        return self._last

    def feed(
        self, *, sequence: int, subject: str, message_id: str, body: bytes, witness: Witness | None = None
    ) -> None:
        """Take the next message of the stream, and what the read model knows of that sequence."""
        if sequence <= self._last:
            self._find(Fault.DISORDER, sequence, sequence, f"came after {self._last}")
            return
        if sequence > self._last + 1:
            self._find(Fault.MISSING, self._last + 1, sequence - 1, "not in the stream")
        self._chain = link(self._chain, sequence=sequence, subject=subject, message_id=message_id, body=body)
        self._messages += 1
        self._last = sequence
        self._links[sequence] = self._chain
        if len(self._links) > _WINDOW:
            del self._links[next(iter(self._links))]
        if witness is not None:
            self._compare(sequence, subject, message_id, body, witness)
        if subject == CHECKPOINT_SUBJECT:
            self._check(sequence, body)

    def finish(self, *, stored: int | None = None) -> Report:
        """Return what was found.

        Args:
            stored: Last sequence the read model has stored, where it is known.
        """
        if stored is not None and stored > self._last:
            text = f"the log ends at {self._last}, the read model at {stored}"
            self._find(Fault.TRUNCATED, self._last + 1, stored, text)
        self._drop_explained()
        self._findings.sort(key=lambda found: (found.first, found.last))
        return Report(
            messages=self._messages,
            last=self._last,
            chain=self._chain,
            checkpoints=self._checkpoints,
            covered=self._covered,
            witnessed=self._witnessed,
            faults=self._faults,
            findings=tuple(self._findings),
        )

    def _drop_explained(self) -> None:
        """A stretch that only says "something in here" says nothing once it is known what."""
        exact = [each for each in self._findings if each.fault in _EXACT]
        for found in [each for each in self._findings if each.fault in (Fault.CHANGED, Fault.CHECKPOINT)]:
            if any(found.first <= each.first <= found.last for each in exact):
                self._findings.remove(found)
                self._faults -= 1

    def _find(self, fault: Fault, first: int, last: int, text: str) -> None:
        self._faults += 1
        if len(self._findings) < _FINDINGS_LIMIT:
            self._findings.append(Finding(fault=fault, first=first, last=last, text=text))

    def _compare(self, sequence: int, subject: str, message_id: str, body: bytes, witness: Witness) -> None:
        """Compare from the read model's own link before, so that one changed message is one finding."""
        self._witnessed += 1
        chained = link(witness.previous, sequence=sequence, subject=subject, message_id=message_id, body=body)
        if chained == witness.link:
            return
        if message_id == witness.message_id:
            text = f"message {message_id or '(no id)'} is not what was stored under that id"
            self._find(Fault.EDITED, sequence, sequence, text)
        else:
            text = f"holds message {message_id or '(no id)'}, stored was {witness.message_id or '(no id)'}"
            self._find(Fault.REPLACED, sequence, sequence, text)

    def _check(self, sequence: int, body: bytes) -> None:
        try:
            event = decode(body)
        except Undecodable as error:
            self._find(Fault.CHECKPOINT, sequence, sequence, f"unreadable checkpoint: {error}")
            return
        if not isinstance(event, LogCheckpointed):
            self._find(Fault.CHECKPOINT, sequence, sequence, f"{event.kind} where only checkpoints are")
            return
        if not 0 < event.sequence < sequence:
            # It was true when it was written: then something before it is gone, and it moved forward.
            text = f"a checkpoint of {event.sequence}, which does not come before it"
            self._find(Fault.CHECKPOINT, self._covered + 1, sequence, text)
            return
        mine = self._links.get(event.sequence)
        if mine is None:
            return
        self._checkpoints += 1
        if mine.hex() == event.chain:
            self._covered = max(self._covered, event.sequence)
        elif not self._changed:
            # Every later checkpoint builds on the same change: only the first says where it lies.
            self._changed = True
            self._find(
                Fault.CHANGED,
                self._covered + 1,
                event.sequence,
                f"checkpoint {sequence} covers up to {event.sequence} with another chain",
            )
