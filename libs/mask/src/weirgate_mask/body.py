"""A plan, applied to one HTTP body: what ingress calls once it knows type and charset.

==============================================  =======================================================
Type                                            Masked by
==============================================  =======================================================
JSON, ``*+json``                                field patterns, detectors over every other string; inside
                                                strings that hold JSON where the plan names them
NDJSON, JSON Lines, ``application/json-seq``    the same, for each document
``text/csv``, forms                             fields by name (last step of a pattern), detectors
``text/event-stream``                           payloads that are JSON as JSON, others as text; deltas of a
                                                model's answer across events
other ``text/*``, XML, HTML, JavaScript         detectors; what begins like JSON, as JSON if a field is hidden
==============================================  =======================================================
"""

from collections.abc import Mapping
from typing import Protocol

from weirgate_contracts.masking import BodyPlan, Plan
from weirgate_mask.csvbody import CsvBody
from weirgate_mask.embedded import EmbeddingBody, embedded_of
from weirgate_mask.fields import field_tree
from weirgate_mask.formbody import FormBody
from weirgate_mask.found import Found, found_in
from weirgate_mask.jsonbody import JsonBody
from weirgate_mask.keys import Keyring
from weirgate_mask.mismatch import PlanMismatch
from weirgate_mask.sniff import SniffedBody
from weirgate_mask.sse import EventBody
from weirgate_mask.textbody import HOLD_LIMIT_BYTES, TextBody
from weirgate_mask.unreadable import BodyUnreadable

__all__ = ["HOLD_LIMIT_BYTES", "BodyMasker", "BodyUnreadable", "body_masker"]

_MANY = frozenset(
    ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines",
     "application/jsonlines", "application/json-seq")
)  # fmt: skip
_SCRIPTS = frozenset(("application/javascript", "application/ecmascript", "application/x-javascript"))
_UTF8 = frozenset(("", "utf-8", "utf8", "us-ascii", "ascii"))
_ONE_BYTE = frozenset(("iso-8859-1", "latin-1", "latin1", "iso-8859-15", "windows-1252"))
"""Charsets whose lower half is ASCII, one byte a character: detectors work on them as they are."""


class BodyMasker(Protocol):
    """Masks one body as it streams. Output may lag behind input, by at most :data:`HOLD_LIMIT_BYTES` and one
    value; once PeerError was raised nothing more may be let through."""

    @property
    def cells_masked(self) -> int:
        """Values replaced so far."""
        ...

    def feed(self, piece: bytes) -> bytes:
        """Take some bytes, cut anywhere, and return what may go on.

        Raises:
            PeerError: the body is not what its type says.
        """
        ...

    def finish(self) -> bytes:
        """Take the end of the body and return what is left.

        Raises:
            PeerError: the body is not what its type says.
        """
        ...


def body_masker(
    plan: Plan, unmask: frozenset[str], *, type: str, parameters: Mapping[str, str], keys: Keyring
) -> BodyMasker | None:
    """Return what masks a body; ``None``: there is nothing to mask in it.

    Args:
        plan: The plan of the operation.
        unmask: Labels the verdict lets this agent see in clear.
        type: Media type in lower case, without parameters; empty: none was given.
        parameters: Of the media type, with names in lower case.
        keys: The mask key.

    Raises:
        BodyUnreadable: nobody here reads this type or charset; ``plan.body.unread`` says what becomes of it.
        PlanMismatch: the plan is for no HTTP body, is impossible, or has a pattern that cannot be read.
        DetectorsUnusable: the detectors do not work.
    """
    if plan.impossible is not None:
        raise PlanMismatch(f"no plan can be made: {plan.impossible}")
    if plan.body is None:
        raise PlanMismatch("a body comes back, and the plan is not for one")
    found = found_in(plan, unmask, keys)
    if found is None and not _hides(plan.body, unmask):
        return None
    return _masker(plan.body, unmask, found, keys, type, parameters)


def _hides(body: BodyPlan, unmask: frozenset[str]) -> bool:
    fields = (*body.fields, *(body.embedded.fields if body.embedded is not None else ()))
    return any(not unmask.issuperset(field.labels) for field in fields)


def _masker(
    body: BodyPlan,
    unmask: frozenset[str],
    found: Found | None,
    keys: Keyring,
    type: str,
    parameters: Mapping[str, str],
) -> BodyMasker:
    charset = parameters.get("charset", "").strip("\"' ").lower()
    if charset not in _UTF8 and charset not in _ONE_BYTE:
        raise BodyUnreadable("a charset that cannot be read")
    json = type == "application/json" or type.endswith("+json") or type in _MANY
    if (json or type == "text/event-stream") and charset not in _UTF8:
        raise BodyUnreadable("JSON and event streams are UTF-8")
    if json:
        return _json_masker(body, unmask, found, keys, many=type in _MANY)
    if type == "text/event-stream":
        return EventBody(body.fields, unmask, found, keys, body.embedded)
    if type in ("text/csv", "application/csv", "application/x-www-form-urlencoded"):
        tree = field_tree(body.fields, unmask, keys)
        if type == "application/x-www-form-urlencoded":
            return FormBody(tree, found)
        if parameters.get("header", "").lower() == "absent" and _hides(body, unmask):
            raise BodyUnreadable("a table without a header, and columns to mask by name")
        return CsvBody(tree, found)
    markup = type in ("text/html", "application/xml", "text/xml") or type.endswith("+xml")
    if not markup and not type.startswith("text/") and type not in _SCRIPTS:
        raise BodyUnreadable("no media type" if not type else "a media type that cannot be read")
    text = TextBody(found, markup=markup)
    if not _hides(body, unmask):
        return text
    # A document of many values also reads as one.
    return SniffedBody(text, _json_masker(body, unmask, found, keys, many=True))


def _json_masker(
    body: BodyPlan, unmask: frozenset[str], found: Found | None, keys: Keyring, *, many: bool
) -> BodyMasker:
    inside = embedded_of(body.embedded, unmask, found, keys)
    taken = body.embedded.patterns if body.embedded is not None and inside is not None else ()
    tree = field_tree(body.fields, unmask, keys, taken)
    masker = JsonBody(tree.root, found, many=many, take=inside)
    return masker if inside is None else EmbeddingBody(masker, inside)
