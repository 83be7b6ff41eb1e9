"""The configuration as it stands in the log: the newest event per subject, kept up to date.

Invariants:

* **No gap.** It first subscribes to what the stream republishes, then reads what the stream holds, and sorts
  both by sequence. An event that arrives twice counts once; an older one never replaces a newer one of its
  subject.
* **No silence.** Core messages are missed while the connection is away, so after a reconnect everything is
  read again, and until that is done ``problem()`` says so.
* **No guess.** An event that cannot be read is a problem that stays until a newer event of its subject (or a
  restart with a release that knows it) takes its place. A service that has a problem refuses; it does not act
  as if the event were absent.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from pydantic import ValidationError

from weirgate_bus.port import Bus, BusError, Delivery, Subscription
from weirgate_chassis import log
from weirgate_contracts.config import (
    LabelsDocument,
    MaskingDocument,
    PolicyDocument,
    ResourceDocument,
    ReviewersDocument,
    ToolsDocument,
)
from weirgate_contracts.events import CatalogObserved, ConfigPublished, Undecodable, decode
from weirgate_contracts.masking import MaskingRule
from weirgate_contracts.subjects import AUDIT_STREAM, STORED_PREFIX

CONFIG_SUBJECTS = "audit.config.>"
CATALOG_SUBJECTS = "audit.catalog.>"
_RETRY_S = (0.05, 0.1, 0.2, 0.5, 1.0)

type_of_document = (
    ResourceDocument | LabelsDocument | MaskingDocument | PolicyDocument | ReviewersDocument | ToolsDocument
)

_DOCUMENTS: dict[str, type[type_of_document]] = {
    "resource": ResourceDocument,
    "labels": LabelsDocument,
    "masking": MaskingDocument,
    "policy": PolicyDocument,
    "reviewers": ReviewersDocument,
    "tools": ToolsDocument,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    sequence: int
    document: type_of_document | CatalogObserved | None = None
    problem: str | None = None


def _read(delivery: Delivery, subject: str) -> _Entry:
    try:
        event = decode(delivery.body)
        if event.subject != subject:
            raise Undecodable("the event belongs to another subject")
        match event:
            case ConfigPublished(config=config, body=body):
                document = None if body is None else _DOCUMENTS[config].model_validate(body)
                return _Entry(sequence=delivery.sequence, document=document)
            case CatalogObserved():
                return _Entry(sequence=delivery.sequence, document=event)
            case _:
                raise Undecodable("no configuration")
    except (Undecodable, ValidationError, KeyError) as error:
        # Which field is wrong is told, never its value.
        where = ""
        if isinstance(error, ValidationError):
            where = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
        problem = f"{subject} at {delivery.sequence} cannot be read" + (f" ({where})" if where else "")
        return _Entry(sequence=delivery.sequence, problem=problem)


class ConfigFeed:
    """Configuration and catalogs, live.

    Args:
        bus: the connected bus.
        catalogs: also follow ``CatalogObserved``.

    What the properties return is replaced, never changed, so it may be kept as a snapshot.
    """

    def __init__(self, bus: Bus, *, catalogs: bool = True) -> None:
        self._bus = bus
        self._subjects = (CONFIG_SUBJECTS, CATALOG_SUBJECTS) if catalogs else (CONFIG_SUBJECTS,)
        self._entries: dict[str, _Entry] = {}
        self._callbacks: list[Callable[[], None]] = []
        self._hearing: list[Subscription] = []
        self._fresh = False

        self._reading: asyncio.Task[None] | None = None
        self._again = False
        self._revision = 0

        self._rebuild()

    # ------------------------------------------------------------ what is known

    @property
    def revision(self) -> int:
        """Log sequence of the newest configuration event; 0: there is none. Catalogs do not count."""
        return self._revision

    @property
    def resources(self) -> Mapping[str, ResourceDocument]:
        """Registered upstreams by name."""
        return self._resources

    @property
    def labels(self) -> Mapping[str, Mapping[str, str]]:
        """Per resource: ``schema.table.column`` to label."""
        return self._labels

    @property
    def fields(self) -> Mapping[str, Mapping[str, str]]:
        """Per resource of HTTP or MCP: route or tool, and pattern, to label."""
        return self._fields

    @property
    def request_fields(self) -> Mapping[str, Mapping[str, str]]:
        """Per resource of HTTP: route and pattern, in bodies of requests, to label."""
        return self._request_fields

    @property
    def masking(self) -> tuple[MaskingRule, ...]:
        """Masking rules in order; of several documents, by name. The first that matches a label counts."""
        return self._masking

    @property
    def policies(self) -> Mapping[str, PolicyDocument]:
        """Cedar policy sets by name."""
        return self._policies

    @property
    def reviewers(self) -> Mapping[str, ReviewersDocument]:
        """People who can be asked, by the name a policy uses."""
        return self._reviewers

    @property
    def tools(self) -> Mapping[str, ToolsDocument]:
        """Approved definitions of tools, per resource of MCP; a resource that is not in it has none pinned."""
        return self._tools

    @property
    def catalogs(self) -> Mapping[str, CatalogObserved]:
        """Newest catalog per resource."""
        return self._catalogs

    def problem(self) -> str | None:
        """Say why the configuration may not be acted on; ``None``: it may. Fits ``Health.check``."""
        if not self._bus.connected:
            return "not connected: an event may be missed"
        if not self._fresh:
            return "not read yet"
        return next((entry.problem for entry in self._entries.values() if entry.problem), None)

    @property
    def healthy(self) -> bool:
        """Whether the configuration may be acted on."""
        return self.problem() is None

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back after every change, with the properties already new. What it raises stops the service."""
        self._callbacks.append(callback)

    # ------------------------------------------------------------ life

    async def start(self) -> None:
        """Subscribe and read. Callbacks are called once at the end, whether there is anything or not.

        Raises:
            BusError: the stream cannot be read.
        """
        self._bus.on_reconnect(self._reconnected)
        for subject in self._subjects:
            self._hearing.append(await self._bus.subscribe(STORED_PREFIX + subject, self._heard))
        await self._read_all()
        self._fresh = True
        self._changed()

    async def stop(self) -> None:
        """Hear no more."""
        for each in self._hearing:
            await each.stop()
        if self._reading is not None:
            self._reading.cancel()

    def _heard(self, delivery: Delivery) -> None:
        subject = delivery.subject.removeprefix(STORED_PREFIX)
        if self._take(subject, delivery) and self._fresh:
            self._changed()

    def _take(self, subject: str, delivery: Delivery) -> bool:
        known = self._entries.get(subject)
        if known is not None and known.sequence >= delivery.sequence:
            return False
        entry = _read(delivery, subject)
        if entry.problem is not None:
            log.error("configuration cannot be read", problem=entry.problem)
        self._entries[subject] = entry
        return True

    async def _read_all(self) -> None:
        async for delivery in self._bus.read(AUDIT_STREAM, subjects=self._subjects, last_per_subject=True):
            self._take(delivery.subject, delivery)

    def _reconnected(self) -> None:
        self._fresh = False
        self._again = True
        if self._reading is None or self._reading.done():
            self._reading = asyncio.get_running_loop().create_task(
                self._read_again(), name="config read again"
            )

    async def _read_again(self) -> None:
        attempt = 0
        while self._again:
            self._again = False
            try:
                await self._read_all()
            except BusError as error:
                log.warning("configuration not read again yet", reason=log.describe(error))
                self._again = True
                await asyncio.sleep(_RETRY_S[min(attempt, len(_RETRY_S) - 1)])
                attempt += 1
        self._fresh = True
        self._changed()

    def _changed(self) -> None:
        self._rebuild()
        for callback in self._callbacks:
            callback()

    def _rebuild(self) -> None:
        documents = [
            entry.document for _, entry in sorted(self._entries.items()) if entry.document is not None
        ]
        self._resources = _by_name(each for each in documents if isinstance(each, ResourceDocument))
        self._policies = _by_name(each for each in documents if isinstance(each, PolicyDocument))
        self._reviewers = _by_name(each for each in documents if isinstance(each, ReviewersDocument))
        self._tools = MappingProxyType(
            {each.resource: each for each in documents if isinstance(each, ToolsDocument)}
        )
        self._catalogs = MappingProxyType(
            {each.resource: each for each in documents if isinstance(each, CatalogObserved)}
        )
        labels = [each for each in documents if isinstance(each, LabelsDocument)]
        self._labels = _merged((each.resource, each.columns) for each in labels)
        self._fields = _merged((each.resource, each.fields) for each in labels)
        self._request_fields = _merged((each.resource, each.request_fields) for each in labels)
        self._masking = tuple(
            rule for each in documents if isinstance(each, MaskingDocument) for rule in each.rules
        )
        self._revision = max(
            (
                entry.sequence
                for subject, entry in self._entries.items()
                if subject.startswith("audit.config.")
            ),
            default=0,
        )


N = TypeVar("N", ResourceDocument, PolicyDocument, ReviewersDocument)


def _by_name(documents: Iterable[N]) -> Mapping[str, N]:
    return MappingProxyType({each.name: each for each in documents})


def _merged(labels: Iterable[tuple[str, Mapping[str, str]]]) -> Mapping[str, Mapping[str, str]]:
    """Join the labels of one resource. Sorted by subject, a later document wins."""
    found: dict[str, dict[str, str]] = {}
    for resource, labelled in labels:
        if labelled:
            found.setdefault(resource, {}).update(labelled)
    return MappingProxyType({resource: MappingProxyType(columns) for resource, columns in found.items()})
