"""What is left out where nobody sees it: pixels around the mouth, references without a share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dubcli.core.types import FEATURE_SIZES
from dubcli.face.landmarks import SPEAKING
from dubcli.face.pose import mean_face
from dubcli.models.common.layers import SPADEBlock
from dubcli.models.common.mouth_map import warp, warped_mixture
from dubcli.models.common.mouth_window import BoxPart, mouth_part
from dubcli.models.common.own_skin import mouth_share
from dubcli.models.iptalker.alignment import build_alignment
from dubcli.models.iptalker.config import IPTalkerConfig
from dubcli.models.personatalk.config import PersonaTalkConfig
from dubcli.models.personatalk.dual_attention import Encoded, TextureAttention

UNIT, TOP = 0.28 * 208, 80
SIZE = (128, 160)


def _mouths(*shifts: tuple[float, float]) -> Tensor:
    """Speaking points of the mean face, moved. Shape (T, S, 2)."""
    points = mean_face()[SPEAKING, :2] * UNIT + np.array([79.5, 51.5])
    one = torch.from_numpy(points.astype(np.float32))
    return torch.stack([one + torch.tensor(shift) for shift in shifts])


def test_the_part_holds_every_pixel_of_a_mouth_that_is_seen() -> None:
    mouths = _mouths((0, 0), (9, -7), (-12, 20))
    part = mouth_part(mouths, SIZE, TOP, UNIT)
    share = mouth_share(mouths, (TOP, TOP + SIZE[0], 0, SIZE[1]), UNIT)
    outside = share.clone()
    part.of(outside).zero_()
    assert float(outside.max()) < 1 / 128
    assert float(part.of(share).max()) > 0.99
    assert part.of(share)[0].numel() < 0.8 * share[0].numel()


def test_a_part_is_some_part_of_the_box_whatever_the_points_are() -> None:
    for mouths in (_mouths((500, 0)), _mouths((0, -500)), _mouths((0, 0)) * math.nan):
        part = mouth_part(mouths, SIZE, TOP, UNIT)
        assert 0 <= part.top < part.bottom <= SIZE[0]
        assert 0 <= part.left < part.right <= SIZE[1]


def test_a_part_of_a_block_is_what_all_of_it_shows_there_but_for_the_edge() -> None:
    torch.manual_seed(0)
    block = SPADEBlock(8, 8, 5, 4).eval()
    x, condition = torch.randn(2, 8, 40, 48), torch.randn(2, 5, 40, 48)
    part = BoxPart(top=16, bottom=64, left=32, right=80)
    whole = part.of(block(x, condition), 2)
    found = block(x, condition, lambda maps: part.of(maps, 2))
    torch.testing.assert_close(found[..., 2:-2, 2:-2], whole[..., 2:-2, 2:-2])


def _grids(num: int) -> Tensor:
    """Random grids of 3 frames that look beyond the pictures now and then. (3, num, 6, 7, 2)."""
    return torch.rand(3, num, 6, 7, 2, generator=torch.Generator().manual_seed(1)) * 2.4 - 1.2


def test_features_are_sampled_alike_with_and_without_gradients() -> None:
    for pictures in (torch.randn(4, 16, 9, 11), torch.randn(3, 4, 16, 9, 11)):
        learned = warp(pictures, _grids(4))
        with torch.no_grad():
            found = warp(pictures, _grids(4))
        torch.testing.assert_close(found, learned, atol=1e-5, rtol=1e-5)


def test_sampling_survives_places_that_are_no_numbers() -> None:
    grid = _grids(2)
    grid[0, 0] = math.nan
    with torch.no_grad():
        assert bool(warp(torch.randn(2, 16, 9, 11), grid)[1:].isfinite().all())


def test_a_mixture_leaves_out_only_what_has_no_share() -> None:
    grid = _grids(3)
    shares = torch.rand(3, 3, 6, 7)
    shares[0, 1] = shares[2, 0] = 1e-5
    shares[1] = 0
    shares = shares / shares.sum(1, keepdim=True).clamp_min(1e-3)
    for pictures in (torch.rand(3, 3, 20, 18), torch.rand(3, 3, 3, 20, 18)):
        whole = (warp(pictures, grid, cubic=True) * shares[:, :, None]).sum(1)
        torch.testing.assert_close(warped_mixture(pictures, grid, shares), whole, atol=1e-3, rtol=0)


@pytest.mark.parametrize("encoder", ["dilated", "strided"])
@pytest.mark.parametrize("second", [None, "whisper"])
def test_shifted_windows_are_heard_as_each_by_itself(encoder: Any, second: str | None) -> None:
    torch.manual_seed(0)
    config = IPTalkerConfig(
        audio_encoder=encoder, audio_width=92, audio_kind="speech", second_audio_kind=second
    )
    alignment = build_alignment(config).eval()
    sizes = [FEATURE_SIZES[kind] for kind in ("speech", second) if kind]
    audio = torch.randn(3, 92 + 8, sum(sizes))
    tokens = torch.randn(4, config.embedding * len(sizes))
    with torch.no_grad():
        found = alignment.over_shifts(audio, tokens, 2)
        for number, start in enumerate(range(0, 9, 2)):
            alone = alignment(audio[:, start : start + 92], tokens)
            torch.testing.assert_close(found[number], alone, atol=1e-4, rtol=1e-4)


def _attention() -> tuple[TextureAttention, Encoded, Encoded]:
    """An attention, what 2 frames ask, and 5 references."""
    torch.manual_seed(0)
    attention = TextureAttention(PersonaTalkConfig()).eval()
    size = attention.size

    def made(*lead: int, cells: tuple[int, int] = (10, 12)) -> Encoded:
        return Encoded(
            keys=torch.randn(*lead, size, *cells),
            values=torch.randn(*lead, 7, *cells),
            coordinates=torch.rand(*lead, 3, *cells),
        )

    return attention, made(2), made(1, 5)


def test_references_that_nobody_looks_at_are_left_out_of_the_answer() -> None:
    attention, asking, references = _attention()
    liking = torch.tensor([[0.0, -5000.0, -1.0, -5000.0, -5000.0], [-5000.0, 0.0, 0, 0, -5000.0]])
    found = attention.look_up(asking, references, liking)
    for frame, kept in enumerate(([0, 2], [1, 2, 3])):
        one = Encoded(
            keys=asking.keys[[frame]],
            values=asking.values[[frame]],
            coordinates=asking.coordinates[[frame]],
        )
        few = Encoded(
            keys=references.keys[:, kept],
            values=references.values[:, kept],
            coordinates=references.coordinates[:, kept],
        )
        alone = attention.look_up(one, few, liking[[frame]][:, kept])
        torch.testing.assert_close(found[[frame]], alone, atol=1e-4, rtol=1e-4)


def test_a_place_sees_its_neighbourhood_across_tiles_and_nothing_beyond() -> None:
    attention, asking, _ = _attention()
    face = Encoded(
        keys=torch.randn(2, 3, attention.size, 10, 12),
        values=torch.randn(2, 3, 7, 10, 12),
        coordinates=torch.rand(2, 3, 3, 10, 12),
    )
    found = attention.look_near(asking, face, 2)
    q = attention.extended(asking.keys, asking.coordinates, is_query=True)
    k = attention.extended(face.keys, face.coordinates, is_query=False)
    for y, x in ((0, 0), (4, 5), (7, 8), (9, 11)):
        rows, columns = slice(max(0, y - 2), y + 3), slice(max(0, x - 2), x + 3)
        seen = k[..., rows, columns].movedim(2, -1).flatten(1, 3)
        share = functional.softmax((seen @ q[:, :, y, x, None])[..., 0], 1)
        values = face.values[..., rows, columns].movedim(2, -1).flatten(1, 3)
        told = (share[..., None] * values).sum(1)
        torch.testing.assert_close(found[:, :, y, x], told, atol=1e-4, rtol=1e-4)
