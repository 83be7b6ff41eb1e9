"""CSV (RFC 4180), masked row by row: columns by name, detectors over every other cell.

A column is named by the *last* step of a field pattern, whatever stands before it: there is no nesting in a
table, and masking a column too many is the better mistake. Names are compared without regard to case and
outer space. A row that has not the columns of the first one is PeerError: nobody knows which cell is which.
"""

import re
from bisect import bisect_right
from collections.abc import Callable

from weirgate_mask.fields import FieldTree
from weirgate_mask.found import Found
from weirgate_mask.jsonscalar import Scalar
from weirgate_mask.values import read_text, write_text
from weirgate_wire.error import PeerError

ROW_LIMIT_BYTES = 1 << 20
_PIECES = 1024
_FIELD = re.compile(rb'"(?:[^"]|"")*+"|[^",]*+')
_MARK = re.compile(rb'["\n]')
_NEVER = 1 << 62
_BOM = b"\xef\xbb\xbf"


class CsvBody:
    """Masks a table."""

    def __init__(self, fields: FieldTree, found: Found | None) -> None:
        self.cells_masked = 0
        self._fields = fields.last_steps()
        self._found = found
        self._columns: list[Scalar | None] | None = None
        self._masked: list[int] = []
        self._inside = False
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def feed(self, piece: bytes) -> bytes:
        """Take some of the table and return the rows that may go on.

        Raises:
            PeerError: rows of different length, a quote in the middle of a cell, a row of more than 1 MiB, a
                zero byte.
        """
        if b"\0" in piece:
            raise PeerError("text with a zero byte in it")
        end = 0
        if b'"' not in piece:
            end = 0 if self._inside else piece.rfind(b"\n") + 1
        else:
            for mark in _MARK.finditer(piece):
                if mark.group() == b'"':
                    self._inside = not self._inside
                elif not self._inside:
                    end = mark.end()
        if not end:
            self._waiting.append(piece)
            if len(self._waiting) > _PIECES:
                self._waiting = [b"".join(self._waiting)]
            self._waiting_bytes += len(piece)
            if self._waiting_bytes > ROW_LIMIT_BYTES:
                raise PeerError("a row of more than 1 MiB cannot be masked")
            return b""
        whole = b"".join((*self._waiting, piece[:end]))
        self._waiting = [piece[end:]]
        self._waiting_bytes = len(piece) - end
        return self._rows(whole)

    def finish(self) -> bytes:
        """Take the end and return the last row, where no newline ended it.

        Raises:
            PeerError: the table ends within quotes.
        """
        if self._inside:
            raise PeerError("a table that ends within quotes")
        rest = b"".join(self._waiting)
        self._waiting = []
        return self._rows(rest) if rest else b""

    def _rows(self, region: bytes) -> bytes:
        found = self._found.scan(region) if self._found is not None else []
        if self._columns is not None and not self._masked and found == [] and b'""' not in region:
            return region
        hits = None if found is None else [*sorted(found), _NEVER]
        rows = region.split(b"\n") if b'"' not in region else _split_rows(region)
        at = 0
        for number, row in enumerate(rows):
            if row.strip(b"\r") not in (b"", _BOM):
                rows[number] = self._row(row, at, hits)
            at += len(row) + 1
        return b"\n".join(rows)

    def _row(self, row: bytes, at: int, hits: list[int] | None) -> bytes:
        ending = b"\r" if row.endswith(b"\r") else b""
        cells = _split(row[: len(row) - len(ending)])
        if b"\r" in row[:-1] and any(b"\r" in cell and cell[:1] != b'"' for cell in cells):
            raise PeerError("a carriage return in the middle of a row")
        header = self._columns is None
        columns = self._name(cells) if self._columns is None else self._columns
        if len(cells) != len(columns):
            raise PeerError(f"a row that has not {len(columns)} columns")
        changed = False
        hit = hits is None or hits[bisect_right(hits, at)] <= at + len(row) or b'""' in row
        for column in range(len(cells)) if hit else self._masked:
            cell, scalar = cells[column], columns[column]
            start, at = at, at + len(cell) + 1
            if scalar is not None and not header:
                made = _rewrite(cell, lambda cell, to=scalar: _substituted(cell, to)) if cell else cell
                self.cells_masked += bool(cell)
            elif hits is None or hits[bisect_right(hits, start)] < at or b'""' in cell:
                made = _rewrite(cell, self._seen)
            else:
                continue
            changed = changed or made != cell
            cells[column] = made
        return b",".join(cells) + ending if changed else row

    def _name(self, cells: list[bytes]) -> list[Scalar | None]:
        if self._fields and len(cells) == 1 and any(mark in cells[0] for mark in (b";", b"\t", b"|")):
            raise PeerError("a table whose columns are not parted by commas")
        names = [_read(cell.removeprefix(_BOM)).strip().lower() for cell in cells]
        named = [(None if step is None else step.lower(), scalar) for step, scalar in self._fields]
        self._columns = [
            next((scalar for step, scalar in named if step is None or step == name), None) for name in names
        ]
        self._masked = [at for at, scalar in enumerate(self._columns) if scalar is not None]
        return self._columns

    def _seen(self, cell: bytes) -> bytes:
        if self._found is None:
            return cell
        masked, finds = self._found.text(cell)
        self.cells_masked += bool(finds)
        return masked


def _substituted(cell: bytes, scalar: Scalar) -> bytes:
    made = scalar.to.text(read_text(cell))
    return b"" if made is None else write_text(made)


def _rewrite(cell: bytes, mask: Callable[[bytes], bytes]) -> bytes:
    plain = _read(cell)
    masked = mask(plain)
    return cell if masked == plain else _write(masked, quoted=cell[:1] == b'"')


def _read(cell: bytes) -> bytes:
    return cell[1:-1].replace(b'""', b'"') if cell[:1] == b'"' else cell


def _write(text: bytes, *, quoted: bool) -> bytes:
    if not quoted and not any(mark in text for mark in (b'"', b",", b"\n", b"\r")):
        return text
    return b'"' + text.replace(b'"', b'""') + b'"'


def _split(row: bytes) -> list[bytes]:
    if b'"' not in row:
        return row.split(b",")
    cells: list[bytes] = []
    at = 3 if row.startswith(_BOM) else 0
    while True:
        cell = _FIELD.match(row, at)
        end = cell.end() if cell else at
        if end < len(row) and row[end : end + 1] != b",":
            raise PeerError("a quote in the middle of a cell")
        cells.append(row[at:end])
        at = end + 1
        if at > len(row):
            if row.startswith(_BOM):
                cells[0] = _BOM + cells[0]
            return cells


def _split_rows(region: bytes) -> list[bytes]:
    rows: list[bytes] = []
    start = 0
    inside = False
    for mark in _MARK.finditer(region):
        if mark.group() == b'"':
            inside = not inside
        elif not inside:
            rows.append(region[start : mark.start()])
            start = mark.end()
    rows.append(region[start:])
    return rows
