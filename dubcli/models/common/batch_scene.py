"""Batches of prepared clips at the size of a model's crops."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dubcli.models.api import FaceGeometry
from dubcli.training.batches import as_pictures, resize_pictures
from dubcli.training.stage import Batch


@dataclass(frozen=True, kw_only=True)
class PictureScene:
    """A batch at a model's size and on its device; T frames of all its clips in a row.

    Attributes:
        targets: Shape (T, 3, H, W), [0, 1].
        landmarks: Crop px. Shape (T, K, 2).
        geometry: Pose and rest; the rest is each frame's own, (T, S, 3).
    """

    targets: Tensor
    landmarks: Tensor
    geometry: FaceGeometry


def batch_scene(batch: Batch, factor: float) -> PictureScene:
    """The targets of a batch (B, T, ...) of `RenderSample`s, resized by `factor`."""
    return PictureScene(
        targets=sized_pictures(batch["targets"], factor),
        landmarks=scale_points(batch["landmarks"].flatten(0, 1), factor),
        geometry=batch_geometry(batch, factor),
    )


def sized_pictures(crops: Tensor, factor: float) -> Tensor:
    """Crops (B, T, H, W, 3), uint8, as pictures `factor` times as large, (B T, 3, H, W), [0, 1]."""
    return resize_pictures(as_pictures(crops.flatten(0, 1)), factor)


def batch_geometry(batch: Batch, factor: float) -> FaceGeometry:
    """Pose of a batch's frames for crops resized by `factor`; the rest is each frame's own."""
    frames = batch["scale"].shape[1]
    translation = batch["translation"].flatten(0, 1).float() * factor
    translation[:, :2] += (factor - 1) / 2
    return FaceGeometry(
        scale=batch["scale"].flatten().float() * factor,
        rotation=batch["rotation"].flatten(0, 1).float(),
        translation=translation,
        neutral=batch["neutral"].repeat_interleave(frames, 0),
    )


def scale_points(points: Tensor, factor: float) -> Tensor:
    """Points in px of crops that are resized by `factor`; pixel centres at integers."""
    return points * factor + (factor - 1) / 2
