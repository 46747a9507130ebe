"""The resting mouth of a person: the shape that speech departs from and returns to."""

from __future__ import annotations

import numpy as np

from dubcli.core.errors import NoFaceError
from dubcli.core.types import F32, Bool
from dubcli.face.landmarks import SPEAKING, mouth_open

_CLOSED_SHARE = 0.2


def rest_shape(canonical: F32, usable: Bool) -> F32:
    """Mean speaking shape over the frames in which the mouth is most closed.

    Args:
        canonical: Pose-free landmarks. Shape (T, K, 3), canonical units.
        usable: Frames that may be used. Shape (T,).

    Returns:
        Speaking points. Shape (S, 3), canonical units.

    Raises:
        NoFaceError: No usable frame.
    """
    frames = np.flatnonzero(usable)
    if len(frames) == 0:
        raise NoFaceError("No frame shows a usable face.", "Use footage with a visible face.")
    order = frames[np.argsort(mouth_open(canonical[frames]), kind="stable")]
    closed = order[: max(1, round(_CLOSED_SHARE * len(order)))]
    return canonical[closed][:, SPEAKING].mean(0).astype(np.float32)
