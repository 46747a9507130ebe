"""The frame's own skin around a generated mouth."""

from __future__ import annotations

import pytest
import torch

from dubcli.models.common.own_skin import own_background

HEIGHT, WIDTH, UNIT_PX = 104, 80, 29.0


@pytest.mark.parametrize("top", [4, 40, 52])
def test_the_skin_of_a_box_is_that_of_the_whole_crop(top: int) -> None:
    seeded = torch.Generator().manual_seed(0)
    crops = torch.rand(2, 3, HEIGHT, WIDTH, generator=seeded)
    landmarks = torch.rand(2, 186, 2, generator=seeded) * torch.tensor([WIDTH, HEIGHT])
    speaking = landmarks[:, :102] + 4 * torch.randn(2, 102, 2, generator=seeded)
    field, background = own_background(crops, landmarks, speaking, top, UNIT_PX)
    whole_field, whole = own_background(crops, landmarks, speaking, 0, UNIT_PX)
    torch.testing.assert_close(field, whole_field[:, top:])
    torch.testing.assert_close(background[:, :, top:], whole[:, :, top:])
    assert torch.equal(background[:, :, :top], crops[:, :, :top])
    # The mouths differ, so something moves.
    assert not torch.allclose(background[:, :, top:], crops[:, :, top:])
