"""Speech features: the recogniser's tokens stand at the right time, in recordings of any length."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dubcli.audio.features import extract_features
from dubcli.audio.log_mel import HOP, SAMPLE_RATE, log_mel
from dubcli.audio.speech_encoder import NUM_SPEECH, NUM_TOKENS, SpeechEncoder, recogniser_features
from dubcli.core.errors import ConfigError, WeightsError
from dubcli.core.types import F32, FEATURE_SIZES, Waveform
from dubcli.weights.resolve import part_path


@pytest.fixture(scope="module")
def encoder() -> SpeechEncoder:
    return SpeechEncoder(part_path("speech-encoder"))


def _babble(seconds: float, seed: int = 0) -> F32:
    """Noise bursts, five a second, each with another colour."""
    rng = np.random.default_rng(seed)
    num = round(seconds * SAMPLE_RATE)
    time = np.arange(num) / SAMPLE_RATE
    pitch = np.repeat(rng.uniform(150, 900, num // 3200 + 1), 3200)[:num]
    phase = np.cumsum(2 * np.pi * pitch / SAMPLE_RATE)
    swell = 0.5 - 0.5 * np.cos(2 * np.pi * 5 * time)
    return (0.1 * swell * (np.sin(phase) + 0.5 * np.sin(3 * phase))).astype(np.float32)


def _wave(samples: F32) -> Waveform:
    return Waveform(samples=samples, sample_rate=SAMPLE_RATE, start_s=Fraction(1, 3))


@pytest.mark.parametrize("num", [0, 1, HOP, 5000, 3 * SAMPLE_RATE + 17])
def test_there_is_a_step_for_each_mel_step(encoder: SpeechEncoder, num: int) -> None:
    wave = _wave(_babble(4)[:num])
    features, mel = recogniser_features(wave, "speech", encoder), log_mel(wave)
    assert features.values.shape == (len(mel.values), NUM_SPEECH) == (len(mel.values), 368)
    assert features.fill.shape == (FEATURE_SIZES["speech"],)
    assert (features.rate_hz, features.start_s) == (mel.rate_hz, mel.start_s)
    np.testing.assert_allclose(features.values[:, NUM_TOKENS:], mel.values, atol=1e-3)
    assert np.isfinite(features.values).all()


def test_later_sound_gives_equally_later_features(encoder: SpeechEncoder) -> None:
    samples = _babble(3)
    late = np.concatenate([np.zeros(SAMPLE_RATE, np.float32), samples])
    here = np.asarray(recogniser_features(_wave(samples), "speech", encoder).values, np.float32)
    there = np.asarray(recogniser_features(_wave(late), "speech", encoder).values, np.float32)
    here, there = here[40:-40, :NUM_TOKENS], there[:, :NUM_TOKENS]
    gaps = {
        shift: float(np.abs(there[shift + 40 : shift + 40 + len(here)] - here).mean())
        for shift in range(60, 101)
    }
    assert abs(min(gaps, key=lambda shift: gaps[shift]) - 80) <= 1


def test_long_recordings_are_heard_in_parts_without_a_jump(encoder: SpeechEncoder) -> None:
    """The second part begins at token 1040; tokens change there no faster than anywhere."""
    samples = _babble(36)
    tokens = encoder.tokens(samples)
    assert len(tokens) >= 36 * SAMPLE_RATE / 384
    change = np.abs(np.diff(tokens, axis=0)).mean(1)
    assert change[1030:1210].max() < 1.2 * np.quantile(change[100:1000], 0.99)
    alone = encoder.tokens(samples[400 * 384 :])
    aligned = np.abs(tokens[1040:1200] - alone[640:800]).mean()
    assert all(
        aligned < np.abs(tokens[1040:1200] - alone[640 + shift : 800 + shift]).mean()
        for shift in (-9, -5, 5, 9)
    )


def test_loudness_of_the_recording_hardly_matters(encoder: SpeechEncoder) -> None:
    samples = _babble(2)
    loud = np.asarray(recogniser_features(_wave(samples * 4), "speech", encoder).values, np.float32)
    soft = np.asarray(
        recogniser_features(_wave(samples * np.float32(0.25)), "speech", encoder).values, np.float32
    )
    np.testing.assert_allclose(loud[:, :NUM_TOKENS], soft[:, :NUM_TOKENS], atol=0.02)


def test_a_wrong_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "encoder.ort"
    path.write_bytes(b"no model")
    with pytest.raises(WeightsError) as caught:
        SpeechEncoder(path)
    assert str(path) in caught.value.cause
    assert "\n" not in caught.value.cause


def test_kinds_are_checked(encoder: SpeechEncoder) -> None:
    wave = _wave(_babble(0.5))
    with pytest.raises(ConfigError, match="speech-encoder"):
        extract_features(wave, "speech")
    found = extract_features(wave, "speech", {"speech": encoder})
    assert found.kind == "speech"
