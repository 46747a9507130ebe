"""What a dub costs by model, length, size and number of faces: JSON, a table and plots.

    python tests/bench/speed.py OUT
    python tests/bench/speed.py OUT --package ../older-checkout --axes models

Each point is a clip made of the bundled demo (`speed_clips.py`) and measured by `stages.py` in a
process of its own; of several runs the median counts. OUT gets `speed.json`, one plot an axis, and
the table that docs/performance.md shows goes to stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from speed_clips import ClipShape

from dubcli.config import DubConfig

MODELS = ("iptalker", "lip-identity", "personatalk", "g4g")
_SIZES = {"360p": (640, 360), "720p": (1280, 720), "1080p": (1920, 1080), "2160p": (3840, 2160)}
# Share of the picture's height that a face takes.
_FACE = 300 / 1080
_AXES = ("models", "length", "size", "faces")


def points_of(axis: str, job: argparse.Namespace) -> list[tuple[str, float, str, ClipShape]]:
    """Name, place on the axis, model and clip of each point."""
    frames = job.frames
    if axis == "models":
        return [
            (f"{model}, {size}", 0, model, _shape(size, frames))
            for model in job.models
            for size in ("720p", "1080p")
        ]
    model = DubConfig.model
    if axis == "length":
        return [(f"{s:g} s", s, model, _shape("720p", round(25 * s))) for s in job.seconds]
    if axis == "size":
        return [(size, _SIZES[size][1], model, _shape(size, frames)) for size in _SIZES]
    return [(f"{n} faces", n, model, _shape("1080p", frames, n)) for n in (1, 2, 3, 4)]


def _shape(size: str, frames: int, faces: int = 1) -> ClipShape:
    width, height = _SIZES[size]
    return ClipShape(
        width=width, height=height, frames=frames, face=round(_FACE * height), faces=faces
    )


def measure(model: str, shape: ClipShape, folder: Path, job: argparse.Namespace) -> dict[str, Any]:
    """Medians of the runs of one point."""
    video = folder / "clip.mp4"
    # By a process of its own: a child's peak of memory is no less than its parent's was.
    made = [sys.executable, str(Path(__file__).with_name("speed_clips.py")), str(video)]
    for name, value in asdict(shape).items():
        made += [f"--{name}", str(value)]
    subprocess.run(made, capture_output=True, check=True)
    speech = video.with_suffix(".wav")
    argv = [sys.executable, str(Path(__file__).with_name("stages.py"))]
    argv += ["--video", str(video), "--audio", str(speech), "--model", model]
    argv += ["--threads", str(job.threads)]
    environment = dict(os.environ)
    if job.package is not None:
        environment["PYTHONPATH"] = str(job.package.resolve())
    runs: list[dict[str, Any]] = []
    for _ in range(job.runs):
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
        runs.append(json.loads(done.stdout))
    return _medians(runs)


def _medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Numbers by their median, all else as in the first run."""
    merged: dict[str, Any] = {}
    for key, value in runs[0].items():
        if isinstance(value, dict):
            merged[key] = _medians([run[key] for run in runs])
        elif isinstance(value, int | float) and not isinstance(value, bool):
            merged[key] = median(run[key] for run in runs)
        else:
            merged[key] = value
    return merged


def as_row(name: str, found: dict[str, Any]) -> str:
    """One line of the table; milliseconds a frame, but for the last columns."""
    stages, cpu = found["dub_s_per_frame"], found["cpu_s_per_frame"]
    wall = [stages.get(key, 0.0) for key in ("analyse", "references", "crop", "model", "paste")]
    total = stages["total"]
    cells = [f"{1000 * seconds:.0f}" for seconds in (*wall, total, found["floor_s_per_frame"])]
    cells += [f"{1000 * cpu[key]:.0f}" for key in ("dub", "floor")]
    cells += [f"{1 / total:.1f}", f"{found['ratio_to_floor']:.1f}", f"{found['first_frame_s']:.1f}"]
    return " | ".join([name, *cells, f"{found['peak_memory_mib']:.0f}"]) + " |"


HEADER = (
    "| clip | analysis | references | crop | model | paste | whole | decode + encode | "
    "CPU, whole | CPU, decode + encode | frames a second | times the floor | first frame, s | "
    "peak, MiB |"
)


def draw(axis: str, found: dict[str, Any], path: Path) -> None:
    """Wall and CPU time of a frame over one axis, beside the floor."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    places = [point["place"] for point in found.values()]
    lines = {
        "whole dub, CPU": [p["cpu_s_per_frame"]["dub"] for p in found.values()],
        "whole dub, wall clock": [p["dub_s_per_frame"]["total"] for p in found.values()],
        "decode + encode, CPU": [p["cpu_s_per_frame"]["floor"] for p in found.values()],
    }
    for label, seconds in lines.items():
        axes.plot(places, [1000 * value for value in seconds], "o-", label=label)
    axes.set_xticks(places, list(found))
    axes.set_xlabel(axis)
    axes.set_ylabel("ms a frame")
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure all points."""
    job = _parse()
    job.out.mkdir(parents=True, exist_ok=True)
    told: dict[str, dict[str, Any]] = {}
    print(HEADER)
    print("|---" * (HEADER.count("|") - 1) + "|")
    for axis in job.axes:
        told[axis] = {}
        for name, place, model, shape in points_of(axis, job):
            with tempfile.TemporaryDirectory(prefix="dub-speed-") as folder:
                found = measure(model, shape, Path(folder), job)
            told[axis][name] = {**found, "place": place}
            print("|", as_row(name, found), flush=True)
            (job.out / "speed.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        if axis != "models":
            draw(axis, told[axis], job.out / f"speed-{axis}.png")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path, help="folder for JSON and plots")
    parser.add_argument("--axes", nargs="+", choices=_AXES, default=list(_AXES))
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--frames", type=int, default=300, help="of a clip, but along the length")
    parser.add_argument("--seconds", type=float, nargs="+", default=[1, 10, 60, 600])
    parser.add_argument("--threads", type=int, default=DubConfig.threads)
    parser.add_argument("--package", type=Path, help="another source tree to measure")
    return parser.parse_args()


if __name__ == "__main__":
    main()
