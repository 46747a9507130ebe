"""What a face looks like in a frame, in a few numbers that the next frame's are compared with.

Cheap, for following a face from frame to frame under one light; who somebody is, `face.recognition`
tells. It compares hair, brow, skin and eyes in an upright cutout; clothing, mouth and chin stay out
because speech and framing change them.
"""

from __future__ import annotations

import cv2
import numpy as np

from dubcli.core.types import F32, F64, U8
from dubcli.face.landmarks import EYE_CORNERS

# The cutout: its side, where the eye centres lie in it, px.
_SIDE = 48
_EYES = np.array([[15.0, 30.0], [32.0, 30.0]])
_CELLS, _DIRECTIONS = 4, 8
# Grey levels of chroma and of luma that weigh as much as a whole turn of the gradients.
_CHROMA_SPAN, _LUMA_SPAN = 40.0, 160.0

_SHARPNESS_SIDE = 128


def describe(image: U8, landmarks: F32) -> F32:
    """Descriptor of one face; `likeness` compares two of them.

    Args:
        image: RGB. Shape (H, W, 3), uint8.
        landmarks: Kept points, px of `image`. Shape (K, 2 or 3).

    Returns:
        Shape (D,), float32.
    """
    corners = landmarks[list(EYE_CORNERS), :2].astype(np.float64)
    left, right = corners[:2].mean(0), corners[2:].mean(0)
    matrix = _similarity(left, right, _EYES[0], _EYES[1])
    planes = cv2.cvtColor(_cut_out(image, matrix), cv2.COLOR_RGB2YCrCb).astype(np.float32)
    colour = cv2.resize(planes, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
    luma = (colour[..., 0] - colour[..., 0].mean()) / _LUMA_SPAN
    chroma = (colour[..., 1:] - 128) / _CHROMA_SPAN
    parts = [_gradients(planes[..., 0]), luma.ravel(), chroma.ravel()]
    return np.concatenate(parts).astype(np.float32)


def likeness(one: F32, other: F32) -> float:
    """How alike two descriptors are: 1 the same, 0 or less nothing in common."""
    hog = _CELLS * _CELLS * _DIRECTIONS
    shape = float(one[:hog] @ other[:hog]) / max(
        float(np.linalg.norm(one[:hog]) * np.linalg.norm(other[:hog])), 1e-9
    )
    colour = float(np.sqrt(((one[hog:] - other[hog:]) ** 2).mean()))
    return shape - colour


def sharpness(image: U8, box: F32) -> float:
    """Variance of the Laplacian inside a face at a size that frames can be compared at.

    Args:
        image: RGB. Shape (H, W, 3), uint8.
        box: x0, y0, x1, y1, px of `image`. Shape (4,).

    Returns:
        Grey levels squared; 0 where the box lies outside the image.
    """
    height, width = image.shape[:2]
    x0, y0 = max(0, int(box[0])), max(0, int(box[1]))
    x1, y1 = min(width, int(np.ceil(box[2]))), min(height, int(np.ceil(box[3])))
    if x1 - x0 < 3 or y1 - y0 < 3:
        return 0.0
    grey = cv2.cvtColor(np.ascontiguousarray(image[y0:y1, x0:x1]), cv2.COLOR_RGB2GRAY)
    factor = _SHARPNESS_SIDE / max(box[3] - box[1], 1.0)
    size = (max(3, round((x1 - x0) * factor)), max(3, round((y1 - y0) * factor)))
    # A face smaller than the common size is drawn out, which rightly counts as less sharp.
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return float(cv2.Laplacian(cv2.resize(grey, size, interpolation=way), cv2.CV_32F).var())


def _cut_out(image: U8, matrix: F64) -> U8:
    """The upright square that `matrix` (image px to square px) points at, not aliased."""
    height, width = image.shape[:2]
    corners = np.array([[0, 0], [_SIDE, 0], [0, _SIDE], [_SIDE, _SIDE]], np.float64)
    around = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    # Only the face's surroundings are smoothed, not the whole picture.
    x0, y0 = (int(v) for v in np.clip(np.floor(around.min(0)) - 2, 0, (width - 1, height - 1)))
    x1, y1 = (
        int(v) for v in np.clip(np.ceil(around.max(0)) + 3, (x0 + 1, y0 + 1), (width, height))
    )
    part = image[y0:y1, x0:x1]
    shrink = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if shrink < 0.7:
        part = cv2.GaussianBlur(part, (0, 0), 0.4 / shrink)
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ (x0, y0)
    return cv2.warpAffine(
        part, moved, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.uint8, copy=False)


def _similarity(a: F64, b: F64, to_a: F64, to_b: F64) -> F64:
    """The 2x3 similarity that takes `a` to `to_a` and `b` to `to_b`."""
    along = complex(*(b - a)) or complex(1e-3, 0)
    turn = complex(*(to_b - to_a)) / along
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.concatenate([linear, (to_a - linear @ a)[:, None]], 1)


def _gradients(luma: F32) -> F32:
    """Histograms of gradient directions per cell, of unit length. Shape (D,)."""
    dx = cv2.Sobel(luma, cv2.CV_32F, 1, 0)
    dy = cv2.Sobel(luma, cv2.CV_32F, 0, 1)
    magnitude, angle = cv2.cartToPolar(dx, dy)
    strength = np.sqrt(magnitude).ravel()
    direction = angle.ravel() * np.float32(_DIRECTIONS / (2 * np.pi))
    low = np.floor(direction)
    share = direction - low
    line = np.arange(_SIDE) * _CELLS // _SIDE
    cell = (line[:, None] * _CELLS + line).ravel() * _DIRECTIONS
    first = low.astype(np.int64) % _DIRECTIONS
    size = _CELLS * _CELLS * _DIRECTIONS
    counts = np.bincount(cell + first, strength * (1 - share), size)
    counts += np.bincount(cell + (first + 1) % _DIRECTIONS, strength * share, size)
    cells = counts.reshape(-1, _DIRECTIONS)
    cells /= np.linalg.norm(cells, axis=-1, keepdims=True) + 1e-6
    return (cells / _CELLS).astype(np.float32).ravel()
