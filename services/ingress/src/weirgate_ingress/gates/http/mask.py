"""The body masks of ``weirgate_mask``, as the HTTP gate uses them: decoded before, encoded again after."""

from collections.abc import Mapping

from weirgate_contracts.masking import Plan
from weirgate_ingress.gates.http.terms import Body, PlanMismatch, Unreadable
from weirgate_mask.body import BodyMasker, BodyUnreadable, body_masker
from weirgate_mask.coding import Coding, decoder, encoder
from weirgate_mask.detectors import DetectorsUnusable
from weirgate_mask.keys import Keyring
from weirgate_mask.mismatch import PlanMismatch as MaskMismatch
from weirgate_wire.error import PeerError

_STEP_BYTES = 16 * 1024
_UNUSABLE = "the detectors of the gateway do not work"


class PlanBodies:
    """Applies plans with the mask key. Whatever a mask cannot read is a mismatch: nothing of it passes."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Keyring) -> None:
        self._keys = keys

    def masks(self, plan: Plan, unmask: frozenset[str]) -> bool:
        """Whether the plan leaves anything to mask in any body."""
        fields = plan.body.fields if plan.body is not None else ()
        return any(not unmask.issuperset(field.labels) for field in fields) or any(
            detector.label not in unmask for detector in plan.detectors
        )

    def body(
        self,
        plan: Plan,
        unmask: frozenset[str],
        *,
        type: str,
        parameters: Mapping[str, str],
        codings: tuple[str, ...],
    ) -> Body | None:
        """Return what masks a body; ``None``: nothing to mask, pass untouched.

        Raises:
            Unreadable: of such a body nothing can be seen.
            PlanMismatch: the plan does not cover it.
        """
        try:
            masker = body_masker(plan, unmask, type=type, parameters=parameters, keys=self._keys)
            if masker is None:
                return None
            coded = tuple(one for one in codings if one != "identity")
            return _Coded(masker, decoder(coded), encoder(coded)) if coded else _Coded(masker, None, None)
        except BodyUnreadable as error:
            raise Unreadable(str(error)) from error
        except MaskMismatch as error:
            raise PlanMismatch(error.reason) from error
        except DetectorsUnusable as error:
            raise PlanMismatch(_UNUSABLE) from error


class _Coded:
    """A masker between the codings of a body."""

    __slots__ = ("_decoder", "_encoder", "_masker")

    def __init__(self, masker: BodyMasker, decoder: Coding | None, encoder: Coding | None) -> None:
        self._masker = masker
        self._decoder = decoder
        self._encoder = encoder

    @property
    def cells_masked(self) -> int:
        return self._masker.cells_masked

    def feed(self, piece: bytes) -> bytes:
        try:
            if self._decoder is None or self._encoder is None:
                return self._masker.feed(piece)
            # A piece may unpack to a thousand times its size before its ratio gives a bomb away.
            return b"".join(
                self._encoder.feed(self._masker.feed(self._decoder.feed(piece[at : at + _STEP_BYTES])))
                for at in range(0, len(piece), _STEP_BYTES)
            )
        except PeerError as error:
            raise PlanMismatch(str(error)) from error
        except DetectorsUnusable as error:
            raise PlanMismatch(_UNUSABLE) from error

    def finish(self) -> bytes:
        try:
            if self._decoder is None or self._encoder is None:
                return self._masker.finish()
            left = self._masker.feed(self._decoder.finish()) + self._masker.finish()
            return self._encoder.feed(left) + self._encoder.finish()
        except PeerError as error:
            raise PlanMismatch(str(error)) from error
        except DetectorsUnusable as error:
            raise PlanMismatch(_UNUSABLE) from error
