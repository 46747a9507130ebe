"""Whether a dubbed mouth belongs to the picture around it: its light, its palette, its noise.

All is compared with the source's own frame, where mouth and surroundings belong together. The
*patch* is the skin around the lips, without the lips of either frame; the *surroundings* are the
skin between eyes and nose tip, which no dub changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dubcli.core.types import F32, F64, U8, Bool
from dubcli.face.landmarks import EYE_CORNERS, LIPS_OUTER, face_oval, inter_ocular, position
from dubcli.metrics.colour_difference import ciede2000, mean_lab

# How much larger than the lips' outline the patch reaches, and how much the outline is left out.
_PATCH, _LIPS = 1.9, 1.25
# Skin below the eye centres, inter-ocular distances; the oval's share that counts.
_BELOW_EYES, _INSIDE = 0.25, 0.85
_NOSE_TIP = position(1)
# What is finer than this (standard deviation, px) is fine structure.
_FINE = 2.0
# How far chroma may lie off the palette, levels.
_TOLERANCE = 1.0
# Luma that counts as the same, standard deviation, levels.
_NEAR = 5.0
_LEAST_PIXELS = 30


@dataclass(frozen=True, kw_only=True)
class PictureMatch:
    """One dubbed frame beside its source.

    Attributes:
        colour_difference: CIEDE2000 between patch and surroundings.
        own_colour_difference: The same in the source.
        lips_difference: CIEDE2000 between lips and surroundings.
        own_lips_difference: The same in the source.
        outside_palette: Share of the mouth's pixels whose chroma the source's face does not show at
            that luma.
        noise_ratio: Fine structure of the patch over that of the surroundings.
        own_noise_ratio: The same in the source.
    """

    colour_difference: float
    own_colour_difference: float
    lips_difference: float
    own_lips_difference: float
    outside_palette: float
    noise_ratio: float
    own_noise_ratio: float

    @property
    def meets_colour(self) -> bool:
        """At most 1.3 times the source's own difference, or at most 0.5 above it."""
        own = self.own_colour_difference
        return self.colour_difference <= max(1.3 * own, own + 0.5)


def match_of(source: U8, dubbed: U8, own: F32, new: F32) -> PictureMatch | None:
    """Compare a dubbed frame with its source.

    Args:
        source: RGB. Shape (H, W, 3), uint8.
        dubbed: The same frame, dubbed.
        own: Kept points of the source's face, px. Shape (K, 2 or 3).
        new: The same of the dubbed face.

    Returns:
        None where too little skin is seen.
    """
    size = source.shape[:2]
    lips = [_grown(marks, _LIPS, size) for marks in (own, new)]
    patch = _grown(own, _PATCH, size) & ~lips[0] & ~lips[1] & _oval(own, size)
    around = _surroundings(own, size)
    if min(patch.sum(), around.sum()) < _LEAST_PIXELS:
        return None
    mouths = [_grown(marks, 1.0, size) for marks in (own, new)]
    skin = [mean_lab(picture[around]) for picture in (source, dubbed)]
    patches = [mean_lab(picture[patch]) for picture in (source, dubbed)]
    painted = [
        mean_lab(picture[mouth]) for picture, mouth in zip((source, dubbed), mouths, strict=True)
    ]
    noise = [
        _fine_level(picture, patch) / max(_fine_level(picture, around), 0.1)
        for picture in (source, dubbed)
    ]
    return PictureMatch(
        colour_difference=ciede2000(patches[1], skin[1]),
        own_colour_difference=ciede2000(patches[0], skin[0]),
        lips_difference=ciede2000(painted[1], skin[1]),
        own_lips_difference=ciede2000(painted[0], skin[0]),
        outside_palette=_outside_palette(source[_oval(own, size)], dubbed[mouths[1]]),
        noise_ratio=noise[1],
        own_noise_ratio=noise[0],
    )


def _grown(marks: F32, factor: float, size: tuple[int, int]) -> Bool:
    points = marks[LIPS_OUTER, :2].astype(np.float64)
    return _fill(points.mean(0) + factor * (points - points.mean(0)), size)


def _oval(marks: F32, size: tuple[int, int]) -> Bool:
    points = marks[face_oval(), :2].astype(np.float64)
    return _fill(points.mean(0) + _INSIDE * (points - points.mean(0)), size)


def _surroundings(marks: F32, size: tuple[int, int]) -> Bool:
    """Skin of the oval between the eyes and the nose tip, as the head stands."""
    eyes = marks[list(EYE_CORNERS), :2].astype(np.float64)
    left, right = eyes[:2].mean(0), eyes[2:].mean(0)
    across = (right - left) / max(float(np.linalg.norm(right - left)), 1e-6)
    down = np.array([-across[1], across[0]])
    middle, unit = (left + right) / 2, float(inter_ocular(marks[:, :2]))
    tip = float((marks[_NOSE_TIP, :2] - middle) @ down)
    rows, columns = np.mgrid[: size[0], : size[1]]
    depth = (columns - middle[0]) * down[0] + (rows - middle[1]) * down[1]
    return _oval(marks, size) & (depth > _BELOW_EYES * unit) & (depth < tip)


def _fill(points: F64, size: tuple[int, int]) -> Bool:
    mask = np.zeros(size, np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(points.round().astype(np.int32)), (1,))
    return mask > 0


def _fine_level(picture: U8, mask: Bool) -> float:
    """Deviation of a region's fine structure, grey levels, by the median absolute deviation."""
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine = (luma - cv2.GaussianBlur(luma, (0, 0), _FINE))[mask]
    return 1.4826 * float(np.median(np.abs(fine - np.median(fine))))


def _outside_palette(face: U8, mouth: U8) -> float:
    """Share of a mouth's pixels (M, 3) off the chroma that a face's (N, 3) show at their luma.

    How far 97.5 % of the face's pixels lie off the mean chroma of their luma is the width of the
    palette. Luma that the face does not show says nothing.
    """
    seen, found = (
        cv2.cvtColor(pixels[None], cv2.COLOR_RGB2YCrCb)[0].astype(np.int64)
        for pixels in (face, mouth)
    )
    low, high = np.quantile(seen[:, 0], (0.005, 0.995))
    found = found[(found[:, 0] >= low) & (found[:, 0] <= high)]
    if len(found) == 0:
        return 0.0
    counts, *sums = (
        cv2.GaussianBlur(np.bincount(seen[:, 0], weights, 256)[None], (0, 0), _NEAR)[0]
        for weights in (np.ones(len(seen)), seen[:, 1], seen[:, 2])
    )
    curve = np.stack(sums, 1) / np.maximum(counts, 1e-9)[:, None]
    own, new = (np.abs(x[:, 1:] - curve[x[:, 0]]).max(1) for x in (seen, found))
    return float((new > np.quantile(own, 0.975) + _TOLERANCE).mean())
