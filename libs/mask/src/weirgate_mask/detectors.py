"""Content detectors: one Hyperscan pass over a whole block, then an exact look at the few texts it hit.

The patterns of the pass are *wider* than what is looked for, and assert nothing of the bytes before and
after: a block is scanned with the length headers between its cells, and a header byte may look like a letter
or a digit. Whatever an exact recogniser finds in a text, the pass hits inside of that text (a test holds them
to it). So no hit means: nothing to find, in no cell of the block.
"""

from collections.abc import Iterable
from functools import lru_cache

import hyperscan

from weirgate_contracts.labels import DETECTOR_LABELS
from weirgate_mask.recognise import RECOGNISERS

_PATTERNS: dict[str, tuple[bytes, ...]] = {
    "pii.email": (rb"[^\x00-\x20@\"(),:;<>\[\]\\]@[0-9A-Za-z\x80-\xff-]{1,63}\.[0-9A-Za-z\x80-\xff-]",),
    "pii.phone": (
        rb"\+[1-9](?:[ .()/-]{0,2}\d){7}",
        rb"[2-9]\d{2}\)? ?[2-9]\d{2}[ .-]\d{4}",
        rb"[2-9]\d{2}[ .-][2-9]\d{2}[ .-]\d{4}",
    ),
    "pii.ssn": (rb"\d{3}-\d{2}-\d{4}", rb"\d{3} \d{2} \d{4}"),
    "pii.ip": (
        rb"\d\.\d{1,3}\.\d{1,3}\.\d",
        rb"::[0-9A-Fa-f]",
        rb"[0-9A-Fa-f]::",
        rb"(?:[0-9A-Fa-f]{1,4}:){4}",
    ),
    "payment.card": (rb"[2-6](?:[ -]?\d){12}",),
    "payment.iban": (rb"(?:[A-Z]{2}|[a-z]{2})\d{2}(?: ?[0-9A-Za-z]){11}",),
    "secret.aws_key": (
        rb"A(?:KIA|SIA|GPA|IDA|ROA|NPA|NVA|IPA|BIA|CCA)[0-9A-Z]{16}",
        rb"(?i)aws.{0,40}(?:secret|key).{0,40}[^0-9A-Za-z/+][0-9A-Za-z/+]{40}",
    ),
    "secret.jwt": (rb"eyJ[0-9A-Za-z_-]{6,}\.[0-9A-Za-z_-]*\.",),
    "secret.private_key": (rb"-----BEGIN [0-9A-Z ]{0,40}PRIVATE KEY",),
    "secret.token": (
        rb"gh[pousr]_[0-9A-Za-z]{36}", rb"github_pat_[0-9A-Za-z_]{22}", rb"glpat-[0-9A-Za-z_-]{20}",
        rb"xox[abeoprs]-[0-9A-Za-z-]{10}", rb"[rs]k_(?:live|test)_[0-9A-Za-z]{16}", rb"sk-[0-9A-Za-z_-]{20}",
        rb"AIza[0-9A-Za-z_-]{35}", rb"npm_[0-9A-Za-z]{36}", rb"hf_[0-9A-Za-z]{30}",
        rb"dckr_pat_[0-9A-Za-z_-]{20}", rb"pypi-[0-9A-Za-z_-]{40}", rb"SG\.[0-9A-Za-z_-]{16}",
        rb"(?i)bearer +[0-9A-Za-z._~+/-]{20}",
    ),
}  # fmt: skip

_ESCAPED = rb"\\u00[2-7][0-9A-Fa-f]"
"""An ASCII character escaped in JSON, without need: what stands there may be anything, so look closer."""


HITS_LIMIT = 1 << 18
"""Hits of one scan that are kept: somebody may fill a block with digits to fill our memory."""


SHORTEST_BYTES = 6
"""Nothing shorter is ever found: ``a@b.cd``."""


class DetectorsUnusable(RuntimeError):
    """Hyperscan does not work on this machine. There is no slower engine to fall back to."""


class Detectors:
    """The detectors of some labels, compiled."""

    __slots__ = ("_database", "_ends", "_heard", "_label_of", "labels")

    def __init__(self, labels: Iterable[str]) -> None:
        """Compile the patterns of these labels.

        Raises:
            DetectorsUnusable: Hyperscan cannot compile, or does not find what it must.
            KeyError: a label no detector knows.
        """
        self.labels = tuple(label for label in DETECTOR_LABELS if label in set(labels))
        if set(self.labels) != set(labels):
            raise KeyError(f"no detector for {sorted(set(labels) - set(self.labels))}")
        patterns = [pattern for label in self.labels for pattern in _PATTERNS[label]] + [_ESCAPED]
        self._label_of = [label for label in self.labels for _ in _PATTERNS[label]] + [""]
        # DOTALL, because a newline is a byte like any other between two halves of a secret.
        flags = [hyperscan.HS_FLAG_DOTALL] * len(patterns)
        try:
            self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
            self._database.compile(
                expressions=patterns, ids=list(range(len(patterns))), elements=len(patterns), flags=flags
            )
        except hyperscan.error as error:
            raise DetectorsUnusable(f"Hyperscan cannot compile the detectors: {error}") from error
        self._ends: list[int] = []
        self._heard = self._hear
        if self.scan(b"\\u0040") != [6]:
            raise DetectorsUnusable("Hyperscan compiles, and does not find what it must")

    def _hear(self, _pattern: int, _start: int, end: int, _flags: int, _context: object) -> bool:
        self._ends.append(end)
        return len(self._ends) > HITS_LIMIT

    def scan(self, block: bytes) -> list[int] | None:
        """Return where hits end, in no order, some more than once. The block is scanned once.

        ``None``: there are more than :data:`HITS_LIMIT`, so every text of the block is to be looked at.

        Raises:
            DetectorsUnusable: the scan failed; nothing of the block may be let through.
        """
        self._ends = ends = []
        try:
            self._database.scan(block, match_event_handler=self._heard)
        except hyperscan.ScanTerminated:
            return None
        except hyperscan.error as error:
            raise DetectorsUnusable(f"the scan failed: {error}") from error
        return ends

    def _within(self, text: bytes) -> tuple[str, ...]:
        """Return the labels that may be found in a text: those whose patterns hit in it."""
        hit: set[int] = set()

        def hear(pattern: int, _start: int, _end: int, _flags: int, _context: object) -> None:
            hit.add(pattern)

        try:
            self._database.scan(text, match_event_handler=hear)
        except hyperscan.error as error:
            raise DetectorsUnusable(f"the scan failed: {error}") from error
        wanted = {self._label_of[pattern] for pattern in hit}
        return tuple(label for label in self.labels if label in wanted)

    def find(self, text: bytes) -> list[tuple[int, int, tuple[str, ...]]]:
        """Find what the detectors look for in one text.

        Returns:
            (start, end, labels) from left to right; finds that overlap are joined, and then have several
            labels.
        """
        if len(text) < SHORTEST_BYTES:
            return []
        spans = [(*span, label) for label in self._within(text) for span in RECOGNISERS[label](text)]
        spans.sort()
        joined: list[tuple[int, int, tuple[str, ...]]] = []
        for start, end, label in spans:
            if joined and start < joined[-1][1]:
                first, last, labels = joined[-1]
                joined[-1] = (first, max(last, end), labels if label in labels else (*labels, label))
            else:
                joined.append((start, end, (label,)))
        return joined


@lru_cache(maxsize=64)
def detectors(labels: frozenset[str]) -> Detectors:
    """Return the compiled detectors of some labels; each set is compiled once."""
    return Detectors(labels)
