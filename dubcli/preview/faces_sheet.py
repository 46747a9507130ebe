"""A picture of every face with its number, so that a person can say which one is meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dubcli.core.atomic_io import replace_bytes
from dubcli.core.errors import EncodeError
from dubcli.core.formatting import clock_time, reason_in_words
from dubcli.core.types import F64, U8, FaceTrack, Int, VideoStreamInfo
from dubcli.face.crop import cut_crop
from dubcli.face.usability import where_seen
from dubcli.media.video.frame_reader import FrameReader
from dubcli.media.video.native_frame import NativeFrame
from dubcli.media.video.spaces import coded_to_display
from dubcli.pipeline.analysis import Analysis

# Width of the whole sheet, and what a frame is at least enlarged to, px.
_SHEET_PX, _LEAST_PX = 1600, 640
_MOST_FRAMES = 8
_DUBBED, _OTHER, _UNUSABLE = (40, 200, 60), (250, 190, 40), (170, 170, 170)
_INK, _PAPER = (20, 20, 20), (255, 255, 255)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True, kw_only=True)
class _Label:
    """A face in one picture: its box in that picture's px, what stands at it, and its colour."""

    box: F64
    text: str
    colour: tuple[int, int, int]
    is_dubbed: bool


def draw_faces(
    found: Analysis, dubbed: Sequence[int], reader: FrameReader, video: VideoStreamInfo, path: Path
) -> bool:
    """Write a PNG that shows each face at least once, with its number.

    Args:
        found: Result of pass 1.
        dubbed: Numbers of the faces that will be dubbed.
        reader: Of the video.
        video: Its facts.
        path: File to write; replaced when it exists.

    Returns:
        Whether there was a face to show.

    Raises:
        DecodeError: The video breaks off.
        EncodeError: The file cannot be written.
    """
    chosen = frames_to_show(found.tracks)
    if not chosen:
        return False
    width = _SHEET_PX if len(chosen) == 1 else _SHEET_PX // 2
    tiles: list[U8] = []
    for native in reader.native_sequence(chosen):
        image, scale = _picture(native, video, width)
        labels = [
            label
            for number, track in enumerate(found.tracks, 1)
            if (label := _label(track, native.index, number, number in dubbed, scale)) is not None
        ]
        seconds = float(found.times.pts[native.index] * found.times.time_base)
        tiles.append(_with_labels(image, labels, f"at {clock_time(seconds)}"))
    _write(_sheet(tiles), path)
    return True


def frames_to_show(tracks: Sequence[FaceTrack]) -> list[int]:
    """Frames that show every face at least once, as few as possible, in the order of time.

    Among frames with as many new faces it is where most can be dubbed, then where the smallest of
    them is largest.

    Args:
        tracks: All people.
    """
    if not tracks:
        return []
    seen = np.array([where_seen(track.reasons) for track in tracks])
    usable = np.array([track.valid for track in tracks])
    height = np.array([track.boxes[:, 3] - track.boxes[:, 1] for track in tracks])
    height = height / height.max(1, keepdims=True)
    left = np.ones(len(tracks), np.bool_)
    chosen: list[int] = []
    while left.any() and len(chosen) < _MOST_FRAMES:
        new = seen & left[:, None]
        if not new.any():
            break
        smallest = np.where(new, height, 1).min(0) / 2
        score = new.sum(0) * 100 + (new & usable).sum(0) * 10 + smallest * (new.any(0))
        # Of equally good frames one in the middle: not beside a cut.
        best: Int = np.flatnonzero(score >= score.max() - 0.05)
        frame = int(best[len(best) // 2])
        chosen.append(frame)
        left &= ~seen[:, frame]
    return sorted(chosen)


def _picture(native: NativeFrame, video: VideoStreamInfo, most: int) -> tuple[U8, float]:
    """The upright frame, at most so wide, and its px per display px."""
    width, height = video.display_size
    # A tall picture is not shown taller than a wide one is wide.
    scale = min(most / width, most / height, max(1.0, _LEAST_PX / width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    whole = native.rgb_region(0, 0, native.width, native.height)
    shrink = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2]])
    matrix = coded_to_display(video)
    to_picture = np.concatenate(
        [shrink[:, :2] @ matrix[:, :2], (shrink[:, :2] @ matrix[:, 2] + shrink[:, 2])[:, None]], 1
    )
    return cut_crop(whole, to_picture, size), scale


def _label(
    track: FaceTrack, index: int, number: int, is_dubbed: bool, scale: float
) -> _Label | None:
    reason = track.reasons[index]
    if not where_seen([reason])[0]:
        return None
    if is_dubbed:
        text, colour = f"{number}: dubbed", _DUBBED
    elif track.valid.any():
        text, colour = str(number), _OTHER
    else:
        text, colour = f"{number}: {reason_in_words(reason)}", _UNUSABLE
    box = track.boxes[index].astype(np.float64) * scale
    return _Label(box=box, text=text, colour=colour, is_dubbed=is_dubbed)


def _with_labels(image: U8, labels: Sequence[_Label], when: str) -> U8:
    """Boxes and numbers on a picture, and below it when it is shown."""
    height, width = image.shape[:2]
    size = max(0.6, width / 1200)
    thick = max(2, round(width / 400))
    for label in labels:
        x0, y0, x1, y1 = (round(float(value)) for value in label.box)
        cv2.rectangle(
            image, (x0, y0), (x1, y1), label.colour, thick * (2 if label.is_dubbed else 1)
        )
    for label in labels:
        (text_w, text_h), below = cv2.getTextSize(label.text, _FONT, size, thick)
        pad = text_h // 2
        w, h = text_w + 2 * pad, text_h + below + 2 * pad
        x = min(max(0, round(float(label.box[0]))), max(0, width - w))
        y = min(max(0, round(float(label.box[1])) - h), max(0, height - h))
        cv2.rectangle(image, (x, y), (x + w, y + h), label.colour, cv2.FILLED)
        at = (x + pad, y + pad + text_h)
        cv2.putText(image, label.text, at, _FONT, size, _INK, max(1, thick // 2), cv2.LINE_AA)
    (_, text_h), below = cv2.getTextSize(when, _FONT, size * 0.8, 1)
    strip = np.full((2 * text_h + below, width, 3), _PAPER, np.uint8)
    at = (text_h // 2, text_h + text_h // 2)
    cv2.putText(strip, when, at, _FONT, size * 0.8, _INK, 1, cv2.LINE_AA)
    return np.concatenate([image, strip])


def _sheet(tiles: Sequence[U8]) -> U8:
    """Pictures in two columns, or one alone."""
    if len(tiles) == 1:
        return tiles[0]
    rows: list[U8] = []
    height, width = tiles[0].shape[:2]
    blank = np.full((height, width, 3), _PAPER, np.uint8)
    for first in range(0, len(tiles), 2):
        pair = [*tiles[first : first + 2], blank][:2]
        rows.append(np.concatenate(pair, 1))
    return np.concatenate(rows)


def _write(image: U8, path: Path) -> None:
    png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    try:
        replace_bytes(path, png.tobytes())
    except OSError as error:
        raise EncodeError(
            f"'{path}' cannot be written: {error.strerror}.", "Choose another file with --faces."
        ) from error
