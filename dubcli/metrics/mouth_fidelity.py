"""What two pictures of a mouth differ in, and how much fine structure a mouth has.

Pictures are RGB, shape (H, W, 3), uint8.
"""

from __future__ import annotations

import cv2
import numpy as np

from dubcli.core.types import F32, U8, Bool

# PSNR of equal pictures, whose true value is infinite.
PSNR_OF_EQUALS_DB = 100.0
# Fine structure is what a Gaussian of this width takes away, px.
_FINE_SIGMA_PX = 1.5
# The skin around the lips: from and to so many times their outline.
_SKIN_BAND = (1.15, 1.5)
# People whose lips are less red than this beside their skin tell nothing of lost colour, a*.
_LEAST_REDNESS = 3.0


def psnr(result: U8, truth: U8) -> float:
    """Peak signal-to-noise ratio over all channels, dB; 100 for equal pictures, and at most."""
    error = float(np.mean((result.astype(np.float32) - truth.astype(np.float32)) ** 2))
    if error == 0:
        return PSNR_OF_EQUALS_DB
    return min(PSNR_OF_EQUALS_DB, float(10 * np.log10(255**2 / error)))


def fine_structure(picture: U8) -> F32:
    """What blurring by 1.5 px takes from a picture's luma, grey levels. Shape (H, W)."""
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return luma - cv2.GaussianBlur(luma, (0, 0), _FINE_SIGMA_PX)


def texture_energy(fine: F32, inside: Bool) -> float:
    """Mean square of fine structure (H, W) where `inside` (H, W), grey levels squared.

    NaN where nothing is inside. The texture ratio is the mean of this energy over the result's
    frames, inside the result's lips, over the mean over the source's frames, inside its own lips.
    """
    return float(np.mean(fine[inside] ** 2)) if inside.any() else float("nan")


def fill_outline(points: F32, size: tuple[int, ...]) -> Bool:
    """Pixels inside the convex hull of points (N, 2), xy px. Shape `size`, (H, W)."""
    filled = np.zeros(size, np.uint8)
    hull = cv2.convexHull(np.round(points * 16).astype(np.int32))
    cv2.fillConvexPoly(filled, hull, (1,), shift=4)
    return filled.astype(bool)


def lip_redness(picture: U8, outer: F32, inner: F32) -> float:
    """How much redder the lips are than the skin around them, a* of CIELAB.

    Medians over the lip ring and over a band around it, from 1.15 to 1.5 times the outer lips'
    outline about its centre. NaN where one of them has no pixel in the picture.

    Args:
        picture: RGB. Shape (H, W, 3), uint8.
        outer: Outline of the lips, px. Shape (N, 2).
        inner: Outline of the mouth's opening, px. Shape (N, 2).
    """
    low, high = _SKIN_BAND
    centre = outer.mean(0)
    size = picture.shape[:2]
    lips = fill_outline(outer, size) & ~fill_outline(inner, size)
    near, far = (fill_outline(centre + scale * (outer - centre), size) for scale in (low, high))
    skin = far & ~near
    if not lips.any() or not skin.any():
        return float("nan")
    a = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[..., 1]
    return float(np.median(a[lips]) - np.median(a[skin]))


def share_without_colour(redness: F32, usual: float) -> float:
    """Share of frames whose lips have less than half of a person's usual `lip_redness`.

    Args:
        redness: Of each frame, NaN where unknown. Shape (T,).
        usual: The person's own median, a*.

    Returns:
        NaN where nothing is known, or where the person's lips are hardly redder than the skin.
    """
    known = redness[np.isfinite(redness)]
    if not len(known) or not usual >= _LEAST_REDNESS:
        return float("nan")
    return float(np.mean(known < usual / 2))
