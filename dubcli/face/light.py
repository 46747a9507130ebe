"""In which light each frame shows a face, and what brings one frame's light to another's.

Pass 1 keeps a few mean colours of every aligned face. Frames in the light that most good ones share
set the *usual* light. Where a frame differs from it, its colours are fitted, channel by channel, by
a gain and an offset: of the code values, of linear light (code values to the power of 2.2), or of
their logarithm, whichever explains the video best. What this leaves, as of a lamp from the side, is
a smooth field of factors over the face.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from dubcli.core.types import F32, F64, U8, Bool, FaceTrack, Int
from dubcli.face.crop import cut_crop
from dubcli.face.landmarks import face_oval
from dubcli.face.pose import crop_alignment, fit_pose, mean_face, mouth_box

# Height, width of the grid of mean colours over an aligned crop, and pixels a side of its cells.
GRID = (13, 10)
_CELL = 4
# Largest change of a channel's usual skin level that is left to the paste, and from which on it is
# made up for in full; of natural logarithms. Turns of the head stay below.
_SAME, _OTHER = 0.05, 0.11
# The same of the field's factors.
_EVEN, _UNEVEN = 0.12, 0.3
# Added to levels before their logarithm: the last ones are noise.
_FLOOR = 4.0
# Exponents of the code values in which gain and offset are sought; 0 is the logarithm.
_POWERS = (1.0, 2.2, 0.0)
# Residuals, levels, from which on a cell counts less.
_UNLIKE = 6.0
# Bounds of a gain.
_LEAST_GAIN, _MOST_GAIN = 1 / 40, 8.0
# Skin below the first level, or less than the second share of its usual one, is lost in black.
_DARK_LEVEL, _DARK_SHARE = 7.0, 0.06
# A channel at this level is clipped, and a face so much of which is lost in white.
_CLIPPED_LEVEL, _CLIPPED_SHARE = 250, 0.6
# Frames that are tried as the usual light, the light's level that serves best, and the spread of
# logarithms that weighs frames in other light.
_CANDIDATES, _GOOD_LEVEL, _LIKE = 64, 100.0, 0.12
# How many frames on either side a light is averaged over while it stays the same within this.
_REACH, _STEADY = 2, 0.03

TOO_DARK, OVEREXPOSED = "too_dark", "overexposed"


@dataclass(frozen=True, kw_only=True)
class LightMap:
    """From the usual light of a face to one frame's.

    Attributes:
        power: Exponent of the code values, 0 to 1, that are scaled; 0 for their logarithm.
        gain: Per channel. Shape (3,).
        offset: Added after it. Shape (3,).
        field: Factors of code values over the crop, or None where they are all 1. Shape
            (`GRID`, 3).
    """

    power: float
    gain: F64
    offset: F64
    field: F32 | None = None

    def to_usual(self, picture: U8) -> U8:
        """A frame's crop in the usual light. RGB (H, W, 3), at any multiple of the crop's size."""
        levels = self._inverse(np.arange(256) / 255)
        if self.field is None:
            table = np.clip(np.rint(255 * levels), 0, 255).astype(np.uint8)
            return np.asarray(cv2.LUT(picture, table[None]), np.uint8)
        table = (255 * levels).astype(np.float32)
        even = picture.astype(np.float32) / self._field_at(picture.shape)
        return np.clip(np.rint(_look_up(table, even)), 0, 255).astype(np.uint8)

    def to_frame(self, picture: U8) -> F32:
        """A crop that shows the usual light in the frame's. RGB (H, W, 3); float32 in [0, 1]."""
        table = np.clip(self._forward(np.arange(256) / 255), 0, 1).astype(np.float32)
        lit = np.asarray(cv2.LUT(picture, table[None]), np.float32)
        if self.field is not None:
            lit = np.clip(lit * self._field_at(picture.shape), 0, 1)
        return lit

    def _forward(self, usual: F64) -> F64:
        """Levels (M,) to (M, 3)."""
        scaled = _to_power(usual, self.power)[:, None] * self.gain + self.offset
        return _from_power(scaled, self.power)

    def _inverse(self, levels: F64) -> F64:
        scaled = (_to_power(levels, self.power)[:, None] - self.offset) / self.gain
        return _from_power(scaled, self.power)

    def _field_at(self, shape: tuple[int, ...]) -> F32:
        assert self.field is not None
        size = (shape[1], shape[0])
        return np.asarray(cv2.resize(self.field, size, interpolation=cv2.INTER_LINEAR), np.float32)


@dataclass(frozen=True, kw_only=True)
class FaceLight:
    """The light of a face over a video.

    Attributes:
        usual: Mean colours in the usual light. Shape (`GRID`, 3), float32.
        departure: Largest change of a channel's skin level from it, natural logarithm, 0 where
            nothing is known. Shape (T,).
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
        lit = [frame for frame, one in self.maps.items() if one.field is not None]
        other = self.departure > _OTHER
        other[lit] = True
        return other

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
        Shape (`GRID`, 3), uint8.
    """
    size = (GRID[0] * _CELL, GRID[1] * _CELL)
    crop = cut_crop(image, crop_alignment(fit_pose(landmarks[None]), size).frame_to_crop[0], size)
    return np.asarray(cv2.resize(crop, GRID[::-1], interpolation=cv2.INTER_AREA), np.uint8)


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
    usual = np.median(track.light[like], axis=0).astype(np.float32)
    departure = _departure(levels, _skin_levels(usual[None]))
    other = np.flatnonzero(departure > _SAME)
    maps = _fit_maps(track, levels, other, usual, departure)
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
    usual = np.median(light[_usual_frames(levels, np.flatnonzero(known))], axis=0)
    at_best = _skin_levels(usual[None].astype(np.float32))[0]
    luma, usual_luma = levels.mean(1), float(at_best.mean())
    is_other = _departure(levels, at_best[None]) > _OTHER
    dark = (luma < _DARK_LEVEL) | (luma < _DARK_SHARE * usual_luma)
    skin = _skin_cells()
    white = (light[:, skin] >= _CLIPPED_LEVEL).sum(-1) >= 2
    usual_white = float(((usual[skin] >= _CLIPPED_LEVEL).sum(-1) >= 2).mean())
    pale = white.mean(1) > max(_CLIPPED_SHARE, 2 * usual_white)
    why[known & is_other & pale] = OVEREXPOSED
    why[known & is_other & dark] = TOO_DARK
    return why


@cache
def _skin_cells() -> Bool:
    """Cells of the grid on the face, but for the mouth. Shape `GRID`."""
    size = (GRID[0] * _CELL, GRID[1] * _CELL)
    face = mean_face()[None]
    pose = fit_pose(face)
    matrix = crop_alignment(pose, size).frame_to_crop[0]
    points = face[0, face_oval(), :2] @ matrix[:, :2].T + matrix[:, 2]
    mask = np.zeros(size, np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(points.round().astype(np.int32)), (1,))
    rows, columns = mouth_box(size)
    mask[rows, columns] = 0
    cells = mask.reshape(GRID[0], _CELL, GRID[1], _CELL).mean((1, 3))
    return cells > 0.6


def _skin_levels(light: U8 | F32) -> F32:
    """Median of each channel over the skin. (T, `GRID`, 3) to (T, 3)."""
    return np.median(light[:, _skin_cells()], axis=1).astype(np.float32)


def _departure(levels: F32, usual: F32) -> F32:
    """Largest change of a channel, natural logarithm. (T, 3) and (1, 3) to (T,)."""
    apart = np.log(levels + _FLOOR) - np.log(usual + _FLOOR)
    return np.abs(apart).max(1).astype(np.float32)


def _usual_frames(levels: F32, chosen: Int) -> Int:
    """Of some frames those in the light that most of them share; well exposed light counts more."""
    own = levels[chosen]
    tried = np.unique(np.linspace(0, len(chosen) - 1, min(_CANDIDATES, len(chosen))).astype(int))
    best, best_score = chosen[:1], -1.0
    for index in tried:
        like = _departure(own, own[index][None]) < _OTHER / 2
        luma = float(own[index].mean())
        exposed = min(luma / _GOOD_LEVEL, 1.0) * (0.5 if luma > _CLIPPED_LEVEL - 15 else 1.0)
        score = float(like.sum()) * max(exposed, 0.02)
        if score > best_score:
            best, best_score = chosen[like], score
    return best


def _fit_maps(
    track: FaceTrack, levels: F32, frames: Int, usual: F32, departure: F32
) -> dict[int, LightMap]:
    """Maps of the frames in another light."""
    if len(frames) == 0:
        return {}
    skin = _skin_cells()
    seen = _steadied(track, levels, frames)
    known = usual[skin].astype(np.float64) / 255
    shown = seen[:, skin].astype(np.float64) / 255
    fits = [_fit(known, shown, power) for power in _POWERS]
    # One for the whole video: what lies beyond the skin's levels must not jump between frames.
    gain, offset, _ = fits[best := int(np.argmin([left.mean() for _, _, left in fits]))]
    power = _POWERS[best]
    maps: dict[int, LightMap] = {}
    share = _smooth_step((departure[frames] - _SAME) / (_OTHER - _SAME)).astype(np.float64)
    for row, frame in enumerate(frames.tolist()):
        whole = LightMap(power=power, gain=gain[row], offset=offset[row])
        maps[frame] = LightMap(
            power=power,
            gain=1 + share[row] * (gain[row] - 1),
            offset=share[row] * offset[row],
            field=_field(whole, usual, seen[row]),
        )
    return maps


def _steadied(track: FaceTrack, levels: F32, frames: Int) -> F32:
    """Mean colours of some frames, averaged over neighbours in the same light. (F, `GRID`, 3)."""
    total = np.zeros((len(frames), *GRID, 3), np.float32)
    weights = np.zeros(len(frames), np.float32)
    for offset in range(-_REACH, _REACH + 1):
        other = np.clip(frames + offset, 0, len(track) - 1)
        apart = np.abs(np.log(levels[other] + _FLOOR) - np.log(levels[frames] + _FLOOR)).max(1)
        same = (track.shot[other] == track.shot[frames]) & (other == frames + offset)
        weight = np.exp(-((apart / _STEADY) ** 2) - offset**2 / 4) * same * track.valid[other]
        weight = np.where(offset == 0, 1, weight).astype(np.float32)
        total += weight[:, None, None, None] * track.light[other]
        weights += weight
    return total / weights[:, None, None, None]


def _fit(usual: F64, shown: F64, power: float) -> tuple[F64, F64, F64]:
    """Gain and offset of each frame, robust (iteratively reweighted least squares).

    Args:
        usual: Levels, 0 to 1. Shape (M, 3).
        shown: The same cells of each frame. Shape (F, M, 3).
        power: Exponent in which they are sought.

    Returns:
        Gain (F, 3), offset (F, 3), and the mean residual of each frame, levels (F,).
    """
    x, y = _to_power(usual, power)[None], _to_power(shown, power)
    clipped = (shown >= _CLIPPED_LEVEL / 255) | (shown <= 1 / 255)
    base = np.where(clipped, 0.02, 1.0)
    weight = base
    for _ in range(6):
        total = weight.sum(1)
        mean_x, mean_y = (weight * x).sum(1) / total, (weight * y).sum(1) / total
        away_x = x - mean_x[:, None]
        spread = (weight * away_x**2).sum(1)
        both = (weight * away_x * (y - mean_y[:, None])).sum(1)
        # Where the skin is even, levels say little of the gain: then it is the ratio of the means.
        prior = mean_y / mean_x if power > 0 else np.ones_like(mean_x)
        trust = 0.02 * total * (mean_x**2 if power > 0 else 0.1) * 0.05
        gain = np.clip((both + trust * prior) / (spread + trust), _LEAST_GAIN, _MOST_GAIN)
        offset = mean_y - gain * mean_x
        left = 255 * (_from_power(gain[:, None] * x + offset[:, None], power) - shown)
        weight = base / (1 + (left / _UNLIKE) ** 2)
    off = np.minimum(np.abs(left), 3 * _UNLIKE)
    return gain, offset, np.asarray((base * off).sum((1, 2)) / base.sum((1, 2)), np.float64)


def _field(fit: LightMap, usual: F32, seen: F32) -> F32 | None:
    """Smooth factors that the fit leaves over the face; None where they are close to 1."""
    skin = _skin_cells().astype(np.float32)
    flat = usual.reshape(-1, 3).astype(np.float64) / 255
    scaled = _to_power(flat, fit.power) * fit.gain + fit.offset
    fitted = 255 * _from_power(scaled, fit.power).reshape(*GRID, 3)
    apart = np.log((seen + _FLOOR) / (fitted + _FLOOR)).astype(np.float32) * skin[..., None]
    sigma = (0, 0), 1.6
    total = cv2.GaussianBlur(skin, *sigma, borderType=cv2.BORDER_CONSTANT)
    spread = cv2.GaussianBlur(apart, *sigma, borderType=cv2.BORDER_CONSTANT)
    smooth = np.asarray(spread, np.float32) / (np.asarray(total, np.float32) + 0.02)[..., None]
    strongest = float(np.abs(smooth[_skin_cells()]).max())
    share = float(_smooth_step(np.array((strongest - _EVEN) / (_UNEVEN - _EVEN))))
    if share == 0:
        return None
    return np.exp(share * smooth).astype(np.float32)


def _to_power(levels: F64, power: float) -> F64:
    return levels**power if power > 0 else np.log(levels + _FLOOR / 255)


def _from_power(values: F64, power: float) -> F64:
    if power > 0:
        return np.maximum(values, 0) ** (1 / power)
    return np.exp(np.minimum(values, 2.0)) - _FLOOR / 255


def _look_up(table: F32, levels: F32) -> F32:
    """Values between a table's (256, 3), for levels (H, W, 3) that are no whole numbers."""
    found = [
        np.interp(levels[..., channel], np.arange(256), table[:, channel]) for channel in range(3)
    ]
    return np.stack(found, -1).astype(np.float32)


def _smooth_step(share: NDArray[np.floating]) -> NDArray[np.floating]:
    inside = np.clip(share, 0, 1)
    return inside * inside * (3 - 2 * inside)
