"""The HTTP gate."""

from weirgate_ingress.gates.http.gate import HttpGate
from weirgate_ingress.gates.http.mask import PlanBodies
from weirgate_ingress.gates.http.terms import HttpTerms

__all__ = ["HttpGate", "HttpTerms", "PlanBodies"]
