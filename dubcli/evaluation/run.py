"""`dub evaluate`: every clip, in every setting, by every model and baseline."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dubcli import __version__
from dubcli.config import BASELINES, EvaluateConfig
from dubcli.core.atomic_io import make_folder
from dubcli.core.errors import (
    ConfigError,
    DeviceError,
    DubError,
    MediaError,
    NoFaceError,
    WeightsError,
)
from dubcli.core.progress import Progress, no_progress
from dubcli.evaluation.baselines import nearest_lips, nearest_sound, write_pasted
from dubcli.evaluation.clips import EvalClip, list_clips, list_recordings
from dubcli.evaluation.face_similarity import FaceSimilarity
from dubcli.evaluation.identity_systems import IdentitySystem, find_identities
from dubcli.evaluation.plots import save_plot, save_sheet
from dubcli.evaluation.preservation import score_harm
from dubcli.evaluation.published_networks import PerceptualScorer
from dubcli.evaluation.results import (
    FORMAT,
    Item,
    file_name,
    item_path,
    keep_result,
    load_item,
    save_item,
    stamp,
    stop_if_full,
)
from dubcli.evaluation.score import known_by_definition, score_lips, score_pictures
from dubcli.evaluation.settings import (
    CROSS_SPEECH,
    RECONSTRUCTION,
    SILENCE,
    write_foreign_audio,
    write_own_audio,
    write_silence,
)
from dubcli.evaluation.source import (
    HALF_SHARE,
    REFERENCE_SHARE,
    Source,
    analyse_source,
    check_length,
)
from dubcli.evaluation.style_similarity import StyleSimilarity
from dubcli.evaluation.sync_confidence import OwnSyncScorer
from dubcli.evaluation.tables import Evaluation, with_silence_against_speech, write_tables
from dubcli.evaluation.tasks import (
    PASTED,
    TRUTH,
    UNDRAWN,
    UNDUBBED,
    UNTOUCHED,
    DubTask,
    dub_config,
    list_tasks,
)
from dubcli.face.detect import require_detector
from dubcli.metrics.fid import score_sets
from dubcli.metrics.inception import NUM_FEATURES
from dubcli.metrics.lips import measure_mouth
from dubcli.pipeline.engine import Engine, engine_for
from dubcli.pipeline.run import dub


@dataclass
class _Work:
    """What is shared by all items of an evaluation."""

    config: EvaluateConfig
    engine: Engine
    clips: list[EvalClip]
    recordings: list[Path]
    networks: PerceptualScorer
    similarity: FaceSimilarity
    judge: OwnSyncScorer
    style: StyleSimilarity
    models: list[str]
    identities: list[IdentitySystem]
    systems: dict[str, str | None]
    sources: dict[str, Source | DubError] = field(default_factory=dict)
    offsets: dict[str, float | None] = field(default_factory=dict)

    def source(self, clip: EvalClip) -> Source:
        """The analysed clip; an earlier failure is raised again."""
        if clip.name not in self.sources:
            share = HALF_SHARE if self.config.half else REFERENCE_SHARE
            try:
                self.sources[clip.name] = analyse_source(
                    clip,
                    self.config.threads,
                    share,
                    engine=self.engine,
                    detector=self.config.detector,
                )
            except DubError as error:
                if isinstance(error, DeviceError):
                    raise
                self.sources[clip.name] = error
        found = self.sources[clip.name]
        if isinstance(found, DubError):
            raise found
        return found

    def is_usable(self, clip: EvalClip) -> bool:
        """The clip can be read and shows a face."""
        try:
            self.source(clip)
        except DeviceError:
            raise
        except DubError:
            return False
        return True

    def own_offset_s(self, clip: EvalClip) -> float | None:
        """How much a clip's picture comes late, seconds, told from source and sound alone."""
        if clip.name not in self.offsets:
            source = self.source(clip)
            with tempfile.TemporaryDirectory(prefix=".dub-", dir=self.config.output) as folder:
                audio = write_own_audio(source, Path(folder) / "own.wav")
                self.offsets[clip.name] = self.judge.own_offset_s(source, audio)
        return self.offsets[clip.name]


def evaluate(
    config: EvaluateConfig,
    progress: Progress | None = None,
    *,
    only: Collection[str] | None = None,
    engine: Engine | None = None,
) -> Evaluation:
    """Score models, identities and baselines on clips.

    What was scored by an earlier, interrupted run is not scored again.

    Args:
        config: What to do.
        progress: Called as (stage, done, total).
        only: Names of the clips that are scored now, all by default; the others just lend their
            sound, and tables are not written. Several processes may so share an output folder,
            each with clips of its own; a last run over all of them makes the tables.
        engine: Holds loaded models, for all items; one for this call alone by default.

    Returns:
        All figures; they also lie in the output folder, as `scores.json` and `scores.md`, with a
        plot for each clip and a contact sheet for each result.

    Raises:
        ConfigError: A list, model or folder cannot be used.
        WeightsError: Weights or an identity are missing, damaged or do not fit each other.
        MediaError: Not one clip can be scored, or the output cannot be written.
    """
    with engine_for(engine, config.device, config.threads) as engine:
        return _evaluate(_prepare(config, engine), progress, only)


def _evaluate(work: _Work, progress: Progress | None, only: Collection[str] | None) -> Evaluation:
    """As `evaluate`, once all is checked and loaded."""
    config = work.config
    every = list_tasks(config, work.clips, work.recordings, work.models, work.identities)
    tasks = [task for task in every if only is None or task.clip.name in only]
    items, failures = _score_all(tasks, work, progress or no_progress)
    for system in work.identities:
        for name in system.lacking:
            if only is None or name in only:
                failures[f"{name}, {system.name}"] = f"'{system.path}' holds no identity for it."
    if not items:
        raise MediaError(
            f"No clip of '{config.clips}' could be scored. The first one: "
            f"{next(iter(failures.values()), 'nothing to do')}",
            "See the columns and files that docs/evaluation.md asks for.",
        )
    result = Evaluation(
        config=config,
        items=with_silence_against_speech(items),
        failures=failures,
        missing=dict(work.networks.missing),
        files=dict(work.networks.files),
        has_judge=bool(work.judge),
        has_style=bool(work.style),
        weights=dict(work.systems),
        identities=work.identities,
        version=__version__,
        sets=score_sets(items, NUM_FEATURES),
    )
    if only is None:
        write_tables(result, config.output)
    return result


def _score_all(
    tasks: list[DubTask], work: _Work, progress: Progress
) -> tuple[list[Item], dict[str, str]]:
    """Items, and what could not be scored and why."""
    items: list[Item] = []
    failures: dict[str, str] = {}
    for done, task in enumerate(tasks):
        progress("evaluate", done, len(tasks))
        try:
            items.append(_item(task, work))
        except (ConfigError, WeightsError, DeviceError):
            raise
        except DubError as error:
            stop_if_full(error, work.config.output)
            name = task.clip.name
            source = work.sources.get(name)
            whole = isinstance(source, DubError)
            key = name if whole else f"{name}, {task.run}, {task.system}"
            failures.setdefault(key, str(error))
        is_last_of_clip = done + 1 == len(tasks) or tasks[done + 1].clip != task.clip
        if is_last_of_clip:
            _draw(task.clip, items, work)
            work.sources = {k: v for k, v in work.sources.items() if isinstance(v, DubError)}
    progress("evaluate", len(tasks), len(tasks))
    return items, failures


def _prepare(config: EvaluateConfig, engine: Engine) -> _Work:
    """Everything that can be wrong before the slow part."""
    require_detector(config.detector)
    clips = list_clips(config)
    recordings = list_recordings(config.speech) if config.speech else []
    entries = [engine.resolve(name) for name in config.model_names]
    systems = {entry.name: entry.sha256 for entry in entries}
    identities = find_identities(config, clips, {*systems, *BASELINES, UNTOUCHED}, engine.manifest)
    for system in identities:
        shared = None if system.is_folder else system.of_clip[clips[0].name]
        systems[system.name] = shared.adapter_sha256 if shared else None
    for name in config.baseline_names:
        systems.setdefault(name, None)
    if TRUTH in config.baseline_names:
        systems[UNTOUCHED] = None
    engine.use_threads(config.threads)
    device = engine.device(config.device)
    judge, train = (engine.sync_expert(role, device) for role in ("judge", "train"))
    make_folder(config.output)
    return _Work(
        config=config,
        engine=engine,
        clips=clips,
        recordings=recordings,
        networks=PerceptualScorer(config.weights, device, engine.manifest),
        similarity=FaceSimilarity(engine.recogniser),
        judge=OwnSyncScorer(judge, engine.features, train),
        style=StyleSimilarity.load(device, engine.manifest),
        models=list(dict.fromkeys(entry.name for entry in entries)),
        identities=identities,
        systems=systems,
    )


def _item(task: DubTask, work: _Work) -> Item:
    """The item of an earlier run, or a new one.

    Raises:
        NoFaceError: No clip that could drive it shows a face.
        DubError: The clip cannot be scored.
    """
    config = work.config
    path = item_path(config.output, task.clip.name, task.run, task.system)
    for choice in task.choices():
        fingerprint = _fingerprint(choice, work)
        known = None if config.overwrite else load_item(path, fingerprint)
        if known is not None:
            return known
        # Its own failure comes first.
        source = work.source(task.clip)
        if choice.speaker is None or work.is_usable(choice.speaker):
            return _new_item(choice, source, work, fingerprint, path)
    raise NoFaceError(
        f"No other clip whose sound could drive '{task.clip.path}' shows a usable face.",
        "Add a clip of another person.",
    )


def _new_item(
    task: DubTask, source: Source, work: _Work, fingerprint: dict[str, Any], path: Path
) -> Item:
    with tempfile.TemporaryDirectory(prefix=".dub-", dir=work.config.output) as folder:
        item = _score(task, source, work, fingerprint, Path(folder))
    save_item(item, path)
    # As it was stored, so that a run that goes on gives the very same figures.
    return load_item(path, fingerprint) or item


def _fingerprint(task: DubTask, work: _Work) -> dict[str, Any]:
    speaker, identity = task.speaker, task.identity
    fingerprint = {
        "format": FORMAT,
        "version": __version__,
        "detector": work.config.detector,
        "clip": stamp(task.clip.path),
        "driver": task.driver if task.run == SILENCE else stamp(Path(task.driver)),
        "own": task.clip.audio_is_own,
        "speaker": None if speaker is None else speaker.name,
        "weights": work.systems[task.system],
        "seed": work.config.seed,
        "judge": bool(work.judge),
        "style": work.style.sha256,
        "networks": work.networks.files,
        "recogniser": work.engine.resolve("recogniser", "part").sha256,
    }
    if identity is not None:
        fingerprint |= {"weights": identity.adapter_sha256, "identity": identity.sha256}
    return {**fingerprint, "half": True} if work.config.half else fingerprint


def _score(
    task: DubTask, source: Source, work: _Work, fingerprint: dict[str, Any], folder: Path
) -> Item:
    config = work.config
    speaker = work.source(task.speaker) if task.speaker else None
    late_s = _late_s(task, work)
    audio = _audio(task, source, speaker, folder, late_s)
    result, facts = _produce(task, source, audio, work, folder)
    is_source = task.system in UNDUBBED
    mouth = source.mouth
    if not is_source:
        with work.engine.detector(config.detector) as finder:
            mouth = measure_mouth(result, source.mouth, finder)
    check_length(source, mouth, result)
    offset_s = late_s if task.run == RECONSTRUCTION else _offset(task, work)
    lips = score_lips(task.run, source, mouth, speaker, offset_s)
    scores = dict(lips.scores)
    fidelity = task.run == RECONSTRUCTION and source.clip.audio_is_own
    if is_source:
        scores |= known_by_definition(source)
    else:
        of_pictures, faces = score_pictures(task.run, source, result, mouth)
        scores |= of_pictures
        name = file_name(task.clip.name, task.run, task.system)
        save_sheet(faces, config.output / "sheets" / f"{name}.jpg")
        if config.keep:
            keep_result(result, config.output / "results" / f"{name}{result.suffix}")
    if task.run != SILENCE:
        start = source.split if task.run == RECONSTRUCTION else 0
        scores |= work.judge.score(source, mouth, audio, start)
        scores |= work.style.score(source, mouth)
    scores["csim"] = work.similarity(source, result)
    if work.networks:
        scores |= work.networks.score(source, result, audio, fidelity)
    if task.run == RECONSTRUCTION and not is_source and task.system not in PASTED:
        scores |= score_harm(
            source, result, dub_config(task, audio, result, config), folder, work.engine
        )
    learned = {"identity": str(task.identity.path)} if task.identity else {}
    return Item(
        clip=source.clip.name,
        identity=source.clip.identity,
        run=task.run,
        system=task.system,
        fingerprint=fingerprint,
        scores=scores,
        seconds=source.seconds.tolist(),
        output=lips.output.tolist(),
        compared=lips.compared.tolist(),
        facts={**facts, "driver": task.driver, "own_offset_s": offset_s, **learned},
        features=work.networks.features(source, result),
    )


def _offset(task: DubTask, work: _Work) -> float | None:
    """Of the clip whose mouth is the truth."""
    speaker = task.clip if task.run == RECONSTRUCTION else task.speaker
    if speaker is None or not speaker.audio_is_own or not work.judge:
        return None
    return work.own_offset_s(speaker)


def _late_s(task: DubTask, work: _Work) -> float | None:
    """How much a clip's own sound is delayed in reconstruction, to be in step with its picture.

    Only for what follows the sound: a copied picture is in step with the picture anyway.
    """
    if task.run != RECONSTRUCTION or not work.judge:
        return None
    follows = task.system not in (*UNDRAWN, *PASTED)
    return (_offset(task, work) or 0.0) if follows else 0.0


def _audio(
    task: DubTask, source: Source, speaker: Source | None, folder: Path, late_s: float | None
) -> Path:
    path = folder / f"{task.run}.wav"
    if task.run == SILENCE:
        return write_silence(source, path)
    if task.run == CROSS_SPEECH:
        return write_foreign_audio(source, Path(task.driver), path)
    return write_own_audio(source, path, speaker, late_s or 0.0)


def _produce(
    task: DubTask, source: Source, audio: Path, work: _Work, folder: Path
) -> tuple[Path, dict[str, Any]]:
    """The result of a system, and what is to be noted about it."""
    threads = work.config.threads
    if task.system in UNDUBBED:
        return source.clip.path, {}
    if task.system in PASTED:
        output = folder / "result.mov"
        if task.system == "best-reference":
            chosen = nearest_lips(source)
        else:
            own = write_own_audio(source, folder / "own.wav")
            chosen = nearest_sound(source, own, audio)
        wanted = source.valid.copy()
        if task.run == RECONSTRUCTION:
            wanted[: source.split] = False
        write_pasted(source, chosen, wanted, output, threads)
        return output, {}
    # Some containers of sources cannot be written; mp4 holds every codec that `dub` keeps.
    output = folder / "result.mp4"
    only_first = range(source.split) if task.run == RECONSTRUCTION else None
    report = dub(
        dub_config(task, audio, output, work.config),
        engine=work.engine,
        reference_frames=only_first,
    )
    return output, {
        "frames_dubbed": report.frames_dubbed,
        "frames_passed_through": report.frames_passed_through,
        "dub_seconds": report.seconds,
        "device": report.device,
    }


def _draw(clip: EvalClip, items: list[Item], work: _Work) -> None:
    own = [item for item in items if item.clip == clip.name and item.system not in UNDRAWN]
    if own:
        save_plot(clip.name, own, work.config.output / "plots" / f"{clip.name}.png")
