"""Keeps an upstream from handing its own credential on: an answer that holds it goes no further.

Upstreams that echo requests (a debug page, an error with the request in it, a redirect that carries its query) would
otherwise show agents what the gateway injects. What is compressed is not seen into; neither is what an upstream writes
in another form than those it was given.
"""

import base64
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

LEAST_BYTES = 8
"""Shorter credentials would be found where nobody put them."""


class CredentialEchoed(Exception):
    """The upstream's answer holds the credential."""


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

    At most a credential's length is held back, and only where what came last could be the beginning of one.
    """

    def __init__(self, forms: Iterable[bytes]) -> None:
        self._forms = tuple(forms)
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Take bytes, return those that can be let go.

        Raises:
            CredentialEchoed: the credential is among them.
        """
        if not self._forms:
            return data
        if self._held:
            data = self._held + data
        if any(form in data for form in self._forms):
            self._held = b""
            raise CredentialEchoed
        kept = max((_begun(data, form) for form in self._forms), default=0)
        self._held = data[len(data) - kept :]
        return data[: len(data) - kept] if kept else data

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
