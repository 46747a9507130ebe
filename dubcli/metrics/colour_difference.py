"""The colour difference CIEDE2000 (Sharma, Wu and Dalal 2005, doi:10.1002/col.20070)."""

from __future__ import annotations

import cv2
import numpy as np

from dubcli.core.types import F64, U8

_POWER_7 = 25.0**7


def mean_lab(pixels: U8) -> F64:
    """CIE L*a*b* (D65) of the mean of sRGB pixels, taken in L*a*b*. (M, 3) to (3,)."""
    lab = cv2.cvtColor(pixels[None].astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[0]
    return lab.mean(0).astype(np.float64)


def ciede2000(one: F64, other: F64) -> float:
    """How far apart two colours look; about 1 can just be seen side by side.

    Args:
        one: L*, a*, b*. Shape (3,).
        other: The same.
    """
    (l1, a1, b1), (l2, a2, b2) = one.tolist(), other.tolist()
    chroma = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * np.sqrt(chroma**7 / (chroma**7 + _POWER_7))
    c1, c2 = np.hypot(stretch * a1, b1), np.hypot(stretch * a2, b2)
    h1 = np.degrees(np.arctan2(b1, stretch * a1)) % 360
    h2 = np.degrees(np.arctan2(b2, stretch * a2)) % 360
    turn = (h2 - h1 + 180) % 360 - 180
    if c1 * c2 == 0:
        turn, hue = 0.0, h1 + h2
    else:
        hue = (h1 + turn / 2) % 360
    lightness, c = (l1 + l2) / 2, (c1 + c2) / 2
    weight = (
        1
        - 0.17 * np.cos(np.radians(hue - 30))
        + 0.24 * np.cos(np.radians(2 * hue))
        + 0.32 * np.cos(np.radians(3 * hue + 6))
        - 0.20 * np.cos(np.radians(4 * hue - 63))
    )
    off = (lightness - 50) ** 2
    d_l = (l2 - l1) / (1 + 0.015 * off / np.sqrt(20 + off))
    d_c = (c2 - c1) / (1 + 0.045 * c)
    d_h = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2)) / (1 + 0.015 * c * weight)
    rotation = -2 * np.sqrt(c**7 / (c**7 + _POWER_7))
    rotation *= np.sin(np.radians(60 * np.exp(-(((hue - 275) / 25) ** 2))))
    return float(np.sqrt(d_l**2 + d_c**2 + d_h**2 + rotation * d_c * d_h))
