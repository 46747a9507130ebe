"""Every combination of matrix, range, subsampling and depth: samples and tags are kept."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from clips import run_ffmpeg
from joining import frames_of, join, planes_of
from numpy.typing import NDArray

from dubcli.core.types import FramePatch
from dubcli.media.container.probe import probe, require_video
from dubcli.media.video.native_frame import NativeFrame

SIDE = 64
# Name of ffmpeg's tags, and code points of primaries, transfer and matrix (ISO/IEC 23091-2).
SPACES = {
    "bt601": ("smpte170m", "smpte170m", "smpte170m", 6, 6, 6),
    "bt709": ("bt709", "bt709", "bt709", 1, 1, 1),
    "bt2020": ("bt2020", "bt2020-10", "bt2020nc", 9, 14, 9),
}
RANGES = {"tv": 1, "pc": 2}
PATCH = FramePatch(
    x=6,
    y=5,
    rgb=np.full((17, 15, 3), 0.5, np.float32),
    alpha=np.ones((17, 15), np.float32),
)


def blended(native: NativeFrame) -> NativeFrame:
    """The frame with a grey patch."""
    return native.blend(PATCH)


def outside(shape: tuple[int, ...], size: tuple[int, int] = (SIDE, SIDE)) -> NDArray[np.bool_]:
    """Samples of a plane that no pixel of the patch touches; `size` is the frame's, (h, w)."""
    high, wide = size[0] // shape[0], size[1] // shape[1]
    touched = np.zeros(size, bool)
    height, width = PATCH.alpha.shape
    touched[PATCH.y : PATCH.y + height, PATCH.x : PATCH.x + width] = True
    return ~np.asarray(touched.reshape(shape[0], high, shape[1], wide).any((1, 3)), np.bool_)


def tagged_clip(path: Path, space: str, range_: str, pix_fmt: str, *encoder: str) -> Path:
    """Two frames with colour tags; lossless unless an encoder is named."""
    primaries, transfer, matrix = SPACES[space][:3]
    tags = f"color_primaries={primaries}:color_trc={transfer}:colorspace={matrix}:range={range_}"
    lossless = ("-c:v", "libx264", "-qp", "0")
    if pix_fmt.endswith("12le"):
        lossless = ("-c:v", "libx265", "-x265-params", "log-level=error:lossless=1")
    run_ffmpeg(
        *("-f", "lavfi", "-i", f"testsrc2=s={SIDE}x{SIDE}:r=25", "-frames:v", "2"),
        *("-vf", f"scale=out_range={range_},format={pix_fmt},setparams={tags}"),
        *(encoder or lossless),
        path,
    )
    return path


def _tags(path: Path) -> tuple[int, int, int, int]:
    video = require_video(probe(path))
    return (video.color_primaries, video.color_transfer, video.color_space, video.color_range)


COMBINATIONS = list(
    itertools.product(SPACES, RANGES, ("420", "422", "444"), ("p", "p10le", "p12le"))
)


@pytest.mark.parametrize(("space", "range_", "chroma", "depth"), COMBINATIONS)
def test_samples_outside_the_paste_and_tags_are_kept(
    space: str, range_: str, chroma: str, depth: str, tmp_path: Path
) -> None:
    pix_fmt = f"yuv{chroma}{depth}"
    source = tagged_clip(tmp_path / "in.mkv", space, range_, pix_fmt)
    wanted = (*SPACES[space][3:], RANGES[range_])
    assert _tags(source) == wanted
    result = join(source, tmp_path / "out.mkv", edit=blended, lossless=True)
    assert _tags(result.output) == wanted
    for before, after in zip(frames_of(source), frames_of(result.output), strict=True):
        # Full range of 8 bits has a name of its own in libav, which only some codecs use.
        names = {frame.format.name.replace("yuvj", "yuv") for frame in (before, after)}
        assert names == {pix_fmt}
        for old, new in zip(planes_of(before), planes_of(after), strict=True):
            hidden = outside(old.shape)
            assert np.array_equal(old[hidden], new[hidden])
            assert (old[~hidden] != new[~hidden]).any()
        bits = {"p": 8, "p10le": 10, "p12le": 12}[depth]
        low, span = (0, 2**bits - 1) if range_ == "pc" else (16 << bits - 8, 219 << bits - 8)
        assert abs(planes_of(after)[0][PATCH.y + 8, PATCH.x + 8] - (low + span / 2)) <= 0.5


@pytest.mark.parametrize("range_", RANGES)
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(
    ("codec", "pix_fmt", "suffix", "encoder"),
    [
        ("libx264", "yuv420p", ".mp4", "libx264"),
        ("libx264", "yuv422p10le", ".mov", "libx264"),
        ("libx264", "yuv444p", ".mkv", "libx264"),
        ("libx265", "yuv420p12le", ".mp4", "libx265"),
        ("libx265", "yuv444p10le", ".mkv", "libx265"),
        ("libvpx-vp9", "yuv444p", ".webm", "libvpx-vp9"),
        ("libsvtav1", "yuv420p10le", ".mp4", "libsvtav1"),
        ("prores_ks", "yuv422p10le", ".mov", "prores_ks"),
    ],
)
def test_family_format_and_tags_are_kept_by_default(
    codec: str, pix_fmt: str, suffix: str, encoder: str, space: str, range_: str, tmp_path: Path
) -> None:
    if codec == "prores_ks" and range_ == "pc":
        range_ = "tv"  # the format has no full range
    more = {"libx265": ("-x265-params", "log-level=error")}.get(codec, ())
    source = tmp_path / f"in{suffix}"
    tagged_clip(source, space, range_, pix_fmt, "-c:v", codec, *more)
    result = join(source)
    assert result.encoder == encoder
    assert result.output.suffix == suffix
    before, after = require_video(probe(source)), require_video(probe(result.output))
    assert (after.codec, after.pix_fmt) == (before.codec, before.pix_fmt)
    assert _tags(result.output) == _tags(source)
    for old, new in zip(frames_of(source), frames_of(result.output), strict=True):
        peak = (1 << old.format.components[0].bits) - 1
        error = np.mean((planes_of(old)[0] - planes_of(new)[0]) ** 2)
        assert 10 * np.log10(peak**2 / max(error, 1e-9)) > 34
