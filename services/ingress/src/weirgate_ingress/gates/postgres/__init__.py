"""The PostgreSQL gate; ``gate`` says how its parts fit together."""

from weirgate_ingress.gates.postgres.gate import PostgresGate
from weirgate_ingress.gates.postgres.mask import PlanMasks
from weirgate_ingress.gates.postgres.terms import GateTerms, Masks, PlanMismatch

__all__ = ["GateTerms", "Masks", "PlanMasks", "PlanMismatch", "PostgresGate"]
