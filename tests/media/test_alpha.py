"""Transparency: kept bit by bit up to the encoder, and through it where the family is lossless."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clips import run_ffmpeg
from joining import frames_of, join, planes_of
from numpy.typing import NDArray
from test_colour import PATCH, blended

from dubcli.media.container.probe import probe, require_video
from dubcli.media.video.pixel_conversion import to_format
from dubcli.media.video.video_encoders import has_alpha

# Every pixel and frame has a transparency of its own.
_ALPHA = "lum='lum(X,Y)':cb='cb(X,Y)':cr='cr(X,Y)':a='mod(X*3+Y*2+N*7,256)'"
SOURCE = f"testsrc2=s=96x80:r=25,format=yuva444p,geq={_ALPHA}"
LOSSLESS = {
    "prores.mov": ("prores_ks", "yuva444p10le", "-profile:v", "4444"),
    "xq.mov": ("prores_ks", "yuva444p10le", "-profile:v", "4444xq"),
    "rle.mov": ("qtrle", "argb"),
    "png.mov": ("png", "rgba"),
    "deep-png.mov": ("png", "rgba64be"),
    "rgb.mkv": ("ffv1", "bgra"),
    "yuv.mkv": ("ffv1", "yuva420p"),
    "deep.mkv": ("ffv1", "yuva444p10le"),
}
LOSSY = {
    "vp9.webm": ("libvpx-vp9", "yuva420p", "-b:v", "0", "-crf", "20"),
    "vp9.mkv": ("libvpx-vp9", "yuva420p", "-b:v", "0", "-crf", "20"),
    "vp8.webm": ("libvpx", "yuva420p", "-b:v", "5M", "-auto-alt-ref", "0"),
}


def transparent_clip(path: Path, encoder: str, pix_fmt: str, *more: str) -> Path:
    run_ffmpeg(
        *("-f", "lavfi", "-i", SOURCE, "-frames:v", "4", "-c:v", encoder, "-pix_fmt", pix_fmt),
        *(*more, path),
    )
    return path


def transparency(path: Path) -> list[NDArray[np.int64]]:
    """Alpha of each frame as stored."""
    found: list[NDArray[np.int64]] = []
    for frame in frames_of(path):
        assert has_alpha(frame.format.name), frame.format.name
        planes = planes_of(frame)
        if len(planes) > 1:
            found.append(planes[3])
            continue
        letters = frame.format.name.replace("64be", "")
        found.append(planes[0][:, letters.index("a") :: 4])
    return found


@pytest.mark.parametrize("name", LOSSLESS)
def test_it_is_bit_identical_where_the_family_is_lossless_in_it(name: str, tmp_path: Path) -> None:
    source = transparent_clip(tmp_path / name, *LOSSLESS[name])
    result = join(source, edit=blended)
    before, after = require_video(probe(source)), require_video(probe(result.output))
    assert result.output.suffix == source.suffix
    assert (after.codec, after.profile) == (before.codec, before.profile)
    assert after.pix_fmt == before.pix_fmt
    pairs = zip(transparency(source), transparency(result.output), strict=True)
    assert all(np.array_equal(old, new) for old, new in pairs)
    assert np.ptp(transparency(source)[0]) > 200
    assert not any("ransparency" in note for note in result.notes)
    middle = (PATCH.y + 8, PATCH.x + 8)
    old, new = (planes_of(frames_of(path)[0])[0] for path in (source, result.output))
    assert (old[middle[0], 4 * middle[1] :] != new[middle[0], 4 * middle[1] :]).any() or (
        old[middle] != new[middle]
    ).any()


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("name", LOSSY)
def test_vp8_and_vp9_keep_it(name: str, lossless: bool, tmp_path: Path) -> None:
    source = transparent_clip(tmp_path / name, *LOSSY[name])
    if lossless and name != "vp9.webm":
        output = tmp_path / "out.mkv"  # FFV1
    else:
        output = source.with_name(f"out{source.suffix}")
    result = join(source, output, lossless=lossless)
    video = require_video(probe(result.output))
    assert video.pix_fmt == require_video(probe(source)).pix_fmt == "yuva420p"
    if not lossless:
        assert video.codec == require_video(probe(source)).codec
    for old, new in zip(transparency(source), transparency(result.output), strict=True):
        assert np.abs(old - new).mean() < (1e-9 if lossless else 4)
    assert not any("ransparency" in note for note in result.notes)


@pytest.mark.parametrize(
    ("name", "output"),
    [("vp9.webm", "out.mp4"), ("prores.mov", "out.mp4"), ("rgb.mkv", "out.mp4")],
)
def test_what_cannot_hold_it_says_so(name: str, output: str, tmp_path: Path) -> None:
    source = transparent_clip(tmp_path / name, *(LOSSLESS | LOSSY)[name])
    result = join(source, tmp_path / output)
    assert not has_alpha(require_video(probe(result.output)).pix_fmt)
    assert any("Transparency was dropped" in note for note in result.notes)


def test_a_webm_without_transparency_says_so_nowhere(tmp_path: Path) -> None:
    source = transparent_clip(tmp_path / "in.webm", *LOSSY["vp9.webm"])
    flat = join(source, tmp_path / "flat.mp4").output
    again = join(flat, tmp_path / "again.webm")
    assert require_video(probe(again.output)).pix_fmt == "yuv420p"
    assert b"ALPHA_MODE" not in again.output.read_bytes()


def test_pictures_for_analysis_are_opaque(tmp_path: Path) -> None:
    from dubcli.media.video.frame_reader import FrameReader

    source = transparent_clip(tmp_path / "in.webm", *LOSSY["vp9.webm"])
    with FrameReader(source, probe(source), 1) as reader:
        assert next(iter(reader.frames())).image.shape == (80, 96, 3)


@pytest.mark.parametrize("name", ["vp9.webm", "vp9.mkv"])
def test_any_order_of_frames_shows_the_same_transparency(name: str, tmp_path: Path) -> None:
    from dubcli.media.video.frame_reader import FrameReader

    source = tmp_path / name
    encoder, pix_fmt, *more = LOSSY[name]
    run_ffmpeg(
        *("-f", "lavfi", "-i", SOURCE, "-frames:v", "120", "-c:v", encoder, "-pix_fmt", pix_fmt),
        *(*more, "-cpu-used", "8", "-deadline", "realtime", "-g", "20", source),
    )
    truth = transparency(source)
    with FrameReader(source, probe(source), 1) as reader:
        assert sum(1 for _ in reader.native_frames()) == 120
        order = [100, 101, 99, 70, 0]
        for wanted, native in zip(order, reader.native_sequence(order), strict=True):
            assert np.array_equal(planes_of(native.frame)[3], truth[wanted])


def test_twelve_bits_become_ten_without_noise(tmp_path: Path) -> None:
    """ProRes 4444 decodes to 12 bits and is encoded from 10: opaque stays opaque."""
    source = tmp_path / "in.mov"
    run_ffmpeg(
        *("-f", "lavfi", "-i", "color=gray:s=96x80:r=25,format=yuva444p10le", "-frames:v", "2"),
        *("-c:v", "prores_ks", "-profile:v", "4444", source),
    )
    frame = frames_of(source)[0]
    assert frame.format.name == "yuva444p12le"
    made = planes_of(to_format(frame, "yuva444p10le"))
    assert made[3].min() == 1023
    old = planes_of(frame)
    assert all(np.abs(made[n] * 4 - old[n]).max() <= 2 for n in range(3))
    assert transparency(join(source).output)[0].min() == 4095
