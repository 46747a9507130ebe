"""Colours that a picture does not have stay out of a patch.

In toned film, black and white, night vision or light of one colour, chroma is told by luma. There
the patch's chroma is held within what the face shows at that luma; in other pictures nothing is
done.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dubcli.core.types import F32, F64, U8, Bool

# A face whose chroma lies this close to a curve over luma is limited, levels of chroma that 95 % of
# its pixels stay within; from the second on it is not. See docs/light_and_grain.md.
_LIMITED, _FREE = 3.5, 4.5
# Chroma may lie off the curve as far as 90 % of the face's own does, but at least so many levels;
# in the dark, where little of a face is, by this share of it.
_LEAST_REACH, _IN_THE_DARK = 1.0, 0.35
# Least pixels of a face that tell.
_LEAST_PIXELS = 60
_ROUNDS, _UNLIKE = 4, 3.0
# Luma that counts as the same, standard deviation, levels.
_NEAR = 5
_KNOTS = np.arange(256, dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Palette:
    """Chroma by luma, levels of full-range Y'CrCb (BT.601).

    Attributes:
        curve: Usual Cr and Cb of each luma. Shape (256, 2).
        reach: How far either may lie off it at each luma; less in the dark. Shape (256,).
    """

    curve: F32
    reach: F32


def limited_palette(face: U8, mask: Bool) -> Palette | None:
    """The palette of a face, or None where it shows many colours.

    Args:
        face: RGB, reduced so that noise is averaged. Shape (h, w, 3), uint8.
        mask: Which pixels are the face's. Shape (h, w).
    """
    pixels = face[mask]
    if len(pixels) < _LEAST_PIXELS:
        return None
    planes = cv2.cvtColor(pixels[None], cv2.COLOR_RGB2YCrCb)[0].astype(np.float64)
    luma, chroma = planes[:, 0], planes[:, 1:]
    weight, off = np.ones(len(pixels)), np.zeros(len(pixels))
    curve = np.zeros((256, 2))
    for _ in range(_ROUNDS):
        curve = _usual_chroma(luma, chroma, weight)
        off = np.abs(chroma - curve[luma.astype(np.int64)]).max(1)
        weight = 1 / (1 + (off / _UNLIKE) ** 2)
    spread = float(np.quantile(off, 0.95))
    if spread >= _FREE:
        return None
    # Beyond the luma that the face shows, the last known chroma goes on.
    low, high = np.quantile(luma, (0.01, 0.99))
    curve = curve[np.clip(_KNOTS, low, high).astype(np.int64)]
    # Black has no colour.
    if low > 0:
        towards = np.minimum(_KNOTS / low, 1)[:, None]
        curve = 128 + (curve - 128) * towards
    reach = max(float(np.quantile(off, 0.9)), _LEAST_REACH)
    if spread > _LIMITED:
        reach /= (_FREE - spread) / (_FREE - _LIMITED)
    bright = np.clip(_KNOTS / max(float(np.median(luma)), 1.0), _IN_THE_DARK, 1)
    return Palette(curve=curve.astype(np.float32), reach=(reach * bright).astype(np.float32))


def keep_in_palette(rgb: F32, palette: Palette) -> F32:
    """Hold chroma within a palette; luma stays.

    Args:
        rgb: Shape (h, w, 3), float32 in [0, 1].
        palette: Of the picture.
    """
    planes = cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb)
    levels = np.clip(np.rint(planes[..., 0] * 255), 0, 255).astype(np.uint8)
    centre = palette.curve[levels] / np.float32(255)
    # OpenCV centres chroma of float pictures at 0.5, of bytes at 128.
    centre += np.float32(0.5 - 128 / 255)
    reach = (palette.reach / np.float32(255))[levels][..., None]
    planes[..., 1:] = np.clip(planes[..., 1:], centre - reach, centre + reach)
    return np.clip(cv2.cvtColor(planes, cv2.COLOR_YCrCb2RGB), 0, 1).astype(np.float32, copy=False)


def _usual_chroma(luma: F64, chroma: F64, weight: F64) -> F64:
    """Mean chroma (M, 2) around each luma, by a Gaussian over it. Shape (256, 2).

    No polynomial: where a toned picture is clipped, the curve has a knee.
    """
    place = np.arange(-4 * _NEAR, 4 * _NEAR + 1)
    near = np.exp(-0.5 * (place / _NEAR) ** 2)
    level = luma.astype(np.int64)
    counts, *sums = (
        np.convolve(np.bincount(level, weights, 256), near, "same")
        for weights in (weight, weight * chroma[:, 0], weight * chroma[:, 1])
    )
    return np.stack(sums, 1) / np.maximum(counts, 1e-9)[:, None]
