"""A seeded fuzzer: small valid files with bytes flipped, deleted, repeated, zeroed or cut off.

Half of the edits lie in the first and last kilobytes, where containers keep their headers and
indexes, half anywhere: mostly in packets. A case is its number and its seed: it can be had again.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

VIDEOS = (
    *("face.mp4", "start.mp4", "parts.mp4", "face.mkv", "face.webm", "face.mov", "face.avi"),
    *("face.ts", "face.mpg", "mute.mp4"),
)
SOUNDS = (
    *("speech.wav", "speech.mp3", "speech.ogg", "speech.opus", "speech.m4a", "speech.flac"),
    "float.wav",
)
_HEADER = 2048


@dataclass(frozen=True)
class Fuzzed:
    """One damaged file.

    Attributes:
        number: Which one.
        seed: Of the series.
        source: Name of the valid file.
        is_audio: It is given as the audio.
    """

    number: int
    seed: int
    source: str
    is_audio: bool

    def __str__(self) -> str:
        return f"{self.seed}-{self.number}-{self.source}"

    def make(self, tiny: Path, folder: Path) -> Path:
        """Write it; returns its path."""
        data = bytearray((tiny / self.source).read_bytes())
        source = random.Random(f"{self.seed} {self.number}")
        for _ in range(source.choice((1, 1, 2, 4, 16))):
            edit(data, source)
        path = folder / self.source
        path.write_bytes(data)
        return path


def series(seed: int, count: int) -> list[Fuzzed]:
    """The first cases of a seed: every source in turn, three videos for each sound."""
    names = [(name, False) for name in VIDEOS * 3] + [(name, True) for name in SOUNDS * 2]
    random.Random(seed).shuffle(names)
    return [Fuzzed(number, seed, *names[number % len(names)]) for number in range(count)]


def edit(data: bytearray, source: random.Random) -> None:
    """Damage bytes once, in place."""
    if len(data) < 2:
        return
    place = _place(len(data), source)
    length = min(source.choice((1, 1, 2, 4, 8, 64, 1024)), len(data) - place)
    kind = source.choice(("flip", "flip", "random", "extreme", "delete", "repeat", "zero", "cut"))
    if kind == "flip":
        data[place] ^= 1 << source.randrange(8)
    elif kind == "random":
        data[place : place + length] = source.randbytes(length)
    elif kind == "extreme":
        value = source.choice((0, 1, 0x7F, 0x80, 0xFF))
        data[place : place + min(length, 8)] = bytes([value]) * min(length, 8)
    elif kind == "delete":
        del data[place : place + length]
    elif kind == "repeat":
        data[place:place] = data[place : place + length] * source.choice((1, 2, 9))
    elif kind == "zero":
        data[place : place + length] = bytes(length)
    elif source.random() < 0.3:
        del data[max(1, place) :]


def _place(length: int, source: random.Random) -> int:
    region = source.choice(("head", "tail", "any", "any"))
    if region == "head":
        return source.randrange(min(length, _HEADER))
    if region == "tail":
        return source.randrange(max(0, length - _HEADER), length)
    return source.randrange(length)
