"""Which template of a resource a path fits. Pure; policy, masking and ingress must see the same one."""

from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import unquote


def match_route(routes: Sequence[str], path: str) -> tuple[str, dict[str, str]] | None:
    """Return the template a path fits, and the decoded values of its names; ``None``: none.

    A name stands for exactly one segment that is not empty. Segments are compared decoded: an upstream reads
    ``%3A`` and ``:`` alike. Of several templates that fit, the one whose literal
    segments come first counts, left to right.

    Args:
        routes: templates, as in ``ResourceDocument.routes``.
        path: in normal form, percent-encoded.
    """
    segments = [unquote(segment) for segment in path.split("/")]
    best: tuple[tuple[bool, ...], str, dict[str, str]] | None = None
    for route in routes:
        parts = _parts(route)
        if len(parts) != len(segments):
            continue
        values: dict[str, str] = {}
        rank: list[bool] = []
        for (literal, name), segment in zip(parts, segments, strict=True):
            if name is not None:
                if not segment:
                    break
                values[name] = segment
                rank.append(True)
            elif literal != segment:
                break
            else:
                rank.append(False)
        else:
            if best is None or tuple(rank) < best[0]:
                best = tuple(rank), route, values
    return (best[1], best[2]) if best is not None else None


@lru_cache(maxsize=4096)
def _parts(route: str) -> tuple[tuple[str, str | None], ...]:
    return tuple(
        ("", part[1:-1]) if part.startswith("{") and part.endswith("}") else (unquote(part), None)
        for part in route.split("/")
    )
