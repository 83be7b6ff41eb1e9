"""Which events of the log are wanted, and how one of them stands on a line. Pure but for the reading
itself."""

import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

from weirgate_bus.port import Bus, BusError, Delivery
from weirgate_contracts.events import EVENTS
from weirgate_contracts.http import call_text
from weirgate_contracts.subjects import AUDIT_STREAM, AUDIT_SUBJECTS
from weirgate_recorder.layout import WIDTH, fit, size, span, visible

_POLL_S: Final = 0.25
_PLACE: Final = re.compile(r"\{(\w+)\}")

KINDS: Final[dict[str, str]] = {event.model_fields["kind"].default: event.SUBJECT for event in EVENTS}
"""Every kind of event there is, and its subject with places."""


class UnknownKind(ValueError):
    """No event is of this kind."""


def subjects(*, kinds: Sequence[str] = (), session: str | None = None) -> list[str]:
    """Return the subjects on which the wanted events are.

    Args:
        kinds: ``operation.denied``, or a family: ``operation``; none: all.
        session: Id of a session.

    Raises:
        UnknownKind: no event is of one of the kinds.
    """
    if not kinds and session is None:
        return [AUDIT_SUBJECTS]
    wanted: list[str] = []
    for kind in kinds or KINDS:
        matching = [each for each in KINDS if each == kind or each.startswith(kind + ".")]
        if not matching:
            raise UnknownKind(kind)
        for each in matching:
            pattern = KINDS[each]
            if session is not None and "{session}" not in pattern:
                continue
            wanted.append(_PLACE.sub(lambda place: _filled(place, session), pattern))
    return sorted(set(wanted))


def _filled(place: re.Match[str], session: str | None) -> str:
    return session if place.group(1) == "session" and session is not None else "*"


async def find_end(bus: Bus) -> int:
    """Return a sequence near the end of the log, never past it: the bus tells no length.

    Found by asking for messages at doubling distances and then in between. A hole in the log can only make
    the answer smaller, and whoever reads from there reads to the end anyway.
    """
    low, step = 0, 1
    while await _holds(bus, low + step):
        low, step = low + step, step * 2
    while step > 1:
        step //= 2
        if await _holds(bus, low + step):
            low += step
    return low


async def _holds(bus: Bus, sequence: int) -> bool:
    try:
        await bus.get(AUDIT_STREAM, sequence)
    except KeyError:
        return False
    return True


async def read_last(bus: Bus, wanted: Sequence[str], last: int) -> list[Delivery]:
    """Return the last so many of the wanted events."""
    start = 1
    if list(wanted) == [AUDIT_SUBJECTS]:
        start = max(1, await find_end(bus) - last + 1)
    kept: deque[Delivery] = deque(maxlen=max(last, 0))
    if wanted:
        async for each in bus.read(AUDIT_STREAM, subjects=wanted, start=start):
            kept.append(each)
    return list(kept)


async def read_on(bus: Bus, wanted: Sequence[str], start: int) -> AsyncIterator[Delivery]:
    """Give the wanted events from a sequence on, for ever, also over a NATS that comes and goes."""
    while True:
        try:
            async for each in bus.read(AUDIT_STREAM, subjects=wanted, start=start):
                start = each.sequence + 1
                yield each
        except BusError:
            await asyncio.sleep(4 * _POLL_S)
        await asyncio.sleep(_POLL_S)


def document(delivery: Delivery) -> dict[str, Any]:
    """Return an event as a JSON object: its own fields, and where it stands in the log."""
    try:
        event = json.loads(delivery.body)
    except ValueError:
        event = None
    fields: dict[str, Any] = event if isinstance(event, dict) else {"unreadable": delivery.body.hex()}
    return {
        "log_sequence": delivery.sequence,
        "stored_at": delivery.stored_at,
        "subject": delivery.subject,
    } | fields


def line(delivery: Delivery, *, width: int = WIDTH) -> str:
    """Return an event as one line."""
    event = document(delivery)
    clock = str(event.get("at") or delivery.stored_at)[11:23]
    kind = str(event.get("kind", "(unreadable)"))
    session = str(event.get("session", ""))[-8:]
    number = f"#{event['operation']}" if isinstance(event.get("operation"), int) else ""
    where = f"{session}{number}"
    text = " ".join(visible(" ".join(_summary(kind, event).split())).split())
    return fit(f"{delivery.sequence:>7} {clock} {kind:<21} {where:<12} {text}", width).rstrip()


def _summary(kind: str, event: dict[str, Any]) -> str:
    try:
        return _SUMMARIES.get(kind, _plain)(event)
    except (KeyError, TypeError, IndexError, AttributeError):
        return _whole(event)


def _whole(event: dict[str, Any]) -> str:
    """Return what is left of an event that has another shape than was thought."""
    return json.dumps(event, ensure_ascii=False)[:200]


def _plain(event: dict[str, Any]) -> str:
    skipped = {
        "kind",
        "v",
        "id",
        "at",
        "trace",
        "ingress",
        "session",
        "operation",
        "log_sequence",
        "stored_at",
        "subject",
    }
    return " ".join(
        f"{name}={value}"
        for name, value in event.items()
        if name not in skipped and value not in (None, [], {})
    )


def _who(event: dict[str, Any]) -> str:
    return f"{event['identity']['agent']}→{event['resource']}"


def _rules(event: dict[str, Any]) -> str:
    return " ".join(event["rules"])


def _refused(event: dict[str, Any]) -> str:
    return f"{event['refusal']['code']}: {event['refusal']['reason']}"


def _asked(event: dict[str, Any]) -> str:
    call = event.get("call")
    if call is not None:
        return f"{_who(event)} {call_text(call['method'], call['path'], call['query'])}"
    return f"{_who(event)} " + "; ".join(each["text"] for each in event["statements"])


def _finished(event: dict[str, Any]) -> str:
    response = event.get("response")
    if response is not None:
        answered = f"{event['outcome']} {response['status']} {response['type']}".rstrip()
        return (
            f"{answered}, {size(event['bytes_out'])}, {event['cells_masked']} masked, "
            f"{span(event['duration_us'])}{_cost(response.get('usage'))}"
        )
    return (
        f"{event['outcome']} {' '.join(event['tags'])} {event['sqlstate'] or ''} {event['rows']} rows, "
        f"{event['cells_masked']} masked, {span(event['duration_us'])}"
    )


def _requests(request: dict[str, Any] | None) -> str:
    if request is None:
        return ""
    labels = sorted({label for field in request["fields"] for label in field["labels"]})
    return "; the request is masked" + (f": {' '.join(labels)}" if labels else "")


def _cost(usage: dict[str, Any] | None) -> str:
    if usage is None:
        return ""
    told = "+".join(str(usage.get(name, "?")) for name in ("input_tokens", "output_tokens"))
    return f", {usage['model']} {told} tokens".replace("  ", " ")


def _planned(event: dict[str, Any]) -> str:
    plan = event["plan"]
    if (body := plan.get("body")) is not None:
        labels = {label for field in body["fields"] for label in field["labels"]}
        unread = "refused" if body["unread"] == "refuse" else "passed"
        return ("masks " + " ".join(sorted(labels)) if labels else "masks no field") + (
            f", what cannot be read is {unread}" + _requests(plan.get("request"))
        )
    labels = {
        label for each in plan["statements"] for output in each["outputs"] or () for label in output["labels"]
    }
    return plan["impossible"] or (
        "masks " + " ".join(sorted(labels)) if labels else "masks nothing by lineage"
    )


_SUMMARIES: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    "session.opened": lambda e: f"{_who(e)} from {e['peer']}",
    "session.refused": lambda e: f"{e['claimed_agent']}→{e['claimed_resource']} {_refused(e)}",
    "session.closed": lambda e: f"by {e['reason']}, {e['operations']} operations",
    "operation.intercepted": _asked,
    "operation.allowed": lambda e: _rules(e) + (" after approval" if e["request"] else ""),
    "operation.denied": lambda e: f"{_refused(e)} {_rules(e)}",
    "operation.held": lambda e: f"for {' '.join(e['groups'])}: {e['reason']}",
    "operation.planned": _planned,
    "operation.finished": _finished,
    "operation.failed": _refused,
    "operation.refused": _refused,
    "operation.abandoned": lambda e: f"{e['reason']}, {'sent' if e['sent'] else 'not sent'}",
    "operation.deferred": lambda e: f"to be asked again, request {e['request']}",
    "grant.used": lambda e: f"request {e['request']}, for operation {e['operation']}",
    "approval.requested": lambda e: f"of {' '.join(e['groups'])} until {e['expires_at']}: {e['text']}",
    "approval.granted": lambda e: f"by {', '.join(e['by'])}",
    "catalog.observed": lambda e: f"{e['resource']} revision {e['revision']}",
    "config.published": lambda e: (
        f"{e['config']} {e['name']} {'withdrawn ' if e['body'] is None else ''}by {e['by']}"
    ),
    "log.checkpoint": lambda e: f"up to {e['sequence']}, chain {e['chain'][:16]}…",
}  # fmt: skip
