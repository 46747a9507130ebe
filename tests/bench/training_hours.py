"""How fast a run trains, and how long a larger one would take: `training_hours.py RUN`.

    python tests/bench/training_hours.py runs/try --frames 1422000 --passes 10 --processes 8

Frames a second come from the run's `log.csv` (median seconds of an update over its second half,
waiting for batches included) and the options in its last checkpoint. Hours of another run are
computed from that, for the same model, size and batch: frames x passes / rate, the rate times
`--processes` times `--share` of what each process reaches alone.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from dubcli.training.checkpoint import list_checkpoints, read_run_config


@dataclass(frozen=True, kw_only=True)
class TrainingRate:
    """What a run reached.

    Attributes:
        frames: Frames that one update takes, in all processes.
        seconds: Of an update.
        processes: That shared it.
    """

    frames: int
    seconds: float
    processes: int

    @property
    def per_process(self) -> float:
        """Frames a second of one process."""
        return self.frames / self.seconds / self.processes


def rate_of(run: Path) -> TrainingRate:
    """Read a run's folder.

    Raises:
        SystemExit: It has no checkpoint or no log.
    """
    found, log = list_checkpoints(run), run / "log.csv"
    if not found or not log.is_file():
        raise SystemExit(f"'{run}' holds no checkpoint with a log. Name a run of dub train.")
    options = read_run_config(found[-1])
    sizes = [int(options.get(key, "1")) for key in ("batch_clips", "frames_per_clip", "accumulate")]
    processes = int(options.get("processes", "1"))
    with log.open(newline="", encoding="utf-8") as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    frames = sizes[0] * sizes[1] * sizes[2] * processes
    return TrainingRate(
        frames=frames, seconds=median(seconds[len(seconds) // 2 :]), processes=processes
    )


def hours(rate: TrainingRate, frames: int, passes: float, processes: int, share: float) -> float:
    """Hours in which so many processes see so many frames."""
    together = rate.per_process * processes * (share if processes > 1 else 1.0)
    return frames * passes / together / 3600


def main() -> None:
    """Print one run's rate, and the hours of another."""
    job = _parse()
    rate = rate_of(job.run)
    print(
        f"measured: {rate.frames} frames an update, {rate.seconds:.2f} s; {rate.per_process:.1f} "
        f"frames a second in each of {rate.processes}"
    )
    if job.frames:
        needed = hours(rate, job.frames, job.passes, job.processes, job.share)
        updates = job.frames * job.passes * rate.processes / rate.frames / job.processes
        print(
            f"computed: {needed:.1f} h and {updates:.0f} updates for {job.passes:g} passes over "
            f"{job.frames} frames in {job.processes} processes"
        )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path)
    parser.add_argument("--frames", type=int, default=0, help="of the larger set")
    parser.add_argument("--passes", type=float, default=1.0, help="over the larger set")
    parser.add_argument("--processes", type=int, default=1, help="of the larger run")
    parser.add_argument("--share", type=float, default=0.9, help="of its rate that each keeps")
    return parser.parse_args()


if __name__ == "__main__":
    main()
