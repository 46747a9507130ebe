"""Losses against their formulas and against other people's code."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from dubcli.models.common.mouth_losses import correlation_loss, point_loss
from dubcli.models.iptalker.losses import LOSS_PRESETS
from dubcli.models.lip_identity.losses import LOSS_PRESETS as LIP_PRESETS
from dubcli.training.losses.pictures import (
    discriminator_loss,
    edge_features,
    feature_loss,
    finest_band,
    generator_loss,
    gradient_l1,
    gram,
    luma,
    perceptual_loss,
    pyramid_loss,
    ssim_loss,
    style_loss,
    substitute_loss,
    texture_loss,
    warp_loss,
    weighted_l1,
)


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


def _activations(batch: int = 2) -> list[torch.Tensor]:
    return [torch.randn(batch, 4, 6, 5), torch.randn(batch, 8, 3, 2)]


def test_perceptual_loss_is_equation_8() -> None:
    """Two sizes, N layers: sum of ||.||_1 / (2 N W H C), for every picture alone."""
    made, real = [_activations(1) for _ in range(2)], [_activations(1) for _ in range(2)]
    total = 0.0
    for i in range(2):
        channels, height, width = made[0][i].shape[1:]
        norms = sum(
            np.abs(a[i].numpy() - b[i].numpy()).sum() for a, b in zip(made, real, strict=True)
        )
        total += norms / (2 * 2 * width * height * channels)
    assert float(perceptual_loss(made, real)) == pytest.approx(total, rel=1e-5)


def test_feature_matching_teaches_the_made_picture_alone() -> None:
    made = [x.requires_grad_() for x in _activations()]
    real = [x.requires_grad_() for x in _activations()]
    loss = feature_loss(made, real)
    expected = np.mean([(a - b).abs().mean().item() for a, b in zip(made, real, strict=True)])
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert all(x.grad is not None for x in made)
    assert all(x.grad is None for x in real)


def test_gram_holds_scalar_products_of_channels() -> None:
    x = torch.arange(12.0).reshape(1, 2, 2, 3)
    first, second = np.arange(6.0), np.arange(6.0, 12.0)
    products = [[first @ first, first @ second], [second @ first, second @ second]]
    np.testing.assert_allclose(gram(x)[0], np.array(products) / 12, rtol=1e-6)


def test_style_does_not_ask_where() -> None:
    made, real = _activations(), _activations()
    moved = [x.roll((1, 2), (2, 3)) for x in made]
    assert float(style_loss(moved, made)) == pytest.approx(0, abs=1e-6)
    by_hand = np.mean(
        [
            np.abs(np.einsum("bchw,bdhw->bcd", a, a) - np.einsum("bchw,bdhw->bcd", b, b)).mean()
            / a[0].size
            for a, b in ((a.numpy(), b.numpy()) for a, b in zip(made, real, strict=True))
        ]
    )
    assert float(style_loss(made, real)) == pytest.approx(by_hand, rel=1e-4)


def test_edge_features_are_colours_and_their_differences() -> None:
    picture = torch.rand(1, 3, 8, 12)
    full, half = edge_features(picture, levels=2)
    assert full.shape == (1, 9, 7, 11)
    assert half.shape == (1, 9, 3, 5)
    x = picture[0].numpy()
    np.testing.assert_allclose(full[0, :3], x[:, :-1, :-1])
    np.testing.assert_allclose(full[0, 3:6], np.diff(x, axis=2)[:, :-1], atol=1e-6)
    np.testing.assert_allclose(full[0, 6:], np.diff(x, axis=1)[:, :, :-1], atol=1e-6)


def test_least_squares_gan_is_equations_10_and_11() -> None:
    real, made = [torch.tensor([[0.8, 1.2]])], [torch.tensor([[0.1, 0.5]])]
    expected = 0.5 * (0.2**2 + 0.2**2) / 2 + 0.5 * (0.1**2 + 0.5**2) / 2
    assert float(discriminator_loss(real, made)) == pytest.approx(expected, rel=1e-5)
    assert float(generator_loss(made)) == pytest.approx((0.9**2 + 0.5**2) / 2, rel=1e-5)
    # Scores of several sizes count alike, however many there are of each.
    sizes = [torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 4, 4)]
    assert float(generator_loss(sizes)) == pytest.approx(0.5)
    assert float(discriminator_loss(sizes, sizes)) == pytest.approx(0.5)


def test_substitutes_are_the_sums_they_are_documented_to_be() -> None:
    a, b, weight = _pictures()
    stands_in = pyramid_loss(a, b, weight) + 0.15 * ssim_loss(a, b, weight)
    assert float(substitute_loss(a, b, weight)) == pytest.approx(float(stands_in))
    warped = weighted_l1(a, b, weight) + gradient_l1(a, b, weight)
    assert float(warp_loss(a, b, weight)) == pytest.approx(float(warped))


def test_the_finest_band_is_what_a_binomial_blur_takes_away() -> None:
    picture = torch.rand(1, 3, 20, 16)
    grey = luma(picture)
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    np.testing.assert_allclose(grey[0, 0], np.tensordot(weights, picture[0], 1), atol=1e-6)
    kernel = cv2.getGaussianKernel(5, 0)  # OpenCV's fixed 5-tap kernel: 1 4 6 4 1
    plain = grey[0, 0].numpy()
    blurred = cv2.sepFilter2D(plain, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
    np.testing.assert_allclose(finest_band(grey)[0, 0], plain - blurred, atol=1e-6)


def _texture(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(texture_loss(a, b, torch.ones_like(a[:, :1]), window=8))


def test_texture_loss_is_the_log_of_the_ratio_of_energies() -> None:
    """Twice the contrast is four times the energy."""
    strong = 0.5 + 0.4 * (torch.rand(1, 1, 32, 48) - 0.5).expand(1, 3, 32, 48)
    weak = 0.5 + (strong - 0.5) / 2
    assert _texture(strong, weak) == pytest.approx(np.log(4), abs=0.05)
    assert _texture(weak, strong) == pytest.approx(np.log(4), abs=0.05)
    assert _texture(strong, strong) == 0


def test_texture_loss_asks_how_much_not_where() -> None:
    """Of a blurred picture and one with the right texture elsewhere, L1 prefers the blurred."""
    real = torch.rand(1, 1, 64, 64).expand(1, 3, 64, 64)
    blurred = torch.nn.functional.avg_pool2d(real, 7, stride=1, padding=3)
    moved = real.roll(3, 3)
    flat = torch.ones(1, 1, 64, 64)
    assert weighted_l1(blurred, real, flat) < weighted_l1(moved, real, flat)
    assert _texture(moved, real) < 0.2 * _texture(blurred, real)


def test_texture_loss_looks_where_the_weight_is_and_past_noise() -> None:
    real = torch.rand(1, 3, 32, 64)
    made = real.clone()
    made[..., 40:] = 0.5
    left = torch.zeros(1, 1, 32, 64)
    left[..., :16] = 1
    assert float(texture_loss(made, real, left, window=8)) == pytest.approx(0, abs=1e-6)
    assert float(texture_loss(made, real, 1 - left, window=8)) > 1
    noise = 0.5 + 0.002 * (torch.rand(1, 3, 32, 64) - 0.5)
    assert _texture(torch.full_like(noise, 0.5), noise) < 0.05


def test_the_papers_presets_hold_the_papers_weights() -> None:
    """IPTalker eq. 13: 10 L_p + 0.1 L_sync + L_GAN. Lip-and-Identity, section 3.2.3."""
    paper, lip = LOSS_PRESETS["paper"], LIP_PRESETS["paper"]
    assert (paper.perceptual, paper.gan, paper.sync) == (10.0, 1.0, 0.1)
    found = (lip.warp, lip.perceptual, lip.style, lip.gan, lip.matching)
    assert found == (2.5, 4.0, 1000.0, 0.25, 2.5)
    assert lip.is_summed
    assert LOSS_PRESETS["no-gan"].gan == 0
    assert LOSS_PRESETS["default"].gan > 0
