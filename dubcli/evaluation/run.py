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
from dubcli.evaluation.costs import CPU_TIME, preload, processor_time
from dubcli.evaluation.face_similarity import FaceSimilarity
from dubcli.evaluation.identity_systems import find_identities
from dubcli.evaluation.model_systems import choose_models
from dubcli.evaluation.plots import save_plot, save_sheet
from dubcli.evaluation.preservation import score_harm
from dubcli.evaluation.published_networks import PerceptualScorer
from dubcli.evaluation.result_alignment import align_result
from dubcli.evaluation.result_videos import find_results
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
from dubcli.evaluation.settings import RECONSTRUCTION, SILENCE, write_own_audio
from dubcli.evaluation.source import Source, check_length
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
from dubcli.evaluation.work import (
    EvaluationWork,
    delay_heard,
    keep_driver,
    sound_delay_s,
    true_offset_s,
    write_driver,
)
from dubcli.face.detect import require_detector
from dubcli.metrics.fid import score_sets
from dubcli.metrics.inception import NUM_FEATURES
from dubcli.metrics.lips import measure_mouth
from dubcli.pipeline.engine import Engine, engine_for
from dubcli.pipeline.run import dub


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


def _evaluate(
    work: EvaluationWork, progress: Progress | None, only: Collection[str] | None
) -> Evaluation:
    """As `evaluate`, once all is checked and loaded."""
    config = work.config
    every = list_tasks(
        config, work.clips, work.recordings, work.models.names, work.identities, work.results
    )
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
    costs = work.costs({item.clip for item in items}) if only is None else {}
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
        results=work.results,
        models=work.models.names,
        default_model=work.models.default,
        absent=work.models.absent,
        costs=costs,
        version=__version__,
        sets=score_sets(items, NUM_FEATURES),
    )
    if only is None:
        write_tables(result, config.output)
    return result


def _score_all(
    tasks: list[DubTask], work: EvaluationWork, progress: Progress
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


def _prepare(config: EvaluateConfig, engine: Engine) -> EvaluationWork:
    """Everything that can be wrong before the slow part."""
    require_detector(config.detector)
    clips = list_clips(config)
    recordings = list_recordings(config.speech) if config.speech else []
    models = choose_models(config, engine.manifest)
    systems = {system.name: system.sha256 for system in models.systems}
    identities = find_identities(config, clips, {*systems, *BASELINES, UNTOUCHED}, engine.manifest)
    for system in identities:
        shared = None if system.is_folder else system.of_clip[clips[0].name]
        systems[system.name] = shared.adapter_sha256 if shared else None
    taken = {*systems, *BASELINES, UNTOUCHED}
    results = find_results(config, clips, taken)
    for name in (*(videos.name for videos in results), *config.baseline_names):
        systems.setdefault(name, None)
    if TRUTH in config.baseline_names:
        systems[UNTOUCHED] = None
    engine.use_threads(config.threads)
    device = engine.device(config.device)
    judge, train = (engine.sync_expert(role, device) for role in ("judge", "train"))
    make_folder(config.output)
    return EvaluationWork(
        config=config,
        engine=engine,
        clips=clips,
        recordings=recordings,
        networks=PerceptualScorer(config.weights, device, engine.manifest),
        similarity=FaceSimilarity(engine.recogniser),
        judge=OwnSyncScorer(judge, engine.features, train),
        style=StyleSimilarity.load(device, engine.manifest),
        models=models,
        identities=identities,
        results=results,
        systems=systems,
    )


def _item(task: DubTask, work: EvaluationWork) -> Item:
    """The item of an earlier run, or a new one.

    Raises:
        NoFaceError: No clip that could drive it shows a face.
        DubError: The clip cannot be scored.
    """
    config = work.config
    if task.videos is not None and task.made is None:
        raise MediaError(f"'{task.videos.folder}' holds no video of it.")
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
    task: DubTask, source: Source, work: EvaluationWork, fingerprint: dict[str, Any], path: Path
) -> Item:
    with tempfile.TemporaryDirectory(prefix=".dub-", dir=work.config.output) as folder:
        item = _score(task, source, work, fingerprint, Path(folder))
    save_item(item, path)
    # As it was stored, so that a run that goes on gives the very same figures.
    return load_item(path, fingerprint) or item


def _fingerprint(task: DubTask, work: EvaluationWork) -> dict[str, Any]:
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
    if task.made is not None:
        fingerprint |= {"result": stamp(task.made)}
    return {**fingerprint, "half": True} if work.config.half else fingerprint


def _score(
    task: DubTask, source: Source, work: EvaluationWork, fingerprint: dict[str, Any], folder: Path
) -> Item:
    config = work.config
    speaker = work.source(task.speaker) if task.speaker else None
    outcome = _produce(task, source, speaker, work, folder)
    source, result, audio = outcome.source, outcome.path, outcome.audio
    is_source = task.system in UNDUBBED
    mouth = source.mouth
    if not is_source:
        with work.engine.detector(config.detector) as finder:
            mouth = measure_mouth(result, source.mouth, finder)
    check_length(source, mouth, result)
    lips = score_lips(task.run, source, mouth, speaker, outcome.offset_s, outcome.delay_s)
    scores = dict(lips.scores)
    fidelity = task.run == RECONSTRUCTION and source.clip.audio_is_own
    if is_source:
        scores |= known_by_definition(source)
    else:
        of_pictures, faces = score_pictures(task.run, source, result, mouth)
        scores |= of_pictures
        name = file_name(task.clip.name, task.run, task.system)
        save_sheet(faces, config.output / "sheets" / f"{name}.jpg")
        if config.keep and task.made is None:
            keep_result(result, config.output / "results" / f"{name}{result.suffix}")
    if task.run != SILENCE:
        start = source.split if task.run == RECONSTRUCTION else 0
        scores |= work.judge.score(source, mouth, audio, start)
        scores |= work.style.score(source, mouth)
    scores["csim"] = work.similarity(source, result)
    if work.networks:
        scores |= work.networks.score(source, result, audio, fidelity)
    if task.run == RECONSTRUCTION and task.is_dubbed:
        least_s = work.least_cpu_s(source, folder)
        scores[CPU_TIME] = (outcome.facts["cpu_seconds"] - least_s) / len(source)
        dubbed = dub_config(task, audio, result, work.config)
        scores |= score_harm(source, result, dubbed, folder, work.engine)
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
        facts={**outcome.facts, "driver": task.driver, "own_offset_s": outcome.offset_s, **learned},
        features=work.networks.features(source, result),
    )


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """What a system shows.

    Attributes:
        path: The video; its frames are those of `source`.
        source: The clip.
        audio: What is heard with it.
        offset_s: By how much the picture of whose sound it is comes late; None: not known.
        delay_s: By how much that sound was delayed.
        facts: What is to be noted.
    """

    path: Path
    source: Source
    audio: Path
    offset_s: float | None
    delay_s: float | None = None
    facts: dict[str, Any] = field(default_factory=dict[str, Any])


def _produce(
    task: DubTask, source: Source, speaker: Source | None, work: EvaluationWork, folder: Path
) -> _Outcome:
    """The result of a system."""
    late_s = sound_delay_s(task, work)
    audio = write_driver(task, source, speaker, folder / f"{task.run}.wav", late_s)
    if work.config.keep:
        keep_driver(task, source, speaker, work)
    offset_s = late_s if task.run == RECONSTRUCTION else true_offset_s(task, work)
    if task.made is None:
        path, facts = _dubbed(task, source, audio, work, folder)
        return _Outcome(path=path, source=source, audio=audio, offset_s=offset_s, facts=facts)
    delay_s, heard = delay_heard(task, audio, offset_s)
    if delay_s != offset_s:
        audio = write_driver(task, source, speaker, folder / "as_filed.wav", delay_s)
    aligned = align_result(task.made, source, folder, work.config.threads)
    return _Outcome(
        path=aligned.path,
        source=aligned.source,
        audio=audio,
        offset_s=offset_s,
        delay_s=delay_s,
        facts={"result": str(task.made), "alignment": {**aligned.facts, **heard}},
    )


def _dubbed(
    task: DubTask, source: Source, audio: Path, work: EvaluationWork, folder: Path
) -> tuple[Path, dict[str, Any]]:
    """The video of a model, an identity or a baseline, and what is to be noted about it."""
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
    config = dub_config(task, audio, output, work.config)
    preload(work.engine, {config.motion_model, config.render_model}, config.device)
    with processor_time() as spent:
        report = dub(config, engine=work.engine, reference_frames=only_first)
    return output, {
        "cpu_seconds": round(spent.seconds, 3),
        "frames_dubbed": report.frames_dubbed,
        "frames_passed_through": report.frames_passed_through,
        "dub_seconds": report.seconds,
        "device": report.device,
    }


def _draw(clip: EvalClip, items: list[Item], work: EvaluationWork) -> None:
    own = [item for item in items if item.clip == clip.name and item.system not in UNDRAWN]
    if own:
        save_plot(clip.name, own, work.config.output / "plots" / f"{clip.name}.png")
