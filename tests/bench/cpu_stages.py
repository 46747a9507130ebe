"""CPU milliseconds a frame of every step of a dub: `python tests/bench/cpu_stages.py VIDEO AUDIO`.

    python tests/bench/speed_clips.py clip.mp4 --frames 150
    python tests/bench/cpu_stages.py clip.mp4 clip.wav --models iptalker personatalk --runs 3

CPU time of a thread is counted, not the clock, so other processes of the machine matter little;
everything runs on one thread a stage, so all of a stage's time is its own. What one step spends
within another one counts for the inner one alone. Of several runs the smallest sum counts. The
floor is decoding and encoding alone, with the same settings. Markdown goes to stdout, one column a
model.
`PYTHONPATH` may name another source tree; what that one does not have is left out.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Phases of a dub by the stage function of `pipeline.run`, in order; steps count for the phase in
# which they run.
_PHASES = {
    "load_inputs": "start",
    "find_faces": "pass 1",
    "decide": "decision",
    "prepare_speakers": "references",
    "render_picture": "pass 2",
    "remux": "join",
}
# Step, where its function lies, and whether that gives an iterator.
_STEPS = (
    ("decode", "dubcli.media.video.frame_reader:FrameReader._decoded", True),
    ("reduced RGB", "dubcli.media.video.rgb_pictures:PictureMaker.__call__", False),
    ("face boxes", "dubcli.face.mesh.face_boxes:FaceBoxNetwork.detect", False),
    ("face mesh", "dubcli.face.mesh.face_mesh:LandmarkNetwork.see", False),
    ("detector, rest", "dubcli.face.onnx_detector:OnnxFaceDetector.detect", False),
    ("occlusion", "dubcli.face.sighting:look_for_cover", False),
    ("descriptors", "dubcli.face.track:Tracker.look", False),
    ("shots", "dubcli.face.shots:ShotDetector.update", False),
    ("tracking", "dubcli.face.track:Tracker.add", False),
    ("recognition", "dubcli.face.recognition:FaceRecogniser.embed", False),
    ("sound features", "dubcli.pipeline.engine:Engine.features", False),
    ("region to RGB", "dubcli.pipeline.renderer:Renderer._view", False),
    ("crop", "dubcli.pipeline.renderer:Renderer._crop", False),
    ("model, preparation", "dubcli.pipeline.renderer:_generator", False),
    ("model", "dubcli.pipeline.generator:Generator._generate", False),
    ("mask", "dubcli.pipeline.renderer:Renderer._mask", False),
    ("detail", "dubcli.pipeline.patch_detail:PatchDetail.added", False),
    ("detail", "dubcli.pipeline.renderer:Renderer._with_detail", False),
    ("place and colour", "dubcli.pipeline.renderer:place_patch", False),
    ("palette and grain", "dubcli.pipeline.renderer:match_picture", False),
    ("blend", "dubcli.media.video.native_frame:NativeFrame.blend", False),
    ("paste, rest", "dubcli.pipeline.renderer:Renderer._paste", False),
    ("encode", "dubcli.media.video.frame_writer:FrameWriter.write", False),
    ("encode", "dubcli.media.video.frame_writer:FrameWriter.close", False),
)


class StageTimer:
    """CPU seconds by phase and step, of all threads."""

    def __init__(self) -> None:
        self.phase = "start"
        self.spent: dict[tuple[str, str], float] = defaultdict(float)
        self._lock = threading.Lock()
        self._own = threading.local()

    def call(self, step: str, function: Callable[[], Any]) -> Any:
        """Run a function and count its thread's time, but for what steps within it take."""
        inner = getattr(self._own, "inner", 0.0)
        self._own.inner = 0.0
        began = time.thread_time()
        try:
            return function()
        finally:
            took = time.thread_time() - began
            with self._lock:
                self.spent[self.phase, step] += took - self._own.inner
            self._own.inner = inner + took

    def watch(self, step: str, place: str, is_iterator: bool) -> None:
        """Count a function from now on; one that is not there is left out."""
        owner, name = _owner(place)
        if owner is None:
            return
        function = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            if is_iterator:
                return self._counted_items(step, function(*args, **kwargs))
            return self.call(step, lambda: function(*args, **kwargs))

        setattr(owner, name, counted)

    def _counted_items(self, step: str, items: Iterator[Any]) -> Iterator[Any]:
        try:
            while True:
                item = self.call(step, lambda: next(items, None))
                if item is None:
                    return
                yield item
        finally:
            items.close()  # type: ignore[attr-defined]

    def watch_phase(self, function: str, phase: str) -> None:
        """Everything from this stage on belongs to a phase."""
        owner, _ = _owner(f"dubcli.pipeline.run:{function}")
        stage = getattr(owner, function)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.phase = phase
            return stage(*args, **kwargs)

        setattr(owner, function, counted)


def _owner(place: str) -> tuple[Any, str]:
    """What holds a function, and its name; None where there is no such function."""
    module, _, path = place.partition(":")
    try:
        owner: Any = importlib.import_module(module)
    except ModuleNotFoundError:
        return None, path
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent, None)
    return (owner if hasattr(owner, name) else None), name


def measure(video: Path, audio: Path, model: str) -> dict[str, float]:
    """CPU milliseconds a frame by `phase: step`, and of the whole; in this process."""
    import cv2
    import torch

    from dubcli.config import DubConfig
    from dubcli.pipeline.run import dub

    assert torch.get_num_threads() == 1
    cv2.setNumThreads(1)
    timer = StageTimer()
    for step in _STEPS:
        timer.watch(*step)
    for function, phase in _PHASES.items():
        timer.watch_phase(function, phase)
    with tempfile.TemporaryDirectory(prefix="dub-bench-") as folder:
        config = DubConfig(
            video=video,
            audio=audio,
            output=Path(folder) / "dubbed.mp4",
            model=model,
            sync_mode="pad",
            threads=1,
        )
        began = time.process_time()
        report = dub(config)
        whole = time.process_time() - began
        spent = dict(timer.spent)
        floor = _floor(video, Path(folder))
    found = {f"{phase}: {step}": seconds for (phase, step), seconds in spent.items()}
    found["rest"] = whole - sum(found.values())
    found |= {"whole": whole, "decode and encode alone": floor}
    return {step: 1000 * seconds / report.frames for step, seconds in found.items()}


def _floor(video: Path, folder: Path) -> float:
    """CPU seconds of decoding and encoding alone."""
    from dubcli.media.container.probe import probe, require_video
    from dubcli.media.video.frame_reader import FrameReader
    from dubcli.media.video.frame_writer import EncodeOptions, FrameWriter

    info = probe(video)
    options = EncodeOptions(output=folder / "floor.mp4", threads=1)
    began = time.process_time()
    with (
        FrameReader(video, info, 1) as reader,
        FrameWriter(folder / "floor.mov", require_video(info), options) as writer,
    ):
        for native in reader.native_frames():
            writer.write(native.frame, native.pts)
    return time.process_time() - began


def table(columns: dict[str, dict[str, float]]) -> str:
    """The columns side by side, steps in the order in which they run."""
    order = [f"{phase}: {step}" for phase in _PHASES.values() for step, *_ in _STEPS]
    order += ["rest", "whole", "decode and encode alone"]
    seen = [step for step in dict.fromkeys(order) if any(step in one for one in columns.values())]
    lines = [f"| step | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for step in seen:
        cells = (f"{one[step]:.1f}" if step in one else "" for one in columns.values())
        lines.append(f"| {step} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure each model, each run in a process of its own."""
    job = _parse()
    if job.inside:
        print(json.dumps(measure(job.video, job.audio, job.models[0])))
        return
    columns: dict[str, dict[str, float]] = {}
    for model in job.models:
        argv = [sys.executable, __file__, str(job.video), str(job.audio), "--models", model]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        runs: list[dict[str, float]] = []
        for _ in range(job.runs):
            done = subprocess.run(
                [*argv, "--inside"], env=environment, stdout=subprocess.PIPE, text=True, check=True
            )
            runs.append(json.loads(done.stdout))
        columns[model] = min(runs, key=lambda run: run["whole"])
        columns[model]["decode and encode alone"] = min(
            run["decode and encode alone"] for run in runs
        )
    print(table(columns))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("video", type=Path)
    parser.add_argument("audio", type=Path)
    parser.add_argument("--models", nargs="+", default=["iptalker"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
