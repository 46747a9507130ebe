"""Losses on pictures; each returns a scalar.

Sources: IPTalker is arXiv:2501.04586, Lip-and-Identity doi:10.1002/cav.70026.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

# Grey level 1 of 255: differences below it are noise.
_NOISE_ENERGY = (1 / 255) ** 2
_LUMA = (0.299, 0.587, 0.114)
_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
_SUBSTITUTE_SSIM = 0.15


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


def substitute_loss(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """`pyramid_loss` + 0.15 `ssim_loss`: stands in for eq. 8 where VGG-19 is not there."""
    return pyramid_loss(a, b, weight) + _SUBSTITUTE_SSIM * ssim_loss(a, b, weight)


def warp_loss(warped: Tensor, real: Tensor, weight: Tensor) -> Tensor:
    """L1 and gradient L1 of the warped references: the flow must carry pixels to their place.

    Stands in for the VGG-19 features of Lip-and-Identity's L_w (section 3.2.3).
    """
    return weighted_l1(warped, real, weight) + gradient_l1(warped, real, weight)


def feature_loss(
    made: Sequence[Tensor], real: Sequence[Tensor], *, is_summed: bool = False
) -> Tensor:
    """Mean over layers of the mean |V_i(made) - V_i(real)|.

    One scale of IPTalker's L_p (eq. 8); with `is_summed` of Lip-and-Identity's L_w and L_r, up to
    the number of elements of a layer; and, on a discriminator's features, its feature matching
    L_f (pix2pixHD, arXiv:1711.11585, eq. 4). Gradients flow into `made` alone.

    Args:
        made: Activations of layers. Shapes (B, C, H, W).
        real: Those of the real pictures.
        is_summed: The sum over layers in place of their mean.
    """
    pairs = zip(made, real, strict=True)
    costs = torch.stack([(a - b.detach()).abs().mean() for a, b in pairs])
    return costs.sum() if is_summed else costs.mean()


def perceptual_loss(
    made: Sequence[Sequence[Tensor]],
    real: Sequence[Sequence[Tensor]],
    *,
    is_summed: bool = False,
) -> Tensor:
    """L_p, IPTalker eq. 8: `feature_loss` averaged over sizes (full and half in the paper).

    With `is_summed` the sum over sizes and layers, as Lip-and-Identity writes L_w and L_r.
    """
    pairs = zip(made, real, strict=True)
    costs = torch.stack([feature_loss(a, b, is_summed=is_summed) for a, b in pairs])
    return costs.sum() if is_summed else costs.mean()


def gram(features: Tensor) -> Tensor:
    """G^φ: correlations of channels over positions, divided by C H W. (B, C, H, W) to (B, C, C)."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


def style_loss(
    made: Sequence[Tensor], real: Sequence[Tensor], *, is_summed: bool = False
) -> Tensor:
    """L_s, Lip-and-Identity section 3.2.3: mean |G_i(made) - G_i(real)|, mean over layers.

    Knows which textures there are, not where. With `is_summed` the sum over layers.
    """
    grams = [gram(x) for x in made], [gram(x) for x in real]
    return feature_loss(*grams, is_summed=is_summed)


def edge_features(pictures: Tensor, levels: int = 3) -> list[Tensor]:
    """Colour and its differences across and down at halvings: what style is of without VGG-19.

    Args:
        pictures: Shape (B, 3, H, W).
        levels: How many sizes.

    Returns:
        Per size, shape (B, 9, h - 1, w - 1).
    """
    out: list[Tensor] = []
    for level in range(levels):
        if level:
            pictures = functional.avg_pool2d(pictures, 2)
        here = pictures[..., :-1, :-1]
        across, down = pictures[..., :-1, 1:] - here, pictures[..., 1:, :-1] - here
        out.append(torch.cat([here, across, down], 1))
    return out


def generator_loss(made: Sequence[Tensor]) -> Tensor:
    """L_G, IPTalker eq. 11: mean (D(made) - 1)^2, averaged over the scores of several sizes."""
    return torch.stack([((score - 1) ** 2).mean() for score in made]).mean()


def discriminator_loss(real: Sequence[Tensor], made: Sequence[Tensor]) -> Tensor:
    """L_D, IPTalker eq. 10: (mean (D(real) - 1)^2 + mean D(made)^2) / 2, averaged over sizes."""
    pairs = zip(real, made, strict=True)
    return torch.stack([((r - 1) ** 2).mean() + (m**2).mean() for r, m in pairs]).mean() / 2


def texture_loss(a: Tensor, b: Tensor, weight: Tensor, window: int, levels: int = 2) -> Tensor:
    """How much local detail differs, wherever in a window it lies.

    Luma is split into bands (`finest_band` of halvings); the mean square of a band within a
    window is its energy there. Mean |ln energy(a) - ln energy(b)|: 0.69
    where one has twice the other's. Unlike L1 this is not least for a blurred picture.

    Args:
        a: Shape (B, 3, H, W), [0, 1].
        b: Shape (B, 3, H, W), [0, 1].
        weight: Of each place. Shape (B, 1, H, W).
        window: Side of a window on every band, px; windows overlap by half.
        levels: How many bands, the finest first.
    """
    a, b = luma(a.float()), luma(b.float())
    weight, total = weight.float(), a.new_zeros(())
    for level in range(levels):
        if level:
            a, b, weight = (functional.avg_pool2d(x, 2) for x in (a, b, weight))
        size = min(window, *a.shape[-2:])
        stride = max(1, size // 2)
        made, real = (
            functional.avg_pool2d(finest_band(x) ** 2, size, stride=stride) for x in (a, b)
        )
        share = functional.avg_pool2d(weight, size, stride=stride)
        gap = (torch.log(made + _NOISE_ENERGY) - torch.log(real + _NOISE_ENERGY)).abs()
        total = total + (gap * share).sum() / share.sum().clamp_min(1e-6)
    return total / levels


def luma(pictures: Tensor) -> Tensor:
    """BT.601 luma (B, 1, H, W) of RGB (B, 3, H, W)."""
    return (pictures * pictures.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)


def finest_band(pictures: Tensor) -> Tensor:
    """Pictures (B, 1, H, W) minus themselves under a 5 x 5 binomial filter, borders repeated.

    The finest band of a Laplacian pyramid (doi:10.1109/TCOM.1983.1095851).
    """
    row = pictures.new_tensor(_BINOMIAL)
    padded = functional.pad(pictures, (2, 2, 2, 2), mode="replicate")
    across = functional.conv2d(padded, row.reshape(1, 1, 1, 5))
    return pictures - functional.conv2d(across, row.reshape(1, 1, 5, 1))
