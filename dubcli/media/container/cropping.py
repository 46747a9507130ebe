"""What a container says is to be cut off the picture: `clap` of mp4, PixelCrop of Matroska."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

from dubcli.media.container.boxes import sample_entry_box
from dubcli.media.container.matroska import elements, track_entry

Crop = tuple[int, int, int, int]
NO_CROP: Crop = (0, 0, 0, 0)

# Elements of Matroska (RFC 9559).
_VIDEO = 0xE0
_PIXEL_CROP = (0x54CC, 0x54DD, 0x54BB, 0x54AA)  # left, right, top, bottom


def read_crop(path: Path, container: str, index: int, size: tuple[int, int]) -> Crop:
    """Left, right, top and bottom that a player cuts off, coded px.

    What the codec itself cuts off is gone already when a frame is decoded.

    Args:
        path: The file; damage counts as nothing to cut off: libav has read it, or refused.
        container: libav's name of its format.
        index: The stream.
        size: Width and height as decoded, px.
    """
    try:
        if "mp4" in container.split(","):
            fields = sample_entry_box(path, b"clap")
            crop = NO_CROP if fields is None else _of_aperture(fields, *size)
        elif "matroska" in container.split(","):
            crop = _of_track(track_entry(path, index))
        else:
            crop = NO_CROP
    except (OSError, ValueError, struct.error):
        return NO_CROP
    left, right, top, bottom = crop
    is_sane = min(crop) >= 0 and left + right < size[0] and top + bottom < size[1]
    return crop if is_sane else NO_CROP


def clean_aperture(crop: Crop, width: int, height: int) -> bytes:
    """Box `clap` (ISO/IEC 14496-12, 12.1.4) that cuts off so much; empty for nothing."""
    if crop == NO_CROP:
        return b""
    left, right, top, bottom = crop
    # Offsets are of the centres, in halves; negative ones as two's complement.
    shift_x, shift_y = (left - right) % (1 << 32), (top - bottom) % (1 << 32)
    fields = (width - left - right, 1, height - top - bottom, 1, shift_x, 2, shift_y, 2)
    return struct.pack(">I4s8I", 40, b"clap", *fields)


def _of_aperture(data: bytes, width: int, height: int) -> Crop:
    fields = struct.unpack_from(">8i", data)
    wide, high, x, y = (Fraction(fields[at], fields[at + 1] or 1) for at in (0, 2, 4, 6))
    left, top = round((width - wide) / 2 + x), round((height - high) / 2 + y)
    return left, width - round(wide) - left, top, height - round(high) - top


def _of_track(track: bytes) -> Crop:
    video = next((body for kind, body in elements(track) if kind == _VIDEO), b"")
    values = {kind: int.from_bytes(body, "big") for kind, body in elements(video)}
    left, right, top, bottom = (values.get(kind, 0) for kind in _PIXEL_CROP)
    return left, right, top, bottom
