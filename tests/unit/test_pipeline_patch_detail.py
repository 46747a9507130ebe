"""Fine detail of references reaches the patch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import torch

from dubcli.core.types import U8, PasteMask
from dubcli.models.api import DetailWarp, Patches
from dubcli.pipeline.held_frames import FrameView
from dubcli.pipeline.patch_detail import PatchDetail
from dubcli.pipeline.subject import DubbedFace

SIZE, NUM = 16, 3


def _face() -> DubbedFace:
    """A face whose three references have noise of their own, twice as fine as the crop."""
    noise = np.random.default_rng(0).integers(0, 256, (NUM, 2 * SIZE, 2 * SIZE, 3), np.uint8)
    references = SimpleNamespace(crops=np.zeros((NUM, SIZE, SIZE, 3), np.uint8), detail_crops=noise)
    face = SimpleNamespace(
        alignment=SimpleNamespace(crop_size=(SIZE, SIZE)),
        references={"references": references},
        light=SimpleNamespace(at=lambda _index: None),
    )
    return cast(DubbedFace, face)


def _with_detail(weights: list[float], lenders: list[int] | None) -> U8:
    """A grey patch with the detail of references, each looked at where it is."""
    axis = (torch.arange(SIZE) + 0.5) * 2 / SIZE - 1
    own = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
    shares = torch.tensor(weights)[None, :, None, None]
    warp = DetailWarp(
        grid=own.expand(1, len(weights), SIZE, SIZE, 2),
        weights=shares.expand(1, -1, SIZE, SIZE),
        source_grid=own[None],
        source_weight=torch.zeros(1, SIZE, SIZE),
        box=(0, SIZE, 0, SIZE),
        lenders=None if lenders is None else torch.tensor([lenders]),
    )
    patches = Patches(rgb=torch.full((1, 3, SIZE, SIZE), 0.5), detail=warp)
    view = SimpleNamespace(
        index=0, part_to_crop=np.eye(2, 3), rgb=np.zeros((SIZE, SIZE, 3), np.uint8)
    )
    return PatchDetail(_face(), "references").added(
        np.full((SIZE, SIZE, 3), 128, np.uint8),
        cast(FrameView, view),
        patches,
        0,
        PasteMask(alpha=np.ones((SIZE, SIZE), np.float32)),
    )


def test_references_that_lend_are_named_by_their_numbers() -> None:
    expected = _with_detail([0.0, 0.5, 0.8], None)
    assert np.array_equal(_with_detail([0.8, 0.5], [2, 1]), expected)
    assert not np.array_equal(_with_detail([0.8, 0.5], [1, 2]), expected)
