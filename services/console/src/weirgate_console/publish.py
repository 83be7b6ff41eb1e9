"""Publishing configuration: everything is checked together, then published in an order that is safe to cut.

The log has no transaction over several subjects. So all problems are found first, and what is published goes
out kind by kind (:data:`weirgate_contracts.document.DOCUMENTS`): labels and masks before the policies and
resources they protect. Should the log go away in between, what stands is stricter than what was asked for,
the caller is told, and publishing the same again completes it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weirgate_bus.port import Bus, BusError
from weirgate_chassis.clock import now
from weirgate_chassis.ids import new_id
from weirgate_console.check import Checker, Found, Sent, check_together, policy_errors, read_sent
from weirgate_console.problem import Answer, log_away
from weirgate_console.tools import needs_reviewers
from weirgate_contracts.document import (
    DOCUMENTS,
    BadDocument,
    Document,
    meant,
    name_of,
    read_document,
)
from weirgate_contracts.events import ConfigPublished, Undecodable, decode
from weirgate_contracts.events.config import ConfigKind
from weirgate_contracts.subjects import AUDIT_STREAM
from weirgate_contracts.value import Value


class Change(Value):
    """One document that was, or would be, published."""

    kind: str
    name: str
    revision: int | None = None
    """Its sequence in the log, once published."""


class Outcome(Value):
    """What publishing did."""

    published: tuple[Change, ...] = ()
    unchanged: tuple[Change, ...] = ()
    warnings: tuple[Found, ...] = ()
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One document as it stands in the log; withdrawn where ``body`` is ``None``."""

    kind: ConfigKind
    name: str
    body: dict[str, Any] | None
    revision: int
    by: str
    at: str


Key = tuple[ConfigKind, str]


class Publisher:
    """Checks and publishes configuration."""

    def __init__(self, bus: Bus, checkers: Mapping[str, Checker]) -> None:
        self._bus = bus
        self._checkers = checkers
        self._turn = asyncio.Lock()

    async def standing(self) -> dict[Key, Standing]:
        """Read what stands, withdrawn documents included.

        Raises:
            Answer: 503, the log does not answer or holds what cannot be read.
        """
        found: dict[Key, Standing] = {}
        subjects = ("audit.config.>",)
        try:
            async for delivery in self._bus.read(AUDIT_STREAM, subjects=subjects, last_per_subject=True):
                event = decode(delivery.body)
                if isinstance(event, ConfigPublished):
                    found[event.config, event.name] = Standing(
                        kind=event.config,
                        name=event.name,
                        body=event.body,
                        revision=delivery.sequence,
                        by=event.by,
                        at=event.at,
                    )
        except BusError as error:
            raise log_away() from error
        except Undecodable as error:
            message = f"A published document cannot be read: {error}."
            raise Answer(503, "config_unreadable", message) from error
        return found

    async def publish(self, sent: Sequence[Sent], *, by: str, dry_run: bool = False) -> Outcome:
        """Check all documents together, then publish those that changed.

        Raises:
            Answer: 422 with every problem and nothing published; 503, the log went away, with how far it got.
        """
        async with self._turn:
            standing = await self.standing()
            documents, problems = read_sent(sent)
            problems += check_together(documents, _bodies(standing), self._checkers)
            if any(problem.severity == "error" for problem in problems):
                raise Answer(
                    422,
                    "bad_config",
                    "Nothing was published: the documents are not right.",
                    "Correct what is listed and apply again.",
                    problems=[problem.model_dump() for problem in problems],
                )
            changes, unchanged = _split(documents, standing)
            if dry_run:
                published = [Change(kind=kind, name=name) for kind, name, _ in changes]
            else:
                published = await self._write(changes, by)
            return Outcome(
                published=tuple(published),
                unchanged=tuple(unchanged),
                warnings=tuple(problems),
                dry_run=dry_run,
            )

    async def withdraw(self, kind: ConfigKind, name: str, *, by: str) -> Change:
        """Withdraw one document.

        Raises:
            Answer: 404, there is none; 409, something that stands needs it; 503.
        """
        async with self._turn:
            before = _bodies(await self.standing())
            if (kind, name) not in before:
                names = [known for of, known in before if of == kind]
                raise Answer(404, "not_found", f"There is no {kind} {name!r}.", meant(name, names))
            after = {key: body for key, body in before.items() if key != (kind, name)}
            if kind == "resource" and ("labels", name) in after:
                message = f"The labels of {name} still stand and would be of no resource."
                raise Answer(409, "still_needed", message, f"Withdraw labels {name} first.")
            if kind == "resource" and ("tools", name) in after:
                message = f"The approved tools of {name} still stand and would be of no resource."
                raise Answer(409, "still_needed", message, f"Withdraw tools {name} first.")
            if kind == "reviewers" and (of := needs_reviewers(name, after)) is not None:
                message = f"The approved tools of {of} ask {name}, and nobody would be them."
                raise Answer(409, "still_needed", message, f"Change or withdraw tools {of} first.")
            broken = (
                policy_errors(after, self._checkers).keys() - policy_errors(before, self._checkers).keys()
            )
            if broken:
                policy, why = min(broken)
                message = f"Policy {policy} needs {kind} {name}: {why}."
                raise Answer(409, "still_needed", message, "Change or withdraw that policy first.")
            (change,) = await self._write([(kind, name, None)], by)
            return change

    async def _write(
        self, changes: Sequence[tuple[ConfigKind, str, dict[str, Any] | None]], by: str
    ) -> list[Change]:
        done: list[Change] = []
        for kind, name, body in changes:
            event = ConfigPublished(config=kind, name=name, body=body, by=by).stamped(id=new_id(), at=now())
            try:
                # One after the other, on purpose: the order is what makes a cut safe.
                stored = await self._bus.publish(event.subject, event.encoded(), id=event.id, deadline_s=5.0)
            except BusError as error:
                raise Answer(
                    503,
                    "log_unavailable",
                    f"The event log went away after {len(done)} of {len(changes)} documents.",
                    "Apply the same again: what stands already is not published twice.",
                    published=[change.model_dump() for change in done],
                ) from error
            done.append(Change(kind=kind, name=name, revision=stored.sequence))
        return done


def _bodies(standing: Mapping[Key, Standing]) -> dict[tuple[str, str], dict[str, Any]]:
    return {key: one.body for key, one in standing.items() if one.body is not None}


def _split(
    documents: Sequence[tuple[Sent, Document]], standing: Mapping[Key, Standing]
) -> tuple[list[tuple[ConfigKind, str, dict[str, Any] | None]], list[Change]]:
    """Tell what changed, in the order it is published, from what stands already."""
    changes: list[tuple[ConfigKind, str, dict[str, Any] | None]] = []
    unchanged: list[Change] = []
    for kind in DOCUMENTS:
        for document in (document for one, document in documents if one.kind == kind):
            name = name_of(document)
            stands = standing.get((kind, name))
            if stands is not None and _same(kind, stands.body, document):
                unchanged.append(Change(kind=kind, name=name, revision=stands.revision))
            else:
                changes.append((kind, name, document.model_dump(mode="json")))
    return changes, unchanged


def _same(kind: ConfigKind, body: Mapping[str, Any] | None, document: Document) -> bool:
    if body is None:
        return False
    try:
        return read_document(kind, body) == document
    except BadDocument:
        return False
