"""G4G against its equations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dubcli.models.api import ReferenceSet, Subject
from dubcli.models.g4g.config import NAMED_CONFIGS, SCALES, G4GConfig
from dubcli.models.g4g.deformation import ChannelDeformation, deform
from dubcli.models.g4g.g4g_render_task import attribute_loss
from dubcli.models.g4g.inter_modal import InterModalAlignment, contrastive_loss, grey_mouths
from dubcli.models.g4g.intra_modal import AlignedBlock
from dubcli.models.g4g.losses import LOSS_PRESETS
from dubcli.models.g4g.network import G4G, Painted
from dubcli.models.g4g.painting import BlendNet, composite_of, scale_masks, soft_mask
from dubcli.training.losses.discriminators import MouthDiscriminator

TINY = NAMED_CONFIGS["tiny"]
FRAMES, REFERENCES = 2, 2


def _points(num: int) -> Tensor:
    """Speaking points in the lower middle of a crop of 104 x 80 px. Shape (num, S, 2)."""
    return torch.tensor([40.0, 62.0]) + 8 * torch.rand(num, 102, 2)


def _model(config: G4GConfig = TINY) -> G4G:
    """Untrained, its affines not at rest."""
    model = G4G(config).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.1 * torch.randn_like(value))
    return model


def _paint(model: G4G, crops: Tensor, background: Tensor, shown: Tensor) -> Painted:
    torch.manual_seed(5)
    references = torch.rand(REFERENCES, 3, 104, 80), _points(REFERENCES)
    heard, scales = torch.randn(FRAMES, model.config.code), torch.full((FRAMES,), 2)
    with torch.no_grad():
        state = model.encode_references(*(one[None] for one in references))
        return model.paint(crops, background, shown, heard, state, scales)


def test_aligned_features_have_the_mean_and_deviation_that_the_landmarks_ask_for() -> None:
    """Eq. 5, with σ̂ = 1 + the layer's first half."""
    adain = AlignedBlock(16, 8).first.adain
    x, code = torch.randn(2, 16, 9, 7), torch.randn(2, 8)
    scale, shift = adain.affine(code).chunk(2, 1)
    mean, deviation = x.mean((2, 3), keepdim=True), x.var((2, 3), unbiased=False, keepdim=True)
    normal = (x - mean) / (deviation + 1e-5).sqrt()
    expected = (1 + scale)[..., None, None] * normal + shift[..., None, None]
    torch.testing.assert_close(adain(x, code), expected)


def test_the_contrastive_loss_is_equation_10_and_the_cross_entropy_of_16() -> None:
    seen, heard = (functional.normalize(torch.randn(6, 8), dim=1) for _ in range(2))
    tau = torch.tensor(0.07)
    exp = (seen @ heard.T / tau).exp()
    v2a, a2v = exp / exp.sum(1, keepdim=True), exp / exp.sum(0, keepdim=True)
    logs = v2a.diagonal().log() + a2v.diagonal().log()
    expected = -logs.sum() / (2 * 6)
    torch.testing.assert_close(contrastive_loss(seen, heard, tau), expected)
    one_hot = torch.eye(6)
    entropies = -(one_hot * v2a.log()).sum(1) - (one_hot * a2v.T.log()).sum(1)
    torch.testing.assert_close(contrastive_loss(seen, heard, tau), entropies.mean() / 2)


def test_a_matching_diagonal_costs_less_than_one_that_is_moved() -> None:
    seen = functional.normalize(torch.randn(6, 8), dim=1)
    tau = torch.tensor(0.1)
    right, wrong = (contrastive_loss(seen, x, tau) for x in (seen, seen.roll(1, 0)))
    assert float(right) < float(wrong)


def _affine(scale: float, angle: float, x: float, y: float) -> Tensor:
    return torch.tensor([[[scale, angle, x, y]]])


def test_channels_move_by_the_affine_of_equation_11() -> None:
    features = torch.rand(1, 1, 6, 6)
    torch.testing.assert_close(deform(features, _affine(1, 0, 0, 0)), features)
    # One cell is a third of the normalised grid: each cell shows what lies to its right.
    moved = deform(features, _affine(1, 0, 2 / 6, 0))
    torch.testing.assert_close(moved[..., :-1], features[..., 1:], atol=1e-5, rtol=0)
    quarter = deform(features, _affine(1, torch.pi / 2, 0, 0))
    # At (x, y) it shows (-y, x).
    torch.testing.assert_close(quarter, features.rot90(1, (2, 3)), atol=1e-5, rtol=0)
    wide = torch.linspace(-1, 1, 6).expand(1, 1, 6, 6)
    torch.testing.assert_close(deform(wide, _affine(0.5, 0, 0, 0)), 0.5 * wide, atol=1e-5, rtol=0)


def test_each_channel_and_half_plane_has_an_affine_of_its_own() -> None:
    part = ChannelDeformation(replace(TINY, num_after=0)).eval()
    features, v, heard = torch.rand(1, 22, 8, 6), torch.zeros(1, 8), torch.zeros(1, 8)
    scales = torch.zeros(1, dtype=torch.int64)
    with torch.no_grad():
        torch.testing.assert_close(part(features, v, heard, scales), features)
        # t_x of channel 3 in the lower part alone.
        bias = part.out.bias.view(2, 22, 4)
        bias[1, 3, 2] = 1.0
        moved = part(features, v, heard, scales)
    changed = (moved - features).abs().amax((0, 3)) > 1e-4
    assert changed.any(1).nonzero().tolist() == [[3]]
    assert not changed[3, :3].any()
    assert changed[3, 5:].all()


def test_the_attribute_loss_is_equation_12_and_leaves_the_landmarks_alone() -> None:
    v, code = torch.randn(3, 8, requires_grad=True), torch.randn(3, 8, requires_grad=True)
    loss = attribute_loss(v, code)
    cosine = (v * code).sum(1) / (v.norm(dim=1) * code.norm(dim=1))
    torch.testing.assert_close(loss, (1 - cosine).mean())
    loss.backward()
    assert v.grad is not None
    assert code.grad is None


def test_the_papers_weights_are_one_to_five_in_the_order_of_equation_17() -> None:
    paper = LOSS_PRESETS["paper"]
    terms = (paper.attribute, paper.perceptual, paper.gan, paper.reconstruction, paper.contrast)
    assert terms == (1, 2, 3, 4, 5)
    assert paper.gan_pairs == paper.gan


def test_the_discriminator_of_consecutive_frames_sees_each_of_them() -> None:
    net = MouthDiscriminator(frames=2).eval()
    pictures = torch.rand(1, 6, 32, 32, requires_grad=True)
    net(pictures)[0][0].sum().backward()
    assert pictures.grad is not None
    assert bool((pictures.grad.abs().sum((0, 2, 3)) > 0).all())


def test_masks_grow_and_the_composite_replaces_nothing_that_is_shown() -> None:
    masks = scale_masks(torch.rand(1, 3, 208, 160))
    assert len(masks) == len(SCALES)
    sizes = masks.sum((1, 2, 3)).tolist()
    assert sizes == [64 * 96, 128 * 128, 112 * 144]
    soft = soft_mask(masks, 58.0)
    assert float(soft[masks == 0].abs().max()) == 0
    assert float(soft.amax()) == pytest.approx(1)
    made, source = torch.rand(3, 3, 208, 160), torch.rand(3, 3, 208, 160)
    comp, hidden = composite_of(made, source, soft), masks.expand(-1, 3, -1, -1) > 0
    assert torch.equal(comp[~hidden], source[~hidden])


def test_what_the_mask_hides_reaches_the_picture_by_the_soft_rim_alone() -> None:
    model = _model()
    crops, shown = torch.rand(FRAMES, 3, 104, 80), _points(FRAMES)
    other = crops.clone()
    mask = scale_masks(crops)[2:, :, TINY.top :]
    # Sums of the kernel differ from 1 by rounding.
    inside = (soft_mask(mask, TINY.unit_px) > 1 - 1e-5).expand(FRAMES, 3, -1, -1)
    other[:, :, TINY.top :][inside] = torch.rand(int(inside.sum()))
    one, two = (_paint(model, x, x, shown) for x in (crops, other))
    assert not torch.equal(crops, other)
    torch.testing.assert_close(one.rgb, two.rgb, atol=1e-4, rtol=0)


def test_pixels_of_the_reference_that_shows_the_wanted_mouth_are_copied() -> None:
    model = G4G(replace(TINY, num_references=1)).eval()
    picture, points = torch.rand(1, 1, 3, 104, 80), _points(1)[None]
    shown, painted = points[0], torch.zeros(1, 3, 64, 80)
    with torch.no_grad():
        state = model.encode_references(picture, points)
        lent = model._lent(shown, state.points[0])  # pyright: ignore[reportPrivateUsage]
        only_copied = torch.tensor([50.0, 0.0])[None, :, None, None].expand(1, 2, 64, 80)
        for sharp in (False, True):
            copied = model._with_copied_pixels(  # pyright: ignore[reportPrivateUsage]
                painted, only_copied, lent, state.pictures[0], sharp=sharp
            )
            torch.testing.assert_close(copied, picture[0, :, :, TINY.top :], atol=1e-4, rtol=0)


def test_the_untrained_blend_net_all_but_copies_the_composite() -> None:
    net = BlendNet(8).eval()
    comp = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        out = net(comp, comp, torch.ones(1, 1, 32, 32))
        assert float((out - comp).abs().mean()) < 0.1
        # It is no residual: what it makes of the composite may be turned off.
        net.out.weight[:, 8:] = 0
        assert float((net(comp, comp, torch.ones(1, 1, 32, 32)) - comp).abs().mean()) > 0.2


def _subject(order: list[int]) -> Subject:
    torch.manual_seed(3)
    pictures, points = torch.rand(REFERENCES, 3, 104, 80), _points(REFERENCES)
    references = ReferenceSet(
        crops=pictures[order], points=points[order], frames=torch.tensor(order)
    )
    return Subject(references={"references": references}, neutral=torch.zeros(102, 3))


def test_references_are_stacked_from_closed_to_open_whatever_their_order() -> None:
    model = _model()
    with torch.no_grad():
        one, two = (model.prepare(_subject(order)) for order in ([0, 1], [1, 0]))
    assert torch.equal(one.features, two.features)
    assert not torch.equal(one.points, two.points)


def test_without_a_drawn_mouth_the_landmark_picture_shows_the_mouth_at_rest() -> None:
    model = _model(replace(TINY, drawn_mouth=False, own_skin=False))
    assert not model.spec.gives_motion
    assert not model.spec.takes_motion
    assert not any("to_coefficients" in name for name, _ in model.named_parameters())


def test_without_alignment_no_landmarks_are_looked_at_but_by_the_drawn_mouth() -> None:
    model = _model(replace(TINY, alignment="none", drawn_mouth=False, own_skin=False))
    crops = torch.rand(FRAMES, 3, 104, 80)
    one, two = (
        _paint(model, crops, crops, points) for points in (_points(FRAMES), _points(FRAMES))
    )
    torch.testing.assert_close(one.rgb, two.rgb, atol=1e-5, rtol=0)
    assert one.code is None


def test_the_models_own_score_is_a_share_among_shifts() -> None:
    matcher = InterModalAlignment(TINY).eval()
    mouths, heard = torch.rand(16, 3, 48, 80), torch.randn(16, 5, 8)
    with torch.no_grad():
        share, rank = matcher.scores(mouths, heard)
        seen, listened = matcher.see(mouths), matcher.listen(heard)
        cosines = (seen[:, None] * listened).sum(-1)
        p = (cosines / matcher.temperature).exp()
    torch.testing.assert_close(share, p[:, 2] / p.sum(1))
    assert bool(((rank >= 1) & (rank <= 5)).all())
    is_apart = ((cosines - cosines[:, 2:3]).abs() > 0.05).sum(1) == 4
    places = 1.0 + (cosines > cosines[:, 2:3]).sum(1)
    assert is_apart.any()
    torch.testing.assert_close(rank[is_apart], places[is_apart], atol=1e-2, rtol=0)


def test_mouths_are_cut_around_the_mouth_at_rest() -> None:
    crops = torch.zeros(1, 3, 208, 160)
    crops[:, :, 120:122, 80:82] = 1
    cut = grey_mouths(crops, torch.tensor([[80.5, 120.5]]), 0.28 * 208)
    assert cut.shape == (1, 48, 80)
    y, x = divmod(int(cut[0].argmax()), 80)
    assert y in (23, 24)
    assert x in (39, 40)


def test_steady_sound_gives_the_same_mouth_with_and_without_smoothing() -> None:
    model = _model()
    steady = torch.ones(1, model.sound.config.audio_width + 2 * model.sound.margin, 80)
    with torch.no_grad():
        smoothed = model.sound.smoothed(steady)
        assert model.sound.to_coefficients is not None
        plain = model.sound.to_coefficients(model.sound(steady[:, : TINY.audio_width]))
    torch.testing.assert_close(smoothed, plain, atol=1e-5, rtol=1e-4)


def test_the_papers_network_builds_at_the_papers_size() -> None:
    config = NAMED_CONFIGS["paper"]
    assert (config.height, config.width, config.top, config.channels) == (416, 320, 0, 256)
    with torch.device("meta"):
        model = G4G(config)
    assert model.spec.crop.size == (416, 320)
    assert model.spec.paste == "face"


def test_the_default_fits_into_eight_megabytes() -> None:
    with torch.device("meta"):
        model = G4G(NAMED_CONFIGS["default"])
    assert 2 * sum(value.numel() for value in model.state_dict().values()) <= 8e6
