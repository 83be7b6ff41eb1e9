"""The closer look: what detectors find inside one cell, replaced, in the syntax of the cell's type."""

import json
import re
from collections.abc import Callable, Mapping
from typing import assert_never

from weirgate_contracts.masking import Transform
from weirgate_mask import values
from weirgate_mask.array import map_binary, map_text
from weirgate_mask.cell import CellMasker, cell_masker
from weirgate_mask.checksum import card_number
from weirgate_mask.detectors import Detectors, detectors
from weirgate_mask.keys import Keyring
from weirgate_mask.kind import Kind
from weirgate_mask.substitute import Substitute, Substitutes

_CARD, _ADDRESS = "payment.card", "pii.ip"
_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d[0-9.eE+-]*', re.DOTALL)


class Content:
    """Detectors that are on, and what becomes of what they find."""

    __slots__ = ("_substitutes", "detectors")

    def __init__(self, transforms: Mapping[str, Transform], keys: Keyring) -> None:
        """Take detector label to transform.

        Raises:
            DetectorsUnusable: see :mod:`weirgate_mask.detectors`.
        """
        self.detectors: Detectors = detectors(frozenset(transforms))
        self._substitutes = Substitutes(transforms, keys)

    def whole(self, kind: Kind) -> Substitute | None:
        """Return the substitute for every cell of a type that is by itself what a detector looks for."""
        scalar = kind.element or kind
        return self._substitutes.get(_ADDRESS) if scalar.family == "inet" else None

    def looks_at(self, kind: Kind) -> bool:
        """Say whether a detector may find something in cells of this type."""
        scalar = kind.element or kind
        if scalar.family in ("integer", "numeric"):
            return scalar.free_text and _CARD in self._substitutes
        return scalar.free_text

    def text(self, text: str) -> str | None:
        """Replace what is found in plain text; ``None`` where a find is to become NULL."""
        masked = self._octets(values.write_text(text))
        return None if masked is None else values.read_text(masked)

    def masker(self, kind: Kind, binary: bool) -> CellMasker:
        """Return the function that masks what is found in cells of one column; it returns the rest unchanged.

        A cell that cannot be read, or whose inside cannot be written, becomes NULL once something is found in
        it.
        """
        match kind.family:
            case "text" | "xml":
                return self._octets
            case "json":
                versioned = kind.variant and binary
                return lambda cell: self._json(cell, versioned)
            case "bytea":
                return lambda cell: self._bytea(cell, binary)
            case "integer" | "numeric":
                return self._number(kind, binary)
            case "array":
                assert kind.element is not None
                return self._array(self.masker(kind.element, binary), map_binary if binary else map_text)
            case "opaque":
                return self._opaque if binary else self._octets
            case "inet" | "float" | "date" | "timestamp" | "uuid":
                return _same
            case _:
                assert_never(kind.family)

    def _octets(self, cell: bytes) -> bytes | None:
        found = self.detectors.find(cell)
        if not found:
            return cell
        parts: list[bytes] = []
        done = 0
        for start, end, labels in found:
            masked = self._substitutes.of(labels).text(values.read_text(cell[start:end]))
            if masked is None:
                return None
            parts.append(cell[done:start])
            parts.append(values.write_text(masked))
            done = end
        parts.append(cell[done:])
        return b"".join(parts)

    def _json(self, cell: bytes, versioned: bool) -> bytes | None:
        try:
            text = values.read_json(cell, versioned, versioned=versioned)
        except ValueError:
            return None
        parts: list[str] = []
        done = 0
        for token in _JSON_TOKEN.finditer(text):
            raw = token.group()
            try:
                plain = str(json.loads(raw, strict=False)) if raw[0] == '"' else raw
            except ValueError:
                # Not JSON after all: the inside of it cannot be seen, and something in it was hit.
                return None
            masked = self.text(plain) if plain.isascii() or "\ud800" not in plain else None
            if masked is None:
                return None
            if masked == plain:
                continue
            parts.append(text[done : token.start()])
            parts.append(
                json.dumps(masked, ensure_ascii=any("\ud800" <= char <= "\udfff" for char in masked))
            )
            done = token.end()
        if not parts:
            return cell
        return values.write_json("".join(parts) + text[done:], versioned, versioned=versioned)

    def _bytea(self, cell: bytes, binary: bool) -> bytes | None:
        try:
            raw = values.read_bytea(cell, binary)
        except ValueError:
            return None
        found = self.detectors.find(raw)
        if not found:
            return cell
        masked = self._substitutes.of(tuple(label for _, _, labels in found for label in labels)).octets(raw)
        return None if masked is None else values.write_bytea(masked, binary)

    def _number(self, kind: Kind, binary: bool) -> CellMasker:
        substitute = self._substitutes.get(_CARD)
        if substitute is None:
            return _same
        mask = cell_masker(kind, binary, substitute)

        def number(cell: bytes) -> bytes | None:
            try:
                if kind.family == "integer":
                    digits = str(abs(values.read_integer(cell, kind.size, binary)))
                else:
                    value = values.read_numeric(cell, binary)
                    digits = str(abs(int(value))) if value.adjusted() < 20 else ""
            except ValueError:
                return cell
            return mask(cell) if card_number(digits) else cell

        return number

    def _array(self, element: CellMasker, rewrite: Callable[[bytes, CellMasker], bytes]) -> CellMasker:
        def array(cell: bytes) -> bytes | None:
            changed = False

            def one(inner: bytes) -> bytes | None:
                nonlocal changed
                masked = element(inner)
                changed = changed or masked != inner
                return masked

            try:
                rewritten = rewrite(cell, one)
            except ValueError:
                return None
            return rewritten if changed else cell

        return array

    def _opaque(self, cell: bytes) -> bytes | None:
        return None if self.detectors.find(cell) else cell


def _same(cell: bytes) -> bytes | None:
    return cell
