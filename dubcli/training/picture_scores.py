"""Scores of pictures that a network makes of prepared clips, beside the real ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dubcli.core.types import F32, U8, Frame, Int
from dubcli.face.detect import FaceDetector, open_detector
from dubcli.face.landmarks import NUM_KEPT, mouth_open
from dubcli.face.pose import mouth_box
from dubcli.metrics.lips import lip_distance, opening_correlation
from dubcli.metrics.mouth_fidelity import psnr
from dubcli.metrics.pixels import ssim
from dubcli.models.api import FaceGeometry
from dubcli.training.data.prepared_clip import without_margin
from dubcli.training.data.train_clips import TrainClip
from dubcli.training.losses.pictures import luma

# Frames of a clip that are looked at, evenly spread.
NUM_FRAMES = 32
# Gaussian sigmas between which a band of detail lies, px of the model's picture.
BANDS_PX = (0.0, 0.8, 1.6, 3.2)


class CropScorer:
    """Made crops beside real ones.

    Args:
        lpips: LPIPS of pictures (N, 3, H, W) in [0, 1], such as `metrics.lpips.Lpips`; None where
            its weights are not here.
    """

    def __init__(self, lpips: nn.Module | None = None) -> None:
        self._lpips = lpips

    def landmarks(self, clip: TrainClip, frames: Int, *pictures: U8) -> list[F32]:
        """Kept points of series of made crops (T, H, W, 3), as `put_back_landmarks` finds them."""
        detector = open_detector()
        try:
            return [put_back_landmarks(detector, clip, frames, series) for series in pictures]
        finally:
            detector.close()

    def scores(self, clip: TrainClip, frames: Int, made: U8, real: U8) -> dict[str, float]:
        """Made crops of some frames of a clip beside the real ones, both (T, H, W, 3), RGB.

        Returns:
            Of the mouth box `psnr_db`, `ssim` and `mse` (of values in [0, 1]); `lpips` of the
            crop; `r` of the mouth opening and `lmd` in distances between the eyes, both as a
            detector sees the pictures. NaN where LPIPS is not at hand or no face is seen.
        """
        box = mouth_box((made.shape[1], made.shape[2]))
        both = list(zip(made, real, strict=True))
        seen, true = self.landmarks(clip, frames, made, real)
        return {
            "psnr_db": float(np.mean([psnr(a[box], b[box]) for a, b in both])),
            "ssim": float(np.mean([ssim(a[box], b[box]) for a, b in both])),
            "mse": float(np.mean([_squared_error(a[box], b[box]) for a, b in both])),
            "lpips": self.distance(made, real),
            "r": opening_correlation(mouth_open(seen), mouth_open(true)),
            "lmd": lip_distance(seen, true),
        }

    def distance(self, made: U8, real: U8) -> float:
        """Mean LPIPS of pictures (T, H, W, 3); NaN where it is not at hand."""
        if self._lpips is None:
            return math.nan
        pairs = (torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255 for x in (made, real))
        return float(self._lpips(*pairs).mean())


def _squared_error(made: U8, real: U8) -> float:
    return float(np.mean((made.astype(np.float32) - real.astype(np.float32)) ** 2)) / 255**2


def seen_frames(clip: TrainClip) -> Int:
    """The frames of a clip that are scored, evenly spread over the usable ones. Shape (T,)."""
    num = min(NUM_FRAMES, len(clip.frames))
    return clip.frames[np.linspace(0, len(clip.frames) - 1, num).round().astype(np.int64)]


def spread_references(clip: TrainClip, num: int) -> Int:
    """Frames from the most closed to the widest mouth, evenly by rank. Shape (num,)."""
    order = clip.frames[np.argsort(clip.opening[clip.frames], kind="stable")]
    return order[np.linspace(0, len(order) - 1, num).round().astype(np.int64)]


def face_geometry(clip: TrainClip, frames: Int, factor: float) -> FaceGeometry:
    """Pose and rest of some frames, crop px at the stored size times `factor`."""
    translation = clip.clip.translation[frames].copy()
    translation[:, :2] -= np.array(clip.clip.margin[::-1])
    translation[:, :2] = translation[:, :2] * factor + (factor - 1) / 2
    return FaceGeometry(
        scale=torch.from_numpy(clip.clip.scale[frames] * factor).float(),
        rotation=torch.from_numpy(clip.clip.rotation[frames]).float(),
        translation=torch.from_numpy(translation).float(),
        neutral=torch.from_numpy(np.asarray(clip.neutral, np.float32)),
    )


def put_back_landmarks(detector: FaceDetector, clip: TrainClip, frames: Int, pictures: U8) -> F32:
    """Kept points (T, K, 3) that a detector finds once pictures (T, H, W, 3) are put back.

    Returns:
        In stored-crop px; NaN where no face is seen.
    """
    found = np.full((len(frames), NUM_KEPT, 3), np.nan, np.float32)
    for number, (index, picture) in enumerate(zip(frames.tolist(), pictures, strict=True)):
        whole = clip.clip.picture(index).copy()
        place = without_margin(whole)
        place[:] = cv2.resize(picture, place.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        faces = detector.detect(Frame(index=number, pts=number, image=whole))
        if faces:
            largest = max(faces, key=lambda face: float(face.box[3] - face.box[1]))
            found[number] = largest.landmarks
    return found


def band_energies(pictures: Tensor, share: Tensor) -> list[float]:
    """Energy of the luma of pictures (T, 3, h, w) in each band of detail.

    Args:
        pictures: RGB.
        share: How much of each pixel counts. Shape (T, 1, h, w).
    """
    blurred = [_blurred(luma(pictures), sigma) for sigma in BANDS_PX]
    return [float(((a - b) ** 2 * share).sum()) for a, b in pairwise(blurred)]


def band_ratios(
    made: Sequence[Sequence[float]], real: Sequence[Sequence[float]]
) -> dict[str, float]:
    """Amplitude of detail by band over the real pictures', of energies of samples (N, bands)."""
    energies = np.sum(made, 0), np.maximum(np.sum(real, 0), 1e-12)
    names = [f"texture_{low:g}" for low in BANDS_PX[:-1]]
    return dict(zip(names, np.sqrt(energies[0] / energies[1]).tolist(), strict=True))


def _blurred(pictures: Tensor, sigma: float) -> Tensor:
    """Pictures (T, 1, h, w) under a Gaussian, borders mirrored."""
    if sigma == 0:
        return pictures
    radius = int(3 * sigma + 1)
    places = torch.arange(-radius, radius + 1, dtype=pictures.dtype)
    kernel = torch.exp(-0.5 * (places / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = functional.pad(pictures, (radius,) * 4, mode="reflect")
    across = functional.conv2d(padded, kernel.reshape(1, 1, 1, -1))
    return functional.conv2d(across, kernel.reshape(1, 1, -1, 1))
