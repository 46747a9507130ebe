"""Does memory grow with length? `python tests/bench/memory.py --clip CLIP`.

Loops a clip to inputs of 1 and of 10 minutes in 1080p, or `--size`, dubs each in a process of its
own by a looped recording, and asks the system for that process's peak resident memory. A Markdown
table goes to stdout, and the same as JSON to `--out`. Exit code 1 where a peak exceeds the limit or
the longest input needs much more than the shortest.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import dubcli
from dubcli.config import DEVICES, DubConfig
from dubcli.media.container.ffmpeg import ffmpeg_binary

ASSETS = Path(dubcli.__file__).parent / "assets"
LIMIT_MIB = 1.5e9 / 2**20
# Audio, its features and each frame's landmarks are kept, some 0.2 MiB a second at 25 fps; one
# 1080p picture is 3 MiB. The rest is chance: queues that were full or not at the peak.
MOST_GROWTH_MIB_PER_S, CHANCE_MIB = 0.5, 64.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """One input: its length, and what dubbing it took."""

    seconds: float
    frames: int
    frames_dubbed: int
    wall_s: float
    fps: float
    peak_mib: float


def main() -> int:
    """Measure every length."""
    job = _parse()
    with tempfile.TemporaryDirectory(prefix="dub-bench-", dir=job.work) as folder:
        runs = [_measure(job, seconds, Path(folder)) for seconds in sorted(job.seconds)]
    more_mib, more_s = runs[-1].peak_mib - runs[0].peak_mib, runs[-1].seconds - runs[0].seconds
    growth = more_mib / more_s if more_s else 0.0
    peak = max(run.peak_mib for run in runs)
    is_good = peak <= LIMIT_MIB and more_mib <= CHANCE_MIB + MOST_GROWTH_MIB_PER_S * more_s
    _print_table(runs, growth, is_good)
    if job.out is not None:
        result = {
            "clip": job.clip.name,
            "model": job.model,
            "size": job.size,
            "runs": [asdict(run) for run in runs],
            "growth_mib_per_s": round(growth, 4),
            "limit_mib": round(LIMIT_MIB, 1),
            "is_good": is_good,
        }
        job.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0 if is_good else 1


def _measure(job: argparse.Namespace, seconds: float, folder: Path) -> Run:
    video, audio, output = folder / "in.mp4", folder / "in.wav", folder / "out.mp4"
    endless = ("-stream_loop", "-1")
    size = job.size.replace("x", ":")
    shape = f"scale={size}:force_original_aspect_ratio=decrease,pad={size}:(ow-iw)/2:(oh-ih)/2"
    codec = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "20", "-pix_fmt", "yuv420p")
    length = ("-t", str(seconds))
    _ffmpeg(*endless, "-i", job.clip, *length, "-vf", f"{shape},setsar=1", "-an", *codec, video)
    _ffmpeg(*endless, "-i", job.audio, *length, audio)
    argv = [sys.executable, "-m", "dubcli", str(video), "--audio", str(audio), "-y", "--quiet"]
    argv += ["-o", str(output), "--model", job.model, "--device", job.device]
    argv += ["--sync-mode", "pad", "--threads", str(job.threads)]
    began = time.perf_counter()
    process = subprocess.Popen(argv)
    # Not `RUSAGE_CHILDREN`: that is the highest of all children so far, of every length.
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - began
    if process.returncode != 0:
        sys.exit(f"dub failed with exit code {process.returncode} on {seconds} s.")
    report = json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return Run(
        seconds=seconds,
        frames=report["frames"],
        frames_dubbed=report["frames_dubbed"],
        wall_s=round(wall_s, 2),
        fps=round(report["frames"] / wall_s, 2),
        peak_mib=round(usage.ru_maxrss / unit, 1),
    )


def _ffmpeg(*arguments: str | Path) -> None:
    words = [f"file:{word}" if isinstance(word, Path) else word for word in arguments]
    subprocess.run([ffmpeg_binary(), "-nostdin", "-loglevel", "error", "-y", *words], check=True)


def _print_table(runs: list[Run], growth: float, is_good: bool) -> None:
    print("| input, s | frames | dubbed | wall, s | frames/s | peak memory, MiB |")
    print("|---:|---:|---:|---:|---:|---:|")
    for run in runs:
        cells = (run.seconds, run.frames, run.frames_dubbed, run.wall_s, run.fps, run.peak_mib)
        print("| " + " | ".join(f"{cell:g}" for cell in cells) + " |")
    verdict = "within" if is_good else "BEYOND"
    print(f"\nGrowth {growth:.3f} MiB per second of input; {verdict} the limits", end=" ")
    print(f"({LIMIT_MIB:.0f} MiB, {MOST_GROWTH_MIB_PER_S:g} MiB/s).")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clip", type=Path, default=ASSETS / "demo.mp4")
    parser.add_argument("--audio", type=Path, default=ASSETS / "demo_speech.wav")
    parser.add_argument("--seconds", type=float, nargs="+", default=[60.0, 600.0])
    parser.add_argument("--size", default="1920x1080", help="width and height of the inputs")
    parser.add_argument("--model", default=DubConfig.model)
    parser.add_argument("--device", default=DubConfig.device, help=f"one of {', '.join(DEVICES)}")
    parser.add_argument("--threads", type=int, default=DubConfig.threads)
    parser.add_argument("--work", type=Path, help="folder for the inputs; the system's by default")
    parser.add_argument("--out", type=Path, help="file for the result as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
