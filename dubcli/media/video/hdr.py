"""Mastering metadata of HDR video: read from frames, written by encoders and into containers."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

from dubcli.core.types import VideoStreamInfo
from dubcli.media.container.boxes import sample_entry_box
from dubcli.media.container.matroska import track_entry

_CHROMATICITY_UNIT, _LUMINANCE_UNIT = 50_000, 10_000
_DOVI = "Dolby Vision"
_DOVI_BOXES = (b"dvcC", b"dvvC", b"dvwC")  # in Matroska the type of a block addition
_DYNAMIC = {
    Type.DOVI_RPU_BUFFER: _DOVI,
    Type.DOVI_METADATA: _DOVI,
    Type.DYNAMIC_HDR_PLUS: "HDR10+",
    Type.DYNAMIC_HDR_VIVID: "HDR Vivid",
}


def read_mastering(frame: VideoFrame) -> tuple[int, ...] | None:
    """Mastering display of a decoded frame, as `VideoStreamInfo.mastering`; None without one.

    Metadata that lacks primaries or luminance counts as none: no box can hold a half of it.
    """
    # struct AVMasteringDisplayMetadata: 6 + 2 + 2 rationals in the order r, g, b, white, min, max.
    data = _side_data(frame).get(Type.MASTERING_DISPLAY_METADATA, b"")
    if len(data) < 88:
        return None
    numbers = struct.unpack_from("=22i", data)
    has_primaries, has_luminance = numbers[20:22]
    pairs = list(zip(numbers[0:20:2], numbers[1:20:2], strict=True))
    if not has_primaries or not has_luminance or any(below <= 0 for _, below in pairs):
        return None
    red, green, blue, white = (pairs[at : at + 2] for at in (0, 2, 4, 6))
    points = [
        round(above * _CHROMATICITY_UNIT / below)
        for point in (green, blue, red, white)
        for above, below in point
    ]
    low, high = (round(above * _LUMINANCE_UNIT / below) for above, below in pairs[8:10])
    is_valid = all(0 <= value < 1 << 16 for value in points) and 0 <= low < 1 << 32 > high >= 0
    return (*points, high, low) if is_valid else None


def read_light_level(frame: VideoFrame) -> tuple[int, int] | None:
    """Content light level of a decoded frame, cd/m²; None without one."""
    data = _side_data(frame).get(Type.CONTENT_LIGHT_LEVEL, b"")
    if len(data) < 8:
        return None
    highest, average = struct.unpack_from("=2I", data)
    return (highest, average) if max(highest, average) < 1 << 16 else None


def read_dynamic(
    frame: VideoFrame | None, path: Path, container: str, index: int
) -> tuple[str, ...]:
    """Names of HDR metadata that changes from frame to frame.

    Args:
        frame: The first one, which may carry some.
        path: The file, whose header may announce Dolby Vision.
        container: libav's name of its format.
        index: The stream.
    """
    found = set() if frame is None else set(_side_data(frame))
    names = [name for kind, name in _DYNAMIC.items() if kind in found]
    try:
        if "mp4" in container.split(","):
            boxes = (sample_entry_box(path, kind) for kind in _DOVI_BOXES)
            names += [_DOVI for box in boxes if box is not None]
        elif "matroska" in container.split(","):
            track = track_entry(path, index)
            names += [_DOVI for kind in _DOVI_BOXES if kind in track]
    except (OSError, ValueError, struct.error):
        pass  # damage there is the decoder's to find
    return tuple(dict.fromkeys(names))


def encoder_parameters(encoder: str, stream: VideoStreamInfo) -> Mapping[str, str]:
    """Encoder parameters that put the mastering metadata into the bit stream.

    Args:
        encoder: libav's name.
        stream: The source's; without metadata nothing is returned.

    Returns:
        Names and values for its own parameter string; nothing for those whose metadata lies in
        the container alone.
    """
    found: dict[str, str] = {}
    master, level = stream.mastering, stream.light_level
    if encoder in ("libx264", "libx265"):
        names = (
            ("mastering-display", "cll") if encoder == "libx264" else ("master-display", "max-cll")
        )
        if master is not None:
            green, blue, red, white = (f"({master[at]},{master[at + 1]})" for at in (0, 2, 4, 6))
            light = f"({master[8]},{master[9]})"
            found[names[0]] = f"G{green}B{blue}R{red}WP{white}L{light}"
        if level is not None:
            found[names[1]] = f"{level[0]},{level[1]}"
        if encoder == "libx265" and found:
            # Without this x265 leaves out a light level whose values are 0.
            found["hdr10"] = "1"
    elif encoder == "libsvtav1":
        if master is not None:
            green, blue, red, white = (
                f"({_decimal(master[at])},{_decimal(master[at + 1])})" for at in (0, 2, 4, 6)
            )
            light = f"({master[8] / _LUMINANCE_UNIT:.4f},{master[9] / _LUMINANCE_UNIT:.4f})"
            found["mastering-display"] = f"G{green}B{blue}R{red}WP{white}L{light}"
        if level is not None:
            found["content-light"] = f"{level[0]},{level[1]}"
    return found


def container_boxes(stream: VideoStreamInfo) -> bytes:
    """Boxes `mdcv` and `clli` of ISO/IEC 14496-12 for a sample entry; empty without metadata."""
    boxes = b""
    if stream.mastering is not None:
        boxes += struct.pack(">I4s8HII", 32, b"mdcv", *stream.mastering)
    if stream.light_level is not None:
        boxes += struct.pack(">I4s2H", 12, b"clli", *stream.light_level)
    return boxes


def _decimal(value: int) -> str:
    return f"{value / _CHROMATICITY_UNIT:.5f}"


def _side_data(frame: VideoFrame) -> dict[Type, bytes]:
    held: Any = frame.side_data  # its types say strings
    # PyAV before 19 gives the items, later ones their types.
    items = (key if hasattr(key, "type") else held[key] for key in held)
    return {item.type: bytes(item) for item in items}
