"""Two processes under torchrun train as one: the same batches, one checkpoint, the same weights."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from train_runs import rows

from dubcli.config import TrainConfig
from dubcli.training.run import train

# A guard against hangs, not a measure.
_LIMIT_S = 600


def test_two_processes_make_the_steps_of_one_that_accumulates(
    configured: Callable[..., TrainConfig], data: Path, tmp_path: Path
) -> None:
    alone = train(configured("alone", stage="render", losses="no-gan", accumulate=2, steps=3))
    words = ["train", "iptalker", "--data", str(data), "--output", str(tmp_path / "both")]
    words += ["--stage", "render", "--losses", "no-gan", "--preset", "tiny", "--device", "cpu"]
    words += ["--batch-clips", "1", "--frames-per-clip", "2", "--steps", "3", "--threads", "1"]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "dubcli", *words],
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    both = tmp_path / "both" / alone.name
    assert [path.name for path in both.parent.glob("step-*")] == [alone.name]
    assert [row["step"] for row in rows(both.parent)] == ["1", "2", "3"]
    left, right = (load_file(path / "model.safetensors") for path in (alone, both))
    assert left.keys() == right.keys()
    for name, value in left.items():
        torch.testing.assert_close(right[name], value, rtol=1e-3, atol=1e-4)
