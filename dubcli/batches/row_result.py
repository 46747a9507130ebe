"""What became of the rows of a batch: one JSON line a result, appended and never changed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from dubcli import __version__
from dubcli.core.disk_sync import sync_folder
from dubcli.core.errors import MediaError
from dubcli.core.json_text import parse_json

FORMAT = 1
DONE, FAILED, SKIPPED, CANCELLED = "done", "failed", "skipped", "cancelled"


@dataclass(frozen=True, kw_only=True)
class RowResult:
    """What became of one row.

    Attributes:
        row: Number of the row, from 1; a line of column names is none.
        command: `dub`, `plan`, `finetune` or `evaluate`; empty where the row names no known one.
        status: `done`; `failed`; `skipped`: an earlier run has done it; `cancelled`: not begun.
        exit_code: The one of the command for this row alone.
        error: What went wrong, and what to do; None where nothing did.
        output: File or folder of the result; empty where nobody knows it.
        report: File that tells of it; None where there is none.
        seconds: What the last attempt took.
        attempts: How often it was begun.
        started: When the last attempt was begun, ISO 8601 in UTC; empty where it was not.
        ended: When it ended.
        options: What the row says, by option.
        key: The same for a row with the same options and the same files.
        traceback: Of a fault of the program.
    """

    row: int
    command: str
    status: str
    exit_code: int = 0
    error: str | None = None
    output: str = ""
    report: str | None = None
    seconds: float = 0.0
    attempts: int = 0
    started: str = ""
    ended: str = ""
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    key: str = ""
    traceback: str | None = None


@dataclass(frozen=True, kw_only=True)
class BatchReport:
    """What became of a batch.

    Attributes:
        results: Of each row of this run, by row.
        path: The file that holds them, and those of earlier runs.
        seconds: What this run took.
    """

    results: tuple[RowResult, ...]
    path: str
    seconds: float

    @property
    def counts(self) -> dict[str, int]:
        """How many rows have each status."""
        found = [result.status for result in self.results]
        return {status: found.count(status) for status in (DONE, SKIPPED, FAILED, CANCELLED)}

    @property
    def is_complete(self) -> bool:
        """Every row is done, now or earlier."""
        counts = self.counts
        return not counts[FAILED] and not counts[CANCELLED]


class ResultsFile:
    """The file of a batch's results; one process writes it.

    Args:
        path: Where it is, or will be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, jobs: str) -> None:
        """Write the first line, where there is none; a line that was torn stays alone.

        Args:
            jobs: The list that the results are of.

        Raises:
            MediaError: The file cannot be written.
        """
        try:
            content = self.path.read_bytes()[-1:] if self.path.exists() else b""
        except OSError as error:
            raise self._unwritable(error) from error
        if not content:
            self._append({"dub_batch": FORMAT, "version": __version__, "jobs": jobs})
        elif content != b"\n":
            self._write(b"\n")

    def append(self, result: RowResult) -> None:
        """Add a result; it is on the disk when this returns.

        Raises:
            MediaError: The file cannot be written.
        """
        self._append(asdict(result))

    def _append(self, content: dict[str, Any]) -> None:
        self._write((json.dumps(content, default=str) + "\n").encode())

    def _write(self, data: bytes) -> None:
        try:
            # One write to the end of the file: lines of two runs do not mix.
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                os.write(descriptor, data)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            sync_folder(self.path.parent)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> MediaError:
        return MediaError(
            f"The results '{self.path}' cannot be written: {error.strerror}.",
            "Make room or name another file with --results, and run again: what is done is kept.",
        )


def read_results(path: Path) -> list[RowResult]:
    """The results of a file in the order in which they came; lines that are none are left out.

    Raises:
        MediaError: It cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise MediaError(
            f"The results '{path}' cannot be read: {error.strerror}.",
            "Name a file that dub batch wrote.",
        ) from error
    return [result for result in map(_result_in, lines) if result is not None]


def last_results(results: Iterable[RowResult]) -> list[RowResult]:
    """The newest result of each row, by row."""
    newest = {result.row: result for result in results}
    return [newest[row] for row in sorted(newest)]


def _result_in(line: str) -> RowResult | None:
    try:
        content = parse_json(line)
    except ValueError:
        return None
    if not isinstance(content, dict) or "row" not in content:
        return None
    known = {entry.name for entry in fields(RowResult)}
    try:
        return RowResult(**{key: value for key, value in content.items() if key in known})
    except TypeError:
        return None
