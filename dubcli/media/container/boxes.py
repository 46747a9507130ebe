"""Boxes of mp4 and mov files that libav's Python side neither reads nor writes."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_PATH = (b"mdia", b"minf", b"stbl", b"stsd")
_STSD_HEAD = 8  # version, flags and number of entries
_ENTRY_HEAD = 78  # fixed fields of a picture's sample entry
_LARGEST_INDEX = 256 << 20


@dataclass(frozen=True)
class _Box:
    """Where a box lies in a buffer: its start, its content, and what follows it."""

    kind: bytes
    start: int
    body: int
    end: int


def add_boxes(path: Path, boxes: bytes) -> None:
    """Put boxes into the sample entry of a file's only track, in place.

    Args:
        path: An mp4 or mov whose index lies at its end, so that no sample moves.
        boxes: What to add; nothing happens when it is empty.

    Raises:
        ValueError: The file is not of this kind.
        OSError: It cannot be written.
    """
    if not boxes:
        return
    with path.open("r+b") as file:
        at, index = _read_index(file)
        if at + len(index) != file.seek(0, os.SEEK_END):
            raise ValueError("samples follow the index")
        moov = _Box(b"moov", 0, 8, len(index))
        tracks = [box for box in _children(index, moov.body, moov.end) if box.kind == b"trak"]
        if len(tracks) != 1:
            raise ValueError(f"{len(tracks)} tracks")
        chain = [moov, *_chain(index, tracks[0])]
        grown = bytearray(index)
        for box in chain:
            size = box.end - box.start + len(boxes)
            struct.pack_into(">I", grown, box.start, size)
        end = chain[-1].end
        grown[end:end] = boxes
        file.seek(at)
        file.write(grown)


def sample_entry_box(path: Path, kind: bytes) -> bytes | None:
    """Content of a box in the sample entry of the first track of pictures; None where it lacks.

    Raises:
        ValueError: The file has no index.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        _, index = _read_index(file)
    for track in _children(index, 8, len(index)):
        if track.kind == b"trak" and _is_of_pictures(index, track):
            entry = _chain(index, track)[-1]
            inside = _children(index, entry.body + _ENTRY_HEAD, entry.end)
            return next((index[box.body : box.end] for box in inside if box.kind == kind), None)
    return None


def _read_index(file: BinaryIO) -> tuple[int, bytes]:
    """Position and bytes of box `moov`.

    Raises:
        ValueError: There is none.
    """
    end = file.seek(0, os.SEEK_END)
    at = 0
    while at + 8 <= end:
        file.seek(at)
        size, kind = struct.unpack(">I4s", file.read(8))
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
        elif size == 0:
            size = end - at
        if size < 8 or not kind.isascii():
            break
        if kind == b"moov":
            if size > _LARGEST_INDEX:
                break
            file.seek(at)
            return at, file.read(size)
        at += size
    raise ValueError("no index")


def _children(data: bytes, start: int, end: int) -> Iterator[_Box]:
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        if size < 8 or start + size > end:
            return
        yield _Box(kind, start, start + 8, start + size)
        start += size


def _is_of_pictures(data: bytes, track: _Box) -> bool:
    media = _child(data, track, b"mdia")
    handler = None if media is None else _child(data, media, b"hdlr")
    return handler is not None and data[handler.body + 8 : handler.body + 12] == b"vide"


def _child(data: bytes, box: _Box, kind: bytes) -> _Box | None:
    inside = _children(data, box.body, box.end)
    return next((child for child in inside if child.kind == kind), None)


def _chain(data: bytes, track: _Box) -> list[_Box]:
    """A track and the boxes down to its sample entry, that one last.

    Raises:
        ValueError: It has none, or not of a picture.
    """
    chain = [track]
    for kind in _PATH:
        found = _child(data, chain[-1], kind)
        if found is None:
            raise ValueError(f"a track without {kind!r}")
        chain.append(found)
    entry = next(_children(data, chain[-1].body + _STSD_HEAD, chain[-1].end), None)
    if entry is None:
        raise ValueError("a track without a sample entry")
    return [*chain, entry]
