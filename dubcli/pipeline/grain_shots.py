"""In which shots the picture has grain, told from pairs of neighbouring frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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


class GrainShots:
    """How much of each frame's fine structure is noise, see `composite.grain`.

    Args:
        track: The face.
        alignment: Display px to crop px.
    """

    def __init__(self, track: FaceTrack, alignment: Alignment) -> None:
        self._track, self._alignment = track, alignment
        self._starts = set(_pairs(track))
        self.frames = {frame + step for frame in self._starts for step in (0, 1)}
        self._factor = 1
        if self._starts:
            self._factor = min(_MOST_FACTOR, detail_factor(alignment, sorted(self._starts)))
        height, width = alignment.crop_size
        self._size = (height * self._factor, width * self._factor)
        self._kept: dict[int, U8] = {}
        self._found: dict[int, list[float]] = {}

    def watch(self, pictures: Iterable[tuple[int, U8]]) -> Iterator[tuple[int, U8]]:
        """The same pictures, those of `frames` looked at on their way.

        Args:
            pictures: Number and upright RGB picture of frames, ascending.
        """
        for index, picture in pictures:
            if index in self.frames:
                self._look(index, picture)
            yield index, picture

    def _look(self, index: int, picture: U8) -> None:
        matrix = finer_matrix(self._alignment.frame_to_crop[index], self._factor)
        self._kept[index] = cut_crop(picture, matrix, self._size)
        if index - 1 in self._starts and index - 1 in self._kept:
            landmarks = self._track.landmarks[index - 1][None]
            own = apply_matrix(landmarks, matrix[None])[0]
            mask = face_mask(own, self._size)
            share, level = grain_share(self._kept[index - 1], self._kept[index], mask)
            shot = int(self._track.shot[index])
            self._found.setdefault(shot, []).append(share if level > CLEAN else 0.0)
        self._kept = {frame: crop for frame, crop in self._kept.items() if frame >= index - 1}

    def shares(self) -> F32:
        """What was found.

        Returns:
            The median of its shot's pairs; of all, where its shot has none. 0 in a clean picture.
            Shape (T,).
        """
        found = self._found
        if not found:
            return np.zeros(len(self._track), np.float32)
        every = float(np.median([share for shares in found.values() for share in shares]))
        shots = {shot: float(np.median(shares)) for shot, shares in found.items()}
        return np.array([shots.get(int(shot), every) for shot in self._track.shot], np.float32)


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
