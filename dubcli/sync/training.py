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
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from dubcli.config import SyncTrainConfig
from dubcli.core.atomic_io import write_whole
from dubcli.core.errors import ConfigError, TrainingError
from dubcli.core.json_text import parse_json
from dubcli.core.progress import Progress, no_progress
from dubcli.pipeline.device import choose_device
from dubcli.sync.network import SYNC_RATE_HZ, SyncConfig, SyncExpert
from dubcli.sync.scorer import SyncScore, SyncScorer
from dubcli.sync.training_data import (
    SyncBatches,
    SyncClip,
    SyncTask,
    fit_expert,
    offset_of,
    sync_clips,
    with_offset,
)
from dubcli.training.checkpoint import TrainState, checkpoint_to_resume
from dubcli.training.data.train_clips import load_clips, with_sound
from dubcli.training.loop import Loop, LoopSettings
from dubcli.training.parallel import require_one_process
from dubcli.training.schedule import CosineSchedule
from dubcli.training.stage import MODEL, Optimization

OFFSETS_NAME = "offsets.csv"
_SCHEDULE_NAME = "plan.json"
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
_WARM_UP_STEPS, _LEAST_RATE = 50, 0.05
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


def train_sync(config: SyncTrainConfig, progress: Progress | None = None) -> Path:
    """Train a sync expert and return its last checkpoint.

    `offsets.csv` in the output folder tells each clip's offset. Run again, it goes on after the
    cross-fitting or the last checkpoint.

    Raises:
        ConfigError: Unknown preset, or `torchrun` started several processes.
        DeviceError: The device is not there.
        TrainingError: Too few people with sound, a checkpoint of another preset, NaN, full disk.
    """
    require_one_process("dub train sync")
    preset = _preset(config)
    if config.threads:
        torch.set_num_threads(config.threads)
    device = choose_device(config.device)
    resumed = checkpoint_to_resume(config.output, _state(preset), resume=True)
    clips = sync_clips(with_sound(load_clips(config.data)), preset.network.window)
    held = held_out({clip.clip.identity for clip in clips}, preset.salt)
    learnt = [clip for clip in clips if clip.clip.identity not in held]
    if len({clip.clip.identity for clip in learnt}) < _FOLDS:
        raise TrainingError(
            "A sync expert needs clips with sound of at least two people.",
            "Add clips, and name their people in a catalogue.",
        )
    progress = progress or no_progress
    run = _SyncRun(config=config, preset=preset, device=device, progress=progress)
    steps = run.num_steps_of(learnt)
    found = _read_offsets(config.output / OFFSETS_NAME)
    if found is None:
        found = run.cross_fit(learnt, steps)
        _write_offsets(config.output / OFFSETS_NAME, _rows(learnt, found, "no"))
    saved, expert = run.last_expert(_in_step(learnt, found), steps, resumed)
    scorer, strangers = SyncScorer(expert), [clip for clip in clips if clip.clip.identity in held]
    judged = {clip.clip.clip_id: offset_of(scorer, clip) for clip in strangers}
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


def _state(preset: SyncPreset) -> TrainState:
    """What checkpoints of the preset say of themselves."""
    return TrainState(
        step=0,
        architecture=preset.architecture,
        stage="sync",
        model_config=asdict(preset.network),
    )


@dataclass(frozen=True, kw_only=True)
class _SyncRun:
    """What all experts of a run share."""

    config: SyncTrainConfig
    preset: SyncPreset
    device: torch.device
    progress: Progress

    def num_steps_of(self, clips: list[SyncClip]) -> int:
        """Steps of the last expert: as asked, or as many as the asked minutes allow for.

        The number is kept, so that a run that goes on has the same one.
        """
        if not self.config.minutes:
            return self.config.steps
        path = self.config.output / _SCHEDULE_NAME
        try:
            return int(parse_json(path.read_text(encoding="utf-8"))["steps"])
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(f"'{path}' cannot be read: {error}.", "Delete it.") from error
        loop = self._begin(clips, LoopSettings(steps=_TRIAL_STEPS), seed=0)
        loop.advance()
        began = time.perf_counter()
        for _ in range(1, _TRIAL_STEPS):
            loop.advance()
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
            loop = self._begin(
                [clip for clip in in_step if fold_of[clip.clip.identity] != fold],
                LoopSettings(steps=num, average_decay=_AVERAGE_DECAY),
                seed=1 + done,
            )

            def progress(stage: str, made: int, total: int, before: int = done * num) -> None:
                self.progress("offsets", before + made, _ROUNDS * _FOLDS * num)

            loop.run(progress)
            scorer = SyncScorer(_averaged(loop))
            strangers = (clip for clip in clips if fold_of[clip.clip.identity] == fold)
            found |= {clip.clip.clip_id: offset_of(scorer, clip) for clip in strangers}
        return found

    def last_expert(
        self, clips: list[SyncClip], steps: int, resumed: Path | None
    ) -> tuple[Path, SyncExpert]:
        """Train on all clips with checkpoints; returns the last one and its running average."""
        if steps < 1:
            raise TrainingError(f"{steps} steps.", "Use 1 or more.")
        settings = LoopSettings(
            steps=steps,
            folder=self.config.output,
            average_decay=_AVERAGE_DECAY,
            checkpoint_every=self.config.checkpoint_every,
            run_config={key: str(value) for key, value in asdict(self.config).items()},
        )
        loop = self._begin(clips, settings, seed=0)
        if resumed is not None:
            loop.resume(resumed)
        return loop.run(self.progress), _averaged(loop)

    def _begin(self, clips: list[SyncClip], settings: LoopSettings, seed: int) -> Loop:
        config = self.config
        seed += self.preset.seed + config.seed
        torch.manual_seed(seed)
        model = SyncExpert(self.preset.network).to(self.device).train()
        fit_expert(model, clips)
        batches = SyncBatches(
            self.preset.network,
            clips,
            num_clips=config.batch_clips,
            num_moments=config.moments_per_clip,
            seed=seed,
        )
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.02
        )
        schedule = CosineSchedule(
            peak=config.learning_rate, warm_up_steps=_WARM_UP_STEPS, least=_LEAST_RATE
        )
        task = SyncTask(model, batches, Optimization(optimizer=optimizer, schedule=schedule))
        return Loop(task, _state(self.preset), settings)


def _averaged(loop: Loop) -> SyncExpert:
    """The running average of an expert's weights, ready to score."""
    model = loop.task.modules[MODEL]
    assert isinstance(model, SyncExpert)
    expert = SyncExpert(model.config).to(loop.device)
    expert.load_state_dict(loop.average.module.state_dict())
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
