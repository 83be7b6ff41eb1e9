"""What a verdict lets through of an answer: its size, its status, its type."""

from weirgate_contracts.operation import AnswerLimit, Limits
from weirgate_contracts.refusal import Refusal, RefusalCode


def over_size(limits: Limits, size_bytes: int) -> Refusal | None:
    """Return the refusal of an answer that has, or announces, this many bytes; ``None``: it may pass."""
    if limits.size_bytes is None or size_bytes <= limits.size_bytes:
        return None
    return Refusal(
        code=RefusalCode.LIMIT_EXCEEDED,
        reason=f"The answer has more than the {limits.size_bytes} bytes this agent may take at once.",
        hint="Ask for less: a page, a filter, fewer fields.",
    )


def unwanted(limits: Limits, *, status: int, type: str, has_body: bool) -> Refusal | None:
    """Return the refusal of an answer the rules do not let through; ``None``: they do.

    Args:
        limits: of the verdict.
        status: of the answer.
        type: media type of its body, lower case, without parameters; empty: none was given.
        has_body: an answer without one has no type to look at.
    """
    for limit in limits.answers or ():
        if not _has_status(limit, status):
            return _refusal(f"of status {status}", limit.statuses)
        if has_body and not _has_type(limit, type):
            return _refusal(f"of type {type[:256]}" if type else "of a type that is not told", limit.types)
    return None


def _has_status(limit: AnswerLimit, status: int) -> bool:
    return not limit.statuses or str(status) in limit.statuses or f"{status // 100}xx" in limit.statuses


def _has_type(limit: AnswerLimit, type: str) -> bool:
    return not limit.types or type in limit.types or f"{type.partition('/')[0]}/*" in limit.types


def _refusal(what: str, wanted: tuple[str, ...]) -> Refusal:
    return Refusal(
        code=RefusalCode.LIMIT_EXCEEDED,
        reason=f"The upstream's answer is {what}; the rules let through only {', '.join(wanted)}."[:2000],
        hint="The request may have had its effect upstream.",
    )
