"""Longest whole message per kind, side and state: what a :class:`~weirgate_wire.postgres.frame.Splitter` is
given.

A kind that is missing from a table is unknown in that state.
"""

from collections.abc import Mapping

from weirgate_wire.postgres.frame import STREAM_LIMIT_BYTES

PASSWORD_LIMIT_BYTES = 64 * 1024
"""Longest token. Source: ``PG_MAX_AUTH_TOKEN_LENGTH`` of PostgreSQL is 65,535."""
SHORT_LIMIT_BYTES = 30_000
"""Messages that are short by nature. Source: ``PQ_SMALL_MESSAGE_LIMIT`` of PostgreSQL is 10,000, libpq takes
30,000."""
MEDIUM_LIMIT_BYTES = 4 * 1024 * 1024
"""Descriptions, errors and notices: an error may quote a whole statement."""

AGENT_RUN_KINDS = frozenset(b"d")
UPSTREAM_RUN_KINDS = frozenset(b"Dd")


def login_limits() -> Mapping[int, int]:
    """Return the kinds an agent may send while it logs in: a password."""
    return {ord("p"): PASSWORD_LIMIT_BYTES + 6}


def agent_limits(operation_limit_bytes: int) -> Mapping[int, int]:
    """Return the kinds an agent may send once logged in.

    Args:
        operation_limit_bytes: longest Query, Parse, Bind and FunctionCall, which are held whole before they
        are judged.
    """
    limits = dict.fromkeys(b"QPBF", operation_limit_bytes)
    limits |= dict.fromkeys(b"DECHSXcf", SHORT_LIMIT_BYTES)
    limits[ord("d")] = STREAM_LIMIT_BYTES
    return limits


def upstream_limits(whole_frame_limit_bytes: int) -> Mapping[int, int]:
    """Return the kinds an upstream may send once logged in.

    Args:
        whole_frame_limit_bytes: longest row or COPY piece that is held whole, because masking looks into it.
    """
    limits = dict.fromkeys(b"ACGHIWZnsc123", SHORT_LIMIT_BYTES)
    limits |= dict.fromkeys(b"TtENS", MEDIUM_LIMIT_BYTES)
    limits |= dict.fromkeys(b"Dd", whole_frame_limit_bytes)
    return limits


def upstream_login_limits() -> Mapping[int, int]:
    """Return the kinds an upstream may send until its first ReadyForQuery."""
    return {**dict.fromkeys(b"RKSZv", SHORT_LIMIT_BYTES), **dict.fromkeys(b"EN", MEDIUM_LIMIT_BYTES)}
