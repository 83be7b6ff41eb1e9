"""What verdicts are given under, kept as configuration and catalogs change."""

from collections.abc import Mapping

from weirgate_chassis import log
from weirgate_chassis.config import ConfigFeed
from weirgate_contracts.config import ResourceDocument
from weirgate_contracts.modelapi import routes_of
from weirgate_policy import wording
from weirgate_policy.bundle import Bundle, BundleError, compile_policies
from weirgate_policy.judge import JudgingState, Reader, labels_of
from weirgate_policy.ruling import Asking
from weirgate_policy.view import ResourceView
from weirgate_policy.watch import Watches


class States:
    """One judging state for each resource, made when it is asked for and dropped when anything in it
    changes."""

    def __init__(self, feed: ConfigFeed, read: Reader) -> None:
        self._feed = feed
        self._read = read
        self._texts: dict[str, str] = {}
        self._bundle = compile_policies({})
        self._states: dict[str, JudgingState] = {}

    def problem(self) -> str | None:
        """Say why nothing can be allowed; ``None``: nothing is wrong."""
        broken = self._bundle.broken
        return (
            f"the published policies cannot be judged with: {broken[0]}" if broken else self._feed.problem()
        )

    def configured(self) -> None:
        """Take over a new configuration."""
        texts = {name: document.cedar for name, document in self._feed.policies.items()}
        if texts != self._texts:
            self._texts = texts
            self._bundle = self._compiled(texts)
        self._states.clear()

    def forget(self, resource: str) -> None:
        """Another catalog counts for a resource."""
        self._states.pop(resource, None)

    def of(self, resource: str, watches: Watches) -> JudgingState:
        """Return what an operation on a resource is judged under now."""
        revision = self._feed.revision
        if self._feed.problem() is not None:
            return JudgingState(revision=revision, read=self._read, refusal=wording.configuration_unknown())
        document = self._feed.resources.get(resource)
        if document is None:
            return JudgingState(
                revision=revision, read=self._read, refusal=wording.resource_unknown(resource)
            )
        if document.protocol in ("http", "mcp"):
            return self._of_calls(document)
        catalog = watches.catalog(resource)
        if catalog is None:
            return JudgingState(revision=revision, read=self._read, refusal=wording.catalog_missing(resource))
        found = self._states.get(resource)
        if found is None:
            labels = self._feed.labels.get(resource, {})
            view = ResourceView(name=resource, catalog=catalog, labels=labels, protocol=document.protocol)
            found = self._states[resource] = JudgingState(
                revision=revision,
                read=self._read,
                asking=Asking(bundle=self._bundle, view=view),
                labels=self._labels(labels),
            )
        return found

    def _of_calls(self, document: ResourceDocument) -> JudgingState:
        """Return what a call is judged under: its resource has no catalog to wait for."""
        found = self._states.get(document.name)
        if found is None:
            view = ResourceView(
                name=document.name,
                protocol=document.protocol,
                routes=routes_of(document),
                api=document.api,
            )
            found = self._states[document.name] = JudgingState(
                revision=self._feed.revision,
                read=self._read,
                asking=Asking(bundle=self._bundle, view=view),
                labels=self._labels(self._feed.fields.get(document.name, {})),
                tools=self._feed.tools.get(document.name) if document.protocol == "mcp" else None,
            )
        return found

    def _labels(self, labels: Mapping[str, str]) -> tuple[str, ...]:
        named = [rule.label for rule in self._feed.masking if "*" not in rule.label]
        return labels_of(*labels.values(), *named)

    def _compiled(self, texts: dict[str, str]) -> Bundle:
        try:
            bundle = compile_policies(texts)
        except BundleError as error:
            for problem in error.problems:
                log.error(
                    "policy cannot be judged with",
                    policy=problem.policy,
                    line=problem.line,
                    reason=problem.message,
                )
            return Bundle.refusing(error.problems)
        log.info("policies compiled", policies=len(texts), rules=len(bundle.rules))
        return bundle
