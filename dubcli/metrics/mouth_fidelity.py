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
