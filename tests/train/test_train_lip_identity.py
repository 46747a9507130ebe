"""The stages of Lip-and-Identity train, resume and become one model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from train_runs import interrupt_at, rows, same_bits

from dubcli.config import TrainConfig
from dubcli.core.errors import TrainingError
from dubcli.models.lip_identity.config import NAMED_CONFIGS
from dubcli.models.lip_identity.landmark_task import LandmarkBatches
from dubcli.models.lip_identity.losses import LOSS_PRESETS
from dubcli.models.lip_identity.stages import assemble
from dubcli.training.batches import BatchSize
from dubcli.training.checkpoint import load_weights, read_state
from dubcli.training.data.train_clips import load_clips
from dubcli.training.run import train
from dubcli.training.stage import Trained

MODEL = {"model": "lip-identity"}


def _read(path: Path) -> Trained:
    return Trained(path=path, state=read_state(path), tensors=load_weights(path, True))


@pytest.mark.parametrize("stage", ["landmarks", "flow", "render"])
def test_a_resumed_stage_equals_an_uninterrupted_one_bit_for_bit(
    configured: Callable[..., TrainConfig], stage: str
) -> None:
    whole = train(configured("whole", **MODEL, stage=stage, sample_every=1, checkpoint_every=1))
    broken = configured("broken", **MODEL, stage=stage, checkpoint_every=1)
    with pytest.raises(KeyboardInterrupt):
        train(broken, progress=interrupt_at(2))
    assert same_bits(whole, train(broken))


@pytest.mark.parametrize("losses", list(LOSS_PRESETS))
def test_every_named_set_of_losses_trains(
    configured: Callable[..., TrainConfig], losses: str
) -> None:
    train(configured(**MODEL, losses=losses))
    row = rows(configured().output)[-1]
    assert all(np.isfinite(float(value)) for value in row.values())
    assert ("critic" in row) == (LOSS_PRESETS[losses].gan > 0)


def test_each_stage_moves_its_own_part_alone(configured: Callable[..., TrainConfig]) -> None:
    start = train(configured("start", **MODEL, stage="flow", steps=1))
    before = load_weights(start, True)
    moved: dict[str, set[str]] = {}
    for stage in ("landmarks", "flow", "render"):
        after = load_weights(
            train(configured(stage, **MODEL, stage=stage, init=start, steps=1)), True
        )
        changed = [name for name in before if not torch.equal(before[name], after[name])]
        moved[stage] = {name.split(".")[0] for name in changed}
    assert moved == {
        "landmarks": {"landmarks"},
        "flow": {"alignment"},
        "render": {"alignment", "rendering"},
    }


def test_two_stages_become_one_model(configured: Callable[..., TrainConfig]) -> None:
    pictures = train(configured("pictures", **MODEL))
    mouths = train(configured("mouths", **MODEL, stage="landmarks", init=pictures, steps=1))
    joined = assemble([_read(mouths), _read(pictures)])
    one, two = _read(pictures).tensors, _read(mouths).tensors
    for name, value in joined.tensors.items():
        assert torch.equal(value, (two if name.startswith("landmarks.") else one)[name])
    with pytest.raises(TrainingError, match="Two checkpoints make this model"):
        assemble([_read(mouths)])
    other = Trained(
        path=mouths,
        state=read_state(mouths),
        tensors={**two, "basis": two["basis"] + 1},
    )
    with pytest.raises(TrainingError, match="mouth bases that differ"):
        assemble([_read(pictures), other])


def test_reference_mouths_keep_away_from_the_run(configured: Callable[..., TrainConfig]) -> None:
    """With the wanted mouths among them, the generator would copy."""
    clip = load_clips(configured().data)[0]
    batches = LandmarkBatches([clip], NAMED_CONFIGS["tiny"], BatchSize(seed=0, clips=1, frames=6))
    for index in range(20):
        batch = batches[index]
        wanted = batch["mouth_offset"][0].reshape(6, -1)
        for shown in batch["sets"][0].reshape(3, -1):
            if np.abs(shown).sum() > 0:
                assert np.abs(wanted - shown).max(1).min() > 0
