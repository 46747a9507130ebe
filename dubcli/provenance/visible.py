"""A small mark that viewers see, in a corner where no mouth is. Everything else stays as it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dubcli.core.types import F32, F64, FramePatch, Int, VideoStreamInfo
from dubcli.media.video.native_frame import NativeFrame

# The first one that is free is taken.
CORNERS = ("bottom right", "bottom left", "top right", "top left")
_WORDS = ("AI dubbed", "AI")
# Shares of the shorter side, and least px.
_HEIGHT, _LEAST_HEIGHT, _MARGIN = 0.035, 10, 0.015
_MOST_WIDTH, _MOST_HEIGHT = 0.45, 0.4
_PLATE_ALPHA, _TEXT_ALPHA = 0.45, 0.9
_FINER = 8
# Code values that show as white, by transfer: PQ and HLG keep room for lights above it
# (203 cd/m², ITU-R BT.2408).
_WHITE = {16: 0.58, 18: 0.75}


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """The mark as it is blended in, for each of `CORNERS`.

    Attributes:
        boxes: x0, y0, x1, y1 of it, display px. Shape (4, 4).
        patches: The same, coded px.
    """

    boxes: F32
    patches: tuple[FramePatch, ...]


def draw(video: VideoStreamInfo, coded_to_display: F64) -> Drawing:
    """Draw the mark for a video.

    Args:
        video: Size, turn, crop and transfer.
        coded_to_display: Coded px to display px, pixel centres at integers. Shape (2, 3).
    """
    left, top, right, bottom = _shown(video, coded_to_display)
    width, height = right - left, bottom - top
    alpha, ink = _plate(width, height)
    high, wide = alpha.shape
    margin = round(_MARGIN * min(width, height))
    xs, ys = (right - margin - wide, left + margin), (bottom - margin - high, top + margin)
    white = _WHITE.get(video.color_transfer, 0.92)
    places = [(xs[0], ys[0]), (xs[1], ys[0]), (xs[0], ys[1]), (xs[1], ys[1])]
    boxes = np.array([(x, y, x + wide, y + high) for x, y in places], np.float32)
    patches = [_patch(alpha, ink * white, place, video, coded_to_display) for place in places]
    return Drawing(boxes=boxes, patches=tuple(patches))


def choose_corners(boxes: F32, mouths: Sequence[tuple[int, F32]], shot: Int) -> Int:
    """Which corner the mark takes in each frame: one for a shot, away from mouths.

    Args:
        boxes: Where it would be, display px. Shape (4, 4).
        mouths: For each person the first frame and x0, y0, x1, y1 of the mouth. Shape (T, 4).
        shot: Shot of each source frame. Shape (N,).

    Returns:
        Index into `CORNERS` of each frame. Shape (N,). Where mouths come into every corner during
        a shot, it is the one where they are in the fewest frames.
    """
    covered = np.zeros((len(shot), len(boxes)), np.bool_)
    for start, mouth in mouths:
        part = mouth[: max(0, len(shot) - start), None]
        meets = (part[..., :2] < boxes[:, 2:]).all(-1) & (part[..., 2:] > boxes[:, :2]).all(-1)
        covered[start : start + len(part)] |= meets
    # Among equals the one that serves the whole video best: it moves as seldom as it can.
    overall = covered.sum(0) / (len(shot) + 1)
    chosen = np.zeros(len(shot), np.int64)
    for number in np.unique(shot):
        inside = shot == number
        chosen[inside] = np.argmin(covered[inside].sum(0) + overall)
    return chosen


def with_mark(
    frames: Iterable[NativeFrame], corners: Sequence[int], drawing: Drawing
) -> Iterator[NativeFrame]:
    """Each frame with the mark in its corner."""
    for native, corner in zip(frames, corners, strict=False):
        yield native.blend(drawing.patches[corner])


def _shown(video: VideoStreamInfo, matrix: F64) -> tuple[int, int, int, int]:
    """What of the picture a player shows: x0, y0, x1, y1, display px."""
    left, top, right, bottom = (
        video.crop[0],
        video.crop[2],
        video.width - video.crop[1],
        video.height - video.crop[3],
    )
    ends = np.array([(left, top), (right, bottom)], np.float64) - 0.5
    spots = np.sort(ends @ matrix[:, :2].T + matrix[:, 2] + 0.5, axis=0)
    (x0, y0), (x1, y1) = np.rint(spots).astype(int).tolist()
    return x0, y0, x1, y1


def _plate(width: int, height: int) -> tuple[F32, F32]:
    """Alpha and brightness of the mark for a picture of this size. Shape (h, w), float32."""
    shorter = min(width, height)
    high = max(_LEAST_HEIGHT, round(_HEIGHT * shorter))
    high = max(1, min(high, round(_MOST_HEIGHT * height)))
    drawn = [_text(words, high) for words in _WORDS]
    fitting = [one for one in drawn if one.shape[1] <= _MOST_WIDTH * width]
    text = fitting[0] if fitting else drawn[-1]
    text = text[:, :width]
    alpha = np.float32(_PLATE_ALPHA) + np.float32(_TEXT_ALPHA - _PLATE_ALPHA) * text
    # Brightness under partial ink, so that the letters' rims are not dark.
    ink = np.float32(_TEXT_ALPHA) * text / alpha
    return alpha, np.minimum(ink, 1)


def _text(words: str, high: int) -> F32:
    """Ink of the words on a plate of a height, 0 to 1. Shape (high, w)."""
    tall = high * _FINER
    font, thick = cv2.FONT_HERSHEY_SIMPLEX, max(1, round(0.085 * tall))
    scale = cv2.getFontScaleFromHeight(font, round(0.54 * tall), thick)
    (wide, letters), _ = cv2.getTextSize(words, font, scale, thick)
    pad = round(0.3 * tall)
    width = -(-(wide + 2 * pad) // _FINER)
    canvas = np.zeros((tall, width * _FINER), np.uint8)
    cv2.putText(
        canvas, words, (pad, (tall + letters) // 2), font, scale, (255,), thick, cv2.LINE_AA
    )
    cells = canvas.reshape(high, _FINER, width, _FINER)
    return cells.mean((1, 3)).astype(np.float32) / np.float32(255)


def _patch(
    alpha: F32, ink: F32, place: tuple[int, int], video: VideoStreamInfo, matrix: F64
) -> FramePatch:
    """A picture in display space as a patch of the coded frame."""
    high, wide = alpha.shape
    whole = np.concatenate([matrix, [[0.0, 0.0, 1.0]]])
    to_coded = np.linalg.inv(whole)
    x, y = place
    ends = np.array([(x, y), (x + wide, y + high)], np.float64) - 0.5
    spots = np.sort(ends @ to_coded[:2, :2].T + to_coded[:2, 2] + 0.5, axis=0)
    low = np.clip(np.rint(spots[0]).astype(int), 0, (video.width - 1, video.height - 1))
    end = np.clip(np.rint(spots[1]).astype(int), low + 1, (video.width, video.height))
    # Coded px of the patch to px of the picture.
    shift = np.array([[1.0, 0, low[0]], [0, 1.0, low[1]], [0, 0, 1.0]])
    to_picture = (whole @ shift)[:2] - np.array([[0, 0, x], [0, 0, y]])
    size = (int(end[0] - low[0]), int(end[1] - low[1]))

    def warp(values: F32) -> F32:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        moved = cv2.warpAffine(
            values, to_picture, size, flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        return moved.astype(np.float32)

    rgb = np.repeat(warp(ink)[..., None], 3, axis=2)
    return FramePatch(x=int(low[0]), y=int(low[1]), rgb=rgb, alpha=warp(alpha))
