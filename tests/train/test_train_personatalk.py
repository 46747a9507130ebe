"""The stages of PersonaTalk train, resume and become one model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from train_runs import interrupt_at, rows, same_bits

from dubcli.config import TrainConfig
from dubcli.core.errors import TrainingError
from dubcli.core.types import References
from dubcli.face.landmarks import mouth_open
from dubcli.models.personatalk.adapt import PersonaTalkAdapter
from dubcli.models.personatalk.config import NAMED_CONFIGS
from dubcli.models.personatalk.fitted_clips import fit_clips
from dubcli.models.personatalk.losses import LOSS_PRESETS
from dubcli.models.personatalk.network import PersonaTalk
from dubcli.models.personatalk.stages import assemble
from dubcli.models.personatalk.style_task import StyledBatches, prepare_model
from dubcli.training.batches import BatchSize, as_batch
from dubcli.training.checkpoint import load_weights, read_state
from dubcli.training.data.prepared_clip import DEFAULT_SIZE
from dubcli.training.data.train_clips import TrainClip, load_clips
from dubcli.training.run import train
from dubcli.training.schedule import CosineSchedule
from dubcli.training.stage import PersonSetup, Trained

MODEL = {"model": "personatalk"}


def _read(path: Path) -> Trained:
    return Trained(path=path, state=read_state(path), tensors=load_weights(path, True))


@pytest.mark.parametrize("stage", ["geometry", "render"])
def test_a_resumed_stage_equals_an_uninterrupted_one_bit_for_bit(
    configured: Callable[..., TrainConfig], stage: str
) -> None:
    whole = train(configured("whole", **MODEL, stage=stage, sample_every=1, checkpoint_every=1))
    broken = configured("broken", **MODEL, stage=stage, checkpoint_every=1)
    with pytest.raises(KeyboardInterrupt):
        train(broken, progress=interrupt_at(2))
    assert same_bits(whole, train(broken))


@pytest.mark.parametrize("losses", ["default", "sharp"])
def test_every_named_set_of_losses_trains(
    configured: Callable[..., TrainConfig], losses: str
) -> None:
    train(configured(**MODEL, losses=losses))
    row = rows(configured().output)[-1]
    assert all(np.isfinite(float(value)) for value in row.values())
    assert "correspondence" in row
    assert ("critic" in row) == (LOSS_PRESETS[losses].gan > 0)


def test_two_stages_become_one_model(configured: Callable[..., TrainConfig]) -> None:
    pictures = train(configured("pictures", **MODEL))
    mouths = train(configured("mouths", **MODEL, stage="geometry", init=pictures, steps=1))
    one, two = _read(pictures).tensors, _read(mouths).tensors
    changed = {name.split(".")[0] for name in one if not torch.equal(one[name], two[name])}
    assert changed == {"geometry"}
    joined = assemble([_read(mouths), _read(pictures)])
    for name, value in joined.tensors.items():
        assert torch.equal(value, (two if name.startswith("geometry.") else one)[name])
    with pytest.raises(TrainingError, match="One checkpoint of stage render"):
        assemble([_read(mouths)])
    for buffer in ("basis", "mean_face"):
        tensors = {**two, buffer: two[buffer] + 1}
        other = Trained(path=mouths, state=read_state(mouths), tensors=tensors)
        with pytest.raises(TrainingError, match="differ"):
            assemble([_read(pictures), other])


def test_fitted_geometry_is_learned_and_kept(
    configured: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What clips show is fitted before it is learned, and the identity basis is stored."""
    fitted = replace(NAMED_CONFIGS["tiny"], geometry="fitted", num_shapes=2)
    monkeypatch.setitem(NAMED_CONFIGS, "tiny", fitted)
    run = _read(train(configured(**MODEL, stage="geometry")))
    assert run.state.model_config["geometry"] == "fitted"
    assert run.tensors["geometry.identity_basis"].abs().max() > 0
    model, clips = PersonaTalk(fitted), load_clips(configured().data)
    prepare_model(model, clips)
    for clip, made in zip(clips, fit_clips(model, clips), strict=True):
        detected = clip.mouth_offset[clip.frames]
        assert np.abs(made.mouth_offset[clip.frames] - detected).max() < np.abs(detected).max()
        assert np.abs(made.neutral - clip.neutral).max() < 0.05
        assert not np.array_equal(made.neutral, clip.neutral)


def test_style_is_never_taken_from_the_frames_that_are_asked_for(
    configured: Callable[..., TrainConfig],
) -> None:
    """Its spread would tell the answer."""
    clip = load_clips(configured().data)[0]
    batches = StyledBatches([clip], NAMED_CONFIGS["tiny"], BatchSize(seed=0, clips=1, frames=6))
    amplitudes: list[float] = []
    for index in range(20):
        batch = batches[index]
        wanted, style = batch["mouth_offset"][0], batch["style"][0]
        gap = np.abs(wanted[:, None] - style[None]).max((2, 3))
        assert gap.min() > 0
        amplitudes.append(float(np.abs(style).max()))
    assert np.ptp(amplitudes) > 0


def _person(
    model: PersonaTalk, clips: list[TrainClip], *, learn_sound: bool = False
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


def test_a_person_is_learned_by_pictures_and_style(configured: Callable[..., TrainConfig]) -> None:
    clips, adapter = load_clips(configured().data)[:1], PersonaTalkAdapter()
    model = PersonaTalk(NAMED_CONFIGS["tiny"])
    task = adapter.task(_person(model, clips))
    losses = task.losses(as_batch(task.batches[0], torch.device("cpu")), "model", 0)
    assert bool(losses["loss"].isfinite())
    assert adapter.set_mouth(model, clips)
    assert bool((model.person_style != 0).any())
    before = model.geometry.to_coefficients.weight.clone()
    adapter.widen_mouth(model, clips, 0.5)
    assert model.geometry.to_coefficients.weight.norm() > before.norm()
    learned = {name.split(".")[0] for name in adapter.learned_names(task)}
    assert learned == {"renderer", "geometry", "person_style"}
    assert len(adapter.true_motion(model, clips[0], clips[0].frames[:3]).points) == 3
    with pytest.raises(TrainingError, match="Leave out --learn-sound"):
        adapter.task(_person(model, clips, learn_sound=True))
