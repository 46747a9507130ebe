"""Do two installed versions dub alike? `python tests/bench/compare_versions.py OLD NEW VIDEO...`.

OLD and NEW are Python interpreters that have a version installed (or `PYTHON:FOLDER` for a source
tree that PYTHONPATH names). Each dubs every video under the same audio, seed and threads; what is
compared is what players decode: every frame's samples and presentation time, and every sample of
sound; of the picture also the PSNR in the boxes of the lips that the new version wanted, all frames
together, and which decisions of the reports differ. One row a video goes to stdout, as Markdown;
the exit code is 1 where anything differs. Without videos the bundled demo clip is dubbed. What
follows `--` is handed to both versions: `compare_versions.py OLD NEW a.mp4 b.mp4 -- --crf 0`
compares without loss.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from mouth_agreement import agreement_db, read_mouths

import dubcli
from dubcli.core.types import U8
from dubcli.pipeline.job import report_path

_COLUMNS = (
    *("video", "frames", "differing frames", "differing samples of picture"),
    *("largest difference, levels", "PSNR of differing samples, dB", "differing samples of sound"),
    *("PSNR of the lips' boxes, dB", "differing decisions"),
)
# Entries of the report that say which frames are dubbed, of whom, and why others are not.
_DECISIONS = (
    *("frames_dubbed", "passed_through", "shot_ranges", "faces", "face", "face_reason"),
    *("references", "encoded_ranges", "warnings"),
)
ASSETS = Path(dubcli.__file__).parent / "assets"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How two results differ.

    Attributes:
        frames: Frames of the new result.
        other_frames: Frames whose samples or times differ, or that only one result has.
        picture_samples: Samples of picture that differ in frames that both results have at the same
            time and size; in subsampled formats a pixel has several, and shares some.
        largest: Largest difference of a sample of picture, in levels.
        psnr_db: Over the differing samples alone, of 8 bits; None where none differs.
        sound_samples: Samples of sound that differ, or that only one result has.
    """

    frames: int
    other_frames: int
    picture_samples: int
    largest: int
    psnr_db: float | None
    sound_samples: int

    @property
    def is_none(self) -> bool:
        """Nothing differs."""
        return self.other_frames == 0 and self.sound_samples == 0


def main() -> int:
    """Dub with both versions and print the table."""
    options = parse(sys.argv[1:])
    print(f"| {' | '.join(_COLUMNS)} |")
    print("|---" * len(_COLUMNS) + "|")
    are_alike = True
    for video in options.videos or [ASSETS / "demo.mp4"]:
        with tempfile.TemporaryDirectory(prefix="dub-compare-") as folder:
            points = Path(folder) / "points.json"
            old, new = (Path(folder) / f"{name}{_suffix(video)}" for name in ("old", "new"))
            _dub(options.old, video, options, old)
            _dub(options.new, video, options, new, "--landmarks-out", str(points))
            found = compare(old, new)
            lips_db = round(agreement_db(old, new, read_mouths(points)), 1)
            decided = ", ".join(differing_decisions(report_path(old), report_path(new))) or "none"
        are_alike &= found.is_none
        row = (video.name, *astuple(found), lips_db, decided)
        print("| " + " | ".join(str(cell) for cell in row) + " |", flush=True)
    return 0 if are_alike else 1


def compare(old: Path, new: Path) -> Difference:
    """Compare two files as they decode; only a few frames are in memory at a time."""
    frames = differing = samples = largest = squares = 0
    for a, b in zip_longest(_frames(old), _frames(new)):
        frames += b is not None
        if a is None or b is None or a[0] != b[0] or a[1].shape != b[1].shape:
            differing += 1
        elif not np.array_equal(a[1], b[1]):
            differing += 1
            gap = np.abs(a[1].astype(np.int16) - b[1].astype(np.int16))
            samples += int(np.count_nonzero(gap))
            largest = max(largest, int(gap.max()))
            squares += int(np.square(gap, dtype=np.int64).sum())
    return Difference(
        frames=frames,
        other_frames=differing,
        picture_samples=samples,
        largest=largest,
        psnr_db=round(10 * math.log10(255**2 * samples / squares), 1) if squares else None,
        sound_samples=_differing_sound(_sound(old), _sound(new)),
    )


def differing_decisions(old: Path, new: Path) -> list[str]:
    """Names of the decisions that two reports do not share."""
    one, other = (json.loads(path.read_text(encoding="utf-8")) for path in (old, new))
    return [name for name in _DECISIONS if one.get(name) != other.get(name)]


def _frames(path: Path) -> Iterator[tuple[float | None, U8]]:
    """Time in seconds and every plane's bytes of each frame."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            planes = [np.frombuffer(bytes(plane), np.uint8) for plane in frame.planes]
            yield frame.time, np.concatenate(planes)


def _differing_sound(old: list[NDArray[Any]], new: list[NDArray[Any]]) -> int:
    """Samples that differ, tracks in order; what only one of them has counts as well."""
    count = 0
    nothing = np.zeros(0)
    for a, b in zip_longest(old, new, fillvalue=nothing):
        both = min(len(a), len(b))
        count += int(np.count_nonzero(a[:both] != b[:both])) + max(len(a), len(b)) - both
    return count


def _sound(path: Path) -> list[NDArray[Any]]:
    """Decoded sound of all tracks, channels one after the other within each frame."""
    with av.open(str(path)) as container:
        count = len(container.streams.audio)
    tracks: list[NDArray[Any]] = []
    for number in range(count):
        with av.open(str(path)) as container:
            frames = container.decode(audio=number)
            parts = [frame.to_ndarray().ravel() for frame in frames]
            tracks.append(np.concatenate(parts) if parts else np.zeros(0))
    return tracks


def _dub(python: str, video: Path, options: argparse.Namespace, output: Path, *words: str) -> None:
    """Dub by one version's own interpreter, in a process of its own."""
    program, environment = interpreter(python)
    audio = options.audio.resolve()
    argv = [program, "-m", "dubcli", str(video.resolve()), "--audio", str(audio), "-o", str(output)]
    argv += ["--seed", "0", "--threads", str(options.threads), "--no-mark", "-y", *options.more]
    argv += words
    # Python would import a source tree that is the working directory before all others.
    run = subprocess.run(
        argv, env=environment, cwd=output.parent, capture_output=True, text=True, check=False
    )
    if run.returncode:
        sys.exit(f"{python} fails on {video.name}: {run.stderr.strip().splitlines()[-1:]}")


def interpreter(python: str) -> tuple[str, dict[str, str]]:
    """Program and environment of `PYTHON` or `PYTHON:FOLDER`."""
    program, _, tree = python.partition(":")
    return program, {**os.environ, **({"PYTHONPATH": tree} if tree else {})}


def _suffix(video: Path) -> str:
    return video.suffix if video.suffix in (".mp4", ".mkv", ".mov", ".webm") else ".mp4"


def parse(words: list[str]) -> argparse.Namespace:
    """The command's words; `more` holds what follows `--`."""
    own, more = _split(words)
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("old", help="Python interpreter of the old version, or PYTHON:FOLDER")
    parser.add_argument("new", help="the same of the new version")
    parser.add_argument("videos", nargs="*", type=Path, help="default: the demo clip")
    parser.add_argument("--audio", type=Path, default=ASSETS / "demo_speech.wav")
    parser.add_argument("--threads", type=int, default=1)
    parser.epilog = "What follows -- is handed to both versions, such as -- --crf 0."
    return parser.parse_args(own, argparse.Namespace(more=more))


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """What stands before `--`, and what after."""
    place = words.index("--") if "--" in words else len(words)
    return words[:place], words[place + 1 :]


if __name__ == "__main__":
    sys.exit(main())
