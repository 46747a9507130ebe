"""A prepared set of two drawn people, and runs of the tiny network on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from made_clips import made_clip, write_set

from dubcli.config import TrainConfig
from dubcli.sync.network import SyncConfig, SyncExpert
from dubcli.sync.scorer import SyncScorer


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    return write_set(folder, {"anna": made_clip(0), "ben": made_clip(1)}, {"cat": "no usable face"})


@pytest.fixture
def configured(data: Path, tmp_path: Path, sync_expert: SyncExpert) -> Callable[..., TrainConfig]:
    """A run of the tiny network on the CPU, into a folder of the test."""

    def make(output: str = "run", **changes: Any) -> TrainConfig:
        defaults: dict[str, Any] = {
            "model": "iptalker",
            "data": data,
            "output": tmp_path / output,
            "preset": "tiny",
            "device": "cpu",
            "batch_clips": 1,
            "frames_per_clip": 2,
            "steps": 2,
        }
        return TrainConfig(**{**defaults, **changes})

    return make


@pytest.fixture
def sync_expert(monkeypatch: pytest.MonkeyPatch) -> SyncExpert:
    """A small untrained expert in place of the shipped one."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        expert = SyncExpert(SyncConfig(channels=8, embedding=8, num_components=4, window=9))
        expert.mouth.components.normal_(std=10)
    judge = SyncScorer(expert.eval().requires_grad_(False))
    shop = SimpleNamespace(load=lambda role, device: judge)
    monkeypatch.setattr("dubcli.models.iptalker.stages.SyncScorer", shop)
    return expert
