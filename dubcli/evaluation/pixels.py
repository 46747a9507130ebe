"""Scores of pictures: fidelity, fine texture, flicker and the rim of the paste.

Pictures are aligned crops (`evaluation.source`), RGB, shape (H, W, 3), uint8, of source and result
alike, so that heads do not move in them.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from skimage.metrics import structural_similarity

from dubcli.types import F32, U8, Bool

# PSNR of equal pictures, whose true value is infinite.
PSNR_OF_EQUALS_DB = 100.0
# Fine structure is what a Gaussian of this width takes away, px.
_FINE_SIGMA_PX = 1.5
# Weights between these lie on the rim, where patch and frame are mixed.
_RIM = (0.05, 0.95)
_REACH_PX = 8


def psnr(result: U8, truth: U8) -> float:
    """Peak signal-to-noise ratio over all channels, dB; 100 for equal pictures, and at most."""
    error = float(np.mean((result.astype(np.float32) - truth.astype(np.float32)) ** 2))
    if error == 0:
        return PSNR_OF_EQUALS_DB
    return min(PSNR_OF_EQUALS_DB, float(10 * np.log10(255**2 / error)))


def ssim(result: U8, truth: U8) -> float:
    """Structural similarity (Wang et al. 2004, doi:10.1109/TIP.2003.819861), mean of channels.

    Gaussian window of 1.5 px, as in the paper; 1 is equal.
    """
    value: Any = structural_similarity(
        result,
        truth,
        channel_axis=2,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(value)


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


def flicker(fine: F32, previous: F32) -> float:
    """Mean absolute change of fine structure (H, W) from one frame to the next, grey levels."""
    return float(np.mean(np.abs(fine - previous)))


def seam_step(picture: U8, alpha: F32) -> float:
    """Mean slope of luma across the rim of a paste, grey levels per px.

    A visible seam runs along the rim, so it is steep across it; what the face shows there anyway
    is in the source as well, which is why the score is the ratio of both.

    Args:
        picture: Shape (H, W, 3).
        alpha: Blend weight, 1 inside, 0 outside. Shape (H, W).

    Returns:
        NaN where the weight has no rim.
    """
    rim = (alpha > _RIM[0]) & (alpha < _RIM[1])
    if not rim.any():
        return float("nan")
    # Nothing but the rim and what blur and slope reach from it.
    rows, columns = (_span(rim.any(axis), _REACH_PX) for axis in (1, 0))
    luma = cv2.cvtColor(picture[rows, columns], cv2.COLOR_RGB2GRAY).astype(np.float32)
    luma = np.asarray(cv2.GaussianBlur(luma, (0, 0), 1.0), np.float32)
    across = _slope(alpha[rows, columns])
    length = np.maximum(np.sqrt((across**2).sum(0)), 1e-12)
    steps = np.abs((_slope(luma) * across).sum(0)) / length
    return float(steps[rim[rows, columns]].mean())


def fill_outline(points: F32, size: tuple[int, ...]) -> Bool:
    """Pixels inside the convex hull of points (N, 2), xy px. Shape `size`, (H, W)."""
    filled = np.zeros(size, np.uint8)
    hull = cv2.convexHull(np.round(points * 16).astype(np.int32))
    cv2.fillConvexPoly(filled, hull, (1,), shift=4)
    return filled.astype(bool)


def _slope(values: F32) -> F32:
    """Central differences, per px. (H, W) to (2, H, W), x then y."""
    kernel = np.array([[-0.5, 0, 0.5]], np.float32)
    slopes = [cv2.filter2D(values, cv2.CV_32F, k) for k in (kernel, kernel.T)]
    return np.stack(slopes).astype(np.float32)


def _span(marked: Bool, margin: int) -> slice:
    """From the first to the last marked place, and a margin."""
    places = np.flatnonzero(marked)
    return slice(max(0, int(places[0]) - margin), int(places[-1]) + margin + 1)
