"""`dub evaluate`: its flags are the configuration's fields, each explained, each arrives."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.config import EvaluateConfig
from dubcli.evaluation.tables import Evaluation

FLAGS: dict[str, tuple[list[str], Any]] = {
    "output": (["-o", "scores"], Path("scores")),
    "settings": (["--settings", "cross,silence"], "cross,silence"),
    "models": (["--models", "passthrough,iptalker"], "passthrough,iptalker"),
    "identities": (["--identities", "anna,ids/200"], "anna,ids/200"),
    "results": (["--results", "a=x", "--results", "b=y"], ("a=x", "b=y")),
    "baselines": (["--baselines", "ground-truth"], "ground-truth"),
    "half": (["--half"], True),
    "catalogue": (["--catalogue", "all.csv"], Path("all.csv")),
    "speech": (["--speech", "voices"], Path("voices")),
    "weights": (["--weights", "nets"], Path("nets")),
    "memory": (["--memory"], True),
    "limit": (["--limit", "2"], 2),
    "detector": (["--detector", "mediapipe"], "mediapipe"),
    "device": (["--device", "cuda:1"], "cuda:1"),
    "threads": (["--threads", "3"], 3),
    "seed": (["--seed", "9"], 9),
    "keep": (["--keep"], True),
    "overwrite": (["-y"], True),
}


def test_every_field_has_a_flag_that_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    caught: list[EvaluateConfig] = []

    def evaluate(config: EvaluateConfig, progress: Any) -> Evaluation:
        caught.append(config)
        return Evaluation(config=config, items=[])

    stand_in: Any = ModuleType("dubcli.evaluation.run")
    stand_in.evaluate = evaluate
    monkeypatch.setitem(sys.modules, "dubcli.evaluation.run", stand_in)
    assert set(FLAGS) | {"clips"} == {entry.name for entry in fields(EvaluateConfig)}
    words = [word for flag, _ in FLAGS.values() for word in flag]
    result = CliRunner().invoke(app, ["evaluate", "clips", *words])
    assert result.exit_code == 0, result.output
    values = {name: value for name, (_, value) in FLAGS.items()}
    assert caught == [EvaluateConfig(clips=Path("clips"), **values)]


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "dubcli.evaluation.run", raising=False)
    monkeypatch.delitem(sys.modules, "dubcli.evaluation.score", raising=False)
    monkeypatch.delitem(sys.modules, "dubcli.metrics.pixels", raising=False)
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.setitem(sys.modules, "skimage.metrics", None)
    result = CliRunner().invoke(app, ["evaluate", "clips", "-o", "scores"])
    assert result.exit_code == 2
    assert "pip install 'dubcli[evaluate]'" in result.stderr


def test_every_option_is_explained() -> None:
    text = CliRunner().invoke(app, ["evaluate", "--help"], env={"COLUMNS": "400"}).stdout
    for entry in fields(EvaluateConfig)[1:]:
        flag = f"--{entry.name.replace('_', '-')}"
        line = next((line for line in text.splitlines() if flag in line.split()), "")
        words = [word for word in line.split() if word.isalpha() and len(word) > 1]
        assert len(words) >= 2, f"{flag} has no help: {line!r}"
