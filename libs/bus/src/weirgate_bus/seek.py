"""Find a place in the log by time: nothing keeps an index of it, so it is looked for by halves."""

from weirgate_bus.port import Bus
from weirgate_contracts.subjects import AUDIT_STREAM


async def last_sequence(bus: Bus) -> int:
    """Return the sequence of the newest message of the log; 0: there is none.

    Raises:
        BusError: the log cannot be read.
    """
    known, beyond = 0, 1
    while await _stored_at(bus, beyond) is not None:
        known, beyond = beyond, beyond * 2
    while beyond - known > 1:
        middle = (known + beyond) // 2
        if await _stored_at(bus, middle) is None:
            beyond = middle
        else:
            known = middle
    return known


async def first_since(bus: Bus, last: int, moment: str) -> int:
    """Return the first sequence stored at or after a moment (RFC 3339); ``last + 1``: all of them are older.

    Raises:
        BusError: the log cannot be read.
    """
    before, found = 0, last + 1
    while found - before > 1:
        middle = (before + found) // 2
        if (await _stored_at(bus, middle) or moment) >= moment:
            found = middle
        else:
            before = middle
    return found


async def _stored_at(bus: Bus, sequence: int) -> str | None:
    try:
        return (await bus.get(AUDIT_STREAM, sequence)).stored_at
    except KeyError:
        return None
