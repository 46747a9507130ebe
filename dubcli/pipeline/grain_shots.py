"""In which shots the picture has grain, told from pairs of neighbouring frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from dubcli.composite.grain import CLEAN, grain_share
from dubcli.composite.picture_match import face_mask
from dubcli.core.types import F32, U8, Alignment, FaceTrack
from dubcli.face.crop import cut_crop
from dubcli.face.pose import apply_matrix
from dubcli.face.references import detail_factor, finer_matrix

# Pairs that are compared a shot, shots that are looked at (the longest), and what a crop is
# enlarged by at most.
_PAIRS, _SHOTS, _MOST_FACTOR = 2, 5, 2


def grain_shares(
    pictures_of: Callable[[set[int]], Iterator[tuple[int, U8]]],
    track: FaceTrack,
    alignment: Alignment,
) -> F32:
    """How much of each frame's fine structure is noise, see `composite.grain`.

    Args:
        pictures_of: Gives number and upright RGB picture of some frames, in order.
        track: The face.
        alignment: Display px to crop px.

    Returns:
        The median of its shot's pairs; of all, where its shot has none. 0 in a clean picture.
        Shape (T,).
    """
    starts = _pairs(track)
    if not starts:
        return np.zeros(len(track), np.float32)
    height, width = alignment.crop_size
    factor = min(_MOST_FACTOR, detail_factor(alignment, starts))
    size = (height * factor, width * factor)
    kept: dict[int, U8] = {}
    found: dict[int, list[float]] = {}
    for index, picture in pictures_of({frame + step for frame in starts for step in (0, 1)}):
        matrix = finer_matrix(alignment.frame_to_crop[index], factor)
        kept[index] = cut_crop(picture, matrix, size)
        if index - 1 in starts and index - 1 in kept:
            own = apply_matrix(track.landmarks[index - 1][None], matrix[None])[0]
            share, level = grain_share(kept[index - 1], kept[index], face_mask(own, size))
            found.setdefault(int(track.shot[index]), []).append(share if level > CLEAN else 0.0)
        kept.pop(index - 2, None)
    every = float(np.median([share for shares in found.values() for share in shares] or [0.0]))
    shots = {shot: float(np.median(shares)) for shot, shares in found.items()}
    return np.array([shots.get(int(shot), every) for shot in track.shot], np.float32)


def _pairs(track: FaceTrack) -> list[int]:
    """First frames of the pairs, ascending: a few of each of the longest shots."""
    usable = track.valid & ~track.interpolated
    starts = np.flatnonzero(usable[:-1] & usable[1:] & (track.shot[:-1] == track.shot[1:]))
    shots, counts = np.unique(track.shot[starts], return_counts=True)
    chosen: list[int] = []
    for shot in shots[np.argsort(-counts, kind="stable")][:_SHOTS].tolist():
        own = starts[track.shot[starts] == shot]
        places = np.linspace(0, len(own) - 1, _PAIRS + 2)[1:-1].round().astype(int)
        chosen += own[np.unique(places)].tolist()
    return sorted(chosen)
