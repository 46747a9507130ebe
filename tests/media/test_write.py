from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from dubcli.core.errors import EncodeError
from dubcli.core.types import VideoStreamInfo
from dubcli.media.video.frame_writer import EncodeOptions, FrameWriter
from dubcli.media.video.video_encoders import choose_encoder

BT709, BT2020, PQ, BT2020_NCL = 1, 9, 16, 9
UNSPECIFIED = 2
LIMITED, FULL = 1, 2


def _stream(**changes: Any) -> VideoStreamInfo:
    facts: dict[str, Any] = {
        "index": 0,
        "codec": "h264",
        "width": 64,
        "height": 48,
        "frame_rate": Fraction(25),
        "time_base": Fraction(1, 90000),
        "start_pts": 0,
        "num_frames_from_header": None,
        "sar": Fraction(1),
        "rotation_deg": 0,
        "pix_fmt": "yuv420p",
        "color_space": BT709,
        "color_range": LIMITED,
        "color_transfer": BT709,
        "color_primaries": BT709,
    }
    return VideoStreamInfo(**facts | changes)


def _frames(stream: VideoStreamInfo, count: int) -> Iterator[av.VideoFrame]:
    rows, columns = np.arange(stream.height), np.arange(stream.width)
    for number in range(count):
        ramp = (rows[:, None] * 2 + columns[None] * 3 + number * 5) % 256
        picture = np.stack([ramp, ramp[::-1], ramp[:, ::-1]], axis=2).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        yield frame.reformat(format=stream.pix_fmt)


def _write(
    path: Path, stream: VideoStreamInfo, pts: list[int], options: EncodeOptions
) -> FrameWriter:
    with FrameWriter(path, stream, options) as writer:
        for frame, time in zip(_frames(stream, len(pts)), pts, strict=True):
            writer.write(frame, time)
    return writer


def _read(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def _times(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        return [Fraction(f.pts or 0) * (f.time_base or 0) for f in container.decode(video=0)]


VARIABLE = [0, 1, 37, 40, 90, 91, 200, 260, 333, 400, 401, 500, 560, 600, 777, 800, 801, 900]


@pytest.mark.parametrize("start", [0, 7, 48_000])
@pytest.mark.parametrize(
    ("time_base", "step"),
    [
        (Fraction(1, 90_000), 90),
        (Fraction(1, 1000), 1),
        (Fraction(1, 12_800), 13),
        (Fraction(1, 30_000), 33),
        (Fraction(1001, 30_000), 1),
        (Fraction(1, 10_000_000), 12_345),
        (Fraction(1, 25), 1),
    ],
)
def test_every_frame_keeps_its_own_time(
    time_base: Fraction, step: int, start: int, tmp_path: Path
) -> None:
    pts = [start + step * value for value in VARIABLE]
    options = EncodeOptions(output=Path("o.mp4"), crf=30, preset="medium")  # reorders frames
    path = tmp_path / "out.mov"
    _write(path, _stream(time_base=time_base), pts, options)
    assert _times(path) == [value * time_base for value in pts]


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "output", "encoder"),
    [
        ("h264", "yuv420p", "o.mp4", "libx264"),
        ("h264", "yuv422p10le", "o.mp4", "libx264"),
        ("hevc", "yuv420p10le", "o.mp4", "libx265"),
        ("av1", "yuv420p10le", "o.mkv", "libsvtav1"),
        ("vp9", "yuv444p", "o.webm", "libvpx-vp9"),
        ("vp8", "yuv420p", "o.webm", "libvpx"),
        ("prores", "yuv422p10le", "o.mov", "prores_ks"),
        ("ffv1", "yuv420p", "o.mkv", "ffv1"),
        ("mpeg1video", "yuv420p", "o.mp4", "libx264"),
        ("mjpeg", "yuvj420p", "o.mp4", "libx264"),
    ],
)
def test_codec_family_size_and_pixel_format_are_kept(
    codec: str, pix_fmt: str, output: str, encoder: str, tmp_path: Path
) -> None:
    stream = _stream(codec=codec, pix_fmt=pix_fmt, width=96, height=80, time_base=Fraction(1, 1000))
    path = tmp_path / "out.bin"
    pts = [40 * number for number in range(6)]
    writer = _write(path, stream, pts, EncodeOptions(output=Path(output)))
    frames = _read(path)
    assert (writer.encoder, writer.num_frames) == (encoder, 6)
    is_old = codec in ("mpeg1video", "mjpeg")
    assert writer.notes == ([f"The video is h264 now; it was {codec}."] if is_old else [])
    assert (frames[0].width, frames[0].height) == (96, 80)
    assert frames[0].format.name == pix_fmt
    assert _times(path) == [Fraction(value, 1000) for value in pts]


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "output", "encoder", "written"),
    [
        ("vp9", "yuv422p10le", "o.mkv", "libx265", "yuv422p10le"),
        ("av1", "yuv444p12le", "o.mp4", "libx265", "yuv444p12le"),
        ("vp9", "yuv420p12le", "o.webm", "libsvtav1", "yuv420p10le"),
        ("prores", "yuva444p12le", "o.mov", "prores_ks", "yuva444p10le"),
        ("prores", "yuv444p12le", "o.mkv", "prores_ks", "yuv444p10le"),
        ("gif", "bgra", "o.mp4", "libx264", "yuv444p"),
        ("qtrle", "argb", "o.mkv", "ffv1", "bgra"),
        ("png", "pal8", "o.mov", "png", "rgb24"),
    ],
)
def test_where_no_encoder_of_the_family_fits_the_least_is_lost(
    codec: str, pix_fmt: str, output: str, encoder: str, written: str
) -> None:
    stream = _stream(codec=codec, pix_fmt=pix_fmt, width=96, height=80)
    found = choose_encoder(stream, EncodeOptions(output=Path(output)))
    assert found[:2] == (encoder, written)
    assert found[2]


@pytest.mark.parametrize(
    ("codec", "tags"),
    [
        ("h264", (BT709, LIMITED, BT709, BT709)),
        ("h264", (BT709, FULL, BT709, BT709)),
        ("hevc", (BT2020_NCL, LIMITED, PQ, BT2020)),
        ("h264", (UNSPECIFIED, 0, UNSPECIFIED, UNSPECIFIED)),
    ],
)
def test_colour_tags_and_pixel_shape_reach_the_file(
    codec: str, tags: tuple[int, int, int, int], tmp_path: Path
) -> None:
    stream = _stream(
        codec=codec,
        width=96,
        height=80,
        sar=Fraction(16, 11),
        color_space=tags[0],
        color_range=tags[1],
        color_transfer=tags[2],
        color_primaries=tags[3],
    )
    path = tmp_path / "out.mov"
    _write(path, stream, [0, 3600, 7200], EncodeOptions(output=Path("o.mp4")))
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        frame = next(container.decode(video))
        assert video.sample_aspect_ratio == Fraction(16, 11)
    found = (frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries)
    assert found == tags


@pytest.mark.parametrize(
    ("pix_fmt", "output"),
    [
        ("yuv420p", "o.mp4"),
        ("yuv420p10le", "o.mp4"),
        ("yuv420p10le", "o.mkv"),
        ("yuv420p", "o.webm"),
    ],
)
def test_lossless_returns_the_very_samples(pix_fmt: str, output: str, tmp_path: Path) -> None:
    stream = _stream(pix_fmt=pix_fmt)
    path = tmp_path / "out.bin"
    written = [frame.to_ndarray() for frame in _frames(stream, 5)]
    pts = [3600 * number for number in range(5)]
    _write(path, stream, pts, EncodeOptions(output=Path(output), lossless=True))
    read = [frame.to_ndarray() for frame in _read(path)]
    assert all(np.array_equal(a, b) for a, b in zip(written, read, strict=True))


@pytest.mark.parametrize(
    "options",
    [
        EncodeOptions(output=Path("o.mp4"), lossless=True),
        EncodeOptions(output=Path("o.mp4"), crf=0),
    ],
)
def test_lossless_h264_predicts_nothing(options: EncodeOptions, tmp_path: Path) -> None:
    """In predicted frames of some videos single samples would be one off."""
    path = tmp_path / "out.mov"
    _write(path, _stream(), [3600 * number for number in range(5)], options)
    assert all(frame.key_frame for frame in _read(path))


def test_default_quality_is_visually_lossless(tmp_path: Path) -> None:
    stream = _stream()
    path = tmp_path / "out.mov"
    written = [frame.to_ndarray().astype(float) for frame in _frames(stream, 5)]
    _write(path, stream, [3600 * n for n in range(5)], EncodeOptions(output=Path("o.mp4")))
    errors = [np.mean((a - b.to_ndarray()) ** 2) for a, b in zip(written, _read(path), strict=True)]
    assert 10 * np.log10(255**2 / max(errors)) > 40


@pytest.mark.parametrize("size", [(65, 48), (64, 49), (65, 49)])
def test_odd_sizes_are_kept_and_the_new_format_is_said(
    size: tuple[int, int], tmp_path: Path
) -> None:
    stream = _stream(codec="mjpeg", width=size[0], height=size[1])
    path = tmp_path / "out.mov"
    writer = _write(path, stream, [0, 3600], EncodeOptions(output=Path("o.mp4")))
    frame = _read(path)[0]
    assert (frame.width, frame.height) == size
    assert frame.format.name in ("yuv422p", "yuv444p")
    assert f"yuv420p to {frame.format.name}" in writer.notes[0]


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9"])
def test_tiny_pictures_work(codec: str, tmp_path: Path) -> None:
    stream = _stream(codec=codec, width=16, height=16)
    path = tmp_path / "out.mov"
    _write(path, stream, [0, 3600, 7200], EncodeOptions(output=Path("o.mp4")))
    assert [(frame.width, frame.height) for frame in _read(path)] == [(16, 16)] * 3


def test_the_source_does_not_choose_key_frames(tmp_path: Path) -> None:
    stream = _stream()
    path = tmp_path / "out.mov"
    with FrameWriter(path, stream, EncodeOptions(output=Path("o.mp4"))) as writer:
        for number, frame in enumerate(_frames(stream, 6)):
            frame.pict_type = 1  # intra, as a frame from an intra-only source says
            writer.write(frame, 3600 * number)
    with av.open(str(path)) as container:
        keys = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
    assert keys.count(True) == 1


def test_the_last_frame_keeps_its_length(tmp_path: Path) -> None:
    stream = _stream()
    path = tmp_path / "out.mov"
    with FrameWriter(path, stream, EncodeOptions(output=Path("o.mp4"))) as writer:
        for number, frame in enumerate(_frames(stream, 3)):
            frame.duration = 9000 if number == 2 else 3600
            writer.write(frame, 3600 * number)
    with av.open(str(path)) as container:
        assert container.streams.video[0].duration == 2 * 3600 + 9000


@pytest.mark.parametrize("name", ["-x.mov", 'a\'b "c".mov', "new\nline.mov", "ü%d.mov", "a:b.mov"])
def test_any_file_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _write(Path(name), _stream(), [0, 3600], EncodeOptions(output=Path("o.mp4")))
    assert [item.name for item in tmp_path.iterdir()] == [name]


def test_times_that_do_not_rise_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "out.mov"
    with pytest.raises(EncodeError, match="not after"):
        _write(path, _stream(), [0, 3600, 3600], EncodeOptions(output=Path("o.mp4")))
    assert not path.exists()


def test_a_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.mov"
    with (
        pytest.raises(EncodeError, match="32x32"),
        FrameWriter(path, _stream(), EncodeOptions(output=Path("o.mp4"))) as writer,
    ):
        writer.write(av.VideoFrame(32, 32, "yuv420p"), 0)
    assert not path.exists()


def test_no_frame_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "out.mov"
    with pytest.raises(EncodeError, match="No frame"):
        _write(path, _stream(), [], EncodeOptions(output=Path("o.mp4")))
    assert not path.exists()


@pytest.mark.parametrize("parent", ["missing", "file"])
def test_a_folder_that_cannot_be_written_names_the_next_step(parent: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(EncodeError, match=r"cannot be written.*Choose a folder"):
        FrameWriter(tmp_path / parent / "x.mov", _stream(), EncodeOptions(output=Path("o.mp4")))


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.mov"

    def interrupted() -> None:
        with FrameWriter(path, _stream(), EncodeOptions(output=Path("o.mp4"))) as writer:
            writer.write(next(_frames(_stream(), 1)), 0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not path.exists()


_FILL_DISK = """
    import errno, resource, sys
    from fractions import Fraction
    from pathlib import Path
    import av
    import numpy as np
    from dubcli.core.errors import EncodeError
    from dubcli.media.video.frame_writer import EncodeOptions, FrameWriter
    from dubcli.core.types import VideoStreamInfo

    stream = VideoStreamInfo(
        index=0, codec="ffv1", width=256, height=256, frame_rate=Fraction(25),
        time_base=Fraction(1, 1000), start_pts=0, num_frames_from_header=None, sar=Fraction(1),
        rotation_deg=0, pix_fmt="yuv420p", color_space=1, color_range=1, color_transfer=1,
        color_primaries=1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    noise = np.random.default_rng(0).integers(0, 255, (384, 256), dtype=np.uint8)
    try:
        with FrameWriter(Path("big.bin"), stream, EncodeOptions(output=Path("o.mkv"))) as writer:
            for number in range(20):
                writer.write(av.VideoFrame.from_ndarray(noise, format="yuv420p"), number * 40)
    except EncodeError as error:
        print(error)
    print(Path("big.bin").exists())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limit on this system")
def test_a_file_that_cannot_grow_is_an_error_and_is_removed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_FILL_DISK)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == ["False"], done.stderr
    assert "big.bin" in done.stdout


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9", "prores", "ffv1"])
def test_very_short_clips(codec: str, count: int, tmp_path: Path) -> None:
    pix_fmt = "yuv422p10le" if codec == "prores" else "yuv420p"
    stream = _stream(codec=codec, pix_fmt=pix_fmt, width=96, height=80)
    path = tmp_path / "out.mov"
    pts = [3600 * number for number in range(count)]
    _write(path, stream, pts, EncodeOptions(output=Path("o.mkv")))
    assert _times(path) == [Fraction(value, 90_000) for value in pts]


@pytest.mark.parametrize("codec", ["hevc", "av1"])
def test_encoders_print_nothing(codec: str, tmp_path: Path, capfd: Any) -> None:
    stream = _stream(codec=codec, width=96, height=80)
    _write(tmp_path / "out.mov", stream, [0, 3600], EncodeOptions(output=Path("o.mp4")))
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or not Path("/proc/self/task").is_dir(),
    reason="only root on Linux may have real-time threads",
)
def test_an_encoder_does_not_take_the_machine_from_everybody_else(tmp_path: Path) -> None:
    """SVT-AV1 makes threads real-time, the caller's too, which starve every other process."""
    stream = _stream(codec="av1", width=96, height=80, time_base=Fraction(1, 1000))
    path = tmp_path / "out.mkv"
    writer = _write(path, stream, [0, 40, 80], EncodeOptions(output=path))
    assert writer.encoder == "libsvtav1"
    threads = [int(name) for name in os.listdir("/proc/self/task")]
    assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_OTHER}
