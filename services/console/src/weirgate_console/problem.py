"""What a caller is told when something is not done."""

from typing import Any

from pydantic import BaseModel


class Answer(Exception):
    """Not done: the status, a stable code, one sentence, and the next step.

    Raised anywhere below an endpoint; :mod:`weirgate_console.api.app` turns it into JSON.
    """

    def __init__(self, status: int, code: str, message: str, hint: str | None = None, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint
        self.more = more

    def body(self) -> dict[str, Any]:
        """Return what is sent."""
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint}, **self.more}


class ErrorText(BaseModel):
    """Why something was not done."""

    code: str
    """Stable, for programs."""
    message: str
    """One sentence, for people."""
    hint: str | None = None
    """The next step."""


class ErrorBody(BaseModel):
    """The body of every answer that is not 2xx."""

    error: ErrorText


def log_away() -> Answer:
    """The log does not take or give anything right now."""
    return Answer(
        503,
        "log_unavailable",
        "The event log does not answer, so nothing was done that could be told for sure.",
        "Try again; what was already recorded is not recorded twice.",
    )
