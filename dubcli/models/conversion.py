"""Pictures and reference sets as models take them, and back.

The only place where uint8 pictures become [0, 1] tensors and back.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dubcli.core.types import F32, U8, References
from dubcli.models.api import FaceGeometry, ModelSpec, ModelWindow, ReferenceSet


def whole_window(
    *, crops: Tensor, audio: Tensor, landmarks: Tensor, geometry: FaceGeometry, rate: float = 25.0
) -> ModelWindow:
    """A window of consecutive frames that are all wanted, without context.

    Args:
        crops: Shape (T, 3, H, W).
        audio: Shape (T, A, D).
        landmarks: Shape (T, K, 2).
        geometry: Of T frames.
        rate: Frames a second.
    """
    positions = torch.arange(len(crops), device=crops.device)
    return ModelWindow(
        crops=crops,
        audio=audio,
        landmarks=landmarks,
        geometry=geometry,
        positions=positions,
        times_s=positions.cpu().double() / rate,
        emit=slice(0, len(crops)),
    )


def neighbour_rows(spec: ModelSpec, num: int, emit: slice) -> dict[str, Tensor]:
    """Rows of a window around each wanted frame, by per-frame role; the window's ends repeat.

    Args:
        spec: Of the model.
        num: Frames of the window.
        emit: Which of them are wanted.

    Returns:
        `ModelWindow.neighbours`, on the CPU.
    """
    wanted = torch.arange(emit.start, emit.stop)[:, None]
    return {
        role: (wanted + torch.arange(policy.count) - policy.count // 2).clamp(0, num - 1)
        for role, policy in spec.references.items()
        if not policy.is_static
    }


def to_tensor(images: U8, device: torch.device | str = "cpu") -> Tensor:
    """RGB uint8 (T, H, W, 3) to float32 [0, 1] (T, 3, H, W)."""
    tensor = torch.from_numpy(images).to(device)
    return tensor.permute(0, 3, 1, 2).float().div_(255.0)


def to_images(patches: Tensor) -> U8:
    """Float [0, 1] (T, 3, H, W) to RGB uint8 (T, H, W, 3)."""
    scaled = patches.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).cpu().numpy()


def reference_set(
    references: References, speaking: slice, device: torch.device | str = "cpu"
) -> ReferenceSet:
    """References as a model takes them.

    Args:
        references: Crops and landmarks.
        speaking: Which of the kept landmarks are speaking points.
        device: Where the tensors go.
    """
    points: F32 = references.landmarks[:, speaking, :2]
    return ReferenceSet(
        crops=to_tensor(references.crops, device),
        points=torch.from_numpy(points.copy()).to(device),
        frames=torch.from_numpy(references.frame_indices.astype("int64")).to(device),
    )
