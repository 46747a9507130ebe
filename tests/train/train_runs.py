"""What the tests of training runs look at, and how they interrupt one."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

STAGES = ("geometry", "render", "joint")


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def same_bits(a: Path, b: Path) -> bool:
    """Whether two checkpoints hold the same weights, averages, moments and random state."""
    names = {path.name for path in a.glob("*.safetensors")}
    if names != {path.name for path in b.glob("*.safetensors")}:
        return False
    for name in names:
        left, right = load_file(a / name), load_file(b / name)
        if left.keys() != right.keys():
            return False
        if not all(torch.equal(left[key], right[key]) for key in left):
            return False
    left, right = (torch.load(x / "optimizer.pt", weights_only=True) for x in (a, b))
    pairs = [*zip(left["rng"], right["rng"], strict=True)]
    if left["optimizers"].keys() != right["optimizers"].keys():
        return False
    for optimizer, mine in left["optimizers"].items():
        others = right["optimizers"][optimizer]
        for key, moments in mine["state"].items():
            pairs += [(value, others["state"][key][name]) for name, value in moments.items()]
    return all(torch.equal(x, y) for x, y in pairs)


def interrupt_at(step: int) -> Callable[[str, int, int], None]:
    def progress(stage: str, done: int, total: int) -> None:
        if done == step:
            raise KeyboardInterrupt

    return progress
