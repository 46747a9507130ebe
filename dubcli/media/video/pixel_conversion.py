"""From one pixel format to another, exactly where that is possible."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame


def to_format(frame: VideoFrame, name: str) -> VideoFrame:
    """A frame in another pixel format; itself where it is in that one already.

    Fewer bits of the same planes are made by rounding, those of transparency by leaving the low
    ones out: libav's converter dithers both, and opaque pixels would shine through.

    Args:
        frame: Any frame in memory.
        name: libav's name of the wanted format.
    """
    if frame.format.name == name:
        return frame
    wanted = VideoFormat(name, frame.width, frame.height)
    if not _differ_in_depth_alone(frame.format, wanted):
        return frame.reformat(format=name)
    lost = frame.format.components[0].bits - wanted.components[0].bits
    highest = (1 << wanted.components[0].bits) - 1
    made = VideoFrame(frame.width, frame.height, name)
    for number, (old, new) in enumerate(zip(frame.planes, made.planes, strict=True)):
        samples = _samples(old)
        if number == 3:
            rounded = samples >> lost
        else:
            half = 1 << (lost - 1)
            rounded = np.minimum((samples.astype(np.uint32) + half) >> lost, highest)
        _samples(new)[:, : new.width] = rounded[:, : new.width]
    made.duration = frame.duration
    return made


def _differ_in_depth_alone(old: VideoFormat, new: VideoFormat) -> bool:
    """Both planar Y, U, V and perhaps alpha, little-endian, over 8 bits, the new one shallower."""
    ours, theirs = _shape(old), _shape(new)
    if ours is None or theirs is None or ours[0] != theirs[0]:
        return False
    return ours[1] > theirs[1] > 8


def _shape(pixel_format: VideoFormat) -> tuple[str, int] | None:
    name = pixel_format.name
    if not (name.startswith("yuv") and pixel_format.is_planar and name.endswith("le")):
        return None
    return name.split("p")[0], pixel_format.components[0].bits


def _samples(plane: Any) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """The plane's memory as rows of samples, padding included. Shape (h, n), uint16."""
    return np.frombuffer(memoryview(plane), "<u2").reshape(plane.height, -1)
