"""Server-sent events, masked: payloads as JSON or text, and a model's deltas across events.

An event is held back until the blank line that ends it. Its order, name and id stay. A payload that is a JSON
object or array is masked as JSON; another one as text, by itself. Of a delta (see
:mod:`weirgate_mask.delta`) the tail behind the last boundary (see :mod:`weirgate_mask.textbody`), at most
:data:`DELTA_HOLD_BYTES`, is held back: it goes out in front of the next delta of its place. Where none comes
any more (another place of the group goes on, the group ends, the stream ends) it goes out in an event of its
own: the last event of the place again, without its id, with nothing but the held text in its deltas.

Deltas of tool arguments are text here, JSON in pieces: detectors look at them, field patterns do not.
Deltas of plain text events (no JSON) are not put together.

Source: HTML Living Standard, "Server-sent events", "Parsing an event stream".
"""

import json
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from weirgate_contracts.masking import EmbeddedPlan, FieldPlan
from weirgate_mask.delta import PATTERNS, Delta, Path, deltas, ended_groups
from weirgate_mask.embedded import embedded_of
from weirgate_mask.fields import field_tree
from weirgate_mask.found import Found
from weirgate_mask.jsonbody import JsonBody
from weirgate_mask.jsontoken import read_string, write_string
from weirgate_mask.keys import Keyring
from weirgate_mask.sniff import is_json
from weirgate_mask.textbody import TextBody
from weirgate_wire.error import PeerError

EVENT_LIMIT_BYTES = 1 << 20
DELTA_HOLD_BYTES = 256
PLACES_LIMIT = 256
"""Growing texts of one stream at once."""
_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE = re.compile(rb"([^\r\n]*+)(\r\n|\n|\r|\Z)")
_DONE = b"[DONE]"
_BOM = b"\xef\xbb\xbf"
_KEPT_BYTES = 64 * 1024
"""Longest event that is kept to be said again; a longer one holds nothing back."""
_NO_WINDOW = TextBody(None)


@dataclass(slots=True, kw_only=True)
class _Place:
    """A growing text, and the last event that had some of it."""

    window: TextBody
    group: Hashable
    number: int = 0
    """Which of the deltas of that event is its."""
    payload: bytes = b""
    name: bytes = b""
    """Line that names the event, if there is one."""
    ending: bytes = b"\n"


class EventBody:
    """Masks an event stream."""

    def __init__(
        self,
        fields: Sequence[FieldPlan],
        unmask: frozenset[str],
        found: Found | None,
        keys: Keyring,
        embedded: EmbeddedPlan | None = None,
    ) -> None:
        """Take the plan's fields and detectors. A stream with JSON inside its strings has no deltas.

        Raises:
            PlanMismatch: a pattern cannot be read.
        """
        self._inside = embedded_of(embedded, unmask, found, keys)
        self._messages = embedded is not None
        """Each payload is a document by itself, and no growing text stands in it."""
        taken = PATTERNS if found is not None else ()
        if embedded is not None:
            taken = embedded.patterns if self._inside is not None else ()
        self._root = field_tree(fields, unmask, keys, taken).root
        self._hides = self._inside is not None or any(not unmask.issuperset(one.labels) for one in fields)
        self._found = found
        self._waiting = bytearray()
        self._looked = 0
        self._places: dict[Hashable, _Place] = {}
        self._gone = 0
        self._cells = 0

    @property
    def cells_masked(self) -> int:
        """Values replaced so far."""
        inside = self._inside.cells_masked if self._inside is not None else 0
        return (
            self._cells + self._gone + inside + sum(one.window.cells_masked for one in self._places.values())
        )

    def feed(self, piece: bytes) -> bytes:
        """Take some of the stream and return the events that may go on.

        Raises:
            PeerError: a payload that begins like JSON and is not while a field is hidden, an event of more
                than 1 MiB, a zero byte.
        """
        return self._events(piece, last=False)

    def finish(self) -> bytes:
        """Take the end and return what is left, each held text in an event of its own.

        Raises:
            PeerError: as ``feed``.
        """
        whole = self._events(b"", last=True)
        rest = self._event(bytes(self._waiting)) if self._waiting else b""
        self._waiting.clear()
        held = self._flush(list(self._places))
        if held and rest:
            # An event without its blank line never counts; with more to come it needs one.
            rest += b"\n" if rest.endswith((b"\n", b"\r")) else b"\n\n"
        return whole + rest + held

    def _events(self, piece: bytes, *, last: bool) -> bytes:
        stream = self._waiting
        stream += piece
        out: list[bytes] = []
        at = 0
        while True:
            end = _END.search(stream, max(at, self._looked))
            # A carriage return that comes last may be half of what ends a line.
            if end is None or (end.end() == len(stream) and stream.endswith(b"\r") and not last):
                break
            after = end.end()
            del end
            out.append(self._event(bytes(stream[at:after])))
            at = after
        del stream[:at]
        self._looked = max(0, len(stream) - 3)
        if len(stream) > EVENT_LIMIT_BYTES:
            raise PeerError("an event of more than 1 MiB cannot be masked")
        return b"".join(out)

    # ------------------------------------------------------------ one event

    def _event(self, block: bytes) -> bytes:
        if b"\0" in block:
            raise PeerError("text with a zero byte in it")
        data: list[bytes] = []
        out: list[bytes] = []
        named = ending = b""
        first = -1
        changed = False
        for line in _LINE.finditer(block):
            text, end = line.groups()
            ending = ending or end
            name, _, value = text.removeprefix(_BOM).partition(b":")
            if name == b"data":
                first = len(out) if first < 0 else first
                data.append(value.removeprefix(b" "))
                continue
            named = text if name == b"event" else named
            # Names, ids and times stay; comments and what else there may be is text.
            masked = text if name in (b"event", b"id", b"retry") else self._text(text)
            changed = changed or masked != text
            out.append(masked + end)
        before = b""
        if first >= 0:
            payload = b"\n".join(data)
            frame = _Place(window=_NO_WINDOW, group=None, name=named, ending=ending or b"\n")
            before, masked = self._payload(payload, frame)
            changed = changed or masked != payload
            out.insert(first, _data(masked, frame.ending))
        return before + (b"".join(out) if changed else block)

    def _text(self, text: bytes) -> bytes:
        if self._found is None or not text:
            return text
        masked, finds = self._found.text(text)
        self._cells += finds
        return masked

    def _payload(self, payload: bytes, frame: _Place) -> tuple[bytes, bytes]:
        """Return the events that must come first, and the payload masked."""
        if payload.strip() == _DONE:
            return self._flush(list(self._places)), payload
        if not is_json(payload):
            return b"", self._text(payload)
        if self._messages:
            return b"", self._message(payload)
        try:
            document: object = json.loads(payload.decode())
        except (ValueError, RecursionError) as error:
            if self._hides:
                raise PeerError("an event that begins like JSON and is not") from error
            return b"", self._text(payload)
        spoken = [delta for delta in deltas(document) if self._takes(delta.path)]
        ended = ended_groups(document)
        before = self._flush(self._passed_by(spoken, ended))
        said = [self._said(number, delta, ended, payload, frame) for number, delta in enumerate(spoken)]
        masked, cells = self._document(payload, said)
        self._cells += cells
        return before, masked

    def _message(self, payload: bytes) -> bytes:
        """Return a payload that is a document by itself, masked."""
        body = JsonBody(self._root, self._found, take=self._inside)
        masked = body.feed(payload) + body.finish()
        self._cells += body.cells_masked
        return masked

    def _document(self, payload: bytes, said: Sequence[str]) -> tuple[bytes, int]:
        replies = iter(said)

        def take(token: bytes) -> bytes:
            reply = next(replies, "")
            return token if read_string(token) == reply else write_string(reply)

        body = JsonBody(self._root, self._found, take=take)
        return body.feed(payload) + body.finish(), body.cells_masked

    # ------------------------------------------------------------ deltas

    def _takes(self, path: Path) -> bool:
        node = self._root
        for step in path:
            if isinstance(step, str):
                node = node[step.encode("utf-8", "surrogatepass")]
            else:
                node = node[b"%d" % step] if node.by_index else node.other
        return node.taken

    def _passed_by(self, spoken: list[Delta], ended: list[Hashable] | None) -> list[Hashable]:
        """Return the places that get nothing more, or nothing before another of their group does."""
        here = {delta.place for delta in spoken}
        speaking = {delta.group for delta in spoken if delta.text}
        return [
            key
            for key, place in self._places.items()
            if key not in here and (ended is None or place.group in ended or place.group in speaking)
        ]

    def _said(
        self, number: int, delta: Delta, ended: list[Hashable] | None, payload: bytes, frame: _Place
    ) -> str:
        """Return what of a place may be said with this event."""
        place = self._places.get(delta.place)
        if place is None:
            if not delta.text:
                return ""
            if len(self._places) >= PLACES_LIMIT:
                raise PeerError("an event stream with too many growing texts")
            window = TextBody(self._found, hold_bytes=DELTA_HOLD_BYTES)
            place = self._places[delta.place] = _Place(window=window, group=delta.group)
        place.number, place.payload, place.name, place.ending = number, payload, frame.name, frame.ending
        try:
            said = place.window.feed(delta.text.encode())
        except UnicodeEncodeError as error:
            raise PeerError("a string that is not JSON") from error
        if ended is None or delta.group in ended or len(payload) > _KEPT_BYTES:
            said += place.window.finish()
            self._drop(delta.place)
        return said.decode("utf-8", "replace")

    def _drop(self, key: Hashable) -> None:
        self._gone += self._places.pop(key).window.cells_masked

    def _flush(self, keys: Sequence[Hashable]) -> bytes:
        """Return what is held back of places, each in an event as the last of the place."""
        out: list[bytes] = []
        for key in keys:
            place = self._places[key]
            held = place.window.finish().decode("utf-8", "replace")
            self._drop(key)
            if held:
                payload, _ = self._document(place.payload, [""] * place.number + [held])
                name = place.name + place.ending if place.name else b""
                out.append(name + _data(payload, place.ending) + place.ending)
        return b"".join(out)


def _data(payload: bytes, ending: bytes) -> bytes:
    return b"".join([b"data: " + line + ending for line in payload.split(b"\n")])
