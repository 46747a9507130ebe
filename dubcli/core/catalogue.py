"""Folders of videos, and what a CSV says of them: who is seen, and whose sound it is."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from dubcli.core.errors import ConfigError

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts"}
)
Row = dict[str, str]


def list_videos(folder: Path) -> list[Path]:
    """Videos of a folder and the folders in it, by suffix, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)


def clip_name(relative: Path) -> str:
    """The name of a clip by its path from the folder or list that names it.

    What leads to a list's folder says nothing about the clip and is left out.
    """
    return "-".join(part for part in relative.with_suffix("").parts if part not in ("..", "/"))


def is_own_sound(row: Mapping[str, str]) -> bool:
    """Whether the sound is what this mouth says; `no` in `audio_is_own` denies it."""
    return (row.get("audio_is_own") or "yes").strip().lower() != "no"


def read_catalogue(path: Path) -> dict[str, Row]:
    """Rows of a CSV with the column `file`, by the file's name without folders.

    Raises:
        ConfigError: It cannot be read or lacks the column.
    """
    return {Path(row["file"]).name: row for row in read_rows(path, "file")}


def read_rows(path: Path, column: str) -> list[Row]:
    """Rows of a CSV in which a column is filled.

    Raises:
        ConfigError: It cannot be read or lacks the column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            columns = list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"'{path}' cannot be read: {reason}.", "Name a CSV file.") from error
    if column not in columns:
        found = f"it has: {', '.join(columns)}" if columns else "it is empty"
        raise ConfigError(
            f"'{path}' has no column '{column}'; {found}.", "Write the columns' names in line 1."
        )
    return [row for row in rows if (row[column] or "").strip()]
