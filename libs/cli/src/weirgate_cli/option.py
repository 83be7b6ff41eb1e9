"""Options that several commands share."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from weirgate_cli.gateway import Failed, Misused
from weirgate_cli.say import MISUSED, REFUSED, tell

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Data directory of the gateway. Default: $WEIRGATE_URL with $WEIRGATE_TOKEN where set, then "
        "$WEIRGATE_DATA_DIR, then ./.weirgate.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]

_SPAN = re.compile(r"(\d{1,9})([smhd]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(span: str) -> int:
    """Read a span of time such as ``15m``.

    Raises:
        Misused: it is something else.
    """
    found = _SPAN.fullmatch(span.strip())
    if found is None or int(found[1]) == 0:
        raise Misused(f"{span!r} is no span of time", "write 30s, 15m, 8h or 1d")
    return int(found[1]) * _UNITS[found[2]]


@contextmanager
def answering() -> Generator[None]:
    """Turn what went wrong into one sentence with the next step, and the exit status."""
    try:
        yield
    except Failed as error:
        tell(f"weirgate: {error.message}" + (f"\n  {error.hint}" if error.hint else ""))
        raise typer.Exit(MISUSED if isinstance(error, Misused) else REFUSED) from None
