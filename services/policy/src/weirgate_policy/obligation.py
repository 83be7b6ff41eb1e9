"""What a permit can ask for beside the permission: annotations, read once and combined to the strictest."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from weirgate_contracts.operation import AnswerLimit, Limits

WINDOW_DEFAULT_S = 15 * 60
"""Seconds a request stays open where no rule says otherwise."""
WINDOW_LIMIT_S = 7 * 24 * 3600
QUORUM_LIMIT = 10
ANNOTATIONS = ("id", "hold", "quorum", "window", "limit", "answer", "reason")
"""Every annotation a rule may carry."""
ON_FORBID = ("id", "reason")
"""The ones a ``forbid`` may carry: it has nothing to oblige anybody to."""
LIMITS = ("rows", "bytes")
ANSWERS = ("status", "type")

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_GROUP = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_STATUS = re.compile(r"[1-5](?:[0-9]{2}|xx)")
_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,127}/(?:\*|[a-z0-9!#$&^_.+-]{1,127})")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_UNITS_BYTES = {
    "": 1,
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}


class BadAnnotation(ValueError):
    """An annotation that says nothing we can keep to. Text and ``suggestion`` are for whoever wrote the
    rule."""

    def __init__(self, name: str, message: str, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.name = name
        self.suggestion = suggestion


@dataclass(frozen=True, slots=True, kw_only=True)
class Obligation:
    """What one rule asks for, or the strictest of several."""

    hold: tuple[str, ...] = ()
    """Reviewers who must each agree, sorted; empty: nobody is asked."""
    quorum: int = 1
    window_s: int | None = None
    rows: int | None = None
    size_bytes: int | None = None
    answers: tuple[AnswerLimit, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def limits(self) -> Limits:
        """Return the limits as the verdict carries them."""
        return Limits(rows=self.rows, size_bytes=self.size_bytes, answers=self.answers or None)


NOTHING = Obligation()
"""Of a rule that asks for nothing."""


def strictest(several: Iterable[Obligation]) -> Obligation:
    """Combine what several matching permits ask for: every hold, largest quorum, smallest limits and
    window."""
    given = list(several)
    return Obligation(
        hold=tuple(sorted({group for one in given for group in one.hold})),
        quorum=max((one.quorum for one in given), default=1),
        window_s=_least(one.window_s for one in given),
        rows=_least(one.rows for one in given),
        size_bytes=_least(one.size_bytes for one in given),
        answers=tuple(dict.fromkeys(limit for one in given for limit in one.answers)),
        reasons=tuple(dict.fromkeys(reason for one in given for reason in one.reasons)),
    )


def read_annotations(effect: str, annotations: Mapping[str, str]) -> Obligation:
    """Read the annotations of one rule.

    Raises:
        BadAnnotation: unknown, malformed, out of its limits, or not for this effect.
    """
    for name in annotations:
        if name not in ANNOTATIONS:
            near = difflib.get_close_matches(name, ANNOTATIONS, n=1)
            raise BadAnnotation(
                name,
                f"unknown annotation @{name}",
                f"did you mean @{near[0]}?"
                if near
                else f"known are {', '.join('@' + one for one in ANNOTATIONS)}",
            )
        if effect == "forbid" and name not in ON_FORBID:
            raise BadAnnotation(
                name, f"@{name} has no meaning on a forbid", "put it on a permit, or leave it out"
            )
    for name in ("quorum", "window"):
        if name in annotations and "hold" not in annotations:
            raise BadAnnotation(
                name, f"@{name} says nothing without @hold", 'add @hold("…") to the same rule'
            )
    if "id" in annotations and not _ID.fullmatch(annotations["id"]):
        raise BadAnnotation(
            "id", f"@id({annotations['id']!r}) is no id", "1 to 64 of letters, digits, '_', '.', '-'"
        )
    reason = annotations.get("reason")
    if reason is not None and not 0 < len(reason) <= 300:
        raise BadAnnotation("reason", "@reason is 1 to 300 characters", None)
    rows, size_bytes = _limits(annotations["limit"]) if "limit" in annotations else (None, None)
    return Obligation(
        hold=_groups(annotations["hold"]) if "hold" in annotations else (),
        quorum=_quorum(annotations["quorum"]) if "quorum" in annotations else 1,
        window_s=_window_s(annotations["window"]) if "window" in annotations else None,
        rows=rows,
        size_bytes=size_bytes,
        answers=(_answer(annotations["answer"]),) if "answer" in annotations else (),
        reasons=(reason,) if reason else (),
    )


def _groups(value: str) -> tuple[str, ...]:
    groups = tuple(part.strip() for part in value.split(","))
    if not all(_GROUP.fullmatch(group) for group in groups):
        raise BadAnnotation(
            "hold", f"@hold({value!r}) names no reviewers", 'write @hold("dba") or @hold("dba, legal")'
        )
    return tuple(sorted(set(groups)))


def _quorum(value: str) -> int:
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= QUORUM_LIMIT:
        raise BadAnnotation("quorum", f"@quorum({value!r}) is no number of people", f"1 to {QUORUM_LIMIT}")
    return int(value)


def _window_s(value: str) -> int:
    found = re.fullmatch(r"([0-9]{1,6})([smhd])", value)
    if found is None or not 1 <= (seconds := int(found[1]) * _UNITS_S[found[2]]) <= WINDOW_LIMIT_S:
        near = re.match(r"\s*([0-9]{1,3})", value)
        raise BadAnnotation(
            "window",
            f"@window({value!r}) is no span of time",
            f'write @window("{near[1] if near else 15}m"): a number and s, m, h or d, at most 7d',
        )
    return seconds


def _limits(value: str) -> tuple[int | None, int | None]:
    found: dict[str, int] = {}
    for part in value.split(","):
        name, equals, amount = (piece.strip() for piece in part.partition("="))
        if name not in LIMITS or not equals:
            near = difflib.get_close_matches(name, LIMITS, n=1, cutoff=0.5)
            suggestion = (
                f"did you mean {near[0]}=…?" if near else 'write @limit("rows=1000") or @limit("bytes=1MB")'
            )
            raise BadAnnotation("limit", f"@limit: {part.strip()!r} is no limit", suggestion)
        if name in found:
            raise BadAnnotation("limit", f"@limit: {name} is given twice", None)
        found[name] = _amount(name, amount)
    return found.get("rows"), found.get("bytes")


def _answer(value: str) -> AnswerLimit:
    found: dict[str, tuple[str, ...]] = {}
    for part in value.split(","):
        name, equals, alternatives = (piece.strip() for piece in part.partition("="))
        pattern = _STATUS if name == "status" else _TYPE
        if name not in ANSWERS or not equals or name in found:
            right = 'write @answer("status=2xx|404, type=application/json|text/*")'
            raise BadAnnotation("answer", f"@answer: {part.strip()!r} says nothing of an answer", right)
        found[name] = tuple(sorted({one.strip() for one in alternatives.split("|")}))
        wrong = [one for one in found[name] if not pattern.fullmatch(one)]
        if wrong:
            right = "three digits, or 2xx" if name == "status" else "lower case: application/json, text/*"
            raise BadAnnotation("answer", f"@answer: {wrong[0]!r} is no {name}", right)
    return AnswerLimit(statuses=found.get("status", ()), types=found.get("type", ()))


def _amount(name: str, amount: str) -> int:
    parts = re.fullmatch(r"([0-9]{1,15})([A-Za-z]*)", amount)
    units = _UNITS_BYTES if name == "bytes" else {"": 1}
    if parts is None or parts[2] not in units or int(parts[1]) < 1:
        units_said = " with KB, MB, GB, KiB, MiB or GiB" if name == "bytes" else ""
        raise BadAnnotation(
            "limit", f"@limit: {amount!r} is no number of {name}", f"a whole number from 1{units_said}"
        )
    return int(parts[1]) * units[parts[2]]


def _least(values: Iterable[int | None]) -> int | None:
    return min((value for value in values if value is not None), default=None)
