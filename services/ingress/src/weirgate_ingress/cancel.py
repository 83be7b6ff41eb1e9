"""Cancel keys: ours towards agents, mapped to the session they belong to."""

import hmac
import os
from collections.abc import Callable
from typing import Final

_DECOY: Final = os.urandom(32)


class CancelKeys:
    """Hands out cancel keys and finds whose one is.

    A key that is unknown and a secret that is wrong cost the same and get the same answer: none. Source:
    PostgreSQL manual, "Canceling Requests in Progress".
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[bytes, Callable[[], None]]] = {}

    def make(self, cancel: Callable[[], None], *, size_bytes: int) -> tuple[int, bytes]:
        """Return a new process id, and a secret of this size."""
        secret = os.urandom(size_bytes)
        while True:
            # Positive as a signed number, and never 0, which means "no key".
            process_id = int.from_bytes(os.urandom(4), "big") >> 1
            if process_id and process_id not in self._known:
                break
        self._known[process_id] = (secret, cancel)
        return process_id, secret

    def drop(self, process_id: int) -> None:
        """Forget a key: its session is over."""
        self._known.pop(process_id, None)

    def cancel(self, process_id: int, secret: bytes) -> None:
        """Cancel what the session with this key does; nothing tells whether there was one."""
        kept, cancel = self._known.get(process_id, (_DECOY, None))
        if hmac.compare_digest(kept, secret) and cancel is not None:
            cancel()
