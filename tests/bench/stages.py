"""Seconds a frame takes in each stage, against the floor: `python tests/bench/stages.py`.

The floor is decoding and encoding the same file alone, in the same run and with the same encoder
settings: nobody who changes pictures can be faster. JSON goes to stdout:

* `alone_s_per_frame`: stages run by themselves (`decode`, `encode`, and `face`: detection, tracking
  and shot cuts on decoded pictures).
* `dub_s_per_frame`: the stages of one whole run as its report counts them. Decoding and encoding
  run beside the model there, so only the waiting for them shows; a window is pasted while the next
  one is generated, so stages add up to more than `total`.
* `ratio_to_floor`: whole run over floor; 1 is the best there can be.
* `cpu_s_per_frame`: user and system seconds of all threads, of the floor and of the whole run. They
  tell more than `total` where other processes keep the cores busy.
* `first_frame_s`: from the start of the whole run to its first analysed frame; imports not counted.
* `processor`: what it ran on, and whether models work in bfloat16 there.
* `peak_memory_mib`: of this process, at its end.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import dubcli
from dubcli import dub
from dubcli.config import DEVICES, DubConfig
from dubcli.core.errors import DubError
from dubcli.core.reports import DubReport
from dubcli.face.detect import MAX_SIDE, open_detector
from dubcli.face.recognition import load_recogniser
from dubcli.face.shots import ShotDetector
from dubcli.face.track import Tracker
from dubcli.media.container.probe import probe, require_video
from dubcli.media.video.frame_reader import FrameReader
from dubcli.media.video.frame_writer import EncodeOptions, FrameWriter
from dubcli.pipeline.device import has_fast_bfloat16

ASSETS = Path(dubcli.__file__).parent / "assets"


def main() -> None:
    """Measure one clip."""
    job = _parse()
    with tempfile.TemporaryDirectory(prefix="dub-bench-") as folder:
        try:
            cpu_began = time.process_time()
            alone, frames = _media_alone(job, Path(folder))
            floor_cpu_s = time.process_time() - cpu_began
            alone["face"] = _face_alone(job)
            began, cpu_began = time.perf_counter(), time.process_time()
            report, first_s = _whole_run(job, Path(folder))
            total_s = time.perf_counter() - began
            cpu_s = {"floor": floor_cpu_s, "dub": time.process_time() - cpu_began}
        except DubError as error:
            sys.exit(f"{job.video}: {error}")
    result = _result(job, report, alone, frames, total_s)
    result["cpu_s_per_frame"] = _per_frame(cpu_s, frames)
    result["first_frame_s"] = round(first_s, 3)
    result["processor"] = _processor()
    text = json.dumps(result, indent=2)
    print(text)
    if job.out is not None:
        job.out.write_text(text + "\n", encoding="utf-8")


def _media_alone(job: argparse.Namespace, folder: Path) -> tuple[dict[str, float], int]:
    """Seconds of decoding and encoding the file without anything between; frames."""
    info = probe(job.video)
    options = EncodeOptions(output=folder / f"floor{_suffix(job)}", threads=job.threads)
    spent, frames = {"decode": 0.0, "encode": 0.0}, 0
    with FrameReader(job.video, info, job.threads) as reader:
        mark = time.perf_counter()
        with FrameWriter(folder / "floor.mov", require_video(info), options) as writer:
            for native in reader.native_frames():
                mark = _count(spent, "decode", mark)
                writer.write(native.frame, native.pts)
                mark = _count(spent, "encode", mark)
                frames += 1
        _count(spent, "encode", mark)
    return spent, frames


def _face_alone(job: argparse.Namespace) -> float:
    """Seconds of finding and following faces in pictures that are decoded already."""
    spent = {"face": 0.0, "decode": 0.0}
    tracker, shots = Tracker(recogniser=load_recogniser()), ShotDetector()
    with (
        open_detector() as detector,
        FrameReader(job.video, probe(job.video), job.threads) as reader,
    ):
        mark = time.perf_counter()
        for frame in reader.frames(MAX_SIDE):
            mark = _count(spent, "decode", mark)
            tracker.update(frame, detector.detect(frame), is_cut=False)
            shots.update(frame.image)
            mark = _count(spent, "face", mark)
        tracker.finish()
        _count(spent, "face", mark)
    return spent["face"]


def _whole_run(job: argparse.Namespace, folder: Path) -> tuple[DubReport, float]:
    """The report, and seconds until the first frame was analysed."""
    began, first = time.perf_counter(), list[float]()

    def note(stage: str, done: int, total: int) -> None:
        if stage == "analyse" and not first:
            first.append(time.perf_counter() - began)

    report = dub(
        DubConfig(
            video=job.video,
            audio=job.audio,
            output=folder / f"dubbed{_suffix(job)}",
            model=job.model,
            device=job.device,
            sync_mode="pad",
            threads=job.threads,
        ),
        note,
    )
    return report, first[0]


def _processor() -> dict[str, Any]:
    # After dubcli, which sets how torch's threads wait.
    import torch

    name = platform.processor() or platform.machine()
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        lines = listed.read_text(encoding="utf-8").splitlines()
        name = next((line.split(": ")[1] for line in lines if line.startswith("model name")), name)
    is_fast = has_fast_bfloat16(torch.device("cpu"))
    return {"name": name, "cores": os.cpu_count(), "bfloat16": is_fast}


def _result(
    job: argparse.Namespace,
    report: DubReport,
    alone: dict[str, float],
    frames: int,
    total_s: float,
) -> dict[str, Any]:
    floor_s = alone["decode"] + alone["encode"]
    return {
        "video": job.video.name,
        "width": report.width,
        "height": report.height,
        "frames": frames,
        "frames_dubbed": report.frames_dubbed,
        "model": report.model,
        "device": report.device,
        "alone_s_per_frame": _per_frame(alone, frames),
        "dub_s_per_frame": _per_frame({**report.seconds, "total": total_s}, report.frames),
        "floor_s_per_frame": round(floor_s / frames, 6),
        "ratio_to_floor": round(total_s / report.frames / (floor_s / frames), 3),
        "real_time_factor": round(total_s / report.duration_s, 3),
        "peak_memory_mib": round(_peak_mib(), 1),
    }


def _per_frame(spent: dict[str, float], frames: int) -> dict[str, float]:
    return {stage: round(seconds / frames, 6) for stage, seconds in spent.items()}


def _count(spent: dict[str, float], stage: str, since: float) -> float:
    now = time.perf_counter()
    spent[stage] += now - since
    return now


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _suffix(job: argparse.Namespace) -> str:
    return ".mkv" if job.video.suffix.lower() == ".mkv" else ".mp4"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--video", type=Path, default=ASSETS / "demo.mp4")
    parser.add_argument("--audio", type=Path, default=ASSETS / "demo_speech.wav")
    parser.add_argument("--model", default=DubConfig.model)
    parser.add_argument("--device", default=DubConfig.device, help=f"one of {', '.join(DEVICES)}")
    parser.add_argument("--threads", type=int, default=DubConfig.threads)
    parser.add_argument("--out", type=Path, help="file for the same JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
