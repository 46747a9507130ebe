"""Read one still picture that somebody named."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.codec.context import CodecContext
from av.error import FFmpegError

from dubcli.core.errors import ProbeError
from dubcli.core.types import U8

_MOST_BYTES = 100 << 20
# A file of a megabyte can unpack to gigabytes; the largest cameras take 100 megapixels.
_MOST_PIXELS = 120_000_000


def read_picture(path: Path, next_step: str) -> U8:
    """A picture as it is to be seen, turned as its EXIF says. Shape (h, w, 3), RGB.

    Args:
        path: A picture file.
        next_step: What to do where it cannot be used.

    Raises:
        ProbeError: It cannot be read, is no picture, or has more than 120 megapixels.
    """
    try:
        # Not by OpenCV, which on some systems knows no names beyond ASCII.
        data = path.read_bytes() if path.stat().st_size <= _MOST_BYTES else b""
    except OSError as error:
        cause = f"The picture '{path}' cannot be read: {error.strerror}."
        raise ProbeError(cause, next_step) from error
    found = None
    try:
        if data and _is_of_bounded_size(data):
            found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        pass
    if found is None:
        raise ProbeError(f"'{path}' is no picture, or too large a one.", next_step)
    return np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2RGB), np.uint8)


def _is_of_bounded_size(data: bytes) -> bool:
    """Whether libav, which looks at the size before it takes memory, can decode it."""
    try:
        with av.open(io.BytesIO(data), mode="r") as container:
            stream = container.streams.video[0]
            decoder: Any = CodecContext.create(stream.codec_context.name, "r")
            decoder.options = {"max_pixels": str(_MOST_PIXELS)}
            packets = [*container.demux(stream)][:2]
            return any(decoder.decode(packet) for packet in [*packets, None])
    except (FFmpegError, ValueError, LookupError):
        return False
