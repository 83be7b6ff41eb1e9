"""Limits of every call, before anything of it is read: how long the body may be, and how long it may take."""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

BODY_LIMIT_BYTES = 64 * 1024
APPLY_LIMIT_BYTES = 8 * 1024 * 1024
"""``POST /v1/config`` carries whole policies, each up to 512 KiB."""


class _TooLong(Exception):
    pass


class Guard:
    """Wraps the application.

    Args:
        app: what is guarded.
        deadline_s: longest a call may take, its body included.
    """

    def __init__(self, app: App, *, deadline_s: float) -> None:
        self._app = app
        self._deadline_s = deadline_s

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = APPLY_LIMIT_BYTES if scope["path"] == "/v1/config" else BODY_LIMIT_BYTES
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not length.isdigit() or int(length) > limit:
            await _refuse(send, 413, "too_large", f"The body is longer than {limit} bytes.")
            return
        begun = too_long = False
        size = 0

        async def measured() -> Message:
            nonlocal size, too_long
            message = await receive()
            size += len(message.get("body", b""))
            if size > limit:
                too_long = True
                raise _TooLong
            return message

        async def watched(message: Message) -> None:
            nonlocal begun
            # The framework takes what interrupts its reading for a malformed body; we say it better.
            if not too_long or begun:
                begun = True
                await send(message)

        try:
            async with asyncio.timeout(self._deadline_s):
                await self._app(scope, measured, watched)
        except _TooLong:
            pass
        except TimeoutError:
            if not begun:
                await _refuse(send, 503, "too_slow", "The call took too long, and was given up.")
            return
        if too_long and not begun:
            await _refuse(send, 413, "too_large", f"The body is longer than {limit} bytes.")


async def _refuse(send: Send, status: int, code: str, message: str) -> None:
    body = json.dumps({"error": {"code": code, "message": message, "hint": None}}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
