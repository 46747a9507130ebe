"""The table of what learning gives: which clips count, its means, its differences."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dubcli.config import EvaluateConfig
from dubcli.evaluation.results import Item
from dubcli.evaluation.tables import Evaluation

SCRIPT = Path(__file__).parents[1] / "bench/finetune_table.py"
SYSTEMS = {0: "m.v1", 100: "100"}


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("finetune_table", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["finetune_table"] = module
    spec.loader.exec_module(module)
    return module


def _item(clip: str, system: str, run: str = "reconstruction", **scores: float) -> Item:
    return Item(
        clip=clip, identity=clip, run=run, system=system, fingerprint={}, scores=dict(scores)
    )


def _evaluation(*items: Item, **more: Any) -> Evaluation:
    config = EvaluateConfig(clips=Path("clips"), output=Path("out"), identities="100", half=True)
    weights: dict[str, str | None] = {"m.v1": "ab", "100": None}
    return Evaluation(config=config, items=list(items), weights=weights, **more)


def _two_clips() -> list[Item]:
    return [
        _item("a", "m.v1", psnr_mouth=20.0, texture=0.5),
        _item("b", "m.v1", psnr_mouth=30.0, texture=2.0),
        _item("a", "100", psnr_mouth=23.0, texture=1.0),
        _item("b", "100", psnr_mouth=31.0, texture=1.0),
    ]


def test_a_row_is_the_mean_over_clips_with_its_interval(bench: ModuleType) -> None:
    table = bench.make_table(_evaluation(*_two_clips()), SYSTEMS)
    first, second = (row.scores["reconstruction.psnr_mouth"] for row in table.rows)
    assert (first.mean, first.low, first.high, first.people) == (25, 20, 30, 2)
    assert second.mean == 27
    assert [row.steps for row in table.rows] == [0, 100]


def test_gains_are_taken_clip_by_clip(bench: ModuleType) -> None:
    (gain,) = bench.make_table(_evaluation(*_two_clips()), SYSTEMS).gains
    found = gain.scores["reconstruction.psnr_mouth"]
    # Clips differ by 10 dB, their gains only by 2.
    assert (found.mean, found.low, found.high) == (2, 1, 3)


def test_texture_that_is_too_little_here_and_too_much_there_does_not_average_out(
    bench: ModuleType,
) -> None:
    before, after = bench.make_table(_evaluation(*_two_clips()), SYSTEMS).rows
    assert before.scores["reconstruction.texture_log"].mean == pytest.approx(math.log(2))
    assert after.scores["reconstruction.texture_log"].mean == 0


def test_only_clips_that_every_row_has_count(bench: ModuleType) -> None:
    lone = [_item("c", "m.v1", psnr_mouth=99.0)]
    # Learned, but one run of it failed.
    broken = [
        _item("d", "m.v1", psnr_mouth=99.0),
        _item("d", "100", psnr_mouth=99.0),
        _item("d", "m.v1", "cross-clip", leakage_r=1.0),
    ]
    table = bench.make_table(_evaluation(*_two_clips(), *lone, *broken), SYSTEMS)
    assert table.clips == ["a", "b"]
    assert table.rows[0].scores["reconstruction.psnr_mouth"].mean == 25


def test_leakage_of_both_kinds_of_sound_is_kept_apart(bench: ModuleType) -> None:
    items = [
        _item("a", system, run, leakage_r=value)
        for system in SYSTEMS.values()
        for run, value in (("cross-speech", 0.1), ("cross-clip", 0.3))
    ]
    (row, _) = bench.make_table(_evaluation(*items), SYSTEMS).rows
    assert row.scores["cross-speech.leakage_r"].mean == pytest.approx(0.1)
    assert row.scores["cross-clip.leakage_r"].mean == pytest.approx(0.3)


def test_the_text_has_a_row_for_each_number_of_steps_and_names_what_is_missing(
    bench: ModuleType,
) -> None:
    result = _evaluation(*_two_clips(), missing={"lpips_alex": ["curl x"]})
    table = bench.make_table(result, SYSTEMS)
    notes = bench._notes(result, {"c": "too short"}, table, 60.0)
    text = bench.as_markdown(table, notes)
    rows = [line for line in text.splitlines() if line.startswith(("| 0 |", "| 100 |"))]
    assert [row.split(" | ")[1] for row in rows] == ["25.00", "27.00"]
    assert "| PSNR, mouth box, dB (high) | +2.000 (+1.000 to +3.000) |" in text
    assert "not measured: LPIPS, Alex (low)" in text
    assert "curl x" in text
    assert "c does not count: too short" in text


def test_the_json_has_every_clip_and_no_nan(bench: ModuleType) -> None:
    result = _evaluation(*_two_clips(), _item("a", "m.v1", "cross-clip", leakage_r=math.nan))
    table = bench.make_table(_evaluation(*_two_clips()), SYSTEMS)
    text = json.dumps(bench.as_json(table, result, []), allow_nan=False)
    content = json.loads(text)
    assert [row["steps"] for row in content["rows"]] == [0, 100]
    assert {clip["clip"] for clip in content["clips"]} == {"a", "b"}
    assert content["clips"][0]["scores"]["psnr_mouth"] == 20
