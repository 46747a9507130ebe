"""Changed copies of a clip's sound: same clock, same words, pauses that are marked."""

from __future__ import annotations

import numpy as np
import pytest

from dubcli.audio.log_mel import HOP, NUM_MELS, SAMPLE_RATE
from dubcli.audio.speech_encoder import NUM_SPEECH, NUM_TOKENS, SpeechEncoder
from dubcli.core.types import F32, Waveform
from dubcli.training.data.sound_variants import (
    NUM_VERSIONS,
    hear_clean,
    hear_versions,
    no_sound,
    other_room,
    other_voice,
    with_pauses,
)
from dubcli.weights.resolve import part_path


def _tones(seconds: float) -> F32:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    loud = (np.sin(2 * np.pi * 2 * time) > 0) * 0.1
    return (loud * np.sin(2 * np.pi * 300 * time)).astype(np.float32)


def test_copies_keep_the_clock_of_the_recording() -> None:
    """Where the recording is loud, so is each copy that has no pause."""
    recognisers = {"speech": SpeechEncoder(part_path("speech-encoder"))}
    wave = Waveform(samples=_tones(3), sample_rate=SAMPLE_RATE)
    versions = hear_versions(wave, hear_clean(wave, recognisers), recognisers, 0)
    speech, mel = versions.sounds["speech"].versions, versions.sounds["mel"].versions
    assert speech.shape == (NUM_VERSIONS, 240, NUM_SPEECH)
    # Log-mel stands at the end of the speech features, rounded once more in changed copies.
    np.testing.assert_allclose(mel[:], speech[..., NUM_TOKENS:], atol=2e-3)
    assert versions.heard.shape == (NUM_VERSIONS, 240)
    assert (versions.heard[0] == 1).all()
    loudness = mel[:].astype(np.float32).mean(2)
    for version in range(1, NUM_VERSIONS):
        present = versions.heard[version] == 1
        r = np.corrcoef(loudness[0][present], loudness[version][present])[0, 1]
        assert r > 0.6


def test_half_of_the_copies_have_pauses_and_equal_seeds_equal_copies() -> None:
    recognisers = {"speech": SpeechEncoder(part_path("speech-encoder"))}
    wave = Waveform(samples=_tones(1), sample_rate=SAMPLE_RATE)
    clean = hear_clean(wave, recognisers)
    first, again, other = (hear_versions(wave, clean, recognisers, seed) for seed in (3, 3, 4))
    assert [bool((row < 1).any()) for row in first.heard] == [
        version > 0 and version % 2 == 0 for version in range(NUM_VERSIONS)
    ]
    voices = [found.sounds["speech"].versions[:] for found in (first, again, other)]
    assert np.array_equal(voices[0], voices[1])
    assert not np.array_equal(voices[0], voices[2])


def test_pauses_are_quiet_where_they_are_marked() -> None:
    samples = np.ones(4 * SAMPLE_RATE, np.float32)
    quiet, present = with_pauses(samples, 320, np.random.default_rng(0))
    step_loudness = np.abs(quiet).reshape(320, HOP).mean(1)
    assert (step_loudness[present == 0] < 0.01).all()
    assert (step_loudness[present == 1] == 1).all()
    assert 0.3 < (present == 0).mean() < 0.8
    assert np.abs(np.diff(present)).max() < 0.1
    assert (samples == 1).all()


def test_a_faster_voice_is_shorter_and_higher() -> None:
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    tone = np.sin(2 * np.pi * 400 * time).astype(np.float32)
    changed = other_voice(tone, 1.25, np.random.default_rng(0))
    assert len(changed) == pytest.approx(len(tone) / 1.25, abs=2)
    peak_hz = np.abs(np.fft.rfft(changed)).argmax() * SAMPLE_RATE / len(changed)
    assert peak_hz == pytest.approx(500, abs=2)


@pytest.mark.parametrize("seed", range(6))
def test_rooms_give_finite_sound_of_the_same_length_even_to_silence(seed: int) -> None:
    for samples in (_tones(0.5), np.zeros(800, np.float32)):
        changed = other_room(samples, np.random.default_rng(seed))
        assert changed.shape == samples.shape
        assert changed.dtype == np.float32
        assert np.isfinite(changed).all()


def test_a_clip_without_sound_has_no_versions() -> None:
    sounds = no_sound().sounds
    assert {kind: sound.versions.shape for kind, sound in sounds.items()} == {
        "mel": (0, 0, NUM_MELS),
        "speech": (0, 0, NUM_SPEECH),
    }
