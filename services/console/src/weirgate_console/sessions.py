"""Ending a session: recorded first, then told to its ingress until the log says it is closed."""

import asyncio

from weirgate_bus.port import Bus, BusError
from weirgate_chassis.clock import now
from weirgate_chassis.ids import new_id
from weirgate_console.problem import Answer, log_away
from weirgate_contracts.events import SessionKilled
from weirgate_contracts.subjects import AUDIT_STREAM, STORED_PREFIX

TELL_AGAIN_S = 0.5
"""The telling is a core message that may be lost, so it is repeated."""


async def kill(
    bus: Bus, ingress: str, session: str, *, by: str, reason: str | None, deadline_s: float = 5.0
) -> bool:
    """End a session; say whether the log has it closed within the deadline.

    Raises:
        Answer: 404, there is no such session; 409, it is closed already; 503.
    """
    opened = f"audit.session.opened.{ingress}.{session}"
    closed = f"audit.session.closed.{ingress}.{session}"
    over = asyncio.Event()
    hearing = await bus.subscribe(STORED_PREFIX + closed, lambda _: over.set())
    try:
        seen = [each.subject async for each in bus.read(AUDIT_STREAM, subjects=(opened, closed))]
        if not seen:
            message = f"There is no session {session} at ingress {ingress}."
            raise Answer(404, "not_found", message, "List them: weirgate sessions list.")
        if closed in seen:
            raise Answer(409, "already_closed", f"Session {session} is closed already.")
        event = SessionKilled(ingress=ingress, session=session, by=by, reason=reason)
        event = event.stamped(id=new_id(), at=now())
        await bus.publish(event.subject, event.encoded(), id=event.id)
        try:
            async with asyncio.timeout(deadline_s):
                while not over.is_set():
                    bus.tell(f"control.session.kill.{ingress}.{session}", event.encoded())
                    await _wait(over)
        except TimeoutError:
            return False
        return True
    except BusError as error:
        raise log_away() from error
    finally:
        await hearing.stop()


async def _wait(over: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(TELL_AGAIN_S):
            await over.wait()
    except TimeoutError:
        return
