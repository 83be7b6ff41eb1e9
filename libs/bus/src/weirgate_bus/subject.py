"""Subjects: tokens joined by dots, ``*`` for one token, a last ``>`` for one or more."""

from functools import lru_cache

_ANY, _REST = "*", ">"


@lru_cache(maxsize=4096)
def _tokens(pattern: str) -> tuple[str, ...]:
    return tuple(pattern.split("."))


def matches(pattern: str, subject: str) -> bool:
    """Say whether a subscription's pattern covers a subject (or all of a narrower pattern).

    Source: NATS documentation, "Subject-Based Messaging".
    """
    wanted = _tokens(pattern)
    given = subject.split(".")
    for place, token in enumerate(wanted):
        if token == _REST:
            return len(given) > place
        if place >= len(given):
            return False
        if given[place] == _REST or (token != _ANY and token != given[place]):
            return False
    return len(given) == len(wanted)


def publishable(subject: str) -> bool:
    """Say whether a message can be published on it: tokens not empty, no wildcard, no space or control
    character."""
    return bool(subject) and all(
        token and token not in (_ANY, _REST) and token.isprintable() and " " not in token
        for token in subject.split(".")
    )
