"""Videos that other tools made of the clips, scored beside the models as systems of their own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dubcli.config import EvaluateConfig
from dubcli.core.catalogue import clip_name, list_videos
from dubcli.core.errors import ConfigError
from dubcli.evaluation.clips import EvalClip
from dubcli.evaluation.settings import (
    CROSS_CLIP,
    CROSS_SPEECH,
    RECONSTRUCTION,
    SILENCE,
    runs_of,
)
from dubcli.models.registry import model_names

# Folders inside a folder of results that name a setting or a run.
RUN_OF_FOLDER = {
    "reconstruction": RECONSTRUCTION,
    "cross": CROSS_CLIP,
    CROSS_CLIP: CROSS_CLIP,
    CROSS_SPEECH: CROSS_SPEECH,
    "silence": SILENCE,
}
_DUBBED = ".dubbed"


@dataclass(frozen=True, kw_only=True)
class ResultVideos:
    """The results of one tool.

    Attributes:
        name: What tables call it.
        folder: Where they lie.
        of_item: The video by run and name of the clip.
        unmatched: Paths, from the folder on, of videos of no clip or of no chosen setting.
    """

    name: str
    folder: Path
    of_item: Mapping[tuple[str, str], Path]
    unmatched: tuple[str, ...] = ()

    def has_run(self, run: str) -> bool:
        """Whether there is a video of a run; clips without one are then missing."""
        return any(known == run for known, _ in self.of_item)


def find_results(
    config: EvaluateConfig, clips: Sequence[EvalClip], taken: Collection[str]
) -> list[ResultVideos]:
    """The folders of `--results`, matched to the clips before anything slow begins.

    Args:
        config: Names and folders, and which settings are scored.
        clips: The set.
        taken: Names of the other systems, which none of them may have.

    Raises:
        ConfigError: A folder does not exist or holds no video of a clip, two videos belong to one
            clip, or a name is that of a model, an identity or a baseline.
    """
    models = set(model_names())
    found: list[ResultVideos] = []
    for name, folder in config.result_folders:
        if name in taken or name.split(".")[0] in models:
            raise ConfigError(
                f"--results {name}={folder}: '{name}' is the name of a model, an identity or a "
                "baseline.",
                "Give the results another name.",
            )
        found.append(_matched(name, folder, clips, runs_of(config)))
    return found


def _matched(
    name: str, folder: Path, clips: Sequence[EvalClip], runs: Collection[str]
) -> ResultVideos:
    if not folder.is_dir():
        raise ConfigError(f"--results {name}={folder}: there is no such folder.", "Check its name.")
    names = {clip.name for clip in clips}
    of_item: dict[tuple[str, str], Path] = {}
    unmatched: list[str] = []
    for path in list_videos(folder):
        relative = path.relative_to(folder)
        run, clip = _item_of(relative, names)
        if clip is None or run not in runs:
            unmatched.append(str(relative))
        elif (run, clip) in of_item:
            raise ConfigError(
                f"'{of_item[run, clip]}' and '{path}' are both of the clip '{clip}'.",
                "Leave one of them.",
            )
        else:
            of_item[run, clip] = path
    if not of_item:
        raise ConfigError(
            f"--results {name}={folder}: no video there is of a clip, in {', '.join(runs)}.",
            f"Name each like its clip, such as '{clips[0].name}.mp4', in the folder itself or in a "
            f"folder {', '.join(RUN_OF_FOLDER)}.",
        )
    return ResultVideos(name=name, folder=folder, of_item=of_item, unmatched=tuple(unmatched))


def _item_of(relative: Path, names: Collection[str]) -> tuple[str, str | None]:
    """The run and the clip that a video is of; None where no clip is called like it."""
    first, *rest = relative.parts
    run = RUN_OF_FOLDER.get(first, RECONSTRUCTION) if rest else RECONSTRUCTION
    inner = Path(*rest) if rest and first in RUN_OF_FOLDER else relative
    called = clip_name(inner)
    wanted = (called, called.removesuffix(_DUBBED))
    return run, next((name for name in wanted if name in names), None)
