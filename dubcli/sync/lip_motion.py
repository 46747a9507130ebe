"""Do lips move at all? Told without sound, by how far their gap opens and closes."""

from __future__ import annotations

import numpy as np

from dubcli.core.types import Int
from dubcli.models.common.mouth_map import INNER_BOTTOM, INNER_TOP
from dubcli.sync.scorer import MouthClip

# Lips move where their gap spreads over more than this share of the distance between the eyes
# within two seconds (10th to 90th percentile). Of 467 such stretches of people who speak 98 % do.
_MOVING, _BLOCK_S, _LEAST_FRAMES = 0.05, 2.0, 8


def lip_motion(mouth: MouthClip) -> float | None:
    """How far the inner lips move at their liveliest, in canonical units.

    Args:
        mouth: On the video's clock.

    Returns:
        The largest spread of the gap, 10th to 90th percentile, over blocks of two seconds; None
        where none of them shows enough of the mouth.
    """
    gap = np.linalg.norm(mouth.points[:, INNER_TOP] - mouth.points[:, INNER_BOTTOM], axis=-1)
    usable = np.ones(len(mouth), np.bool_) if mouth.usable is None else mouth.usable
    block: Int = ((mouth.times - mouth.times[0]) // _BLOCK_S).astype(np.int64)
    spreads: list[float] = []
    for number in np.unique(block):
        shown = gap[(block == number) & usable]
        if len(shown) >= _LEAST_FRAMES:
            low, high = np.percentile(shown, (10, 90))
            spreads.append(float(high - low))
    return max(spreads, default=None)


def lips_move(mouth: MouthClip) -> bool | None:
    """Whether the lips move; None where too little of the mouth is seen to tell.

    Args:
        mouth: On the video's clock.
    """
    motion = lip_motion(mouth)
    return None if motion is None else motion >= _MOVING
