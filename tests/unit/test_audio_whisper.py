"""Whisper's second layer: at the right time, whole in parts, loaded once, only when asked for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dubcli.audio import features
from dubcli.audio.features import extract_features
from dubcli.audio.log_mel import HOP, SAMPLE_RATE, log_mel
from dubcli.audio.speech_encoder import SpeechEncoder
from dubcli.audio.whisper_layer import NUM_VALUES, WhisperLayer
from dubcli.core.choices import FEATURE_SIZES
from dubcli.core.types import F32, Waveform
from dubcli.pipeline.engine import Engine
from dubcli.weights.resolve import part_path

TOKEN = 320


@pytest.fixture(scope="module")
def layer() -> WhisperLayer:
    return WhisperLayer(part_path("whisper-layer"))


def _bursts(seconds: float) -> F32:
    """Tones that change five times a second."""
    rng = np.random.default_rng(0)
    num = round(seconds * SAMPLE_RATE)
    pitch = np.repeat(rng.uniform(150, 900, num // 3200 + 1), 3200)[:num]
    phase = np.cumsum(2 * np.pi * pitch / SAMPLE_RATE)
    swell = 0.5 - 0.5 * np.cos(2 * np.pi * 5 * np.arange(num) / SAMPLE_RATE)
    return (0.1 * swell * (np.sin(phase) + 0.5 * np.sin(3 * phase))).astype(np.float32)


def _heard(samples: F32, layer: WhisperLayer) -> F32:
    wave = Waveform(samples=samples, sample_rate=SAMPLE_RATE)
    return extract_features(wave, "whisper", {"whisper": layer}).values.astype(np.float32)


@pytest.mark.parametrize("num", [0, 1, HOP, 3 * SAMPLE_RATE + 17])
def test_whisper_has_a_step_for_each_mel_step(layer: WhisperLayer, num: int) -> None:
    wave = Waveform(samples=_bursts(4)[:num], sample_rate=SAMPLE_RATE)
    found, mel = extract_features(wave, "whisper", {"whisper": layer}), log_mel(wave)
    assert found.values.shape == (len(mel.values), FEATURE_SIZES["whisper"])
    assert found.fill.shape == (FEATURE_SIZES["whisper"],)
    assert (found.kind, found.rate_hz, found.start_s) == ("whisper", mel.rate_hz, mel.start_s)
    np.testing.assert_allclose(found.values[:, NUM_VALUES:], mel.values, atol=1e-3)
    assert np.isfinite(found.values).all()


def test_features_of_two_recognisers_stand_side_by_side(layer: WhisperLayer) -> None:
    wave = Waveform(samples=_bursts(1), sample_rate=SAMPLE_RATE)
    recognisers = {"whisper": layer, "speech": SpeechEncoder(part_path("speech-encoder"))}
    both = extract_features(wave, "speech+whisper", recognisers)
    parts = [extract_features(wave, kind, recognisers) for kind in ("speech", "whisper")]
    assert both.kind == "speech+whisper"
    assert both.values.shape[1] == FEATURE_SIZES["speech+whisper"]
    np.testing.assert_array_equal(both.values, np.concatenate([x.values for x in parts], 1))
    np.testing.assert_array_equal(both.fill, np.concatenate([x.fill for x in parts]))


def test_whisper_hears_later_sound_equally_later(layer: WhisperLayer) -> None:
    samples = _bursts(3)
    here = _heard(samples, layer)[40:-40, :NUM_VALUES]
    there = _heard(np.pad(samples, (SAMPLE_RATE, 0)), layer)[:, :NUM_VALUES]
    gaps = [float(np.abs(there[at + 40 :][: len(here)] - here).mean()) for at in range(60, 101)]
    assert abs(int(np.argmin(gaps)) - 20) <= 1


def test_where_a_recording_is_cut_hardly_matters_to_whisper(layer: WhisperLayer) -> None:
    """The same sound begins with a cut at several places; a part begins every 100 tokens."""
    samples = _bursts(12)
    tokens = layer.tokens(samples)
    assert len(tokens) >= len(samples) / TOKEN
    change = np.abs(np.diff(tokens[:600], axis=0)).mean(1)
    assert change[100:].max() < 1.5 * np.quantile(change, 0.99)
    own = tokens[300:450]
    for cut, most in ((100, 0.01), (125, 0.35), (160, 0.35)):
        other = layer.tokens(samples[cut * TOKEN :])[300 - cut : 450 - cut]
        assert np.abs(own - other).mean() < most * np.abs(own - own.mean(0)).mean()


def test_whisper_hears_silence_as_what_stands_around_a_recording(layer: WhisperLayer) -> None:
    tokens = layer.tokens(np.zeros(5 * SAMPLE_RATE, np.float32))
    assert np.abs(tokens - layer.silence).mean() < 0.2 * np.abs(layer.silence).mean()


def test_an_engine_loads_a_recogniser_once_and_only_for_its_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded: Counter[str] = Counter()

    def counted(kind: str, part: str) -> tuple[str, object]:
        def load(path: Path) -> object:
            assert path.name.startswith(part)
            loaded[kind] += 1
            return object()

        return part, load

    table = {kind: counted(kind, part) for kind, (part, _) in features.RECOGNISERS.items()}
    monkeypatch.setattr("dubcli.pipeline.engine.RECOGNISERS", table)
    with Engine() as engine:
        assert not engine.recognisers(["mel"])
        first = engine.recognisers(["mel", "whisper"])
        assert loaded == {"whisper": 1}
        assert engine.recognisers(["whisper"])["whisper"] is first["whisper"]
        assert set(engine.recognisers(["speech", "whisper"])) == {"speech", "whisper"}
        assert set(engine.recognisers(["mel", "speech+whisper"])) == {"speech", "whisper"}
    assert loaded == {"whisper": 1, "speech": 1}
