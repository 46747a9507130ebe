"""Rows of fine-tuning: every clip is learned from its first half and scored on its second."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dubcli.config import FinetuneConfig
from dubcli.core.errors import DubError
from dubcli.core.progress import Progress
from dubcli.evaluation.clips import EvalClip
from dubcli.evaluation.results import Item, stop_if_full
from dubcli.evaluation.run import evaluate
from dubcli.identities.layout import DESCRIPTION
from dubcli.models.paper_table import FineTuned
from dubcli.paper_tables.dubbed_rows import figures_of, tell_failures
from dubcli.paper_tables.row_store import MadeRow, key_hash
from dubcli.paper_tables.row_work import RowWork
from dubcli.personalize.run import finetune


@dataclass(frozen=True, kw_only=True)
class ClipLearning:
    """How clips are learned.

    Attributes:
        folder: Where identities go, as `identities/STEPS/CLIP`, and unfinished runs.
        model: What is learned upon.
        steps: At which an identity is kept, ascending, all above 0.
        device: Where it runs.
        threads: CPU threads; 0 takes all cores.
        seed: Of the batches.
    """

    folder: Path
    model: str
    steps: tuple[int, ...]
    device: str = "auto"
    threads: int = 0
    seed: int = 0

    def identities(self, steps: int) -> Path:
        """The folder with an identity of every clip after some steps."""
        return self.folder / "identities" / str(steps)

    def snapshots(self, clip: str) -> dict[int, Path]:
        """Where a clip's identities lie, by number of steps."""
        return {steps: self.identities(steps) / clip for steps in self.steps}

    def has(self, clip: str) -> bool:
        """Whether an earlier run has learned a clip."""
        return all((path / DESCRIPTION).is_file() for path in self.snapshots(clip).values())


def learn_clip(learning: ClipLearning, clip: EvalClip, progress: Progress | None = None) -> str:
    """Learn a clip from its first half; returns why it cannot be learned, '' where it was.

    Raises:
        EncodeError: The disk is full.
    """
    kept = learning.snapshots(clip.name)
    config = FinetuneConfig(
        videos=(clip.path,),
        name=str(learning.folder / "learned" / clip.name),
        model=learning.model,
        half=True,
        steps=max(kept),
        consent=True,
        overwrite=True,
        seed=learning.seed,
        device=learning.device,
        threads=learning.threads,
    )
    for path in kept.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        finetune(config, progress, snapshots=kept)
    except DubError as error:
        stop_if_full(error, learning.folder)
        return str(error)
    return ""


def learn_clips(
    learning: ClipLearning, clips: Sequence[EvalClip], progress: Progress | None = None
) -> dict[str, str]:
    """Learn every clip that an earlier run has not; returns why clips cannot be, by name."""
    wanted = [clip for clip in clips if not learning.has(clip.name)]
    excuses = {clip.name: learn_clip(learning, clip, progress) for clip in wanted}
    return {name: why for name, why in excuses.items() if why}


def learned_key(recipe: FineTuned, work: RowWork) -> dict[str, Any]:
    """What a row of fine-tuning depends on."""
    return {**work.clips_key(), **work.weights_key(), "steps": recipe.steps, "half": True}


def make_learned_rows(
    recipes: Sequence[FineTuned], steps: Sequence[int], work: RowWork
) -> list[MadeRow]:
    """Rows of one learning at several numbers of steps, on the clips that have all of them.

    Args:
        recipes: The rows.
        steps: Of every row of the table: all come of one learning, whichever are made now.
        work: The run.

    Raises:
        DubError: Not one clip can be learned and scored.
    """
    config = work.config
    mark = key_hash({**work.clips_key(), **work.weights_key(), "networks": ""})
    folder = work.output / "learned" / mark
    if config.overwrite:
        shutil.rmtree(folder, ignore_errors=True)
    excuses: dict[str, str] = {}
    learning = ClipLearning(
        folder=folder,
        model=config.model,
        steps=tuple(sorted(num for num in steps if num)),
        device=config.device,
        threads=config.threads,
        seed=config.seed,
    )
    tuned = [one.steps for one in recipes if one.steps]
    if tuned:
        excuses = learn_clips(learning, work.clips, work.progress)
    for clip, why in excuses.items():
        work.tell(f"warning: {clip} was not learned: {why}")
    result = evaluate(
        work.evaluation(
            output=work.output / "scores-half",
            models=config.model if any(not one.steps for one in recipes) else "",
            identities=",".join(str(learning.identities(num)) for num in tuned),
            baselines="",
            half=True,
            overwrite=config.overwrite,
        ),
        work.progress,
        engine=work.engine,
    )
    tell_failures(result, work)
    systems = {one.steps: str(one.steps) if one.steps else work.entry.name for one in recipes}
    result = replace(result, items=complete(result.items, systems.values()))
    facts = {"clips": len({item.clip for item in result.items})}
    return [
        MadeRow(
            key=learned_key(one, work), figures=figures_of(result, systems[one.steps]), facts=facts
        )
        for one in recipes
    ]


def complete(items: Sequence[Item], systems: Iterable[str]) -> list[Item]:
    """Items of the clips that every system has dubbed in every run that any has dubbed them in."""
    wanted = set(systems)
    runs = {(item.clip, item.run) for item in items}
    there = {(item.clip, item.run, item.system) for item in items}
    lacking = {c for c, run in runs if any((c, run, name) not in there for name in wanted)}
    return [item for item in items if item.clip not in lacking and item.system in wanted]
