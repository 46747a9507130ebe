"""`dub tables`: its flags are the configuration's fields, each explained, each arrives."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.config import TablesConfig
from dubcli.paper_tables.table_text import TablesReport

FLAGS: dict[str, tuple[list[str], Any]] = {
    "output": (["-o", "tables"], Path("tables")),
    "only": (["--only", "table-1", "--only", "table-2/N = 5"], ("table-1", "table-2/N = 5")),
    "train": (["--train", "data"], Path("data")),
    "dev": (["--dev", "others"], Path("others")),
    "minutes": (["--minutes", "5"], 5.0),
    "results": (["--results", "a=x", "--results", "b=y"], ("a=x", "b=y")),
    "catalogue": (["--catalogue", "all.csv"], Path("all.csv")),
    "weights": (["--weights", "nets"], Path("nets")),
    "limit": (["--limit", "2"], 2),
    "device": (["--device", "cuda:1"], "cuda:1"),
    "threads": (["--threads", "3"], 3),
    "seed": (["--seed", "9"], 9),
    "overwrite": (["-y"], True),
}


def test_every_field_has_a_flag_that_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    caught: list[TablesConfig] = []

    def make(config: TablesConfig, *_: Any) -> TablesReport:
        caught.append(config)
        return TablesReport(model=config.model, tables=(), version="")

    stand_in: Any = ModuleType("dubcli.paper_tables.run")
    stand_in.make_tables = stand_in.list_tables = make
    monkeypatch.setitem(sys.modules, "dubcli.paper_tables.run", stand_in)
    named = {"model", "clips", "list"}
    assert set(FLAGS) | named == {entry.name for entry in fields(TablesConfig)}
    words = [word for flag, _ in FLAGS.values() for word in flag]
    result = CliRunner().invoke(app, ["tables", "g4g", "clips", *words])
    assert result.exit_code == 0, result.output
    assert CliRunner().invoke(app, ["tables", "g4g", "--list"]).exit_code == 0
    values = {name: value for name, (_, value) in FLAGS.items()}
    assert caught == [
        TablesConfig(model="g4g", clips=Path("clips"), **values),
        TablesConfig(model="g4g", list=True),
    ]


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("paper_tables.run", "evaluation.run", "evaluation.score", "metrics.pixels"):
        monkeypatch.delitem(sys.modules, f"dubcli.{name}", raising=False)
    for name in ("learned_rows", "dubbed_rows"):
        monkeypatch.delitem(sys.modules, f"dubcli.paper_tables.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.setitem(sys.modules, "skimage.metrics", None)
    result = CliRunner().invoke(app, ["tables", "g4g", "--list"])
    assert result.exit_code == 2
    assert "pip install 'dubcli[evaluate]'" in result.stderr
