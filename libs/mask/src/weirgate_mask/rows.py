"""Blocks of DataRow frames, masked: walked column by column for all rows at once, never row by row.

Every length of a block is checked before a byte of it is used, so a block that is not what it says gives
PeerError and no partial output.
"""

import struct
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from weirgate_mask.cell import CellMasker, Constant, Stars
from weirgate_mask.detectors import Detectors
from weirgate_mask.kind import Kind
from weirgate_wire.error import PeerError

_SIZE = struct.Struct(">I")
_NULL = b"\xff\xff\xff\xff"
_DATA_ROW = 0x44
_MEMO_ENTRIES = 8192
_MEMO_ENTRY_BYTES = 256
"""A memo holds at most 4 MiB: short values repeat, long ones seldom do."""
_CARD_DIGITS = 13
"""The fewest a card number has."""
_CARD_FROM = 10 ** (_CARD_DIGITS - 1)

_STAR, _POINT = ord("*"), ord(".")

Index = NDArray[np.int64]
Octets = NDArray[np.uint8]


class Memo(dict[bytes, bytes]):
    """Cells with their length header, to the masked ones; bounded."""

    __slots__ = ("_limit_bytes", "_mask", "asked")

    def __init__(self, mask: CellMasker) -> None:
        super().__init__()
        self._mask = mask
        self._limit_bytes = _MEMO_ENTRY_BYTES
        self.asked = 0
        """Cells that were looked up so far."""

    def __missing__(self, cell: bytes) -> bytes:
        if cell == _NULL:
            made = _NULL
        else:
            masked = self._mask(cell[4:])
            made = _NULL if masked is None else _SIZE.pack(len(masked)) + masked
        if len(cell) <= self._limit_bytes:
            if len(self) >= _MEMO_ENTRIES:
                self.clear()
                if self.asked < 2 * _MEMO_ENTRIES:
                    # Hardly a value comes twice: remembering costs more than it saves.
                    self._limit_bytes = 0
                self.asked = 0
            self[cell] = made
        return made


class _Grid:
    """Where every cell of a block stands."""

    __slots__ = ("block", "ends", "heads", "octets", "sizes", "starts", "words")

    def __init__(self, block: bytes, columns: int) -> None:
        starts: list[int] = []
        at = 0
        total = len(block)
        size_at = _SIZE.unpack_from
        add = starts.append
        try:
            while at < total:
                add(at)
                (size,) = size_at(block, at + 1)
                if size < 6:
                    raise PeerError(f"a row of {size} bytes")
                at += 1 + size
        except struct.error as error:
            raise PeerError("a row ends too early") from error
        if at != total:
            raise PeerError("a row ends too early")
        self.block = block
        self.starts: Index = np.array(starts, dtype=np.int64)
        self.ends: Index = np.append(self.starts[1:], total)
        self.octets: Octets = np.frombuffer(block, dtype=np.uint8)
        # Every four bytes of the block as a big-endian number, whatever they are aligned to. Indexed, never
        # ``take``n: that copies the view, four times the block, for each call.
        self.words = np.ndarray((total - 3,), dtype=">i4", buffer=block, strides=(1,))
        counts = self.words[self.starts + 3] & 0xFFFF
        if (self.octets[self.starts] != _DATA_ROW).any() or (counts != columns).any():
            raise PeerError(f"not a row of {columns} cells")
        self.heads: list[Index] = []
        self.sizes: list[Index] = []
        at_cells = self.starts + 7
        lowest = 0
        for _ in range(columns):
            # Clipped, so that a wrong length reads nothing outside; what comes after it then ends wrong, and
            # is seen.
            sizes = self.words[np.minimum(at_cells, total - 4)].astype(np.int64)
            self.heads.append(at_cells)
            self.sizes.append(sizes)
            lowest = min(lowest, int(sizes.min()))
            at_cells = at_cells + 4 + np.maximum(sizes, 0)
        if lowest < -1:
            raise PeerError(f"a cell of {lowest} bytes")
        if (at_cells != self.ends).any():
            raise PeerError("the cells of a row do not fill it")

    def cell_ends(self, column: int) -> Index:
        return self.heads[column] + 4 + np.maximum(self.sizes[column], 0)

    def within(self, column: int) -> Index:
        """Every index of a byte of this column's cells."""
        return _runs(self.heads[column] + 4, self.sizes[column])


class RowMasker:
    """Masks the rows of one answer."""

    def __init__(
        self,
        kinds: tuple[tuple[Kind, bool], ...],
        whole: Mapping[int, CellMasker],
        found: Mapping[int, CellMasker],
        detectors: Detectors | None,
    ) -> None:
        """Take each column's kind and whether it is binary, maskers of whole columns, and of finds in the
        others."""
        self.cells_masked = 0
        """Cells that were replaced so far."""
        self._columns = len(kinds)
        self._whole = [(column, _remembered(whole[column])) for column in sorted(whole)]
        self._found = {column: Memo(found[column]) for column in sorted(found)}
        self._detectors = detectors
        self._scanned: list[int] = []
        self._sifted: dict[int, str] = {}
        for column in self._found:
            kind, binary = kinds[column]
            sift = "written" if _plain_number(kind, binary) else hidden_from_scan(kind, binary)
            if sift is None:
                self._scanned.append(column)
            else:
                self._sifted[column] = sift

    def mask_rows(self, block: bytes) -> bytes:
        """Mask a block of whole DataRow frames, back to back.

        Raises:
            PeerError: not such a block, or rows of another number of cells.
        """
        if not block:
            return block
        grid = _Grid(block, self._columns)
        rows = len(grid.starts)
        copy = np.frombuffer(bytearray(block), dtype=np.uint8)
        heads: list[Index] = []
        ends: list[Index] = []
        owners: list[Index] = []
        made: list[bytes] = []
        every = np.arange(rows, dtype=np.int64)
        for column, memo in self._whole:
            sizes = grid.sizes[column]
            self.cells_masked += int((sizes >= 0).sum())
            within = grid.within(column)
            if isinstance(memo, Stars):
                if not (copy[within] & 0x80).any():
                    # One byte, one character: it keeps its length, so it can be done where it stands.
                    _star(copy, grid.heads[column] + 4, sizes, memo)
                    continue
                memo = Memo(memo)
            first, last = grid.heads[column], grid.cell_ends(column)
            made += _alike(sizes, memo) if isinstance(memo, bytes) else _looked_up(block, first, last, memo)
            # It is cut out later. Until then nothing is to be found in it: finds are what a scan costs most.
            copy[within] = 0
            heads.append(first)
            ends.append(last)
            owners.append(every)
        for column, hit in self._hits(grid, copy):
            first, last = grid.heads[column][hit], grid.cell_ends(column)[hit]
            cells = _looked_up(block, first, last, self._found[column])
            changed = [
                at
                for at, (start, end) in enumerate(zip(first.tolist(), last.tolist(), strict=True))
                if cells[at] != block[start:end]
            ]
            if not changed:
                continue
            made += [cells[at] for at in changed]
            chosen = np.array(changed, dtype=np.int64)
            heads.append(first[chosen])
            ends.append(last[chosen])
            owners.append(hit[chosen])
            self.cells_masked += len(changed)
        if not made:
            return copy.tobytes()
        return _rebuilt(grid, copy, np.concatenate(heads), np.concatenate(ends), np.concatenate(owners), made)

    def _hits(self, grid: _Grid, copy: Octets) -> list[tuple[int, Index]]:
        """Return, per column, the rows whose cell is to be looked at.

        Args:
            grid: The block.
            copy: The block, with nothing left to find in the columns that are masked as a whole.
        """
        hits: list[tuple[int, Index]] = []
        for column, sift in self._sifted.items():
            rows = _sifted(grid, column, sift)
            if len(rows):
                hits.append((column, rows))
        if not self._scanned or self._detectors is None:
            return hits
        found = self._detectors.scan(copy.tobytes())
        if found is None:
            return hits + [(column, np.flatnonzero(grid.sizes[column] > 0)) for column in self._scanned]
        if not found:
            return hits
        at = np.unique(np.array(found, dtype=np.int64)) - 1
        row_of = np.searchsorted(grid.starts, at, side="right") - 1
        for column in self._scanned:
            # A hit that ends outside every cell is none.
            inside = (at >= grid.heads[column][row_of] + 4) & (at < grid.cell_ends(column)[row_of])
            if inside.any():
                hits.append((column, np.unique(row_of[inside])))
        return hits


def _remembered(mask: CellMasker) -> Memo | Stars | bytes:
    if isinstance(mask, Constant):
        return _framed(mask.masked)
    return mask if isinstance(mask, Stars) else Memo(mask)


def _framed(masked: bytes | None) -> bytes:
    return _NULL if masked is None else _SIZE.pack(len(masked)) + masked


def _runs(starts: Index, lengths: Index) -> Index:
    """Return every index of runs of bytes, one run after the other; lengths of 0 and less are none."""
    lengths = np.maximum(lengths, 0)
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()), dtype=np.int64)


def _star(copy: Octets, starts: Index, sizes: Index, stars: Stars) -> None:
    hidden = sizes - stars.keep_first - stars.keep_last
    kept = hidden > 0
    copy[_runs(starts + np.where(kept, stars.keep_first, 0), np.where(kept, hidden, sizes))] = _STAR


def _alike(sizes: Index, made: bytes) -> list[bytes]:
    if (sizes >= 0).all():
        return [made] * len(sizes)
    return [made if size >= 0 else _NULL for size in sizes.tolist()]


def _looked_up(block: bytes, first: Index, last: Index, memo: Memo) -> list[bytes]:
    memo.asked += len(first)
    return [memo[block[start:end]] for start, end in zip(first.tolist(), last.tolist(), strict=True)]


def hidden_from_scan(kind: Kind, binary: bool) -> str | None:
    """Say how cells worth a look are found where a scan of the raw bytes would not see into them."""
    scalar = kind.element or kind
    if binary and kind.family == "integer":
        return "integer"
    if binary and kind.family == "numeric":
        return "numeric"
    if scalar.family == "bytea" and not binary:
        return "all"
    return "all" if binary and scalar.family in ("integer", "numeric") else None


def _plain_number(kind: Kind, binary: bool) -> bool:
    """Say whether cells are a number's decimal digits: easier told from a card than by a scan, which hits on
    the digits behind a point, too."""
    return not binary and kind.family in ("integer", "numeric")


def _sifted(grid: _Grid, column: int, sift: str) -> Index:
    sizes = grid.sizes[column]
    if sift == "written":
        rows = np.flatnonzero(sizes >= _CARD_DIGITS)
        first = (grid.heads[column][rows] + 4)[:, None] + np.arange(_CARD_DIGITS)
        return rows[(grid.octets[first] != _POINT).all(axis=1)]
    if sift == "all":
        return np.flatnonzero(sizes > 0)
    rows = np.flatnonzero(sizes == 8) if sift == "integer" else np.flatnonzero(sizes >= 8)
    at = grid.heads[column][rows] + 4
    words = grid.words[at].astype(np.int64)
    if sift == "integer":
        values = (words << 32) | (grid.words[at + 4].astype(np.int64) & 0xFFFFFFFF)
        return rows[(values >= _CARD_FROM) | (values <= -_CARD_FROM)]
    # The low half of the first word is the weight: the power of 10,000 of the first digit.
    weight = words & 0xFFFF
    return rows[(weight >= 3) & (weight < 0x8000)]


def _rebuilt(grid: _Grid, copy: Octets, heads: Index, ends: Index, owners: Index, made: list[bytes]) -> bytes:
    """Return the copy of the block with cells replaced and the lengths of their rows put right."""
    order = np.argsort(heads, kind="stable")
    heads, ends = heads[order], ends[order]
    ordered = [made[at] for at in order.tolist()]
    grown = np.fromiter(map(len, ordered), dtype=np.int64, count=len(ordered)) - (ends - heads)
    by_row = np.bincount(owners[order], weights=grown, minlength=len(grid.starts)).astype(np.int64)
    sizes = grid.ends - grid.starts - 1 + by_row
    if (sizes > 0x7FFFFFFF).any():
        raise PeerError("a masked row is longer than a frame can be")
    places = (grid.starts + 1)[:, None] + np.arange(4)
    copy[places] = sizes.astype(">u4").view(np.uint8).reshape(-1, 4)
    source = copy.tobytes()
    parts = [b""] * (2 * len(ordered) + 1)
    gap_starts = np.concatenate((np.zeros(1, dtype=np.int64), ends)).tolist()
    gap_ends = np.append(heads, len(source)).tolist()
    parts[0::2] = [source[start:end] for start, end in zip(gap_starts, gap_ends, strict=True)]
    parts[1::2] = ordered
    return b"".join(parts)
