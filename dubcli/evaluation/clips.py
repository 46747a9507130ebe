"""Which clips are evaluated: a folder or a CSV, and what is known of each."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from dubcli.config import EvaluateConfig
from dubcli.errors import ConfigError

_VIDEO_SUFFIXES = {".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts"}
_AUDIO_SUFFIXES = {".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus"}


@dataclass(frozen=True, kw_only=True)
class EvalClip:
    """A clip and what the list says of it.

    Attributes:
        path: The video.
        name: Its name in tables and file names, unique in the set.
        identity: The person; clips of one person count together as one.
        audio: Where its own sound lies: a recording, or the video itself.
        audio_is_own: The sound is what this mouth says.
    """

    path: Path
    name: str
    identity: str
    audio: Path
    audio_is_own: bool = True


def list_clips(config: EvaluateConfig) -> list[EvalClip]:
    """The clips of a folder, or of a CSV with at least the column `clip`.

    A CSV's paths count from its folder. Optional columns are `audio` (a recording in place of the
    clip's own track), `identity`, and `audio_is_own` (`no` where the sound is not this mouth's).
    A catalogue, with the column `file` (compared by name), adds the last two to either.

    Raises:
        ConfigError: Nothing to evaluate, a missing column, or a list that cannot be read.
    """
    known: dict[str, dict[str, str]] = {}
    if config.catalogue is not None:
        known = {Path(row["file"]).name: row for row in _read_csv(config.catalogue, "file")}
    if config.clips.is_dir():
        paths = sorted(p for p in config.clips.rglob("*") if p.suffix.lower() in _VIDEO_SUFFIXES)
        rows = [{"clip": str(path.relative_to(config.clips))} for path in paths]
        root = config.clips
    elif config.clips.is_file():
        rows, root = _read_csv(config.clips, "clip"), config.clips.parent
    else:
        raise ConfigError(
            f"'{config.clips}' is neither a folder nor a file.",
            "Name a folder of videos, or a CSV with the column 'clip'.",
        )
    clips = [_clip({**known.get(Path(row["clip"]).name, {}), **row}, root) for row in rows]
    if not clips:
        raise ConfigError(f"'{config.clips}' lists no clip.", "Name a folder of videos, or a CSV.")
    twice = {clip.name for clip in clips if [c.name for c in clips].count(clip.name) > 1}
    if twice:
        raise ConfigError(f"Two clips are called '{min(twice)}'.", "List each clip once.")
    return clips[: config.limit] if config.limit else clips


def list_recordings(folder: Path) -> list[Path]:
    """Recordings of a folder, sorted.

    Raises:
        ConfigError: No folder, or no recording in it.
    """
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _AUDIO_SUFFIXES)
    if not found:
        raise ConfigError(
            f"'{folder}' holds no recording.",
            f"Name a folder with {', '.join(sorted(_AUDIO_SUFFIXES))} files.",
        )
    return found


def _clip(row: dict[str, str], root: Path) -> EvalClip:
    relative = Path(row["clip"])
    path = root / relative
    # What leads to a list's folder says nothing about the clip.
    parts = [part for part in relative.with_suffix("").parts if part not in ("..", "/")]
    name = "-".join(parts)
    audio = (row.get("audio") or "").strip()
    return EvalClip(
        path=path,
        name=name,
        identity=row.get("identity") or name,
        audio=root / audio if audio else path,
        audio_is_own=(row.get("audio_is_own") or "yes").strip().lower() != "no",
    )


def _read_csv(path: Path, column: str) -> list[dict[str, str]]:
    """Rows of a CSV in which a column is filled."""
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
