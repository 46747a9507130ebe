"""Losses on pictures and mouth shapes; each returns a scalar."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def weighted_l1(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Mean |a - b| of pictures (B, C, H, W) under weights (B, 1, H, W)."""
    return ((a - b).abs() * weight).sum() / (weight.sum() * a.shape[1]).clamp_min(1e-6)


def gradient_l1(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """`weighted_l1` of horizontal and vertical differences: edges at the right place."""
    total = a.new_zeros(())
    for axis in (-1, -2):
        low = [slice(None)] * 4
        high = [slice(None)] * 4
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        lo, hi = tuple(low), tuple(high)
        total = total + weighted_l1(a[hi] - a[lo], b[hi] - b[lo], weight[hi])
    return total / 2


def pyramid_loss(a: Tensor, b: Tensor, weight: Tensor, levels: int = 3) -> Tensor:
    """L1 and gradient L1 over halvings: the documented substitute for eq. 8 without VGG-19."""
    total = a.new_zeros(())
    for level in range(levels):
        if level:
            a, b, weight = (functional.avg_pool2d(x, 2) for x in (a, b, weight))
        total = total + weighted_l1(a, b, weight) + gradient_l1(a, b, weight)
    return total / levels


def ssim_loss(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """1 - SSIM (doi:10.1109/TIP.2003.819861) with a 7 px box window, under weights.

    Every second window is looked at, for speed.
    """

    def blur(x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, 7, stride=2)

    weight = weight[..., 3:-3:2, 3:-3:2]

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    score = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    score = score / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return ((1 - score) * weight).sum() / (weight.sum() * a.shape[1]).clamp_min(1e-6)


def correlation_loss(a: Tensor, b: Tensor) -> Tensor:
    """1 - Pearson r along the last axis, averaged. Series of shape (B, T)."""
    a, b = a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True)
    scale = (a**2).mean(-1) * (b**2).mean(-1)
    r = (a * b).mean(-1) / torch.sqrt(scale + 1e-8)
    return (1 - r).mean()
