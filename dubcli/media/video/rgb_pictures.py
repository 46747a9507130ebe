"""Decoded frames as pictures for analysis: RGB, upright, no larger than wanted."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from dubcli.core.types import U8
from dubcli.media.video.pixel_layout import is_full_range, matrix_index, pixel_layout


class PictureMaker:
    """Turns decoded frames into upright RGB pictures; keeps libav's scaler between calls.

    Args:
        size: Width, height to scale to, before the turn, px.
        rotation_deg: Clockwise turn, multiple of 90.
    """

    def __init__(self, size: tuple[int, int], rotation_deg: int) -> None:
        self._size = size
        self._turns = -(rotation_deg // 90)  # numpy counts counter-clockwise
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> U8:
        """The frame's picture. Shape (h, w, 3), uint8."""
        layout = pixel_layout(frame.format.name)
        colors: dict[str, int] = {}
        if layout is not None and layout.kind == "yuv":
            colors["src_colorspace"] = matrix_index(frame)
            colors["src_color_range"] = 2 if is_full_range(frame, layout) else 1
            colors["dst_color_range"] = 2
        same_size = (frame.width, frame.height) == self._size
        rgb = self._reformatter.reformat(
            frame,
            width=self._size[0],
            height=self._size[1],
            format="rgb24",
            interpolation=Interpolation.BILINEAR if same_size else Interpolation.AREA,
            **colors,
        )
        return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), self._turns), dtype=np.uint8)


def reduced_size(size: tuple[int, int], max_side: int | None) -> tuple[int, int]:
    """Width and height with the longer side at most `max_side`, shape kept as well as possible.

    One scale serves both axes, so of the sizes slightly below the limit that one is taken whose
    shorter side comes closest to a whole number.
    """
    longer, shorter = max(size), min(size)
    if max_side is None or longer <= max_side:
        return size

    def misfit(side: int) -> float:
        exact = Fraction(shorter * side, longer)
        return float(abs(exact - max(1, round(exact))))

    candidates = range(max_side, max(1, max_side - max_side // 16) - 1, -1)
    side = min(candidates, key=misfit)
    other = max(1, round(Fraction(shorter * side, longer)))
    return (side, other) if size[0] >= size[1] else (other, side)
