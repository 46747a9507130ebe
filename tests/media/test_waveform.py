from __future__ import annotations

import struct
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import ClipSpec, make_clip, make_tone, run_ffmpeg

from dubcli.core.errors import DecodeError, ProbeError
from dubcli.core.types import Waveform
from dubcli.media.sound.mono_mix import MonoMix
from dubcli.media.sound.placed_sound import Silence
from dubcli.media.sound.recording import read_recording
from dubcli.media.video.frame_reader import audio_duration, is_silent, read_waveform


def _float_wav(path: Path, samples: np.ndarray, rate: int = 16_000) -> Path:
    """A mono WAV of 32-bit floats, NaN allowed."""
    data = samples.astype("<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, 1, rate, 4 * rate, 4, 32)
    chunks = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(data))
    path.write_bytes(b"RIFF" + struct.pack("<I", len(chunks) + len(data)) + chunks + data)
    return path


def _level_and_pitch(waveform: Waveform) -> tuple[float, float]:
    middle = waveform.samples[1000:-1000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    pitch = np.argmax(spectrum) * waveform.sample_rate / len(middle)
    return float(np.sqrt(2 * np.mean(middle**2))), float(pitch)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_rates(tmp_path: Path, rate: int) -> None:
    tone = make_tone(tmp_path / "a.wav", 1.0, rate)
    waveform = read_waveform(tone)
    assert waveform.sample_rate == 16_000
    assert waveform.samples.dtype == np.float32
    assert abs(len(waveform.samples) - 16_000) <= 2
    assert waveform.start_s == 0
    level, pitch = _level_and_pitch(waveform)
    assert level == pytest.approx(1 / 8, rel=0.02)
    assert pitch == pytest.approx(440, abs=2)
    assert audio_duration(tone) == 1


@pytest.mark.parametrize("layout", ["mono", "stereo", "2.1", "4.0", "5.0", "5.1", "7.1"])
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_layouts_keep_the_level(tmp_path: Path, layout: str, suffix: str) -> None:
    layouts = f"aeval=val(0):c={layout}" if layout == "mono" else f"pan={layout}"
    if layout != "mono":
        count = {"stereo": 2, "2.1": 3, "4.0": 4, "5.0": 5, "5.1": 6, "7.1": 8}[layout]
        layouts += "".join(f"|c{number}=c0" for number in range(count))
    tone = make_tone(tmp_path / f"a.{suffix}", 0.5, options=("-af", layouts))
    level, pitch = _level_and_pitch(read_waveform(tone))
    assert level == pytest.approx(1 / 8, rel=0.03)
    assert pitch == pytest.approx(440, abs=4)


@pytest.mark.parametrize(
    "codec",
    ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_mulaw"],
)
def test_sample_formats(tmp_path: Path, codec: str) -> None:
    tone = make_tone(tmp_path / "a.wav", 0.5, options=("-c:a", codec))
    assert _level_and_pitch(read_waveform(tone))[0] == pytest.approx(1 / 8, rel=0.06)


@pytest.mark.parametrize("suffix", ["mp3", "m4a", "ogg", "opus", "flac"])
def test_containers_have_the_right_length(tmp_path: Path, suffix: str) -> None:
    tone = make_tone(tmp_path / f"a.{suffix}", 1.0)
    duration = audio_duration(tone)
    assert float(duration) == pytest.approx(1, abs=0.06)
    waveform = read_waveform(tone)
    assert abs(waveform.duration_s - duration) < Fraction(3, 16_000)
    assert waveform.start_s == 0


def test_duration_is_exact(tmp_path: Path) -> None:
    sound = _float_wav(tmp_path / "a.wav", np.zeros(12_345), 11_025)
    assert audio_duration(sound) == Fraction(12_345, 11_025)


def test_own_audio_of_a_video_keeps_its_offset(tmp_path: Path) -> None:
    spec = ClipSpec(frames=25, audio_s=0.5, audio_delay_s=0.4, options=("-c:a", "pcm_s16le"))
    clip = make_clip(tmp_path / "a.mkv", spec)
    assert float(read_waveform(clip).start_s) == pytest.approx(0.4, abs=0.002)
    shifted = make_clip(tmp_path / "b.mkv", ClipSpec(audio_s=0.4, start_s=3))
    assert float(read_waveform(shifted).start_s) == pytest.approx(3, abs=0.03)


def test_not_a_number_becomes_silence(tmp_path: Path) -> None:
    samples = 0.5 * np.sin(np.arange(16_000) / 9)
    samples[4000:4100] = np.nan
    samples[8000] = np.inf
    waveform = read_waveform(_float_wav(tmp_path / "a.wav", samples))
    assert np.isfinite(waveform.samples).all()
    assert np.abs(waveform.samples).max() <= 1
    assert np.all(waveform.samples[4010:4090] == 0)
    assert np.allclose(waveform.samples[10_000:], samples[10_000:], atol=1e-4)


def test_no_samples_and_no_audio(tmp_path: Path) -> None:
    empty = _float_wav(tmp_path / "a.wav", np.zeros(0))
    for read in (read_waveform, audio_duration):
        with pytest.raises((DecodeError, ProbeError)) as caught:
            read(empty)
        assert caught.value.next_step
    clip = make_clip(tmp_path / "a.mp4")
    for read in (read_waveform, audio_duration):
        with pytest.raises(ProbeError, match="no audio stream"):
            read(clip)


def test_silence(tmp_path: Path) -> None:
    loud = read_waveform(make_tone(tmp_path / "a.wav", 0.3))
    assert not is_silent(loud)
    run_ffmpeg("-f", "lavfi", "-i", "anullsrc=r=48000:cl=stereo:d=0.3", tmp_path / "b.wav")
    assert is_silent(read_waveform(tmp_path / "b.wav"))
    quiet = Waveform(samples=loud.samples * np.float32(10 ** (-50 / 20)), sample_rate=16_000)
    assert is_silent(quiet)
    assert not is_silent(quiet, threshold_db=-80)
    word = np.zeros(160_000, np.float32)
    word[70_000:72_000] = loud.samples[:2000]
    assert not is_silent(Waveform(samples=word, sample_rate=16_000))
    assert is_silent(Waveform(samples=np.zeros(0, np.float32), sample_rate=16_000))


@pytest.mark.parametrize("value", [np.inf, np.nan, -3.4e38])
def test_samples_that_are_no_numbers_are_refused_where_asked(value: float, tmp_path: Path) -> None:
    samples = np.full(16_000, 0.25)
    samples[7] = value
    with pytest.raises(DecodeError, match="no numbers"):
        read_recording(_float_wav(tmp_path / "a.wav", samples))


def test_a_long_recording_is_put_together_in_little_more_than_its_own_memory() -> None:
    mix, seconds = MonoMix(16_000), 200
    for _ in range(seconds):
        mix.add(Silence(samples=24_000, sample_rate=24_000))
    tracemalloc.start()
    samples, _ = mix.finish()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert abs(len(samples) / 16_000 - seconds) < 0.01
    assert peak < 1.5 * samples.nbytes
