"""The key of a blind test: which system made which film. It is kept apart from the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from secrets import SystemRandom, token_hex
from typing import Any

from dubcli.core.errors import ConfigError
from dubcli.core.json_text import parse_json

KEY_FORMAT = 1
_VIDEO_SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".m4v", ".avi"}


@dataclass(frozen=True, kw_only=True)
class StudyFilm:
    """One video of one system, under a name that says nothing."""

    name: str
    system: str
    clip: str
    path: Path


@dataclass(frozen=True, kw_only=True)
class StudyTrial:
    """Two films of one clip that are shown together."""

    name: str
    clip: str
    films: tuple[StudyFilm, StudyFilm]


@dataclass(frozen=True, kw_only=True)
class StudyKey:
    """What votes are read with.

    Attributes:
        study: Name of the study, by chance.
        systems: Names of the folders.
        system_of: System of each film, by its name.
        films_of: The two films of each trial, by its name.
    """

    study: str
    systems: tuple[str, ...]
    system_of: dict[str, str]
    films_of: dict[str, tuple[str, str]]


def plan_trials(folders: Sequence[Path], limit: int) -> tuple[list[StudyTrial], list[str]]:
    """Pairs of all systems for each clip that all have, in an order by chance.

    Args:
        folders: One for each system.
        limit: At most so many pairs; 0 for all.

    Returns:
        The trials, and what was left out.

    Raises:
        ConfigError: A folder cannot be read, two have one name, or no clip is in all.
    """
    systems = system_names(folders)
    videos = [videos_of(folder) for folder in folders]
    common = sorted(set(videos[0]).intersection(*videos[1:]))
    if not common:
        raise ConfigError(
            "No video has the same name in all folders.", "Name the videos of one clip alike."
        )
    names = sorted({name for found in videos for name in found} - set(common))
    notes = [f"'{name}' is not in every folder, and left out" for name in names]
    chance = SystemRandom()
    trials: list[StudyTrial] = []
    for clip in common:
        films = [
            StudyFilm(name=token_hex(8), system=system, clip=clip, path=found[clip])
            for system, found in zip(systems, videos, strict=True)
        ]
        for pair in combinations(films, 2):
            first, second = chance.sample(pair, 2)
            trials.append(StudyTrial(name=token_hex(8), clip=clip, films=(first, second)))
    chance.shuffle(trials)
    if limit and len(trials) > limit:
        notes.append(f"{limit} of {len(trials)} pairs, by chance")
        trials = trials[:limit]
    return trials, notes


def system_names(folders: Sequence[Path]) -> list[str]:
    """Names of the systems: of their folders, with the folder above where two are alike.

    Raises:
        ConfigError: Two folders are the same.
    """
    paths = [folder.resolve() for folder in folders]
    if len(set(paths)) < len(paths):
        raise ConfigError("Two of the folders are the same.", "Give each system its own.")
    names = [path.name for path in paths]
    if len(set(names)) == len(names):
        return names
    return [str(path) for path in paths]


def videos_of(folder: Path) -> dict[str, Path]:
    """Videos of a folder by name without suffix.

    Raises:
        ConfigError: It is no folder, cannot be read, or holds two videos of one name.
    """
    try:
        found = sorted(one for one in folder.iterdir() if one.suffix.lower() in _VIDEO_SUFFIXES)
    except OSError as error:
        raise ConfigError(
            f"'{folder}' cannot be read: {error.strerror}.", "Name a folder of videos."
        ) from error
    videos: dict[str, Path] = {}
    for path in found:
        if path.stem in videos:
            raise ConfigError(
                f"'{folder}' has two videos named '{path.stem}'.", "Take one of them away."
            )
        videos[path.stem] = path
    return videos


def key_as_json(study: str, folders: Sequence[Path], trials: Sequence[StudyTrial]) -> str:
    """The key's file."""
    films = {film.name: film for trial in trials for film in trial.films}
    content = {
        "dub_study_key": KEY_FORMAT,
        "study": study,
        "systems": system_names(folders),
        "films": {name: {"system": film.system, "clip": film.clip} for name, film in films.items()},
        "trials": {trial.name: [film.name for film in trial.films] for trial in trials},
    }
    return json.dumps(content, indent=1, ensure_ascii=True) + "\n"


def read_key(path: Path) -> StudyKey:
    """Read a key.

    Raises:
        ConfigError: It cannot be read, or is none.
    """
    try:
        content: Any = parse_json(path.read_text(encoding="utf-8"))
        if content["dub_study_key"] != KEY_FORMAT:
            raise ValueError(content["dub_study_key"])
        return StudyKey(
            study=str(content["study"]),
            systems=tuple(content["systems"]),
            system_of={name: str(film["system"]) for name, film in content["films"].items()},
            films_of={name: (one, other) for name, (one, other) in content["trials"].items()},
        )
    except OSError as error:
        raise ConfigError(f"'{path}' cannot be read: {error.strerror}.", "Check --key.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"'{path}' is no key of a study.", "Use the NAME.key.json that dub study wrote."
        ) from error
