"""Where the picture of a result does not go on from the one before."""

from __future__ import annotations

import numpy as np

from dubcli.core.types import Bool, FaceTrack
from dubcli.media.video.timeline import Timeline


def picture_jumps(track: FaceTrack, timeline: Timeline) -> Bool:
    """Where the picture does not go on from the one before: a cut, or the video starts over.

    Returns:
        Whether it jumps before each position of the timeline. Shape (N,).
    """
    jumps = np.abs(np.diff(timeline.source_index)) > 1
    cuts = np.diff(track.shot[timeline.source_index]) != 0
    return np.concatenate([[False], jumps | cuts])
