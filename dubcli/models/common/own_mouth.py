"""A person's own mouth out of what sound predicts for all people, in closed form."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from dubcli.core.types import F32, F64

# Coefficients have unit variance over people. So much of it lies between people and so much
# within one, of what the sound does not tell; mouths repeat themselves within so many seconds.
_BETWEEN, _WITHIN, _MEMORY_S = 0.15, 0.37, 0.4
# Independent moments that the gain's prior, 1, is worth; and its limits.
_GAIN_PRIOR, _GAIN_RANGE = 5.0, (0.5, 2.0)


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


def fold_mapping(last: nn.Linear, gain: float, shift: F32 | F64, articulation: float) -> None:
    """Make a last layer give `gain * c + shift` where it gave the coefficients `c`.

    Args:
        last: Its output times the articulation is the coefficients (..., P).
        gain: Factor.
        shift: Shape (P,).
        articulation: Factor that is applied after the layer.
    """
    with torch.no_grad():
        last.weight.mul_(gain)
        last.bias.mul_(gain).add_(torch.from_numpy(shift / articulation).to(last.bias))
