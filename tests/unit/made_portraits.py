"""Pictures with faces, made of one photograph by integer arithmetic, so alike everywhere.

The photograph is scikit-image's portrait of Eileen Collins (NASA, public domain).
"""

from __future__ import annotations

import numpy as np
from skimage import data

from dubcli.core.types import U8
from dubcli.face.mesh.region import Region
from dubcli.face.mesh.region_sampling import sample

# Whoever is followed walks; one picture in the middle shows nobody.
WALK = "walk"
_STEP_PX, _WALK_FRAMES, _EMPTY = 5, 8, 4


def photograph() -> U8:
    """Head and shoulders, the face 100 px high. Shape (320, 300, 3)."""
    return np.ascontiguousarray(data.astronaut()[:320, 70:370])


def portraits() -> dict[str, U8]:
    """Pictures by name, each of shape (T, H, W, 3)."""
    whole = photograph()
    height, width = whole.shape[:2]
    tilted = sample(whole, Region(width / 2, height / 2, 300, 0.4), 360, is_black_outside=True)
    far = np.full((480, 640, 3), 110, np.uint8)
    far[150:310, 400:550] = _shrunk(whole, 2)
    pictures = {
        "upright": whole,
        "tilted": tilted,
        "two": np.concatenate([whole, whole[:, ::-1]], 1),
        "cut off": np.ascontiguousarray(whole[:, 140:]),
        "far": far,
        "nobody": np.full((240, 320, 3), 90, np.uint8),
    }
    return {name: picture[None] for name, picture in pictures.items()} | {WALK: _walk(whole)}


def _walk(whole: U8) -> U8:
    height, width = whole.shape[:2]
    frames = np.full((_WALK_FRAMES, height, width + 100, 3), 60, np.uint8)
    for index, frame in enumerate(frames):
        if index != _EMPTY:
            frame[:, index * _STEP_PX : index * _STEP_PX + width] = whole
    return frames


def _shrunk(image: U8, factor: int) -> U8:
    """Means of blocks, rounded."""
    height, width = (side // factor for side in image.shape[:2])
    blocks = image[: height * factor, : width * factor].astype(np.uint32)
    total = blocks.reshape(height, factor, width, factor, 3).sum((1, 3))
    return ((total + factor**2 // 2) // factor**2).astype(np.uint8)
