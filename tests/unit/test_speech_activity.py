"""Speech is told from music, noise and breath, at any loudness, and lips rest under the others."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import dubcli
from dubcli.audio.speech_activity import SpeechActivity, mute_pauses, speech_activity
from dubcli.audio.speech_detector import FRAME_SAMPLES, SpeechDetector
from dubcli.core.types import F32, Waveform
from dubcli.media.sound.waveform import read_waveform
from dubcli.weights.resolve import part_path

RATE = 16_000
SPEECH = Path(dubcli.__file__).parent / "assets" / "demo_speech.wav"
# Nothing of a word is lost; other sound may count as speech so long before and after it.
EARLY_S, LATE_S = 0.25, 0.5


@pytest.fixture(scope="module")
def detector() -> SpeechDetector:
    return SpeechDetector(part_path("speech-activity"))


@pytest.fixture(scope="module")
def words() -> F32:
    """A sentence without its silent ends, full scale 1."""
    samples = read_waveform(SPEECH, RATE).samples
    loud = np.flatnonzero(np.abs(samples) > 0.02)
    samples = samples[loud[0] : loud[-1]]
    return (samples / np.abs(samples).max()).astype(np.float32)


def _seconds(number: float) -> F32:
    return (np.arange(round(number * RATE)) / RATE).astype(np.float32)


def _music(number: float) -> F32:
    """Struck chords, two a second."""
    time = _seconds(number)
    chord = sum(np.sin(2 * np.pi * pitch * time) for pitch in (220, 277.2, 329.6, 440))
    return (0.2 * chord * np.exp(-4 * (time % 0.5))).astype(np.float32)


def _breath(number: float) -> F32:
    time = _seconds(number)
    noise = np.random.default_rng(5).standard_normal(len(time))
    return (0.1 * noise * np.clip(np.sin(2 * np.pi * 0.5 * time), 0, 1)).astype(np.float32)


def _hum(number: float) -> F32:
    time = _seconds(number)
    noise = np.random.default_rng(6).standard_normal(len(time))
    return (0.1 * np.sin(2 * np.pi * 50 * time) + 0.05 * noise).astype(np.float32)


def _heard(samples: F32, detector: SpeechDetector, start_s: int = 0) -> SpeechActivity:
    wave = Waveform(samples=samples, sample_rate=RATE, start_s=Fraction(start_s))
    return speech_activity(wave, detector)


@pytest.mark.parametrize("other", [_music, _breath, _hum])
def test_music_breath_and_noise_are_pauses(
    other: Callable[[float], F32], words: F32, detector: SpeechDetector
) -> None:
    said_s = len(words) / RATE
    found = _heard(np.concatenate([other(2), 0.5 * words, other(2)]), detector)
    assert found.is_heard
    assert 2 - EARLY_S <= float(found.ranges[0][0]) <= 2.05
    assert said_s + 1.95 <= float(found.ranges[-1][1]) <= said_s + 2 + LATE_S
    speaking_s = sum(float(end - begin) for begin, end in found.ranges)
    assert speaking_s > 0.8 * said_s


def test_other_sound_is_named_where_it_lasts(words: F32, detector: SpeechDetector) -> None:
    found = _heard(np.concatenate([0.5 * words, _music(3), 0.5 * words]), detector)
    said_s = len(words) / RATE
    (other,) = found.other_sound
    assert said_s - 0.05 <= float(other[0]) <= said_s + LATE_S
    assert said_s + 3 - EARLY_S <= float(other[1]) <= said_s + 3.05
    assert _heard(0.5 * words, detector).other_sound == ()


@pytest.mark.parametrize("level", [1, 0.1, 0.01, 0.002])
def test_quiet_speech_is_speech(level: float, words: F32, detector: SpeechDetector) -> None:
    loud, quiet = _heard(words, detector), _heard(level * words, detector)
    assert quiet.is_heard
    assert len(quiet.ranges) == len(loud.ranges)
    np.testing.assert_allclose(
        np.array(quiet.ranges, np.float64), np.array(loud.ranges, np.float64), atol=0.1
    )


def test_a_recording_without_speech_is_left_to_its_level(detector: SpeechDetector) -> None:
    """It may be a song: nothing is muted."""
    wave = Waveform(samples=_music(3), sample_rate=RATE)
    found = speech_activity(wave, detector)
    assert found.ranges
    assert not found.is_heard
    assert mute_pauses(wave, found) is wave


@pytest.mark.parametrize("samples", [0, 5, FRAME_SAMPLES, RATE])
def test_silence_holds_nothing(samples: int, detector: SpeechDetector) -> None:
    found = _heard(np.full(samples, 1e-5, np.float32), detector)
    assert (found.ranges, found.is_heard) == ((), False)


def test_muting_leaves_words_and_nothing_else(words: F32, detector: SpeechDetector) -> None:
    samples = np.concatenate([_music(2), 0.5 * words, _music(2)])
    wave = Waveform(samples=samples, sample_rate=RATE, start_s=Fraction(3))
    activity = speech_activity(wave, detector)
    muted = mute_pauses(wave, activity)
    assert (muted.start_s, len(muted.samples)) == (wave.start_s, len(samples))
    assert not muted.samples[: round((2 - EARLY_S) * RATE)].any()
    assert not muted.samples[-round((2 - LATE_S) * RATE) :].any()
    for begin_s, end_s in activity.ranges:
        begin, end = (int((moment - 3) * RATE) for moment in (begin_s, end_s))
        np.testing.assert_array_equal(muted.samples[begin:end], samples[begin:end])
    # Nothing begins or ends with a click.
    steps = np.abs(np.diff(muted.samples))
    assert steps.max() <= np.abs(np.diff(samples)).max() + 1 / (0.02 * RATE)


def test_long_recordings_are_heard_as_one(words: F32, detector: SpeechDetector) -> None:
    """The network is called for 16 s at a time and remembers what came before."""
    one = np.concatenate([words, np.zeros(RATE, np.float32)])
    long = np.tile(one, 6)[: 26 * RATE]
    whole = detector.probabilities(long)
    assert len(whole) == -(-len(long) // FRAME_SAMPLES)
    period = len(one) / RATE
    found = _heard(long, detector).ranges
    starts = [float(begin) % period for begin, _ in found]
    assert max(min(at, period - at) for at in starts if min(at, period - at) < 0.3) < EARLY_S
    assert np.mean(whole > 0.5) > 0.6 * len(words) / len(one)
