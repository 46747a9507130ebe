"""`dub train sync`: offsets by cross-fitting, then the expert itself.

Training clips are out of step by unknown offsets, and an expert that has seen a clip has learnt its
offset by heart. So each clip's offset is found by an expert that was trained on other people, the
clips are put in step, and once more; the last expert is trained on what comes out.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dubcli.config import SyncTrainConfig
from dubcli.core.atomic_io import write_whole
from dubcli.core.errors import ConfigError, TrainingError
from dubcli.pipeline.device import choose_device
from dubcli.sync.network import SYNC_RATE_HZ, SyncConfig, SyncExpert
from dubcli.sync.scorer import SyncJudge, SyncScore
from dubcli.sync.training_data import SyncClip, SyncTask, offset_of, sync_clips, with_offset
from dubcli.training.checkpoint import (
    TrainState,
    list_checkpoints,
    load_into,
    read_state,
    restore_training,
    save_checkpoint,
)
from dubcli.training.data.train_clips import load_clips, with_sound
from dubcli.training.run_folder import append_row, drop_rows_after
from dubcli.training.weight_average import begin_average, restore_average, update_average

Progress = Callable[[str, int, int], None]
OFFSETS_NAME = "offsets.csv"
_PLAN_NAME = "plan.json"
_FIELDS: tuple[str, ...] = (
    "clip",
    "identity",
    "held_out",
    "offset_ms",
    "confidence",
    "distance",
    "windows",
)
_ROUNDS, _FOLDS = 2, 2
# An expert of half the people needs fewer steps than the last one.
_FOLD_SHARE = 0.4
_AVERAGE_DECAY = 0.98
_WARM_UP_STEPS = 50
_CLIP_NORM = 1.0
_TRIAL_STEPS = 6


@dataclass(frozen=True, kw_only=True)
class SyncPreset:
    """What makes one expert differ from the other.

    Attributes:
        architecture: Its name among the weights.
        network: Its sizes.
        seed: Of its weights and batches; added to the run's.
        salt: Of the split: other people are held out, other folds are formed.
    """

    architecture: str
    network: SyncConfig
    seed: int
    salt: str


SYNC_PRESETS = {
    "expert": SyncPreset(architecture="sync-train", network=SyncConfig(), seed=0, salt="expert"),
    "judge": SyncPreset(
        architecture="sync-judge",
        network=SyncConfig(
            window=17,
            audio_kind="mel",
            audio_width=53,
            num_components=24,
            channels=80,
            embedding=96,
        ),
        seed=1000,
        salt="judge",
    ),
    # For tests.
    "tiny": SyncPreset(
        architecture="sync-train",
        network=SyncConfig(
            window=9, audio_kind="mel", audio_width=29, num_components=4, channels=16, embedding=16
        ),
        seed=0,
        salt="tiny",
    ),
}


@dataclass(kw_only=True)
class _Fit:
    """One expert that is being trained."""

    model: SyncExpert
    task: SyncTask
    optimizer: torch.optim.Optimizer
    average: dict[str, Tensor]


def train_sync(config: SyncTrainConfig, progress: Progress | None = None) -> Path:
    """Train a sync expert and return its last checkpoint.

    `offsets.csv` in the output folder tells each clip's offset. Run again, it goes on after the
    cross-fitting or the last checkpoint.

    Raises:
        ConfigError: Unknown preset.
        DeviceError: The device is not there.
        TrainingError: Too few people with sound, a checkpoint of another preset, NaN, full disk.
    """
    preset = _preset(config)
    if config.threads:
        torch.set_num_threads(config.threads)
    device = choose_device(config.device)
    resumed = _checkpoint_to_resume(config, preset)
    clips = sync_clips(with_sound(load_clips(config.data)), preset.network.window)
    held = held_out({clip.clip.identity for clip in clips}, preset.salt)
    learnt = [clip for clip in clips if clip.clip.identity not in held]
    if len({clip.clip.identity for clip in learnt}) < _FOLDS:
        raise TrainingError(
            "A sync expert needs clips with sound of at least two people.",
            "Add clips, and name their people in a catalogue.",
        )
    tell = progress or (lambda stage, done, total: None)
    run = _Run(config=config, preset=preset, device=device, tell=tell)
    steps = run.planned_steps(learnt)
    found = _read_offsets(config.output / OFFSETS_NAME)
    if found is None:
        found = run.cross_fit(learnt, steps)
        _write_offsets(config.output / OFFSETS_NAME, _rows(learnt, found, "no"))
    saved, expert = run.last_expert(_in_step(learnt, found), steps, resumed)
    judge, strangers = SyncJudge(expert), [clip for clip in clips if clip.clip.identity in held]
    judged = {clip.clip.clip_id: offset_of(judge, clip) for clip in strangers}
    rows = [*_rows(learnt, found, "no"), *_rows(strangers, judged, "yes")]
    _write_offsets(config.output / OFFSETS_NAME, rows)
    return saved


def held_out(identities: set[str], salt: str) -> set[str]:
    """About a sixth of the people: the same every time, others for another salt."""
    return set(_shuffled(identities, salt)[: len(identities) // 6])


def _shuffled(identities: set[str], salt: str) -> list[str]:
    return sorted(identities, key=lambda x: hashlib.sha256(f"{salt}/{x}".encode()).hexdigest())


def _preset(config: SyncTrainConfig) -> SyncPreset:
    if config.preset not in SYNC_PRESETS:
        raise ConfigError(
            f"Unknown preset '{config.preset}'.", f"Known: {', '.join(SYNC_PRESETS)}."
        )
    return SYNC_PRESETS[config.preset]


def _checkpoint_to_resume(config: SyncTrainConfig, preset: SyncPreset) -> Path | None:
    found = list_checkpoints(config.output)
    if not found:
        return None
    state = read_state(found[-1])
    if (state.architecture, state.model_config) != (preset.architecture, asdict(preset.network)):
        raise TrainingError(
            f"'{config.output}' belongs to another model or preset ({state.architecture}).",
            "Choose another folder.",
        )
    return found[-1]


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What all experts of a run share."""

    config: SyncTrainConfig
    preset: SyncPreset
    device: torch.device
    tell: Progress

    def planned_steps(self, clips: list[SyncClip]) -> int:
        """Steps of the last expert: as asked, or as many as the asked minutes allow for.

        The plan is kept, so that a run that goes on has the same one.
        """
        if not self.config.minutes:
            return self.config.steps
        path = self.config.output / _PLAN_NAME
        try:
            return int(json.loads(path.read_text(encoding="utf-8"))["steps"])
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(f"'{path}' cannot be read: {error}.", "Delete it.") from error
        fit = self._begin(clips, seed=0)
        self._step(fit, 0, 1)
        began = time.perf_counter()
        for step in range(1, _TRIAL_STEPS):
            self._step(fit, step, _TRIAL_STEPS)
        each_s = (time.perf_counter() - began) / (_TRIAL_STEPS - 1)
        share = 1 + _ROUNDS * _FOLDS * _FOLD_SHARE
        steps = max(1, round(60 * self.config.minutes / each_s / share))
        write_whole(path, json.dumps({"steps": steps}).encode())
        return steps

    def cross_fit(self, clips: list[SyncClip], steps: int) -> dict[str, SyncScore]:
        """Each clip's offset, by experts that were trained on other people."""
        order = _shuffled({clip.clip.identity for clip in clips}, self.preset.salt)
        fold_of = {name: place % _FOLDS for place, name in enumerate(order)}
        num = max(1, round(_FOLD_SHARE * steps))
        found: dict[str, SyncScore] = {}
        in_step = clips
        for done in range(_ROUNDS * _FOLDS):
            fold = done % _FOLDS
            if fold == 0:
                in_step = _in_step(clips, found)
            fit = self._begin(
                [clip for clip in in_step if fold_of[clip.clip.identity] != fold], seed=1 + done
            )
            for step in range(num):
                self._step(fit, step, num)
                self.tell("offsets", done * num + step + 1, _ROUNDS * _FOLDS * num)
            judge = SyncJudge(_averaged(fit))
            strangers = (clip for clip in clips if fold_of[clip.clip.identity] == fold)
            found |= {clip.clip.clip_id: offset_of(judge, clip) for clip in strangers}
        return found

    def last_expert(
        self, clips: list[SyncClip], steps: int, resumed: Path | None
    ) -> tuple[Path, SyncExpert]:
        """Train on all clips with checkpoints; returns the last one and its running average."""
        output = self.config.output
        fit, start = self._begin(clips, seed=0), 0
        if resumed is not None:
            load_into(fit.model, resumed)
            restore_training(resumed, fit.model, fit.optimizer)
            restore_average(fit.average, resumed)
            start = read_state(resumed).step
        drop_rows_after(output, start)
        saved = resumed
        for step in range(start, steps):
            began = time.perf_counter()
            values = self._step(fit, step, steps)
            append_row(output, step + 1, time.perf_counter() - began, values)
            self.tell("train", step + 1, steps)
            if step + 1 == steps or (step + 1) % self.config.checkpoint_every == 0:
                saved = self._save(fit, step + 1)
        if saved is None:
            raise TrainingError(f"{steps} steps.", "Use 1 or more.")
        return saved, _averaged(fit)

    def _begin(self, clips: list[SyncClip], seed: int) -> _Fit:
        config = self.config
        seed += self.preset.seed + config.seed
        torch.manual_seed(seed)
        model = SyncExpert(self.preset.network).to(self.device)
        task = SyncTask(
            model,
            clips,
            num_clips=config.batch_clips,
            num_moments=config.moments_per_clip,
            seed=seed,
        )
        optimizer = torch.optim.AdamW(
            task.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.02
        )
        return _Fit(
            model=model.train(), task=task, optimizer=optimizer, average=begin_average(model)
        )

    def _step(self, fit: _Fit, step: int, steps: int) -> dict[str, float]:
        """One update; the weights stay as they were if it cannot be computed."""
        warm = min(1.0, (step + 1) / _WARM_UP_STEPS)
        rate = self.config.learning_rate * warm * (0.525 + 0.475 * math.cos(math.pi * step / steps))
        for group in fit.optimizer.param_groups:
            group["lr"] = rate
        losses = fit.task.losses(step)
        values = {name: float(value.detach()) for name, value in losses.items()}
        fit.optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        norm = float(nn.utils.clip_grad_norm_(fit.task.parameters(), _CLIP_NORM))
        if not math.isfinite(values["loss"]) or not math.isfinite(norm):
            found = list_checkpoints(self.config.output)
            where = f"the last good checkpoint is '{found[-1]}'" if found else "no checkpoint yet"
            raise TrainingError(
                f"The loss is {values['loss']}, its gradient {norm} at step {step + 1}; {where}.",
                "Lower --learning-rate and run again.",
            )
        fit.optimizer.step()
        update_average(fit.average, fit.model, step, _AVERAGE_DECAY)
        return values

    def _save(self, fit: _Fit, step: int) -> Path:
        return save_checkpoint(
            self.config.output,
            state=TrainState(
                step=step,
                architecture=self.preset.architecture,
                stage="sync",
                model_config=asdict(self.preset.network),
            ),
            model=fit.model,
            average=fit.average,
            optimizer=fit.optimizer,
            run_config={key: str(value) for key, value in asdict(self.config).items()},
        )


def _averaged(fit: _Fit) -> SyncExpert:
    """The running average of an expert's weights, ready to judge."""
    expert = SyncExpert(fit.model.config).to(fit.model.scale.device)
    expert.load_state_dict(fit.average)
    return expert.eval().requires_grad_(False)


def _in_step(clips: list[SyncClip], found: dict[str, SyncScore]) -> list[SyncClip]:
    """The clips, moved by the offsets that are sure."""
    return [
        with_offset(clip, score.offset_frames)
        if (score := found.get(clip.clip.clip_id)) is not None and score.is_sure
        else clip
        for clip in clips
    ]


def _rows(clips: list[SyncClip], found: dict[str, SyncScore], held: str) -> list[dict[str, str]]:
    return [
        {
            "clip": clip.clip.clip_id,
            "identity": clip.clip.identity,
            "held_out": held,
            "offset_ms": f"{score.offset_ms:.1f}",
            "confidence": f"{score.confidence:.3f}",
            "distance": f"{score.distance:.3f}",
            "windows": str(score.num_windows),
        }
        for clip in clips
        if (score := found.get(clip.clip.clip_id)) is not None
    ]


def _read_offsets(path: Path) -> dict[str, SyncScore] | None:
    """Offsets of an earlier start of the run by clip; None where there are none."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {row["clip"]: _score(row) for row in csv.DictReader(file)}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"'{path}' cannot be read: {error}.", "Delete it and run again."
        ) from error


def _score(row: dict[str, str]) -> SyncScore:
    return SyncScore(
        confidence=float(row["confidence"]),
        distance=float(row["distance"]),
        offset_frames=float(row["offset_ms"]) * SYNC_RATE_HZ / 1000,
        num_windows=int(row["windows"]),
    )


def _write_offsets(path: Path, rows: list[dict[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, _FIELDS)
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue().encode())
