"""Sounds in which every moment is another, and files of them with times or bytes changed."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from clips import run_ffmpeg
from numpy.typing import NDArray

# A rising tone: a window of it is found at one place only.
SWEEP = "0.3*sin(2*PI*(200*t+150*t*t))"
Retime = Callable[[Fraction], Fraction | None]


def make_sweep(path: Path, seconds: float, *options: str, rate: int = 48_000) -> Path:
    """A rising tone; returns `path`."""
    source = f"aevalsrc=exprs={SWEEP}:s={rate}:d={seconds}"
    run_ffmpeg("-f", "lavfi", "-i", source, *options, path)
    return path


def sweep_at(start_s: float, samples: int, rate: int = 16_000) -> NDArray[np.float64]:
    """What the rising tone sounds like from a time on. Shape (samples,)."""
    times = start_s + np.arange(samples) / rate
    return 0.3 * np.sin(2 * np.pi * (200 * times + 150 * times**2))


def likeness(heard: NDArray[Any], wanted: NDArray[Any]) -> float:
    """Correlation of two signals of one length, 1 for the same."""
    norm = float(np.linalg.norm(heard) * np.linalg.norm(wanted))
    return float(heard @ wanted) / norm if norm else 0.0


def retimed(source: Path, target: Path, change: Retime) -> Path:
    """Packets of the first sound with other times, in seconds, or left out; returns `target`."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        stream = given.streams.audio[0]
        copy: Any = made.add_stream_from_template(stream)
        for packet in given.demux(stream):
            if packet.pts is None or packet.time_base is None:
                continue
            time_s = change(packet.pts * Fraction(packet.time_base))
            if time_s is None:
                continue
            packet.pts = packet.dts = round(time_s / Fraction(packet.time_base))
            packet.stream = copy
            made.mux(packet)
    return target


def damaged(source: Path, target: Path, first: float = 0.5, count: int = 700) -> Path:
    """A copy in which bytes from a share of the file on are noise; returns `target`."""
    data = bytearray(source.read_bytes())
    begin = int(len(data) * first)
    noise = np.random.default_rng(3).integers(0, 256, count, dtype=np.uint8).tobytes()
    data[begin : begin + count] = noise
    target.write_bytes(data)
    return target
