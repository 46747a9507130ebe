"""Batches of prepared clips at the size of a model's crops."""

from __future__ import annotations

from torch import Tensor

from dubcli.models.api import FaceGeometry
from dubcli.training.stage import Batch


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
