"""IPTalker's switches: rows of the paper's Table III, and what the paper leaves open."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from made_scenes import FRAMES, PLAIN, TINY, WHOLE, made_face, made_model, rendered

from dubcli.core.errors import ConfigError
from dubcli.core.types import FEATURE_SIZES
from dubcli.models.common.masks import SPEAKING
from dubcli.models.iptalker.alignment import AlignmentModule, AudioVisualAlignmentUnit
from dubcli.models.iptalker.network import NAMED_CONFIGS, IPTalker, IPTalkerConfig

SWITCHES: dict[str, dict[str, Any]] = {
    "without reference tokens": {"alignment": "audio"},
    "without alignment": {"alignment": "none"},
    "without E_cm": {"cross_modality": False},
    "without SPADE": {"decoder": "conv"},
    "two audio tokens": {"audio_tokens": 2},
    "two audio tokens without E_cm": {"audio_tokens": 2, "cross_modality": False},
}
BASES = {"with the map": TINY, "without the map": PLAIN, "every layer": WHOLE}
# What a switch leaves in the file, but idle.
IDLE = {"alignment": "audio"}


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("switch", SWITCHES)
def test_each_switch_gives_a_network_of_its_own_that_learns(base: str, switch: str) -> None:
    before, changed = BASES[base], replace(BASES[base], **SWITCHES[switch])
    model = made_model(changed)
    out = rendered(model)
    assert out.rgb.shape == (FRAMES, 3, changed.height - changed.top, changed.width)
    assert bool(out.rgb.isfinite().all())
    with torch.no_grad():
        assert not torch.equal(out.rgb, rendered(made_model(before)).rgb)
    (out.rgb - torch.rand_like(out.rgb)).abs().sum().backward()
    idle = {
        key
        for key, value in model.named_parameters()
        if key.endswith("weight") and (value.grad is None or not bool(value.grad.abs().sum() > 0))
    }
    if SWITCHES[switch] == IDLE:
        # Zeros stand for its tokens; the weights stay, so that files of both kinds fit.
        assert {key for key in idle if not key.startswith("alignment.visual_encoder.")} == set()
    else:
        assert idle == set()


@pytest.mark.parametrize("switch", SWITCHES)
def test_every_switch_lets_the_sound_through(switch: str) -> None:
    model = made_model(replace(WHOLE, **SWITCHES[switch]))
    audio = torch.randn(FRAMES, WHOLE.audio_width, WHOLE.audio_size)
    with torch.no_grad():
        assert not torch.equal(rendered(model, audio).rgb, rendered(model, audio + 1).rgb)


@pytest.mark.parametrize(
    ("switch", "does_matter"),
    [
        ({}, True),
        ({"cross_modality": False}, True),
        *(({"alignment": x}, False) for x in ("audio", "none")),
    ],
)
def test_references_reach_v_alg_only_with_full_alignment(
    switch: dict[str, Any], does_matter: bool
) -> None:
    config = replace(PLAIN, **switch)
    model, audio = made_model(config), torch.randn(1, config.audio_width, config.audio_size)
    pictures, points = (
        torch.rand(2, 3, config.height, config.width),
        made_face(2, config)[:, SPEAKING],
    )
    with torch.no_grad():
        a, b = (
            model.alignment(audio, model.encode_references(x, points).tokens)
            for x in (pictures, 1 - pictures)
        )
    assert a.shape == (1, config.alignment_size)
    assert torch.equal(a, b) != does_matter


def test_rows_of_table_three_have_no_parameters_of_what_they_lack() -> None:
    def names(**switch: Any) -> str:
        return " ".join(dict(IPTalker(replace(WHOLE, **switch)).named_parameters()))

    gone = names(alignment="none")
    assert not any(part in gone for part in ("units", "cross_modality", "visual"))
    assert "alignment.linear" in gone
    assert "spade" in names()
    assert "spade" not in names(decoder="conv")
    assert "cross_modality" not in names(cross_modality=False)


@torch.no_grad()
def test_with_one_audio_token_all_references_hear_the_same_and_with_several_they_do_not() -> None:
    """Softmax over one key is 1 whatever the query."""
    torch.manual_seed(0)
    visual = torch.randn(3, 4, TINY.embedding)
    for num, is_same in ((1, True), (2, False)):
        config = replace(TINY, audio_tokens=num)
        module = AlignmentModule(config).eval()
        sound = torch.randn(3, config.audio_width, config.audio_size)
        tokens = module.audio_encoder(sound) + module.audio_token
        assert tokens.shape == (3, num, config.embedding)
        unit = module.units[0]
        assert isinstance(unit, AudioVisualAlignmentUnit)
        heard, _ = unit.visual_to_audio(visual, tokens, tokens)
        assert torch.allclose(heard, heard[:, :1].expand_as(heard), atol=1e-6) == is_same


@torch.no_grad()
def test_audio_tokens_are_of_consecutive_parts_of_the_window() -> None:
    """Sound at the window's end moves the last token most."""
    torch.manual_seed(0)
    config = replace(TINY, audio_width=128, audio_tokens=4)
    encoder = AlignmentModule(config).eval().audio_encoder
    sound = torch.randn(1, 128, config.audio_size)
    later = sound.clone()
    later[:, 112:] += 3
    moved = (encoder(later) - encoder(sound)).norm(dim=-1)[0]
    assert int(moved.argmax()) == 3


def test_the_word_for_alignment_in_older_files_is_read() -> None:
    shipped = {**asdict(TINY), "align_to_references": False}
    del shipped["alignment"]
    assert IPTalkerConfig(**shipped) == replace(TINY, alignment="audio")
    shipped["align_to_references"] = True
    assert IPTalkerConfig(**shipped) == TINY
    assert "align_to_references" not in asdict(IPTalkerConfig(**shipped))
    with pytest.raises(ConfigError, match="contradicts"):
        IPTalkerConfig(alignment="none", align_to_references=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"alignment": "some"}, "alignment = 'some'.*full, audio, none"),
        ({"decoder": "unet"}, "decoder = 'unet'.*spade, conv"),
        ({"audio_kind": "deepspeech"}, "audio_kind = 'deepspeech'.*mel"),
        ({"alignment": "none", "cross_modality": False}, "cross_modality"),
        ({"alignment": "none", "audio_tokens": 2}, "audio_tokens"),
        ({"audio_tokens": 3}, "does not divide the 8 steps"),
        ({"audio_tokens": 0}, "does not divide"),
        ({"visual_top": 1.0}, "visual_top"),
        ({"modulation": "every-layer"}, "mouth map"),
    ],
)
def test_what_excludes_each_other_is_refused_before_anything_is_built(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=f"(?s){words}"):
        IPTalkerConfig(**changes)


@pytest.mark.parametrize("name", NAMED_CONFIGS)
def test_every_named_configuration_builds_at_its_size(name: str) -> None:
    config = NAMED_CONFIGS[name]
    with torch.device("meta"):
        model = IPTalker(config)
        pictures = torch.rand(config.num_references, 3, config.height, config.width)
        tokens = model.alignment.encode_references(pictures[:, :, config.visual_row :])
        audio = torch.rand(1, config.audio_width, FEATURE_SIZES[config.heard_kind])
        v_alg = model.alignment(audio, tokens)
    assert model.spec.crop.size == (config.height, config.width)
    assert v_alg.shape == (1, config.alignment_size)
