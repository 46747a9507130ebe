"""What a placed patch takes over from the picture around it: its palette and its noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from dubcli.composite.grain import add_grain, measure_grain
from dubcli.composite.palette import Palette, keep_in_palette, limited_palette
from dubcli.core.types import F32, U8, Bool, FramePatch
from dubcli.face.landmarks import face_oval

# The oval is drawn this much smaller: landmarks at the edge may lie on what is behind.
_INSIDE = 0.92
# Longest side of the reduced picture that tells the palette, px.
_REDUCED = 72
_SHIFT = 4


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """The part of a coded frame around a face.

    Attributes:
        x: Left edge, coded px.
        y: Top edge, coded px.
        rgb: Shape (h, w, 3), uint8.
        landmarks: Kept points, px of `rgb`. Shape (K, 2).
        grain_share: From `grain.grain_share`; 0 for a clean picture.
        seed: Of the noise.
    """

    x: int
    y: int
    rgb: U8
    landmarks: F32
    grain_share: float
    seed: int


def match_picture(patch: FramePatch, region: U8, around: Surroundings) -> FramePatch:
    """The patch in the picture's own colours and with its noise.

    Args:
        patch: In place.
        region: What the frame shows there, RGB. Shape (h, w, 3), uint8.
        around: The face that it lies on.
    """
    skin = face_mask(around.landmarks, around.rgb.shape)
    palette = _palette(around.rgb, skin)
    if palette is not None:
        patch = replace(patch, rgb=keep_in_palette(patch.rgb, palette))
    if around.grain_share <= 0:
        return patch
    top, left = patch.y - around.y, patch.x - around.x
    height, width = patch.alpha.shape
    rows = slice(max(0, top), max(0, top + height))
    columns = slice(max(0, left), max(0, left + width))
    beside = skin.copy()
    within = beside[rows, columns]
    within &= (
        patch.alpha[
            rows.start - top : rows.start - top + within.shape[0],
            columns.start - left : columns.start - left + within.shape[1],
        ]
        <= 0
    )
    grain = measure_grain(around.rgb, beside, around.grain_share)
    return patch if grain is None else add_grain(patch, region, grain, around.seed)


def face_mask(landmarks: F32, shape: tuple[int, ...]) -> Bool:
    """The face's oval.

    Args:
        landmarks: Kept points, px. Shape (K, 2 or 3).
        shape: Height, width of the mask first.
    """
    points = landmarks[face_oval(), :2].astype(np.float64)
    points = points.mean(0) + _INSIDE * (points - points.mean(0))
    mask = np.zeros(shape[:2], np.uint8)
    fixed = np.round(points * (1 << _SHIFT)).astype(np.int32)
    cv2.fillConvexPoly(mask, cv2.convexHull(fixed), (1,), shift=_SHIFT)
    return mask > 0


def _palette(picture: U8, skin: Bool) -> Palette | None:
    factor = min(1.0, _REDUCED / max(picture.shape[:2]))
    size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
    small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    inside = cv2.resize(skin.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.99
    return limited_palette(small, inside)
