"""Masks and the numbers that models repeat because they may not import `face`."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from dubcli.face import landmarks
from dubcli.models.common import masks, mouth_map
from dubcli.models.common.masks import mouth_mask
from dubcli.models.iptalker import network as iptalker


def test_models_and_face_mean_the_same_points() -> None:
    speaking = landmarks.SPEAKING
    assert speaking == masks.SPEAKING
    assert landmarks.NUM_SPEAKING == iptalker.NUM_POINTS

    def within(group: slice) -> slice:
        return slice(group.start - speaking.start, group.stop - speaking.start)

    assert within(landmarks.LIPS_OUTER) == mouth_map.OUTER
    assert within(landmarks.LIPS_INNER) == mouth_map.INNER
    assert within(landmarks.JAW) == mouth_map.JAW
    assert landmarks.INNER_TOP - speaking.start == mouth_map.INNER_TOP
    assert landmarks.INNER_BOTTOM - speaking.start == mouth_map.INNER_BOTTOM


def test_the_fixed_mask_is_the_same_whatever_the_mouth_does() -> None:
    crops = torch.rand(2, 3, 208, 160)
    a = mouth_mask("fixed", crops, torch.zeros(2, 133, 2))
    b = mouth_mask("fixed", crops, 100 * torch.rand(2, 133, 2))
    assert a.shape == (2, 1, 208, 160)
    assert torch.equal(a, b)
    assert set(a.unique().tolist()) == {0, 1}
    # Nothing above the nose tip, everything between the cheeks below it, to the bottom.
    assert not a[:, :, :96].any()
    assert a[:, :, 96:, 8:-8].all()


def test_the_fixed_mask_scales_with_the_crop() -> None:
    small, large = (
        mouth_mask("fixed", torch.zeros(1, 3, *size), torch.zeros(1, 133, 2))
        for size in ((104, 80), (208, 160))
    )
    torch.testing.assert_close(torch.nn.functional.avg_pool2d(large, 2), small)


@pytest.mark.parametrize("seed", range(3))
def test_the_hull_is_the_convex_hull_of_the_speaking_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform((20, 40), (60, 95), (133, 2)).astype(np.float32)
    mask = mouth_mask("hull", torch.zeros(1, 3, 104, 80), torch.from_numpy(points)[None])
    hull = cv2.convexHull(points[landmarks.SPEAKING])
    for y in range(0, 104, 3):
        for x in range(0, 80, 3):
            distance = cv2.pointPolygonTest(hull, (float(x), float(y)), True)
            if abs(distance) > 1e-3:
                assert bool(mask[0, 0, y, x]) == (distance > 0)


def test_a_mask_that_a_dub_has_made_serves_training_too() -> None:
    crops = torch.rand(1, 3, 52, 44)
    with torch.inference_mode():
        mouth_mask("fixed", crops, torch.empty(0))
    weight = torch.ones(1, requires_grad=True)
    (weight * mouth_mask("fixed", crops, torch.empty(0))).sum().backward()
    assert weight.grad is not None
