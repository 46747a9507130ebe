"""HuBERT as features: names and size of the published file, tokens at the right time, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dubcli.audio.features import extract_features
from dubcli.audio.log_mel import HOP, SAMPLE_RATE, log_mel
from dubcli.config import PrepareConfig
from dubcli.core.choices import FEATURE_SIZES
from dubcli.core.errors import ConfigError, DubError, WeightsError
from dubcli.core.types import F32, Waveform
from dubcli.models.common.hubert import Hubert, HubertConfig, HubertEncoder, named_as_published
from dubcli.training.data.prepare import prepare
from dubcli.weights.resolve import resolve

TINY = HubertConfig(
    width=24, channels=8, num_layers=2, num_heads=2, inner=32, place_kernel=8, place_groups=4
)
TOKEN = 320


def _state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return Hubert(TINY).state_dict()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> HubertEncoder:
    path = tmp_path_factory.mktemp("hubert") / "model.safetensors"
    save_file(_state(), path)
    return HubertEncoder(path, TINY)


def _bursts(seconds: float) -> F32:
    rng = np.random.default_rng(0)
    num = round(seconds * SAMPLE_RATE)
    swell = np.repeat(rng.uniform(0, 1, num // 1600 + 1), 1600)[:num]
    return (0.1 * swell * rng.standard_normal(num)).astype(np.float32)


def test_it_has_the_published_files_names_and_size() -> None:
    """94,371,712 parameters with the 768 of a mask that only training uses."""
    with torch.device("meta"):
        network = Hubert()
    assert sum(value.numel() for value in network.parameters()) == 94_371_712 - 768
    names = set(network.state_dict())
    assert {
        "feature_extractor.conv_layers.0.conv.weight",
        "feature_extractor.conv_layers.0.layer_norm.weight",
        "feature_projection.layer_norm.bias",
        "feature_projection.projection.weight",
        "encoder.pos_conv_embed.conv.weight_g",
        "encoder.pos_conv_embed.conv.weight_v",
        "encoder.pos_conv_embed.conv.bias",
        "encoder.layer_norm.weight",
        "encoder.layers.11.attention.q_proj.bias",
        "encoder.layers.11.attention.out_proj.weight",
        "encoder.layers.11.layer_norm.weight",
        "encoder.layers.11.feed_forward.intermediate_dense.weight",
        "encoder.layers.11.feed_forward.output_dense.weight",
        "encoder.layers.11.final_layer_norm.weight",
    } <= names
    assert "feature_extractor.conv_layers.1.layer_norm.weight" not in names


def test_the_convolution_of_places_is_pytorchs_weight_norm() -> None:
    network = Hubert(TINY)
    own = network.encoder.pos_conv_embed
    conv = torch.nn.Conv1d(24, 24, 8, padding=4, groups=4)
    normed = torch.nn.utils.parametrizations.weight_norm(conv, dim=2)
    normed.load_state_dict(
        {
            "bias": own.conv.bias,
            "parametrizations.weight.original0": own.conv.weight_g,
            "parametrizations.weight.original1": own.conv.weight_v,
        }
    )
    x = torch.randn(2, 24, 10)
    assert torch.allclose(own.conv(x), normed(x), atol=1e-6)


def test_files_of_other_versions_and_fine_tuned_ones_load(
    encoder: HubertEncoder, tmp_path: Path
) -> None:
    newer = {"weight_g": "original0", "weight_v": "original1"}
    state = {"masked_spec_embed": torch.zeros(24), "lm_head.weight": torch.zeros(3, 24)}
    for name, value in _state().items():
        for old, new in newer.items():
            name = name.replace(f"conv.{old}", f"conv.parametrizations.weight.{new}")
        state[f"hubert.{name}"] = value
    assert set(named_as_published(state)) == set(_state())
    path = tmp_path / "pytorch_model.bin"
    torch.save(state, path)
    samples = _bursts(1)
    np.testing.assert_array_equal(
        HubertEncoder(path, TINY).tokens(samples), encoder.tokens(samples)
    )


def test_another_networks_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match="holds no HuBERT base") as caught:
        HubertEncoder(path, TINY)
    assert "\n" not in str(caught.value)
    path.write_text("nothing")
    with pytest.raises(WeightsError, match="holds no weights"):
        HubertEncoder(path, TINY)


@pytest.mark.parametrize("num", [0, 1, HOP, 3 * SAMPLE_RATE + 17])
def test_hubert_has_a_step_for_each_mel_step(encoder: HubertEncoder, num: int) -> None:
    wave = Waveform(samples=_bursts(4)[:num], sample_rate=SAMPLE_RATE)
    found, mel = extract_features(wave, "hubert", {"hubert": encoder}), log_mel(wave)
    assert found.values.shape == (len(mel.values), TINY.width + 80)
    assert (found.kind, found.rate_hz) == ("hubert", mel.rate_hz)
    assert found.fill.shape == (TINY.width + 80,)
    assert np.isfinite(found.values).all()
    assert FEATURE_SIZES["hubert"] == HubertConfig().width + 80


def test_a_token_stands_at_the_middle_of_what_it_sees(encoder: HubertEncoder) -> None:
    """One click: the convolutions' answer is strongest at its time."""
    network = Hubert(TINY)
    network.load_state_dict(_state())
    samples = np.zeros(SAMPLE_RATE, np.float32)
    samples[25 * TOKEN] = 1.0
    padded = torch.from_numpy(np.pad(samples, (200, 8000)))[None]
    heard = network.feature_extractor(padded)[0]
    assert abs(int((heard - heard[5]).abs().sum(1).argmax()) - 25) <= 1
    assert len(encoder.tokens(samples)) >= SAMPLE_RATE / TOKEN


def test_long_recordings_are_heard_in_parts_without_a_break(encoder: HubertEncoder) -> None:
    tokens = encoder.tokens(_bursts(30))
    change = np.abs(np.diff(tokens, axis=0)).mean(1)
    assert len(tokens) >= 30 * SAMPLE_RATE / TOKEN
    assert change[1000:1240].max() < 1.5 * change[100:900].max()


def test_without_its_weights_one_line_says_so_before_the_slow_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "one.mp4").write_bytes(b"")
    config = PrepareConfig(clips=clips, output=tmp_path / "set", features="hubert")
    with pytest.raises(DubError, match="hubert") as caught:
        prepare(config)
    assert isinstance(caught.value, WeightsError | ConfigError)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "set").exists()
    assert resolve("hubert", role="part").license == "Apache-2.0"
