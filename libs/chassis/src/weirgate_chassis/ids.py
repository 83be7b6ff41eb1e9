"""Ids: ULIDs, 26 characters that sort by time, never twice the same in one process."""

import os
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(a + b for a in _ALPHABET for b in _ALPHABET)
_RANDOM_BITS = 80


class Ulids:
    """Makes ULIDs that only ever grow, also within one millisecond and when the clock is set back.

    Source: the ULID specification, "Monotonicity". The first of a millisecond gets 80 random bits, the ones
    after it count on from there.
    """

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> str:
        """Return a new id."""
        value = (time.time_ns() // 1_000_000) << _RANDOM_BITS
        if value >> _RANDOM_BITS > self._last >> _RANDOM_BITS:
            # The top random bit stays clear, so that counting on never carries into the time.
            value |= int.from_bytes(os.urandom(10), "big") >> 1
        else:
            value = self._last + 1
        self._last = value
        return "".join([_PAIRS[(value >> shift) & 1023] for shift in range(120, -1, -10)])


_ULIDS = Ulids()
new_id = _ULIDS.next
"""Return a new event id."""


def new_trace_id() -> str:
    """Return a W3C trace id: 32 lower-case hexadecimal digits, not all zero."""
    return (os.urandom(15) + b"\x01").hex()
