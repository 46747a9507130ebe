"""Gains, offsets and factors that bring a face's usual light to a frame's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from dubcli.core.types import F32, F64, U8, Bool

# What gain and offset are of: code values, linear light, logarithms, or luma and chroma. The latter
# is how editors change light; it costs more, so it must explain clearly more.
Space = Literal["code", "linear", "log", "luma"]
_SPACES: tuple[Space, ...] = ("code", "linear", "log", "luma")
_CLEARLY = 0.85
_GAMMA = 2.2
# Added to levels before their logarithm: the last ones are noise.
FLOOR = 4.0
# Residuals, levels, from which on a cell counts less, and levels that are clipped.
_UNLIKE = 6.0
_BLACK, _WHITE = 1 / 255, 250 / 255
# Bounds of a gain, how far it may lie off the ratio of the means (standard deviation, share), and
# cells that say as much as one: neighbours err alike.
_LEAST_GAIN, _MOST_GAIN, _OFF_RATIO, _ALIKE = 1 / 40, 8.0, 0.2, 4.0
# Factors of the field that are left to the paste, and from which on they count in full; natural
# logarithm. Reach of its luma and of its colours, cells.
_EVEN, _UNEVEN = 0.12, 0.26
_FINE, _WIDE = 1.6, 3.5
# Largest logarithm of a factor, and how far off its surroundings a cell counts half: hair, a hand.
_MOST_FACTOR, _OTHER_THING = 0.8, 0.25
# Share of the grid above the mouth's surroundings.
_LOWER = 0.4
_ROUNDS, _REWEIGHTINGS = 4, 3
# BT.601, full range; chroma around 0.
_TO_LUMA = np.array(
    [[0.299, 0.587, 0.114], [0.5, -0.418688, -0.081312], [-0.168736, -0.331264, 0.5]]
)
_FROM_LUMA = np.linalg.inv(_TO_LUMA)


@dataclass(frozen=True, kw_only=True)
class LightMap:
    """From the usual light of a face to one frame's.

    Attributes:
        space: What is scaled.
        gain: Per plane. Shape (3,).
        offset: Added after it. Shape (3,).
        field: Factors of code values over the crop (in `luma`: of luma, three times), or None where
            they are all 1. Shape (grid height, grid width, 3).
    """

    space: Space
    gain: F64
    offset: F64
    field: F32 | None = None

    def to_usual(self, picture: U8) -> U8:
        """A frame's crop in the usual light. RGB (H, W, 3), at any multiple of the crop's size."""
        if self.field is None and self.space != "luma":
            table = self._inverse(_ramp())
            levels = np.clip(np.rint(255 * table), 0, 255).astype(np.uint8)
            return np.asarray(cv2.LUT(picture, levels[None]), np.uint8)
        even = picture.astype(np.float32) / np.float32(255)
        if self.field is not None:
            even = without_field(even, self._field_at(picture.shape), self.space)
        return np.clip(np.rint(255 * self._applied(even, inverse=True)), 0, 255).astype(np.uint8)

    def to_frame(self, picture: U8) -> F32:
        """A crop that shows the usual light in the frame's. RGB (H, W, 3); float32 in [0, 1]."""
        if self.space == "luma":
            lit = self._applied(picture.astype(np.float32) / np.float32(255), inverse=False)
        else:
            table = self._forward(_ramp()).astype(np.float32)
            lit = np.asarray(cv2.LUT(picture, table[None]), np.float32)
        if self.field is not None:
            lit = with_field(lit, self._field_at(picture.shape), self.space)
        return np.clip(lit, 0, 1).astype(np.float32, copy=False)

    def _applied(self, picture: F32, *, inverse: bool) -> F32:
        """The map on float pictures in [0, 1], or its inverse."""
        if self.space != "luma":
            table = self._inverse(_ramp()) if inverse else self._forward(_ramp())
            planes = [
                np.interp(255 * picture[..., k], np.arange(256), table[:, k]) for k in range(3)
            ]
            return np.stack(planes, -1).astype(np.float32)
        gain = 1 / self.gain if inverse else self.gain
        offset = -self.offset / self.gain if inverse else self.offset
        matrix = _FROM_LUMA @ np.diag(gain) @ _TO_LUMA
        whole = np.concatenate([matrix, (_FROM_LUMA @ offset)[:, None]], 1).astype(np.float32)
        return np.asarray(cv2.transform(picture, whole), np.float32)

    def _forward(self, usual: F64) -> F64:
        return decoded(encoded(usual, self.space) * self.gain + self.offset, self.space)

    def _inverse(self, levels: F64) -> F64:
        return decoded((encoded(levels, self.space) - self.offset) / self.gain, self.space)

    def _field_at(self, shape: tuple[int, ...]) -> F32:
        assert self.field is not None
        size = (shape[1], shape[0])
        return np.asarray(cv2.resize(self.field, size, interpolation=cv2.INTER_LINEAR), np.float32)


def fit_light(usual: F32, seen: F32, skin: Bool, share: NDArray[np.floating]) -> list[LightMap]:
    """Maps from the usual light to that of some frames, by robust least squares.

    Args:
        usual: Mean colours, levels, 0 where unknown. Shape (h, w, 3).
        seen: The same of each frame. Shape (F, h, w, 3).
        skin: Cells that count. Shape (h, w).
        share: How much of each frame's map is wanted, 0 to 1. Shape (F,).
    """
    known = skin & (usual > 0).any(-1) & (seen > 0).any(-1)
    levels = [np.asarray(colours, np.float64) / 255 for colours in (usual, seen)]
    fits = [_fit(levels[0], levels[1], known, space) for space in _SPACES]
    # One space for the whole video: what lies beyond the skin's levels must not jump.
    left = [float(fit.left.mean()) for fit in fits]
    best = int(np.argmin(left[:-1]))
    if left[-1] < _CLEARLY * left[best]:
        best = len(fits) - 1
    fit = fits[best]
    is_even = (fit.field == 1).all((1, 2, 3))
    return [
        LightMap(
            space=_SPACES[best],
            gain=1 + share[frame] * (fit.gain[frame] - 1),
            offset=share[frame] * fit.offset[frame],
            field=None if is_even[frame] else fit.field[frame].astype(np.float32),
        )
        for frame in range(len(seen))
    ]


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """Gain and offset (F, 3), field (F, h, w, 3) and mean residual, levels (F,)."""

    gain: F64
    offset: F64
    field: F64
    left: F64


def _fit(usual: F64, seen: F64, known: Bool, space: Space) -> _Fit:
    """Gain, offset and field in turn: each is fitted to what the other leaves."""
    x = encoded(usual, space)
    clipped = (seen >= _WHITE) | (seen <= _BLACK)
    base = np.where(clipped.any(-1) if space == "luma" else False, 0.02, 1.0) * known
    weight = base[..., None] * np.where(clipped, 0.02, 1.0)
    field, shown = np.ones(seen.shape), seen
    gain, offset = np.ones((len(seen), 3)), np.zeros((len(seen), 3))
    for _ in range(_ROUNDS):
        even = without_field(shown, field, space)
        gain, offset = _affine(x, even, weight, space)
        fitted = decoded(x * gain[:, None, None] + offset[:, None, None], space)
        field = _field(fitted, shown, known, space)
    off = 255 * np.abs(with_field(fitted, field, space) - shown)
    counted = np.minimum(off, 3 * _UNLIKE) * weight
    total = np.maximum(weight.sum((1, 2, 3)), 1e-6)
    return _Fit(gain=gain, offset=offset, field=field, left=counted.sum((1, 2, 3)) / total)


def _affine(x: F64, even: F64, base: F64, space: Space) -> tuple[F64, F64]:
    """Gain and offset of each frame and plane (F, 3), by reweighted least squares."""
    y, weight, axes = encoded(even, space), base, (1, 2)
    gain, offset = np.ones((len(even), 3)), np.zeros((len(even), 3))
    for _ in range(_REWEIGHTINGS):
        total = np.maximum(weight.sum(axes), 1e-6)
        mean_x, mean_y = (weight * x).sum(axes) / total, (weight * y).sum(axes) / total
        away = x - mean_x[:, None, None]
        spread = (weight * away**2).sum(axes) / total
        both = (weight * away * (y - mean_y[:, None, None])).sum(axes) / total
        # Even skin says little of the gain: then it is the ratio of the means.
        safe = np.where(np.abs(mean_x) < 0.01, 0.01, mean_x)
        ratio = np.ones_like(mean_x) if space == "log" else np.clip(mean_y / safe, -2, _MOST_GAIN)
        noise = (weight * (y - mean_y[:, None, None] - ratio[:, None, None] * away) ** 2).sum(axes)
        noise = noise / total * _ALIKE / np.maximum(total, 1)
        doubt = (_OFF_RATIO * np.maximum(np.abs(ratio), 0.05)) ** 2
        gain = (both * doubt + ratio * noise) / (spread * doubt + noise + 1e-12)
        gain = np.clip(gain, _LEAST_GAIN, _MOST_GAIN)
        offset = mean_y - gain * mean_x
        fitted = decoded(x * gain[:, None, None] + offset[:, None, None], space)
        weight = base / (1 + (255 * (fitted - even) / _UNLIKE) ** 2)
    return gain, offset


def _field(fitted: F64, shown: F64, known: Bool, space: Space) -> F64:
    """Smooth factors that gains and offsets leave, 1 in frames that need none. As `shown`."""
    weight = known.astype(np.float64)
    luma = [picture @ _TO_LUMA[0] for picture in (shown, fitted)]
    floor = FLOOR / 255
    apart = np.log((luma[0] + floor) / (np.maximum(luma[1], 0) + floor))[..., None]
    even = smoothed_field(apart, weight, _FINE)
    smooth = np.repeat(even, 3, -1)
    if space != "luma":
        each = np.log((shown + floor) / (np.maximum(fitted, 0) + floor))
        smooth = smooth + smoothed_field(each - apart, weight, _WIDE)
    # What the light does to the brow does not concern the mouth.
    lower = weight * (np.arange(weight.shape[1]) >= weight.shape[1] * _LOWER)[:, None]
    strongest = np.abs(smooth * lower[..., None]).max((1, 2, 3))
    share = np.clip((strongest - _EVEN) / (_UNEVEN - _EVEN), 0, 1)[:, None, None, None]
    return np.exp(share * smooth)


def smoothed_field(values: NDArray, weight: NDArray, reach: float = _FINE) -> NDArray:
    """Weighted means of the cells around each, without cells that show something else.

    Args:
        values: Logarithms of factors. Shape (F, h, w, C).
        weight: Shape (F, h, w).
        reach: Standard deviation, cells.
    """
    held = np.clip(values, -_MOST_FACTOR, _MOST_FACTOR)
    first = smoothed(held, weight, reach)
    beyond = (np.abs(held - first).max(-1) / _OTHER_THING) ** 2
    return smoothed(held, weight / (1 + beyond * beyond), reach)


def with_field(picture: NDArray, field: NDArray, space: Space) -> NDArray:
    """A picture, 0 to 1, with its code values scaled, or its luma alone. Shapes (..., 3)."""
    if space != "luma":
        return picture * field
    luma = picture @ _TO_LUMA[0].astype(picture.dtype)
    return picture + (luma * (field[..., 0] - 1))[..., None]


def without_field(picture: NDArray, field: NDArray, space: Space) -> NDArray:
    """The inverse of `with_field`."""
    return with_field(picture, 1 / field, space)


def smoothed(values: NDArray, weight: NDArray, reach: float = _FINE) -> NDArray:
    """Weighted means of cells around each, on a grid: (F, h, w, C) under (F, h, w).

    Normalised convolution (Knutsson and Westin 1993, doi:10.1109/CVPR.1993.341081).
    """
    down, across = (_near(size, reach) for size in values.shape[1:3])
    total = np.einsum("ij,fjk,lk->fil", down, weight, across, optimize=True)
    summed = np.einsum("ij,fjkc,lk->filc", down, values * weight[..., None], across, optimize=True)
    return summed / (total + 0.02)[..., None]


@cache
def _near(size: int, reach: float) -> F64:
    place = np.arange(size)
    near = np.exp(-0.5 * ((place[:, None] - place) / reach) ** 2)
    return near / np.exp(-0.5 * (place / reach) ** 2).sum() / 2


def encoded(levels: F64, space: Space) -> F64:
    """RGB code values, 0 to 1, in a space. Shapes (..., 3)."""
    if space == "code":
        return levels
    if space == "linear":
        return np.maximum(levels, 0) ** _GAMMA
    if space == "log":
        return np.log(np.maximum(levels, 0) + FLOOR / 255)
    return levels @ _TO_LUMA.T


def decoded(values: F64, space: Space) -> F64:
    """The inverse of `encoded`."""
    if space == "code":
        return values
    if space == "linear":
        return np.maximum(values, 0) ** (1 / _GAMMA)
    if space == "log":
        return np.exp(np.minimum(values, 2.0)) - FLOOR / 255
    return values @ _FROM_LUMA.T


def _ramp() -> F64:
    """Every code value in each channel. Shape (256, 3)."""
    return np.repeat(np.arange(256)[:, None] / 255, 3, 1)
