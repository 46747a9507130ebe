"""A person's own manner of speaking in closed form: mean mouth, and how far it opens.

Sound alone still decides when the mouth moves: what it predicts is scaled and shifted as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dubcli.models.common.mouth_basis import opening_basis
from dubcli.models.common.own_mouth import mouth_mapping

# Share of the opening that is asked for which the pictures show, measured on dev people.
_SHOWN = 0.85


@dataclass(frozen=True, kw_only=True)
class SpeakerStyle:
    """What makes of predicted mouth coefficients `c` those of a person: `gain * c + shift`.

    Attributes:
        gain: Factor.
        shift: Shape (P,).
        seconds: Length of the speech that it was taken from.
    """

    gain: float
    shift: Tensor
    seconds: float

    def apply(self, coefficients: Tensor) -> Tensor:
        """Coefficients (T, P) of the person."""
        return self.gain * coefficients + self.shift

    def told(self) -> dict[str, float]:
        """What the report says of it."""
        return {"gain": round(self.gain, 3), "seconds": round(self.seconds, 1)}


def style_of(predicted: Tensor, true: Tensor, basis: Tensor, seconds: float) -> SpeakerStyle:
    """The manner that makes of what sound predicts the person's own mouth, as pictures show it.

    Args:
        predicted: Coefficients (H, P).
        true: Coefficients of the same moments (H, P).
        basis: Shape (P, S, 3).
        seconds: Length of the speech.
    """
    gain, shift = mouth_mapping(
        predicted.float().cpu().numpy(),
        true.float().cpu().numpy(),
        opening_basis(basis).float().cpu().numpy(),
        seconds,
        shown=_SHOWN,
    )
    return SpeakerStyle(gain=gain, shift=predicted.new_tensor(shift), seconds=seconds)
