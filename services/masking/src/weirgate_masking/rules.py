"""Which transform a label gets for an agent, and which detectors are on for it."""

from collections.abc import Sequence

from weirgate_contracts.labels import DETECTOR_LABELS
from weirgate_contracts.masking import DetectorPlan, MaskingRule, Transform
from weirgate_contracts.value import label_matches
from weirgate_mask.strictness import REDACT, strictest


class Rules:
    """The masking rules that apply to agents in some groups."""

    __slots__ = ("_rules", "_transforms", "detectors")

    def __init__(self, rules: Sequence[MaskingRule], groups: Sequence[str]) -> None:
        """Take all rules in order, and the groups of the agent."""
        mine = frozenset(groups)
        self._rules = [rule for rule in rules if not rule.groups or not mine.isdisjoint(rule.groups)]
        self._transforms: dict[str, Transform] = {}
        found = ((label, self._first(label)) for label in DETECTOR_LABELS)
        self.detectors = tuple(
            DetectorPlan(label=label, transform=transform)
            for label, transform in found
            if transform is not None
        )
        """Detectors that are on: those whose label a rule names."""

    def _first(self, label: str) -> Transform | None:
        return next((rule.transform for rule in self._rules if label_matches(rule.label, label)), None)

    def transform(self, label: str) -> Transform:
        """Return how a label is masked: as the first rule says that matches it, else ``redact``."""
        known = self._transforms.get(label)
        if known is None:
            known = self._transforms[label] = self._first(label) or REDACT
        return known

    def strictest(self, labels: Sequence[str]) -> Transform:
        """Return the transform that tells least of those several labels get."""
        return strictest(self.transform(label) for label in labels)
