"""Dub one clip with two interpreters and compare the mouths that come out.

    python tests/bench/compare_pythons.py PYTHON PYTHON [--video V --audio A]

Each interpreter has the package; the demo clip is dubbed by default. Prints the PSNR of the box
around the lips over all frames, dB, and fails below 45.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
from itertools import zip_longest
from pathlib import Path

import av
import numpy as np

from dubcli.core.types import U8, Frame
from dubcli.face.detect import open_detector
from dubcli.face.landmarks import LIPS_INNER, LIPS_OUTER

ASSETS = Path(__file__).resolve().parents[2] / "dubcli" / "assets"
LEAST_DB = 45.0
_LIPS = slice(LIPS_OUTER.start, LIPS_INNER.stop)
# Around the lips, of their width.
_MARGIN = 0.25


def dub(python: str, video: Path, audio: Path, output: Path) -> None:
    """Dub on one thread, so that only the libraries differ."""
    words = ["-m", "dubcli", str(video), "--audio", str(audio), "-o", str(output), "-q"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([python, *words, "--threads", "1"], check=True, env=environment)


def frames(path: Path) -> list[U8]:
    """Decoded pictures. Shapes (H, W, 3)."""
    with av.open(str(path)) as container:
        return [
            np.asarray(f.to_ndarray(format="rgb24"), np.uint8) for f in container.decode(video=0)
        ]


def mouth_psnr(one: list[U8], other: list[U8]) -> float:
    """Of the boxes around the lips as the first video shows them, dB.

    Raises:
        SystemExit: No frame shows a face, or the lengths differ.
    """
    squares, count = 0.0, 0
    with open_detector() as detector:
        for index, (a, b) in enumerate(zip_longest(one, other)):
            if a is None or b is None:
                raise SystemExit(f"One dub has {len(one)} frames, the other {len(other)}.")
            for face in detector.detect(Frame(index=index, pts=index, image=a))[:1]:
                lips = face.landmarks[_LIPS, :2]
                margin = np.ptp(lips[:, 0]) * _MARGIN
                x0, y0 = np.maximum(lips.min(0) - margin, 0).astype(int)
                x1, y1 = np.ceil(lips.max(0) + margin).astype(int)
                gap = a[y0:y1, x0:x1].astype(np.float64) - b[y0:y1, x0:x1]
                squares, count = squares + float(np.square(gap).sum()), count + gap.size
    if not count:
        raise SystemExit("No frame shows a face.")
    return math.inf if not squares else 10 * math.log10(255**2 * count / squares)


def main() -> int:
    """0 where the two agree."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pythons", nargs=2, help="interpreters that have the package")
    parser.add_argument("--video", type=Path, default=ASSETS / "demo.mp4")
    parser.add_argument("--audio", type=Path, default=ASSETS / "demo_speech.wav")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dub-pythons-") as folder:
        outputs = [Path(folder) / f"{number}.mp4" for number in range(2)]
        for python, output in zip(arguments.pythons, outputs, strict=True):
            dub(python, arguments.video, arguments.audio, output)
        value = mouth_psnr(*map(frames, outputs))
    print(f"PSNR of the mouths: {value:.1f} dB")
    return 0 if value >= LEAST_DB else 1


if __name__ == "__main__":
    sys.exit(main())
