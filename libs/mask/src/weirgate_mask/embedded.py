"""JSON inside a string of JSON, masked: read out of the string, masked as a document of its own, written back.

==============================================  =======================================================
A string at such a place                        Becomes
==============================================  =======================================================
begins as a JSON object or array does, and is   the same JSON, its fields masked, detectors over the rest
begins so, and is not (cut off, a key twice)    a placeholder, the whole of it, where a field is hidden:
                                                what it might stand in is not let through unread
anything else                                   the text, detectors over it
==============================================  =======================================================

Bytes inside that no mask replaces stay as they are. Where nothing was replaced the string goes out as it came in.
A string within the string that holds JSON once more is text.
"""

from collections.abc import Sequence

from weirgate_contracts.masking import EmbeddedPlan, FieldPlan
from weirgate_mask.fields import field_tree
from weirgate_mask.found import Found
from weirgate_mask.jsonbody import JsonBody
from weirgate_mask.jsonstream import VALUE_LIMIT_BYTES
from weirgate_mask.jsontoken import read_string, write_string
from weirgate_mask.keys import Keyring
from weirgate_mask.sniff import is_json
from weirgate_mask.strictness import REDACT
from weirgate_mask.substitute import Substitute
from weirgate_wire.error import PeerError

_TOO_LONG = "a value of more than 1 MiB cannot be masked"


class Embedded:
    """Masks string tokens that may hold JSON. Fits ``take`` of :class:`JsonBody`."""

    def __init__(
        self, fields: Sequence[FieldPlan], unmask: frozenset[str], found: Found | None, keys: Keyring
    ) -> None:
        """Take what is masked inside.

        Raises:
            PlanMismatch: a pattern cannot be read.
        """
        hidden = sorted({label for field in fields for label in field.labels if label not in unmask})
        self._root = field_tree(fields, unmask, keys).root
        self._found = found
        self._whole = write_string(Substitute(hidden[0], REDACT, keys).token) if hidden else None
        self.cells_masked = 0

    def __call__(self, token: bytes) -> bytes:
        """Return the token that stands in place of one.

        Raises:
            PeerError: it is too long to be looked into.
        """
        if len(token) > VALUE_LIMIT_BYTES:
            raise PeerError(_TOO_LONG)
        text = read_string(token).encode()
        if not is_json(text):
            return self._text(token)
        body = JsonBody(self._root, self._found)
        try:
            masked = body.feed(text) + body.finish()
        except PeerError:
            if self._whole is None:
                return self._text(token)
            self.cells_masked += 1
            return self._whole
        self.cells_masked += body.cells_masked
        return token if masked == text else write_string(masked.decode())

    def _text(self, token: bytes) -> bytes:
        if self._found is None:
            return token
        masked = self._found.token(token)
        self.cells_masked += masked != token
        return masked


class EmbeddingBody:
    """A JSON body some of whose strings may hold JSON."""

    __slots__ = ("_body", "_embedded")

    def __init__(self, body: JsonBody, embedded: Embedded) -> None:
        self._body = body
        self._embedded = embedded

    @property
    def cells_masked(self) -> int:
        """Values replaced so far, those inside strings one by one."""
        return self._body.cells_masked + self._embedded.cells_masked

    def feed(self, piece: bytes) -> bytes:
        """See :class:`JsonBody`."""
        return self._body.feed(piece)

    def finish(self) -> bytes:
        """See :class:`JsonBody`."""
        return self._body.finish()


def embedded_of(
    plan: EmbeddedPlan | None, unmask: frozenset[str], found: Found | None, keys: Keyring
) -> Embedded | None:
    """Return what masks inside strings; ``None``: there is nothing to mask.

    Detectors alone are reason enough: JSON in a string is escaped twice, and an escape hides an address.
    """
    if plan is None or (found is None and all(unmask.issuperset(field.labels) for field in plan.fields)):
        return None
    return Embedded(plan.fields, unmask, found, keys)
