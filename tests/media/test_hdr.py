"""HDR10, HLG and their metadata: what goes in comes out."""

from __future__ import annotations

import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import run_ffmpeg
from joining import frames_of, join, planes_of

from dubcli.media.container.boxes import add_boxes
from dubcli.media.container.concat import join_segments
from dubcli.media.container.probe import probe, require_video
from dubcli.media.video.frame_writer import EncodeOptions, FrameWriter

# BT.2020 primaries and D65 in 1/50000, 1000 and 0.005 cd/m².
MASTERING = (8500, 39850, 6550, 2300, 35400, 14600, 15635, 16450, 10_000_000, 50)
LIGHT = (1000, 400)
PQ, HLG, BT2020, BT2020_NCL, LIMITED = 16, 18, 9, 9, 1
_X265 = (
    "log-level=error:hdr10=1:max-cll=1000,400:master-display=G(8500,39850)B(6550,2300)"
    "R(35400,14600)WP(15635,16450)L(10000000,50)"
)


def hdr_clip(path: Path, transfer: str = "smpte2084", frames: int = 4) -> Path:
    """A 10-bit clip with mastering metadata in its bit stream."""
    tags = f"setparams=color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc:range=tv"
    run_ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=s=96x80:r=25", "-frames:v", str(frames)),
        *("-vf", f"format=yuv420p10le,{tags}", "-c:v", "libx265", "-x265-params", _X265),
        *("-bf", "0", path),
    )
    return path


def in_codec(path: Path, encoder: str, pix_fmt: str, *more: str) -> Path:
    """The same pictures by an encoder whose bit stream may know no mastering metadata."""
    source = hdr_clip(path.with_name("hevc.mp4"))
    run_ffmpeg("-i", source, "-c:v", encoder, "-pix_fmt", pix_fmt, *more, path)
    return path


def _facts(path: Path) -> tuple[Any, ...]:
    video = require_video(probe(path))
    colours = (video.color_primaries, video.color_transfer, video.color_space, video.color_range)
    return (video.pix_fmt, colours, video.mastering, video.light_level)


def test_metadata_is_read_from_the_first_frame(tmp_path: Path) -> None:
    colours = (BT2020, PQ, BT2020_NCL, LIMITED)
    assert _facts(hdr_clip(tmp_path / "in.mp4")) == ("yuv420p10le", colours, MASTERING, LIGHT)


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_hdr10_and_hlg_come_out_as_they_went_in(suffix: str, transfer: str, tmp_path: Path) -> None:
    source = hdr_clip(tmp_path / f"in{suffix}", transfer)
    result = join(source)
    assert result.encoder == "libx265"
    assert result.output.suffix == suffix
    assert _facts(result.output) == _facts(source)
    assert _facts(source)[1][1] == (PQ if transfer == "smpte2084" else HLG)
    assert [note for note in result.notes if "metadata" in note] == []


@pytest.mark.parametrize(
    ("encoder", "pix_fmt", "name"),
    [
        ("libx264", "yuv420p10le", "in.mp4"),
        ("libsvtav1", "yuv420p10le", "in.mp4"),
        ("libsvtav1", "yuv420p10le", "in.webm"),
        ("prores_ks", "yuv422p10le", "in.mov"),
        ("ffv1", "yuv420p10le", "in.mkv"),
        ("libvpx-vp9", "yuv420p", "in.webm"),
    ],
)
def test_metadata_is_kept_in_every_family(
    encoder: str, pix_fmt: str, name: str, tmp_path: Path
) -> None:
    source = in_codec(tmp_path / name, encoder, pix_fmt)
    assert _facts(source)[2:] == (MASTERING, LIGHT)
    result = join(source)
    assert (result.encoder, _facts(result.output)) == (encoder, _facts(source))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libsvtav1"])
def test_metadata_lies_in_the_bit_stream_too(encoder: str, suffix: str, tmp_path: Path) -> None:
    """Players of a broadcast, or of the packets cut out, see no container."""
    source = in_codec(tmp_path / "in.mkv", encoder, "yuv420p10le", "-x265-params", _X265)
    result = join(source, tmp_path / f"out{suffix}")
    bare = tmp_path / ("bare.obu" if encoder == "libsvtav1" else "bare.ts")
    run_ffmpeg("-i", result.output, "-map", "0:v", "-c", "copy", bare)
    assert _facts(bare)[2:] == (MASTERING, LIGHT)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_metadata_lies_in_the_container_too(suffix: str, tmp_path: Path) -> None:
    source = in_codec(tmp_path / "in.mkv", "libx264", "yuv420p10le")
    data = join(source, tmp_path / f"out{suffix}").output.read_bytes()
    if suffix == ".mp4":
        box = struct.pack(">I4s8HII", 32, b"mdcv", *MASTERING)
        assert data.count(box) == 1
        assert data.count(struct.pack(">I4s2H", 12, b"clli", *LIGHT)) == 1
    else:
        # MaxCLL, MaxFALL and MasteringMetadata of RFC 9559.
        assert b"\x55\xbc\x82" + struct.pack(">H", LIGHT[0]) in data
        assert b"\x55\xbd\x82" + struct.pack(">H", LIGHT[1]) in data
        assert b"\x55\xd0" in data


def test_video_without_metadata_gets_none(tmp_path: Path) -> None:
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=96x80:d=0.2", tmp_path / "in.mp4")
    result = join(tmp_path / "in.mp4")
    assert _facts(result.output)[2:] == (None, None)
    assert b"mdcv" not in result.output.read_bytes()


def test_light_level_alone_is_kept(tmp_path: Path) -> None:
    run_ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=s=96x80:d=0.2", "-pix_fmt", "yuv420p10le"),
        *("-c:v", "libx265", "-x265-params", "log-level=error:max-cll=600,0:hdr10=1"),
        tmp_path / "in.mp4",
    )
    assert _facts(tmp_path / "in.mp4")[2:] == (None, (600, 0))
    assert _facts(join(tmp_path / "in.mp4").output)[2:] == (None, (600, 0))


@pytest.mark.parametrize("encoder", ["libx265", "libsvtav1", "prores_ks"])
def test_joined_segments_keep_it(encoder: str, tmp_path: Path) -> None:
    pix_fmt = "yuv422p10le" if encoder == "prores_ks" else "yuv420p10le"
    more = ("-x265-params", _X265) if encoder == "libx265" else ()
    source = in_codec(tmp_path / "in.mkv", encoder, pix_fmt, *more)
    stream = replace(require_video(probe(source)), crop=(2, 4, 6, 8))
    frames, parts = frames_of(source), [tmp_path / "a.mov", tmp_path / "b.mov"]
    options = EncodeOptions(output=tmp_path / "out.mkv", threads=1)
    for part, chosen in zip(parts, (frames[:2], frames[2:]), strict=True):
        with FrameWriter(part, stream, options) as writer:
            for frame in chosen:
                writer.write(frame, frame.pts or 0)
    whole = tmp_path / "whole.mov"
    pts = np.array([frame.pts for frame in frames], np.int64)
    join_segments(parts, whole, pts, int(pts[-1]) + 40, Fraction(1, 1000))
    assert _facts(whole)[2:] == (MASTERING, LIGHT)
    assert require_video(probe(whole)).crop == (2, 4, 6, 8)


def test_hdr10_plus_is_announced(tmp_path: Path) -> None:
    source, stream = hdr_clip(tmp_path / "plain.mp4"), tmp_path / "plain.hevc"
    run_ffmpeg("-i", source, "-c", "copy", "-bsf:v", "hevc_mp4toannexb", stream)
    (tmp_path / "in.hevc").write_bytes(_with_hdr10_plus(stream.read_bytes()))
    dynamic = tmp_path / "in.mkv"
    raw = ("-fflags", "+genpts", "-r", "25", "-i", tmp_path / "in.hevc")
    run_ffmpeg(*raw, "-c", "copy", dynamic)
    assert require_video(probe(dynamic)).dynamic_hdr == ("HDR10+",)
    _announced(dynamic, "HDR10+")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_dolby_vision_is_announced(suffix: str, tmp_path: Path) -> None:
    source = hdr_clip(tmp_path / "in.mp4")
    # Version 1.0, profile 8.1, level 1, with dynamic metadata and a base layer of HDR10.
    record = struct.pack(">2BHB", 1, 0, 8 << 9 | 1 << 3 | 0b101, 1 << 4).ljust(24, b"\0")
    add_boxes(source, struct.pack(">I4s", 32, b"dvvC") + record)
    if suffix == ".mkv":
        run_ffmpeg("-i", source, "-c", "copy", "-strict", "-2", tmp_path / "in.mkv")
        source = tmp_path / "in.mkv"
    assert require_video(probe(source)).dynamic_hdr == ("Dolby Vision",)
    _announced(source, "Dolby Vision")


def _announced(source: Path, kind: str) -> None:
    result = join(source, source.with_name("out.mkv"))
    assert any(kind in note and "dropped" in note for note in result.notes)
    assert require_video(probe(result.output)).dynamic_hdr == ()
    assert _facts(result.output)[2:] == (MASTERING, LIGHT)


def _with_hdr10_plus(stream: bytes) -> bytes:
    """The same HEVC pictures, each with metadata of its own (Annex B)."""
    made = b""
    for unit in stream.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]:
        if unit[0] >> 1 & 63 < 32:
            made += b"\0\0\0\1" + _hdr10_plus()
        made += b"\0\0\0\1" + unit
    return made


def _hdr10_plus() -> bytes:
    """A prefix SEI with the least that SMPTE ST 2094-40 asks for."""
    bits = "1" * 0
    fields = [(1, 2), (10_000, 27), (0, 1)]  # windows, target luminance, its actual peaks
    fields += [(5000, 17)] * 3 + [(1000, 17)]  # maxscl, average_maxrgb
    fields += [(9, 4)] + [item for n in range(9) for item in ((n * 10, 7), (n * 1000, 17))]
    fields += [(0, 10), (0, 1), (0, 1), (0, 1)]
    bits += "".join(f"{value:0{width}b}" for value, width in fields)
    bits += "0" * (-len(bits) % 8)
    body = int(bits, 2).to_bytes(len(bits) // 8, "big")
    payload = b"\xb5\x00\x3c\x00\x01\x04\x01" + body
    sei = bytes([4, len(payload)]) + payload + b"\x80"
    return b"\x4e\x01" + _escaped(sei)


def _escaped(data: bytes) -> bytes:
    made, zeros = bytearray(), 0
    for value in data:
        if zeros >= 2 and value <= 3:
            made.append(3)
            zeros = 0
        made.append(value)
        zeros = zeros + 1 if value == 0 else 0
    return bytes(made)


def test_ten_bits_are_pasted_without_loss_in_the_same_transfer(tmp_path: Path) -> None:
    """A lossless result differs from the source only under the patch, by what the patch says."""
    from test_colour import PATCH, blended, outside

    source = hdr_clip(tmp_path / "in.mkv")
    result = join(source, tmp_path / "out.mkv", edit=blended, lossless=True)
    for before, after in zip(frames_of(source), frames_of(result.output), strict=True):
        for old, new in zip(planes_of(before), planes_of(after), strict=True):
            hidden = outside(old.shape, (80, 96))
            assert np.array_equal(old[hidden], new[hidden])
            assert (old != new).any()
        # A mid grey of code value 0.5 in the file's own transfer, not tone-mapped.
        luma = planes_of(after)[0][PATCH.y + 8, PATCH.x + 8]
        assert luma == round(64 + 876 * 0.5)
    assert _facts(result.output) == _facts(source)


def test_container_metadata_survives_a_second_pass(tmp_path: Path) -> None:
    source = in_codec(tmp_path / "in.mov", "prores_ks", "yuv422p10le")
    again = join(join(source, tmp_path / "one.mov").output, tmp_path / "two.mov")
    assert _facts(again.output) == _facts(source)
    with av.open(str(again.output)) as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == "prores"
