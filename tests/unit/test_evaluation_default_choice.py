"""Which model should dub by default: gates, mean ranks, and today's where intervals overlap."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from dubcli.evaluation.default_choice import choose_default

TODAY, OTHER = "iptalker.v3", "personatalk.v2"


def _estimate(mean: float | None, spread: float = 0.0) -> dict[str, Any]:
    low, high = (None, None) if mean is None else (mean - spread, mean + spread)
    return {"mean": mean, "low": low, "high": high, "people": 9}


def _means(**changes: Any) -> dict[str, Any]:
    """Figures of a model that passes all gates, by run."""
    figures = {"lmd": 0.04, "texture": 0.8, "motion": 0.8, "cross_r": 0.6, "leakage": 0.04}
    figures |= {"cpu": 0.1, "memory": 1000.0, "spread": 0.01} | changes
    spread = figures["spread"]
    cross = {
        "r_other_own_offset": _estimate(figures["cross_r"], spread),
        "leakage_r": _estimate(figures["leakage"], spread),
    }
    return {
        "reconstruction": {
            **{key: _estimate(figures[key], spread / 10) for key in ("lmd", "texture", "motion")},
            "cpu_per_frame": _estimate(figures["cpu"]),
            "peak_memory": {"mean": figures["memory"], "low": None, "high": None, "people": 0},
        },
        "cross-clip": cross,
    }


def _content(**models: Any) -> dict[str, Any]:
    """`scores.json` of models by name; `lost` is the share of anna's frames without lips."""
    means: dict[str, Any] = {"reconstruction": {}, "cross-clip": {}}
    clips: list[dict[str, Any]] = []
    for name, changes in models.items():
        lost = changes.pop("lost", 0.0)
        for run, figures in _means(**changes).items():
            means[run][name] = figures
        for identity, share in (("anna", lost), ("ben", 0.0)):
            item = {"identity": identity, "clip": identity, "run": "silence", "system": name}
            clips.append({**item, "scores": {"lip_colour": share}})
    return {"models": list(models), "default_model": TODAY, "means": means, "clips": clips}


BETTER = {"lmd": 0.03, "texture": 0.95, "motion": 0.95, "cross_r": 0.7}


def _chosen(other: dict[str, Any], today: dict[str, Any] | None = None) -> Any:
    choice = choose_default(_content(**{TODAY: dict(today or {}), OTHER: dict(other)}))
    assert choice is not None
    return choice


def test_a_model_that_is_certainly_better_takes_over() -> None:
    choice = _chosen(BETTER)
    assert choice.model == OTHER
    assert choice.line.startswith(f"default model: {OTHER} in place of {TODAY}: mean rank 1.00")
    assert "certainly better in cross r, LMD, texture, motion" in choice.line
    assert "\n" not in choice.line
    assert choice.ranks == {TODAY: 2.0, OTHER: 1.0}


def test_todays_stays_where_the_intervals_overlap() -> None:
    wide = {"spread": 1.0}
    choice = _chosen({**BETTER, **wide}, {**wide, "leakage": 0.0})
    assert choice.model == TODAY
    assert "the intervals overlap" in choice.line
    assert choice.ranks[OTHER] < choice.ranks[TODAY]


def test_todays_stays_where_the_other_is_certainly_worse_in_something() -> None:
    choice = _chosen({**BETTER, "cross_r": 0.4})
    assert choice.model == TODAY
    assert "certainly worse in cross r" in choice.line


def test_todays_stays_where_it_has_the_best_mean_rank() -> None:
    choice = _chosen({"lmd": 0.05, "cross_r": 0.5, "texture": 0.5, "motion": 0.5})
    assert (choice.model, choice.ranks[TODAY]) == (TODAY, 1.0)
    same = _chosen({})
    assert (same.model, same.ranks) == (TODAY, {TODAY: 1.5, OTHER: 1.5})


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ({"lost": 0.05}, "anna loses the lips in 5.0 %"),
        ({"leakage": 0.2}, "leakage 0.20 (0.19 to 0.21)"),
        ({"memory": 1500.0}, "1500 MiB of memory"),
        ({"cpu": 0.16}, "1.60 times the time of iptalker"),
    ],
)
def test_a_gate_leaves_out_even_the_best(gate: dict[str, Any], said: str) -> None:
    choice = _chosen({**BETTER, **gate})
    assert choice.model == TODAY
    assert said in choice.refused[OTHER]
    assert f"Left out by a gate: {OTHER}: " in choice.line


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("peak_memory", "memory was not measured"),
        ("cpu_per_frame", "time against iptalker was not measured"),
        ("lmd", "LMD: not measured"),
    ],
)
def test_what_was_not_measured_cannot_be_chosen(key: str, said: str) -> None:
    content = _content(**{TODAY: {}, OTHER: dict(BETTER)})
    content["means"]["reconstruction"][OTHER][key] = _estimate(None)
    choice = choose_default(content)
    assert choice is not None
    assert (choice.model, said in choice.refused[OTHER]) == (TODAY, True)


def test_leakage_that_few_clips_cannot_tell_from_chance_is_no_reason() -> None:
    assert _chosen({**BETTER, "leakage": 0.055}).model == OTHER


def test_a_model_that_fails_a_gate_gives_way_to_one_that_passes() -> None:
    choice = _chosen({"cross_r": 0.5}, {"lost": 0.3})
    assert choice.model == OTHER
    assert "anna loses the lips in 30.0 %" in choice.line
    both = _chosen({"lost": 0.1}, {"lost": 0.3})
    assert both.model == TODAY
    assert "no model passes all gates" in both.line


def test_texture_above_one_is_as_far_as_the_same_factor_below() -> None:
    near, far = {"texture": 1.25}, {"texture": 0.7}
    assert _chosen(near, far).ranks[OTHER] < 1.5


def test_one_model_or_none_of_today_chooses_nothing() -> None:
    content = _content(**{TODAY: {}, OTHER: {}})
    assert choose_default({**content, "models": [TODAY]}) is None
    assert choose_default({**content, "default_model": "another.v1"}) is None
    unchanged = copy.deepcopy(content)
    choose_default(content)
    assert content == unchanged
