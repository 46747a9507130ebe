from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from dubcli.core.types import F64, VideoStreamInfo
from dubcli.media.video.spaces import coded_to_display

WIDTH, HEIGHT = 64, 36
PLAIN = VideoStreamInfo(
    index=0,
    codec="h264",
    width=WIDTH,
    height=HEIGHT,
    frame_rate=Fraction(25),
    time_base=Fraction(1, 12800),
    start_pts=0,
    num_frames_from_header=None,
    sar=Fraction(1),
    rotation_deg=0,
    pix_fmt="yuv420p",
    color_space=1,
    color_range=1,
    color_transfer=1,
    color_primaries=1,
)


def shown(video: VideoStreamInfo, x: float, y: float) -> list[float]:
    matrix: F64 = coded_to_display(video)
    return np.round(matrix[:, :2] @ (x, y) + matrix[:, 2], 9).tolist()


def test_plain_video_is_shown_as_it_is_stored() -> None:
    np.testing.assert_allclose(coded_to_display(PLAIN), [[1, 0, 0], [0, 1, 0]], atol=1e-12)


@pytest.mark.parametrize(
    ("clockwise", "top_left", "top_right"),
    [
        (90, [HEIGHT - 1, 0], [HEIGHT - 1, WIDTH - 1]),
        (180, [WIDTH - 1, HEIGHT - 1], [0, HEIGHT - 1]),
        (270, [0, WIDTH - 1], [0, 0]),
    ],
)
def test_corners_go_where_the_turn_takes_them(
    clockwise: int, top_left: list[float], top_right: list[float]
) -> None:
    video = replace(PLAIN, rotation_deg=clockwise)
    assert shown(video, 0, 0) == top_left
    assert shown(video, WIDTH - 1, 0) == top_right


@pytest.mark.parametrize("clockwise", [0, 90, 180, 270])
@pytest.mark.parametrize("sar", [Fraction(1), Fraction(16, 11), Fraction(1, 2)])
def test_the_picture_fills_the_display(clockwise: int, sar: Fraction) -> None:
    video = replace(PLAIN, rotation_deg=clockwise, sar=sar)
    edges = [shown(video, x, y) for x in (-0.5, WIDTH - 0.5) for y in (-0.5, HEIGHT - 0.5)]
    width, height = video.display_size
    assert np.min(edges, 0).tolist() == [-0.5, -0.5]
    assert np.max(edges, 0).tolist() == [width - 0.5, height - 0.5]
    # Never mirrored.
    assert np.linalg.det(coded_to_display(video)[:, :2]) > 0
