"""Losses against their formulas and against other people's code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from dubcli.training.losses import (
    correlation_loss,
    gradient_l1,
    pyramid_loss,
    ssim_loss,
    weighted_l1,
)
from dubcli.training.tasks import point_loss


def _pictures() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    a = torch.rand(2, 3, 32, 24)
    return a, (a + 0.2 * torch.rand_like(a)).clamp(0, 1), torch.rand(2, 1, 32, 24)


def test_weighted_l1_is_a_weighted_mean() -> None:
    a, b, weight = _pictures()
    weights = weight.numpy().repeat(3, 1)
    expected = np.average(np.abs(a.numpy() - b.numpy()), weights=weights)
    assert float(weighted_l1(a, b, weight)) == pytest.approx(expected, rel=1e-5)


def test_gradient_l1_compares_differences_between_neighbours() -> None:
    a, b, weight = _pictures()
    gap = (a - b).numpy()
    across = np.average(np.abs(np.diff(gap, axis=3)), weights=weight[..., 1:].numpy().repeat(3, 1))
    down = np.average(np.abs(np.diff(gap, axis=2)), weights=weight[:, :, 1:].numpy().repeat(3, 1))
    assert float(gradient_l1(a, b, weight)) == pytest.approx((across + down) / 2, rel=1e-5)
    # A change of brightness moves no edge.
    assert float(gradient_l1(a, a + 0.3, weight)) == pytest.approx(0, abs=1e-6)


def test_pyramid_loss_averages_three_sizes() -> None:
    a, b, weight = _pictures()
    assert float(pyramid_loss(a, a, weight)) == 0
    loss, total = float(pyramid_loss(a, b, weight)), 0.0
    for _ in range(3):
        total += float(weighted_l1(a, b, weight) + gradient_l1(a, b, weight))
        a, b, weight = (torch.nn.functional.avg_pool2d(x, 2) for x in (a, b, weight))
    assert loss == pytest.approx(total / 3, rel=1e-5)


def test_ssim_is_that_of_scikit_image() -> None:
    """Uniform 7 px windows, every second one in both directions."""
    a, b, _ = _pictures()
    scores = []
    for x, y in zip(a.numpy(), b.numpy(), strict=True):
        full = structural_similarity(
            x,
            y,
            win_size=7,
            data_range=1.0,
            channel_axis=0,
            use_sample_covariance=False,
            full=True,
        )[1]
        scores.append(full[:, 3:-3:2, 3:-3:2].mean())
    loss = float(ssim_loss(a, b, torch.ones(2, 1, 32, 24)))
    assert loss == pytest.approx(1 - np.mean(scores), abs=1e-4)


def test_correlation_loss_is_one_minus_pearson() -> None:
    a, b = torch.randn(3, 40), torch.randn(3, 40)
    b = b + a
    r = [np.corrcoef(x, y)[0, 1] for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    assert float(correlation_loss(a, b)) == pytest.approx(1 - np.mean(r), abs=1e-4)


def test_point_loss_is_smooth_l1_in_hundredths() -> None:
    """Far errors cost as much as their length, near ones their square; lips count most."""
    basis = torch.zeros(1, 102, 3)
    basis[0, 0, 0] = 1.0
    far, near = (float(point_loss(torch.tensor([[x]]), basis)) for x in (0.5, 0.01))
    assert far == pytest.approx((50 - 1) / (102 * 3) / 2, rel=1e-4)
    assert near == pytest.approx(0.5 * 1**2 / 2 / (102 * 3) / 2, rel=1e-4)
    inner = basis.roll(20, 1)
    assert float(point_loss(torch.tensor([[0.5]]), inner)) == pytest.approx(2 * far, rel=1e-5)
