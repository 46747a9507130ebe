"""Scores of pictures: fidelity, fine texture, flicker and the rim of the paste.

Pictures are aligned crops (`evaluation.source`), RGB, shape (H, W, 3), uint8, of source and result
alike, so that heads do not move in them.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from skimage.metrics import structural_similarity

from dubcli.core.types import F32, U8, Bool

# Weights between these lie on the rim, where patch and frame are mixed.
_RIM = (0.05, 0.95)
_REACH_PX = 8


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
    rows, columns = (_span(np.asarray(rim.any(axis)), _REACH_PX) for axis in (1, 0))
    luma = cv2.cvtColor(picture[rows, columns], cv2.COLOR_RGB2GRAY).astype(np.float32)
    luma = np.asarray(cv2.GaussianBlur(luma, (0, 0), 1.0), np.float32)
    across = _slope(alpha[rows, columns])
    length = np.maximum(np.sqrt((across**2).sum(0)), 1e-12)
    steps = np.abs((_slope(luma) * across).sum(0)) / length
    return float(steps[rim[rows, columns]].mean())


def _slope(values: F32) -> F32:
    """Central differences, per px. (H, W) to (2, H, W), x then y."""
    kernel = np.array([[-0.5, 0, 0.5]], np.float32)
    slopes = [cv2.filter2D(values, cv2.CV_32F, k) for k in (kernel, kernel.T)]
    return np.stack(slopes).astype(np.float32)


def _span(marked: Bool, margin: int) -> slice:
    """From the first to the last marked place, and a margin."""
    places = np.flatnonzero(marked)
    return slice(max(0, int(places[0]) - margin), int(places[-1]) + margin + 1)
