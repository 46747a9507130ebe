"""What every architecture provides, and the values it takes and gives.

The only place where uint8 pictures become [0, 1] tensors and back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from dubcli.core.types import F32, U8, References


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What a model needs; the pipeline asks this, never the class.

    Attributes:
        name: Architecture name.
        crop_size: Height, width of the crops, px.
        audio_kind: Feature kind of `audio.log_mel`.
        audio_width: Feature steps around each frame.
        num_references: References that suit it.
        window: Frames fed together.
        keeps_source_mouth: It returns the source's own mouth, so the paste needs no new geometry.
    """

    name: str
    crop_size: tuple[int, int]
    audio_kind: str = "mel"
    audio_width: int = 16
    num_references: int = 4
    window: int = 16
    keeps_source_mouth: bool = False


@dataclass(frozen=True, kw_only=True)
class FaceGeometry:
    """Head pose per frame and the resting mouth of the person.

    Attributes:
        scale: Crop px per canonical unit. Shape (T,).
        rotation: Shape (T, 3, 3).
        translation: Crop px. Shape (T, 3).
        neutral: Canonical speaking points at rest. Shape (S, 3).
    """

    scale: Tensor
    rotation: Tensor
    translation: Tensor
    neutral: Tensor

    def place(self, canonical: Tensor) -> Tensor:
        """Canonical points (T, S, 3) to crop px (T, S, 2), weak perspective."""
        turned = torch.einsum("tsj,tij->tsi", canonical, self.rotation)
        placed = turned * self.scale[:, None, None] + self.translation[:, None]
        return placed[..., :2]


@dataclass(frozen=True, kw_only=True)
class ModelWindow:
    """Consecutive frames of one shot.

    Attributes:
        crops: Source crops, RGB in [0, 1]. Shape (T, 3, H, W).
        audio: Feature steps around each frame. Shape (T, A, D).
        landmarks: Source landmarks, crop px. Shape (T, K, 2).
        geometry: Pose and rest.
    """

    crops: Tensor
    audio: Tensor
    landmarks: Tensor
    geometry: FaceGeometry

    def __len__(self) -> int:
        return len(self.crops)


@dataclass(frozen=True, kw_only=True)
class DetailWarp:
    """How full-resolution references deform into the patch.

    Attributes:
        grid: Where each patch pixel looks in each reference crop, normalised to [-1, 1] (the
            convention of `grid_sample`, `align_corners=False`). Shape (T, N, h, w, 2).
        weights: Share of each reference's detail. Shape (T, N, h, w).
        source_grid: Where each patch pixel looks in the current frame's crop. Shape (T, h, w, 2).
        source_weight: Share of the current frame's detail. Shape (T, h, w).
        box: y0, y1, x0, x1 of the repainted part, crop px.
    """

    grid: Tensor
    weights: Tensor
    source_grid: Tensor
    source_weight: Tensor
    box: tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class Patches:
    """What a model generated.

    Attributes:
        rgb: Crops with the new mouth, [0, 1]. Shape (T, 3, H, W).
        speaking: Predicted speaking points, crop px. Shape (T, S, 2), or None when the model has
            no notion of them.
        detail: How to add the references' fine detail, or None.
    """

    rgb: Tensor
    speaking: Tensor | None = None
    detail: DetailWarp | None = None


class LipSyncModel(Protocol):
    """The contract of an architecture."""

    @property
    def spec(self) -> ModelSpec:
        """What the model needs."""
        ...

    def encode_references(self, references: Tensor, landmarks: Tensor) -> Any:
        """Work on references that is done once per identity.

        Args:
            references: RGB crops in [0, 1]. Shape (N, 3, H, W).
            landmarks: Speaking points, crop px. Shape (N, S, 2).
        """
        ...

    def state_tensors(self, state: Any) -> dict[str, Tensor]:
        """What `encode_references` worked out, as tensors that can be stored.

        The pictures themselves stay out: they are stored as pictures.
        """
        ...

    def state_from_tensors(self, tensors: dict[str, Tensor], references: Tensor) -> Any:
        """The state that `state_tensors` was given, without encoding anything again.

        Args:
            tensors: From `state_tensors`.
            references: The RGB crops that were encoded, in [0, 1]. Shape (N, 3, H, W).

        Raises:
            IdentityError: The tensors are not those of this model or of these references.
        """
        ...

    def generate(self, window: ModelWindow, state: Any) -> Patches:
        """New mouths for a window."""
        ...


def to_tensor(images: U8, device: torch.device | str = "cpu") -> Tensor:
    """RGB uint8 (T, H, W, 3) to float32 [0, 1] (T, 3, H, W)."""
    tensor = torch.from_numpy(images).to(device)
    return tensor.permute(0, 3, 1, 2).float().div_(255.0)


def to_images(patches: Tensor) -> U8:
    """Float [0, 1] (T, 3, H, W) to RGB uint8 (T, H, W, 3)."""
    scaled = patches.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).cpu().numpy()


def reference_tensors(
    references: References, speaking: slice, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Crops (N, 3, H, W) and speaking points (N, S, 2) of a reference set."""
    points: F32 = references.landmarks[:, speaking, :2]
    return to_tensor(references.crops, device), torch.from_numpy(points.copy()).to(device)
