"""Rows that are made on prepared sets: networks trained from nothing, and weights as they are."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch

from dubcli.config import TrainConfig
from dubcli.core.errors import DubError
from dubcli.core.json_text import parse_json
from dubcli.evaluation.results import stop_if_full, to_json, write_text
from dubcli.evaluation.tables import MeanEstimate
from dubcli.models.architecture import load_part
from dubcli.models.paper_table import InUse, RowScores, ScoreRow, TrainedNetwork, TrainedStage
from dubcli.models.registry import find_architecture
from dubcli.paper_tables.row_store import MadeRow, key_hash
from dubcli.paper_tables.row_work import RowWork, set_mark
from dubcli.training.checkpoint import load_into, read_state
from dubcli.training.device_utils import evaluating
from dubcli.training.recipes import find_recipe
from dubcli.training.run import Overrides, train, use_bfloat16
from dubcli.weights.load import load_entry

# Steps whose time is taken, the first one left out; and checkpoints of a stage, for going on.
_TIMED_STEPS, _CHECKPOINTS = 12, 8
_STEPS_FILE = "steps.json"


def trained_key(recipe: TrainedNetwork, work: RowWork) -> dict[str, Any]:
    """What a trained row depends on."""
    return {**training_key(recipe, work), **work.dev_key(), "in_use": dict(recipe.in_use)}


def training_key(recipe: TrainedNetwork, work: RowWork) -> dict[str, Any]:
    """What the network of a trained row depends on; rows of the same key share it."""
    config = work.config
    assert config.train is not None
    return {
        "model": work.entry.architecture,
        "sizes": asdict(recipe.sizes),
        "stages": [asdict(stage) for stage in recipe.stages],
        "minutes": config.minutes,
        "seed": config.seed,
        "device": work.device.type,
        # The same minutes buy more steps in bfloat16.
        "numbers": "bfloat16" if use_bfloat16("auto", work.device) else "float32",
        "train": set_mark(config.train),
    }


def in_use_key(recipe: InUse, work: RowWork) -> dict[str, Any]:
    """What a row of weights as they are depends on."""
    return {**work.weights_key(), **work.dev_key(), "in_use": dict(recipe.settings)}


def make_trained_row(recipe: TrainedNetwork, work: RowWork) -> MadeRow:
    """Train a network, or take the one that a row with the same training has left, and score it.

    Raises:
        TrainingError: A set cannot be used, the losses became NaN.
        DubError: It cannot be scored.
    """
    folder = work.output / "runs" / f"{work.entry.architecture}-{_training_hash(recipe, work)}"
    try:
        last, facts = _train_all(recipe, work, folder)
    except DubError as error:
        stop_if_full(error, work.output)
        raise
    network = find_architecture(work.entry.architecture)
    model: Any = load_part(network.network)(
        load_part(network.config)(**read_state(last).model_config)
    )
    load_into(model, last, averaged=True)
    scores = _scored(recipe.score, model, work)
    return _made(trained_key(recipe, work), scores, facts)


def make_in_use_row(recipe: InUse, work: RowWork) -> MadeRow:
    """Score the model's weights as they are.

    Raises:
        WeightsError: They are not here.
        TrainingError: The set cannot be used.
    """
    work.engine.use_threads(work.config.threads)
    model: Any = load_entry(work.entry, "cpu")[0]
    return _made(in_use_key(recipe, work), _scored(recipe.score, model, work), {})


def _training_hash(recipe: TrainedNetwork, work: RowWork) -> str:
    return key_hash(training_key(recipe, work))


def _made(key: Mapping[str, Any], scores: RowScores, facts: Mapping[str, Any]) -> MadeRow:
    num = len(scores.clips)
    figures = {
        name: MeanEstimate(mean, math.nan, math.nan, people=num)
        for name, mean in scores.means().items()
    }
    return MadeRow(key=key, figures=figures, facts=facts, clips=scores.clips)


@torch.no_grad()
def _scored(score: ScoreRow, model: Any, work: RowWork) -> RowScores:
    work.progress("score", 0, 0)
    with evaluating(model):
        return score(model, work.dev_clips, work.judges)


def _train_all(
    recipe: TrainedNetwork, work: RowWork, folder: Path
) -> tuple[Path, Mapping[str, Any]]:
    """The last checkpoint of all stages, and how many steps each took."""
    overrides = Overrides(clips=work.train_clips, sizes=recipe.sizes)
    start: Path | None = None
    steps = _known_steps(folder)
    for stage in recipe.stages:
        config = _run_config(stage, work, folder, start)
        if stage.stage not in steps:
            seconds = _seconds_a_step(config, overrides, work)
            steps[stage.stage] = max(1, round(60 * work.config.minutes * stage.share / seconds))
            write_text(folder / _STEPS_FILE, json.dumps(to_json(steps)) + "\n")
        num = steps[stage.stage]
        run = replace(config, steps=num, checkpoint_every=max(1, -(-num // _CHECKPOINTS)))
        start = train(run, work.progress, overrides)
    assert start is not None
    return start, {"steps": steps}


def _known_steps(folder: Path) -> dict[str, int]:
    """Steps of each stage that an interrupted run has decided on."""
    try:
        found = parse_json((folder / _STEPS_FILE).read_text(encoding="utf-8"))
        return {str(stage): int(num) for stage, num in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _run_config(
    stage: TrainedStage, work: RowWork, folder: Path, start: Path | None
) -> TrainConfig:
    assert work.config.train is not None
    known = find_recipe(work.entry.architecture).stages[stage.stage].config.losses
    return TrainConfig(
        model=work.entry.architecture,
        data=work.config.train,
        output=folder / stage.stage,
        stage=stage.stage,
        init=start,
        losses=stage.losses if known else None,
        steps=_TIMED_STEPS,
        batch_clips=stage.batch_clips,
        frames_per_clip=stage.frames_per_clip,
        learning_rate=stage.learning_rate,
        seed=work.config.seed,
        device=str(work.device),
        threads=1,
        checkpoint_every=10**9,
        sample_every=10**9,
    )


def _seconds_a_step(config: TrainConfig, overrides: Overrides, work: RowWork) -> float:
    """Median cost of a step: processor time, of a GPU time by the clock.

    Not the mean: the first steps also read the clips that later ones find in memory.
    """
    clock: Callable[[], float] = (
        time.process_time if work.device.type == "cpu" else time.perf_counter
    )
    marks: list[float] = []
    with tempfile.TemporaryDirectory(prefix=".dub-", dir=work.output) as folder:
        timed = replace(config, output=Path(folder) / "timed")
        train(timed, lambda stage, done, total: marks.append(clock()), overrides)
    steps = [later - earlier for earlier, later in pairwise(marks)]
    return max(median(steps), 1e-6) if steps else 1e-6
