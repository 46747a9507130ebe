"""Compare the package's face detector with mediapipe 0.10.21, live.

    python tests/tools/face_networks/compare_with_mediapipe.py CLIP.mp4 ...

Builds an environment with the mediapipe wheel in a temporary folder (`--python` names one that is
there), runs both detectors over each clip, over pairs of clips side by side, and over each clip
made small in a large picture, and prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from dubcli.core.types import F32, U8
from dubcli.face.detect import MAX_SIDE
from dubcli.face.landmarks import LIPS_INNER, LIPS_OUTER, mouth_open

ROOT = Path(__file__).resolve().parents[3]
_LIPS = slice(LIPS_OUTER.start, LIPS_INNER.stop)
_PACKAGES = ("mediapipe==0.10.21", "opencv-contrib-python==4.11.0.86", "numpy<2")
# A far face: the clip's height in a picture of this size.
_FAR_HEIGHT, _FAR_SIZE = 90, (540, 960)


def read(path: Path, count: int) -> U8:
    """The first frames of a clip, no longer than dubs look at. Shape (T, H, W, 3)."""
    frames: list[U8] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            image = frame.to_ndarray(format="rgb24")
            scale = MAX_SIDE / max(image.shape)
            if scale < 1:
                image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            frames.append(np.asarray(image, np.uint8))
            if len(frames) == count:
                break
    return np.stack(frames)


def beside(one: U8, other: U8) -> U8:
    """Two clips side by side, the lower one on black. Shape (T, H, W, 3)."""
    count, height = min(len(one), len(other)), max(one.shape[1], other.shape[1])
    whole = np.zeros((count, height, one.shape[2] + other.shape[2], 3), np.uint8)
    whole[:, : one.shape[1], : one.shape[2]] = one[:count]
    whole[:, : other.shape[1], one.shape[2] :] = other[:count]
    return whole


def far(clip: U8) -> U8:
    """A clip made small, right of the middle of a grey picture. Shape (T, 540, 960, 3)."""
    whole = np.full((len(clip), *_FAR_SIZE, 3), 128, np.uint8)
    width = round(clip.shape[2] * _FAR_HEIGHT / clip.shape[1])
    for target, image in zip(whole, clip, strict=True):
        small = cv2.resize(image, (width, _FAR_HEIGHT), interpolation=cv2.INTER_AREA)
        target[200 : 200 + _FAR_HEIGHT, 520 : 520 + width] = small
    return whole


def scenes(clips: list[Path], count: int) -> Iterator[tuple[str, U8]]:
    """Name and frames of each."""
    for path in clips:
        yield f"1 {path.stem}", read(path, count)
    for one, other in pairwise(clips):
        yield f"2 {one.stem} + {other.stem}", beside(read(one, count // 2), read(other, count // 2))
    for path in clips:
        yield f"3 {path.stem}, far", far(read(path, count // 2))


def compare(ours: Any, theirs: Any) -> dict[str, float]:
    """Numbers of one scene."""
    pairs, unmatched = _pairs(ours, theirs)
    a, b = ours["landmarks"][pairs[:, 0]], theirs["landmarks"][pairs[:, 1]]
    apart = np.linalg.norm((a - b)[..., :2], axis=-1)
    scores = [
        abs(one[:, 1] - other[:, 1]).max(initial=0.0)
        for one, other in ((ours[name], theirs[name]) for name in ("near", "far"))
        if len(one) == len(other)
    ]
    is_same = all(len(ours[name]) == len(theirs[name]) for name in ("near", "far"))
    return {
        "faces": float(len(theirs["frame"])),
        "unmatched": float(unmatched),
        "mean": float(apart.mean()) if len(a) else np.nan,
        "lips": float(apart[:, _LIPS].mean()) if len(a) else np.nan,
        "worst": float(apart.mean(1).max()) if len(a) else np.nan,
        "r": _correlation(mouth_open(a), mouth_open(b)) if len(a) > 2 else np.nan,
        "score": max(scores, default=0.0) if is_same else np.inf,
        "ours": 1 / float(ours["seconds"].mean()),
        "theirs": 1 / float(theirs["seconds"].mean()),
    }


def _pairs(ours: Any, theirs: Any) -> tuple[NDArray[np.int64], int]:
    """Rows of both that show one face in one frame, and how many faces have no partner."""
    found: list[tuple[int, int]] = []
    for row, (frame, landmarks) in enumerate(zip(ours["frame"], ours["landmarks"], strict=True)):
        others = np.flatnonzero(theirs["frame"] == frame)
        if len(others):
            apart = np.linalg.norm(
                (theirs["landmarks"][others] - landmarks)[..., :2].mean(1), axis=-1
            )
            size = float(np.ptp(landmarks[:, :2], axis=0).max())
            if apart.min() < size / 4:
                found.append((row, int(others[apart.argmin()])))
    total = len(ours["frame"]) + len(theirs["frame"])
    return np.array(found, np.int64).reshape(-1, 2), total - 2 * len(found)


def _correlation(one: F32, other: F32) -> float:
    return float(np.corrcoef(one.astype(float), other.astype(float))[0, 1])


def _environment(folder: Path) -> Path:
    """A Python of its own that has mediapipe."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    subprocess.run([str(python), "-m", "pip", "install", "-q", *_PACKAGES], check=True)
    return python


def _run(python: Path | str, kind: str, folder: Path) -> None:
    script = Path(__file__).with_name("detect_scenes.py")
    # mediapipe logs from C++, so what is said is shown only where the run fails.
    run = subprocess.run(
        [str(python), str(script), kind, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if run.returncode:
        raise SystemExit(f"{script.name} {kind} failed:\n{run.stderr}")


def _row(name: str, row: dict[str, float]) -> str:
    return (
        f"| {name} | {row['faces']:.0f} | {row['unmatched']:.0f} | {row['mean']:.3f} "
        f"| {row['lips']:.3f} | {row['worst']:.3f} | {row['r']:.5f} | {row['score']:.5f} "
        f"| {row['ours']:.0f} | {row['theirs']:.0f} |"
    )


def main() -> None:
    """Print a row a scene."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clips", type=Path, nargs="+", help="videos with faces")
    parser.add_argument("--frames", type=int, default=100, help="of each clip, from its start")
    parser.add_argument("--python", type=Path, help="one that has mediapipe 0.10.21")
    arguments = parser.parse_args()
    print(
        "| scene | faces | unmatched | mean px | lips px | worst frame px | r of mouth opening |"
        " score | fps | fps of mediapipe |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        python = arguments.python or _environment(Path(temporary) / "environment")
        folder = Path(temporary) / "scene"
        folder.mkdir()
        for name, frames in scenes(arguments.clips, arguments.frames):
            np.save(folder / "scene.npy", frames)
            _run(sys.executable, "onnx", folder)
            _run(python, "mediapipe", folder)
            ours, theirs = (np.load(folder / f"scene.{kind}.npz") for kind in ("onnx", "mediapipe"))
            print(_row(name, compare(ours, theirs)), flush=True)


if __name__ == "__main__":
    main()
