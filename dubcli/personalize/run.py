"""`dub finetune`: learn one person from their own video.

Two things are learned. How the person's mouth moves (`person.teach_mouth`), at once, from the
footage's own sound; and how it looks, by gradient steps on the picture half. The sound half is
frozen unless `learn_sound` asks for it, so nothing that is learned can put the lips out of step
but pictures that stop following their landmarks. That is watched: a part of the footage is kept
apart, every few steps it is dubbed and looked at, and the step is kept that does best there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dubcli.config import FinetuneConfig, TrainConfig
from dubcli.core.errors import ConfigError, TrainingError
from dubcli.core.types import FinetuneReport
from dubcli.face.detect import FaceDetector, MediaPipeDetector
from dubcli.identities.adapter import difference
from dubcli.identities.identity import Consent
from dubcli.identities.store import locate, require_free
from dubcli.models.iptalker.network import IPTalker
from dubcli.models.iptalker.render_samples import Variation
from dubcli.models.iptalker.render_task import Judges, RenderTask
from dubcli.personalize.footage.gather import Footage, FootageRequest, gather_footage
from dubcli.personalize.identity_output import Person, base_model, store_identity
from dubcli.personalize.personal_clips import (
    keep_apart,
    person_clips,
    teach_mouth,
    widen_mouth,
)
from dubcli.personalize.run_history import Check, History, WorkFolder, as_figures
from dubcli.personalize.validation import HeldOut
from dubcli.pipeline.device import choose_device
from dubcli.sync.scorer import SyncJudge
from dubcli.training.checkpoint import (
    TrainState,
    load_into,
    read_state,
    restore_training,
    save_checkpoint,
)
from dubcli.training.data.train_clips import TrainClip
from dubcli.training.losses.pictures import PERSON_LOSSES
from dubcli.training.optim_step import take_step
from dubcli.training.run import use_bfloat16
from dubcli.training.run_folder import LOG_NAME, append_row, drop_rows_after
from dubcli.training.weight_average import begin_average, restore_average, update_average
from dubcli.weights.entry import WeightEntry
from dubcli.weights.resolve import resolve

Progress = Callable[[str, int, int], None]
_RATE, _WARM_UP_STEPS, _LEAST_RATE = 1.5e-4, 10, 0.1
_FRAMES = 6
# The weights that are looked at and kept are averaged over about the last 25 steps.
_AVERAGE_DECAY = 0.96
# Steps between looks at the footage kept apart; a run can be taken up from each of them.
CHECK_EVERY = 25
# One person varies less than all people: the camera's frame, not the light or the side.
_JITTER = 0.5
# More makes pictures distrust their landmarks: mouths open less.
_NOISE = 0.05
_FEW_SECONDS = 4.0


@dataclass(kw_only=True)
class _Run:
    """A run whose footage and model are there; what changes is the model, and the history."""

    config: FinetuneConfig
    person: Person
    path: Path
    work: WorkFolder
    model: IPTalker
    base: dict[str, Tensor]
    task: RenderTask
    optimizer: torch.optim.Optimizer
    names: list[str]
    average: dict[str, Tensor]
    tell: Progress
    announce: Callable[[str], None]
    began: float
    notes: list[str] = field(default_factory=list[str])
    seconds: dict[str, float] = field(default_factory=dict[str, float])


def finetune(
    config: FinetuneConfig,
    progress: Progress | None = None,
    *,
    announce: Callable[[str], None] | None = None,
    asked: bool = False,
    snapshots: Mapping[int, Path] | None = None,
) -> FinetuneReport:
    """Learn one person and store the identity.

    An interrupted run is gone on with when it is called for again. An identity that is replaced
    stays as it is until the new one is complete.

    Args:
        config: What to do.
        progress: Called as (stage, done, total).
        announce: Called with a sentence at each look at the footage kept apart.
        asked: The consent was given in answer to a question, not by an option.
        snapshots: For measurements: directories in which the identity as it is after some steps
            is stored. Nothing is chosen, nothing stops early, and the last of them is the result.

    Raises:
        ConfigError: No consent, a name in use, a model that cannot be learned with.
        MediaError: No video can be read.
        FaceError: No face that can be used.
        TrainingError: Too little footage, NaN, full disk.
        IdentityError: The identity cannot be written.
        WeightsError: The base weights are missing or damaged.
        DeviceError: The device is not there.
    """
    snapshots = dict(snapshots or {})
    path, entry = _check(config, snapshots)
    consent = Consent(
        agreed=True,
        date=datetime.now(UTC).date().isoformat(),
        how="asked" if asked else "--consent",
    )
    work = WorkFolder(path, _request(config, entry))
    checkpoint = work.find(restart=config.overwrite)
    run = _begin(config, entry, path, work, consent, progress, announce)
    history, best, start = _start(run, checkpoint)
    began = time.monotonic()
    last, stopped, best = _learn(run, history, best, start, snapshots)
    run.seconds["learn"] = round(time.monotonic() - began, 1)
    if snapshots:
        report = _report(run, history, history.checks[-1], last, stopped, best)
    else:
        report = _report(run, history, history.best, last, stopped, best)
        log = work.path / LOG_NAME
        store_identity(run.person, report, best, path, log, replace=config.overwrite)
    work.remove()
    return report


def _check(config: FinetuneConfig, snapshots: Mapping[int, Path]) -> tuple[Path, WeightEntry]:
    """Look at everything that can be wrong before the slow part."""
    if not config.consent:
        raise ConfigError(
            "Whether the person agreed to be learned is not known.",
            "Ask them; then add --consent.",
        )
    path = locate(config.name)
    if not snapshots:
        require_free(path, replace=config.overwrite)
    entry = resolve(config.model)
    if entry.architecture != "iptalker" or not entry.config.get("geometry_map", True):
        raise ConfigError(f"'{entry.name}' cannot learn a person.", "Use --model iptalker.")
    return path, entry


def _request(config: FinetuneConfig, entry: WeightEntry) -> dict[str, Any]:
    """What makes a run the same run."""

    def stamp(video: Path) -> list[Any]:
        try:
            facts = video.stat()
        except OSError:
            return [str(video)]
        return [str(video.resolve()), facts.st_size, facts.st_mtime_ns]

    return {
        "videos": [stamp(video) for video in config.videos],
        "weights": entry.sha256,
        "steps": config.steps,
        "half": config.half,
        "face": config.face,
        "learn_sound": config.learn_sound,
        "seed": config.seed,
    }


def _begin(
    config: FinetuneConfig,
    entry: WeightEntry,
    path: Path,
    work: WorkFolder,
    consent: Consent,
    progress: Progress | None,
    announce: Callable[[str], None] | None,
) -> _Run:
    """Gather the footage, load the base, split what is learned from and what decides."""
    began = time.monotonic()
    tell = progress or (lambda stage, done, total: None)
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    device = choose_device(config.device)
    model = base_model(entry, device)
    request = FootageRequest(
        videos=config.videos, face=config.face, half=config.half, threads=config.threads
    )
    footage = gather_footage(request, model.config.num_references, tell)
    gathered = time.monotonic()
    judge = SyncJudge.load("train", device)
    clips, notes = person_clips(path.name, [part.clip for part in footage.clips], judge)
    notes = [*_notes_on(footage), *notes]
    learned, held = keep_apart(clips)
    model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    task = _task(config, model, learned, footage, judge)
    trained = {id(value) for value in task.parameters()}
    names = [name for name, value in model.named_parameters() if id(value) in trained]
    run = _Run(
        config=config,
        person=Person(
            entry=entry,
            device=device,
            footage=footage,
            learned=learned,
            held=HeldOut(held, footage.references, _find_faces),
            consent=consent,
        ),
        path=path,
        work=work,
        model=model,
        base={name: value.detach().clone() for name, value in model.state_dict().items()},
        task=task,
        optimizer=torch.optim.AdamW(task.parameters(), lr=_RATE, betas=(0.9, 0.98)),
        # The last layer of the sound half takes the mouth's range, see `teach_mouth`.
        names=list(dict.fromkeys([*names, *_mouth_names(model)])),
        average={},
        tell=tell,
        announce=announce or (lambda text: None),
        began=began,
        notes=notes,
    )
    run.seconds["gather"] = round(gathered - began, 1)
    return run


def _mouth_names(model: IPTalker) -> list[str]:
    last = model.alignment.to_coefficients[-1]
    return [
        name
        for name, value in model.named_parameters()
        if any(value is p for p in last.parameters())
    ]


def _notes_on(footage: Footage) -> list[str]:
    notes = []
    seconds = footage.facts["seconds_used"]
    if seconds < _FEW_SECONDS:
        notes.append(f"Only {seconds:.1f} s of footage: {_FEW_SECONDS:.0f} s or more learn better.")
    if not footage.has_sound:
        notes.append("The footage has no sound: looks are learned, not how the mouth moves.")
    if footage.sampled:
        notes.append(
            f"{seconds:.0f} s were taken from {footage.facts['seconds_available']:.0f} s, evenly."
        )
    return notes


def _task(
    config: FinetuneConfig,
    model: IPTalker,
    clips: list[TrainClip],
    footage: Footage,
    judge: SyncJudge | None,
) -> RenderTask:
    """The picture half, or with `learn_sound` both, guarded by the sync expert."""
    if config.learn_sound and not any(clip.has_audio for clip in clips):
        raise TrainingError(
            "The footage has no sound that fits the mouth, so how it follows cannot be learned.",
            "Leave out --learn-sound.",
        )
    settings = TrainConfig(
        model="iptalker",
        data=Path(),
        output=Path(),
        stage="joint" if config.learn_sound else "render",
        batch_clips=1,
        frames_per_clip=_FRAMES,
        seed=config.seed,
    )
    sync = judge.expert if judge is not None and config.learn_sound else None
    return RenderTask(
        model,
        clips,
        settings,
        joint=config.learn_sound,
        weights=PERSON_LOSSES,
        judges=Judges(sync=sync),
        variation=Variation(
            jitter=_JITTER,
            is_mirrored=False,
            is_coloured=False,
            noise=_NOISE,
            references=footage.references,
        ),
    )


def _start(run: _Run, checkpoint: Path | None) -> tuple[History, dict[str, Tensor], int]:
    """Where the run stands: its checks, what the best step changed, and steps made."""
    if checkpoint is not None:
        load_into(run.model, checkpoint)
        restore_training(checkpoint, run.model, run.optimizer)
        run.average = begin_average(run.model)
        restore_average(run.average, checkpoint)
        history, best = run.work.load(checkpoint)
        start = read_state(checkpoint).step
        drop_rows_after(run.work.path, start)
        run.announce(f"going on after step {start}")
        return history, best, start
    run.work.create()
    run.tell("check", 0, 1)
    history = History(run.person.held.score(run.model))
    _teach_mouth(run)
    run.average = begin_average(run.model)
    best = _look(run, history, 0, math.nan, {})
    run.tell("check", 1, 1)
    drop_rows_after(run.work.path, 0)
    return history, best, 0


def _teach_mouth(run: _Run) -> None:
    """Take the person's mouth over, as it shows in pictures."""
    learned, references = run.person.learned, run.person.footage.references
    if teach_mouth(run.model, learned):
        shown = HeldOut(learned, references, _find_faces).shown_spread(run.model)
        widen_mouth(run.model, learned, shown)


def _find_faces() -> FaceDetector:
    return MediaPipeDetector(max_faces=1)


def _learn(
    run: _Run,
    history: History,
    best: dict[str, Tensor],
    start: int,
    snapshots: Mapping[int, Path],
) -> tuple[int, str, dict[str, Tensor]]:
    """All steps. Returns the last one, why there were no more, and the best one's changes."""
    config = run.config
    is_half = use_bfloat16(config.precision, choose_device(config.device))
    budget_s = 60 * config.minutes if config.minutes else math.inf
    for step in range(start, config.steps):
        began = time.monotonic()
        share = max(step / config.steps, (began - run.began) / budget_s)
        values = take_step(
            run.task, run.optimizer, step, rate=_rate(step, share), is_half=is_half, fail=_failure
        )
        done = step + 1
        append_row(run.work.path, done, time.monotonic() - began, values)
        update_average(run.average, run.model, step, _AVERAGE_DECAY)
        run.tell("learn", done, config.steps)
        is_late = time.monotonic() - run.began >= budget_s
        if not (done % CHECK_EVERY == 0 or done == config.steps or is_late):
            continue
        best = _look(run, history, done, values["loss"], best)
        if done in snapshots:
            _snapshot(run, history, snapshots[done])
        if is_late:
            return done, f"the {config.minutes:g} minutes are over", best
        if history.has_lost_sync and not snapshots:
            return done, "the lips followed less well", best
    return config.steps, "all steps were made", best


def _rate(step: int, share: float) -> float:
    """Linear warm-up, then a cosine down to a tenth as the run goes on."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
    warm = min(1.0, (step + 1) / _WARM_UP_STEPS)
    return _RATE * warm * (_LEAST_RATE + (1 - _LEAST_RATE) * cosine)


def _failure(what: str) -> TrainingError:
    return TrainingError(
        f"{what}: nothing can be learned from here on.",
        "Run again to go on from the last check, or with other footage. Nothing was replaced.",
    )


def _look(
    run: _Run, history: History, step: int, loss: float, best: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Score the footage kept apart, and keep what is needed to go on from here."""
    with _averaged(run):
        check = Check(step=step, loss=loss, score=run.person.held.score(run.model))
    is_best = history.add(check)
    if is_best:
        best = difference(run.base, run.average, run.names)
    score = check.score
    run.announce(
        f"step {step}: "
        + ("" if math.isnan(loss) else f"loss {loss:.3f}, ")
        + f"texture {score.texture:.2f}, lips follow {score.sync:.2f}, {score.psnr:.1f} dB"
        + (" (best so far)" if is_best else "")
    )
    run.work.save(history, best)
    save_checkpoint(
        run.work.path,
        state=TrainState(
            step=step,
            architecture=run.person.entry.architecture,
            stage="finetune",
            model_config=run.person.entry.config,
        ),
        model=run.model,
        average=run.average,
        optimizer=run.optimizer,
        run_config={key: str(value) for key, value in run.config.as_json().items()},
        keep=1,
    )
    run.work.tidy(history)
    return best


@contextmanager
def _averaged(run: _Run) -> Iterator[None]:
    """The model with its averaged weights, for a while."""
    now = {name: value.clone() for name, value in run.model.state_dict().items()}
    run.model.load_state_dict(run.average)
    try:
        yield
    finally:
        run.model.load_state_dict(now)


def _snapshot(run: _Run, history: History, path: Path) -> None:
    """Store the identity as it is now, and go on learning."""
    deltas = difference(run.base, run.average, run.names)
    latest = history.checks[-1]
    report = _report(run, history, latest, latest.step, "a snapshot was asked for", deltas)
    store_identity(run.person, report, deltas, path, run.work.path / LOG_NAME, replace=True)


def _report(
    run: _Run,
    history: History,
    kept: Check,
    last: int,
    stopped: str,
    deltas: dict[str, Tensor],
) -> FinetuneReport:
    run.seconds["all"] = round(time.monotonic() - run.began, 1)
    return FinetuneReport(
        name=run.path.name,
        path=str(run.path),
        kept_step=kept.step,
        last_step=last,
        stopped=stopped,
        before=as_figures(history.before),
        after=as_figures(kept.score),
        checks=[check.as_json() for check in history.checks],
        footage=run.person.footage.facts,
        left_out=run.person.footage.left_out,
        notes=run.notes,
        seconds=run.seconds,
        config=run.config.as_json(),
        megabytes=round(sum(v.numel() * v.element_size() for v in deltas.values()) / 1e6, 2),
    )
