from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from dubcli.core.errors import DecodeError
from dubcli.core.types import FramePatch
from dubcli.media.video.native_frame import NativeFrame
from dubcli.media.video.pixel_layout import pixel_layout, reachable_format

WIDTH, HEIGHT = 37, 29  # odd: cells at the right and lower edge are incomplete
SPACE_BT709, SPACE_BT601, SPACE_BT2020, LIMITED, FULL = 1, 5, 9, 1, 2
FORMATS = (
    "yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuv410p", "nv12", "nv21",
    "nv16", "nv24", "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p10be", "yuv420p12le",
    "yuv444p12le", "yuv444p16le", "yuv420p16le", "p010le", "p016le", "p210le", "yuva420p",
    "yuva444p10le", "gray", "gray10le", "gray16le", "ya8", "rgb24", "bgr24", "rgba", "bgra", "argb",
    "0rgb", "rgb48le", "rgba64le", "gbrp", "gbrap", "gbrp10le", "gbrp12le", "gbrp16le",
)  # fmt: skip
Planes = list[NDArray[np.int64]]


def _samples(frame: av.VideoFrame) -> Planes:
    """Every stored sample of every plane, alpha too, without line padding and unused low bits."""
    layout = pixel_layout(frame.format.name)
    assert layout is not None
    planes: Planes = []
    for number, plane in enumerate(frame.planes):
        is_chroma = layout.kind == "yuv" and number in (1, 2)
        shift_x, shift_y = layout.chroma_shift if is_chroma else (0, 0)
        step = max((c.step for c in layout.components if c.plane == number), default=1)
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        width, height = -(-frame.width >> shift_x), -(-frame.height >> shift_y)
        used = rows[:height, : width * step * layout.dtype.itemsize].view(layout.dtype)
        planes.append(used.reshape(height, width, step).astype(np.int64) >> layout.shift)
    return planes


def _noise_frame(name: str, low: float = 0.4, high: float = 0.6) -> NativeFrame:
    """Random samples whose RGB lies inside the cube, so nothing needs clipping."""
    layout = pixel_layout(name)
    assert layout is not None
    rng = np.random.default_rng(5)
    frame = av.VideoFrame(WIDTH, HEIGHT, name)
    for plane in frame.planes:
        stored = np.frombuffer(memoryview(plane), np.uint8).view(layout.dtype)
        bounds = (int(layout.maximum * low), int(layout.maximum * high))
        stored[:] = rng.integers(*bounds, stored.shape).astype(layout.dtype) << layout.shift
    return _native(frame)


def _native(frame: av.VideoFrame, space: int = SPACE_BT709, span: int = LIMITED) -> NativeFrame:
    frame.colorspace, frame.color_range = space, span
    frame.pts, frame.time_base = 7, Fraction(1, 90)
    return NativeFrame(3, 7, Fraction(1, 90), frame)


def _patch(x: int, y: int, alpha: NDArray[Any], rgb: NDArray[Any] | float = 0.5) -> FramePatch:
    picture = np.broadcast_to(np.asarray(rgb, np.float32), (*alpha.shape, 3))
    return FramePatch(x=x, y=y, rgb=picture, alpha=alpha.astype(np.float32))


def _frame_alpha(patch: FramePatch) -> NDArray[np.float64]:
    """The patch's alpha over the whole frame."""
    alpha = np.zeros((HEIGHT, WIDTH))
    for row in range(patch.alpha.shape[0]):
        for column in range(patch.alpha.shape[1]):
            y, x = patch.y + row, patch.x + column
            if 0 <= y < HEIGHT and 0 <= x < WIDTH:
                alpha[y, x] = patch.alpha[row, column]
    return alpha


def _cell_alpha(alpha: NDArray[np.float64], shift: tuple[int, int]) -> NDArray[np.float64]:
    """Largest alpha of each chroma cell: 0 exactly where the cell lies outside the support."""
    wide, high = 1 << shift[0], 1 << shift[1]
    rows, columns = -(-HEIGHT // high), -(-WIDTH // wide)
    cells = [
        [alpha[r * high : (r + 1) * high, c * wide : (c + 1) * wide].max() for c in range(columns)]
        for r in range(rows)
    ]
    return np.array(cells)


def _ring(height: int, width: int) -> NDArray[np.float32]:
    """A feathered disc: 1 inside, 0 in the corners."""
    y, x = np.mgrid[:height, :width]
    radius = np.hypot((y - height / 2) / height, (x - width / 2) / width)
    return np.clip(2.2 - 5 * radius, 0, 1).astype(np.float32)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("x", "y"), [(7, 5), (-6, -9), (25, 20), (8, 6)])
def test_outside_the_support_every_sample_is_the_sources(name: str, x: int, y: int) -> None:
    native = _noise_frame(name)
    layout = pixel_layout(name)
    assert layout is not None
    before = _samples(native.frame)
    patch = _patch(x, y, _ring(17, 21))
    rgb = patch.rgb.copy()
    rgb[patch.alpha == 0] = np.nan  # nobody promised anything there
    out = native.blend(FramePatch(x=x, y=y, rgb=rgb, alpha=patch.alpha))
    after = _samples(out.frame)
    alpha = _frame_alpha(patch)
    touched = [set() for _ in after]
    for number, component in enumerate(layout.components):
        is_chroma = layout.kind == "yuv" and number > 0
        weight = _cell_alpha(alpha, layout.chroma_shift) if is_chroma else alpha
        old = before[component.plane][..., component.offset]
        new = after[component.plane][..., component.offset]
        assert np.array_equal(old[weight == 0], new[weight == 0])
        touched[component.plane].add(component.offset)
    for plane, (old, new) in enumerate(zip(before, after, strict=True)):
        for offset in set(range(old.shape[-1])) - touched[plane]:
            assert np.array_equal(old[..., offset], new[..., offset]), "an alpha plane changed"


@pytest.mark.parametrize("name", FORMATS)
def test_source_frame_is_not_altered_and_tags_are_kept(name: str) -> None:
    native = _noise_frame(name)
    before = _samples(native.frame)
    out = native.blend(_patch(2, 2, np.ones((9, 9)), 0.9))
    assert all(map(np.array_equal, before, _samples(native.frame)))
    assert any(not np.array_equal(a, b) for a, b in zip(before, _samples(out.frame), strict=True))
    assert (out.index, out.pts, out.time_base) == (3, 7, Fraction(1, 90))
    assert (out.frame.pts, out.frame.format.name) == (7, name)
    assert (out.frame.colorspace, out.frame.color_range) == (SPACE_BT709, LIMITED)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("span", [LIMITED, FULL])
def test_blending_a_region_onto_itself_changes_less_than_one_8_bit_step(
    name: str, span: int
) -> None:
    native = _native(_noise_frame(name).frame, SPACE_BT709, span)
    layout = pixel_layout(name)
    assert layout is not None
    region = native.rgb_region(-3, -4, 50, 40)
    out = native.blend(_patch(-3, -4, np.ones((40, 50)), region / 255))
    step = (layout.maximum + 1) / 256
    for old, new in zip(_samples(native.frame), _samples(out.frame), strict=True):
        assert np.abs(old - new).max() <= step


@pytest.mark.parametrize(
    ("name", "space", "span", "rgb", "expected"),
    [
        ("yuv420p", SPACE_BT601, LIMITED, (1, 0, 0), (81, 90, 240)),
        ("yuv420p", SPACE_BT709, LIMITED, (1, 0, 0), (63, 102, 240)),
        ("nv12", SPACE_BT709, LIMITED, (0, 1, 0), (173, 42, 26)),
        ("yuv444p", SPACE_BT601, FULL, (1, 0, 0), (76, 85, 255)),
        ("yuv422p", SPACE_BT709, FULL, (1, 1, 1), (255, 128, 128)),
        ("yuv420p10le", SPACE_BT709, LIMITED, (1, 1, 1), (940, 512, 512)),
        ("yuv420p10le", SPACE_BT2020, LIMITED, (0, 0, 1), (116, 960, 476)),
        ("p010le", SPACE_BT709, LIMITED, (0, 0, 0), (64, 512, 512)),
        ("yuv444p12le", SPACE_BT709, FULL, (1, 1, 1), (4095, 2048, 2048)),
    ],
)
def test_colours_become_the_codes_of_the_standard(
    name: str, space: int, span: int, rgb: tuple[int, int, int], expected: tuple[int, int, int]
) -> None:
    native = _native(_noise_frame(name).frame, space, span)
    picture = np.broadcast_to(np.array(rgb, np.float32), (HEIGHT, WIDTH, 3))
    out = native.blend(_patch(0, 0, np.ones((HEIGHT, WIDTH)), picture))
    layout = pixel_layout(name)
    assert layout is not None
    planes = _samples(out.frame)
    for component, value in zip(layout.components, expected, strict=True):
        assert set(planes[component.plane][..., component.offset].flat) == {value}
    assert np.abs(out.rgb_region(0, 0, WIDTH, HEIGHT) / 255 - picture).max() <= 1.5 / 255


@pytest.mark.parametrize(("name", "step"), [("yuv420p10le", 4), ("gbrp16le", 256)])
def test_depth_beyond_8_bits_is_kept(name: str, step: int) -> None:
    native = _noise_frame(name)
    ramp = np.linspace(0.40, 0.42, WIDTH, dtype=np.float32)
    picture = np.broadcast_to(ramp[None, :, None], (HEIGHT, WIDTH, 3))
    out = native.blend(_patch(0, 0, np.ones((HEIGHT, WIDTH)), picture))
    luma = _samples(out.frame)[0][0, :, 0]
    assert len(set(luma)) > 3 * len(set(luma // step))


def test_chroma_weight_is_the_mean_of_its_cell() -> None:
    native = _noise_frame("yuv420p", 0.5, 0.51)
    alpha = np.zeros((4, 4))
    alpha[1, 1] = 1.0  # one of the four pixels of a cell
    out = native.blend(_patch(5, 5, alpha, np.array([1, 0, 0], np.float32)))
    before, after = _samples(native.frame), _samples(out.frame)
    assert after[0][6, 6, 0] == 63
    assert after[2][3, 3, 0] == round(0.75 * before[2][3, 3, 0] + 0.25 * 240)
    assert (after[2] != before[2]).sum() == 1


def test_incomplete_cells_at_the_edge_count_only_what_exists() -> None:
    native = _noise_frame("yuv420p", 0.5, 0.51)
    alpha = np.ones((1, 1))  # the frame's last pixel, alone in its cell
    out = native.blend(_patch(WIDTH - 1, HEIGHT - 1, alpha, np.array([1, 0, 0], np.float32)))
    planes = _samples(out.frame)
    assert [int(plane[-1, -1, 0]) for plane in planes] == [63, 102, 240]


@pytest.mark.parametrize("place", [(-40, 0), (0, -40), (WIDTH, 0), (0, HEIGHT), (500, 500)])
def test_patch_beside_the_frame_does_nothing(place: tuple[int, int]) -> None:
    native = _noise_frame("yuv420p")
    assert native.blend(_patch(*place, np.ones((9, 9)))) is native
    assert native.blend(_patch(3, 3, np.zeros((9, 9)))) is native


@pytest.mark.parametrize("name", ["yuv420p", "nv12", "gbrp", "gray"])
def test_region_outside_the_frame_repeats_its_edge(name: str) -> None:
    native = _noise_frame(name)
    whole = native.rgb_region(0, 0, WIDTH, HEIGHT)
    rows = np.clip(np.arange(-5, 40), 0, HEIGHT - 1)
    columns = np.clip(np.arange(-8, 52), 0, WIDTH - 1)
    wide = native.rgb_region(-8, -5, 60, 45)
    assert np.array_equal(wide, whole[rows][:, columns])
    assert np.array_equal(native.rgb_region(11, 9, 13, 7), whole[9:16, 11:24])
    assert np.all(native.rgb_region(-90, -90, 4, 3) == whole[0, 0])
    assert np.all(native.rgb_region(90, 90, 4, 3) == whole[-1, -1])


def test_untagged_video_follows_its_height() -> None:
    for height, luma in ((480, 81), (720, 63)):
        frame = av.VideoFrame(8, height, "yuv444p")
        frame.pts = 0
        native = NativeFrame(0, 0, Fraction(1, 25), frame)
        red = np.array([1, 0, 0], np.float32)
        out = native.blend(_patch(0, 0, np.ones((2, 2)), red))
        assert _samples(out.frame)[0][0, 0, 0] == luma


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("yuyv422", "yuv422p"), ("uyvy422", "yuv422p"), ("rgb565le", "rgb24"), ("monow", "gray")],
)
def test_formats_out_of_reach_go_through_their_nearest(name: str, nearest: str) -> None:
    assert reachable_format(name) == nearest
    grey = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 255, np.uint8), "rgb24")
    native = _native(grey.reformat(format=name))
    assert np.all(native.rgb_region(0, 0, 16, 16) >= 250)
    out = native.blend(_patch(0, 0, np.ones((4, 4)), 0.0))
    assert out.frame.format.name == nearest
    region = out.rgb_region(0, 0, 16, 16)
    assert region[:4, :4].max() <= 2
    assert region[4:, 4:].min() >= 250


def test_format_without_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no samples in memory"):
        reachable_format("cuda")
    monkeypatch.setattr("dubcli.media.video.native_frame.pixel_layout", lambda name: None)
    monkeypatch.setattr("dubcli.media.video.native_frame.reachable_format", lambda name: "cuda")
    with pytest.raises(DecodeError, match=r"yuv420p cannot be edited\. Convert"):
        _noise_frame("yuv420p").rgb_region(0, 0, 4, 4)


def test_malformed_requests_are_refused() -> None:
    native = _noise_frame("yuv420p")
    with pytest.raises(ValueError, match="region"):
        native.rgb_region(0, 0, 0, 5)
    rgb, alpha = np.zeros((3, 3, 3), np.float32), np.ones((2, 3), np.float32)
    bad = FramePatch(x=0, y=0, rgb=rgb, alpha=alpha)
    with pytest.raises(ValueError, match="patch"):
        native.blend(bad)
