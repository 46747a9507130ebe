"""Edits of media files by bytes: fields of headers, missing ends, garbage in the middle."""

from __future__ import annotations

import random
import struct
from pathlib import Path

Numbers = dict[str, tuple[bytes, int, str]]

# Marker in front of a field, distance from the marker's start to the field, and its type.
FIELDS: Numbers = {
    "mp4 movie clock": (b"mvhd", 16, ">I"),
    "mp4 track clock": (b"mdhd", 16, ">I"),
    "mp4 frame length": (b"stts", 16, ">I"),
    "mp4 frame count": (b"stts", 12, ">I"),
    "mp4 runs of lengths": (b"stts", 8, ">I"),
    "mp4 shown size": (b"tkhd", 80, ">II"),
    "mp4 coded size": (b"avc1", 28, ">HH"),
    "mp4 codec": (b"avc1", 0, ">4s"),
    "mp4 sample sizes": (b"stsz", 12, ">I"),
    "mp4 sample size": (b"stsz", 16, ">I"),
    "mp4 chunk place": (b"stco", 12, ">I"),
    "mp4 codec setup": (b"avcC", 8, ">8s"),
    "mp4 edit start": (b"elst", 16, ">i"),
    "mp4 edit length": (b"elst", 12, ">I"),
    "avi size": (b"strf", 12, "<ii"),
    "avi rate": (b"strh", 28, "<II"),
    "avi codec": (b"strf", 24, "<4s"),
    "wav channels": (b"fmt ", 10, "<H"),
    "wav rate": (b"fmt ", 12, "<I"),
    "wav bits": (b"fmt ", 22, "<H"),
    "wav block": (b"fmt ", 20, "<H"),
    "wav length": (b"data", 4, "<I"),
}


def patched(data: bytes, field: str, *values: int | bytes) -> bytes:
    """A copy with one field of a header set; the first such field of the file."""
    marker, distance, kind = FIELDS[field]
    place = data.index(marker) + distance
    new = struct.pack(kind, *values)
    return data[:place] + new + data[place + len(new) :]


def replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    """A copy with the first occurrence of some bytes replaced."""
    assert old in data
    return data.replace(old, new, 1)


def without(data: bytes, first: float, last: float) -> bytes:
    """A copy without the bytes between two shares of its length."""
    return data[: int(len(data) * first)] + data[int(len(data) * last) :]


def noisy(data: bytes, first: float, last: float, seed: int = 1, every: int = 1) -> bytes:
    """A copy in which every n-th byte between two shares of its length is random."""
    source, copy = random.Random(seed), bytearray(data)
    for place in range(int(len(data) * first), int(len(data) * last), every):
        copy[place] = source.randrange(256)
    return bytes(copy)


def zeroed(data: bytes, first: float, last: float) -> bytes:
    """A copy with zeros between two shares of its length."""
    begin, end = int(len(data) * first), int(len(data) * last)
    return data[:begin] + bytes(end - begin) + data[end:]


def box_payload(data: bytes, name: bytes) -> tuple[int, int]:
    """Begin and end of the content of the first mp4 box of a name."""
    place = data.index(name)
    (size,) = struct.unpack(">I", data[place - 4 : place])
    return place + 4, place - 4 + size


def wav_of(
    samples: bytes, rate: int = 16_000, channels: int = 1, bits: int = 16, tag: int = 1
) -> bytes:
    """A WAV file around raw samples."""
    block = channels * bits // 8
    fmt = struct.pack("<HHIIHH", tag, channels, rate, rate * block & 0xFFFFFFFF, block, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt
    body += b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(body)) + body


def write(path: Path, data: bytes) -> Path:
    """Write a file; returns its path."""
    path.write_bytes(data)
    return path
