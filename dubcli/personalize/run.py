"""`dub finetune`: learn one person from their own video.

Two things are learned. How the person's mouth moves (`Adapter.set_mouth`), at once, from the
footage's own sound; and how it looks, by gradient steps on what paints. What predicts the mouth is
frozen unless `learn_sound` asks for it, so only pictures that stop following their landmarks could
put the lips out of step. A part of the footage is kept for validation: every few steps it is
dubbed and scored, and the step that does best there is kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dubcli.config import FinetuneConfig
from dubcli.core.errors import ConfigError, TrainingError
from dubcli.core.progress import Progress, no_progress
from dubcli.core.reports import FinetuneReport
from dubcli.face.detect import FaceDetector, require_detector
from dubcli.identities.adapter import difference
from dubcli.identities.identity import Consent
from dubcli.identities.store import locate, require_free
from dubcli.models.api import ModelSpec
from dubcli.personalize.footage.gather import Footage, FootageRequest, gather_footage
from dubcli.personalize.identity_output import Person, base_model, cannot_learn, store_identity
from dubcli.personalize.personal_clips import keep_apart, person_clips
from dubcli.personalize.run_history import History, ValidationCheck, WorkFolder, as_figures
from dubcli.personalize.validation import Validation
from dubcli.pipeline.engine import Engine, engine_for
from dubcli.pipeline.stored_identity import require_one_role
from dubcli.training.checkpoint import TrainState
from dubcli.training.loop import TIME_IS_OVER, Loop, LoopSettings
from dubcli.training.recipes import find_adapter
from dubcli.training.run import use_bfloat16
from dubcli.training.run_folder import LOG_NAME, drop_rows_after
from dubcli.training.schedule import CosineSchedule
from dubcli.training.stage import Adapter, PersonSetup
from dubcli.weights.entry import WeightEntry

_SCHEDULE = CosineSchedule(peak=1.5e-4, warm_up_steps=10, least=0.1)
_FRAMES = 6
# The weights that are looked at and kept are averaged over about the last 25 steps.
_AVERAGE_DECAY = 0.96
# Steps between looks at the footage kept apart; a run can be taken up from each of them.
CHECK_EVERY = 25
_FEW_SECONDS = 4.0


@dataclass(frozen=True, kw_only=True)
class _FinetuneJob:
    """What was asked for and can be done, and who is told how it goes."""

    config: FinetuneConfig
    entry: WeightEntry
    path: Path
    work: WorkFolder
    consent: Consent
    progress: Progress
    announce: Callable[[str], None]
    began: float


@dataclass(kw_only=True)
class _FinetuneRun:
    """A run whose footage and model are there; what changes is the model, and the history."""

    job: _FinetuneJob
    person: Person
    adapter: Adapter
    loop: Loop
    base: dict[str, Tensor]
    names: list[str]
    notes: list[str]
    seconds: dict[str, float] = field(default_factory=dict[str, float])


def finetune(
    config: FinetuneConfig,
    progress: Progress | None = None,
    *,
    announce: Callable[[str], None] | None = None,
    asked: bool = False,
    snapshots: Mapping[int, Path] | None = None,
    engine: Engine | None = None,
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
        engine: Holds loaded networks; one for this call alone by default. Its own weights stay as
            they are.

    Raises:
        ConfigError: No consent, a name in use, a model that cannot be learned with.
        MediaError: No video can be read.
        FaceError: No face that can be used.
        TrainingError: Too little footage, NaN, full disk.
        IdentityError: The identity cannot be written.
        WeightsError: The base weights are missing or damaged.
        DeviceError: The device is not there.
    """
    with engine_for(engine, config.device, config.threads) as engine:
        return _finetune(config, engine, dict(snapshots or {}), asked, progress, announce)


def _finetune(
    config: FinetuneConfig,
    engine: Engine,
    snapshots: Mapping[int, Path],
    asked: bool,
    progress: Progress | None,
    announce: Callable[[str], None] | None,
) -> FinetuneReport:
    path, entry = check_request(config, engine, replaces=config.overwrite or bool(snapshots))
    consent = Consent(
        agreed=True,
        date=datetime.now(UTC).date().isoformat(),
        how="asked" if asked else "--consent",
    )
    work = WorkFolder(path, _request(config, entry))
    checkpoint = work.find(restart=config.overwrite)
    job = _FinetuneJob(
        config=config,
        entry=entry,
        path=path,
        work=work,
        consent=consent,
        progress=progress or no_progress,
        announce=announce or (lambda text: None),
        began=time.monotonic(),
    )
    run = _begin(job, engine)
    history, best = _start(run, checkpoint)
    began = time.monotonic()
    stopped, best = _learn(run, history, best, snapshots)
    last = run.loop.step
    run.seconds["learn"] = round(time.monotonic() - began, 1)
    if snapshots:
        report = _report(run, history, history.checks[-1], last, stopped, best)
    else:
        report = _report(run, history, history.best, last, stopped, best)
        log = work.path / LOG_NAME
        store_identity(run.person, report, best, path, log, replace=config.overwrite)
    work.remove()
    return report


def check_request(
    config: FinetuneConfig, engine: Engine, *, replaces: bool
) -> tuple[Path, WeightEntry]:
    """Look at everything that can be wrong before the slow part.

    Args:
        config: What is to be learned.
        engine: Knows the weights.
        replaces: The identity may be there already.

    Returns:
        Where the identity will lie, and the weights that it is learned on.

    Raises:
        DubError: Learning cannot begin.
    """
    require_detector(config.detector)
    if not config.consent:
        raise ConfigError(
            "Whether the person agreed to be learned is not known.",
            "Ask them; then add --consent.",
        )
    path = locate(config.name)
    if not replaces:
        require_free(path, replace=False)
    entry = engine.resolve(config.model)
    _adapter_of(entry)
    return path, entry


def _adapter_of(entry: WeightEntry) -> Adapter:
    adapter = find_adapter(entry.architecture)
    if adapter is None or not adapter.can_learn(entry.config):
        raise cannot_learn(entry)
    return adapter


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
        "detector": config.detector,
        "learn_sound": config.learn_sound,
        "seed": config.seed,
    }


def _begin(job: _FinetuneJob, engine: Engine) -> _FinetuneRun:
    """Gather the footage, load the base, split what is learned from and what decides."""
    config, entry = job.config, job.entry
    engine.use_threads(config.threads)
    torch.manual_seed(config.seed)
    device = engine.device(config.device)
    model = base_model(engine, entry, device)
    adapter = _adapter_of(entry)
    footage = _footage(config, engine, model.spec, job.progress)
    gathered = time.monotonic()
    scorer = engine.sync_expert("train", device)
    clips, notes = person_clips(job.path.name, [part.clip for part in footage.clips], scorer)
    learned, held = keep_apart(clips)
    model.to(memory_format=torch.channels_last)
    setup = PersonSetup(
        model=model,
        clips=learned,
        references=footage.references,
        learn_sound=config.learn_sound,
        sync=scorer.expert if scorer is not None else None,
        schedule=_SCHEDULE,
        seed=config.seed,
        frames=_FRAMES,
    )
    loop = _loop(job, adapter, setup, device)
    person = Person(
        engine=engine,
        entry=entry,
        device=device,
        footage=footage,
        learned=learned,
        held=Validation(held, footage.references, adapter, _find_faces(config, engine)),
        consent=job.consent,
    )
    return _FinetuneRun(
        job=job,
        person=person,
        adapter=adapter,
        loop=loop,
        base={name: value.detach().clone() for name, value in model.state_dict().items()},
        names=adapter.learned_names(loop.task),
        notes=[*_notes_on(footage), *notes],
        seconds={"gather": round(gathered - job.began, 1)},
    )


def _footage(
    config: FinetuneConfig, engine: Engine, spec: ModelSpec, progress: Progress
) -> Footage:
    """The person's footage in crops of the model's size."""
    require_one_role(spec)
    (references,) = spec.static_roles().values()
    request = FootageRequest(
        videos=config.videos,
        face=config.face,
        half=config.half,
        size=spec.crop.size,
        threads=config.threads,
        detector=config.detector,
        audio_kind=spec.audio.kind,
    )
    return gather_footage(request, references.count, progress, engine=engine)


def _loop(job: _FinetuneJob, adapter: Adapter, setup: PersonSetup, device: torch.device) -> Loop:
    """The training loop; checkpoints are written with each score, see `_look`."""
    config, entry = job.config, job.entry
    settings = LoopSettings(
        steps=config.steps,
        folder=job.work.path,
        minutes=config.minutes or 0.0,
        is_time_course=True,
        began=job.began,
        is_bfloat16=use_bfloat16(config.precision, device),
        average_decay=_AVERAGE_DECAY,
        keep=1,
        label="learn",
        run_config={key: str(value) for key, value in config.as_json().items()},
    )
    state = TrainState(
        step=0, architecture=entry.architecture, stage="finetune", model_config=entry.config
    )
    return Loop(adapter.task(setup), state, settings, lambda what, step: _failure(what))


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


def _start(run: _FinetuneRun, checkpoint: Path | None) -> tuple[History, dict[str, Tensor]]:
    """Where the run stands: its checks, and what the best step changed."""
    if checkpoint is not None:
        run.loop.resume(checkpoint)
        history, best = run.job.work.load(checkpoint)
        drop_rows_after(run.job.work.path, run.loop.step)
        run.job.announce(f"going on after step {run.loop.step}")
        return history, best
    run.job.work.create()
    run.job.progress("check", 0, 1)
    history = History(run.person.held.score(run.loop.model))
    _set_mouth(run)
    run.loop.begin_average()
    best = _look(run, history, 0, math.nan, {})
    run.job.progress("check", 1, 1)
    drop_rows_after(run.job.work.path, 0)
    return history, best


def _set_mouth(run: _FinetuneRun) -> None:
    """Take the person's mouth over, as it shows in pictures."""
    learned, references = run.person.learned, run.person.footage.references
    if run.adapter.set_mouth(run.loop.model, learned):
        find_faces = _find_faces(run.job.config, run.person.engine)
        seen = Validation(learned, references, run.adapter, find_faces)
        shown = seen.shown_spread(run.loop.model)
        run.adapter.widen_mouth(run.loop.model, learned, shown)


def _find_faces(
    config: FinetuneConfig, engine: Engine
) -> Callable[[], AbstractContextManager[FaceDetector]]:
    """A crop shows one face."""
    return partial(engine.detector, config.detector, max_faces=1)


def _learn(
    run: _FinetuneRun, history: History, best: dict[str, Tensor], snapshots: Mapping[int, Path]
) -> tuple[str, dict[str, Tensor]]:
    """All steps. Returns why there were no more, and the best one's changes."""

    def after_step(step: int, values: Mapping[str, float], is_last: bool) -> str | None:
        nonlocal best
        if step % CHECK_EVERY and not is_last:
            return None
        best = _look(run, history, step, values["loss"], best)
        if step in snapshots:
            _snapshot(run, history, snapshots[step])
        return "the lips followed less well" if history.has_lost_sync and not snapshots else None

    run.loop.run(run.job.progress, after_step)
    if run.loop.stopped == TIME_IS_OVER:
        return f"the {run.job.config.minutes:g} minutes are over", best
    return run.loop.stopped, best


def _failure(what: str) -> TrainingError:
    return TrainingError(
        f"{what}: nothing can be learned from here on.",
        "Run again to go on from the last check, or with other footage. Nothing was replaced.",
    )


def _look(
    run: _FinetuneRun, history: History, step: int, loss: float, best: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Score the footage kept apart, and keep what is needed to go on from here."""
    with run.loop.averaged():
        check = ValidationCheck(step=step, loss=loss, score=run.person.held.score(run.loop.model))
    is_best = history.add(check)
    if is_best:
        best = _changes(run)
    score = check.score
    run.job.announce(
        f"step {step}: "
        + ("" if math.isnan(loss) else f"loss {loss:.3f}, ")
        + f"texture {score.texture:.2f}, lips follow {score.sync:.2f}, {score.psnr:.1f} dB"
        + (" (best so far)" if is_best else "")
    )
    run.job.work.save(history, best)
    run.loop.save()
    run.job.work.tidy(history)
    return best


def _changes(run: _FinetuneRun) -> dict[str, Tensor]:
    """What the averaged weights have learned so far."""
    return difference(run.base, run.loop.average.module.state_dict(), run.names)


def _snapshot(run: _FinetuneRun, history: History, path: Path) -> None:
    """Store the identity as it is now, and go on learning."""
    deltas = _changes(run)
    latest = history.checks[-1]
    report = _report(run, history, latest, latest.step, "a snapshot was asked for", deltas)
    store_identity(run.person, report, deltas, path, run.job.work.path / LOG_NAME, replace=True)


def _report(
    run: _FinetuneRun,
    history: History,
    kept: ValidationCheck,
    last: int,
    stopped: str,
    deltas: dict[str, Tensor],
) -> FinetuneReport:
    run.seconds["all"] = round(time.monotonic() - run.job.began, 1)
    return FinetuneReport(
        name=run.job.path.name,
        path=str(run.job.path),
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
        config=run.job.config.as_json(),
        megabytes=round(sum(v.numel() * v.element_size() for v in deltas.values()) / 1e6, 2),
    )
