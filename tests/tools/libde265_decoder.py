"""Frames of H.265 as libde265 shows them: a decoder that shares no code with libav's."""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av

_LENGTH_BYTES, _HEAD = 4, 23
_OK, _WAITING = 0, (13, 9)  # waiting for input; out of image buffers


def find_libde265() -> Any | None:
    """The library; None where it is not installed."""
    for name in (ctypes.util.find_library("de265"), "libde265.so.0"):
        if name is None:
            continue
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        library.de265_new_decoder.restype = ctypes.c_void_p
        library.de265_get_next_picture.restype = ctypes.c_void_p
        library.de265_get_image_plane.restype = ctypes.c_void_p
        return library
    return None


def libde265_digests(library: Any, path: Path) -> list[str]:
    """Digests of the frames of a file, as they are shown.

    Args:
        library: What `find_libde265` gave.
        path: An `.mp4`, `.mov` or `.mkv` with H.265.

    Raises:
        ValueError: It cannot be decoded.
    """
    decoder = ctypes.c_void_p(library.de265_new_decoder())
    found: list[str] = []
    try:
        for unit in _units(path):
            library.de265_push_NAL(decoder, unit, len(unit), ctypes.c_int64(0), None)
            _drain(library, decoder, found)
        library.de265_flush_data(decoder)
        _drain(library, decoder, found)
    finally:
        library.de265_free_decoder(decoder)
    return found


def _units(path: Path) -> Iterator[bytes]:
    """All parameter sets of a file, then what its packets hold."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        record = stream.codec_context.extradata or b""
        at = _HEAD
        for _ in range(record[_HEAD - 1]):
            count, at = int.from_bytes(record[at + 1 : at + 3], "big"), at + 3
            for _ in range(count):
                size = int.from_bytes(record[at : at + 2], "big")
                at += 2 + size
                yield record[at - size : at]
        for packet in container.demux(stream):
            data, at = bytes(packet), 0
            while at < len(data):
                size = int.from_bytes(data[at : at + _LENGTH_BYTES], "big")
                at += _LENGTH_BYTES + size
                yield data[at - size : at]


def _drain(library: Any, decoder: ctypes.c_void_p, found: list[str]) -> None:
    more = ctypes.c_int(1)
    while more.value:
        error = library.de265_decode(decoder, ctypes.byref(more))
        while picture := library.de265_get_next_picture(decoder):
            found.append(_digest(library, ctypes.c_void_p(picture)))
        if error in _WAITING:
            return
        if error != _OK:
            raise ValueError(f"libde265 stops with error {error}")


def _digest(library: Any, picture: ctypes.c_void_p) -> str:
    digest, stride = hashlib.md5(usedforsecurity=False), ctypes.c_int()
    for channel in range(3):
        plane = library.de265_get_image_plane(picture, channel, ctypes.byref(stride))
        height = library.de265_get_image_height(picture, channel)
        width = library.de265_get_image_width(picture, channel)
        bits = library.de265_get_bits_per_pixel(picture, channel)
        row_bytes = width * ((bits + 7) // 8)
        for row in range(height):
            digest.update(ctypes.string_at(plane + row * stride.value, row_bytes))
    return digest.hexdigest()
