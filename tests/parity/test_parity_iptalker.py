"""Blocks of IPTalker against the formulas of the paper (arXiv:2501.04586)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dubcli.core.errors import ConfigError
from dubcli.models.common.layers import SPADE, AdaIN
from dubcli.models.common.masks import MaskKind, mouth_mask
from dubcli.models.common.mouth_map import normalised, pixel_grid, resize_grid, warp
from dubcli.models.common.own_mouth import fold_mapping
from dubcli.models.iptalker.alignment import (
    AlignmentModule,
    AudioVisualAlignmentUnit,
    PairedAlignment,
)
from dubcli.models.iptalker.network import NAMED_CONFIGS, IPTalker, ReferenceState

TINY = NAMED_CONFIGS["tiny"]


def _standardised(x: Tensor) -> Tensor:
    mean = x.mean((2, 3), keepdim=True)
    return (x - mean) / ((x - mean).square().mean((2, 3), keepdim=True) + 1e-5).sqrt()


def test_adain_is_the_formula_of_its_paper() -> None:
    """arXiv:1703.06868, eq. 8, with a learned scale about one."""
    block, x, code = AdaIN(6, 5), torch.randn(3, 6, 8, 7), torch.randn(3, 5)
    affine = code @ block.affine.weight.T + block.affine.bias
    scale, shift = affine[:, :6, None, None], affine[:, 6:, None, None]
    torch.testing.assert_close(block(x, code), _standardised(x) * (1 + scale) + shift)


def test_adain_without_a_code_leaves_no_trace_of_the_content_statistics() -> None:
    block, x = AdaIN(6, 5), torch.randn(2, 6, 8, 8)
    code = torch.randn(2, 5)
    torch.testing.assert_close(block(3 * x + 7, code), block(x, code), atol=1e-4, rtol=0)


def test_spade_is_the_formula_of_its_paper() -> None:
    """arXiv:1903.07291, eq. 1: scale and shift differ from place to place."""
    block, x, condition = SPADE(6, 4, 8), torch.randn(2, 6, 9, 8), torch.randn(2, 4, 9, 8)
    hidden = functional.silu(
        functional.conv2d(condition, block.shared.weight, block.shared.bias, padding=1)
    )
    affine = functional.conv2d(hidden, block.affine.weight, block.affine.bias)
    expected = _standardised(x) * (1 + affine[:, :6]) + affine[:, 6:]
    torch.testing.assert_close(block(x, condition), expected)


@torch.no_grad()
def test_tokens_that_are_all_alike_may_be_asked_as_one() -> None:
    """Eq. 2: equal keys share the attention, so that the answer is that of one of them."""
    unit = AudioVisualAlignmentUnit(16, 2).eval()
    for parameter in unit.parameters():
        parameter.normal_(generator=torch.Generator().manual_seed(0))
    visual, audio = torch.randn(3, 1, 16).expand(-1, 4, -1), torch.randn(3, 1, 16)
    found = unit(visual, audio, are_alike=True)
    v, a = visual, audio
    tokens = torch.cat([v, a], 1)
    normed = unit.self_norm(tokens)
    tokens = tokens + unit.self_attention(normed, normed, normed)[0]
    v, a = tokens[:, :4], tokens[:, 4:]
    asked, told = unit.visual_norm(v), unit.audio_norm(a)
    a = a + unit.audio_to_visual(told, asked, asked)[0]
    v = v + unit.visual_to_audio(asked, told, told)[0]
    tokens = torch.cat([v, a], 1)
    tokens = tokens + unit.feed(unit.feed_norm(tokens))
    torch.testing.assert_close(torch.cat(found, 1), tokens)


@pytest.mark.parametrize("size", [(16, 12), (13, 10)])
def test_a_warp_without_displacement_is_the_identity(size: tuple[int, int]) -> None:
    picture = torch.rand(2, 3, *size)
    grid = normalised(pixel_grid(*size, 1, (0, 0)), size).expand(1, 2, *size, 2)
    torch.testing.assert_close(warp(picture, grid)[0], picture, atol=1e-5, rtol=0)


def test_a_warp_by_whole_pixels_looks_that_far_away() -> None:
    """Eq. 6-7: the flow says where a pixel of the result is looked up, xy."""
    size, right, down = (16, 12), 3, 2
    picture = torch.rand(1, 3, *size)
    cells = pixel_grid(*size, 1, (0, 0)) + torch.tensor([right, down])
    out = warp(picture, normalised(cells, size).expand(1, 1, *size, 2))[0, 0]
    inside = picture[0, :, down:, right:]
    torch.testing.assert_close(out[:, :-down, :-right], inside, atol=1e-5, rtol=0)
    # Beyond the picture its border goes on.
    torch.testing.assert_close(out[:, -1, :-right], picture[0, :, -1, right:], atol=1e-5, rtol=0)


def test_cells_of_a_coarse_grid_lie_between_their_pixels() -> None:
    """Four pixels 0..3 have their middle at 1.5; the box's origin is added."""
    cells = pixel_grid(2, 3, 4, (40, 8))
    assert cells[0, 0].tolist() == [9.5, 41.5]
    assert cells[1, 2].tolist() == [17.5, 45.5]


def test_a_resized_grid_still_looks_at_the_same_places() -> None:
    size = (8, 12)
    coarse = normalised(pixel_grid(2, 3, 4, (0, 0)), size).expand(1, 1, 2, 3, 2)
    fine = resize_grid(coarse, *size)[0, 0]
    exact = normalised(pixel_grid(*size, 1, (0, 0)), size)
    inner = (slice(2, -2), slice(2, -2))
    torch.testing.assert_close(fine[inner], exact[inner], atol=1e-6, rtol=0)


def test_tokens_carry_their_modality_and_the_result_skips_the_encoder() -> None:
    """Eq. 1: e_a = E_a(audio) + audio token. Eq. 3: v_alg = E_cm(...) + e_a."""
    module = AlignmentModule(TINY).eval()
    audio, visual = torch.rand(3, TINY.audio_width, 80), torch.randn(2, TINY.embedding)
    e_a = module.audio_encoder(audio) + module.audio_token
    tokens = (visual + module.visual_token).expand(3, -1, -1)
    aware = e_a
    for unit in module.units:
        tokens, aware = unit(tokens, aware)
    v_alg, encoder = module(audio, visual), module.cross_modality
    assert encoder is not None
    torch.testing.assert_close(v_alg - encoder(tokens, aware), e_a[:, 0])
    torch.testing.assert_close(module(audio, visual.expand(3, -1, -1)), v_alg)


def test_the_order_of_the_references_does_not_matter_to_the_alignment_units() -> None:
    """Eq. 2 is attention over a set: permuted references give permuted tokens."""
    module = AlignmentModule(TINY).eval()
    visual, audio = torch.randn(2, 4, TINY.embedding), torch.randn(2, 1, TINY.embedding)
    order = torch.tensor([2, 0, 3, 1])
    tokens, aware = module.units[0](visual, audio)
    moved, same = module.units[0](visual[:, order], audio)
    torch.testing.assert_close(moved, tokens[:, order])
    torch.testing.assert_close(same, aware)


def test_channel_wise_selection_sums_to_one() -> None:
    """References that agree are kept as they are, whatever is chosen between them."""
    model = IPTalker(TINY)
    f_s, feature = torch.randn(2, 16, 6, 5), torch.randn(2, 1, 16, 6, 5)
    mixed = model._mix_features(feature.expand(-1, 2, -1, -1, -1), f_s)
    torch.testing.assert_close(mixed, feature[:, 0])


def test_selection_chooses_channel_by_channel() -> None:
    model = IPTalker(TINY)
    warped = torch.stack([torch.zeros(1, 16, 6, 5), torch.ones(1, 16, 6, 5)], 1)
    with torch.no_grad():
        share = model._mix_features(warped, torch.randn(1, 16, 6, 5))
    assert float(share.min()) > 0
    assert float(share.max()) < 1
    assert float(share.std(1).min()) > 0.01


def test_plain_fusion_is_one_convolution() -> None:
    """Eq. 7 of the paper's variant."""
    model = IPTalker(replace(TINY, fusion="plain"))
    warped = torch.randn(2, 2, 16, 6, 5)
    fuse = model.fuse
    assert isinstance(fuse, nn.Conv2d)
    expected = functional.conv2d(warped.flatten(1, 2), fuse.weight, fuse.bias, padding=1)
    torch.testing.assert_close(model._mix_features(warped, torch.randn(2, 16, 6, 5)), expected)


@pytest.mark.parametrize("mask", ["fixed", "hull"])
def test_what_the_mask_hides_is_not_read(mask: MaskKind) -> None:
    model = IPTalker(replace(TINY, mask=mask)).eval()
    crops, background = torch.rand(2, 3, 104, 80), torch.rand(2, 3, 104, 80)
    landmarks = torch.tensor([25.0, 55.0]) + 30 * torch.rand(2, 133, 2)
    hidden = mouth_mask(mask, crops, landmarks)
    assert 0 < float(hidden.mean()) < 0.6
    others = torch.where(hidden > 0, 1 - crops, crops)
    with torch.no_grad():
        state = model.encode_references(torch.rand(2, 3, 104, 80), landmarks[:, :102])
        a, b = (
            model.warp_and_inpaint(
                x, background, landmarks, landmarks[:, :102], torch.ones(2, TINY.embedding), state
            )
            for x in (crops, others)
        )
    assert torch.equal(a.rgb, b.rgb)


def test_an_untrained_flow_leaves_references_in_place() -> None:
    """Eq. 6: the flow starts at zero, so without a map the mean of the references is warped."""
    model = IPTalker(replace(TINY, box_top=0.0, mask="hull", geometry_map=False)).eval()
    pictures = torch.rand(2, 3, 104, 80)
    points = 40 + 20 * torch.rand(2, 102, 2)
    state = model.encode_references(pictures, points)
    assert isinstance(state, ReferenceState)
    crops, landmarks = torch.rand(1, 3, 104, 80), 30 + 20 * torch.rand(1, 133, 2)
    with torch.no_grad():
        out = model.warp_and_inpaint(
            crops, crops, landmarks, None, torch.randn(1, TINY.embedding), state
        )
    inner = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(out.warped[0][inner], pictures.mean(0)[inner], atol=1e-4, rtol=0)


def test_two_alignment_modules_ask_for_the_mean_of_their_mouths() -> None:
    """Each hears its own features, and is told of no other."""
    config = replace(
        NAMED_CONFIGS["tiny"], audio_kind="speech", second_audio_kind="whisper", audio_smoothing=1
    )
    model = IPTalker(config).eval()
    assert isinstance(model.alignment, PairedAlignment)
    sound, tokens = torch.randn(3, model.spec.audio.width, 960), torch.zeros(2, config.token_size)
    assert model.spec.audio.kind == "speech+whisper"
    with torch.no_grad():
        both = model.coefficients(sound, tokens)
        for kind, part, columns in (
            ("speech", model.alignment.first, slice(0, 368)),
            ("whisper", model.alignment.second, slice(368, None)),
        ):
            alone = IPTalker(replace(config, audio_kind=kind, second_audio_kind=None)).eval()
            alone.alignment.load_state_dict(part.state_dict())
            both = both - alone.coefficients(sound[..., columns], tokens[:, :32]) / 2
    torch.testing.assert_close(both, torch.zeros_like(both), atol=1e-5, rtol=0)


def test_one_mapping_of_all_last_layers_maps_their_mean() -> None:
    config = replace(NAMED_CONFIGS["tiny"], audio_kind="speech", second_audio_kind="whisper")
    alignment = IPTalker(config).alignment
    v_alg = torch.randn(4, 2 * config.embedding)
    with torch.no_grad():
        before = alignment.to_coefficients(v_alg)
        for layer in alignment.last_layers:
            fold_mapping(layer, 1.5, np.full(4, 0.2), 1.0)
        after = alignment.to_coefficients(v_alg)
    torch.testing.assert_close(after, 1.5 * before + 0.2)


@pytest.mark.parametrize(
    "changed",
    [{"second_audio_kind": "mel"}, {"second_audio_kind": "whisper", "geometry_map": False}],
)
def test_a_second_alignment_module_that_cannot_be_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="audio_kind"):
        replace(NAMED_CONFIGS["default"], **changed)  # pyright: ignore[reportArgumentType]
