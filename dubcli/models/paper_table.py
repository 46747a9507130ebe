"""The tables of a model's paper: what is printed there, and how this project makes each row.

A model's package has `paper_tables.py` with `TABLES`, which its `Architecture` names; `dub tables`
needs to know nothing else of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dubcli.core.types import F32
from dubcli.sync.scorer import MouthClip
from dubcli.training.data.train_clips import TrainClip
from dubcli.training.picture_scores import CropScorer

Scores = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class RowScores:
    """What a row made on a prepared set scores.

    Attributes:
        clips: Scores by clip and figure; NaN where a figure is not known.
        whole: Figures of the whole set.
    """

    clips: Mapping[str, Scores]
    whole: Scores = field(default_factory=dict[str, float])

    def means(self) -> Scores:
        """Every figure: its mean over the clips where it is known, NaN where it is in none."""
        found: Scores = {}
        for key in dict.fromkeys(key for scores in self.clips.values() for key in scores):
            values = np.array([scores.get(key, math.nan) for scores in self.clips.values()])
            known = values[np.isfinite(values)]
            found[key] = float(known.mean()) if len(known) else math.nan
        return {**found, **self.whole}


@dataclass(frozen=True, kw_only=True)
class RowJudges:
    """What scores of rows are measured with.

    Attributes:
        crops: Scores of made crops beside real ones.
        style: Unit vector (E,) of a mouth's manner of speaking, None where it is too short; None
            where the installation has no style encoder.
    """

    crops: CropScorer
    style: Callable[[MouthClip], F32 | None] | None = None


# Scores a network, evaluating and without gradients, on the clips of other people.
ScoreRow = Callable[[Any, list[TrainClip], RowJudges], RowScores]


@dataclass(frozen=True, kw_only=True)
class Dubbed:
    """The clips are dubbed by their own sound and scored as `dub evaluate` does.

    Attributes:
        system: A baseline of `dub evaluate`; the model itself where empty.
    """

    system: str = ""


@dataclass(frozen=True, kw_only=True)
class OtherTool:
    """Videos that another tool made of the clips, where `--results NAME=FOLDER` has them.

    Attributes:
        name: As `--results` calls the tool.
    """

    name: str


@dataclass(frozen=True, kw_only=True)
class FineTuned:
    """Each clip is learned from its first half, and its second half is dubbed and scored.

    Attributes:
        steps: Of learning; 0 is the model as it is.
    """

    steps: int


@dataclass(frozen=True, kw_only=True)
class TrainedStage:
    """One stage of a row's training; each starts from the one before.

    Attributes:
        stage: Of the model's recipe.
        share: Of the row's minutes.
        batch_clips: Clips in a batch.
        frames_per_clip: Frames of each.
        learning_rate: Its peak.
        losses: Named loss weights; None where the stage has one set, or its first is meant.
    """

    stage: str
    share: float
    batch_clips: int
    frames_per_clip: int
    learning_rate: float
    losses: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """A network is trained from nothing on `--train` and scored on `--dev`.

    Rows of one network and the same stages share one training.

    Attributes:
        sizes: Configuration of the network.
        stages: How it is trained, in this order.
        score: How it is scored.
        in_use: What the scoring sets, where rows share one training.
    """

    sizes: Any
    stages: tuple[TrainedStage, ...]
    score: ScoreRow
    in_use: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, kw_only=True)
class InUse:
    """The model's weights as they are, scored on `--dev` with something set in use only.

    Attributes:
        settings: What is set, such as the number of references.
        score: How it is scored, with that set.
    """

    settings: Mapping[str, Any]
    score: ScoreRow


@dataclass(frozen=True, kw_only=True)
class NotMade:
    """A row that this project has no means to make.

    Attributes:
        reason: Why, with what could be done instead.
    """

    reason: str


RowRecipe = Dubbed | OtherTool | FineTuned | TrainedNetwork | InUse | NotMade


@dataclass(frozen=True, kw_only=True)
class PaperColumn:
    """A column of a table.

    Attributes:
        title: As it is printed; of our own columns, what they say.
        better: `higher`, `lower`, or the value that is right.
        key: The figure of this project that stands there; '' where there is none.
        digits: Behind the point, as the paper prints them.
    """

    title: str
    better: str
    key: str = ""
    digits: int = 4


@dataclass(frozen=True, kw_only=True)
class PaperRow:
    """A row of a table.

    Attributes:
        name: What `--only` calls it, unique in its table.
        recipe: How this project makes it.
        printed: The paper's figures by data set, in the order of the paper's columns; None where
            it prints none. Empty where the row is not in the paper.
        differs: What is different here, in one line; '' for nothing beyond what holds for the
            whole table.
    """

    name: str
    recipe: RowRecipe
    printed: Mapping[str, tuple[float | None, ...]] = field(
        default_factory=dict[str, "tuple[float | None, ...]"]
    )
    differs: str = ""


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """A table of a paper.

    Attributes:
        name: What `--only` calls it.
        title: Its number and what it shows.
        columns: The paper's.
        rows: In the paper's order, then rows of our own.
        differs: What is different of data and harness, in one line.
        more: Columns that the paper does not have.
    """

    name: str
    title: str
    columns: tuple[PaperColumn, ...]
    rows: tuple[PaperRow, ...]
    differs: str
    more: tuple[PaperColumn, ...] = ()

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        if len({*names}) < len(names):
            raise ValueError(f"{self.name}: two rows have one name")
        for row in self.rows:
            for values in row.printed.values():
                if len(values) != len(self.columns):
                    raise ValueError(f"{self.name}, {row.name}: {len(values)} figures are printed")


def other_tools(
    printed: Mapping[str, Mapping[str, Sequence[float | None]]],
) -> tuple[PaperRow, ...]:
    """Rows of other tools: their printed figures by data set, by the tool's name."""
    return tuple(
        PaperRow(
            name=name,
            recipe=OtherTool(name=name),
            printed={data: tuple(values) for data, values in sets.items()},
        )
        for name, sets in printed.items()
    )


def opinion_table(
    title: str,
    columns: Sequence[str],
    opinions: Mapping[str, tuple[float, ...]],
    *,
    asked: str,
    digits: int,
    differs: str,
) -> PaperTable:
    """Table 3 of viewers' opinions, which this project has no means to make.

    Args:
        title: Its number and what it shows.
        columns: What viewers were asked.
        opinions: Printed means by name of the row.
        asked: Whom the paper asked, in place of a data set.
        digits: Behind the point, as the paper prints them.
        differs: What is different here, in one line.
    """
    viewers = NotMade(reason="needs viewers: make the blind test with dub study")
    return PaperTable(
        name="table-3",
        title=title,
        columns=tuple(PaperColumn(title=one, better="higher", digits=digits) for one in columns),
        rows=tuple(
            PaperRow(name=name, recipe=viewers, printed={asked: values})
            for name, values in opinions.items()
        ),
        differs=differs,
    )
