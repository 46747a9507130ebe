"""WAV, FLAC and AIFF come by libsndfile, as libav would decode them; what it refuses, by libav."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from dubcli.media.container import probe
from dubcli.media.sound import waveform
from dubcli.media.sound.sound_file import is_sound_file, write_wave
from dubcli.media.sound.waveform import audio_duration, read_waveform

KINDS = [
    ("a.wav", "PCM_U8"),
    ("a.wav", "PCM_16"),
    ("a.wav", "PCM_24"),
    ("a.wav", "PCM_32"),
    ("a.wav", "FLOAT"),
    ("a.wav", "DOUBLE"),
    ("a.wav", "ULAW"),
    ("a.flac", "PCM_16"),
    ("a.flac", "PCM_24"),
    ("a.aiff", "PCM_16"),
    ("a.aiff", "PCM_24"),
]


def _sound(channels: int = 2, seconds: float = 0.7) -> np.ndarray:
    time = np.arange(round(44_100 * seconds)) / 44_100
    return np.stack([0.4 * np.sin(500 * time * (1 + c)) for c in range(channels)], 1)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("name", "coding"), KINDS)
def test_both_libraries_give_the_same_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, coding: str, channels: int
) -> None:
    path = tmp_path / name
    soundfile.write(str(path), _sound(channels), 44_100, subtype=coding)
    assert is_sound_file(path)
    ours, length = read_waveform(path), audio_duration(path)
    monkeypatch.setattr(waveform, "is_sound_file", lambda path: False)
    theirs = read_waveform(path)
    assert length == audio_duration(path)
    assert ours.start_s == theirs.start_s
    np.testing.assert_allclose(ours.samples, theirs.samples, atol=1e-5)


@pytest.mark.parametrize(("name", "coding"), [("a.wav", "PCM_16"), ("a.flac", "PCM_16")])
def test_a_file_that_was_cut_off_is_heard_as_far_as_it_goes(
    tmp_path: Path, name: str, coding: str
) -> None:
    path = tmp_path / name
    soundfile.write(str(path), _sound(seconds=4), 44_100, subtype=coding)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert 1 < audio_duration(path) < 3
    heard = len(read_waveform(path).samples)
    assert heard == pytest.approx(float(16_000 * audio_duration(path)), abs=200)


def test_more_than_two_channels_go_by_their_layout(tmp_path: Path) -> None:
    path = tmp_path / "six.wav"
    soundfile.write(str(path), _sound(6), 44_100)
    assert not is_sound_file(path)
    assert len(read_waveform(path).samples) > 0


def test_a_wave_that_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    samples = np.array([0.0, 0.5, -0.5, 1.5, -1.5], np.float32)
    write_wave(path, samples, 16_000)
    found = read_waveform(path)
    np.testing.assert_allclose(found.samples, np.clip(samples, -1, 1), atol=1e-4)


def test_files_open_with_a_pyav_that_knows_no_metadata_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.wav"
    write_wave(path, np.zeros(1600, np.float32), 16_000)
    real: Any = av.open

    def open_of_19(file: str, mode: str, options: dict[str, str] | None = None) -> Any:
        return real(file, mode=mode, options=options)

    monkeypatch.setattr(probe.av, "open", open_of_19)
    monkeypatch.setattr(probe.av, "__version__", "19.0.0")
    assert audio_duration(path) == Fraction(1, 10)
