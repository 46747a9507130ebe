"""Windows around lips lie in the picture, wherever a network puts the lips."""

from __future__ import annotations

import pytest
import torch

from dubcli.models.common.lip_windows import cut_windows, window_corners


@pytest.mark.parametrize("place", [float("nan"), float("inf"), float("-inf"), 1e30, -1e30, 40.0])
def test_windows_lie_in_the_picture(place: float) -> None:
    cells, shape = (4, 6), (20, 24)
    corners = window_corners(torch.full((2, 5, 2), place), cells, shape, top=16)
    assert cut_windows(torch.zeros(2, 3, *shape), corners, cells).shape == (2, 3, *cells)
