"""`dub tables`: rows that are trained on tiny sets, kept, gone on with, and shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_clips import made_clip, write_set
from train_runs import interrupt_at, rows
from typer.testing import CliRunner

import dubcli.models.iptalker
from dubcli.cli.app import app
from dubcli.config import TablesConfig
from dubcli.core.errors import ConfigError, TrainingError
from dubcli.models.iptalker.config import NAMED_CONFIGS
from dubcli.models.paper_table import (
    InUse,
    NotMade,
    PaperColumn,
    PaperRow,
    PaperTable,
    RowJudges,
    RowScores,
    TrainedNetwork,
    TrainedStage,
)
from dubcli.paper_tables import trained_rows
from dubcli.paper_tables.run import make_tables
from dubcli.training.data.train_clips import TrainClip

TINY = NAMED_CONFIGS["tiny"]
RENDER = TrainedStage(
    stage="render", share=1.0, batch_clips=1, frames_per_clip=2, learning_rate=1e-3
)


def _score(model: Any, dev: list[TrainClip], judges: RowJudges) -> RowScores:
    """A figure that any change of the weights changes."""
    total = sum(float(value.double().abs().sum()) for value in model.parameters())
    return RowScores(clips={clip.clip_id: {"size": total} for clip in dev})


def _row(name: str, **changes: Any) -> PaperRow:
    recipe = TrainedNetwork(sizes=replace(TINY, **changes), stages=(RENDER,), score=_score)
    return PaperRow(name=name, recipe=recipe, printed={"HDTF": (12.5,)})


TABLES = (
    PaperTable(
        name="table-3",
        title="Table 3: parts",
        columns=(PaperColumn(title="Size", better="higher", key="size", digits=2),),
        rows=(
            _row("full"),
            _row("without E_cm", cross_modality=False),
            PaperRow(name="opinions", recipe=NotMade(reason="needs viewers")),
        ),
        differs="Tiny networks.",
    ),
    PaperTable(
        name="in-use",
        title="Weights as they are",
        columns=(),
        more=(PaperColumn(title="Size", better="higher", key="size"),),
        rows=(PaperRow(name="weights", recipe=InUse(settings={"n": 1}, score=_score)),),
        differs="",
    ),
)


@pytest.fixture(autouse=True)
def tiny_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    known = dubcli.models.iptalker.ARCHITECTURE
    changed = replace(known, tables=f"{__name__}:TABLES")
    monkeypatch.setattr(dubcli.models.iptalker, "ARCHITECTURE", changed)
    # Four steps a row, whatever the machine does beside it.
    monkeypatch.setattr(trained_rows, "_seconds_a_step", lambda *_: 1.5)


@pytest.fixture
def asked(data: Path, tmp_path: Path) -> Callable[..., TablesConfig]:
    def make(**changes: Any) -> TablesConfig:
        defaults: dict[str, Any] = {
            "model": "iptalker",
            "output": tmp_path / "out",
            "train": data,
            "dev": data,
            "minutes": 0.1,
            "only": ("table-3",),
            "device": "cpu",
        }
        return TablesConfig(**{**defaults, **changes})

    return make


def _figure(folder: Path, row: str) -> float:
    path = folder / "rows" / f"iptalker.table-3.{row}.json"
    return json.loads(path.read_text())["figures"]["size"]["mean"]


def test_rows_are_trained_scored_and_shown_beside_the_papers(
    asked: Callable[..., TablesConfig], tmp_path: Path
) -> None:
    report = make_tables(asked())
    (table,) = report.tables
    assert [one.made is not None for one in table.rows] == [True, True, False]
    text = (tmp_path / "out" / "iptalker.md").read_text(encoding="utf-8")
    assert "| full | paper, HDTF | 12.50 |" in text
    assert f"|  | here | {_figure(tmp_path / 'out', 'full'):.2f} |" in text
    assert "not made: opinions: needs viewers." in text
    assert "not made: weights: not asked for in this run." in text
    content = json.loads((tmp_path / "out" / "iptalker.json").read_text())
    (full, *_) = content["tables"][0]["rows"]
    assert full["paper"] == {"HDTF": [12.5]}
    assert full["facts"]["steps"] == {"render": 4}
    assert full["here"]["size"]["people"] == 2


def test_a_row_that_is_there_is_not_made_again(
    asked: Callable[..., TablesConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tables(asked(only=("table-3/full",)))

    def no_training(*_: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(trained_rows, "train", no_training)
    told: list[str] = []
    report = make_tables(asked(only=("table-3/full",)), tell=told.append)
    assert told == ["table-3/full: there from an earlier run"]
    assert report.tables[0].rows[0].made is not None


def test_rows_of_one_network_share_its_training(
    asked: Callable[..., TablesConfig], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = TABLES[0]
    full = table.rows[0]
    assert isinstance(full.recipe, TrainedNetwork)
    other = replace(full, name="other", recipe=replace(full.recipe, in_use={"references": 5}))
    monkeypatch.setitem(globals(), "TABLES", (replace(table, rows=(full, other)),))
    make_tables(asked())
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 1
    assert _figure(tmp_path / "out", "full") == _figure(tmp_path / "out", "other")


def test_another_setting_is_told_before_the_slow_part(asked: Callable[..., TablesConfig]) -> None:
    make_tables(asked(only=("table-3/full",)))
    with pytest.raises(ConfigError, match=r"other settings: minutes 0\.1, now 0\.2"):
        make_tables(asked(minutes=0.2))
    made = make_tables(asked(minutes=0.2, overwrite=True, only=("table-3/full",)))
    row = made.tables[0].rows[0].made
    assert row is not None
    assert row.facts["steps"] == {"render": 8}


def test_rows_of_another_number_format_do_not_stand_beside_each_other(
    asked: Callable[..., TablesConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same minutes buy more steps in bfloat16."""
    monkeypatch.setattr(trained_rows, "use_bfloat16", lambda *_: False)
    make_tables(asked(only=("table-3/full",)))
    monkeypatch.setattr(trained_rows, "use_bfloat16", lambda *_: True)
    with pytest.raises(ConfigError, match="other settings: numbers float32, now bfloat16"):
        make_tables(asked())


def test_an_interrupted_row_goes_on_to_the_same_figures(
    asked: Callable[..., TablesConfig], tmp_path: Path
) -> None:
    only = ("table-3/full",)
    make_tables(asked(only=only, output=tmp_path / "at-once"))
    with pytest.raises(KeyboardInterrupt):
        make_tables(asked(only=only), interrupt_at(3))
    make_tables(asked(only=only))
    (log,) = (tmp_path / "out" / "runs").glob("*/render")
    assert [row["step"] for row in rows(log)] == ["1", "2", "3", "4"]
    assert _figure(tmp_path / "out", "full") == _figure(tmp_path / "at-once", "full")


def test_training_that_fails_is_told_and_the_next_row_is_made(
    asked: Callable[..., TablesConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = trained_rows.train

    def train(config: Any, progress: Any, overrides: Any) -> Path:
        if overrides.sizes.cross_modality:
            raise TrainingError("The losses became NaN.", "Use a lower rate.")
        return real(config, progress, overrides)

    monkeypatch.setattr(trained_rows, "train", train)
    (table,) = make_tables(asked()).tables
    assert "NaN" in table.rows[0].reason
    assert table.rows[1].made is not None


def _dub(*words: str) -> Any:
    return CliRunner().invoke(app, ["tables", *words])


def test_the_command_makes_a_row_and_prints_it(data: Path, tmp_path: Path) -> None:
    words = ["iptalker", "-o", str(tmp_path / "out"), "--train", str(data), "--dev", str(data)]
    result = _dub(*words, "--minutes", "0.1", "--device", "cpu", "--only", "table-3/full", "--json")
    assert result.exit_code == 0, result.stderr
    assert "table-3/full: made (steps {'render': 4})" in result.stderr
    assert json.loads(result.stdout)["tables"][0]["rows"][0]["row"] == "full"


def test_weights_as_they_are_are_scored(data: Path, tmp_path: Path) -> None:
    words = ["iptalker", "-o", str(tmp_path / "out"), "--dev", str(data), "--only", "in-use"]
    result = _dub(*words, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert "in-use/weights: made" in result.stderr
    assert "not made" not in result.stdout


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["iptalkr", "--list"], 2, "Did you mean 'iptalker'?"),
        (["passthrough", "--list"], 2, "'passthrough' has no tables. Known: iptalker"),
        (["iptalker", "--list", "--only", "table-33"], 2, "Did you mean 'table-3'?"),
        (["iptalker", "--list", "--only", "table-3/ful"], 2, "has no row 'ful'. Did you mean"),
        (["iptalker"], 2, "No folder for the results. Use -o FOLDER"),
        (["iptalker", "-o", "{out}"], 2, "No row can be made with what was given."),
        (["iptalker", "{out}", "-o", "{out}"], 2, "No row can be made with what was given."),
        (["iptalker", "-o", "{out}", "--train", "{out}"], 2, "Add --dev SET"),
        (["iptalker", "-o", "{out}", "--dev", "{out}"], 7, "holds no prepared clips"),
        (["iptalker", "-o", "{out}", "--dev", "{empty}"], 7, "No clip of"),
        (["iptalker", "-o", "{out}", "--results", "a=b"], 2, "No table has a row of 'a'"),
        (["iptalker", "-o", "{out}", "--minutes", "0"], 2, "0.0 minutes of training."),
    ],
)
def test_what_is_wrong_is_one_line_before_the_slow_part(
    words: list[str], code: int, told: str, tmp_path: Path
) -> None:
    empty = write_set(tmp_path / "empty", {}, {"cat": "no usable face"})
    places = {"out": str(tmp_path / "out"), "empty": str(empty)}
    result = _dub(*(word.format(**places) for word in words))
    assert (result.exit_code, told in result.stderr) == (code, True), result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_set_without_sound_is_told(tmp_path: Path, asked: Callable[..., TablesConfig]) -> None:
    silent = write_set(tmp_path / "silent", {"dan": made_clip(2, with_sound=False)}, {})
    report = make_tables(asked(dev=silent, train=silent, only=("table-3/full",)))
    assert report.tables[0].rows[0].made is not None
