"""Offset, loudness, mix and silence through the real pipeline: sound, pictures and report agree."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from studio import (
    DEMO_SPEECH,
    NUM_FRAMES,
    X264,
    dub_here,
    face_clip,
    ffmpeg,
    packets,
    pairs_of,
    pictures,
    same_samples,
    sound,
    speech,
    times,
)
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.core.types import F32
from dubcli.media.sound.loudness import measure_loudness
from dubcli.pipeline import model_input

FRAME_S = Fraction(1, 25)
VIDEO_S = NUM_FRAMES * FRAME_S


def _begin(path: Path) -> Fraction:
    with av.open(str(path)) as container:
        first = next(container.decode(audio=0))
    assert first.pts is not None
    assert first.time_base is not None
    return first.pts * first.time_base


def _voiced(path: Path, *words: tuple[float, float], seconds: float, rate: int = 16_000) -> Path:
    """A buzz during each word, digital silence between; returns `path`."""
    on = "+".join(f"between(t,{begin},{end})" for begin, end in words) or "0"
    buzz = f"aevalsrc=exprs='0.2*sin(2*PI*180*t)*({on})':s={rate}:d={seconds}"
    ffmpeg("-f", "lavfi", "-i", buzz, path)
    return path


def _loud_clip(path: Path, volume_db: float, *, delay_s: float = 0.0, frames: int = 30) -> Path:
    """A face with sound of its own: the bundled speech at another level, maybe late."""
    inputs = ("-itsoffset", str(delay_s), "-i", DEMO_SPEECH)
    streams = ("-map", "0:v", "-map", "1:a", "-af", f"volume={volume_db}dB", "-shortest")
    codec = ("-c:a", "flac") if path.suffix == ".mkv" else ("-c:a", "aac")
    return face_clip(path, "scale=240:240", *X264, *streams, *codec, frames=frames, inputs=inputs)


@pytest.mark.parametrize("mode", ["bounce", "loop", "freeze", "cut", "pad"])
@pytest.mark.parametrize(("seconds", "offset"), [(0.4, 0.12), (0.6, 0.36), (0.9, -0.34)])
def test_an_offset_moves_the_sound_in_every_mode(
    mode: str, seconds: float, offset: float, tmp_path: Path
) -> None:
    source, output = face_clip(tmp_path / "in.mkv"), tmp_path / "out.mkv"
    audio = speech(tmp_path / "speech.wav", seconds)
    report = dub_here(source, audio, output, sync_mode=mode, audio_offset=offset)
    given, rate = sound(audio)
    heard, _ = sound(output)
    moved = Fraction(str(offset))
    skipped = round(max(Fraction(0), -moved) * rate)
    begin_s = max(Fraction(0), moved)
    assert _begin(output) == begin_s
    wanted = given[:, skipped:]
    if mode in ("cut", "pad"):
        wanted = wanted[:, : round((VIDEO_S - begin_s) * rate)]
    assert np.array_equal(heard[:, : wanted.shape[1]], wanted)
    rest = heard[:, wanted.shape[1] :]
    end_s = begin_s + Fraction(wanted.shape[1], rate)
    is_padded = mode != "cut" and end_s < VIDEO_S
    assert rest.shape[1] == (round((VIDEO_S - end_s) * rate) if is_padded else 0)
    assert not rest.any()
    assert report.audio_offset_s == offset
    shown_s = times(output)[-1] + FRAME_S
    assert shown_s >= end_s - FRAME_S


# The second is shorter than the 1024 samples that AAC begins with.
@pytest.mark.parametrize("offset", [0.1, 0.02])
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_an_offset_copies_the_sound_and_moves_its_start(
    suffix: str, offset: float, tmp_path: Path
) -> None:
    source, output = face_clip(tmp_path / f"in{suffix}"), tmp_path / f"out{suffix}"
    audio = speech(tmp_path / "speech.m4a", 0.9, "-c:a", "aac")
    dub_here(source, audio, output, audio_offset=offset, sync_mode="bounce")
    assert packets(output, "audio") == packets(audio, "audio")
    (given, rate), (heard, _) = sound(audio), sound(output)
    # What the decoder needs to begin lies before the start and is no sound of the recording.
    lead = heard.shape[1] - given.shape[1]
    assert 0 <= lead <= 1024
    assert np.array_equal(heard[:, lead:], given)
    late_s = _begin(output) + Fraction(lead, rate) - Fraction(str(offset))
    assert abs(late_s) <= Fraction(1, rate)


def test_an_offset_counts_from_the_sources_own_sound_when_that_is_first(tmp_path: Path) -> None:
    """Picture from 0.2 s on, own sound from 0."""
    source, output = tmp_path / "in.mkv", tmp_path / "out.mkv"
    face = face_clip(tmp_path / "face.mkv")
    audio = speech(tmp_path / "speech.wav", 0.7)
    ffmpeg("-itsoffset", "0.2", "-i", face, "-i", audio, "-c:v", "copy", "-c:a", "flac", source)
    dub_here(source, audio, output, sync_mode="cut", audio_offset=0.05)
    assert _begin(output) == Fraction(1, 20)
    assert np.array_equal(sound(output)[0], sound(audio)[0])


def test_a_late_own_sound_does_not_delay_the_new_one(tmp_path: Path) -> None:
    source, output = _loud_clip(tmp_path / "in.mkv", 0, delay_s=0.3), tmp_path / "out.mkv"
    audio = speech(tmp_path / "speech.wav", 0.5)
    dub_here(source, audio, output, audio_offset=0.08)
    assert _begin(output) == Fraction(2, 25)


def test_the_lips_move_by_the_offset_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    real = model_input.frame_steps

    def noting(*arguments: Any) -> Any:
        seen.append(real(*arguments))
        return seen[-1]

    monkeypatch.setattr(model_input, "frame_steps", noting)
    source, audio = face_clip(tmp_path / "in.mkv"), speech(tmp_path / "speech.wav", 0.64)
    for number, offset in enumerate((0.0, 0.1, -0.1)):
        dub_here(source, audio, tmp_path / f"{number}.mkv", audio_offset=offset)
    unmoved, later, earlier = seen
    # 80 steps of sound a second.
    assert np.array_equal(later, unmoved - 8)
    assert np.array_equal(earlier, unmoved + 8)


@pytest.mark.parametrize("volume_db", [-14, 2])
def test_loudness_is_matched_to_the_sources_own(volume_db: float, tmp_path: Path) -> None:
    source, output = _loud_clip(tmp_path / "in.mkv", volume_db), tmp_path / "out.mkv"
    audio = speech(tmp_path / "speech.wav", 1.0, "-af", "volume=-8dB")
    report = dub_here(source, audio, output, match_loudness=True, sync_mode="cut")
    given, heard = sound(audio)[0], sound(output)[0]
    gain_db = 20 * np.log10(heard.std() / given.std())
    assert gain_db == pytest.approx(report.audio_gain_db, abs=0.02)
    assert heard == pytest.approx(given * 10 ** (gain_db / 20), abs=1e-4), "one constant gain"
    own, new = measure_loudness(source), measure_loudness(output)
    assert own.integrated is not None
    assert new.integrated is not None
    assert abs(new.integrated - own.integrated) < 0.3
    assert new.peak <= 0
    assert any("LUFS of the source's own sound" in warning for warning in report.warnings)


def test_matching_stops_before_peaks_clip(tmp_path: Path) -> None:
    source, output = _loud_clip(tmp_path / "in.mkv", 2), tmp_path / "out.mkv"
    # One click near full scale above quiet speech.
    click = "volume=-20dB,volume=volume='if(lt(n,1),30,1)':eval=frame:precision=double"
    audio = speech(tmp_path / "speech.wav", 1.0, "-af", f"asetnsamples=24,{click}")
    spiked = np.abs(sound(audio)[0])
    spike = tmp_path / "spike.wav"
    tick = "aevalsrc=exprs='if(between(n,500,502),0.7,0)':s=24000:d=1"
    mix = "[0][1]amix=inputs=2:normalize=0"
    ffmpeg("-i", audio, "-f", "lavfi", "-i", tick, "-filter_complex", mix, spike)
    assert np.abs(sound(spike)[0]).max() > spiked.max()
    report = dub_here(source, spike, output, match_loudness=True, sync_mode="cut")
    assert any("its peaks would clip" in warning for warning in report.warnings)
    assert 0 < report.audio_gain_db < 5
    assert np.abs(sound(output)[0]).max() < 1


@pytest.mark.parametrize("options", [{"match_loudness": True}, {"mix_original": "-20dB"}])
@pytest.mark.parametrize("is_silent", [False, True])
def test_without_sound_of_its_own_the_audio_is_copied_and_it_is_said(
    is_silent: bool, options: dict[str, Any], tmp_path: Path
) -> None:
    source, output = tmp_path / "in.mkv", tmp_path / "out.mkv"
    _loud_clip(source, -120) if is_silent else face_clip(source)
    audio = speech(tmp_path / "speech.wav", 0.64)
    report = dub_here(source, audio, output, sync_mode="cut", **options)
    assert packets(output, "audio") == packets(audio, "audio")
    assert any("changed nothing" in warning for warning in report.warnings)
    assert (report.audio_gain_db, report.original_mixed_db) == (0, None)


@pytest.mark.parametrize("offset", [0.0, 0.3, -0.2])
def test_the_sources_own_sound_stays_below_the_new(offset: float, tmp_path: Path) -> None:
    source, output = _loud_clip(tmp_path / "in.mkv", -3), tmp_path / "out.mkv"
    audio = _voiced(tmp_path / "a.wav", (0.0, 0.8), seconds=0.8, rate=24_000)
    report = dub_here(
        source, audio, output, mix_original="-12dB", audio_offset=offset, sync_mode="pad"
    )
    assert report.original_mixed_db == -12
    (own, rate), (new, _), (heard, heard_rate) = sound(source), sound(audio), sound(output)
    assert rate == heard_rate
    assert _begin(output) == 0
    num = round(30 * FRAME_S * rate)
    assert heard.shape[1] == num
    wanted = np.zeros(num)
    wanted[: own.shape[1]] += own[0, :num] * 10 ** (-12 / 20)
    place, skipped = round(max(0, offset) * rate), round(max(0, -offset) * rate)
    part = new[0, skipped : skipped + num - place]
    wanted[place : place + len(part)] += part
    assert heard[0] == pytest.approx(wanted, abs=1e-4)


def test_the_sources_own_sound_is_heard_once(tmp_path: Path) -> None:
    source, output = _loud_clip(tmp_path / "in.mp4", -3, frames=16), tmp_path / "out.mkv"
    audio = _voiced(tmp_path / "a.wav", (0.0, 0.4), seconds=1.4)
    report = dub_here(source, audio, output, mix_original="0dB", sync_mode="loop")
    heard, rate = sound(output)
    assert np.abs(heard[:, round(0.45 * rate) : round(0.6 * rate)]).max() > 0.02
    assert not np.abs(heard[:, round(0.75 * rate) :]).max() > 1e-4
    assert any("heard once" in warning for warning in report.warnings)


def _untouched(source: Path, output: Path) -> list[bool]:
    return [same_samples(a.frame, b.frame) for _, a, b in pairs_of(source, output)]


def test_frames_keep_their_pixels_while_nobody_speaks(tmp_path: Path) -> None:
    source = face_clip(tmp_path / "in.mkv", "scale=240:240", frames=40)
    audio = _voiced(tmp_path / "a.wav", (0, 0.4), (1.2, 1.6), seconds=1.6)
    plain = dub_here(source, audio, tmp_path / "plain.mkv", lossless=True)
    assert "silence" not in plain.frames_passed_through
    report = dub_here(source, audio, tmp_path / "kept.mkv", lossless=True, keep_silent_frames=True)
    kept = report.frames_passed_through["silence"]
    assert 6 <= kept <= 10
    assert report.frames_dubbed == 40 - kept
    untouched = _untouched(source, tmp_path / "kept.mkv")
    assert sum(untouched[10:30]) >= kept
    # Words look as they do without the option.
    both = list(pairs_of(tmp_path / "plain.mkv", tmp_path / "kept.mkv"))
    assert all(same_samples(a.frame, b.frame) for n, a, b in both if n < 10 or n >= 30)
    assert not all(same_samples(a.frame, b.frame) for n, a, b in both if 10 <= n < 30)


def test_silence_is_the_sounds_not_the_frames(tmp_path: Path) -> None:
    """The same source frames are dubbed in the first pass and kept in the second."""
    source = face_clip(tmp_path / "in.mkv")
    audio = _voiced(tmp_path / "a.wav", (0, 0.6), seconds=1.9)
    output = tmp_path / "out.mkv"
    report = dub_here(
        source, audio, output, lossless=True, keep_silent_frames=True, sync_mode="loop"
    )
    own = [shown.frame for shown in pictures(source)]
    shown = [picture.frame for picture in pictures(output)]
    same = [same_samples(frame, own[n % NUM_FRAMES]) for n, frame in enumerate(shown)]
    assert report.frames_passed_through == {"silence": len(shown) - NUM_FRAMES}
    assert all(same[NUM_FRAMES:])
    assert not all(same[:NUM_FRAMES])
    assert not any("More than half" in warning for warning in report.warnings)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--audio-offset", "soon"), "valid number"),
        (("--audio-offset", "nan"), "audio offset"),
        (("--audio-offset", "-7"), "nothing of"),
        (("--audio-offset", "7", "--sync-mode", "cut"), "nothing of"),
        (("--mix-original", "3dB"), "-60dB to 0dB"),
        (("--mix-original", "-80"), "-60dB to 0dB"),
        (("--mix-original", "low"), "-60dB to 0dB"),
    ],
)
def test_bad_values_are_one_line_and_leave_nothing(
    words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    face_clip(tmp_path / "in.mp4")
    speech(tmp_path / "a.wav", 0.6)
    model = ("--model", "passthrough", "--device", "cpu", "--quiet")
    done = CliRunner().invoke(app, ["in.mp4", "--audio", "a.wav", *model, *words])
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"in.mp4", "a.wav", "dub-home"}


def test_options_stand_together_in_the_report(tmp_path: Path) -> None:
    _loud_clip(tmp_path / "in.mp4", -6)
    speech(tmp_path / "a.wav", 0.9)
    words = ("--audio-offset", "-0.1", "--mix-original", "-20", "--match-loudness")
    options = ("--keep-silent-frames", "--model", "passthrough", "--device", "cpu")
    done = CliRunner().invoke(app, ["in.mp4", "--audio", "a.wav", "--json", *words, *options])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["audio_offset_s"] == -0.1
    assert report["original_mixed_db"] == pytest.approx(-20)
    assert report["audio_gain_db"] < -1
    assert report["config"]["mix_original"] == "-20"
    assert report["frames_passed_through"].get("silence", 0) > 0


def _words_and(other: F32, path: Path) -> Path:
    """0.8 s of the bundled speech, then 1.6 s of something else, 24 kHz."""
    words, rate = soundfile.read(DEMO_SPEECH, dtype="float32")
    soundfile.write(path, np.concatenate([words[: round(0.8 * rate)], other]), rate)
    return path


def test_lips_rest_under_music_and_follow_it_if_asked(tmp_path: Path) -> None:
    source = face_clip(tmp_path / "in.mkv", "scale=240:240", frames=60)
    time = np.arange(round(1.6 * 24_000)) / 24_000
    chord = sum(np.sin(2 * np.pi * pitch * time) for pitch in (220, 277.2, 329.6))
    music = (0.2 * chord * np.exp(-4 * (time % 0.5))).astype(np.float32)
    with_music = _words_and(music, tmp_path / "music.wav")
    quiet = _words_and(np.zeros_like(music), tmp_path / "quiet.wav")
    as_usual: dict[str, Any] = {"model": "iptalker", "lossless": True}
    rested = dub_here(source, with_music, tmp_path / "rested.mkv", **as_usual)
    dub_here(source, quiet, tmp_path / "quiet.mkv", **as_usual)
    followed = dub_here(
        source, with_music, tmp_path / "followed.mkv", **as_usual, lips_follow="sound"
    )
    assert any("nobody speaks" in warning for warning in rested.warnings)
    assert not any("nobody speaks" in warning for warning in followed.warnings)

    def difference(other: str) -> float:
        """Mean difference of the late frames to those that rest, levels."""
        both = list(pairs_of(tmp_path / "rested.mkv", tmp_path / other))[47:]
        grey = [[one.frame.to_ndarray(format="gray") for one in (a, b)] for _, a, b in both]
        return float(np.mean([np.abs(a.astype(float) - b).mean() for a, b in grey]))

    assert difference("quiet.mkv") < 0.5 * difference("followed.mkv")
