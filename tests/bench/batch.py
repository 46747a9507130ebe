"""Many tiny dubs by several workers that are killed at random: is each row done exactly once?

    python tests/bench/batch.py [--jobs 300] [--workers 4] [--every 25]

Prints a line of figures and exits with 1 where a row is missing, done twice, or has other bytes
than the first one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from batch_jobs import TINY, done_in, tiny_jobs, tiny_media

from dubcli.batches.row_result import RowResult
from dubcli.batches.run import batch
from dubcli.config import BatchConfig


def main() -> int:
    """Do the jobs; 0 where each was done exactly once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--every", type=int, default=25, help="results between two kills")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dub-batch-") as name:
        return _measure(Path(name), options.jobs, options.workers, options.every)


def _measure(folder: Path, num_jobs: int, num_workers: int, every: int) -> int:
    names = [f"{number}.mp4" for number in range(num_jobs)]
    jobs = tiny_jobs(folder / "jobs.jsonl", tiny_media(folder), names)
    rng, kills = random.Random(20), [0]
    seen: list[RowResult] = []

    def kill_now_and_then(result: RowResult) -> None:
        seen.append(result)
        alive = multiprocessing.active_children()
        if alive and rng.random() < 1 / every:
            rng.choice(alive).kill()
            kills[0] += 1

    began = time.monotonic()
    config = BatchConfig(jobs=jobs, workers=num_workers, retries=5, set=TINY)
    report = batch(config, on_result=kill_now_and_then)
    seconds = time.monotonic() - began
    lines = Counter(result.row for result in done_in(Path(report.path)))
    whole = {(folder / name).read_bytes() for name in names if (folder / name).exists()}
    once = sum(count == 1 for count in lines.values())
    left = len(list(folder.glob("*.dubjob")))
    print(
        f"{num_jobs} jobs, {num_workers} workers, {kills[0]} kills, {seconds:.0f} s: {once} done "
        f"once, {sum(count > 1 for count in lines.values())} more than once, "
        f"{num_jobs - len(lines)} never; {len(whole)} different results, {left} folders left"
    )
    return 0 if once == num_jobs and len(whole) == 1 and not left else 1


if __name__ == "__main__":
    sys.exit(main())
