"""The clock of a shell. Cores never ask the time."""

import time


class _Second:
    """The text of the second that was asked for last: formatting it anew each time costs more than the
    rest."""

    second = -1
    text = ""


def rfc3339(us: int) -> str:
    """Write microseconds since 1970 as RFC 3339 UTC with microseconds.

    >>> rfc3339(0)
    '1970-01-01T00:00:00.000000Z'
    """
    second, fraction = divmod(us, 1_000_000)
    if second != _Second.second:
        _Second.text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        _Second.second = second
    return f"{_Second.text}.{fraction:06d}Z"


def now_us() -> int:
    """Return microseconds since 1970."""
    return time.time_ns() // 1000


def now() -> str:
    """Return the time as RFC 3339 UTC with microseconds."""
    return rfc3339(time.time_ns() // 1000)
