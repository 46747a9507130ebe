"""What learning one person is made of, whichever model learns."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dubcli.core.types import Int, References
from dubcli.models.common.mouth_basis import coefficients_of
from dubcli.models.common.render_samples import Variation
from dubcli.training.data.train_clips import TrainClip

# What of a spread that pictures do not show is made up for (all of it costs 0.5 dB, this much 0.2),
# and its limits.
_WIDENED_SHARE, _WIDENED_RANGE = 0.6, (0.8, 1.4)
# One person varies less than all people: the camera's frame, not the light or the side.
_JITTER = 0.5
# More makes pictures distrust their landmarks: mouths open less.
_NOISE = 0.05


def person_variation(references: References | None) -> Variation:
    """How samples of one person differ from the footage."""
    return Variation(
        jitter=_JITTER,
        is_mirrored=False,
        is_coloured=False,
        noise=_NOISE,
        references=references,
    )


def widening(shown: float) -> float:
    """Factor on a mouth's spread of opening, as far as making up for pictures costs little.

    Args:
        shown: Spread of the opening in generated pictures over the true one, above 0.
    """
    return float(np.clip(shown**-_WIDENED_SHARE, *_WIDENED_RANGE))


def true_coefficients(clip: TrainClip, frames: Int, basis: Tensor) -> Tensor:
    """Coefficients (T, P), on a basis (P, S, 3), of the mouths that a clip shows."""
    mouth_offset = torch.from_numpy(clip.mouth_offset[frames].astype(np.float32))
    return coefficients_of(mouth_offset.to(basis.device), basis)
