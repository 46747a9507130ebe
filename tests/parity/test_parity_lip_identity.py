"""Lip-and-Identity against its equations."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dubcli.core.errors import ConfigError
from dubcli.models.api import ReferenceSet, Subject
from dubcli.models.common.lip_windows import cut_windows, put_back, window_corners
from dubcli.models.common.moments import moments_of_frames
from dubcli.models.common.mouth_map import normalised, pixel_grid, warp
from dubcli.models.lip_identity.config import NAMED_CONFIGS, PAPER, LipIdentityConfig
from dubcli.models.lip_identity.lip_rendering import AudioAwareAttention, MultiReferenceLips
from dubcli.models.lip_identity.losses import LOSS_PRESETS
from dubcli.models.lip_identity.network import LipIdentity, LipRendered
from dubcli.models.lip_identity.person_state import PersonState
from dubcli.training.losses.pictures import feature_loss, perceptual_loss, style_loss

TINY = NAMED_CONFIGS["tiny"]
FRAMES, REFERENCES = 2, 3


def _points(num: int) -> Tensor:
    """Speaking points in the lower middle of a crop of 104 x 80 px. Shape (num, S, 2)."""
    return torch.tensor([40.0, 72.0]) + 10 * torch.rand(num, 102, 2)


def _model(config: LipIdentityConfig) -> LipIdentity:
    """Untrained, its heads for flow and weight not at zero."""
    model = LipIdentity(config).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.1 * torch.randn_like(value))
    return model


def _state(model: LipIdentity) -> PersonState:
    pictures, points = torch.rand(REFERENCES, 3, 104, 80), _points(REFERENCES)
    half, quarter = model.encode_images(pictures, points)
    return PersonState(
        pictures=pictures,
        points=points,
        half=half,
        quarter=quarter,
        lips=model.encode_lips(pictures, points),
        sets=torch.randn(3, model.config.num_coefficients),
    )


def _render(
    model: LipIdentity, crops: Tensor, around: Tensor, audio: Tensor, state: PersonState
) -> LipRendered:
    with torch.no_grad():
        return model.align_and_render(crops, torch.zeros(FRAMES, 133, 2), around, audio, state)


def _scene(model: LipIdentity) -> tuple[Tensor, Tensor, Tensor]:
    config = model.config
    around = _points(FRAMES * config.num_sketches).unflatten(0, (FRAMES, config.num_sketches))
    audio = torch.randn(FRAMES, config.attention_width, config.audio_size)
    return torch.rand(FRAMES, 3, 104, 80), around, audio


def test_the_aligned_image_is_the_mean_of_warped_references_by_their_weights() -> None:
    model = _model(replace(TINY, first_guess=False))
    state, (crops, around, audio) = _state(model), _scene(model)
    head: list[Tensor] = []

    def keep(_module: nn.Module, _given: Any, made: Tensor) -> None:
        head.append(made)

    model.alignment.head.register_forward_hook(keep)
    out = _render(model, crops, around, audio, state)
    # w is predicted at H/4; its logarithm is enlarged.
    log_w = torch.sigmoid(head[0][:, 2]).log().unflatten(0, (FRAMES, REFERENCES))
    size = (out.rgb.shape[-2], out.rgb.shape[-1])
    w = torch.nn.functional.interpolate(log_w, size, mode="bilinear", align_corners=False).exp()
    torch.testing.assert_close(out.weights, w / w.sum(1, keepdim=True))
    warped = warp(state.pictures, out.grid)
    expected = (warped * out.weights[:, :, None]).sum(1)
    torch.testing.assert_close(out.warped, expected)


def test_without_a_first_guess_an_untrained_flow_leaves_references_in_place() -> None:
    model = LipIdentity(replace(TINY, first_guess=False)).eval()
    state, (crops, around, audio) = _state(model), _scene(model)
    out = _render(model, crops, around, audio, state)
    expected = state.pictures[:, :, model.config.top :].mean(0).expand_as(out.warped)
    torch.testing.assert_close(out.warped, expected, atol=2e-5, rtol=0)


def test_without_alignment_references_are_averaged_as_they_are() -> None:
    model = _model(replace(TINY, alignment="none"))
    state, (crops, around, audio) = _state(model), _scene(model)
    out = _render(model, crops, around, audio, state)
    expected = state.pictures[:, :, model.config.top :].mean(0).expand_as(out.warped)
    torch.testing.assert_close(out.warped, expected, atol=2e-5, rtol=0)
    assert not any("head" in name for name, _ in model.named_parameters())


def test_an_identity_grid_samples_pixels_where_they_are() -> None:
    """An identity flow made for one convention and sampled by the other is off at the border."""
    pictures = torch.rand(1, 3, 16, 24)
    grid = normalised(pixel_grid(16, 24, 1, (0, 0)), (16, 24))[None, None]
    torch.testing.assert_close(warp(pictures, grid)[0], pictures, atol=1e-5, rtol=0)


def test_the_flow_sees_the_occluded_face_only_where_it_is_shown() -> None:
    for kind, is_seen in (("full", True), ("reference-only", False)):
        model = _model(replace(TINY, alignment=kind))
        state, (crops, around, audio) = _state(model), _scene(model)
        one = _render(model, crops, around, audio, state)
        two = _render(model, 1 - crops, around, audio, state)
        assert torch.equal(one.grid, two.grid) != is_seen


def test_what_the_mask_hides_is_not_read() -> None:
    model = _model(TINY)
    state, (crops, around, audio) = _state(model), _scene(model)
    other = crops.clone()
    other[:, :, 48:, 4:76] = torch.rand(FRAMES, 3, 56, 72)
    one, two = (_render(model, x, around, audio, state) for x in (crops, other))
    assert torch.equal(one.rgb, two.rgb)


def test_reference_lips_are_averaged_in_any_order_and_number() -> None:
    lips = MultiReferenceLips(TINY).eval()
    face, shown = torch.randn(FRAMES, 16, 8, 12), torch.randn(REFERENCES, 16, 8, 12)
    with torch.no_grad():
        each = [lips(face, shown[i : i + 1]) for i in range(REFERENCES)]
        together, turned = lips(face, shown), lips(face, shown.flip(0))
    torch.testing.assert_close(together, torch.stack(each).mean(0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together, turned, atol=1e-5, rtol=1e-4)


def _attention(tokens: int, *, is_residual: bool) -> AudioAwareAttention:
    return AudioAwareAttention(
        replace(TINY, attention_tokens=tokens, is_residual=is_residual)
    ).eval()


def test_cross_attention_is_its_equation_with_a_scale() -> None:
    part = _attention(4, is_residual=True)
    features, audio = torch.randn(1, 16, 8, 12), torch.randn(1, 16, 80)
    heard = torch.nn.functional.silu(part.audio_encoder(audio.transpose(1, 2))).transpose(1, 2)
    heard = heard + part.places
    asked = part.query(features).flatten(2).transpose(1, 2)
    scores = asked @ part.key(heard).transpose(1, 2) / math.sqrt(8)
    told = (scores.softmax(-1) @ part.value(heard)).transpose(1, 2).unflatten(2, (8, 12))
    with torch.no_grad():
        torch.testing.assert_close(
            part(features, audio, None), features + part.out(told), atol=1e-5, rtol=1e-4
        )
        silent = part(features, audio, torch.tensor([False]))
    assert torch.equal(silent, features)


def test_with_one_token_of_sound_the_papers_attention_does_not_look_at_the_face() -> None:
    """The contradiction that the default resolves: softmax over one key is 1."""
    part = _attention(1, is_residual=False)
    audio = torch.randn(1, 16, 80)
    with torch.no_grad():
        one, two = (part(torch.randn(1, 16, 8, 12), audio, None) for _ in range(2))
    torch.testing.assert_close(one, two)
    torch.testing.assert_close(one, one[..., :1, :1].expand_as(one))


def test_the_attention_may_hear_the_first_kind_of_features_alone() -> None:
    config = replace(TINY, audio_kind="speech+whisper", attention_kind="speech")
    model = _model(config)
    crops, around = torch.rand(FRAMES, 3, 104, 80), _points(FRAMES * 5).unflatten(0, (FRAMES, 5))
    state, audio = _state(model), torch.randn(FRAMES, config.attention_width, 960)
    made = _render(model, crops, around, audio, state).rgb

    for changed, is_heard in ((slice(368, None), False), (slice(0, 368), True)):
        other = audio.clone()
        other[..., changed] += 1
        same = torch.equal(_render(model, crops, around, other, state).rgb, made)
        assert same is not is_heard


@pytest.mark.parametrize(("kind", "attends"), [("speech+whisper", "whisper"), ("mel", "speech")])
def test_the_attention_cannot_hear_features_that_are_not_the_first(kind: str, attends: str) -> None:
    with pytest.raises(ConfigError, match="attention_kind"):
        replace(TINY, audio_kind=kind, attention_kind=attends)


def test_windows_go_back_where_they_were_cut() -> None:
    features = torch.randn(FRAMES, 4, 16, 20)
    lips = torch.tensor([[[4.0, 44.0], [8.0, 48.0]], [[70.0, 100.0], [78.0, 103.0]]])
    corners = window_corners(lips, (8, 12), (16, 20), 40)
    assert corners.tolist() == [[0, 0], [8, 8]]
    windows = cut_windows(features, corners, (8, 12))
    assert torch.equal(put_back(features, windows, corners), features)
    changed = put_back(features, windows + 1, corners)
    assert torch.equal(changed[0, :, 8:], features[0, :, 8:])


def test_steady_sound_gives_the_same_mouth_with_and_without_smoothing() -> None:
    model = _model(TINY)
    rotation, sets = torch.eye(3).expand(1, 3, 3), torch.randn(3, 4)
    generator = model.landmarks
    steady = torch.ones(1, generator.width, 80)
    with torch.no_grad():
        smoothed = generator.smoothed(steady, rotation, sets)
        over = generator.audio_encoder.over_sequence(steady)
        middle = torch.tensor([[over.shape[1] // 2]])
        heard = moments_of_frames(over, middle, generator.config.moment_steps)[:, 0]
        plain = generator(heard, rotation, sets)[:, 1]
    torch.testing.assert_close(smoothed, plain, atol=1e-5, rtol=1e-4)


def test_reference_landmarks_and_their_order_matter_to_the_mouth() -> None:
    model = _model(TINY)
    rotation, sets = torch.eye(3).expand(1, 3, 3), torch.randn(3, 4)
    sound = torch.randn(1, model.landmarks.width, 80)
    with torch.no_grad():
        made = [
            model.landmarks.smoothed(sound, rotation, x) for x in (sets, 2 * sets, sets.flip(0))
        ]
    assert not torch.allclose(made[0], made[1], atol=1e-4)
    assert not torch.allclose(made[0], made[2], atol=1e-4)


def test_fewer_pictures_than_references_are_used_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model, points = _model(TINY), _points(1).repeat(2, 1, 1)
    references = ReferenceSet(
        crops=torch.rand(1, 3, 104, 80).repeat(2, 1, 1, 1), points=points, frames=torch.zeros(2)
    )
    subject = Subject(references={"references": references}, neutral=torch.zeros(102, 3))
    with torch.no_grad():
        state = model.prepare(subject)
    assert "Only 1 of the video's frames can serve as references, 2 are wanted" in caplog.text
    assert model.facts(state) == {"references": 1, "reference_landmarks": 1}


def test_the_papers_losses_are_sums_over_layers_and_sizes() -> None:
    layers = [torch.rand(2, 4, 8, 8) for _ in range(5)]
    real = [torch.rand(2, 4, 8, 8) for _ in range(5)]
    mean = float(feature_loss(layers, real))
    assert float(feature_loss(layers, real, is_summed=True)) == pytest.approx(5 * mean, rel=1e-5)
    sizes = perceptual_loss([layers, layers], [real, real], is_summed=True)
    assert float(sizes) == pytest.approx(10 * mean, rel=1e-5)
    style = float(style_loss(layers, real))
    assert float(style_loss(layers, real, is_summed=True)) == pytest.approx(5 * style, rel=1e-5)
    paper = LOSS_PRESETS["paper"]
    assert (paper.warp, paper.perceptual, paper.style) == (2.5, 4, 1000)
    assert (paper.gan, paper.matching, paper.is_summed) == (0.25, 2.5, True)


def test_the_papers_network_builds_at_the_papers_size() -> None:
    assert (PAPER.height, PAPER.width, PAPER.num_images, PAPER.num_lips) == (128, 128, 25, 5)
    assert (PAPER.num_landmark_sets, PAPER.num_moments, PAPER.num_sketches) == (15, 5, 5)
    with torch.device("meta"):
        model = LipIdentity(PAPER)
    assert not model.config.mixes_warped
    assert model.spec.references["references"].count == 25
