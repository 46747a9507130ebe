"""What a run leaves to look at: `log.csv`, a row per step, and sample pictures."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from dubcli.core.atomic_io import replace_bytes
from dubcli.core.errors import TrainingError
from dubcli.core.types import U8
from dubcli.training.parallel import is_first

LOG_NAME, NOTES_NAME = "log.csv", "notes.txt"
_LOG = logging.getLogger(__name__)


class Notes:
    """Remarks of a run: on the terminal at once, and in `notes.txt` from its first step on."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, text: str) -> None:
        """A sentence or two, on one line."""
        if is_first():
            _LOG.warning("%s", text)
        self._lines.append(text)

    def write(self, folder: Path) -> None:
        """Put what is new into the run's folder.

        Raises:
            TrainingError: The disk is full or the folder cannot be written.
        """
        path = folder / NOTES_NAME
        try:
            known = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            new = [line for line in dict.fromkeys(self._lines) if line not in known]
            if new:
                folder.mkdir(parents=True, exist_ok=True)
                with path.open("a", encoding="utf-8") as file:
                    file.write("".join(f"{line}\n" for line in new))
        except OSError as error:
            raise _unwritable(path, str(error.strerror)) from error


def append_row(folder: Path, step: int, seconds: float, values: Mapping[str, float]) -> None:
    """Add a step's losses under the names of the first row, which grows by new ones.

    Raises:
        TrainingError: The disk is full or the folder cannot be written.
    """
    path = folder / LOG_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = _names(path, values)
        with path.open("a", newline="", encoding="utf-8") as file:
            # A run that goes on may have begun with another order, or fewer losses.
            losses = (f"{values[name]:.5f}" if name in values else "" for name in names)
            csv.writer(file).writerow([step, f"{seconds:.3f}", *losses])
    except OSError as error:
        raise _unwritable(path, str(error.strerror)) from error


def _names(path: Path, values: Mapping[str, float]) -> list[str]:
    """Losses in the order of the log's columns, which are made where they are missing."""
    known: list[str] = []
    rows = ""
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            known = next(csv.reader([file.readline()]), [])[2:]
            rows = "" if {*values} <= {*known} else file.read()
    names = list(dict.fromkeys([*known, *values]))
    if names != known:
        header = io.StringIO()
        csv.writer(header).writerow(["step", "seconds", *names])
        replace_bytes(path, (header.getvalue() + rows).encode())
    return names


def drop_rows_after(folder: Path, step: int) -> None:
    """Forget the steps that an interrupted run made after its last checkpoint.

    Raises:
        TrainingError: The disk is full or the folder cannot be written.
    """
    path = folder / LOG_NAME
    try:
        if not path.exists():
            return
        if step == 0:
            path.unlink()
            return
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines[1:] if _step_of(line) <= step]
        if len(kept) < len(lines) - 1:
            replace_bytes(path, "".join([*lines[:1], *kept]).encode())
    except OSError as error:
        raise _unwritable(path, str(error.strerror)) from error


def _step_of(line: str) -> float:
    first = line.split(",")[0]
    # A line cut off by a crash counts as after every step.
    return int(first) if first.isdigit() and line.endswith("\n") else float("inf")


def save_picture(picture: U8, path: Path) -> None:
    """Write an RGB picture (H, W, 3).

    Raises:
        TrainingError: The disk is full or the folder cannot be written.
    """
    is_done, data = cv2.imencode(path.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not is_done:
        raise _unwritable(path, "the picture cannot be encoded")
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise _unwritable(path, str(error.strerror)) from error


def encode_rows(rows: list[list[U8]]) -> bytes:
    """PNG of rows of RGB pictures of one size (H, W, 3)."""
    sheet = np.concatenate([np.concatenate(row, 1) for row in rows])
    return cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes()


def _unwritable(path: Path, reason: str) -> TrainingError:
    return TrainingError(
        f"'{path}' cannot be written: {reason}.",
        "Make room or choose another folder, and run again; checkpoints are intact.",
    )
