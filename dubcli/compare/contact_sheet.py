"""A picture with a row for each video and the same times below each other."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from dubcli.compare.compared_video import ComparedVideo, fitted_size, input_from
from dubcli.compare.labels import label_picture
from dubcli.core.atomic_io import replace_bytes
from dubcli.core.errors import EncodeError
from dubcli.core.formatting import clock_time
from dubcli.core.types import U8
from dubcli.media.container.ffmpeg import build_argv, ffmpeg_binary, run

COLUMNS = 6
_CELL_WIDTH, _CELL_HEIGHT, _STRIP = 320, 320, 28
_PAPER = 255


def write_sheet(
    videos: Sequence[ComparedVideo], labels: Sequence[str], length_s: Fraction, path: Path
) -> None:
    """Write the sheet as PNG.

    Args:
        videos: In the order of their rows.
        labels: Of the rows.
        length_s: The times are spread over it.
        path: File to write; replaced where it exists.

    Raises:
        FfmpegError: A video cannot be decoded.
        EncodeError: The file cannot be written.
    """
    shape = videos[0].video.display_size
    cell = (_CELL_WIDTH, max(2, min(_CELL_HEIGHT, round(_CELL_WIDTH * shape[1] / shape[0]))))
    times = sheet_times(length_s)
    head = [_on_strip(clock_time(float(at_s)), cell[0]) for at_s in times]
    rows = [np.concatenate(head, 1)]
    for video, label in zip(videos, labels, strict=True):
        rows.append(_on_strip(label, cell[0] * len(times)))
        rows.append(np.concatenate([_tile(video, at_s, cell) for at_s in times], 1))
    png = cv2.imencode(".png", cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR))[1]
    try:
        replace_bytes(path, png.tobytes())
    except OSError as error:
        raise EncodeError(
            f"'{path}' cannot be written: {error.strerror}.", "Choose another file with --sheet."
        ) from error


def sheet_times(length_s: Fraction) -> list[Fraction]:
    """Evenly spread times, away from both ends, seconds."""
    return [length_s * (2 * number + 1) / (2 * COLUMNS) for number in range(COLUMNS)]


def _tile(video: ComparedVideo, at_s: Fraction, cell: tuple[int, int]) -> U8:
    """What a video shows at a time; its last frame after its end."""
    width, height = fitted_size(video, (cell[0] - cell[0] % 2, cell[1] - cell[1] % 2))
    frame = 1 / video.frame_rate
    picture = np.full((cell[1], cell[0], 3), _PAPER, np.uint8)
    latest = max(Fraction(0), video.length_s - frame * 3 / 2)
    pixels = b""
    for moment in (min(at_s, latest), max(Fraction(0), latest - 1), Fraction(0)):
        stream = input_from(video, moment)[str(video.video.index)]
        stream = stream.filter("scale", width, height, flags="area").filter("format", "rgb24")
        output = stream.output("pipe:", f="rawvideo", vframes=1)
        pixels = run(build_argv(ffmpeg_binary(), output))
        if pixels:  # a header may promise more than the file holds
            break
    if pixels:
        top, left = (cell[1] - height) // 2, (cell[0] - width) // 2
        shown = np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
        picture[top : top + height, left : left + width] = shown
    return picture


def _on_strip(text: str, width: int) -> U8:
    strip = np.full((_STRIP, width, 3), _PAPER, np.uint8)
    label = label_picture(text, _STRIP - 4, width - width % 2)
    strip[2 : 2 + label.shape[0], : label.shape[1]] = label
    return strip
