"""The stages of G4G train, resume and start from one another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from train_runs import interrupt_at, rows, same_bits

from dubcli.config import TrainConfig
from dubcli.core.errors import ConfigError, TrainingError
from dubcli.core.types import References
from dubcli.face.landmarks import mouth_open
from dubcli.models.common.picture_task import PictureSetup
from dubcli.models.g4g.adapt import G4GAdapter
from dubcli.models.g4g.config import NAMED_CONFIGS
from dubcli.models.g4g.contrast_task import APART, ContrastBatches, stored_mouths
from dubcli.models.g4g.g4g_render_task import StackBatches, StackRenderTask, set_stack_scene
from dubcli.models.g4g.losses import LOSS_PRESETS
from dubcli.models.g4g.network import G4G
from dubcli.models.g4g.stages import assemble
from dubcli.training.batches import BatchSize, as_batch
from dubcli.training.checkpoint import load_weights, read_state
from dubcli.training.data.prepared_clip import DEFAULT_SIZE
from dubcli.training.data.train_clips import TrainClip, load_clips
from dubcli.training.run import Overrides, train
from dubcli.training.schedule import CosineSchedule
from dubcli.training.stage import PersonSetup, Trained

MODEL = {"model": "g4g"}
TINY = NAMED_CONFIGS["tiny"]
# Two clips, and frames enough for E_m to see some in a row.
IN_A_ROW = {"batch_clips": 2, "frames_per_clip": 3}


@pytest.mark.parametrize("stage", ["contrast", "render", "blend"])
def test_a_resumed_stage_equals_an_uninterrupted_one_bit_for_bit(
    configured: Callable[..., TrainConfig], stage: str
) -> None:
    changes = {**MODEL, **IN_A_ROW, "stage": stage, "checkpoint_every": 1}
    whole = train(configured("whole", **changes, sample_every=1))
    broken = configured("broken", **changes)
    with pytest.raises(KeyboardInterrupt):
        train(broken, progress=interrupt_at(2))
    assert same_bits(whole, train(broken))


@pytest.mark.parametrize("losses", list(LOSS_PRESETS))
def test_every_named_set_of_losses_trains(
    configured: Callable[..., TrainConfig], losses: str
) -> None:
    train(configured(**MODEL, **IN_A_ROW, stage="blend", losses=losses))
    row = rows(configured().output)[-1]
    assert all(np.isfinite(float(value)) for value in row.values())
    assert ("pair_critic" in row) == (LOSS_PRESETS[losses].gan_pairs > 0)
    assert ("contrast_to_real" in row) == (LOSS_PRESETS[losses].contrast_to_real > 0)


def test_each_stage_moves_its_own_part_alone(configured: Callable[..., TrainConfig]) -> None:
    start = train(configured("start", **MODEL, stage="contrast", steps=1))
    before = load_weights(start, True)
    moved: dict[str, set[str]] = {}
    for stage in ("contrast", "render", "blend"):
        after = load_weights(
            train(configured(stage, **MODEL, **IN_A_ROW, stage=stage, init=start, steps=1)), True
        )
        changed = [name for name in before if not torch.equal(before[name], after[name])]
        moved[stage] = {name.split(".")[0] for name in changed}
    generator = {"source_encoder", "reference_encoder", "alignment", "deformation", "decoder"}
    assert moved == {
        "contrast": {"sound", "matcher"},
        "render": generator,
        "blend": generator | {"blend"},
    }


def test_without_a_drawn_mouth_pictures_teach_the_sound(
    configured: Callable[..., TrainConfig],
) -> None:
    sizes = replace(TINY, drawn_mouth=False, own_skin=False)
    starts = [train(configured("start", **MODEL, stage="contrast", steps=1), None,
                    Overrides(sizes=sizes))]  # fmt: skip
    after = train(configured("run", **MODEL, steps=2, init=starts[0]), None, Overrides(sizes=sizes))
    one, two = load_weights(starts[0], False), load_weights(after, False)
    name = "sound.audio_encoder.out.weight"
    assert not torch.equal(one[name], two[name])


def test_a_preset_without_a_blend_net_has_no_stage_for_it(
    configured: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NAMED_CONFIGS, "tiny", replace(TINY, has_blend=False))
    with pytest.raises(ConfigError, match="no blend net"):
        train(configured(**MODEL, stage="blend"))


def _read(path: Path) -> Trained:
    return Trained(path=path, state=read_state(path), tensors=load_weights(path, True))


def test_a_longer_run_of_sound_joins_pictures(configured: Callable[..., TrainConfig]) -> None:
    start = train(configured("start", **MODEL, stage="contrast", steps=1))
    pictures = train(configured("pictures", **MODEL, init=start, steps=1))
    longer = train(configured("longer", **MODEL, stage="contrast", init=start, steps=1))
    one, two = _read(pictures).tensors, _read(longer).tensors
    joined = assemble([_read(longer), _read(pictures)])
    for name, value in joined.tensors.items():
        is_sound = name.startswith(("sound.", "matcher."))
        assert torch.equal(value, (two if is_sound else one)[name])
    assert assemble([_read(pictures)]).tensors.keys() == one.keys()
    with pytest.raises(TrainingError, match="one of stage render or blend"):
        assemble([_read(longer)])


def test_half_of_a_rows_negatives_are_other_moments_of_the_same_clip(
    configured: Callable[..., TrainConfig],
) -> None:
    clips = load_clips(configured().data)
    store = [stored_mouths(clip) for clip in clips]
    for negatives, most in (("hard", 4), ("people", 1)):
        config = replace(TINY, negatives=negatives)
        batches = ContrastBatches(clips, config, BatchSize(seed=0, clips=1, frames=4))
        drawn = batches.matrix(np.random.default_rng(1), is_augmented=False, rows=8)
        middles = drawn["mouths"][:, config.reach]
        found = [_place(store, mouth) for mouth in middles[:most]]
        assert len({number for number, _ in found}) == 1
        frames = sorted(frame for _, frame in found)
        assert all(b - a >= APART for a, b in pairwise(frames))
        assert _place(store, middles[most])[0] != found[0][0]


def _place(store: list[np.ndarray], mouth: np.ndarray) -> tuple[int, int]:
    """Clip and frame that a stored mouth, cut without a shift, is of."""
    for number, mouths in enumerate(store):
        same = (mouths[:, 4:-4, 4:-4] == mouth).all((1, 2)).nonzero()[0]
        if len(same):
            return number, int(same[0])
    raise AssertionError("no such mouth")


def test_one_sample_of_a_batch_shows_frames_in_a_row(
    configured: Callable[..., TrainConfig],
) -> None:
    clips, model = load_clips(configured().data), G4G(TINY)
    optimizer = torch.optim.SGD(StackRenderTask.trained(model), lr=0.1)
    task = StackRenderTask(
        model,
        clips,
        BatchSize(seed=0, clips=2, frames=3),
        optimizer,  # pyright: ignore[reportArgumentType]
        PictureSetup(weights=LOSS_PRESETS["default"]),
    )
    assert isinstance(task.batches, StackBatches)
    drawn = {tuple(np.diff(_frames(task.batches[index], clips, 0))) for index in range(4)}
    assert drawn == {(1, 1)}
    masks = {int(scale) for index in range(12) for scale in task.batches[index]["scales"]}
    assert masks == {0, 1, 2}
    scene = set_stack_scene(model, as_batch(task.batches[0], torch.device("cpu")))
    assert scene.heard.shape == (6, TINY.code)


def _frames(batch: Any, clips: list[TrainClip], sample: int) -> list[int]:
    """Frame numbers of a sample, by their mouths, which mirroring and jitter leave apart."""
    found = []
    for offset in batch["mouth_offset"][sample]:
        gaps = [
            (float(np.abs(np.abs(clip.mouth_offset[[i]][0]).sum() - np.abs(offset).sum())), i)
            for clip in clips
            for i in clip.frames.tolist()
        ]
        found.append(min(gaps)[1])
    return found


def test_a_person_is_learned_by_pictures_and_in_closed_form(
    configured: Callable[..., TrainConfig],
) -> None:
    clips, adapter, model = load_clips(configured().data)[:1], G4GAdapter(), G4G(TINY)
    landmarks = clips[0].clip.landmarks[:2]
    pictures = np.full((2, *DEFAULT_SIZE, 3), 77, np.uint8)
    setup = PersonSetup(
        model=model,
        clips=clips,
        references=References(
            crops=pictures,
            detail_crops=pictures,
            landmarks=landmarks,
            frame_indices=np.arange(2),
            mouth_open=mouth_open(landmarks),
        ),
        learn_sound=False,
        sync=None,
        schedule=CosineSchedule(peak=1e-3),
        seed=0,
        frames=2,
    )
    task = adapter.task(setup)
    losses = task.losses(as_batch(task.batches[0], torch.device("cpu")), "model", 0)
    assert bool(losses["loss"].isfinite())
    head = model.sound.to_coefficients
    assert head is not None
    last = head[-1]
    assert isinstance(last, nn.Linear)
    before = last.weight.clone()
    assert adapter.set_mouth(model, clips)
    adapter.widen_mouth(model, clips, 0.5)
    assert not torch.equal(before, last.weight)
    learned = {name.split(".")[0] for name in adapter.learned_names(task)}
    assert {"decoder", "blend", "deformation"} <= learned
    assert "matcher" not in learned
    assert len(adapter.true_motion(model, clips[0], clips[0].frames[:3]).points) == 3
    with pytest.raises(TrainingError, match="Leave out --learn-sound"):
        adapter.task(replace(setup, learn_sound=True))
