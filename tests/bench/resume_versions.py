"""Does a run of one version go on in another? `python tests/bench/resume_versions.py OLD NEW DATA`.

OLD and NEW are Python interpreters as in `compare_versions.py`, DATA a prepared set that both read.
OLD trains the tiny network; NEW goes on from OLD's checkpoint of half the steps, and so does OLD.
One row a stage goes to stdout, as Markdown: the last loss of both, and how far their weights are
apart, as a share of how far OLD moved them meanwhile. The exit code is 1 where a run fails, or
where the stage `render` is further apart than the limit. The other stages draw dropout while they
compute, so that versions which draw it in another order go other ways.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from compare_versions import interpreter
from safetensors.torch import load_file
from torch import Tensor

STAGES = ("geometry", "render", "joint")
_WITHOUT_DROPOUT = "render"


def main() -> int:
    """Go on from each stage's checkpoint and print the table."""
    options = _parse()
    print("| stage | loss, old | loss, new | weights apart, share of the update |")
    print("|---|---|---|---|")
    found: dict[str, float] = {}
    for stage in STAGES:
        with tempfile.TemporaryDirectory(prefix="dub-resume-") as folder:
            old, new = Path(folder) / "old", Path(folder) / "new"
            _train(options.old, stage, options, old)
            half = old / f"step-{options.steps // 2:06d}"
            shutil.copytree(half, new / half.name)
            _train(options.new, stage, options, new)
            found[stage] = _apart(half, old, new, options.steps)
            losses = " | ".join(f"{_last_loss(run):.5f}" for run in (old, new))
        print(f"| {stage} | {losses} | {found[stage]:.2g} |", flush=True)
    return int(found[_WITHOUT_DROPOUT] > options.limit)


def _train(python: str, stage: str, options: argparse.Namespace, output: Path) -> None:
    program, environment = interpreter(python)
    argv = [program, "-m", "dubcli", "train", "iptalker", "--data", str(options.data.resolve())]
    argv += ["--output", str(output), "--stage", stage, "--preset", "tiny", "--device", "cpu"]
    argv += ["--steps", str(options.steps), "--checkpoint-every", str(options.steps // 2)]
    argv += ["--batch-clips", "2", "--threads", "1"]
    # Python would import a source tree that is the working directory before all others.
    run = subprocess.run(
        argv, env=environment, cwd=output.parent, capture_output=True, text=True, check=False
    )
    if run.returncode:
        sys.exit(f"{python} fails in stage {stage}: {run.stderr.strip().splitlines()[-1:]}")


def _apart(half: Path, old: Path, new: Path, steps: int) -> float:
    """Distance of the last weights over the distance that the old version went from `half`."""
    began, one, other = (
        _weights(path) for path in (half, *(run / f"step-{steps:06d}" for run in (old, new)))
    )
    return float((one - other).norm() / (one - began).norm())


def _weights(checkpoint: Path) -> Tensor:
    """All floating weights of a checkpoint's model, in the order of their names. Shape (N,)."""
    found = load_file(checkpoint / "model.safetensors")
    values = [found[name].double().flatten() for name in sorted(found)]
    return torch.cat(values)


def _last_loss(run: Path) -> float:
    with (run / "log.csv").open(newline="") as file:
        return float(list(csv.DictReader(file))[-1]["loss"])


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("old", help="Python interpreter of the old version, or PYTHON:FOLDER")
    parser.add_argument("new", help="the same of the new version")
    parser.add_argument("data", type=Path, help="a prepared set")
    parser.add_argument("--steps", type=int, default=4, help="in all; even")
    parser.add_argument("--limit", type=float, default=0.05, help="of the update, stage render")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
