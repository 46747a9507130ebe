"""Parts of a video: the same frames and sound as in the whole, without decoding what is before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import ClipSpec, make_clip, make_vfr_clip, truncate

from dubcli.core.errors import DecodeError
from dubcli.media.container.probe import probe
from dubcli.media.sound.waveform import read_waveform
from dubcli.media.video.frame_reader import FrameReader, frame_times
from dubcli.media.video.intervals import StretchReader, survey
from dubcli.media.video.native_frame import NativeFrame

B_FRAMES = ("-preset", "medium", "-bf", "3", "-x264-params", "scenecut=0:b-adapt=0")
SPEC = ClipSpec(frames=150, gop=25, options=B_FRAMES)


def _digest(native: NativeFrame) -> str:
    return hashlib.sha256(native.frame.to_ndarray().tobytes()).hexdigest()


def _clip(folder: Path, suffix: str) -> Path:
    if suffix == "mpg":
        spec = ClipSpec(frames=150, gop=25, codec="mpeg1video", options=("-bf", "2"))
        return make_clip(folder / "a.mpg", spec)
    return make_clip(folder / f"a.{suffix}", SPEC)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "ts", "flv", "mpg"])
def test_packets_tell_the_times_and_stretches_show_the_same_frames(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = _clip(tmp_path, suffix)
    info = probe(clip)
    with FrameReader(clip, info) as reader:
        whole = [(native.pts, _digest(native)) for native in reader.native_frames()]
        exact = reader.times
    times = survey(clip, info)
    assert times is not None
    assert times == exact

    def never(self: FrameReader) -> Iterator[NativeFrame]:
        raise AssertionError("a pass from the start")

    monkeypatch.setattr(FrameReader, "_from_start", never)
    for wanted in (range(0, 10), range(88, 117), range(140, 150)):
        with StretchReader(clip, info, times, wanted) as stretch:
            pictures = [(frame.index, frame.pts) for frame in stretch.frames(max_side=32)]
            assert pictures == [(n, whole[i][0]) for n, i in enumerate(wanted)]
            assert stretch.numbers == list(wanted)
            assert stretch.times.pts == [whole[i][0] for i in wanted]
            ends = [*exact.pts, exact.end_pts]
            assert stretch.times.end_pts == ends[wanted.stop]
            native = [(item.pts, _digest(item)) for item in stretch.native_frames()]
            assert native == [whole[i] for i in wanted]
            (last,) = stretch.native_sequence([len(wanted) - 1])
            assert _digest(last) == whole[wanted[-1]][1]


def test_variable_rates_are_surveyed_too(tmp_path: Path) -> None:
    clip = make_vfr_clip(tmp_path / "a.mkv", frames=60)
    assert survey(clip, probe(clip)) == frame_times(clip, probe(clip))


@pytest.mark.parametrize("suffix", ["h264", "avi"])
def test_packets_without_true_times_are_not_trusted(tmp_path: Path, suffix: str) -> None:
    clip = make_clip(tmp_path / f"a.{suffix}", SPEC)
    info = probe(clip)
    assert survey(clip, info) is None
    times = frame_times(clip, info)
    with FrameReader(clip, info) as reader:
        whole = [_digest(native) for native in reader.native_frames()]
    with StretchReader(clip, info, times, range(90, 110), is_surveyed=False) as stretch:
        assert [_digest(native) for native in stretch.native_frames()] == whole[90:110]
        assert stretch.numbers == list(range(90, 110))


def test_a_stretch_that_is_missing_is_named(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.ts", SPEC)
    times = survey(whole, probe(whole))
    assert times is not None
    broken = truncate(whole, tmp_path / "broken.ts", 0.5)
    info = probe(broken)
    with StretchReader(broken, info, times, range(140, 150)) as stretch:
        assert list(stretch.native_frames()) == []
        with pytest.raises(DecodeError, match=r"broken\.ts.*from 7\.\d s on"):
            stretch.times  # noqa: B018
    # What is left of the file is surveyed as far as it goes.
    left = survey(broken, info)
    assert left is not None
    assert 40 < len(left) < 110
    assert set(left.pts) < set(times.pts)
    assert left.pts[:40] == times.pts[:40]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
def test_a_part_of_the_sound_lies_where_it_does_in_the_whole(tmp_path: Path, suffix: str) -> None:
    sweep = "-af", "volume='0.2+0.2*sin(7*t*t)':eval=frame"
    spec = ClipSpec(frames=150, audio_s=6.0, options=sweep)
    clip = make_clip(tmp_path / f"a.{suffix}", spec)
    whole = read_waveform(clip)
    part = read_waveform(clip, part_s=(Fraction(2), Fraction(4)))
    assert part.start_s <= 2
    assert part.start_s + part.duration_s >= 4
    assert part.duration_s < Fraction(22, 10)
    # Loudness in 20 ms, which varies all the time; containers date packets to 1 ms.
    first = round((Fraction(2) - whole.start_s) * 16_000)
    own = round((Fraction(2) - part.start_s) * 16_000)
    expected, found = (
        np.sqrt((samples[at : at + 32_000].reshape(-1, 320) ** 2).mean(1))
        for samples, at in ((whole.samples, first), (part.samples, own))
    )
    assert np.abs(expected - found).max() < 0.1 * expected.max()
    assert np.ptp(expected) > 0.5 * expected.max()


def test_a_part_beyond_the_sound_holds_none(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", ClipSpec(frames=150, audio_s=1.0))
    with pytest.raises(DecodeError, match="no samples"):
        read_waveform(clip, part_s=(Fraction(3), Fraction(4)))
