"""A person's own manner of speaking in closed form: mean mouth, and how far it opens.

Sound alone still decides when the mouth moves: what it predicts is scaled and shifted as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from dubcli.core.types import F32, F64
from dubcli.models.common.mouth_basis import opening_basis

# Coefficients have unit variance over people. So much of it lies between people and so much
# within one, of what the sound does not tell; mouths repeat themselves within so many seconds.
_BETWEEN, _WITHIN, _MEMORY_S = 0.15, 0.37, 0.4
# Independent moments that the gain's prior, 1, is worth; and its limits.
_GAIN_PRIOR, _GAIN_RANGE = 5.0, (0.5, 2.0)

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


def mouth_mapping(
    predicted: F32, true: F32, opening: F32, seconds: float, *, shown: float = 1.0
) -> tuple[float, F64]:
    """The map `gain * c + shift` from what sound predicts to a person's own mouth.

    What the sound does not tell on average is added, and the spread of the mouth opening made
    the person's; both as far as the footage outweighs a prior of no change (the posterior mean of
    a normal; a mean of logarithms).

    Args:
        predicted: Coefficients. Shape (T, P).
        true: Coefficients. Shape (T, P).
        opening: How far each coefficient opens the mouth. Shape (P,).
        seconds: Length of the footage: what counts is how often the mouth changed, not frames.
        shown: Share of the opening that is asked for which the pictures show.
    """
    independent = max(1.0, seconds / _MEMORY_S)
    error = (true - predicted).astype(np.float64)
    spread = 0.5 * error.var(0) + 0.5 * _WITHIN
    moved = error.mean(0) * _BETWEEN / (_BETWEEN + spread / independent)
    ratio = max(float((true @ opening).std()), 1e-6) / max(float((predicted @ opening).std()), 1e-6)
    ratio /= shown
    gain = float(np.clip(ratio ** (independent / (independent + _GAIN_PRIOR)), *_GAIN_RANGE))
    mean = predicted.mean(0, dtype=np.float64)
    return gain, moved + (1 - gain) * mean
