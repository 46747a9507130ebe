"""Patches at the source's own resolution, where that is finer than the model's."""

from __future__ import annotations

import numpy as np

from dubcli.composite.detail import (
    DetailLayer,
    add_detail,
    fine_detail,
    looked_at,
    pasted_part,
)
from dubcli.core.types import F32, U8, PasteMask
from dubcli.face.crop import cut_crop
from dubcli.face.plane_warp import split_planes
from dubcli.face.references import detail_factor, finer_matrix
from dubcli.models.api import Patches
from dubcli.pipeline.held_frames import FrameView
from dubcli.pipeline.subject import DubbedFace


class PatchDetail:
    """Adds the fine detail of the references and of the frames themselves.

    Args:
        face: The face that is dubbed.
        role: Of the references that lend detail; None: the frames' own detail alone.
    """

    def __init__(self, face: DubbedFace, role: str | None) -> None:
        self._face = face
        self._factor = _factor(face, role)
        self._layers = _reference_layers(face, role) if role and self._factor > 1 else []

    def added(
        self, image: U8, view: FrameView, patches: Patches, number: int, mask: PasteMask
    ) -> U8:
        """One of some patches with fine detail, or as it is where there is none to be had.

        Args:
            image: The patch. Shape (H, W, 3), uint8.
            view: What the frame shows around the face.
            patches: All of them.
            number: Which.
            mask: Where the paste shows it.

        Returns:
            Shape (kH, kW, 3), uint8.
        """
        if patches.detail is None or self._factor == 1:
            return image
        warp = patches.detail
        box = pasted_part(mask.alpha, warp.box)
        rows = slice(box[0] - warp.box[0], box[1] - warp.box[0])
        columns = slice(box[2] - warp.box[2], box[3] - warp.box[2])
        grid, weights, own_grid, own_weight = (
            value.float().cpu().numpy()
            for value in (
                warp.grid[number, :, rows, columns],
                warp.weights[number, :, rows, columns],
                warp.source_grid[number, rows, columns],
                warp.source_weight[number, rows, columns],
            )
        )
        lenders = range(len(grid)) if warp.lenders is None else warp.lenders[number].tolist()
        layers = [self._layers[which] for which in lenders]
        layers.append(self._own_layer(view, own_grid))
        looks, shares = [*grid, own_grid], [*weights, own_weight]
        return add_detail(image, layers, looks, shares, box, self._factor)

    def _own_layer(self, view: FrameView, grid: F32) -> DetailLayer:
        """The frame's own detail where a grid looks."""
        height, width = self._face.alignment.crop_size
        factor = self._factor
        light = self._face.light.at(view.index)
        # Light is mapped over whole crops.
        part = looked_at(grid, (height, width)) if light is None else (0, height, 0, width)
        top, bottom, left, right = part
        matrix = finer_matrix(view.part_to_crop, factor)
        matrix[:, 2] -= (factor * left, factor * top)
        crop = cut_crop(view.rgb, matrix, (factor * (bottom - top), factor * (right - left)))
        if light is not None:
            crop = light.to_usual(crop)
        pixels = fine_detail(crop[None], (bottom - top, right - left))[0]
        return DetailLayer(planes=split_planes(pixels), x=factor * left, y=factor * top)


def _factor(face: DubbedFace, role: str | None) -> int:
    """How many times finer than the crops detail is; 1 where they are as fine as the source."""
    alignment = face.alignment
    if role is None:
        return detail_factor(alignment, np.arange(len(alignment.frame_to_crop)))
    references = face.references[role]
    return references.detail_crops.shape[1] // references.crops.shape[1]


def _reference_layers(face: DubbedFace, role: str) -> list[DetailLayer]:
    layers = fine_detail(face.references[role].detail_crops, face.alignment.crop_size)
    return [DetailLayer(planes=split_planes(pixels)) for pixels in layers]
