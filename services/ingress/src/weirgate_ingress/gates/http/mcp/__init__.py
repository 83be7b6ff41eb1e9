"""MCP (Streamable HTTP) in the HTTP gate."""

from weirgate_ingress.gates.http.mcp.memory import DefinitionMemory
from weirgate_ingress.gates.http.mcp.session import SealedIds

__all__ = ["DefinitionMemory", "SealedIds"]
