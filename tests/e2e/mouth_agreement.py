"""How far two dubs of one clip agree where the mouth is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from studio import pictures

from dubcli.core.types import U8
from dubcli.metrics.mouth_fidelity import psnr

_LIPS = slice(0, 20)

# Left, top, right and bottom of the lips by position.
Mouths = dict[int, tuple[int, int, int, int]]


def read_mouths(path: Path) -> Mouths:
    """The boxes of the lips, pixels, of the file that `landmarks_out` names."""
    boxes: Mouths = {}
    for frame in json.loads(path.read_text())["faces"][0]["frames"]:
        lips = np.array(frame["points"])[_LIPS, :2].round().astype(int)
        (left, top), (right, bottom) = lips.min(0).tolist(), lips.max(0).tolist()
        boxes[frame["position"]] = (left, top, right, bottom)
    assert all(right > left and low > top for left, top, right, low in boxes.values())
    return boxes


def agreement_db(one: Path, other: Path, mouths: Mouths) -> float:
    """The PSNR of all mouths together, dB."""
    return psnr(_cut(one, mouths), _cut(other, mouths))


def _cut(path: Path, mouths: Mouths) -> U8:
    """All pixels of all mouths."""
    frames = [shown.frame.to_ndarray(format="rgb24") for shown in pictures(path)]
    cut = [frames[n][top:low, left:right] for n, (left, top, right, low) in mouths.items()]
    return np.concatenate([picture.ravel() for picture in cut]).astype(np.uint8)
