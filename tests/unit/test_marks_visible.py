"""The mark that viewers see: where it is, and that nothing else changes."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from dubcli.core.types import VideoStreamInfo
from dubcli.media.video.native_frame import NativeFrame
from dubcli.media.video.spaces import coded_to_display
from dubcli.provenance.visible import CORNERS, choose_corners, draw, with_mark

# Bytes that a plane has for each of its pixels.
BYTES = {
    "yuv420p": (1, 1, 1),
    "yuv444p": (1, 1, 1),
    "yuv422p10le": (2, 2, 2),
    "nv12": (1, 2),
    "rgb24": (3,),
}
BOXES = np.array([(80, 90, 99, 99), (1, 90, 20, 99), (80, 1, 99, 10), (1, 1, 20, 10)], np.float32)


def _video(width: int, height: int, **changes: Any) -> VideoStreamInfo:
    facts: dict[str, Any] = {
        **{"index": 0, "codec": "h264", "width": width, "height": height},
        **{"frame_rate": Fraction(25), "time_base": Fraction(1, 25), "start_pts": 0},
        **{"num_frames_from_header": None, "sar": Fraction(1), "rotation_deg": 0},
        **{"pix_fmt": "yuv420p", "color_space": 1, "color_range": 1},
        **{"color_transfer": 1, "color_primaries": 1},
    }
    return VideoStreamInfo(**facts | changes)


def _frame(width: int, height: int, pix_fmt: str) -> NativeFrame:
    rng = np.random.default_rng(3)
    picture = rng.integers(60, 120, (height, width, 3), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=pix_fmt)
    return NativeFrame(index=0, pts=0, time_base=Fraction(1, 25), frame=frame)


def _planes(native: NativeFrame) -> list[np.ndarray[Any, Any]]:
    """The bytes of each plane. Shape (h, w, bytes)."""
    found = []
    for number, plane in enumerate(native.frame.planes):
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        each = BYTES[native.frame.format.name][number]
        used = rows[: plane.height, : plane.width * each]
        found.append(used.reshape(plane.height, plane.width, each))
    return found


@pytest.mark.parametrize("pix_fmt", sorted(BYTES))
@pytest.mark.parametrize("corner", range(4))
def test_nothing_outside_the_mark_changes(pix_fmt: str, corner: int) -> None:
    native, video = _frame(320, 180, pix_fmt), _video(320, 180)
    drawing = draw(video, coded_to_display(video))
    (marked,) = with_mark([native], [corner], drawing)
    x0, y0, x1, y1 = drawing.boxes[corner].astype(int).tolist()
    for before, after in zip(_planes(native), _planes(marked), strict=True):
        high, wide = 180 // before.shape[0], 320 // before.shape[1]
        differs = np.zeros(before.shape[:2], np.bool_)
        inside = (slice(y0 // high, -(-y1 // high)), slice(x0 // wide, -(-x1 // wide)))
        differs[inside] = True
        assert np.array_equal(before[~differs], after[~differs])
        assert not np.array_equal(before[inside], after[inside])


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("size", [(640, 360), (360, 640), (64, 48), (33, 17)])
@pytest.mark.parametrize("sar", [Fraction(1), Fraction(4, 3)])
def test_it_stands_upright_in_the_corner_that_viewers_see(
    rotation: int, size: tuple[int, int], sar: Fraction
) -> None:
    video = _video(*size, rotation_deg=rotation, sar=sar)
    matrix = coded_to_display(video)
    drawing = draw(video, matrix)
    width, height = video.display_size
    for corner, patch in zip(CORNERS, drawing.patches, strict=True):
        ys, xs = np.nonzero(patch.alpha > 0)
        spots = np.stack([xs + patch.x, ys + patch.y], 1) @ matrix[:, :2].T + matrix[:, 2]
        assert (spots >= -1).all()
        assert (spots <= (width, height)).all()
        middle = spots.mean(0)
        assert (middle[1] > height / 2) == corner.startswith("bottom")
        assert (middle[0] > width / 2) == corner.endswith("right")
        spread = np.ptp(spots, axis=0)
        assert spread[0] > spread[1]  # a line of words, not a column
        assert np.isfinite(patch.rgb).all()
        assert patch.alpha.max() <= 1


def test_it_stays_inside_what_a_player_shows() -> None:
    video = _video(320, 192, crop=(10, 20, 4, 8))
    boxes = draw(video, coded_to_display(video)).boxes
    assert boxes[:, 0].min() >= 10
    assert boxes[:, 1].min() >= 4
    assert boxes[:, 2].max() <= 300
    assert boxes[:, 3].max() <= 184


def test_it_is_small_and_can_be_read() -> None:
    for width, height in ((1920, 1080), (1080, 1920), (640, 480)):
        video = _video(width, height)
        drawing = draw(video, coded_to_display(video))
        x0, y0, x1, y1 = drawing.boxes[0].tolist()
        assert 10 <= y1 - y0 < 0.05 * max(width, height)
        assert (x1 - x0) * (y1 - y0) < 0.01 * width * height
        ink = drawing.patches[0].rgb
        assert ink.max() > 0.9 > 0.1 > ink.min()


def test_high_dynamic_range_white_does_not_glare() -> None:
    bright = [
        draw(_video(640, 360, color_transfer=transfer), coded_to_display(_video(640, 360)))
        .patches[0]
        .rgb.max()
        for transfer in (1, 16, 18)
    ]
    assert bright[1] < bright[2] < bright[0]
    assert bright[1] <= 0.6


def test_it_keeps_away_from_mouths_and_moves_only_at_cuts() -> None:
    shot = np.array([0] * 10 + [1] * 10 + [2] * 5)
    nowhere = np.tile(np.array([[40, 40, 60, 60]], np.float32), (25, 1))
    assert choose_corners(BOXES, [(0, nowhere)], shot).tolist() == [0] * 25
    mouth = nowhere.copy()
    mouth[12] = (85, 85, 95, 95)  # comes into the corner for a frame of the second shot
    chosen = choose_corners(BOXES, [(0, mouth)], shot)
    assert chosen[10:20].tolist() == [1] * 10
    assert chosen[:10].tolist() == [1] * 10  # where it serves the whole video
    other = np.tile(np.array([[5, 92, 10, 96]], np.float32), (3, 1))
    chosen = choose_corners(BOXES, [(0, mouth), (22, other)], shot)
    assert CORNERS[chosen[15]] == "top right"
    assert chosen[22] not in (0, 1)


def test_mouths_everywhere_leave_the_corner_where_they_are_least() -> None:
    huge = np.tile(np.array([[0, 0, 100, 100]], np.float32), (6, 1))
    huge[2:] = (0, 50, 100, 100)
    assert choose_corners(BOXES, [(0, huge)], np.zeros(6, np.int64)).tolist() == [2] * 6
