"""What can be wrong with rows, told before the first begins: headers and options, no decoding."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dubcli import __version__
from dubcli.batches.batch_row import BatchRow, Defaults, make_row
from dubcli.batches.job_list import COMMAND_COLUMN, WrittenRow
from dubcli.batches.row_result import FAILED, RowResult
from dubcli.config import DubConfig, EvaluateConfig, FinetuneConfig, PlanConfig
from dubcli.core.errors import SYSTEM_ERRORS, ConfigError, DubError, EncodeError, of_system
from dubcli.core.file_names import fitting_name
from dubcli.core.progress import Progress
from dubcli.identities.store import locate
from dubcli.media.container.formats import default_output
from dubcli.media.container.probe import probe, require_video
from dubcli.pipeline.job import inspect, report_path, validate
from dubcli.provenance.mark_choice import sidecar_of

if TYPE_CHECKING:
    from dubcli.pipeline.engine import Engine

_SCORES = "scores.json"


@dataclass(frozen=True, kw_only=True)
class CheckedRow(BatchRow):
    """A row that may begin.

    Attributes:
        output: File or folder of the result.
        report: File that tells of it; None for an identity, which holds its own.
        others: What else is written; of a plan the picture of the faces, where one is wanted.
        key: The same for a row with the same options and the same files.
        frames: How many the video has by its header; 0 where that is not known or does not matter.
    """

    output: Path
    report: Path | None
    others: tuple[Path, ...] = ()
    key: str
    frames: int = 0


@dataclass(frozen=True, kw_only=True)
class _Files:
    """What a row reads, what it writes, and its names for results."""

    inputs: tuple[Path, ...]
    output: Path
    report: Path | None = None
    others: tuple[Path, ...] = ()
    frames: int = 0

    @property
    def outputs(self) -> tuple[Path, ...]:
        """All that is written."""
        return (self.output, *(() if self.report is None else (self.report,)), *self.others)


def check_rows(
    written: Sequence[WrittenRow],
    defaults: Defaults,
    given: dict[str, str],
    folder: Path | None,
    engine: Engine,
    progress: Progress,
) -> tuple[list[CheckedRow], list[RowResult]]:
    """Tell rows that may begin from those with a mistake.

    Args:
        written: All rows of the list.
        defaults: What holds where neither a row nor `given` says anything.
        given: Texts by option, for rows that have the option and do not set it.
        folder: Where dubs go that name no output.
        engine: Knows the weights and the device.
        progress: Called as (stage, done, total).

    Returns:
        The rows that may begin, and a failed result for each of the others.
    """
    checked: list[tuple[CheckedRow, _Files]] = []
    mistakes: list[RowResult] = []
    for done, one in enumerate(written, 1):
        try:
            row = _with_output(make_row(one, defaults, given), folder)
            files = _files(row, engine)
            checked.append((_checked(row, files), files))
        except DubError as error:
            mistakes.append(mistake(one, error))
        except SYSTEM_ERRORS as error:
            known = of_system(error)
            if known is None:
                raise
            mistakes.append(mistake(one, known))
        progress("check", done, len(written))
    collided = _collisions(checked)
    by_number = {one.number: one for one in written}
    mistakes += [mistake(by_number[number], error) for number, error in collided.items()]
    return [row for row, _ in checked if row.number not in collided], mistakes


def mistake(row: WrittenRow, error: DubError) -> RowResult:
    """The result of a row that cannot begin."""
    options = {name: value for name, value in row.cells.items() if name != COMMAND_COLUMN}
    return RowResult(
        row=row.number,
        command=str(row.cells.get(COMMAND_COLUMN, "dub")),
        status=FAILED,
        exit_code=error.exit_code,
        error=str(error),
        output=str(options.get("output", "")),
        options=options,
    )


def _with_output(row: BatchRow, folder: Path | None) -> BatchRow:
    """A dub whose output lies in the folder, where it names none."""
    config = row.config
    if folder is None or row.command != "dub" or not isinstance(config, DubConfig):
        return row
    if config.output is not None:
        return row
    name = default_output(config.video, probe(config.video)).name
    return replace(row, config=replace(config, output=folder / name))


def _files(row: BatchRow, engine: Engine) -> _Files:
    config = row.config
    if isinstance(config, PlanConfig):
        return _plan_files(config, engine)
    if isinstance(config, DubConfig):
        return _dub_files(config, engine)
    if isinstance(config, FinetuneConfig):
        return _finetune_files(config, engine)
    return _evaluate_files(config, engine)


def _dub_files(config: DubConfig, engine: Engine) -> _Files:
    if config.finetune:
        raise ConfigError(
            "A row of dub does not learn the person by itself.",
            "Learn in a batch of its own with rows of finetune, and name the identity here.",
        )
    job = validate(config, engine)
    others = (config.landmarks_out, config.compare, sidecar_of(config, job.output))
    report = report_path(job.output)
    frames = job.video.num_frames_from_header or 0
    return _Files(
        inputs=_read_by_dub(config),
        output=job.output,
        report=report,
        others=tuple(path for path in others if path is not None),
        frames=frames or round(float(job.info.duration_s or 0) * float(job.video.frame_rate)),
    )


def _read_by_dub(config: DubConfig) -> tuple[Path, ...]:
    chosen = [Path(value) for value in config.model_options.values() if isinstance(value, Path)]
    own = [config.landmarks] if config.landmarks is not None else []
    identity = [locate(config.identity)] if config.identity is not None else []
    return (config.video, *(voice.audio for voice in config.voices), *own, *identity, *chosen)


def _plan_files(config: PlanConfig, engine: Engine) -> _Files:
    """A plan lies beside the picture of the faces, or beside the video."""
    from dubcli.preview.plan_report import picture_path

    if config.voices:
        dubbed = validate(config, engine).output
    else:
        info, _ = inspect(config)
        dubbed = default_output(config.video, info)
    parent = dubbed.parent
    if config.faces is not None:
        report = config.faces.with_suffix(".plan.json")
    else:
        report = parent / fitting_name(config.video.stem, ".plan.json", parent)
    if not report.parent.is_dir():
        raise EncodeError(
            f"The folder '{report.parent}' does not exist.", "Create it, or choose another."
        )
    # Whether a picture that is there may be replaced is looked at when all rows are known.
    picture = picture_path(replace(config, overwrite=True), dubbed)
    return _Files(
        inputs=_read_by_dub(config),
        output=report,
        report=report,
        others=() if picture is None else (picture,),
    )


def _finetune_files(config: FinetuneConfig, engine: Engine) -> _Files:
    from dubcli.personalize.run import check_request

    path, _ = check_request(config, engine, replaces=True)
    for video in config.videos:
        require_video(probe(video))
    return _Files(inputs=config.videos, output=path)


def _evaluate_files(config: EvaluateConfig, engine: Engine) -> _Files:
    for library in ("skimage", "matplotlib"):
        if find_spec(library) is None:
            raise ConfigError(
                f"'dub evaluate' needs {library}.", "Run: pip install 'dubcli[evaluate]'"
            )
    from dubcli.evaluation.clips import list_clips
    from dubcli.evaluation.model_systems import choose_models
    from dubcli.evaluation.result_videos import find_results

    clips = list_clips(config)
    find_results(config, clips, choose_models(config, engine.manifest).names)
    return _Files(
        inputs=(config.clips, *(folder for _, folder in config.result_folders)),
        output=config.output,
        report=config.output / _SCORES,
    )


def _checked(row: BatchRow, files: _Files) -> CheckedRow:
    return CheckedRow(
        number=row.number,
        command=row.command,
        config=row.config,
        options=row.options,
        output=files.output,
        report=files.report,
        others=files.others,
        key=_key(row, files.inputs),
        frames=files.frames,
    )


def _key(row: BatchRow, inputs: Iterable[Path]) -> str:
    """One value for options and files; of a file its size and date count, for lists are long."""
    stamps: list[list[Any]] = []
    for path in inputs:
        facts = path.stat() if path.exists() else None
        stamps.append([facts.st_size, facts.st_mtime_ns] if facts else [])
    content = [__version__, row.command, row.config.as_json(), stamps]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _collisions(checked: Sequence[tuple[CheckedRow, _Files]]) -> dict[int, DubError]:
    """Rows whose files are in the way of each other's."""
    writers: dict[Path, list[int]] = {}
    readers: dict[Path, list[int]] = {}
    for row, files in checked:
        for path in {path.resolve() for path in files.outputs}:
            writers.setdefault(path, []).append(row.number)
        for path in {path.resolve() for path in files.inputs}:
            readers.setdefault(path, []).append(row.number)
    found: dict[int, DubError] = {}
    for path, numbers in writers.items():
        for number in numbers:
            others = [other for other in numbers if other != number]
            if others:
                found[number] = ConfigError(
                    f"It writes '{path}', and so does row {others[0]}.",
                    "Give each an output of its own.",
                )
                continue
            reading = [other for other in readers.get(path, []) if other != number]
            if reading:
                found[number] = ConfigError(
                    f"It writes '{path}', which row {reading[0]} reads.",
                    "Choose another output, or put them into batches that follow each other.",
                )
    return found
