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
from dubcli.core.types import References
from dubcli.face.landmarks import mouth_open
from dubcli.models.api import ReferenceSet, Subject
from dubcli.models.common.mouth_basis import opening_basis
from dubcli.models.lip_identity.adapt import LipIdentityAdapter
from dubcli.models.lip_identity.config import NAMED_CONFIGS
from dubcli.models.lip_identity.landmark_task import LandmarkBatches
from dubcli.models.lip_identity.losses import LOSS_PRESETS
from dubcli.models.lip_identity.network import LipIdentity
from dubcli.models.lip_identity.stages import assemble
from dubcli.training.batches import BatchSize, as_batch
from dubcli.training.checkpoint import load_weights, read_state
from dubcli.training.data.prepared_clip import DEFAULT_SIZE
from dubcli.training.data.train_clips import TrainClip, load_clips
from dubcli.training.run import train
from dubcli.training.schedule import CosineSchedule
from dubcli.training.stage import PersonSetup, Trained

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
    with pytest.raises(TrainingError, match="One checkpoint of stage render"):
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


def _person(
    model: LipIdentity, clips: list[TrainClip], *, learn_sound: bool = False
) -> PersonSetup:
    landmarks = clips[0].clip.landmarks[:2]
    pictures = np.full((2, *DEFAULT_SIZE, 3), 77, np.uint8)
    return PersonSetup(
        model=model,
        clips=clips,
        references=References(
            crops=pictures,
            detail_crops=pictures,
            landmarks=landmarks,
            frame_indices=np.arange(2),
            mouth_open=mouth_open(landmarks),
        ),
        learn_sound=learn_sound,
        sync=None,
        schedule=CosineSchedule(peak=1e-3),
        seed=0,
        frames=2,
    )


def test_a_person_is_learned_by_pictures_and_reference_landmarks(
    configured: Callable[..., TrainConfig],
) -> None:
    clips, adapter = load_clips(configured().data)[:1], LipIdentityAdapter()
    model = LipIdentity(NAMED_CONFIGS["tiny"])
    task = adapter.task(_person(model, clips))
    losses = task.losses(as_batch(task.batches[0], torch.device("cpu")), "model", 0)
    assert bool(losses["loss"].isfinite())
    assert adapter.set_mouth(model, clips)
    subject = Subject(
        references={
            "references": ReferenceSet(
                crops=torch.rand(2, 3, 104, 80),
                points=40 + 20 * torch.rand(2, 102, 2),
                frames=torch.arange(2),
            )
        },
        neutral=torch.zeros(102, 3),
    )
    with torch.no_grad():
        assert torch.equal(model.prepare(subject).sets, model.person_sets)
    openings = (model.person_sets @ opening_basis(model.basis)).tolist()
    assert openings == sorted(openings)
    assert openings[0] < openings[-1]
    before = model.landmarks.to_coefficients.weight.clone()
    adapter.widen_mouth(model, clips, 0.5)
    assert model.landmarks.to_coefficients.weight.norm() > before.norm()
    learned = {name.split(".")[0] for name in adapter.learned_names(task)}
    assert learned == {"alignment", "rendering", "landmarks", "person_sets"}
    assert len(adapter.true_motion(model, clips[0], clips[0].frames[:3]).points) == 3


def test_the_sound_of_a_person_is_not_learned(configured: Callable[..., TrainConfig]) -> None:
    clips, model = load_clips(configured().data)[:1], LipIdentity(NAMED_CONFIGS["tiny"])
    with pytest.raises(TrainingError, match="Leave out --learn-sound"):
        LipIdentityAdapter().task(_person(model, clips, learn_sound=True))
