"""What is read of H.265 packets before they are copied, and what becomes of the encoder's."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import ClipSpec, make_clip
from libde265_decoder import find_libde265, libde265_digests
from numpy.typing import NDArray

from dubcli.media.container.concat import PictureClock, join_runs, run_of
from dubcli.media.container.probe import probe, require_video
from dubcli.media.packet_copy.copy_plan import match_for
from dubcli.media.packet_copy.hevc_configuration import HevcConfiguration, read_hevc_configuration
from dubcli.media.packet_copy.hevc_packets import HevcPackets
from dubcli.media.packet_copy.packet_index import CopyRefusedError, read_index
from dubcli.media.packet_copy.spliced_sets import spliced_sets
from dubcli.media.video.frame_writer import EncodeOptions, FrameWriter

FRAMES, GROUP = 24, 8


def _clip(path: Path, words: str = "", *options: str, size: tuple[int, int] = (96, 72)) -> Path:
    own = f"log-level=none:pools=1:min-keyint={GROUP}:scenecut=0:open-gop=0"
    parameters = f"{own}:{words}" if words else own
    chosen = ("-preset", "superfast", "-x265-params", parameters, *options)
    return make_clip(
        path, ClipSpec(size=size, frames=FRAMES, codec="libx265", gop=GROUP, options=chosen)
    )


def _configuration(path: Path) -> HevcConfiguration:
    with av.open(str(path)) as container:
        return read_hevc_configuration(container.streams.video[0].codec_context.extradata)


@pytest.mark.parametrize(
    ("words", "options", "reorder"),
    [
        ("bframes=4", (), 2),
        ("bframes=4:b-pyramid=0", (), 1),
        ("bframes=0", (), 0),
        ("bframes=4:ref=5:scaling-list=default", (), 2),
        ("bframes=2:vbv-maxrate=900:vbv-bufsize=900:hrd=1", (), 2),
        ("bframes=2", ("-pix_fmt", "yuv420p10le"), 2),
        ("bframes=2:temporal-layers=2", (), 2),
    ],
)
def test_a_sequence_parameter_set_is_read_as_libav_reads_it(
    words: str, options: tuple[str, ...], reorder: int, tmp_path: Path
) -> None:
    tags = ("-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709")
    path = _clip(tmp_path / "a.mp4", words, *tags, *options)
    (read,) = _configuration(path).parameters
    video = require_video(probe(path))
    assert (read.number, read.num_reorder, read.is_progressive) == (0, reorder, True)
    assert read.num_buffered > reorder
    assert read.size == (video.width, video.height)
    assert read.color[1:] == (video.color_primaries, video.color_transfer, video.color_space)
    assert read.bit_depths == ((10, 10) if "10le" in video.pix_fmt else (8, 8))
    assert (read.chroma_format, read.profile) == (1, 2 if "10le" in video.pix_fmt else 1)


@pytest.mark.parametrize("sar", ["1/1", "4/3", "88/85"])
def test_crop_and_pixel_aspect_are_read(sar: str, tmp_path: Path) -> None:
    (read,) = _configuration(
        _clip(tmp_path / "a.mp4", "", "-vf", f"setsar={sar}", size=(98, 70))
    ).parameters
    assert read.size == (104, 72)
    assert read.crop == (0, 3, 0, 1)  # in pairs of samples
    assert read.sar == Fraction(sar)


def test_a_record_is_written_as_it_was_read(tmp_path: Path) -> None:
    path = _clip(tmp_path / "a.mp4")
    with av.open(str(path)) as container:
        record = container.streams.video[0].codec_context.extradata or b""
    again = read_hevc_configuration(read_hevc_configuration(record).as_bytes())
    assert again == read_hevc_configuration(record)
    for cut in (4, 22, 30, 60):
        with pytest.raises(ValueError, match=r"parameter set|Annex B"):
            read_hevc_configuration(record[:cut])


def test_groups_begin_at_pictures_that_nothing_refers_across(tmp_path: Path) -> None:
    index = read_index(_clip(tmp_path / "closed.mp4", "bframes=3"), 0)
    assert index.starts.tolist() == [0, 8, 16]
    opened = read_index(_clip(tmp_path / "open.mp4", "bframes=3:open-gop=1"), 0)
    assert opened.starts.tolist() == [0]


def test_parameter_sets_in_packets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CopyRefusedError, match="of their own"):
        read_index(_clip(tmp_path / "a.mp4", "repeat-headers=1"), 0)
    with pytest.raises(CopyRefusedError, match="Annex B"):
        read_index(_clip(tmp_path / "a.ts"), 0)


def test_a_unit_without_a_whole_header_is_damage(tmp_path: Path) -> None:
    path = _clip(tmp_path / "a.mp4")
    with av.open(str(path)) as container:
        packets = HevcPackets(container.streams.video[0].codec_context.extradata)
    with pytest.raises(ValueError, match="damaged"):
        packets.begins_group(memoryview(b"\0\0\0\1\x26"))


def _encoded_beside(source: Path, target: Path) -> None:
    """The source's frames, encoded as beside its packets."""
    index = read_index(source, 0)
    options = EncodeOptions(output=Path("o.mp4"), threads=1, beside=match_for(index))
    with (
        av.open(str(source)) as container,
        FrameWriter(target, require_video(probe(source)), options) as writer,
    ):
        for number, frame in enumerate(container.decode(video=0)):
            writer.write(frame, number)


def _pictures(path: Path) -> list[NDArray[Any]]:
    with av.open(str(path)) as container:
        return [np.asarray(frame.to_ndarray()) for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("bframes=4:ref=4", ()),
        ("bframes=4:b-pyramid=0", ()),
        ("bframes=0:ref=1", ()),
        ("slices=3:ctu=16", ()),
        ("", ("-pix_fmt", "yuv420p10le")),
    ],
)
def test_pictures_that_name_other_parameter_sets_decode_as_before(
    words: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    source, made = _clip(tmp_path / "a.mp4", words, *options), tmp_path / "b.mov"
    _encoded_beside(source, made)
    own = read_index(source, 0).configuration
    sets = spliced_sets(own, made, Fraction(1))
    joined = read_hevc_configuration(sets.extradata)
    assert [len(of) for of in (joined.video_sets, joined.sequence_sets)] == [2, 2]
    assert isinstance(own, HevcConfiguration)
    assert joined.picture_sets.items() > own.picture_sets.items()
    facts = [replace(one, number=0, profile=0) for one in joined.parameters]
    assert facts[0] == facts[1]  # also how many frames are buffered and reordered
    run = replace(run_of(made, like=made), rewrite=sets.rewrite)
    clock = PictureClock(
        pts=np.arange(FRAMES, dtype=np.int64), end_pts=FRAMES, time_base=Fraction(1, 25)
    )
    target = tmp_path / "c.mov"
    join_runs([run], made, target, clock, sets.extradata)
    before, after = _pictures(made), _pictures(target)
    assert len(before) == FRAMES
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
    library = find_libde265()
    if library is not None:
        assert libde265_digests(library, target) == libde265_digests(library, made)


def test_sets_that_players_would_trip_over_are_refused(tmp_path: Path) -> None:
    own = _configuration(_clip(tmp_path / "a.mp4"))
    changes = {
        "profile": ("-pix_fmt", "yuv420p10le"),
        "colour": ("-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709"),
        "pixel aspect": ("-vf", "setsar=4/3"),
        "size": ("-vf", "scale=120:72"),
    }
    for said, options in changes.items():
        other = _clip(tmp_path / "b.mov", "bframes=1", *options)
        with pytest.raises(CopyRefusedError, match=said):
            spliced_sets(own, other, Fraction(1))
    deep = _clip(tmp_path / "c.mov", "bframes=4:ref=6")
    with pytest.raises(CopyRefusedError, match="buffered"):
        spliced_sets(own, deep, Fraction(1))


def test_a_source_that_uses_all_numbers_is_refused(tmp_path: Path) -> None:
    made = _clip(tmp_path / "a.mov")
    own = _configuration(made)
    taken = {number: b"" for number in range(31)}
    with pytest.raises(CopyRefusedError, match="no number free"):
        spliced_sets(replace(own, picture_sets=taken), made, Fraction(1))


def test_a_dub_of_a_dub_finds_other_numbers(tmp_path: Path) -> None:
    source = _clip(tmp_path / "a.mp4")
    _encoded_beside(source, tmp_path / "b.mov")
    own = _configuration(source)
    once = read_hevc_configuration(spliced_sets(own, tmp_path / "b.mov", Fraction(1)).extradata)
    twice = read_hevc_configuration(spliced_sets(once, tmp_path / "b.mov", Fraction(1)).extradata)
    assert len(twice.picture_sets) == len(twice.sequence_sets) == len(twice.video_sets) == 3


def test_second_layers_are_refused(tmp_path: Path) -> None:
    record = bytearray(_configuration(_clip(tmp_path / "a.mp4")).as_bytes())
    at = 23 + 3 + 2  # the first video parameter set
    record[at + 1] |= 1 << 3  # nuh_layer_id
    with pytest.raises(ValueError, match="second view or layer"):
        read_hevc_configuration(bytes(record))
