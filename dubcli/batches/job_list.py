"""Job lists as they are written: CSV, JSON lines, standard input, or two folders."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dubcli.config.batch_config import STANDARD_INPUT, BatchConfig
from dubcli.core.catalogue import list_videos
from dubcli.core.errors import ConfigError
from dubcli.core.json_text import parse_json

COMMAND_COLUMN = "command"
_DELIMITERS = ",;\t"
_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
_BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_LONGEST_CELL = 1 << 24


@dataclass(frozen=True, kw_only=True)
class WrittenRow:
    """One row as it is written.

    Attributes:
        number: From 1; a line of column names is none, nor is an empty line.
        cells: What is written in each column; empty cells are left out.
        is_text: Its values are texts of a CSV; else they have the types of JSON.
        error: Why it cannot be read.
        next_step: What to do about that.
    """

    number: int
    cells: dict[str, Any] = field(default_factory=dict[str, Any])
    is_text: bool = True
    error: str = ""
    next_step: str = "Mend that line."


def read_jobs(config: BatchConfig) -> list[WrittenRow]:
    """The rows of a job list, or the pairs of two folders.

    Raises:
        ConfigError: It cannot be read, is empty, or the options do not go with it.
    """
    jobs = config.jobs
    if jobs != STANDARD_INPUT and jobs.is_dir():
        return _pairs(config)
    if config.audio is not None:
        raise ConfigError(
            f"--audio goes with a folder of videos, and '{jobs}' is none.",
            "Name the recordings in the column 'audio'.",
        )
    text = _text(jobs)
    is_json = jobs.suffix.lower() in _JSON_SUFFIXES or text.lstrip().startswith("{")
    rows = list(_json_rows(text) if is_json else _csv_rows(text, jobs))
    if not rows:
        raise ConfigError(f"The job list '{jobs}' has no rows.", "Write one row a job.")
    return rows


def _text(jobs: Path) -> str:
    try:
        data = sys.stdin.buffer.read() if jobs == STANDARD_INPUT else jobs.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"The job list '{jobs}' cannot be read: {error.strerror}.",
            "Name a CSV or JSON lines file, a folder of videos, or - for standard input.",
        ) from error
    try:
        return data.decode(_BOMS.get(data[:2], "utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"The job list '{jobs}' is no UTF-8 text.", "Save it as UTF-8."
        ) from error


def column_name(written: str) -> str:
    """The option that a column means: `--sync-mode`, `sync-mode` and `sync_mode` are one."""
    return written.strip().lstrip("-").replace("-", "_").lower()


def _csv_rows(text: str, jobs: Path) -> Iterator[WrittenRow]:
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    try:
        lines = [line for line in reader if any(cell.strip() for cell in line)]
    except csv.Error as error:
        raise ConfigError(
            f"The job list '{jobs}' is no CSV: line {reader.line_num}: {error}.",
            "Close the quotes there, or export it again.",
        ) from error
    if not lines:
        return
    columns = [column_name(cell) for cell in lines[0]]
    twice = [name for name in columns if name and columns.count(name) > 1]
    if twice:
        raise ConfigError(
            f"The job list '{jobs}' has two columns '{twice[0]}'.", "Rename or remove one."
        )
    for number, line in enumerate(lines[1:], 1):
        surplus = [cell for cell in line[len(columns) :] if cell.strip()]
        if surplus:
            error = f"It has {len(line)} cells for {len(columns)} columns."
            yield WrittenRow(number=number, error=error)
            continue
        pairs = zip(columns, line, strict=False)
        yield WrittenRow(
            number=number, cells={name: cell.strip() for name, cell in pairs if cell.strip()}
        )


def _delimiter(text: str) -> str:
    """What separates the columns' names."""
    head = next((line for line in text.splitlines() if line.strip()), "")
    return max(_DELIMITERS, key=head.count)


def _json_rows(text: str) -> Iterator[WrittenRow]:
    # Not splitlines: JSON allows other line ends inside its texts.
    lines = [line for line in text.split("\n") if line.strip()]
    for number, line in enumerate(lines, 1):
        try:
            content = parse_json(line)
        except ValueError as error:
            yield WrittenRow(number=number, error=f"It is no JSON: {error}.")
            continue
        if not isinstance(content, dict):
            yield WrittenRow(number=number, error="It is no JSON object.")
            continue
        cells = {
            column_name(str(name)): value for name, value in content.items() if value is not None
        }
        if len(cells) < sum(value is not None for value in content.values()):
            yield WrittenRow(number=number, error="It sets one option twice.")
            continue
        yield WrittenRow(number=number, cells=cells, is_text=False)


def _pairs(config: BatchConfig) -> list[WrittenRow]:
    """A row for each video of a folder, with the recording of the same name.

    Raises:
        ConfigError: No folder of recordings, no video, or two files of one name.
    """
    folder = config.audio
    if folder is None or not folder.is_dir():
        said = "no folder of recordings" if folder is None else f"'{folder}' is no folder"
        raise ConfigError(
            f"'{config.jobs}' is a folder of videos, and there is {said}.",
            "Use --audio FOLDER; files of one name belong together.",
        )
    videos = list_videos(config.jobs)
    if not videos:
        raise ConfigError(f"'{config.jobs}' holds no video.", "Name a folder of videos.")
    recordings: dict[Path, list[Path]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if not path.name.startswith("."):
            recordings.setdefault(path.relative_to(folder).with_suffix(""), []).append(path)
    return [
        _pair(number, video, recordings.get(video.relative_to(config.jobs).with_suffix(""), []))
        for number, video in enumerate(videos, 1)
    ]


def _pair(number: int, video: Path, recordings: list[Path]) -> WrittenRow:
    if len(recordings) == 1:
        cells = {"video": str(video), "audio": [str(recordings[0])]}
        return WrittenRow(number=number, cells=cells, is_text=False)
    several = ", ".join(f"'{path}'" for path in recordings)
    error = (
        f"'{video}' has several recordings of its name: {several}."
        if recordings
        else f"'{video}' has no recording of its name."
    )
    next_step = (
        "Take all but one away."
        if recordings
        else "Add it to the folder of recordings, or take the video away."
    )
    cells = {"video": str(video)}
    return WrittenRow(number=number, cells=cells, error=error, next_step=next_step)
