"""Log-mel features: shape, time, range, loudness."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction
from functools import cached_property

import numpy as np
import pytest

from dubcli.audio.features import extract_features
from dubcli.audio.log_mel import (
    HOP,
    NUM_MELS,
    SAMPLE_RATE,
    log_mel,
    mel_filters,
    normalise_level,
)
from dubcli.audio.speech_encoder import recogniser_features
from dubcli.core.errors import ConfigError
from dubcli.core.types import F32, Waveform


def _tone(hz: float, seconds: float = 1.0, gain: float = 0.1) -> Waveform:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    samples = (gain * np.sin(2 * np.pi * hz * time)).astype(np.float32)
    return Waveform(samples=samples, sample_rate=SAMPLE_RATE)


@pytest.mark.parametrize("num", [0, 1, HOP - 1, HOP, HOP + 1, 16_000, 1_000_001])
def test_there_is_a_step_for_every_started_hop(num: int) -> None:
    wave = Waveform(
        samples=np.zeros(num, np.float32), sample_rate=SAMPLE_RATE, start_s=Fraction(3, 7)
    )
    features = log_mel(wave)
    assert features.values.shape == (-(-num // HOP), NUM_MELS)
    assert features.values.dtype == np.float32
    assert features.rate_hz == 80
    assert features.start_s == Fraction(3, 7)
    assert features.fill.shape == (NUM_MELS,)
    # Silence is what stands outside the sound too.
    assert np.all(features.values <= features.fill + 0.31)


def test_a_click_lies_in_the_step_of_its_own_time() -> None:
    samples = np.zeros(SAMPLE_RATE, np.float32)
    samples[40 * HOP] = 1
    values = log_mel(Waveform(samples=samples, sample_rate=SAMPLE_RATE)).values
    assert int(values.mean(1).argmax()) == 40
    np.testing.assert_allclose(values[39], values[41], atol=1e-4)


def test_long_sound_has_no_seam_where_its_parts_meet() -> None:
    """The spectrum is computed in parts of 4096 steps."""
    noise = np.random.default_rng(3).standard_normal(4200 * HOP).astype(np.float32) * 0.1
    whole = log_mel(Waveform(samples=noise, sample_rate=SAMPLE_RATE)).values
    tail = log_mel(Waveform(samples=noise[4000 * HOP :], sample_rate=SAMPLE_RATE)).values
    shift = np.median(whole[4000:] - tail)
    np.testing.assert_allclose(whole[4010:4190], tail[10:190] + shift, atol=1e-3)


@pytest.mark.parametrize("hz", [200.0, 1000.0, 4000.0])
def test_a_tone_is_loudest_in_its_own_band(hz: float) -> None:
    band = int(log_mel(_tone(hz)).values[20:-20].mean(0).argmax())
    centres = mel_filters() @ np.linspace(0, SAMPLE_RATE / 2, mel_filters().shape[1])
    centres = centres / mel_filters().sum(1)
    assert band == int(np.abs(centres - hz).argmin())


def test_filters_cover_all_bands_without_holes() -> None:
    filters = mel_filters()
    assert filters.shape == (NUM_MELS, 513)
    assert np.all(filters >= 0)
    assert np.all(filters.sum(1) > 0)


def _speech(gain: float) -> F32:
    rng = np.random.default_rng(4)
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    syllables = np.clip(np.sin(2 * np.pi * 4 * time), 0, 1)
    return (gain * syllables * rng.standard_normal(len(time))).astype(np.float32)


def test_quiet_and_loud_recordings_of_the_same_words_look_alike() -> None:
    a, b = (
        log_mel(Waveform(samples=_speech(gain), sample_rate=SAMPLE_RATE)).values
        for gain in (0.05, 0.2)
    )
    loud = a.mean(1) > np.percentile(a.mean(1), 60)
    np.testing.assert_allclose(a[loud], b[loud], atol=0.02)


def test_silence_is_not_raised_to_speech() -> None:
    """At most 18 dB."""
    silence = np.full((100, NUM_MELS), -1, np.float32)
    assert float(normalise_level(silence).max()) <= -0.7 + 1e-6
    assert normalise_level(np.empty((0, NUM_MELS), np.float32)).shape == (0, NUM_MELS)


def test_other_rates_and_kinds_are_refused() -> None:
    wave = Waveform(samples=np.zeros(100, np.float32), sample_rate=8000)
    with pytest.raises(ConfigError, match="8000"):
        log_mel(wave)
    with pytest.raises(ConfigError, match="Known: mel"):
        extract_features(_tone(200), "wavelets")
    assert extract_features(_tone(200), "mel").kind == "mel"


class _WideRecogniser:
    """Hears nothing, in tokens as many and as wide as Whisper's."""

    hop = 320

    @cached_property
    def silence(self) -> F32:
        return np.zeros(512, np.float32)

    def tokens(self, samples: F32) -> F32:
        return np.zeros((len(samples) // self.hop, 512), np.float32)


def _peak_and_size(seconds: int) -> tuple[int, int]:
    """Bytes at the peak of working out the features of a recording, and of the features."""
    waveform = Waveform(
        samples=np.zeros(SAMPLE_RATE * seconds, np.float32), sample_rate=SAMPLE_RATE
    )
    tracemalloc.start()
    features = recogniser_features(waveform, "whisper", _WideRecogniser())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak, features.values.nbytes


def test_long_recordings_take_a_few_times_the_memory_of_their_features() -> None:
    (short_peak, short_size), (long_peak, long_size) = _peak_and_size(240), _peak_and_size(720)
    assert long_peak - short_peak < 5 * (long_size - short_size)
