"""The body masks of ``weirgate_mask``, as the HTTP gate uses them: decoded before, encoded again after."""

from collections.abc import Mapping

from weirgate_contracts.masking import Plan
from weirgate_ingress.gates.http.terms import Body, PlanMismatch, Unreadable
from weirgate_mask.body import BodyMasker, BodyUnreadable, body_masker
from weirgate_mask.detectors import DetectorsUnusable
from weirgate_mask.keys import Keyring
from weirgate_mask.mismatch import PlanMismatch as MaskMismatch
from weirgate_wire.error import PeerError
from weirgate_wire.http.coding import CodingUnknown, Decoder
from weirgate_wire.http.encoder import Encoder

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
            return _Coded(masker, Decoder(codings), Encoder(codings))
        except (BodyUnreadable, CodingUnknown) as error:
            raise Unreadable(str(error)) from error
        except MaskMismatch as error:
            raise PlanMismatch(error.reason) from error
        except DetectorsUnusable as error:
            raise PlanMismatch(_UNUSABLE) from error


class _Coded:
    """A masker between the codings of a body."""

    __slots__ = ("_decoder", "_encoder", "_masker")

    def __init__(self, masker: BodyMasker, decoder: Decoder, encoder: Encoder) -> None:
        self._masker = masker
        self._decoder = decoder
        self._encoder = encoder

    @property
    def cells_masked(self) -> int:
        return self._masker.cells_masked

    def feed(self, piece: bytes) -> bytes:
        try:
            # What is decoded comes in pieces of some size, and each is coded again before the next is made. All of
            # it goes on at once: a stream of events must not wait for what fills a block.
            made = [self._encoder.feed(self._masker.feed(one)) for one in self._decoder.feed(piece)]
            return b"".join((*made, self._encoder.flush()))
        except PeerError as error:
            raise PlanMismatch(str(error)) from error
        except DetectorsUnusable as error:
            raise PlanMismatch(_UNUSABLE) from error

    def finish(self) -> bytes:
        try:
            self._decoder.finish()
            return self._encoder.feed(self._masker.finish()) + self._encoder.finish()
        except PeerError as error:
            raise PlanMismatch(str(error)) from error
        except DetectorsUnusable as error:
            raise PlanMismatch(_UNUSABLE) from error
