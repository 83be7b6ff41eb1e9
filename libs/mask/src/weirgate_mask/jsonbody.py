"""JSON, masked as it streams: bytes in, cut anywhere, bytes out, at most one value held back.

====================  ==========================  ==========================================================
State                 What may come               Where it leads
====================  ==========================  ==========================================================
``_value``            a value                     scalar: ``_after``; ``{``: ``_first_key``; ``[``: ``_first_item``
``_first_item``       a value or ``]``            as ``_value``, or ``_after``
``_first_key``        a key or ``}``              ``_colon``, or ``_after``
``_key``              a key                       ``_colon``
``_colon``            ``:``                       ``_value``
``_after``            ``,`` or what closes        ``_key``, ``_value`` or ``_after``; outermost: ``_ended``
``_ended``            space; of many documents    ``_value``, after a newline or RS
                      a newline, too
``_passing``          the rest of a long string   ``_after``
====================  ==========================  ==========================================================

Invariants: bytes that no mask replaces come out as they went in. A value is let through only once its last
byte was there, but for strings over 64 KiB that nobody needs to look into. Each state is a method that takes
what it can and says whether it got further; what is cut off waits for more. Whatever two readers could read
differently (a key twice, a lone surrogate, bytes behind the end) is PeerError.

Detectors scan a piece once; only strings that were hit, and strings with escapes, are looked at by
themselves. Objects that are built alike are read by one expression, see :mod:`weirgate_mask.jsonshape`.
"""

import re
from bisect import bisect_right
from collections.abc import Callable

from weirgate_mask import jsontoken as token
from weirgate_mask.fields import Node
from weirgate_mask.found import Found
from weirgate_mask.jsonshape import SHAPES_LIMIT, Shape, learn
from weirgate_mask.jsonstream import TOO_LONG, VALUE_LIMIT_BYTES, JsonStream
from weirgate_wire.error import PeerError

DEPTH_LIMIT = 512
KEYS_LIMIT_BYTES = 32 << 20
"""Keys of all open objects together, which are kept to see that none comes twice."""
_KEY_BYTES = 64
"""What a key in a set costs besides itself, about."""
_NUMBER_LIMIT_BYTES = 4096
_PASS_BYTES = 64 * 1024
_BOM = b"\xef\xbb\xbf"

Frame = tuple[bool, Node, set[bytes], int, int]
"""An open container: is it an object, its place, its keys, elements so far, where it began in the buffer."""


class JsonBody(JsonStream):
    """Masks one JSON document, or many."""

    def __init__(
        self,
        root: Node,
        found: Found | None,
        *,
        many: bool = False,
        take: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """Take what masks.

        Args:
            root: The place of a whole document among the field patterns.
            found: Detectors; ``None``: none.
            many: Documents, parted by newlines or by RS (RFC 7464), instead of one.
            take: Gets string tokens at places that are taken, in order, and gives tokens for them.
        """
        super().__init__(found)
        self._root = root
        self._many = many
        self._take = take
        self._stack: list[Frame] = []
        self._in_object = False
        self._place = root
        self._keys: set[bytes] = set()
        self._keys_bytes = 0
        self._count = 0
        self._began = -1
        self._next = root
        self._first = True

    # ------------------------------------------------------------ what the stream asks

    def _passes(self) -> bool:
        untouched = self._found is None and self._next.scalar is None and not self._next.taken
        return untouched and self._state == self._value and self._waiting_bytes > _PASS_BYTES

    def _may_end(self) -> bool:
        begun = self._stack or not (self._first or self._many)
        return self._state == self._ended or not (begun or self._state != self._value)

    def _let_go(self) -> None:
        self._began = -1
        self._stack = [(*frame[:4], -1) for frame in self._stack]

    # ------------------------------------------------------------ values

    def _value(self) -> bool:
        buffer = self._buffer
        if self._next.shapes and buffer[self._at] == token.OPEN_OBJECT and not self._all_hit:
            shaped = self._shaped()
            if shaped:
                return True
        scalar = token.SCALAR.match(buffer, self._at)
        if scalar is not None:
            start, end = scalar.span(1)
            self._scalar(start, end)
            if not self._stack:
                self._at = end
                return self._close_value()
            self._at = scalar.end()
            self._marked(scalar.start(2))
            return True
        if not self._skip_space():
            return False
        match buffer[self._at]:
            case token.OPEN_OBJECT:
                self._open(True)
                self._state = self._first_key
            case token.OPEN_ARRAY:
                self._open(False)
                self._state = self._first_item
            case token.QUOTE:
                return self._lone_string()
            case _:
                return self._lone_scalar()
        return True

    def _open(self, is_object: bool) -> None:
        if len(self._stack) >= DEPTH_LIMIT:
            raise PeerError(f"JSON more than {DEPTH_LIMIT} levels deep")
        self._first = False
        self._stack.append((self._in_object, self._place, self._keys, self._count, self._began))
        self._in_object = is_object
        self._place = self._next
        self._keys = set()
        self._count = 0
        self._began = self._at
        self._at += 1
        if not is_object:
            self._next = self._place[b"0"] if self._place.by_index else self._place.other

    def _scalar(self, start: int, end: int) -> None:
        place = self._next
        buffer = self._buffer
        if place.scalar is not None:
            raw = buffer[start:end]
            if raw != token.NULL:
                self._check_value(raw)
                self._put(start, end, place.scalar(raw))
                self.cells_masked += 1
            return
        if place.taken and self._take is not None and buffer[start] == token.QUOTE:
            self._put(start, end, self._take(buffer[start:end]))
            return
        if self._found is None:
            return
        raw = buffer[start:end]
        # A long number may be a card written with an exponent, an escape may hide anything: no scan sees it.
        hides = token.HIDING.search(raw) if raw[0] == token.QUOTE else len(raw) > 12
        if hides or self._was_hit(start, end):
            self._check_value(raw)
            masked = self._found.token(raw)
            if masked != raw:
                self._put(start, end, masked)
                self.cells_masked += 1

    def _check_value(self, raw: bytes) -> None:
        if len(raw) > VALUE_LIMIT_BYTES:
            raise PeerError(TOO_LONG)

    def _close_value(self) -> bool:
        self._first = False
        self._state = self._after if self._stack else self._ended
        return True

    def _lone_string(self) -> bool:
        whole = token.KEY.match(self._buffer, self._at)
        if whole is not None:
            self._scalar(self._at, whole.end())
            self._at = whole.end()
            return self._close_value()
        self._wait_for_string()
        self._waiting_bytes = len(self._buffer) - self._at
        if self._passes():
            self._string_open = False
            self._at += 1
            self._state = self._passing
            return True
        return False

    def _passing(self) -> bool:
        inside = token.STRING_INSIDE.match(self._buffer, self._at)
        if inside is not None:
            self._at = inside.end()
        rest = self._buffer[self._at : self._at + 12]
        if rest[:1] == b'"':
            self._at += 1
            return self._close_value()
        # The longest escape, a surrogate pair, has 12 bytes.
        if rest and (rest[:1] != b"\\" or len(rest) == 12):
            raise PeerError("a string that is not JSON")
        return False

    def _lone_scalar(self) -> bool:
        buffer, at = self._buffer, self._at
        if self._first and _BOM.startswith(buffer[at : at + 3]):
            if len(buffer) - at < len(_BOM):
                return False
            self._first = False
            self._at += 3
            return True
        if self._many and not self._stack and buffer[at] == 0x1E:
            self._at += 1
            return True
        whole = token.WHOLE_SCALAR.match(buffer, at)
        run = token.NUMBER_RUN.match(buffer, at)
        end = run.end() if run else at
        if whole is not None and (end <= whole.end() < len(buffer) or self._last):
            self._scalar(at, whole.end())
            self._at = whole.end()
            return self._close_value()
        rest = buffer[at : at + 6]
        cut = end == len(buffer) or any(word.startswith(rest) for word in (b"true", b"false", b"null"))
        if self._last or not cut or len(buffer) - at > _NUMBER_LIMIT_BYTES:
            raise PeerError("a value that is not JSON")
        return False

    # ------------------------------------------------------------ containers

    def _first_item(self) -> bool:
        if not self._skip_space():
            return False
        if self._buffer[self._at] == token.CLOSE_ARRAY:
            self._at += 1
            self._close()
            return True
        self._state = self._value
        return True

    def _first_key(self) -> bool:
        if not self._skip_space():
            return False
        if self._buffer[self._at] == token.CLOSE_OBJECT:
            self._at += 1
            self._close()
            return True
        return self._key()

    def _key(self) -> bool:
        if not self._all_hit and self._pairs():
            return True
        member = token.MEMBER.match(self._buffer, self._at)
        if member is not None:
            self._name(*member.span(1))
            self._at = member.end()
            self._state = self._value
            return True
        if not self._skip_space():
            return False
        if self._buffer[self._at] != token.QUOTE:
            raise PeerError("an object without a key")
        whole = token.KEY.match(self._buffer, self._at)
        if whole is None:
            self._wait_for_string()
            return False
        self._name(*whole.span())
        self._at = whole.end()
        self._state = self._colon
        return True

    def _pairs(self) -> bool:
        """Take keys with scalars, one look each; say whether the object was closed."""
        buffer, hits, at, keys, place = self._buffer, self._hits, self._at, self._keys, self._place
        hit = bisect_right(hits, at)
        while True:
            pair = token.PAIR.match(buffer, at)
            if pair is None:
                break
            _, (start, end), (first, last), (mark, _) = pair.regs
            key = buffer[start + 1 : end - 1]
            while hits[hit] <= start:
                hit += 1
            if hits[hit] <= end or b"\\" in key:
                break
            if key in keys:
                raise PeerError("an object has a key twice")
            keys.add(key)
            self._keys_bytes += len(key) + _KEY_BYTES
            if self._keys_bytes > KEYS_LIMIT_BYTES:
                raise PeerError("objects with too many keys")
            self._next = node = place[key]
            while hits[hit] <= first:
                hit += 1
            long_number = last - first > 12 and buffer[first] != token.QUOTE
            special = node.scalar is not None or node.taken or hits[hit] <= last or long_number
            if special or buffer.find(b"\\", first, last) >= 0:
                self._scalar(first, last)
            at = pair.end()
            if buffer[mark] == token.CLOSE_OBJECT:
                self._marked(mark)
                return True
            self._at = at
            self._state = self._key
        return False

    def _name(self, start: int, end: int) -> None:
        raw = self._buffer[start + 1 : end - 1]
        escaped = b"\\" in raw
        key = token.read_string(self._buffer[start:end]).encode() if escaped else raw
        if key in self._keys:
            raise PeerError("an object has a key twice")
        self._keys.add(key)
        self._keys_bytes += len(key) + _KEY_BYTES
        if self._keys_bytes > KEYS_LIMIT_BYTES:
            raise PeerError("objects with too many keys")
        self._next = self._place[key]
        if self._found is None or not (self._was_hit(start, end) or escaped):
            return
        self._check_value(raw)
        masked = self._found.key(key)
        if masked is not None:
            self._count += 1
            # Two keys may be masked alike, and a key must not stand there twice.
            text = masked if self._count == 1 else f"{masked}#{self._count}"
            self._put(start, end, token.write_string(text))
            self.cells_masked += 1

    def _colon(self) -> bool:
        if not self._skip_space():
            return False
        if self._buffer[self._at] != token.COLON:
            raise PeerError("a key without a value")
        self._at += 1
        self._state = self._value
        return True

    def _after(self) -> bool:
        if not self._skip_space():
            return False
        mark = token.MARK.match(self._buffer, self._at)
        if mark is None:
            raise PeerError("two values with nothing between them")
        self._at = mark.end()
        self._marked(mark.start())
        return True

    def _marked(self, at: int) -> None:
        mark = self._buffer[at]
        if mark == token.COMMA:
            if self._in_object:
                self._state = self._key
            else:
                self._count += 1
                if self._place.by_index:
                    self._next = self._place[b"%d" % self._count]
                self._state = self._value
        elif (mark == token.CLOSE_OBJECT) == self._in_object:
            # The space behind may be what parts two documents.
            self._at = at + 1
            self._close()
        else:
            raise PeerError("an array or object that is closed by the other's bracket")

    def _close(self) -> None:
        if self._in_object:
            self._keys_bytes -= sum(map(len, self._keys)) + _KEY_BYTES * len(self._keys)
            self._learn(self._place)
        self._in_object, self._place, self._keys, self._count, self._began = self._stack.pop()
        if self._stack and not self._in_object and not self._place.by_index:
            self._next = self._place.other
        self._close_value()

    def _learn(self, place: Node) -> None:
        place.read += 1
        # The 4th, 8th, 16th … that had to be read step by step: what does not help is soon not tried any more.
        if place.read < 4 or place.read & (place.read - 1) or len(place.shapes) >= SHAPES_LIMIT:
            return
        if self._began >= 0:
            shape = learn(self._buffer[self._began : self._at], place, self._found)
            if shape is not None:
                place.shapes.append(shape)

    def _ended(self) -> bool:
        if self._many:
            start = self._at
            self._skip_space()
            parted = self._buffer[start : self._at + 1]
            if b"\n" in parted or b"\x1e" in parted:
                self._next = self._root
                self._state = self._value
                return True
            return False if self._at == len(self._buffer) else self._trailing()
        return self._trailing() if self._skip_space() else False

    def _trailing(self) -> bool:
        raise PeerError("something follows the end of a JSON document")

    # ------------------------------------------------------------ objects built alike

    def _shaped(self) -> bool:
        """Take an object of a known shape, and in an array all that follow it."""
        buffer, hits, at, copied = self._buffer, self._hits, self._at, self._copied
        put, found, shapes = self._out.append, self._found, self._next.shapes
        room = DEPTH_LIMIT - len(self._stack)
        run = bool(self._stack) and not self._in_object and not self._place.by_index
        # A run of nothing is no progress: the object is then read step by step.
        began, more, hit = at, True, bisect_right(hits, at)
        while more:
            shape = shapes[0]
            fits = shape.match(buffer, at) if shape.depth <= room else None
            if fits is None:
                shape, fits = self._fitting(at)
                if shape is None or fits is None:
                    break
            regs = fits.regs
            end = regs[1][1]
            while hits[hit] <= at:
                hit += 1
            groups = shape.masked if hits[hit] > end else shape.groups
            if shape.arrays and hits[hit] <= end and any(self._was_hit(*regs[one]) for one in shape.arrays):
                break
            for group, scalar in groups:
                start, stop = regs[group]
                if scalar is not None:
                    raw = buffer[start:stop]
                    if raw == token.NULL:
                        continue
                    masked = scalar(raw)
                else:
                    while hits[hit] <= start:
                        hit += 1
                    if hits[hit] > stop or found is None:
                        continue
                    raw = buffer[start:stop]
                    if raw[0] != token.QUOTE and 0 <= raw.find(b".") <= 12:
                        continue  # too few digits before the point for a card
                    masked = found.token(raw)
                    if masked == raw:
                        continue
                put(buffer[copied:start])
                put(masked)
                copied = stop
                self.cells_masked += 1
            more = run and fits.lastindex == shape.last
            at = fits.end() if more else end
        self._at, self._copied = at, copied
        return at != began if more else self._close_value()

    def _fitting(self, at: int) -> tuple[Shape | None, re.Match[bytes] | None]:
        shapes = self._next.shapes
        for number, shape in enumerate(shapes):
            fits = shape.match(self._buffer, at)
            if fits is not None:
                if number:
                    shapes[number - 1], shapes[number] = shape, shapes[number - 1]
                return (shape, fits) if len(self._stack) + shape.depth <= DEPTH_LIMIT else (None, None)
        return None, None
