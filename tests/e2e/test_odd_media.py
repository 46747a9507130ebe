"""Whole dubs of sources and under recordings whose files are not as they should be."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from studio import (
    DEMO,
    DEMO_SPEECH,
    NUM_FRAMES,
    X264,
    dub_here,
    face_clip,
    ffmpeg,
    pictures,
    sound,
    speech,
    times,
)

from dubcli.config import PlanConfig
from dubcli.core.errors import DecodeError, ProbeError
from dubcli.preview.plan_report import make_plan

SOUND = ("-map", "0:v", "-map", "0:a", "-c:a", "aac")


def test_a_clock_that_begins_below_zero_loses_nothing(tmp_path: Path) -> None:
    """As in a transport stream that is cut just before its 33 bits are used up."""
    late = ("-output_ts_offset", "95443.3", "-mpegts_copyts", "1")
    source = face_clip(tmp_path / "in.ts", "scale=240:240", *SOUND, "-shortest", *late)
    given = times(source)
    assert given[0] < 0
    audio, output = speech(tmp_path / "s.wav", 0.6), tmp_path / "out.mkv"
    report = dub_here(source, audio, output)
    found = times(output)
    assert len(found) == NUM_FRAMES
    steps = np.diff([float(time) for time in found])
    assert steps == pytest.approx(np.diff([float(time) for time in given]), abs=2e-3)
    heard, _ = sound(output)
    wanted, _ = sound(audio)
    assert np.array_equal(heard[:, : wanted.shape[1]], wanted)
    assert any("before 0" in line for line in report.warnings)


def test_the_own_sound_below_zero_is_mixed_in_at_its_place(tmp_path: Path) -> None:
    late = ("-output_ts_offset", "95443.3", "-mpegts_copyts", "1")
    source = face_clip(tmp_path / "in.ts", "scale=240:240", *SOUND, "-shortest", *late)
    plain = face_clip(tmp_path / "in.mkv", "scale=240:240", *SOUND, "-shortest")
    audio = speech(tmp_path / "s.wav", 0.6)
    mixed: list[np.ndarray] = []
    for video in (source, plain):
        output = tmp_path / f"out-{video.suffix[1:]}.mkv"
        dub_here(video, audio, output, mix_original="-6dB")
        mixed.append(sound(output)[0][0])
    length = min(len(one) for one in mixed) - 4000
    likeness = max(
        float(np.corrcoef(mixed[0][2000 + lag : length + lag], mixed[1][2000:length])[0, 1])
        for lag in range(-1500, 1501, 10)
    )
    assert likeness > 0.9


def test_joined_recordings_last_as_long_as_their_frames(tmp_path: Path) -> None:
    pieces = [
        face_clip(tmp_path / f"{n}.ts", "scale=240:240", *SOUND, "-shortest", *offset, frames=10)
        for n, offset in enumerate(((), ("-output_ts_offset", "5000")))
    ]
    source = tmp_path / "in.ts"
    source.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    output = tmp_path / "out.mp4"
    report = dub_here(source, speech(tmp_path / "s.wav", 0.7), output)
    assert report.frames == 20
    assert report.duration_s < 1
    assert any("clock jumps by +" in line for line in report.warnings)
    assert not any("/" in line for line in report.warnings if "jumps" in line)
    assert os.listdir(tmp_path).count("source.nut") == 0
    plan = make_plan(PlanConfig(video=source, model="passthrough", device="cpu", picture=False))
    assert any("clock jumps" in note for note in plan.notes)
    assert plan.source.path == str(source)


def test_pictures_of_two_sizes_become_one(tmp_path: Path) -> None:
    offset = ("-output_ts_offset", "0.4")
    pieces = [
        face_clip(tmp_path / "0.ts", "scale=160:160", frames=10),
        face_clip(tmp_path / "1.ts", "scale=240:240", *X264, *offset, frames=10),
    ]
    source = tmp_path / "in.ts"
    source.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    output = tmp_path / "out.mp4"
    report = dub_here(source, speech(tmp_path / "s.wav", 0.7), output)
    assert (report.width, report.height, report.frames) == (240, 240, 20)
    assert {(one.frame.width, one.frame.height) for one in pictures(output)} == {(240, 240)}
    assert any("160x160 px from 0:00.0 to 0:00.4" in line for line in report.warnings)


def test_lips_length_and_sound_share_a_gap(tmp_path: Path) -> None:
    """What is heard in the result is the recording with silence where its file has nothing."""
    whole = speech(tmp_path / "whole.m4a", 1.6, "-c:a", "aac")
    gap = tmp_path / "gap.m4a"
    with av.open(str(whole)) as given, av.open(str(gap), "w") as made:
        stream = given.streams.audio[0]
        copy = made.add_stream_from_template(stream)
        for packet in given.demux(stream):
            time_s = (packet.pts or 0) * Fraction(packet.time_base or 1)
            if packet.size and not Fraction(1, 2) <= time_s < 1:
                packet.stream = copy
                made.mux(packet)
    output = tmp_path / "out.mkv"
    report = dub_here(face_clip(tmp_path / "in.mkv"), gap, output, sync_mode="bounce")
    assert report.duration_s == pytest.approx(1.6, abs=0.08)
    heard, rate = sound(output)
    wanted, _ = sound(whole)
    assert np.abs(heard[0, round(0.56 * rate) : round(0.96 * rate)]).max() < 0.02
    later = slice(round(1.1 * rate), round(1.5 * rate))
    assert np.corrcoef(heard[0, later], wanted[0, later])[0, 1] > 0.95
    assert any("no sound for 0.5" in line for line in report.warnings)


def test_peaks_above_full_scale_are_lowered_as_one(tmp_path: Path) -> None:
    ffmpeg("-i", DEMO_SPEECH, "-t", "0.64", "-af", "volume=18dB", "-c:a", "pcm_f32le", "loud.wav")
    source, output = face_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    report = dub_here(source, Path("loud.wav"), output)
    given, _ = sound(Path("loud.wav"))
    heard = sound(output)[0][0, : given.shape[1]]
    assert np.abs(given).max() > 1.2
    assert np.abs(heard).max() < 1
    assert np.corrcoef(heard, given[0])[0, 1] > 0.99
    assert report.audio_gain_db < -1
    assert any("above full scale" in line for line in report.warnings)
    kept = dub_here(face_clip(tmp_path / "in.mkv"), Path("loud.wav"), tmp_path / "kept.mkv")
    assert kept.audio_gain_db == 0  # floating point is copied as it is
    assert np.array_equal(sound(tmp_path / "kept.mkv")[0], given)


def test_what_cannot_be_used_is_refused_before_a_frame_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = speech(tmp_path / "whole.m4a", 2.0, "-c:a", "aac")
    data = bytearray(whole.read_bytes())
    begin = data.find(b"mdat") + 4
    data[begin : begin + 20_000] = bytes(
        np.random.default_rng(0).integers(0, 256, 20_000, np.uint8)
    )
    bad = tmp_path / "bad.m4a"
    bad.write_bytes(data)
    monkeypatch.setattr("dubcli.pipeline.run.find_faces", lambda *_: pytest.fail("looked"))
    for audio in (bad, face_clip(tmp_path / "mute.mp4")):
        with pytest.raises((DecodeError, ProbeError)) as caught:
            dub_here(DEMO, audio, tmp_path / "out.mp4")
        assert audio.name in str(caught.value)
    assert not (tmp_path / "out.mp4.dubjob").exists()
