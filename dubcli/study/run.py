"""`dub study`: films with names that say nothing, the page that shows them, and its key."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import SystemRandom, token_hex
from tempfile import TemporaryDirectory
from urllib.parse import quote

from dubcli.compare.compared_video import (
    ComparedVideo,
    input_from,
    open_video,
    picture_of,
    sound_of,
)
from dubcli.config import StudyConfig
from dubcli.core.atomic_io import replace_bytes
from dubcli.core.errors import ConfigError, EncodeError
from dubcli.core.progress import Progress, no_progress
from dubcli.media.container.ffmpeg import build_argv, ffmpeg_binary, file_url, graph, run
from dubcli.media.container.web_encoding import preferred_encoding
from dubcli.review.html_page import render_page
from dubcli.review.preview_pairs import preview_size
from dubcli.study.study_key import (
    StudyTrial,
    key_as_json,
    plan_trials,
    read_key,
    videos_of,
)

_ASSETS = Path(__file__).parent / "assets"
_SCRIPTS = ("study_logic.js", "study.js")
_CRF = 18


@dataclass(frozen=True, kw_only=True)
class StudyReport:
    """What was written: page, folder of films, key; how many pairs, and what was left out."""

    page: str
    folder: str
    key: str
    pairs: int
    films: int
    systems: list[str]
    notes: list[str]


def make_study(config: StudyConfig, progress: Progress | None = None) -> StudyReport:
    """Write page, films and key of a blind test.

    Args:
        config: What is compared.
        progress: Called as (stage, done, total).

    Raises:
        ConfigError: Folders do not go together, or something exists.
        ProbeError: A video cannot be read.
        EncodeError: The page cannot be written.
    """
    progress = progress or no_progress
    page, key = config.output, config.key_path
    folder = page.with_name(f"{page.stem}_films")
    _check_places(config, page, folder, key)
    trials, notes = plan_trials(config.folders, config.limit)
    references = {} if config.reference is None else videos_of(config.reference)
    lacking = sorted({trial.clip for trial in trials} - set(references))
    if config.reference is not None and lacking:
        raise ConfigError(
            f"'{config.reference}' has no video '{lacking[0]}'.",
            "Add it, or leave --reference out.",
        )
    study = token_hex(8)
    try:
        with TemporaryDirectory(dir=page.absolute().parent, prefix=".study-") as name:
            made_in = Path(name) / folder.name
            made_in.mkdir()
            written = _write_films(trials, references, made_in, progress)
            html = _page(config.title, study, trials, written)
            shutil.rmtree(folder, ignore_errors=True)
            made_in.replace(folder)
            replace_bytes(key, key_as_json(study, config.folders, trials).encode())
            replace_bytes(page, html.encode())
    except OSError as error:
        raise EncodeError(
            f"'{page}' cannot be written: {error.strerror}.",
            "Free some space, or choose another place with -o.",
        ) from error
    return StudyReport(
        page=str(page),
        folder=str(folder),
        key=str(key),
        pairs=len(trials),
        films=len(written),
        systems=sorted({film.system for trial in trials for film in trial.films}),
        notes=notes,
    )


def _check_places(config: StudyConfig, page: Path, folder: Path, key: Path) -> None:
    for path in (page, key):
        if not path.absolute().parent.is_dir():
            raise ConfigError(
                f"The folder '{path.absolute().parent}' does not exist.", "Make it first."
            )
    if folder.resolve() in (
        key.absolute().parent.resolve(),
        *(f.resolve() for f in config.folders),
    ):
        raise ConfigError(
            f"'{folder}' is where the films of the page go.", "Choose another name with -o."
        )
    for path in (page, folder, key):
        if path.exists() and not config.overwrite:
            raise ConfigError(
                f"'{path}' exists already.", "Use -y, or choose another name with -o."
            )
    if key.exists():
        read_key(key)  # -y replaces a key, and no other file
    if folder.is_dir() and any(len(one.stem) != len(token_hex(8)) for one in folder.iterdir()):
        raise ConfigError(
            f"'{folder}' holds files of others, and would be replaced.", "Choose another name."
        )


def _write_films(
    trials: Sequence[StudyTrial],
    references: Mapping[str, Path],
    folder: Path,
    progress: Progress,
) -> dict[str, Path]:
    """Light films by their names, and references by the clip's; their times tell no order."""
    wanted = {film.name: film.path for trial in trials for film in trial.films}
    wanted |= {f"clip:{trial.clip}": references[trial.clip] for trial in trials if references}
    first = {trial.clip: trial.films[0].path for trial in trials}
    clip_of = {film.name: film.clip for trial in trials for film in trial.films}
    names = list(wanted)
    SystemRandom().shuffle(names)
    suffix = preferred_encoding().suffix
    written: dict[str, Path] = {}
    for number, name in enumerate(names):
        progress("films", number, len(names))
        path = folder / f"{name if name in clip_of else token_hex(8)}{suffix}"
        video = open_video(wanted[name])
        like = open_video(first[clip_of[name]]) if name in clip_of else video
        _write_film(video, preview_size(like), path)
        written[name] = path
    progress("films", len(names), len(names))
    return written


def _write_film(video: ComparedVideo, size: tuple[int, int], path: Path) -> None:
    """A film of one size for all systems, without anything that names where it comes from."""
    encoding = preferred_encoding()
    source = input_from(video, video.length_s * 0)
    streams = [picture_of(source, video, size, video.frame_rate, video.length_s)]
    sound = sound_of(source, video, video.length_s)
    streams += [] if sound is None else [sound]
    options = {**encoding.video, **encoding.quality(_CRF), **encoding.container}
    options |= {**({} if sound is None else encoding.audio), "map_metadata": -1}
    options |= {"t": f"{float(video.length_s):.6f}", "fflags": "+bitexact"}
    run(build_argv(ffmpeg_binary(), graph.output(*streams, file_url(path), **options)))


def _page(title: str, study: str, trials: Sequence[StudyTrial], written: Mapping[str, Path]) -> str:
    def address(name: str) -> str | None:
        path = written.get(name)
        return None if path is None else f"{quote(path.parent.name)}/{path.name}"

    data = {
        "study": study,
        "trials": [
            {
                "name": trial.name,
                "films": [{"name": f.name, "address": address(f.name)} for f in trial.films],
                "reference": address(f"clip:{trial.clip}"),
            }
            for trial in trials
        ],
    }
    values = {"has_reference": any(one["reference"] for one in data["trials"])}
    scripts = [_ASSETS / name for name in _SCRIPTS]
    return render_page(_ASSETS / "study_page.html", scripts, title, values, data)
