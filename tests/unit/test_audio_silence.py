"""Pauses are found by a recording's own level of speech, in quiet rooms and loud ones."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from dubcli.audio.speech_activity import LEAST_PAUSE_S, loud_ranges
from dubcli.core.types import F32, Waveform

RATE = 16_000
NEAR_S = 0.05


def _voiced(seconds: float, level: float) -> F32:
    """A buzz with syllables: what speech is to an energy measure."""
    time = np.arange(round(seconds * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 8))
    syllables = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * time)
    return (level * buzz * syllables).astype(np.float32)


def _recording(*parts: F32, noise: float = 0.0, start_s: Fraction = Fraction(0)) -> Waveform:
    samples = np.concatenate(parts)
    samples = samples + noise * np.random.default_rng(3).standard_normal(len(samples))
    return Waveform(samples=samples.astype(np.float32), sample_rate=RATE, start_s=start_s)


def _pause(seconds: float) -> F32:
    return np.zeros(round(seconds * RATE), np.float32)


def _near(found: list[tuple[Fraction, Fraction]], wanted: list[tuple[float, float]]) -> bool:
    return len(found) == len(wanted) and bool(
        np.abs(np.array(found, np.float64) - np.array(wanted)).max() <= NEAR_S
    )


@pytest.mark.parametrize("level", [0.3, 0.03, 0.004])
@pytest.mark.parametrize("noise_db", [None, -55, -30, -26])
def test_pauses_at_any_loudness_and_over_noise(level: float, noise_db: float | None) -> None:
    noise = 0.0 if noise_db is None else level * 10 ** (noise_db / 20)
    parts = (_pause(0.6), _voiced(1.0, level), _pause(0.5), _voiced(0.8, level), _pause(0.7))
    found = loud_ranges(_recording(*parts, noise=noise))
    assert _near(found, [(0.6, 1.6), (2.1, 2.9)])


def test_short_pauses_belong_to_speech_and_clicks_do_not() -> None:
    click = _voiced(0.02, 0.3)
    parts = (_voiced(0.5, 0.2), _pause(0.3), _voiced(0.5, 0.2), _pause(0.5), click, _pause(0.5))
    assert _near(loud_ranges(_recording(*parts)), [(0, 1.3)])


@pytest.mark.parametrize(("pause_s", "count"), [(0.34, 1), (0.5, 2)])
def test_the_least_pause_is_two_fifths_of_a_second(pause_s: float, count: int) -> None:
    recording = _recording(_voiced(0.5, 0.2), _pause(pause_s), _voiced(0.5, 0.2))
    ranges = loud_ranges(recording)
    assert len(ranges) == count
    assert all(b[0] - a[1] >= LEAST_PAUSE_S for a, b in pairwise(ranges))


def test_one_loud_shout_does_not_make_the_rest_a_pause() -> None:
    parts = (_voiced(2.0, 0.05), _voiced(0.3, 0.5), _voiced(2.125, 0.05))
    assert _near(loud_ranges(_recording(*parts)), [(0, 4.425)])


def test_a_constant_offset_is_no_sound() -> None:
    found = loud_ranges(_recording(_pause(0.5) + 0.2, _voiced(1, 0.1) + 0.2, _pause(1) + 0.2))
    assert _near(found, [(0.5, 1.5)])


def test_times_are_on_the_waveforms_clock() -> None:
    late = _recording(_pause(0.5), _voiced(1, 0.1), _pause(0.5), start_s=Fraction(7, 2))
    assert _near(loud_ranges(late), [(4.0, 5.0)])


@pytest.mark.parametrize("samples", [0, 5, RATE])
def test_silence_has_no_speech(samples: int) -> None:
    quiet = np.full(samples, 1e-5, np.float32)
    assert loud_ranges(Waveform(samples=quiet, sample_rate=RATE)) == []


def test_speech_without_a_pause_is_one_range() -> None:
    recording = _recording(_voiced(1.005, 0.1))
    assert loud_ranges(recording) == [(0, recording.duration_s)]
