"""The joint stage asks a frozen sync expert: what reaches it, and what learns from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from made_clips import STEPS_PER_FRAME, made_clip, write_set
from torch import Tensor
from train_runs import rows

from dubcli.audio.speech_encoder import NUM_TOKENS
from dubcli.config import TrainConfig
from dubcli.models.common.loss_weights import LossWeights
from dubcli.models.common.mouth_map import INNER_BOTTOM, INNER_TOP
from dubcli.models.common.picture_task import PictureSetup
from dubcli.models.iptalker import sync_runs
from dubcli.models.iptalker.geometry_task import prepare_model, trained_alignment
from dubcli.models.iptalker.network import NAMED_CONFIGS, IPTalker
from dubcli.models.iptalker.render_task import RenderTask
from dubcli.models.iptalker.sync_runs import SyncRuns, run_losses
from dubcli.sync.network import SyncExpert
from dubcli.training.batches import BatchSize, as_batch
from dubcli.training.data.train_clips import TrainClip, load_clips
from dubcli.training.run import train
from dubcli.training.schedule import CosineSchedule
from dubcli.training.stage import MODEL, Optimization

Configured = Callable[..., TrainConfig]


def _run(runs: SyncRuns, index: int) -> dict[str, Tensor]:
    return as_batch(runs[index], torch.device("cpu"))


@pytest.fixture
def clips(data: Path) -> list[TrainClip]:
    return load_clips(data)


@pytest.fixture
def model(clips: list[TrainClip]) -> IPTalker:
    made = IPTalker(NAMED_CONFIGS["tiny"])
    prepare_model(made, clips)
    return made


@pytest.mark.parametrize("name", ["sync", "sync_to_real"])
def test_gradients_reach_the_alignment_module_and_nothing_else(
    model: IPTalker,
    clips: list[TrainClip],
    sync_expert: SyncExpert,
    name: str,
) -> None:
    rate = {"sync": 0.0, "sync_to_real": 0.0, name: 1.0}
    weights = LossWeights(picture=1e-30, sync=rate["sync"], sync_to_real=rate["sync_to_real"])
    optimizer = torch.optim.AdamW(RenderTask.trained(model, True))
    task = RenderTask(
        model,
        clips,
        BatchSize(seed=0, clips=1, frames=2),
        Optimization(optimizer=optimizer, schedule=CosineSchedule(peak=1e-3)),
        PictureSetup(weights=weights),
        joint=True,
        sync=sync_expert,
    )
    losses = task.losses(as_batch(task.batches[0], torch.device("cpu")), MODEL, 0)
    assert losses[name].item() > 0
    losses[name].backward()
    moved = {
        key.split(".")[0]
        for key, value in model.named_parameters()
        if value.grad is not None and value.grad.abs().sum() > 0
    }
    assert moved == {"alignment"}
    weight = trained_alignment(model).audio_encoder.layers[0].weight
    assert weight.grad is not None
    assert all(value.grad is None for value in sync_expert.parameters())


def test_lips_learn_to_please_the_expert(
    model: IPTalker, clips: list[TrainClip], sync_expert: SyncExpert
) -> None:
    runs = SyncRuns(clips, model.config, sync_expert.config, seed=0)
    optimizer = torch.optim.Adam(model.alignment.parameters(), lr=1e-2)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = run_losses(model, sync_expert, _run(runs, 0))["sync"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert min(losses) < 0.8 * losses[0]


@pytest.mark.parametrize("lag_frames", [0, 4])
def test_the_expert_hears_the_moment_that_it_sees(
    model: IPTalker,
    tmp_path: Path,
    sync_expert: SyncExpert,
    monkeypatch: pytest.MonkeyPatch,
    lag_frames: int,
) -> None:
    """The sound is as loud as the mouth is open, `lag_frames` before the picture shows it."""
    seen: list[tuple[Tensor, Tensor]] = []

    def record(expert: SyncExpert, made: Tensor, real: Tensor, audio: Tensor) -> Tensor:
        seen.append((real.detach(), audio))
        return made.sum()

    monkeypatch.setattr(sync_runs, "relative_sync_loss", record)
    write_set(tmp_path, {"anna": made_clip(0, lag_frames=lag_frames)}, {})
    clip = replace(load_clips(tmp_path)[0], offset_steps=lag_frames * STEPS_PER_FRAME)
    runs = SyncRuns([clip], model.config, sync_expert.config, seed=0)
    for index in range(6):
        run_losses(model, sync_expert, _run(runs, index))
    real, audio = (torch.cat(parts) for parts in zip(*seen, strict=True))
    middle = real[:, real.shape[1] // 2]
    opening = (middle[:, INNER_BOTTOM] - middle[:, INNER_TOP])[:, 1]
    loudness = audio[:, audio.shape[1] // 2, NUM_TOKENS::2].mean(-1)
    assert np.corrcoef(opening.numpy(), loudness.numpy())[0, 1] > 0.9


def test_a_run_logs_what_the_expert_says(configured: Configured) -> None:
    last = train(configured(stage="joint", steps=1))
    assert float(rows(last.parent)[0]["sync_to_real"]) >= 0
    assert not (last.parent / "notes.txt").exists()
    assert "sync_to_real" not in rows(train(configured("render", steps=1)).parent)[0]


def test_without_an_expert_the_run_says_so(
    configured: Configured, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = configured(stage="joint", steps=1)
    shop = SimpleNamespace(load=lambda role, device: None)
    monkeypatch.setattr("dubcli.models.iptalker.stages.SyncScorer", shop)
    last = train(config)
    assert "no sync expert" in caplog.text
    assert "no sync expert" in (last.parent / "notes.txt").read_text()
    assert "sync_to_real" not in rows(last.parent)[0]


def test_clips_too_short_to_judge_are_passed_over(
    model: IPTalker, clips: list[TrainClip], sync_expert: SyncExpert
) -> None:
    short = [replace(clip, frames=clip.frames[:15]) for clip in clips]
    broken = [replace(clip, frames=clip.frames[::2]) for clip in clips]
    config = sync_expert.config
    assert not SyncRuns(short, model.config, config, seed=0)
    assert not SyncRuns(broken, model.config, config, seed=0)
    runs = SyncRuns([*short, clips[1]], model.config, config, seed=0)
    assert run_losses(model, sync_expert, _run(runs, 3))["sync"].isfinite()
