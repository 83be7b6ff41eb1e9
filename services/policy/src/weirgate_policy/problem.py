"""What is wrong with a policy, and where."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with one policy."""

    policy: str
    line: int
    """From 1."""
    column: int
    """From 1."""
    message: str
    suggestion: str | None = None
    """What would be right, where that can be said."""
    severity: Literal["error", "warning"] = "error"
    """An error stops publishing; a warning is shown."""

    def __str__(self) -> str:
        tail = f" ({self.suggestion})" if self.suggestion else ""
        return f"{self.policy}:{self.line}:{self.column}: {self.message}{tail}"
