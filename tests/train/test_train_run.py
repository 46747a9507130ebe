"""`dub train` on drawn faces: what it leaves, and that it learns."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch
from train_runs import STAGES, rows
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.config import TrainConfig
from dubcli.core.errors import ConfigError, TrainingError
from dubcli.models.iptalker import network as iptalker
from dubcli.models.iptalker.stages import RECIPE
from dubcli.training.batches import as_batch
from dubcli.training.data.train_clips import load_clips
from dubcli.training.run import train
from dubcli.training.stage import StageSetup

CHECKPOINT_FILES = {
    *("model.safetensors", "average.safetensors", "optimizer.pt", "state.json", "config.json"),
}
TINY_PAPER = replace(
    iptalker.NAMED_CONFIGS["tiny"], box_top=0.0, mask="hull", geometry_map=False, fusion="plain"
)


@pytest.mark.parametrize(
    ("stage", "half_size"),
    [("geometry", False), ("render", False), ("render", True), ("joint", False)],
)
def test_a_run_leaves_a_checkpoint_a_log_and_a_picture(
    configured: Callable[..., TrainConfig], stage: str, half_size: bool
) -> None:
    config = configured(stage=stage, half_size=half_size)
    seen: list[tuple[str, int, int]] = []
    last = train(config, progress=lambda *values: seen.append(values))
    assert seen == [("train", 1, 2), ("train", 2, 2)]
    assert last == config.output / "step-000002"
    has_picture = stage != "geometry"
    critic = {"critic.safetensors"} if has_picture else set()
    assert {path.name for path in last.iterdir()} == CHECKPOINT_FILES | critic
    expected = {"log.csv", "step-000002", *(["sample-000002.jpg"] if has_picture else [])}
    assert {path.name for path in config.output.iterdir()} == expected
    logged = rows(config.output)
    assert [row["step"] for row in logged] == ["1", "2"]
    assert all(float(row["loss"]) > 0 for row in logged)
    stored = json.loads((last / "config.json").read_text())["model"]
    size = (52, 40) if half_size else (104, 80)
    assert (stored["height"], stored["width"]) == size
    if has_picture:
        picture = cv2.imread(str(config.output / "sample-000002.jpg"))
        assert picture is not None
        assert picture.shape == (4 * size[0], 8 * size[1], 3)


@pytest.mark.parametrize("stage", STAGES)
def test_half_precision_learns_too(configured: Callable[..., TrainConfig], stage: str) -> None:
    runs = [
        train(configured(precision, stage=stage, precision=precision))
        for precision in ("float32", "bfloat16")
    ]
    whole, half = ([float(row["loss"]) for row in rows(run.parent)] for run in runs)
    assert half == pytest.approx(whole, rel=0.1)
    assert half != whole


@pytest.mark.parametrize(("stage", "share"), [("geometry", 0.6), ("render", 0.75), ("joint", 0.75)])
def test_one_batch_can_be_learned_by_heart(
    data: Path, configured: Callable[..., TrainConfig], stage: str, share: float
) -> None:
    config = configured(stage=stage, losses=None if stage == "geometry" else "no-gan")
    model = iptalker.IPTalker(iptalker.NAMED_CONFIGS["tiny"])
    setup = StageSetup(
        model=model,
        clips=load_clips(data),
        config=config,
        settings={} if stage == "geometry" else {"losses": "no-gan", "perceptual": "substitute"},
    )
    task = RECIPE.stages[stage].task(setup)
    batch = as_batch(task.batches[0], torch.device("cpu"))
    optimizer = torch.optim.Adam(task.optimizers["model"].parameters, lr=2e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = task.losses(batch, "model", 0)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert min(losses[-3:]) < share * losses[0]


def test_the_papers_variant_trains(
    configured: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(iptalker.NAMED_CONFIGS, "tiny-paper", TINY_PAPER)
    last = train(configured(stage="joint", preset="tiny-paper"))
    stored = json.loads((last / "config.json").read_text())["model"]
    assert (stored["mask"], stored["geometry_map"], stored["fusion"]) == ("hull", False, "plain")
    assert [row["step"] for row in rows(last.parent)] == ["1", "2"]
    assert "sync losses are left out" in (last.parent / "notes.txt").read_text()
    with pytest.raises(ConfigError, match="joint"):
        train(configured("other", stage="render", preset="tiny-paper"))


def test_the_command_trains_resumes_and_refuses(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    arguments = [
        *("train", "iptalker", "--data", str(data), "--output", str(output), "--preset", "tiny"),
        *("--device", "cpu", "--steps", "1", "--batch-clips", "1", "--frames-per-clip", "2"),
    ]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert (output / "step-000001").is_dir()
    refused = CliRunner().invoke(app, [*arguments, "--no-resume"])
    assert refused.exit_code == TrainingError.exit_code
    assert "already holds" in refused.output
    assert CliRunner().invoke(app, [*arguments, "--resume"]).exit_code == 0
    assert CliRunner().invoke(app, [*arguments, "--device", "tpu"]).exit_code == 2
    assert CliRunner().invoke(app, [*arguments, "--batch-clips", "0"]).exit_code == 2


@pytest.mark.needs_cuda
def test_a_gpu_learns_as_the_cpu_does(configured: Callable[..., TrainConfig]) -> None:
    for stage in STAGES:
        runs = [
            train(configured(f"{stage}-{name}", stage=stage, device=name, precision="float32"))
            for name in ("cpu", "cuda")
        ]
        cpu, cuda = ([float(row["loss"]) for row in rows(run.parent)] for run in runs)
        assert cuda == pytest.approx(cpu, rel=0.02) or stage != "render"
        assert train(configured(f"{stage}-cuda", stage=stage, device="cuda", steps=3)).is_dir()
