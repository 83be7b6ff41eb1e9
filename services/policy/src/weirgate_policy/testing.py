"""Policies without a service: check them, run cases against them, replay a log under them."""

from weirgate_policy.bundle import BundleError, Known, check
from weirgate_policy.case import BadCases, Case, CaseOutcome, read_snapshot, run_cases
from weirgate_policy.problem import Problem
from weirgate_policy.replay import Replayed, replay

__all__ = [
    "BadCases",
    "BundleError",
    "Case",
    "CaseOutcome",
    "Known",
    "Problem",
    "Replayed",
    "check",
    "read_snapshot",
    "replay",
    "run_cases",
]
