"""Rows of `dub tables` that are dubs: one evaluation, one learning, kept and refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dubcli.config import EvaluateConfig, FinetuneConfig, TablesConfig
from dubcli.core.errors import ConfigError, MediaError
from dubcli.evaluation.results import Item
from dubcli.evaluation.tables import Evaluation
from dubcli.identities.layout import DESCRIPTION
from dubcli.paper_tables import dubbed_rows, learned_rows
from dubcli.paper_tables.row_store import row_path
from dubcli.paper_tables.run import make_tables
from dubcli.weights.resolve import resolve

MODEL = resolve("iptalker").name


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[EvaluateConfig]:
    """Evaluations that were asked for; each system's PSNR tells it from the others."""
    calls: list[EvaluateConfig] = []

    def evaluate(config: EvaluateConfig, *_: Any, **__: Any) -> Evaluation:
        calls.append(config)
        systems = [
            *([MODEL] if config.models else []),
            *config.baseline_names,
            *(name for name, _ in config.result_folders),
            *(Path(name).name for name in config.identity_names),
        ]
        items = [
            Item(
                clip=clip,
                identity=clip,
                run="reconstruction",
                system=system,
                fingerprint={},
                scores={"psnr_face": 20.0 + number, "ssim_face": 0.9},
            )
            for number, system in enumerate(systems)
            for clip in ("a", "b")
        ]
        return Evaluation(config=config, items=items, weights=dict.fromkeys(systems))

    monkeypatch.setattr(dubbed_rows, "evaluate", evaluate)
    monkeypatch.setattr(learned_rows, "evaluate", evaluate)
    return calls


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> list[FinetuneConfig]:
    calls: list[FinetuneConfig] = []

    def finetune(config: FinetuneConfig, progress: Any, *, snapshots: dict[int, Path]) -> None:
        calls.append(config)
        if config.videos[0].stem == "b" and len(calls) == 1:
            raise MediaError("Too short.", "Use a longer clip.")
        for path in snapshots.values():
            path.mkdir()
            (path / DESCRIPTION).write_text("{}")

    monkeypatch.setattr(learned_rows, "finetune", finetune)
    return calls


@pytest.fixture
def asked(tmp_path: Path) -> Callable[..., TablesConfig]:
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("a", "b"):
        (clips / f"{name}.mp4").write_bytes(name.encode())

    def make(*only: str, **changes: Any) -> TablesConfig:
        defaults: dict[str, Any] = {"clips": clips, "output": tmp_path / "out", "device": "cpu"}
        return TablesConfig(model="iptalker", only=only, **{**defaults, **changes})

    return make


def _psnr(folder: Path, table: str, row: str) -> float:
    content = json.loads(row_path(folder, "iptalker", table, row).read_text())
    return content["figures"]["psnr_face"]["mean"]


def test_dubs_are_scored_in_one_evaluation_and_kept(
    asked: Callable[..., TablesConfig], evaluated: list[EvaluateConfig], tmp_path: Path
) -> None:
    (table,) = make_tables(asked("table-1")).tables
    (config,) = evaluated
    assert (config.models, config.baseline_names) == ("iptalker", ("ground-truth",))
    made = {one.row.name: one.made is not None for one in table.rows}
    assert {name for name, is_made in made.items() if is_made} == {"Ours", "Ground Truth"}
    assert _psnr(tmp_path / "out", "table-1", "Ours") == 20
    text = (tmp_path / "out" / "iptalker.md").read_text(encoding="utf-8")
    assert "| Ours | paper, HDTF | 0.6365 | 30.8796 |" in text
    assert "|  | here | 0.900 | 20.00 | - |" in text
    assert "DINet: needs CLIPS and the tool's videos of them: --results NAME=FOLDER." in text
    make_tables(asked("table-1"))
    assert len(evaluated) == 1


def test_another_tools_videos_make_its_row(
    asked: Callable[..., TablesConfig], evaluated: list[EvaluateConfig], tmp_path: Path
) -> None:
    made = tmp_path / "dinet"
    made.mkdir()
    (made / "a.mp4").write_bytes(b"x")
    given = (f"DINet={made}",)
    (table,) = make_tables(asked("table-1/DINet", results=given)).tables
    assert evaluated[0].results == given
    assert table.rows[0].made is not None
    with pytest.raises(ConfigError, match="there is no such folder"):
        make_tables(asked("table-1/DINet", results=(f"DINet={tmp_path / 'absent'}",)))


def test_another_clip_is_another_setting(
    asked: Callable[..., TablesConfig], evaluated: list[EvaluateConfig], tmp_path: Path
) -> None:
    make_tables(asked("table-1/Ours"))
    (tmp_path / "clips" / "c.mp4").write_bytes(b"c")
    with pytest.raises(ConfigError, match="other settings: clips 2 clips of"):
        make_tables(asked("table-1/Ours"))
    make_tables(asked("table-1/Ours", overwrite=True))
    assert len(evaluated) == 2


@pytest.mark.parametrize("clips", ["absent", "empty"])
def test_clips_that_are_not_there_are_refused(
    clips: str, asked: Callable[..., TablesConfig], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=f"{clips}' (is neither|lists no clip)"):
        make_tables(asked("table-1", clips=tmp_path / clips))
    assert not (tmp_path / "out").exists()


def test_numbers_of_steps_come_of_one_learning(
    asked: Callable[..., TablesConfig],
    evaluated: list[EvaluateConfig],
    learned: list[FinetuneConfig],
    tmp_path: Path,
) -> None:
    make_tables(asked("table-2"))
    assert [(one.steps, one.half) for one in learned] == [(300, True), (300, True)]
    (config,) = evaluated
    assert config.half
    assert [Path(name).name for name in config.identity_names] == ["100", "200", "300"]
    figures = [_psnr(tmp_path / "out", "table-2", f"{num} steps") for num in (0, 100, 200, 300)]
    assert figures == [20, 21, 22, 23]


def test_learning_goes_on_where_it_was_interrupted(
    asked: Callable[..., TablesConfig],
    evaluated: list[EvaluateConfig],
    learned: list[FinetuneConfig],
) -> None:
    make_tables(asked("table-2/100 steps"))
    # Learned for the whole table, though one row was asked for.
    assert [one.steps for one in learned] == [300, 300]
    make_tables(asked("table-2"))
    assert len(learned) == 2
    assert len(evaluated) == 2


def test_a_clip_that_cannot_be_learned_is_told(
    asked: Callable[..., TablesConfig],
    evaluated: list[EvaluateConfig],
    learned: list[FinetuneConfig],
    tmp_path: Path,
) -> None:
    (tmp_path / "clips" / "a.mp4").unlink()
    (tmp_path / "clips" / "c.mp4").write_bytes(b"c")
    told: list[str] = []
    make_tables(asked("table-2"), tell=told.append)
    assert any("b was not learned: Too short." in line for line in told)
