"""Which of two transforms tells less."""

from collections.abc import Iterable

from weirgate_contracts.masking import Transform, TransformKind

_RANK: dict[TransformKind, int] = {
    "null": 0,
    "redact": 1,
    "pseudonym": 2,
    "format": 3,
    "generalise": 4,
    "partial": 5,
}

REDACT = Transform(kind="redact")
"""What a label is masked with where no rule says anything."""


def strictest(transforms: Iterable[Transform]) -> Transform:
    """Return the transform that tells least: NULL, then a placeholder, equality, shape, a range, a part.

    Of two of a kind the one with the wider range or the fewer characters kept; of none, ``redact``.
    """
    return min(transforms, key=_order, default=REDACT)


def _order(transform: Transform) -> tuple[int, int, int]:
    return _RANK[transform.kind], transform.keep_first + transform.keep_last, -(transform.step or 10)
