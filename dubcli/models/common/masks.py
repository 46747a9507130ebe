"""Which part of a crop the network may not see."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

MaskKind = Literal["fixed", "hull", "lower-half"]
# Rows and columns of the fixed mask as shares of the crop: from below the nose tip, both cheeks,
# to the bottom.
_TOP, _SIDE = 96 / 208, 8 / 160
# Speaking points inside the kept landmarks; the import table keeps `face` out of `models`.
SPEAKING = slice(27, 129)


def mouth_mask(kind: MaskKind, crops: Tensor, landmarks: Tensor) -> Tensor:
    """1 where the source is hidden. Crops (T, 3, H, W), landmarks (T, K, 2) to (T, 1, H, W)."""
    height, width = crops.shape[-2:]
    if kind != "hull":
        mask = _fixed(height, width, kind).to(crops)
        return mask.expand(len(crops), 1, height, width)
    return torch.stack([_hull(points[SPEAKING], height, width) for points in landmarks])[
        :, None
    ].to(crops)


@lru_cache(maxsize=8)
def _fixed(height: int, width: int, kind: MaskKind) -> Tensor:
    # It is kept, and training may follow a dub: not a tensor of inference mode.
    with torch.inference_mode(False):
        mask = torch.zeros(1, 1, height, width)
        if kind == "lower-half":
            mask[..., height // 2 :, :] = 1
        else:
            side = round(_SIDE * width)
            mask[..., round(_TOP * height) :, side : width - side] = 1
    return mask


def _hull(points: Tensor, height: int, width: int) -> Tensor:
    """Filled convex hull of points (S, 2): inside the half-planes of its edges. Shape (H, W)."""
    hull = _hull_vertices(points.detach().double().cpu())
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float64),
        torch.arange(width, dtype=torch.float64),
        indexing="ij",
    )
    edge = hull.roll(-1, 0) - hull
    side = edge[:, 0, None, None] * (y - hull[:, 1, None, None]) - edge[:, 1, None, None] * (
        x - hull[:, 0, None, None]
    )
    return (side >= 0).all(0).float()


def _hull_vertices(points: Tensor) -> Tensor:
    """Convex hull by Andrew's monotone chain (doi:10.1016/0020-0190(79)90072-3)."""
    ordered = sorted(map(tuple, points.tolist()))

    def chain(sequence: list[tuple[float, ...]]) -> list[tuple[float, ...]]:
        kept: list[tuple[float, ...]] = []
        for p in sequence:
            while len(kept) > 1 and _turn(kept[-2], kept[-1], p) <= 0:
                kept.pop()
            kept.append(p)
        return kept[:-1]

    return torch.tensor(chain(ordered) + chain(ordered[::-1]), dtype=torch.float64)


def _turn(a: tuple[float, ...], b: tuple[float, ...], c: tuple[float, ...]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
