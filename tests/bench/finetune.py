"""What does learning a person take? `python tests/bench/finetune.py [--clip CLIP]`.

Runs `dub finetune` on one clip in a process of its own and tells wall seconds of each stage, peak
resident memory and the size of the identity, beside what it may take on two cores. Without `--clip`
the bundled clip and recording are looped to 20 s. A Markdown table goes to stdout, the same as JSON
to `--out`. Nothing is asserted.
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
from typing import Any

import dubcli
from dubcli.identities.layout import ADAPTER
from dubcli.identities.store import read_description
from dubcli.media.container.ffmpeg import ffmpeg_binary

ASSETS = Path(dubcli.__file__).parent / "assets"
DEMO_S = 20
BUDGET_S, BUDGET_MIB = 15 * 60, 6 * 1024


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What it took."""

    clip: str
    steps: int
    threads: int
    wall_s: float
    stages_s: dict[str, float]
    peak_mib: float
    identity_mb: float
    adapter_mb: float


def main() -> int:
    """Learn one clip and tell what it took."""
    job = _parse()
    with tempfile.TemporaryDirectory(prefix="dub-bench-", dir=job.work) as folder:
        clip = job.clip or _looped_demo(Path(folder) / "demo.mp4")
        taken = _learn(job, clip, Path(folder) / "identity")
    _print_table(taken)
    if job.out is not None:
        content: dict[str, Any] = {**asdict(taken), "budget_s": BUDGET_S, "budget_mib": BUDGET_MIB}
        job.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return 0


def _learn(job: argparse.Namespace, clip: Path, identity: Path) -> Taken:
    argv = [sys.executable, "-m", "dubcli", "finetune", str(clip), "--name", str(identity)]
    argv += ["--steps", str(job.steps), "--threads", str(job.threads), "--consent"]
    argv += ["--device", "cpu"]
    began = time.perf_counter()
    process = subprocess.Popen(argv)
    # Not `RUSAGE_CHILDREN`: ffmpeg, which made the clip, is a child too.
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - began
    if process.returncode != 0:
        sys.exit(f"dub finetune failed with exit code {process.returncode}.")
    spent: dict[str, float] = dict(read_description(identity).report["seconds"])
    stages_s = {stage: value for stage, value in spent.items() if stage != "all"}
    stages_s["start, store, the rest"] = round(wall_s - sum(stages_s.values()), 1)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    sizes = {path.name: path.stat().st_size for path in identity.rglob("*") if path.is_file()}
    return Taken(
        clip=clip.name,
        steps=job.steps,
        threads=job.threads,
        wall_s=round(wall_s, 1),
        stages_s=stages_s,
        peak_mib=round(usage.ru_maxrss / unit, 1),
        identity_mb=round(sum(sizes.values()) / 1e6, 2),
        adapter_mb=round(sizes[ADAPTER] / 1e6, 2),
    )


def _looped_demo(path: Path) -> Path:
    """The bundled clip speaking the bundled recording, both repeated."""
    parts = [word for name in ("demo.mp4", "demo_speech.wav") for word in _endless(ASSETS / name)]
    codec = ("-c:v", "libx264", "-crf", "16", "-pix_fmt", "yuv420p", "-c:a", "aac")
    argv = [ffmpeg_binary(), "-nostdin", "-loglevel", "error", "-y", *parts, "-t", str(DEMO_S)]
    argv += ["-map", "0:v", "-map", "1:a", *codec, f"file:{path}"]
    subprocess.run(argv, check=True)
    return path


def _endless(path: Path) -> tuple[str, ...]:
    return ("-stream_loop", "-1", "-i", f"file:{path}")


def _print_table(taken: Taken) -> None:
    print("| | taken | may take |")
    print("|---|---:|---:|")
    for stage, seconds in taken.stages_s.items():
        print(f"| {stage}, s | {seconds:g} | |")
    print(f"| in all, s | {taken.wall_s:g} | {BUDGET_S} (200 steps, 20 s of video, two cores) |")
    print(f"| peak memory, MiB | {taken.peak_mib:g} | {BUDGET_MIB} |")
    print(f"| identity, MB | {taken.identity_mb:g} | |")
    print(f"| its adapter, MB | {taken.adapter_mb:g} | 10 |")
    print(f"\n{taken.clip}: {taken.steps} steps, {taken.threads or 'all'} threads.")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clip", type=Path, help="a talking person; the bundled clip by default")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--threads", type=int, default=0, help="0 takes all cores")
    parser.add_argument(
        "--work", type=Path, help="folder for the identity; the system's by default"
    )
    parser.add_argument("--out", type=Path, help="file for the result as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
