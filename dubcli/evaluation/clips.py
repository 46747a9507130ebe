"""Which clips are evaluated: a folder or a CSV, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dubcli.config import EvaluateConfig
from dubcli.core.catalogue import clip_name, is_own_sound, list_videos, read_catalogue, read_rows
from dubcli.core.errors import ConfigError

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
    known = read_catalogue(config.catalogue) if config.catalogue else {}
    if config.clips.is_dir():
        paths = list_videos(config.clips)
        rows = [{"clip": str(path.relative_to(config.clips))} for path in paths]
        root = config.clips
    elif config.clips.is_file():
        rows, root = read_rows(config.clips, "clip"), config.clips.parent
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
    name = clip_name(relative)
    audio = (row.get("audio") or "").strip()
    return EvalClip(
        path=path,
        name=name,
        identity=row.get("identity") or name,
        audio=root / audio if audio else path,
        audio_is_own=is_own_sound(row),
    )
