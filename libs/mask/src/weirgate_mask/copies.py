"""``COPY … TO STDOUT``, masked: a stream of rows cut anywhere, in text, CSV or binary.

Only whole rows are let through, so a value cut in two is never seen by halves. What is not a row of the
planned number of columns gives PeerError.

Source: PostgreSQL manual, "COPY", "File Formats".
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping

from weirgate_contracts.masking import CopyOptions
from weirgate_mask.cell import CellMasker
from weirgate_mask.copybinary import BinaryRows
from weirgate_mask.detectors import Detectors
from weirgate_wire.error import PeerError

ROW_LIMIT_BYTES = 256 * 1024 * 1024
"""Longest row that is waited for."""
_MEMO_ENTRIES = 8192
_MEMO_ENTRY_BYTES = 256
_PLAIN_DELIMITERS = frozenset(("\t", ",", ";", "|"))
"""Delimiters that stand in nothing a detector looks for, so that escaping them hides nothing from the
scan."""

_ESCAPES = {0x62: b"\b", 0x66: b"\f", 0x6E: b"\n", 0x72: b"\r", 0x74: b"\t", 0x76: b"\v"}
_ESCAPED = {b"\b": b"\\b", b"\f": b"\\f", b"\n": b"\\n", b"\r": b"\\r", b"\t": b"\\t", b"\v": b"\\v"}
_SEQUENCE = re.compile(rb"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_NEWLINE = 0x0A


class FieldMemo(dict[bytes, bytes]):
    """Fields as they are written to the masked ones; bounded."""

    __slots__ = ("_mask",)

    def __init__(self, mask: Callable[[bytes], bytes]) -> None:
        super().__init__()
        self._mask = mask

    def __missing__(self, field: bytes) -> bytes:
        made = self._mask(field)
        if len(field) <= _MEMO_ENTRY_BYTES:
            if len(self) >= _MEMO_ENTRIES:
                self.clear()
            self[field] = made
        return made


class _TextRows:
    """The text format: a backslash escapes; a newline ends a row, always."""

    def __init__(self, options: CopyOptions) -> None:
        self.delimiter = options.delimiter.encode()
        self._null = options.null.encode()
        self._escaped_delimiter = b"\\" + self.delimiter
        self._fields = re.compile(rb"((?:[^\\" + re.escape(self.delimiter) + rb"]|\\.)*)", re.DOTALL)
        special = b"".join(_ESCAPED) + b"\\" + self.delimiter
        self._special = re.compile(b"[" + re.escape(special) + b"]")

    def cut(self, buffer: bytes, at: int) -> tuple[int, int]:
        """Return where the last whole row ends, and from where to go on looking."""
        return buffer.rfind(b"\n", at) + 1, len(buffer)

    def rows(self, region: bytes) -> list[bytes]:
        return region[:-1].split(b"\n")

    def split(self, row: bytes) -> list[bytes]:
        if self._escaped_delimiter not in row:
            return row.split(self.delimiter)
        fields: list[bytes] = []
        at = 0
        while True:
            match = self._fields.match(row, at)
            if match is None or (
                match.end() < len(row) and row[match.end() : match.end() + 1] != self.delimiter
            ):
                raise PeerError("a row of COPY that cannot be read")
            fields.append(match.group())
            at = match.end() + 1
            if at > len(row):
                return fields

    def is_null(self, field: bytes) -> bool:
        return field == self._null

    def read(self, field: bytes) -> bytes:
        return _SEQUENCE.sub(_unescaped, field) if b"\\" in field else field

    def write(self, value: bytes | None) -> bytes:
        if value is None:
            return self._null
        written = self._special.sub(_escaped, value)
        # A value that reads as NULL would be one.
        return written if written != self._null else b"\\" + written


def _unescaped(match: "re.Match[bytes]") -> bytes:
    code = match.group(1)
    if code[:1] == b"x" and len(code) > 1:
        return bytes((int(code[1:], 16),))
    if code[0] in b"01234567":
        return bytes((int(code, 8) & 0xFF,))
    return _ESCAPES.get(code[0], code)


def _escaped(match: "re.Match[bytes]") -> bytes:
    return _ESCAPED.get(match.group(), b"\\" + match.group())


class _CsvRows:
    """CSV: a quoted field may hold newlines, delimiters and escaped quotes."""

    def __init__(self, options: CopyOptions) -> None:
        self.delimiter = options.delimiter.encode()
        self._null = options.null.encode()
        self._quote = options.quote.encode()
        self._escape = options.escape.encode()
        quote, escape, delimiter = (re.escape(one) for one in (self._quote, self._escape, self.delimiter))
        if quote == escape:
            inside = rb"(?:[^" + quote + rb"]|" + quote + quote + rb")*"
            self._mark = re.compile(quote + rb"|\n")
        else:
            inside = (
                rb"(?:[^" + quote + escape + rb"]|" + escape + rb"(?:[" + quote + escape + rb"]|(?=[^" + quote
            )
            inside += escape + rb"])))*"
            self._mark = re.compile(escape + rb"(?:[" + quote + escape + rb"]|\Z)|" + quote + rb"|\n")
        self._fields = re.compile(quote + inside + quote + rb"|[^" + quote + delimiter + rb"\n]*")
        self._unescape = re.compile(escape + rb"([" + quote + escape + rb"])")
        self._special = re.compile(b"[" + quote + escape + b"]")
        self._needs_quote = re.compile(b"[" + quote + escape + delimiter + rb"\r\n]")
        self._inside = False

    def cut(self, buffer: bytes, at: int) -> tuple[int, int]:
        """Return where the last whole row ends, and from where to go on looking."""
        end = 0
        for mark in self._mark.finditer(buffer, at):
            found = mark.group()
            if found == b"\n":
                if not self._inside:
                    end = mark.end()
            elif found == self._quote:
                self._inside = not self._inside
            elif len(found) == 1 and self._inside:
                return end, mark.start()  # an escape whose other half has not come yet
            elif not self._inside:
                # Outside of quotes an escape means nothing; what it took along may be a quote that opens.
                self._inside = found[1:] == self._quote
        return end, len(buffer)

    def rows(self, region: bytes) -> list[bytes]:
        if self._quote not in region:
            return region[:-1].split(b"\n")
        rows: list[bytes] = []
        start = at = 0
        while at < len(region):
            at = self._field_end(region, at)
            if region[at] == _NEWLINE:
                rows.append(region[start:at])
                start = at + 1
            at += 1
        return rows

    def split(self, row: bytes) -> list[bytes]:
        if self._quote not in row:
            return row.split(self.delimiter)
        fields: list[bytes] = []
        at = 0
        while True:
            end = self._field_end(row + b"\n", at)
            fields.append(row[at:end])
            at = end + 1
            if at > len(row):
                return fields

    def _field_end(self, text: bytes, at: int) -> int:
        match = self._fields.match(text, at)
        end = match.end() if match else at
        if match is None or end >= len(text) or text[end : end + 1] not in (self.delimiter, b"\n"):
            raise PeerError("a row of COPY that cannot be read")
        return end

    def is_null(self, field: bytes) -> bool:
        return field == self._null

    def read(self, field: bytes) -> bytes:
        if field[:1] != self._quote:
            return field
        return self._unescape.sub(rb"\1", field[1:-1])

    def write(self, value: bytes | None) -> bytes:
        if value is None:
            return self._null
        if value and value != self._null and not self._needs_quote.search(value):
            return value
        return self._quote + self._special.sub(self._prefixed, value) + self._quote

    def _prefixed(self, match: "re.Match[bytes]") -> bytes:
        return self._escape + match.group()


class WrittenRows:
    """Masks rows that are written as text or CSV."""

    def __init__(
        self,
        options: CopyOptions,
        columns: int,
        whole: Mapping[int, CellMasker],
        found: Mapping[int, CellMasker],
        detectors: Detectors | None,
        unscanned: frozenset[int] = frozenset(),
    ) -> None:
        self.cells_masked = 0
        self._format = _CsvRows(options) if options.format == "csv" else _TextRows(options)
        self._columns = columns
        self._whole = [(column, FieldMemo(self._rewritten(mask))) for column, mask in whole.items()]
        self._found = [(column, FieldMemo(self._rewritten(mask))) for column, mask in found.items()]
        self._detectors = detectors
        self._unscanned = unscanned
        plain = options.delimiter in _PLAIN_DELIMITERS
        if options.format == "csv":
            plain = plain and options.quote == '"' and options.escape in ('"', "\\")
        self._scans = plain
        self._header = options.header
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._looked = 0

    def _rewritten(self, mask: CellMasker) -> Callable[[bytes], bytes]:
        form = self._format

        def rewrite(field: bytes) -> bytes:
            value = form.read(field)
            masked = mask(value)
            return field if masked == value else form.write(masked)

        return rewrite

    def feed(self, data: bytes) -> bytes:
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes > ROW_LIMIT_BYTES:
            raise PeerError("a row of COPY is over the limit")
        if b"\n" not in data:
            return b""
        buffer = b"".join(self._waiting)
        end, self._looked = self._format.cut(buffer, self._looked)
        self._waiting = [buffer[end:]]
        self._waiting_bytes = len(buffer) - end
        self._looked -= end
        return self._masked(buffer[:end]) if end else b""

    def finish(self) -> bytes:
        if self._waiting_bytes:
            raise PeerError("COPY ends inside a row")
        return b""

    def _masked(self, region: bytes) -> bytes:
        form = self._format
        rows = form.rows(region)
        header: list[bytes] = []
        if self._header:
            self._header = False
            header = [rows.pop(0)]
        looked = self._hit(rows)
        if not self._whole and not looked and not self._unscanned:
            return region
        for number in range(len(rows)) if self._whole or self._unscanned else sorted(looked):
            fields = form.split(rows[number])
            if len(fields) != self._columns:
                raise PeerError(f"not a row of {self._columns} columns")
            for column, memo in self._whole:
                field = fields[column]
                if not form.is_null(field):
                    fields[column] = memo[field]
                    self.cells_masked += 1
            if number in looked or self._unscanned:
                for column, memo in self._found:
                    field = fields[column]
                    if number not in looked and column not in self._unscanned:
                        continue
                    if not form.is_null(field) and (masked := memo[field]) != field:
                        fields[column] = masked
                        self.cells_masked += 1
            rows[number] = form.delimiter.join(fields)
        return b"\n".join(header + rows) + b"\n"

    def _hit(self, rows: list[bytes]) -> frozenset[int]:
        if not self._found or self._detectors is None:
            return frozenset()
        everything = frozenset(range(len(rows)))
        if not self._scans:
            return everything
        hits = self._detectors.scan(b"\n".join(rows))
        if hits is None:
            return everything
        if not hits:
            return frozenset()
        starts: list[int] = []
        at = 0
        for row in rows:
            starts.append(at)
            at += len(row) + 1
        return frozenset(bisect_right(starts, hit - 1) - 1 for hit in hits)


class CopyMasker:
    """Masks the payloads of CopyData messages."""

    def __init__(self, rows: WrittenRows | BinaryRows) -> None:
        self._rows = rows

    @property
    def cells_masked(self) -> int:
        """Cells that were replaced so far."""
        return self._rows.cells_masked

    def feed(self, data: bytes) -> bytes:
        """Take the payload of some CopyData, cut anywhere, and return what may go on (whole rows; often
        nothing).

        Raises:
            PeerError: no rows of the planned kind.
        """
        return self._rows.feed(data)

    def finish(self) -> bytes:
        """Take the end of the stream and return what is left.

        Raises:
            PeerError: the stream ends inside a row.
        """
        return self._rows.finish()
