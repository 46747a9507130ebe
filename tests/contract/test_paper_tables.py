"""Tables of the models' papers: each can be listed, and its rows can be trained and scored."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from made_clips import made_clip, write_set
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.core.types import F32, U8, Int
from dubcli.evaluation.measures import MEASURES
from dubcli.models.architecture import load_part
from dubcli.models.common.stage_parts import half_size
from dubcli.models.paper_table import (
    Dubbed,
    FineTuned,
    InUse,
    NotMade,
    OtherTool,
    PaperColumn,
    PaperRow,
    PaperTable,
    RowJudges,
    TrainedNetwork,
)
from dubcli.models.personatalk import persona_scores
from dubcli.models.registry import find_architecture, model_names
from dubcli.paper_tables.run import tables_of
from dubcli.training import picture_scores
from dubcli.training.data.train_clips import TrainClip, load_clips
from dubcli.training.picture_scores import CropScorer
from dubcli.training.recipes import find_recipe, trainable_names

MODELS = ("iptalker", "personatalk", "g4g", "lip-identity")


def _rows(*kinds: type) -> list[Any]:
    return [
        pytest.param(model, table, row, id=f"{model}/{table.name}/{row.name}")
        for model in MODELS
        for table in tables_of(model)
        for row in table.rows
        if isinstance(row.recipe, kinds)
    ]


def test_every_model_that_is_trained_has_its_papers_tables() -> None:
    assert {name for name in model_names() if find_architecture(name).tables} == {
        *trainable_names()
    }


@pytest.mark.parametrize("model", MODELS)
def test_all_tables_of_a_paper_are_listed(model: str) -> None:
    result = CliRunner().invoke(app, ["tables", model, "--list"])
    assert result.exit_code == 0, result.stderr
    for table in tables_of(model):
        assert f"{table.name}: " in result.stdout
        for row in table.rows:
            assert row.name in result.stdout
            for values in row.printed.values():
                known = zip(table.columns, values, strict=True)
                figures = [f"{x:.{column.digits}f}" for column, x in known if x is not None]
                assert all(figure in result.stdout for figure in figures)


def test_the_papers_numbers_of_references_and_steps_are_rows() -> None:
    names = {
        (model, table.name): [row.name for row in table.rows]
        for model in MODELS
        for table in tables_of(model)
    }
    assert names["iptalker", "table-2"] == ["0 steps", "100 steps", "200 steps", "300 steps"]
    assert {"N = 1", "N = 5", "N = 10", "N = 25"} <= {*names["lip-identity", "table-2"]}
    assert names["lip-identity", "table-3"] == ["N_lip = 1", "N_lip = 3", "N_lip = 5"]


@pytest.mark.parametrize(("model", "table", "row"), _rows(Dubbed, OtherTool, FineTuned))
def test_figures_of_dubs_are_those_of_evaluate(model: str, table: Any, row: PaperRow) -> None:
    known = {measure.key for measure in MEASURES} | {""}
    assert {column.key for column in (*table.columns, *table.more)} <= known


@pytest.mark.parametrize(("model", "table", "row"), _rows(TrainedNetwork))
def test_trained_rows_fit_the_models_recipe(model: str, table: Any, row: PaperRow) -> None:
    recipe, found = row.recipe, find_recipe(model)
    assert isinstance(recipe, TrainedNetwork)
    assert sum(stage.share for stage in recipe.stages) == pytest.approx(1)
    for stage in recipe.stages:
        known = found.stages[stage.stage].config
        assert stage.losses is None or stage.losses in known.losses
        assert stage.frames_per_clip >= known.least_frames
        found.check(recipe.sizes, stage.stage)
        assert found.stages[stage.stage].needs(recipe.sizes).size[0] > 0


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> list[TrainClip]:
    folder: Path = tmp_path_factory.mktemp("dev")
    return load_clips(write_set(folder, {"anna": made_clip(0), "ben": made_clip(1)}, {}))


@pytest.fixture(autouse=True)
def few_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_scores, "NUM_FRAMES", 3)
    monkeypatch.setattr(persona_scores, "_NUM_SEEN", 3)


class _TrueLandmarks(CropScorer):
    """Sees the clip's own landmarks in any picture: an untrained network paints no face."""

    def landmarks(self, clip: TrainClip, frames: Int, *pictures: U8) -> list[F32]:
        return [clip.clip.landmarks[frames] for _ in pictures]


def _small(model: str) -> Any:
    """A network that has what the model's rows need, untrained, with a basis of mouths."""
    architecture = find_architecture(model)
    configs = find_recipe(model).configs
    sizes = half_size(configs["small-paper"]) if model == "iptalker" else configs["tiny"]
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        network = load_part(architecture.network)(sizes).eval()
        for name, value in network.named_buffers():
            if name.split(".")[-1] == "basis":
                value.normal_(std=0.02)
    return network


def _first_of_a_kind() -> list[Any]:
    """A row of each table and way of scoring."""
    found: dict[tuple[Any, ...], Any] = {}
    for param in (*_rows(TrainedNetwork), *_rows(InUse)):
        model, table, row = param.values
        found[model, table.name, type(row.recipe)] = param
    return list(found.values())


@torch.no_grad()
@pytest.mark.parametrize(("model", "table", "row"), _first_of_a_kind())
def test_scores_of_a_row_have_the_tables_columns(
    model: str, table: PaperTable, row: PaperRow, dev: list[TrainClip]
) -> None:
    recipe = row.recipe
    assert isinstance(recipe, TrainedNetwork | InUse)
    means = recipe.score(_small(model), dev, RowJudges(crops=_TrueLandmarks())).means()
    wanted = {column.key for column in (*table.columns, *table.more)} - {""}
    assert wanted <= {*means}
    # Neither LPIPS nor a style encoder was given, and three frames may show one mouth.
    unknown = {key for key in wanted if math.isnan(means[key])}
    assert unknown <= {"lpips", "style_sim", "r", "motion", "swapped_r"}


def test_a_table_that_contradicts_itself_is_refused() -> None:
    row = PaperRow(name="a", recipe=NotMade(reason=""), printed={"HDTF": (1.0, 2.0)})
    table: dict[str, Any] = {"name": "t", "title": "T", "differs": ""}
    column = PaperColumn(title="PSNR", better="higher")
    with pytest.raises(ValueError, match="2 figures are printed"):
        PaperTable(**table, columns=(column,), rows=(row,))
    with pytest.raises(ValueError, match="two rows have one name"):
        PaperTable(**table, columns=(column, column), rows=(row, replace(row)))
