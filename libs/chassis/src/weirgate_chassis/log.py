"""Structured logs for operators: one JSON object a line on stderr, a constant text plus keys.

``log.info("session opened", protocol="postgres", resource=name)``. No payload ever: no SQL, header, cell, key
or password. Payloads go to the recorder.
"""

import json
import logging
import sys
from typing import TextIO

from weirgate_chassis.clock import now

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
"""Levels an operator can ask for."""

type_of_value = str | int | float | bool | None
_VALUE_LIMIT = 2000


class _Sink:
    """Where lines go; set once by ``configure``."""

    service = ""
    instance = ""
    level = LEVELS["info"]
    stream: TextIO | None = None


def configure(*, service: str, instance: str = "", level: str = "info", stream: TextIO | None = None) -> None:
    """Say who logs, from which level on, and where to.

    Also routes the standard library's ``logging`` (which dependencies use) into the same lines, from WARNING
    on.
    """
    _Sink.service = service
    _Sink.instance = instance
    _Sink.level = LEVELS[level]
    _Sink.stream = stream
    root = logging.getLogger()
    root.handlers[:] = [_Foreign()]
    root.setLevel(logging.WARNING)


def _write(level: str, text: str, keys: dict[str, type_of_value]) -> None:
    if LEVELS[level] < _Sink.level:
        return
    line: dict[str, type_of_value] = {"at": now(), "level": level, "text": text}
    if _Sink.service:
        line["service"] = _Sink.service
    if _Sink.instance:
        line["instance"] = _Sink.instance
    for key, value in keys.items():
        if isinstance(value, str):
            value = value[:_VALUE_LIMIT]
        line[key if key not in line else f"{key}_"] = value
    stream = _Sink.stream if _Sink.stream is not None else sys.stderr
    # One write a line: lines of several threads or processes on one pipe do not mix.
    stream.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
    stream.flush()


def debug(text: str, /, **keys: type_of_value) -> None:
    """Something only a developer wants to know."""
    _write("debug", text, keys)


def info(text: str, /, **keys: type_of_value) -> None:
    """Something happened as it should."""
    _write("info", text, keys)


def warning(text: str, /, **keys: type_of_value) -> None:
    """Something an operator should look at; the service goes on."""
    _write("warning", text, keys)


def error(text: str, /, **keys: type_of_value) -> None:
    """Something failed."""
    _write("error", text, keys)


def describe(error: BaseException) -> str:
    """Say what went wrong in one line: the class, and the text where we know that it holds no payload.

    Of a group, the first real error inside. Texts of our own errors and of the operating system's are kept;
    those of dependencies (a database driver's, a validator's) may quote what they were given, and are not.
    """
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    kind = type(error)
    ours = kind.__module__.startswith("weirgate_") or isinstance(error, OSError)
    text = str(error).strip() if ours else ""
    return f"{kind.__name__}: {text}" if text else kind.__name__


class _Foreign(logging.Handler):
    """Lines of dependencies. Their texts are theirs, so only name, level and the error's class are kept."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        raised = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        # The format string is constant text; its arguments could hold payload and stay out.
        _write(
            level, "from a library", {"logger": record.name, "said": str(record.msg)[:200], "raised": raised}
        )
