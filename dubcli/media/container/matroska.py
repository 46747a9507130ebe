"""The headers of Matroska and WebM files, where libav's Python side does not tell them."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

# Elements of Matroska (RFC 9559).
_EBML, _SEGMENT, _CLUSTER, _TRACKS = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0x1654AE6B
_TRACK_ENTRY = 0xAE
_LARGEST_HEADER = 16 << 20


def track_entry(path: Path, index: int) -> bytes:
    """What the file says of the track that libav numbers `index`: a TrackEntry's content.

    Raises:
        ValueError: There is no such track before the first cluster.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        tracks = _tracks(file)
    entries = [body for kind, body in elements(tracks) if kind == _TRACK_ENTRY]
    if index >= len(entries):
        raise ValueError(f"no track {index}")
    return entries[index]


def _tracks(file: BinaryIO) -> bytes:
    kind, size = _element(file)
    if kind != _EBML or size is None:
        raise ValueError("not Matroska")
    file.seek(size, 1)
    kind, size = _element(file)
    while kind != _TRACKS:
        if kind == _CLUSTER or (kind != _SEGMENT and size is None):
            raise ValueError("no tracks before the first cluster")
        if kind != _SEGMENT:
            file.seek(size or 0, 1)
        kind, size = _element(file)
    if size is None or size > _LARGEST_HEADER:
        raise ValueError("too large a header")
    return file.read(size)


def elements(data: bytes) -> list[tuple[int, bytes]]:
    """Elements of a master element: identifier and content."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        wide = _length(data[at])
        kind = int.from_bytes(data[at : at + wide], "big")
        at += wide
        if at >= len(data):
            break
        wide = _length(data[at])
        size = int.from_bytes(data[at : at + wide], "big") & ((1 << 7 * wide) - 1)
        at += wide
        found.append((kind, data[at : at + size]))
        at += size
    return found


def _element(file: BinaryIO) -> tuple[int, int | None]:
    """Identifier of the next element, and its size; None where it is unknown."""
    first = file.read(1)
    if not first:
        raise ValueError("the file ends")
    kind = int.from_bytes(first + file.read(_length(first[0]) - 1), "big")
    first = file.read(1)
    if not first:
        raise ValueError("the file ends")
    wide = _length(first[0])
    unknown = (1 << 7 * wide) - 1
    size = int.from_bytes(first + file.read(wide - 1), "big") & unknown
    return kind, None if size == unknown else size


def _length(first: int) -> int:
    """Bytes of a number by its first one (RFC 8794, section 4).

    Raises:
        ValueError: No number begins so.
    """
    if not first:
        raise ValueError("a number of more than 8 bytes")
    return 9 - first.bit_length()
