"""Events to rows of the read model. Pure.

One :class:`Projection` gathers a batch. What happens to one operation within a batch becomes one row, so
that the five events of an operation cost one write and not five. A patch holds only what its events say; a
column that no event of the batch has said anything about stays ``None`` and leaves what is stored alone. So
the rows depend on the events and their order only, never on where one batch ended: storing in one go, in
many, or again from the beginning gives the same.

The events of an operation are most of the log and are read as plain JSON, which costs a third of checking
them whole; everything else is decoded and checked. What cannot be read is stored all the same, without a
kind.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pydantic_core import from_json

from weirgate_contracts.events import (
    ApprovalEndorsed,
    ApprovalEvent,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRefused,
    ApprovalRequested,
    ApprovalWithdrawn,
    LogCheckpointed,
    SessionClosed,
    SessionKilled,
    SessionOpened,
    SessionRefused,
    decode,
)
from weirgate_contracts.http import call_text
from weirgate_contracts.mcp import message_text

Patch = dict[str, Any]
Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is kept of one event beside its bytes."""

    kind: str | None
    session: str | None = None
    operation: int | None = None
    at: datetime | None = None


UNREADABLE: Final = Entry(kind=None)


@dataclass(slots=True)
class Projection:
    """Rows of one batch, each gathered from all its events."""

    sessions: dict[str, Patch] = field(default_factory=dict[str, Patch])
    operations: dict[tuple[str, int], Patch] = field(default_factory=dict[tuple[str, int], Patch])
    approvals: dict[str, Patch] = field(default_factory=dict[str, Patch])
    checkpoints: list[LogCheckpointed] = field(default_factory=list[LogCheckpointed])

    def take(self, sequence: int, body: bytes) -> Entry:
        """Take the next event, in order of sequence; return what is kept of it."""
        try:
            document: Document = from_json(body)
            at = datetime.fromisoformat(document["at"])
            kind: str = document["kind"]
            of_operation = _OPERATION.get(kind)
            if of_operation is not None:
                session, operation = document["session"], document["operation"]
                patch = of_operation(document, at)
                if not isinstance(session, str) or not isinstance(operation, int):
                    return UNREADABLE
                self._merge_operation(session, operation, sequence, document["ingress"], patch)
                return Entry(kind=kind, session=session, operation=operation, at=at)
            return self._take_other(sequence, body, at)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return UNREADABLE

    def _merge_operation(
        self, session: str, operation: int, sequence: int, ingress: str, patch: Patch
    ) -> None:
        known = self.operations.setdefault((session, operation), {"sequence": sequence, "ingress": ingress})
        _merge(known, patch, keep="at")  # asked again after a grant, it keeps the time it was first asked

    def _take_other(self, sequence: int, body: bytes, at: datetime) -> Entry:
        event = decode(body)
        match event:
            case SessionOpened() | SessionRefused() | SessionClosed():
                _merge(self.sessions.setdefault(event.session, {}), _session(event, at), keep="opened_at")
                return Entry(kind=event.kind, session=event.session, at=at)
            case SessionKilled():
                patch: Patch = {"ingress": event.ingress, "killed_by": _clean(event.by)}
                _merge(self.sessions.setdefault(event.session, {}), patch)
                return Entry(kind=event.kind, session=event.session, at=at)
            case (
                ApprovalRequested()
                | ApprovalEndorsed()
                | ApprovalGranted()
                | ApprovalRefused()
                | ApprovalExpired()
                | ApprovalWithdrawn()
            ):
                known = self.approvals.setdefault(event.request, {"endorsed_by": ()})
                if isinstance(event, ApprovalEndorsed):
                    known["endorsed_by"] += (_clean(event.by),)
                _merge(known, _approval(event, at))
                return Entry(kind=event.kind, session=event.session, operation=event.operation, at=at)
            case LogCheckpointed():
                self.checkpoints.append(event)
                return Entry(kind=event.kind, at=at)
            case _:
                return Entry(kind=event.kind, session=getattr(event, "session", None), at=at)


def _merge(known: Patch, patch: Patch, *, keep: str | None = None) -> None:
    """What an event says counts over what was said before, what it leaves open does not: as in the tables."""
    for name, value in patch.items():
        if value is not None and (name != keep or known.get(name) is None):
            known[name] = value


def _clean(text: str) -> str:
    """A NUL may stand in an event (JSON has no quarrel with it) and in no text of PostgreSQL."""
    return text.replace("\x00", "\ufffd") if "\x00" in text else text


_QUOTED: Final = '"{}"'
_ESCAPES: Final = str.maketrans({"\x00": "\ufffd", "\\": "\\\\", '"': '\\"'})


def _array(values: Any) -> str:
    """Return an array in PostgreSQL's own notation: arrays of arrays cannot be unnested."""
    quoted = (
        str(value).replace("\x00", "\ufffd").replace("\\", "\\\\").replace('"', '\\"') for value in values
    )
    return "{" + ",".join([f'"{value}"' for value in quoted]) + "}"


def _intercepted(document: Document, at: datetime) -> Patch:
    statements, call = document["statements"], document.get("call")
    message = call.get("mcp") if call is not None else None
    if message is not None:
        text = message_text(message["method"], message.get("name"))
        if message.get("offered") is not None:
            text += f": {len(message['offered'])} offered"
    elif call is not None:
        text = call_text(call["method"], call["path"], call["query"])
    elif len(statements) == 1:
        text = statements[0]["text"]
    else:
        text = ";\n".join([each["text"] for each in statements])
    return {
        "at": at,
        "resource": document["resource"],
        "agent": _clean(document["identity"]["agent"]),
        "protocol": document["protocol"],
        "intercepted": document["id"],
        "digest": document["digest"],
        "text": _clean(text),
        "model": _clean(call["model"]["name"]) if call is not None and call.get("model") else None,
    }


def _verdict(document: Document, verdict: str) -> Patch:
    touched = document["touched"]
    return {
        "verdict": verdict,
        "verbs": _array(dict.fromkeys([each["verb"] for each in touched])) if touched else None,
        "rules": _array(document["rules"]),
        "policy_revision": document["policy_revision"],
        "catalog_revision": document["catalog_revision"],
    }


def _allowed(document: Document, at: datetime) -> Patch:
    patch = _verdict(document, "allowed")
    patch["unmask"] = _array(document["unmask"])
    if document["request"] is not None:
        patch["request"] = document["request"]
    return patch


def _denied(document: Document, at: datetime) -> Patch:
    patch = _verdict(document, "denied") | _refusal(document)
    patch["ended_at"] = at
    return patch


def _held(document: Document, at: datetime) -> Patch:
    patch = _verdict(document, "held")
    patch["request"] = document.get("joins") or document["intercepted"]
    patch["reason"] = _clean(document["reason"])
    return patch


def _planned(document: Document, at: datetime) -> Patch:
    labels: dict[str, None] = {}
    plan = document["plan"]
    for statement in plan["statements"]:
        for output in statement["outputs"] or ():
            labels.update(dict.fromkeys(output["labels"]))
    for body in (plan.get("body"), plan.get("request")):
        for field_ in body["fields"] if body is not None else ():
            labels.update(dict.fromkeys(field_["labels"]))
    return {"masking_revision": document["masking_revision"], "masked": _array(labels) if labels else None}


def _refusal(document: Document) -> Patch:
    return {"refusal": document["refusal"]["code"], "reason": _clean(document["refusal"]["reason"])}


def _finished(document: Document, at: datetime) -> Patch:
    response = document.get("response")
    answered: Patch = {}
    if response is not None:
        answered = {"status": response["status"], "response_type": _clean(response["type"]) or None}
        usage = response.get("usage")
        if usage is not None:
            answered |= {
                "input_tokens": usage.get("input_tokens"),
                "output_tokens": usage.get("output_tokens"),
            }
            # What answered counts over what was asked for; an alias stands for many models.
            answered["model"] = _clean(usage["model"]) or None
        if response.get("tools"):
            answered["tools_called"] = _array(response["tools"])
    return answered | {
        "outcome": document["outcome"],
        "sqlstate": document["sqlstate"],
        "tags": _array(document["tags"]),
        "rows": document["rows"],
        "bytes_in": document["bytes_in"],
        "bytes_out": document["bytes_out"],
        "cells_masked": document["cells_masked"],
        "duration_us": document["duration_us"],
        "sha256": document["sha256"],
        "ended_at": at,
    }


def _failed(document: Document, at: datetime) -> Patch:
    return _refusal(document) | {
        "outcome": "failed",
        "rows": document["rows"],
        "bytes_out": document["bytes_out"],
        "duration_us": document["duration_us"],
        "ended_at": at,
    }


def _abandoned(document: Document, at: datetime) -> Patch:
    return {
        "outcome": "abandoned",
        "reason": document["reason"] + (", sent" if document["sent"] else ", not sent"),
        "duration_us": document["duration_us"],
        "ended_at": at,
    }


def _deferred(document: Document, at: datetime) -> Patch:
    return {
        "outcome": "deferred",
        "request": document["request"],
        "duration_us": document["duration_us"],
        "ended_at": at,
    }


def _refused(document: Document, at: datetime) -> Patch:
    return _refusal(document) | {
        "outcome": "refused",
        "duration_us": document["duration_us"],
        "ended_at": at,
    }


_OPERATION: Final[dict[str, Callable[[Document, datetime], Patch]]] = {
    "operation.intercepted": _intercepted,
    "operation.allowed": _allowed,
    "operation.denied": _denied,
    "operation.held": _held,
    "operation.planned": _planned,
    "operation.finished": _finished,
    "operation.failed": _failed,
    "operation.abandoned": _abandoned,
    "operation.deferred": _deferred,
    "operation.refused": _refused,
}


def _session(event: SessionOpened | SessionRefused | SessionClosed, at: datetime) -> Patch:
    match event:
        case SessionOpened(identity=identity):
            return {
                "ingress": event.ingress,
                "state": "open",
                "protocol": event.protocol,
                "resource": event.resource,
                "agent": _clean(identity.agent),
                "person": _clean(identity.user) if identity.user is not None else None,
                "groups": _array(identity.groups),
                "run": _clean(identity.run) if identity.run is not None else None,
                "tool": _clean(identity.tool) if identity.tool is not None else None,
                "issuer": _clean(identity.issuer),
                "token_id": _clean(identity.token_id),
                "peer": _clean(event.peer),
                "tls": event.tls,
                "application": _clean(event.application) if event.application is not None else None,
                "opened_at": at,
            }
        case SessionRefused():
            return {
                "ingress": event.ingress,
                "state": "refused",
                "protocol": event.protocol,
                "resource": _clean(event.claimed_resource) if event.claimed_resource is not None else None,
                "agent": _clean(event.claimed_agent) if event.claimed_agent is not None else None,
                "peer": _clean(event.peer),
                "opened_at": at,
                "closed_at": at,
                "reason": _clean(event.refusal.reason),
                "refusal": event.refusal.code.value,
            }
        case SessionClosed():
            patch: Patch = {
                "ingress": event.ingress,
                "state": "closed",
                "closed_at": at,
                "reason": event.reason,
                "operations": event.operations,
                "bytes_in": event.bytes_in,
                "bytes_out": event.bytes_out,
            }
            if event.refusal is not None:
                patch["refusal"] = event.refusal.code.value
            return patch


def _approval(event: ApprovalEvent, at: datetime) -> Patch:
    patch: Patch = {
        "session": event.session,
        "ingress": event.ingress,
        "operation": event.operation,
        "digest": event.digest,
    }
    match event:
        case ApprovalRequested():
            patch |= {
                "state": "requested",
                "resource": event.resource,
                "agent": _clean(event.identity.agent),
                "person": _clean(event.identity.user) if event.identity.user is not None else None,
                "groups": _array(event.groups),
                "quorum": event.quorum,
                "reason": _clean(event.reason),
                "text": _clean(event.text),
                "requested_at": at,
                "expires_at": datetime.fromisoformat(event.expires_at),
            }
        case ApprovalEndorsed():
            pass
        case ApprovalGranted():
            patch |= _decided("granted", event.by, event.reason, at)
            patch["expires_at"] = datetime.fromisoformat(event.expires_at)
        case ApprovalRefused():
            patch |= _decided("refused", (event.by,), event.reason, at)
        case ApprovalExpired():
            patch |= _decided("expired", (), None, at)
        case ApprovalWithdrawn():
            patch |= _decided("withdrawn", (), event.reason, at)
        case _:
            raise TypeError(event.kind)
    return patch


def _decided(state: str, by: tuple[str, ...], reason: str | None, at: datetime) -> Patch:
    return {
        "state": state,
        "decided_at": at,
        "decided_by": _array(by),
        "decision": _clean(reason) if reason is not None else None,
    }
