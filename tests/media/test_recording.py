"""A recording's samples lie at their times, whatever its file is like."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import ClipSpec, make_clip, run_ffmpeg
from made_sounds import SWEEP, damaged, likeness, make_sweep, retimed, sweep_at

from dubcli.core.errors import DecodeError, ProbeError
from dubcli.media.sound.recording import Recording, made_regular, read_recording
from dubcli.media.sound.waveform import read_waveform

WINDOW = 3200  # samples at 16 kHz


def _is_in_place(found: Recording, at_s: float, of_s: float | None = None) -> bool:
    """Whether at a time of the recording the tone is heard as it is at that time, or another.

    Some encoders delay what they are given by a few ms, and nothing says so.
    """
    wanted, begin = sweep_at(at_s if of_s is None else of_s, WINDOW), round(at_s * 16_000)
    samples = found.waveform.samples
    return any(
        likeness(samples[begin + lag : begin + lag + WINDOW], wanted) > 0.97
        for lag in range(-160, 161, 4)
    )


def _silent(found: Recording, from_s: float, to_s: float) -> bool:
    part = found.waveform.samples[round(from_s * 16_000) : round(to_s * 16_000)]
    return float(np.abs(part).max()) < 0.01


def test_gaps_in_timestamps_are_silent_and_said(tmp_path: Path) -> None:
    whole = make_sweep(tmp_path / "whole.m4a", 3.0, "-c:a", "aac", "-b:a", "128k")

    def without(time_s: Fraction) -> Fraction | None:
        is_lost = 1 <= time_s < 1.5 or Fraction(21, 10) <= time_s < Fraction(23, 10)
        return None if is_lost else time_s

    found = read_recording(retimed(whole, tmp_path / "gaps.m4a", without))
    assert float(found.duration_s) == pytest.approx(3.0, abs=0.05)
    assert _silent(found, 1.1, 1.4)
    assert all(_is_in_place(found, at_s) for at_s in (0.4, 1.7, 2.5))
    assert [one.kind for one in found.repairs] == ["gap", "gap"]
    assert "no sound for 0.7" in found.notes[0]
    assert "0:01.0, 0:02.1" in found.notes[0]


def test_a_repaired_recording_is_a_file_of_the_same_samples(tmp_path: Path) -> None:
    whole = make_sweep(tmp_path / "whole.m4a", 2.0, "-c:a", "aac")
    path = retimed(whole, tmp_path / "a.m4a", lambda time_s: None if 1 <= time_s < 1.4 else time_s)
    given = read_recording(path)
    made = made_regular(given, tmp_path / "new.mka")
    again = read_recording(made.path)
    assert not again.repairs
    assert again.audio.num_samples == made.audio.num_samples == given.audio.num_samples
    assert made.audio.is_repaired
    assert made.audio.codec == "aac"
    assert np.allclose(again.waveform.samples, given.waveform.samples, atol=2e-3)


def test_a_plain_recording_stays_the_file_that_it_is(tmp_path: Path) -> None:
    for name, codec in (("a.m4a", "aac"), ("a.mp3", "libmp3lame"), ("a.opus", "libopus")):
        found = read_recording(make_sweep(tmp_path / name, 1.0, "-c:a", codec))
        assert not found.repairs, name
        assert not found.notes, name
        assert made_regular(found, tmp_path / "never.mka") is found


def _joined(folder: Path, first_s: float, later_s: float) -> Path:
    """Two seconds of the tone in two pieces that begin at these times of their clocks."""
    pieces: list[bytes] = []
    for number, offset_s in enumerate((first_s, later_s)):
        piece = folder / f"{number}.ts"
        cut = f"atrim={number}:{number + 1},asetpts=N/SR/TB"
        options = ("-c:a", "mp2", "-b:a", "192k", "-output_ts_offset", str(offset_s))
        make_sweep(piece, 2.0, "-af", cut, *options)
        pieces.append(piece.read_bytes())
    joined = folder / "joined.ts"
    joined.write_bytes(b"".join(pieces))
    return joined


def test_a_recording_that_changes_its_rate_and_channels_is_brought_to_the_first(
    tmp_path: Path,
) -> None:
    pieces: list[bytes] = []
    for number, form in enumerate((("-ac", "1", "-ar", "48000"), ("-ac", "2", "-ar", "44100"))):
        cut = f"atrim={number}:{number + 1},asetpts=N/SR/TB"
        piece = make_sweep(
            tmp_path / f"{number}.mp3", 2.0, "-af", cut, *form,
            "-write_xing", "0", "-id3v2_version", "0",
        )  # fmt: skip
        pieces.append(piece.read_bytes())
    path = tmp_path / "joined.mp3"
    path.write_bytes(b"".join(pieces))
    found = read_recording(path)
    assert "changes its rate" in found.notes[-1]
    made = made_regular(found, tmp_path / "new.mka")
    again = read_recording(made.path)
    assert again.audio.sample_rate == found.audio.sample_rate
    assert again.audio.channels == found.audio.channels
    assert float(again.duration_s) == pytest.approx(float(found.duration_s), abs=0.002)
    for part in (slice(4000, 7200), slice(-9000, None)):
        assert likeness(again.waveform.samples[part], found.waveform.samples[part]) > 0.99


def test_packets_that_overlap_are_cut(tmp_path: Path) -> None:
    found = read_recording(_joined(tmp_path, 0, 0.8))
    assert float(found.duration_s) == pytest.approx(1.8, abs=0.06)
    assert _is_in_place(found, 0.5)
    assert _is_in_place(found, 1.3, of_s=1.5)
    assert {one.kind for one in found.repairs} == {"overlap"}


@pytest.mark.parametrize("suffix", ["m4a", "mka", "webm"])
def test_a_late_start_is_kept(suffix: str, tmp_path: Path) -> None:
    codec = "libopus" if suffix == "webm" else "aac"
    run_ffmpeg(
        *("-itsoffset", "0.6", "-f", "lavfi", "-i", f"aevalsrc=exprs={SWEEP}:d=1"),
        *("-c:a", codec, tmp_path / f"a.{suffix}"),
    )
    found = read_recording(tmp_path / f"a.{suffix}")
    assert float(found.duration_s) == pytest.approx(1.6, abs=0.05)
    assert _silent(found, 0, 0.55)
    assert _is_in_place(found, 1.1, of_s=0.5)
    assert "begins 0." in found.notes[0]


def test_sound_that_starts_after_the_picture_of_its_file_waits_for_it(tmp_path: Path) -> None:
    spec = ClipSpec(frames=25, audio_s=0.5, audio_delay_s=0.4, start_s=3)
    for suffix in ("mkv", "ts"):
        found = read_recording(make_clip(tmp_path / f"a.{suffix}", spec))
        assert float(found.duration_s) == pytest.approx(0.9, abs=0.06)
        assert _silent(found, 0, 0.35)


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mp3", "libmp3lame"), ("m4a", "aac"), ("flac", "flac"), ("ac3", "ac3")]
)
def test_a_damaged_place_is_silent_for_its_own_length(
    suffix: str, codec: str, tmp_path: Path
) -> None:
    whole = make_sweep(tmp_path / f"whole.{suffix}", 2.4, "-c:a", codec)
    found = read_recording(damaged(whole, tmp_path / f"a.{suffix}"))
    assert float(found.duration_s) == pytest.approx(2.4, abs=0.06)
    assert _is_in_place(found, 0.4)
    assert _is_in_place(found, 2.0)


def test_bytes_that_a_parser_skips_count_too(tmp_path: Path) -> None:
    """A raw stream of AAC says neither when its packets are heard nor how many are missing."""
    whole = make_sweep(tmp_path / "whole.aac", 2.4, "-c:a", "aac", "-b:a", "96k")
    found = read_recording(damaged(whole, tmp_path / "a.aac"))
    assert float(found.duration_s) == pytest.approx(2.42, abs=0.05)
    assert [one.kind for one in found.repairs] == ["damage"]


def test_damage_is_said_with_its_time(tmp_path: Path) -> None:
    whole = make_sweep(tmp_path / "whole.mp3", 2.4, "-c:a", "libmp3lame", "-b:a", "96k")
    (note,) = read_recording(damaged(whole, tmp_path / "a.mp3")).notes
    assert "is damaged at 0:01." in note
    assert "silence" in note


def test_a_lost_page_of_ogg_is_silence_at_its_place(tmp_path: Path) -> None:
    whole = make_sweep(tmp_path / "whole.opus", 3.0, "-c:a", "libopus", "-page_duration", "200000")
    found = read_recording(damaged(whole, tmp_path / "a.opus", 0.5, 60))
    assert float(found.duration_s) == pytest.approx(3.0, abs=0.05)
    assert _is_in_place(found, 0.5)
    assert _is_in_place(found, 2.5)


@pytest.mark.parametrize("times", [(0, 5000), (5000, 0), (10, 10)])
def test_a_clock_that_jumps_goes_on(times: tuple[int, int], tmp_path: Path) -> None:
    found = read_recording(_joined(tmp_path, *times))
    assert float(found.duration_s) == pytest.approx(2.0, abs=0.06)
    assert [one.kind for one in found.repairs] == ["jump"]
    assert _is_in_place(found, 0.4)
    # Each piece of MP2 begins some ms late, and its last packet is filled up.
    assert any(_is_in_place(found, 1.5 + late_s, of_s=1.5) for late_s in (0, 0.01, 0.02, 0.03))


def test_channels_that_cancel_are_heard(tmp_path: Path) -> None:
    pans = {
        "inverted": "stereo|c0=c0|c1=-1*c0",
        "nearly": "stereo|c0=c0|c1=-0.9*c0",
        "dead": "stereo|c0=c0|c1=0*c0",
        "centre": "5.1|FC=c0|FL=0*c0",
        "surround": "5.1|FL=c0|FR=-1*c0|FC=0*c0",
    }
    for name, pan in pans.items():
        path = make_sweep(tmp_path / f"{name}.wav", 1.0, "-af", f"pan={pan}", "-c:a", "pcm_s16le")
        for samples in (read_recording(path).waveform.samples, read_waveform(path).samples):
            assert likeness(samples[8000:11_200], sweep_at(0.5, WINDOW)) > 0.97, name
            assert float(np.abs(samples).max()) > 0.05, name
        notes = read_recording(path).notes
        assert bool(notes) == (name not in ("dead", "centre")), name


def test_channels_that_cancel_for_a_while_are_named_by_time(tmp_path: Path) -> None:
    flip = "aeval=val(0)|if(gte(t\\,1)\\,-val(0)\\,val(0)):c=stereo"
    found = read_recording(make_sweep(tmp_path / "a.wav", 2.0, "-af", flip))
    assert all(_is_in_place(found, at_s) for at_s in (0.4, 1.4))
    (note,) = found.notes
    assert "cancel each other at 0:01.0 to 0:02.0" in note


def test_voices_on_two_channels_are_no_fault(tmp_path: Path) -> None:
    expressions = f"{SWEEP}|0.3*sin(2*PI*310*t)"
    run_ffmpeg("-f", "lavfi", "-i", f"aevalsrc=exprs={expressions}:d=1", tmp_path / "a.wav")
    assert not read_recording(tmp_path / "a.wav").notes


def test_samples_above_full_scale_keep_their_shape(tmp_path: Path) -> None:
    path = make_sweep(tmp_path / "a.wav", 1.0, "-af", "volume=18dB", "-c:a", "pcm_f32le")
    found = read_recording(path)
    assert found.peak == pytest.approx(0.3 * 10 ** (18 / 20), rel=0.01)
    assert float(np.abs(found.waveform.samples).max()) <= 1
    assert likeness(found.waveform.samples[8000:11_200], sweep_at(0.5, WINDOW)) > 0.999


def _two_streams(folder: Path, codec: str = "pcm_s16le") -> Path:
    path = folder / "two.mkv"
    run_ffmpeg(
        *("-f", "lavfi", "-i", "anullsrc=d=1", "-f", "lavfi", "-i", f"aevalsrc=exprs={SWEEP}:d=1"),
        *("-map", "0", "-map", "1", "-c:a", codec, path),
    )
    return path


def test_an_audio_stream_can_be_named(tmp_path: Path) -> None:
    path = _two_streams(tmp_path)
    assert not read_recording(path).waveform.samples.any()
    assert _is_in_place(read_recording(path, number=2), 0.5)
    assert read_recording(path, number=2).audio.index == 1
    with pytest.raises(ProbeError, match="has 2 audio streams"):
        read_recording(path, number=3)


def test_the_first_stream_that_can_be_decoded_is_taken(tmp_path: Path) -> None:
    path = _two_streams(tmp_path, "flac")
    with av.open(str(path)) as given, av.open(str(tmp_path / "bad.mkv"), "w") as made:
        copies = [made.add_stream_from_template(stream) for stream in given.streams]
        for packet in given.demux():
            if packet.size:
                data = b"\x00" * packet.size if packet.stream_index == 0 else bytes(packet)
                new = av.Packet(data)
                new.pts, new.dts, new.time_base = packet.pts, packet.dts, packet.time_base
                new.stream = copies[packet.stream_index]
                made.mux(new)
    found = read_recording(tmp_path / "bad.mkv")
    assert _is_in_place(found, 0.5)
    assert "Audio stream 2" in found.notes[0]
    assert float(np.abs(read_waveform(tmp_path / "bad.mkv").samples).max()) > 0.1


def test_a_cover_picture_makes_no_video(tmp_path: Path) -> None:
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64", "-frames:v", "1", tmp_path / "c.jpg")
    tone = make_sweep(tmp_path / "a.wav", 1.0)
    cover = ("-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v", "attached_pic")
    run_ffmpeg("-i", tone, "-i", tmp_path / "c.jpg", *cover, tmp_path / "a.mp3")
    found = read_recording(tmp_path / "a.mp3")
    assert not found.repairs
    assert _is_in_place(found, 0.5)


def test_what_cannot_be_decoded_is_refused(tmp_path: Path) -> None:
    whole = make_sweep(tmp_path / "whole.m4a", 2.0, "-c:a", "aac")
    key = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "0" * 32)
    secret = tmp_path / "secret.mp4"
    run_ffmpeg("-i", whole, "-c", "copy", *key, "-encryption_kid", "1" * 32, secret)
    noise = damaged(whole, tmp_path / "noise.m4a", 0.05, int(whole.stat().st_size * 0.8))
    for path in (secret, noise):
        with pytest.raises((DecodeError, ProbeError), match=path.name) as caught:
            read_recording(path)
        assert caught.value.next_step
