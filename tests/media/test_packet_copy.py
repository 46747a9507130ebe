"""What is read of H.264 packets before they are copied, and what is decided from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from clips import ClipSpec, make_clip, run_ffmpeg

from dubcli.core.errors import EncodeError
from dubcli.media.container.concat import PictureClock, join_runs
from dubcli.media.container.probe import probe, require_video
from dubcli.media.packet_copy.avc_configuration import AvcConfiguration, read_configuration
from dubcli.media.packet_copy.copy_plan import (
    FrameRange,
    is_worthwhile,
    joined_configuration,
    match_for,
    plan_ranges,
    require_same_times,
)
from dubcli.media.packet_copy.packet_index import CopyRefusedError, PacketIndex, read_index
from dubcli.media.video.frame_writer import EncodeOptions, FrameWriter

SIZE = (64, 48)


def _record(path: Path) -> bytes:
    with av.open(str(path)) as container:
        return container.streams.video[0].codec_context.extradata or b""


def _clip(path: Path, words: str = "", *options: str, gop: int = 8, frames: int = 24) -> Path:
    chosen = ("-preset", "veryfast", "-sc_threshold", "0", *options)
    parameters = ("-x264-params", words) if words else ()
    return make_clip(path, ClipSpec(frames=frames, gop=gop, options=(*chosen, *parameters)))


def _index(starts: Sequence[int], num: int) -> PacketIndex:
    """Packets in order; an encoder's facts where nobody asks for them."""
    order = np.arange(num, dtype=np.int64)
    nothing = AvcConfiguration(
        profile=100, compatibility=0, level=10, sequence_sets={}, picture_sets={}
    )
    return PacketIndex(
        path=Path("in.mp4"),
        stream=0,
        pts=order,
        ranks=order,
        starts=np.array(starts, np.int64),
        sizes=order + 1,
        configuration=nothing,
    )


@pytest.mark.parametrize(
    ("words", "options", "reorder", "profile"),
    [
        ("bframes=3", (), 2, 100),
        ("bframes=3:b-pyramid=none", (), 1, 100),
        ("bframes=0", (), 0, 100),
        ("", ("-profile:v", "baseline"), 0, 66),
        ("bframes=2:nal-hrd=vbr:vbv-maxrate=900:vbv-bufsize=900", (), 2, 100),
        ("bframes=2:cqm=jvt", (), 2, 100),
        ("bframes=2", ("-pix_fmt", "yuv422p10le"), 2, 122),
    ],
)
def test_a_sequence_parameter_set_is_read_as_libav_reads_it(
    words: str, options: tuple[str, ...], reorder: int, profile: int, tmp_path: Path
) -> None:
    tags = ("-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709")
    path = _clip(tmp_path / "a.mp4", words, *tags, *options)
    (read,) = read_configuration(_record(path)).parameters
    video = require_video(probe(path))
    assert (read.number, read.num_reorder, read.profile) == (0, reorder, profile)
    assert read.size == (video.width, video.height)
    assert read.color[1:] == (video.color_primaries, video.color_transfer, video.color_space)
    assert read.bit_depths == ((10, 10) if "10le" in video.pix_fmt else (8, 8))
    assert read.chroma_format == (2 if "422" in video.pix_fmt else 1)
    assert read.is_progressive


@pytest.mark.parametrize("sar", ["1/1", "4/3", "40/33", "88/85"])
def test_crop_and_pixel_aspect_are_read(sar: str, tmp_path: Path) -> None:
    clip = ClipSpec(size=(72, 38), frames=2, sar=sar)
    (read,) = read_configuration(_record(make_clip(tmp_path / "a.mp4", clip))).parameters
    assert read.size == (80, 48)
    assert read.crop == (0, 4, 0, 5)  # in pairs of samples
    assert read.sar == Fraction(sar)


def test_a_record_is_written_as_it_was_read(tmp_path: Path) -> None:
    record = _record(_clip(tmp_path / "a.mp4", "", "-pix_fmt", "yuv422p10le"))
    assert read_configuration(record).as_bytes() == record


@pytest.mark.parametrize("cut", [4, 8, 12, 30])
def test_a_damaged_record_is_refused(cut: int, tmp_path: Path) -> None:
    record = _record(_clip(tmp_path / "a.mp4"))
    with pytest.raises(ValueError, match=r"parameter set|Annex B"):
        _ = read_configuration(record[:cut]).parameters


def test_groups_begin_at_pictures_that_nothing_refers_across(tmp_path: Path) -> None:
    index = read_index(_clip(tmp_path / "closed.mp4", "bframes=3"), 0)
    assert index.starts.tolist() == [0, 8, 16]
    assert np.array_equal(index.pts[np.argsort(index.ranks)], np.sort(index.pts))
    assert index.reordering == 2
    assert sum(index.sizes) < (tmp_path / "closed.mp4").stat().st_size
    opened = read_index(_clip(tmp_path / "open.mp4", "bframes=3:open-gop=1"), 0)
    assert opened.starts.tolist() == [0]


def _joined_midway(folder: Path) -> Path:
    """Two encodes with other settings, whose second sets lie in the stream."""
    for name, words in (("a", "ref=1:bframes=0"), ("b", "ref=4:bframes=0")):
        _clip(folder / f"{name}.h264", words)
    raw = folder / "ab.h264"
    raw.write_bytes((folder / "a.h264").read_bytes() + (folder / "b.h264").read_bytes())
    run_ffmpeg("-r", "25", "-i", raw, "-c", "copy", folder / "ab.mkv")
    return folder / "ab.mkv"


def _hidden_start(folder: Path) -> Path:
    source = _clip(folder / "long.mp4")
    run_ffmpeg("-ss", "0.2", "-i", source, "-c", "copy", folder / "cut.mp4")
    return folder / "cut.mp4"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: _clip(folder / "a.ts"), "Annex B"),
        (_joined_midway, "parameter sets of their own"),
        (_hidden_start, "not shown"),
        (lambda folder: _clip(folder / "a.mp4", "", "-pix_fmt", "yuv444p"), "4:4:4"),
    ],
)
def test_packets_that_cannot_be_copied_exactly_are_refused(
    make: Callable[[Path], Path], said: str, tmp_path: Path
) -> None:
    with pytest.raises(CopyRefusedError, match=said):
        read_index(make(tmp_path), 0)


def test_frames_that_are_no_packets_of_their_own_are_refused() -> None:
    index = _index([0], 4)
    require_same_times(index, [0, 1, 2, 3])
    for pts in ([0, 1, 2], [0, 1, 2, 4]):
        with pytest.raises(CopyRefusedError, match="one to one"):
            require_same_times(index, pts)


@pytest.mark.parametrize(
    ("starts", "touched", "num", "least", "wanted"),
    [
        ([0, 10, 20], [12], 30, 5, [(0, 10, True), (10, 20, False), (20, 30, True)]),
        ([0, 10, 20], [9, 10], 30, 5, [(0, 20, False), (20, 30, True)]),
        ([0, 10, 20], [], 30, 5, [(0, 30, True)]),
        ([0, 10, 20], [0, 15, 25], 30, 5, [(0, 30, False)]),
        # Too short to be worth it: between two encoded groups, not beside another copied one.
        ([0, 10, 14], [5, 20], 30, 5, [(0, 30, False)]),
        ([0, 10, 14, 18], [5], 30, 5, [(0, 10, False), (10, 30, True)]),
        # What comes before the first group, and a group that the result ends within.
        ([10, 20], [], 30, 5, [(0, 10, False), (10, 30, True)]),
        ([0, 10, 20], [], 27, 5, [(0, 20, True), (20, 27, False)]),
    ],
)
def test_whole_groups_without_a_touched_frame_are_copied(
    starts: list[int],
    touched: list[int],
    num: int,
    least: int,
    wanted: list[tuple[int, int, bool]],
) -> None:
    is_touched = np.isin(np.arange(num), touched)
    ranges = plan_ranges(is_touched, _index(starts, 30), least)
    assert [(one.start, one.stop, one.is_copied) for one in ranges] == wanted
    assert all(a.stop == b.start for a, b in pairwise(ranges))


@pytest.mark.parametrize(
    ("copied", "encoded", "wanted"),
    [(0, 100, False), (4, 96, False), (5, 95, True), (124, 9000, False), (125, 9000, True)],
)
def test_little_is_not_worth_two_kinds_of_packets(copied: int, encoded: int, wanted: bool) -> None:
    ranges = [
        FrameRange(start=0, stop=copied, is_copied=True),
        FrameRange(start=copied, stop=copied + encoded, is_copied=False),
    ]
    assert is_worthwhile(ranges, Fraction(25)) == wanted


def _encoder(path: Path, source: Path, index: PacketIndex) -> AvcConfiguration:
    """Parameter sets of the encoder beside a source."""
    options = EncodeOptions(output=Path("o.mp4"), threads=1, beside=match_for(index))
    with (
        av.open(str(source)) as container,
        FrameWriter(path, require_video(probe(source)), options) as writer,
    ):
        for number, frame in enumerate(container.decode(video=0)):
            writer.write(frame, number)
    return read_configuration(_record(path))


@pytest.mark.parametrize(
    ("words", "buffered"),
    [
        ("bframes=3", 4),
        ("bframes=3:ref=6", 6),
        ("bframes=3:ref=5:b-pyramid=strict", 5),
        ("bframes=1:ref=1", 2),
        ("bframes=0:ref=1", 1),
        ("bframes=0:ref=9", 9),
        ("keyint=1", 0),
    ],
)
def test_the_encoder_asks_for_as_many_buffered_frames(
    words: str, buffered: int, tmp_path: Path
) -> None:
    """Where the count changes, a decoder may drop frames that wait to be shown."""
    source = _clip(tmp_path / "a.mp4", words)
    index = read_index(source, 0)
    made = _encoder(tmp_path / "b.mov", source, index)
    joined_configuration(index.configuration, made, Fraction(1))
    both = (*index.configuration.parameters, *made.parameters)
    assert [one.num_buffered for one in both] == [buffered, buffered]


@pytest.mark.parametrize("profile", ["baseline", "main", "high", "high10", "high422"])
def test_the_encoders_sets_stand_beside_the_sources(profile: str, tmp_path: Path) -> None:
    pix_fmt = {"high10": "yuv420p10le", "high422": "yuv422p"}.get(profile, "yuv420p")
    source = _clip(tmp_path / "a.mp4", "", "-profile:v", profile, "-pix_fmt", pix_fmt)
    index = read_index(source, 0)
    made = _encoder(tmp_path / "b.mov", source, index)
    joined = joined_configuration(index.configuration, made, Fraction(1))
    again = read_configuration(joined.as_bytes())
    assert again.sequence_sets == {**index.configuration.sequence_sets, **made.sequence_sets}
    assert again.picture_sets == {**index.configuration.picture_sets, **made.picture_sets}
    assert len(again.sequence_sets) == 2
    assert again.profile == index.configuration.profile
    assert joined.free_number() == 2  # a dub of a dub finds another
    (own,) = made.parameters
    assert (own.num_reorder or 0) <= (index.configuration.parameters[0].num_reorder or 0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("-pix_fmt", "yuv422p"), "profile|chroma format"),
        (("-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709"), "colour"),
        (("-color_range", "pc"), "colour"),
        (("-vf", "setsar=4/3"), "pixel aspect"),
        (("-vf", "scale=80:48"), "size"),
    ],
)
def test_sets_that_players_would_trip_over_are_refused(
    changes: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    index = read_index(_clip(tmp_path / "a.mp4"), 0)
    other = read_configuration(_record(_clip(tmp_path / "b.mp4", "sps-id=1", *changes)))
    with pytest.raises(CopyRefusedError, match=said):
        joined_configuration(index.configuration, other, Fraction(1))


def _silent_set() -> bytes:
    """A sequence parameter set of 64x48 px in Main profile without its optional part."""
    numbers = {0: "1", 1: "010", 2: "011", 3: "00100"}  # ue(v)
    head = f"{77:08b}{0:08b}{10:08b}" + 4 * numbers[0]  # number 0, order of kind 0
    size = numbers[1] + "0" + numbers[3] + numbers[2]  # one reference, no gaps
    bits = head + size + "1100" + "1"  # frames alone, neither cropping nor optional part
    padded = bits.ljust(-(-len(bits) // 8) * 8, "0")
    return b"\x67" + int(padded, 2).to_bytes(len(padded) // 8, "big")


def test_reordering_of_unknown_depth_is_refused() -> None:
    sets = AvcConfiguration(
        profile=77,
        compatibility=0,
        level=10,
        sequence_sets={0: _silent_set()},
        picture_sets={0: b"\x68\xce\x3c\x80"},
    )
    (read,) = sets.parameters
    assert (read.size, read.num_reorder, read.sar) == (SIZE, None, 0)
    assert read.num_buffered == 16  # of level 1, 396 macroblocks
    index = replace(_index([0], 3), configuration=sets)
    assert match_for(index).num_reorder == 0  # in order, so nothing is to be told
    moved = replace(index, ranks=np.array([0, 2, 1], np.int64))
    with pytest.raises(CopyRefusedError, match="how deeply"):
        match_for(moved)


def test_a_file_that_lost_packets_meanwhile_is_refused(tmp_path: Path) -> None:
    path = _clip(tmp_path / "a.mp4", "bframes=0")
    run = read_index(path, 0).run(8, 24)
    clock = PictureClock(pts=np.arange(16, dtype=np.int64), end_pts=16, time_base=Fraction(1, 25))
    _clip(path, "bframes=0", frames=20)
    with pytest.raises(EncodeError, match="fewer pictures"):
        join_runs([run], path, tmp_path / "out.mov", clock)
    assert not (tmp_path / "out.mov").exists()
