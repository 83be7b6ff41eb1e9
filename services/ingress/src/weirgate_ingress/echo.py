"""Keeps an upstream from handing its own credential on: an answer that holds it goes no further.

Upstreams that echo requests (a debug page, an error with the request in it, a redirect that carries its query) would
otherwise show agents what the gateway injects. What is compressed is not seen into; neither is what an upstream writes
in another form than those it was given.
"""

import base64
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import quote, quote_plus

from weirgate_contracts.refusal import Refusal, RefusalCode
from weirgate_ingress.upstreams import Sink

_ECHOED: Final = Refusal(
    code=RefusalCode.CREDENTIAL_ECHOED,
    reason="The upstream's answer holds the credential the gateway sent it, so the rest of it is not passed on.",
    hint="The request may have had its effect. What repeats requests (a debug page) should not be registered.",
)
LEAST_BYTES = 8
"""Shorter credentials would be found where nobody put them."""


class CredentialEchoed(Exception):
    """The upstream's answer holds the credential."""


@lru_cache(maxsize=1024)
def forms_of(credential: str) -> tuple[bytes, ...]:
    """Return how a credential may stand in an answer: as it is, in a URL, in base64, in JSON.

    Args:
        credential: the secret itself; of ``user:password`` the password alone counts, too.
    """
    parts = {credential}
    _, colon, password = credential.partition(":")
    if colon:
        parts.add(password)
    found: dict[bytes, None] = {}
    for part in sorted(part for part in parts if len(part.encode()) >= LEAST_BYTES):
        forms = (
            part.encode(),
            quote(part, safe="").encode(),
            quote_plus(part).encode(),
            base64.b64encode(part.encode()),
            part.replace("\\", "\\\\").replace('"', '\\"').replace("/", "\\/").encode(),
        )
        found |= dict.fromkeys(forms)
    return tuple(found)


class EchoGuard:
    """Looks through one upstream connection's bytes, however they are cut.

    Held back is only what can hardly be anything but the beginning of a credential (``LEAST_BYTES`` of it), for nobody
    knows here where an answer ends: what is held back until more comes must not be the end of one.
    """

    __slots__ = ("_forms", "_held", "_passed")

    def __init__(self, forms: Iterable[bytes] = ()) -> None:
        self._forms = tuple(forms)
        self._held = b""
        self._passed = b""
        """The last that was let go: a credential may have begun in it."""

    def expect(self, forms: Iterable[bytes]) -> None:
        """Look for these from now on, and for those before no more."""
        self._forms = tuple(forms)

    def feed(self, data: bytes) -> bytes:
        """Take bytes, return those that can be let go.

        Raises:
            CredentialEchoed: the credential is among them.
        """
        if not self._forms:
            return data
        new = self._held + data
        seen = self._passed + new
        if any(form in seen for form in self._forms):
            self._held = b""
            raise CredentialEchoed
        begun = max(_begun(seen, form) for form in self._forms)
        kept = min(begun, len(new)) if begun >= LEAST_BYTES else 0
        out, self._held = new[: len(new) - kept], new[len(new) - kept :]
        before = seen[: len(seen) - kept]
        self._passed = before[-max(len(form) for form in self._forms) :]
        return out

    def finish(self) -> bytes:
        """Return what was held back: nothing more comes."""
        held, self._held = self._held, b""
        return held


def _begun(data: bytes, form: bytes) -> int:
    """Return how many of the last bytes are how the form begins."""
    at = data.find(form[0], max(0, len(data) - len(form) + 1))
    while at >= 0:
        if form.startswith(data[at:]):
            return len(data) - at
        at = data.find(form[0], at + 1)
    return 0


class Echoes:
    """Stands before the sink of a session, and refuses the rest of an answer that holds the credential.

    Args:
        sink: takes what may pass.
        guard: looks for the credential.
        refuse: told why the rest does not pass; absent: the upstream counts as lost.
    """

    __slots__ = ("_guard", "_refuse", "_refused", "_sink")

    def __init__(self, sink: Sink, guard: EchoGuard, refuse: Callable[[Refusal], None] | None) -> None:
        self._sink = sink
        self._guard = guard
        self._refuse = refuse
        self._refused = False

    def upstream_sent(self, data: bytes) -> None:
        """Pass on what does not hold it."""
        if self._refused:
            return
        try:
            passed = self._guard.feed(data)
        except CredentialEchoed:
            self._refused = True
            if self._refuse is None:
                self._sink.upstream_lost()
            else:
                self._refuse(_ECHOED)
            return
        if passed:
            self._sink.upstream_sent(passed)

    def upstream_lost(self) -> None:
        """Nothing more comes, so what was held back is no credential."""
        if self._refused:
            return
        held = self._guard.finish()
        if held:
            self._sink.upstream_sent(held)
        self._sink.upstream_lost()

    def upstream_full(self) -> None:
        """The upstream reads slowly."""
        self._sink.upstream_full()

    def upstream_drained(self) -> None:
        """The upstream has caught up."""
        self._sink.upstream_drained()
