"""In which light each frame shows a face, and what brings one frame's light to another's.

Pass 1 keeps a few mean colours of every aligned face. Frames in the light that most good ones share
set the *usual* light. Where a frame differs from it, its colours are fitted, plane by plane, by a
gain and an offset: of the code values, of linear light (code values to the power of 2.2), of their
logarithm, or of luma and chroma, whichever explains the video best (`light_fit`). What this leaves,
as of a lamp from the side, is a smooth field of factors over the face.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from dubcli.core.smooth_step import smooth_step
from dubcli.core.types import F32, U8, Bool, FaceTrack, Int
from dubcli.face.crop import cut_crop
from dubcli.face.landmarks import face_oval
from dubcli.face.light_fit import FLOOR, LightMap, fit_light, smoothed_field
from dubcli.face.pose import apply_matrix, crop_alignment, fit_pose, mean_face, mouth_box

# Height, width of the grid of mean colours over an aligned crop, and pixels a side of its cells.
GRID = (13, 10)
_CELL = 4
# Cells that less of the face covers are black, which no cell of a face is.
_COVERED = 0.6
# The oval is drawn this much smaller: hair and what is behind lie at its edge.
_INSIDE = 0.85
# Largest change of a channel's usual skin level that is left to the paste, and from which on it is
# made up for in full; of natural logarithms. Turns of the head stay below.
_SAME, _OTHER = 0.07, 0.13
# A change that is told, at once or beside the frame before.
_TOLD, _JUMP = 0.2, 0.08
# Unevenness of the change over the face, natural logarithm, from which on it is looked at.
_UNEVEN = 0.3
# Skin below the first level, or less than the second share of its usual one, is lost in black.
_DARK_LEVEL, _DARK_SHARE = 7.0, 0.06
# A channel at this level is clipped, and a face so much of which is lost in white.
_CLIPPED_LEVEL, _CLIPPED_SHARE = 250, 0.6
# Frames that are tried as the usual light, the light's level that serves best, and the spread of
# logarithms that weighs frames in other light.
_CANDIDATES, _GOOD_LEVEL, _LIKE = 64, 100.0, 0.12
# How many frames on either side a light is averaged over while it stays the same within this.
_REACH, _STEADY = 2, 0.03
# Frames that are worked on at once: memory must not grow with the video.
_BATCH = 2048

TOO_DARK, OVEREXPOSED = "too_dark", "overexposed"


@dataclass(frozen=True, kw_only=True)
class FaceLight:
    """The light of a face over a video.

    Attributes:
        usual: Mean colours in the usual light. Shape (`GRID`, 3), float32.
        departure: Largest change of a channel's skin level from it, or of one part of the face
            beside another's, natural logarithm; 0 where nothing is known. Shape (T,).
        maps: From the usual light to each frame's; frames that need none are missing.
    """

    usual: F32
    departure: F32
    maps: dict[int, LightMap]

    def at(self, frame: int) -> LightMap | None:
        """The map of a frame, or None where it shows the usual light."""
        return self.maps.get(frame)

    @property
    def is_other(self) -> Bool:
        """In which frames the light clearly differs from the usual one. Shape (T,)."""
        jumps = np.abs(np.diff(self.departure, prepend=self.departure[:1])) > _JUMP
        return (self.departure > _TOLD) | (jumps & (self.departure > _SAME))

    def likeness(self) -> F32:
        """How like the usual light each frame's is, 0 to 1; 1 within a tolerance. Shape (T,)."""
        beyond = np.maximum(self.departure - _LIKE, 0) / _LIKE
        return np.exp(-(beyond**2)).astype(np.float32)


def sample_light(image: U8, landmarks: F32) -> U8:
    """Mean colours of one face, aligned.

    Args:
        image: RGB. Shape (H, W, 3), uint8.
        landmarks: Kept points, px of `image`. Shape (K, 3).

    Returns:
        Shape (`GRID`, 3), uint8; 0 where the face does not cover a cell, at least 1 elsewhere.
    """
    size = (GRID[0] * _CELL, GRID[1] * _CELL)
    matrix = crop_alignment(fit_pose(landmarks[None]), size).frame_to_crop
    crop = cut_crop(image, matrix[0], size)
    cells = np.asarray(cv2.resize(crop, GRID[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    oval = _oval(apply_matrix(landmarks[None, :, :2], matrix)[0])
    return np.maximum(cells, 1) * oval[..., None].astype(np.uint8)


def face_light(track: FaceTrack, usable: Bool | None = None) -> FaceLight:
    """The light of a face in every frame.

    Args:
        track: The face; one whose light was not looked at is in the usual light throughout.
        usable: Frames that may set the usual light; by default those that are valid. Shape (T,).
    """
    chosen = track.valid & ~track.interpolated if usable is None else usable
    if len(track.light) == 0 or not chosen.any():
        none = np.zeros(len(track), np.float32)
        return FaceLight(usual=np.zeros((*GRID, 3), np.float32), departure=none, maps={})
    levels = _skin_levels(track.light)
    like = _usual_frames(levels, np.flatnonzero(chosen))
    usual = _median_cells(track.light[like])
    change = _change(levels, _skin_levels(usual[None]))
    uneven = _unevenness(track.light, usual)
    departure = np.maximum(change, np.where(uneven > _UNEVEN, uneven, 0)).astype(np.float32)
    maps: dict[int, LightMap] = {}
    other = np.flatnonzero(departure > _SAME)
    if len(other):
        share = np.clip((departure[other] - _SAME) / (_OTHER - _SAME), 0, 1)
        seen = _steadied(track, levels, other)
        fitted = fit_light(usual, seen, _skin_cells(), smooth_step(share))
        maps = dict(zip(other.tolist(), fitted, strict=True))
    return FaceLight(usual=usual, departure=departure, maps=maps)


def unusable_light(light: U8, known: Bool) -> NDArray[np.str_]:
    """Why a face's light cannot be met in a frame, '' where it can.

    Args:
        light: From `sample_light`. Shape (T, `GRID`, 3); (0, ...) where nobody looked.
        known: Frames that show the face. Shape (T,).
    """
    why = np.full(len(known), "", dtype="<U16")
    if len(light) == 0 or not known.any():
        return why
    levels = _skin_levels(light)
    usual = _median_cells(light[_usual_frames(levels, np.flatnonzero(known))])
    at_best = _skin_levels(usual[None])
    is_other = _change(levels, at_best) > _OTHER
    luma = levels.mean(1)
    dark = (luma < _DARK_LEVEL) | (luma < _DARK_SHARE * float(at_best.mean()))
    pale = _white_share(light) > max(_CLIPPED_SHARE, 2 * float(_white_share(usual[None])[0]))
    why[known & is_other & pale] = OVEREXPOSED
    why[known & is_other & dark] = TOO_DARK
    return why


@cache
def _skin_cells() -> Bool:
    """Cells of the grid on the mean face, but for the mouth. Shape `GRID`."""
    size = (GRID[0] * _CELL, GRID[1] * _CELL)
    face = mean_face()[None]
    matrix = crop_alignment(fit_pose(face), size).frame_to_crop
    skin = _oval(apply_matrix(face[..., :2], matrix)[0])
    rows, columns = (
        slice(round(part.start / _CELL), round(part.stop / _CELL)) for part in mouth_box(size)
    )
    skin[rows, columns] = False
    return skin


def _oval(landmarks: F32) -> Bool:
    """Cells that a face covers. Points (K, 2) in px of the crop under the grid."""
    mask = np.zeros((GRID[0] * _CELL, GRID[1] * _CELL), np.uint8)
    points = landmarks[face_oval()]
    points = points.mean(0) + _INSIDE * (points - points.mean(0))
    cv2.fillConvexPoly(mask, cv2.convexHull(points.round().astype(np.int32)), (1,))
    return mask.reshape(GRID[0], _CELL, GRID[1], _CELL).mean((1, 3)) > _COVERED


def _median_cells(light: U8) -> F32:
    """Median of each cell over the frames that show it. (T, `GRID`, 3) to (`GRID`, 3)."""
    few = light[np.unique(np.linspace(0, len(light) - 1, _BATCH).astype(int))]
    hidden = np.broadcast_to(~np.any(few > 0, axis=-1, keepdims=True), few.shape)
    middle = np.ma.median(np.ma.array(few, mask=hidden), axis=0)
    return np.asarray(np.ma.filled(middle, 0), np.float32)


def _skin_levels(light: U8 | F32) -> F32:
    """Median of each channel over the skin that is seen. (T, `GRID`, 3) to (T, 3)."""
    levels = np.zeros((len(light), 3), np.float32)
    for start in range(0, len(light), _BATCH):
        skin = light[start : start + _BATCH][:, _skin_cells()].astype(np.float32)
        skin[~(skin > 0).any(-1)] = np.nan
        # A face that is all but out of the picture has no level of its own.
        skin[np.isnan(skin).all((1, 2))] = 0
        levels[start : start + _BATCH] = np.nanmedian(skin, axis=1)
    return levels


def _change(levels: F32, usual: F32) -> F32:
    """Largest change of a channel, natural logarithm. (T, 3) and (1, 3) to (T,)."""
    apart = np.log(levels + FLOOR) - np.log(usual + FLOOR)
    return np.abs(apart).max(1).astype(np.float32)


def _unevenness(light: U8, usual: F32) -> F32:
    """How much more the light of one part of the face changed than that of all of it. (T,)."""
    found = np.zeros(len(light), np.float32)
    skin, base = _skin_cells(), np.log(usual.mean(-1) + FLOOR)
    for start in range(0, len(light), _BATCH):
        part = light[start : start + _BATCH].astype(np.float32)
        shown = (part > 0).any(-1) & skin & (usual > 0).any(-1)
        apart = np.log(part.mean(-1) + FLOOR) - base
        whole = (apart * shown).sum((1, 2)) / np.maximum(shown.sum((1, 2)), 1)
        beyond = (apart - whole[:, None, None]) * shown
        smooth = smoothed_field(beyond[..., None], shown.astype(np.float32))[..., 0]
        found[start : start + _BATCH] = np.abs(smooth * shown).max((1, 2))
    return found


def _white_share(light: U8 | F32) -> NDArray[np.floating]:
    """How much of the skin is clipped in two channels or more. (T, `GRID`, 3) to (T,)."""
    skin = light[:, _skin_cells()]
    white = (skin >= _CLIPPED_LEVEL).sum(-1) >= 2
    return white.sum(1) / np.maximum((skin > 0).any(-1).sum(1), 1)


def _usual_frames(levels: F32, chosen: Int) -> Int:
    """Of some frames those in the light that most of them share; well exposed light counts more."""
    own = levels[chosen]
    tried = np.unique(np.linspace(0, len(chosen) - 1, min(_CANDIDATES, len(chosen))).astype(int))
    best, best_score = chosen[:1], -1.0
    for index in tried:
        like = _change(own, own[index][None]) < _OTHER / 2
        luma = float(own[index].mean())
        exposed = min(luma / _GOOD_LEVEL, 1.0) * (0.5 if luma > _CLIPPED_LEVEL - 15 else 1.0)
        score = float(like.sum()) * max(exposed, 0.02)
        if score > best_score:
            best, best_score = chosen[like], score
    return best


def _steadied(track: FaceTrack, levels: F32, frames: Int) -> F32:
    """Mean colours of some frames, averaged over neighbours in the same light. (F, `GRID`, 3)."""
    total = np.zeros((len(frames), *GRID, 3), np.float32)
    weights = np.zeros((len(frames), *GRID, 1), np.float32)
    for offset in range(-_REACH, _REACH + 1):
        other = np.clip(frames + offset, 0, len(track) - 1)
        apart = np.abs(np.log(levels[other] + FLOOR) - np.log(levels[frames] + FLOOR)).max(1)
        same = (track.shot[other] == track.shot[frames]) & (other == frames + offset)
        weight = np.exp(-((apart / _STEADY) ** 2) - offset**2 / 4) * same * track.valid[other]
        weight = np.where(offset == 0, 1, weight).astype(np.float32)
        shown = (track.light[other] > 0).any(-1, keepdims=True)
        each = weight[:, None, None, None] * shown
        total += each * track.light[other]
        weights += each
    return (total / np.maximum(weights, 1e-6)).astype(np.float32, copy=False)
