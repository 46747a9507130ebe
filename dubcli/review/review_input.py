"""What `dub report` is given: the report of a dub, results of a batch, or scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

from dubcli.core.errors import ConfigError
from dubcli.core.json_text import parse_json
from dubcli.core.reports import DubReport

SCORES_NAME = "scores.json"
_REPORTED = {entry.name for entry in fields(DubReport)}


@dataclass(frozen=True, kw_only=True)
class DubResult:
    """A finished dub.

    Attributes:
        report: What was done; speakers and marks are dicts, as JSON has them.
        path: Its file.
        video: The result, None where it is not found.
        source: What was dubbed, None where it is not found.
    """

    report: DubReport
    path: Path
    video: Path | None
    source: Path | None


@dataclass(frozen=True, kw_only=True)
class ResultLine:
    """One row of a batch.

    Attributes:
        row: Its number.
        command: What was run.
        status: done, failed, skipped or cancelled.
        error: What went wrong, '' where nothing did.
        output: Where the result is.
        report: Its report, None without one.
        seconds: How long it took.
        attempts: How often it was tried.
    """

    row: int
    command: str
    status: str
    error: str
    output: str
    report: Path | None
    seconds: float
    attempts: int


@dataclass(frozen=True, kw_only=True)
class BatchResults:
    """The last result of every row of a batch, by number."""

    path: Path
    rows: tuple[ResultLine, ...]


@dataclass(frozen=True, kw_only=True)
class ScoreSet:
    """What `dub evaluate` has written as JSON, and its folder."""

    path: Path
    content: Mapping[str, Any]


def read_input(path: Path, source: Path | None = None) -> DubResult | BatchResults | ScoreSet:
    """Read what a page is asked for.

    Args:
        path: A dubbed video, its report, results of a batch, scores or their folder.
        source: What was dubbed, where it is not where the report says.

    Raises:
        ConfigError: It is none of these, or cannot be read.
    """
    if path.is_dir():
        path = path / SCORES_NAME
    elif path.suffix.lower() not in (".json", ".jsonl") and path.is_file():
        report = path.with_suffix(".json")
        if not report.is_file():
            raise ConfigError(f"'{path}' has no report beside it.", f"'{report}' is looked for.")
        path = report
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(
            f"'{path}' cannot be read: {error.strerror}.",
            "Name a RESULT.json, a BATCH.jsonl or a folder of scores.",
        ) from error
    except UnicodeDecodeError as error:
        raise _unknown(path) from error
    if path.suffix.lower() == ".jsonl":
        return _batch(path, text)
    try:
        content = parse_json(text)
    except ValueError as error:
        raise _unknown(path) from error
    if isinstance(content, dict) and {"measures", "means", "clips"} <= content.keys():
        scores = cast("dict[str, Any]", content)
        if not _are_scores(scores):
            raise _unknown(path)
        return ScoreSet(path=path, content=scores)
    return _result(path, content, source)


def _result(path: Path, content: Any, source: Path | None) -> DubResult:
    if not isinstance(content, dict) or not {"output", "frames", "duration_s"} <= content.keys():
        raise _unknown(path)
    report = DubReport(**{key: content[key] for key in content if key in _REPORTED})
    if not _is_sound(report):
        raise _unknown(path)
    video = _found(report.output, path.parent)
    if source is not None and not source.is_file():
        raise ConfigError(f"'{source}' of --source does not exist.", "Check its name.")
    named = report.config.get("video")
    return DubResult(
        report=report,
        path=path,
        video=video,
        source=source or (_found(named, path.parent) if isinstance(named, str) else None),
    )


def _are_scores(content: Mapping[str, Any]) -> bool:
    """Whether each part has the type that a page needs."""
    measures, means, clips = content["measures"], content["means"], content["clips"]
    failures = content.get("failures", {})
    if not all(isinstance(part, dict) for part in (measures, means, failures)):
        return False
    each = [one for run in measures.values() if isinstance(run, list) for one in run]
    return (
        isinstance(clips, list)
        and all(isinstance(run, list) for run in measures.values())
        and all(isinstance(one, dict) and isinstance(one.get("key"), str) for one in each)
    )


def _is_sound(report: DubReport) -> bool:
    """Whether each part has the type that a page needs."""
    expected = DubReport(output="")
    for entry in fields(DubReport):
        value, usual = getattr(report, entry.name), getattr(expected, entry.name)
        if isinstance(usual, (int, float)) and not isinstance(usual, bool):
            if not is_figure(value):
                return False
        elif isinstance(usual, (str, list, dict)) and not isinstance(value, type(usual)):
            return False
    spans = [*report.passed_through, *report.shot_ranges, *report.model_ranges]
    lists = [*spans, *cast("list[Any]", report.speakers), *cast("list[Any]", report.marks)]
    return all(isinstance(one, dict) for one in lists) and all(
        is_figure(one.get(key)) for one in spans for key in ("start_s", "end_s")
    )


def is_figure(value: Any) -> bool:
    """Whether a value of JSON is a number that can be calculated with."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # whole numbers of JSON have no limit
        return False


def _found(name: str, folder: Path) -> Path | None:
    """A file as a report names it: from here, or beside the report, which may have been moved."""
    given = Path(name)
    places = (given, folder / given, folder / given.name)
    return next((place for place in places if _is_file(place)), None)


def _is_file(place: Path) -> bool:
    """Whether a file lies there; a name that no file can have names none."""
    try:
        return place.is_file()
    except OSError:
        return False


def _batch(path: Path, text: str) -> BatchResults:
    rows: dict[int, ResultLine] = {}
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        try:
            entry = parse_json(line) if line.strip() else {}
        except ValueError as error:
            if number == len(lines):
                continue  # of a batch that is running or was killed
            raise ConfigError(
                f"Line {number} of '{path}' is no result of a batch.", "Was it edited?"
            ) from error
        if isinstance(entry, dict) and isinstance(entry.get("row"), int):
            row = _row(cast("dict[str, Any]", entry), path.parent)
            rows[row.row] = row  # the last try counts
    if not rows:
        raise ConfigError(f"'{path}' has no results of a batch.", "Name the file of dub batch.")
    return BatchResults(path=path, rows=tuple(rows[number] for number in sorted(rows)))


def _row(entry: dict[str, Any], folder: Path) -> ResultLine:
    report = entry.get("report")
    return ResultLine(
        row=entry["row"],
        command=str(entry.get("command") or "dub"),
        status=str(entry.get("status") or "?"),
        error=str(entry.get("error") or ""),
        output=str(entry.get("output") or ""),
        report=_found(report, folder) if isinstance(report, str) else None,
        seconds=_number(entry.get("seconds")),
        attempts=int(_number(entry.get("attempts"))),
    )


def _number(value: Any) -> float:
    return float(value) if is_figure(value) else 0.0


def _unknown(path: Path) -> ConfigError:
    return ConfigError(
        f"'{path}' is no report of a dub, no results of a batch and no scores.",
        "Name a RESULT.json, a BATCH.jsonl or a folder of scores.",
    )
