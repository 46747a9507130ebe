"""The bridge between display space, where faces live, and the codec's own pixels."""

from __future__ import annotations

import numpy as np

from dubcli.core.types import F64, VideoStreamInfo

# Clockwise quarter turns of homogeneous unit-square coordinates: coded (u, v) to display (u, v).
_TURNS = {
    0: ((1, 0, 0), (0, 1, 0)),
    90: ((0, -1, 1), (1, 0, 0)),
    180: ((-1, 0, 1), (0, -1, 1)),
    270: ((0, 1, 0), (-1, 0, 1)),
}


def coded_to_display(video: VideoStreamInfo) -> F64:
    """Coded px to display px, pixel centres at integers. Shape (2, 3)."""
    width, height = video.display_size
    turn = np.array(_TURNS[video.rotation_deg], np.float64)
    # coded px -> unit square of the coded picture -> of the upright one -> display px.
    to_unit = np.array(
        [[1 / video.width, 0, 0.5 / video.width], [0, 1 / video.height, 0.5 / video.height]]
    )
    size = np.array([width, height], np.float64)
    linear = size[:, None] * (turn[:, :2] @ to_unit[:, :2])
    shift = size * (turn[:, :2] @ to_unit[:, 2] + turn[:, 2]) - 0.5
    return np.concatenate([linear, shift[:, None]], 1)
