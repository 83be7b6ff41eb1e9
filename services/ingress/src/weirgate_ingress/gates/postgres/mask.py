"""The masks of ``weirgate_mask``, as the gate uses them."""

from collections.abc import Sequence
from struct import Struct
from typing import Literal

from weirgate_contracts.masking import Plan, StatementPlan
from weirgate_ingress.gates.postgres.terms import Copy, PlanMismatch, Rows
from weirgate_mask.detectors import DetectorsUnusable
from weirgate_mask.keys import Keyring
from weirgate_mask.result import CopyMasker, RowMasker, copy_masker, row_masker, scrub_error
from weirgate_mask.result import PlanMismatch as MaskMismatch
from weirgate_wire.postgres.error import ErrorFields, PeerError
from weirgate_wire.postgres.frame import frame
from weirgate_wire.postgres.message import FieldDescription
from weirgate_wire.postgres.row import each_frame

_HEAD = Struct(">cI").pack
_UNUSABLE = "the detectors of the gateway do not work"


class PlanMasks:
    """Applies plans with the mask key. Whatever a mask cannot read is a mismatch: nothing of it passes."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Keyring) -> None:
        self._keys = keys

    def rows(
        self, plan: StatementPlan, whole: Plan, unmask: frozenset[str], fields: Sequence[FieldDescription]
    ) -> Rows | None:
        """Return what masks the rows described by ``fields``.

        Raises:
            PlanMismatch: the plan does not cover them.
        """
        try:
            masker = row_masker(plan, whole, unmask, fields, self._keys)
        except MaskMismatch as error:
            raise PlanMismatch(error.reason) from error
        except DetectorsUnusable as error:
            raise PlanMismatch(_UNUSABLE) from error
        return None if masker is None else _Rows(masker)

    def copy(
        self, plan: StatementPlan, whole: Plan, unmask: frozenset[str], formats: Sequence[int], overall: int
    ) -> Copy | None:
        """Return what masks a COPY stream.

        Raises:
            PlanMismatch: the plan does not cover it.
        """
        form: Literal["text", "binary"] = "binary" if overall == 1 else "text"
        try:
            masker = copy_masker(plan, whole, unmask, format=form, columns=len(formats), keys=self._keys)
        except MaskMismatch as error:
            raise PlanMismatch(error.reason) from error
        except DetectorsUnusable as error:
            raise PlanMismatch(_UNUSABLE) from error
        if masker is None:
            return None
        written = plan.copy_options.format if plan.copy_options else form
        return _Lines(masker) if written == "text" else _Frames(masker)

    def error(self, fields: ErrorFields, whole: Plan, unmask: frozenset[str]) -> ErrorFields:
        """Return the fields without values that must be masked; without detectors, only what names the
        error."""
        try:
            return scrub_error(fields, whole, unmask, self._keys)
        except DetectorsUnusable:
            kept = {code: text for code, text in fields.items() if code in "SVC"}
            return kept | {"M": f"withheld: {_UNUSABLE}"}


class _Rows:
    __slots__ = ("_masker",)

    def __init__(self, masker: RowMasker) -> None:
        self._masker = masker

    @property
    def cells_masked(self) -> int:
        return self._masker.cells_masked

    def mask_rows(self, block: bytes) -> bytes:
        try:
            return self._masker.mask_rows(block)
        except PeerError as error:
            raise PlanMismatch(str(error)) from error
        except DetectorsUnusable as error:
            raise PlanMismatch(_UNUSABLE) from error


class _Copied:
    __slots__ = ("_masker",)

    def __init__(self, masker: CopyMasker) -> None:
        self._masker = masker

    @property
    def cells_masked(self) -> int:
        return self._masker.cells_masked

    def finish(self) -> bytes:
        try:
            left = self._masker.finish()
        except PeerError as error:
            raise PlanMismatch(str(error)) from error
        except DetectorsUnusable as error:
            raise PlanMismatch(_UNUSABLE) from error
        return frame(b"d", left) if left else b""


class _Lines(_Copied):
    """Text format: a newline ends a row, always. Agents rely on one CopyData a row, so rows are framed
    anew."""

    __slots__ = ()

    def feed(self, block: bytes) -> bytes:
        try:
            text = self._masker.feed(b"".join([block[at:end] for at, end in each_frame(block)]))
        except PeerError as error:
            raise PlanMismatch(str(error)) from error
        except DetectorsUnusable as error:
            raise PlanMismatch(_UNUSABLE) from error
        rows = text.split(b"\n")
        last = rows.pop()
        framed = [_HEAD(b"d", len(row) + 5) + row + b"\n" for row in rows]
        if last:
            framed.append(frame(b"d", last))
        return b"".join(framed)


class _Frames(_Copied):
    """CSV and binary: a newline or a byte may stand inside a value, so each CopyData is masked by itself."""

    __slots__ = ()

    def feed(self, block: bytes) -> bytes:
        parts: list[bytes] = []
        for at, end in each_frame(block):
            try:
                piece = self._masker.feed(block[at:end])
            except PeerError as error:
                raise PlanMismatch(str(error)) from error
            except DetectorsUnusable as error:
                raise PlanMismatch(_UNUSABLE) from error
            if piece:
                parts.append(frame(b"d", piece))
        return b"".join(parts)
