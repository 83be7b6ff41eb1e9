"""Where the gateway is, and asking its console."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import httpx

DEFAULT_DIRECTORY = Path(".weirgate")
CALL_DEADLINE_S = 35.0
"""Longer than the console lets any call take, so that its own answer arrives."""


class Failed(Exception):
    """It was not done: one sentence, and the next step."""

    def __init__(
        self,
        message: str,
        hint: str | None = None,
        *,
        status: int = 0,
        code: str = "",
        body: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.status = status
        """HTTP status, where the console answered."""
        self.code = code
        self.body: Mapping[str, Any] = body or {}


class Misused(Failed):
    """It was asked for in a way that cannot work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A gateway's console, and the token to speak to it with."""

    url: str
    token: str

    def __repr__(self) -> str:
        return f"Gateway(url={self.url!r})"

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str | int | list[str]] | None = None,
    ) -> dict[str, Any]:
        """Ask the console.

        Raises:
            Failed: it is not to be reached, or answers with anything but 2xx.
        """
        import httpx  # here, since it takes longer to load than most commands to run

        try:
            answer = httpx.request(
                method,
                self.url.rstrip("/") + path,
                json=body,
                params=params,
                headers={"authorization": f"Bearer {self.token}"},
                timeout=httpx.Timeout(CALL_DEADLINE_S, connect=5.0),
                follow_redirects=False,
            )
        except httpx.HTTPError as error:
            raise Failed(
                f"the console at {self.url} does not answer ({type(error).__name__})",
                "see that the gateway runs: 'weirgate up', or its logs in DATA_DIR/logs",
            ) from error
        return _read(answer, self.url)


def _read(answer: "httpx.Response", url: str) -> dict[str, Any]:
    try:
        found: Any = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Failed(
            f"{url} does not answer as a console does (status {answer.status_code})",
            "check WEIRGATE_URL, or the data directory",
            status=answer.status_code,
        )
    body = cast(dict[str, Any], found)
    if not answer.is_success:
        raise _refusal(answer.status_code, body)
    return body


def _refusal(status: int, body: dict[str, Any]) -> Failed:
    error = cast(dict[str, Any], body.get("error") if isinstance(body.get("error"), dict) else {})
    message = str(error.get("message") or f"the console refused (status {status})")
    hint = error.get("hint")
    code = str(error.get("code") or "")
    return Failed(message, str(hint) if hint else None, status=status, code=code, body=body)


def find(data_dir: Path | None, environment: Mapping[str, str] | None = None) -> Gateway:
    """Find the gateway: an explicit data directory first, then ``WEIRGATE_URL``, then the default directory.

    Raises:
        Failed: there is none there.
        Misused: the address would carry the token in clear over a network.
    """
    given = os.environ if environment is None else environment
    if data_dir is None and (url := given.get("WEIRGATE_URL")):
        token = given.get("WEIRGATE_TOKEN", "")
        if not token:
            raise Misused("WEIRGATE_URL is set and WEIRGATE_TOKEN is not", "set both, or use --data-dir")
        _check_url(url)
        return Gateway(url=url, token=token)
    chosen = data_dir or Path(given.get("WEIRGATE_DATA_DIR") or DEFAULT_DIRECTORY)
    return in_directory(chosen)


def in_directory(directory: Path) -> Gateway:
    """Find the embedded gateway of a data directory.

    Raises:
        Failed: none is running on it, or it is not for this person to read.
    """
    endpoints = directory / "endpoints.json"
    start = "start one with 'weirgate up', or name its directory with --data-dir"
    try:
        where = json.loads(endpoints.read_bytes())
        url = where["console"]["url"]
        token = (directory / "secrets" / "admin.token").read_text("ascii").strip()
    except FileNotFoundError as error:
        raise Failed(f"no gateway is running on {directory}", start) from error
    except PermissionError as error:
        raise Failed(
            f"{error.filename} is not yours to read", "run as the user who runs the gateway"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failed(f"{endpoints} is not what 'weirgate up' writes", start) from error
    return Gateway(url=str(url), token=token)


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not host:
        raise Misused(f"WEIRGATE_URL is no address: {url!r}", "write https://console.example.com")
    if parts.scheme == "http" and host not in ("localhost", "127.0.0.1", "::1"):
        raise Misused(
            f"WEIRGATE_URL is {url}, so the token would go over the network in clear",
            "use https; http only to this machine",
        )
