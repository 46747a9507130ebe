"""The sync expert's network: windows, vectors, cosines."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dubcli.models.registry import create_model
from dubcli.sync.network import NUM_USED, SyncConfig, SyncExpert

CONFIG = SyncConfig(
    window=11, audio_kind="mel", audio_width=37, num_components=5, channels=16, embedding=12
)
NUM_POINTS = 102


@pytest.fixture
def expert() -> SyncExpert:
    """An untrained expert with components of its own, without dropout."""
    made = SyncExpert(CONFIG)
    made.mouth.components.normal_()
    return made.eval()


def _points(length: int, num: int = 1) -> Tensor:
    return 0.1 * torch.randn(num, length, NUM_POINTS, 3)


def test_a_sequence_gives_the_vectors_of_its_windows(expert: SyncExpert) -> None:
    points, audio = _points(20), torch.randn(1, 50, 80)
    seen, heard = expert.see(points), expert.listen(audio)
    assert seen.shape == (1, 20 - CONFIG.window + 1, CONFIG.embedding)
    assert heard.shape == (1, 50 - CONFIG.audio_width + 1, CONFIG.embedding)
    windows = points[0].unfold(0, CONFIG.window, 1).movedim(-1, 1)
    assert torch.allclose(expert.see(windows)[:, 0], seen[0], atol=1e-5)
    windows = audio[0].unfold(0, CONFIG.audio_width, 1).movedim(-1, 1)
    assert torch.allclose(expert.listen(windows)[:, 0], heard[0], atol=1e-5)


def test_the_answer_is_the_cosine_of_unit_vectors(expert: SyncExpert) -> None:
    points, audio = _points(CONFIG.window, 6), torch.randn(6, CONFIG.audio_width, 80)
    seen, heard = expert.see(points)[:, 0], expert.listen(audio)[:, 0]
    ones = torch.ones(6)
    assert torch.allclose(seen.norm(dim=-1), ones, atol=1e-5)
    assert torch.allclose(heard.norm(dim=-1), ones, atol=1e-5)
    assert torch.allclose(expert(points, audio), (seen * heard).sum(-1), atol=1e-6)


def test_only_lips_and_jaw_are_looked_at(expert: SyncExpert) -> None:
    points = _points(CONFIG.window)
    other = points.clone()
    other[:, :, NUM_USED:] += 1
    assert torch.equal(expert.see(points), expert.see(other))
    other[:, :, :NUM_USED] += torch.randn(NUM_USED, 3)
    assert not torch.allclose(expert.see(points), expert.see(other), atol=1e-3)


def test_each_part_learns_from_a_cosine(expert: SyncExpert) -> None:
    expert.train()
    expert(_points(CONFIG.window, 4), torch.randn(4, CONFIG.audio_width, 80)).sum().backward()
    without = {name for name, value in expert.named_parameters() if value.grad is None}
    # These two only matter to the contrast with other moments.
    assert without == {"scale", "run_scale"}


@pytest.mark.parametrize("sizes", [{"window": 12}, {"window": 7}, {"audio_width": 60}])
def test_windows_that_the_convolutions_cannot_have_are_refused(sizes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"window|audio_width"):
        SyncConfig(**sizes)


@pytest.mark.parametrize("name", ["sync-train", "sync-judge"])
def test_the_registry_makes_experts_that_keep_their_weights(name: str, expert: SyncExpert) -> None:
    sizes = {"window": 11, "audio_kind": "mel", "audio_width": 37, "num_components": 5}
    again = create_model(name, {**sizes, "channels": 16, "embedding": 12})
    again.load_state_dict(expert.state_dict())
    points, audio = _points(CONFIG.window), torch.randn(1, CONFIG.audio_width, 80)
    assert torch.equal(again.eval()(points, audio), expert(points, audio))
