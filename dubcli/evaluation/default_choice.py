"""Which model should dub by default: a rule over the figures of an evaluation.

docs/comparison.md states the rule in words; it was written down before any run that it decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dubcli.evaluation.costs import CPU_TIME, PEAK_MEMORY
from dubcli.evaluation.settings import CROSS_CLIP, CROSS_SPEECH, RECONSTRUCTION

MOST_LOST_LIPS, MOST_LEAKAGE = 0.02, 0.05
MOST_MEMORY_BYTES, MOST_TIME = 1.5e9, 1.5
_TIMED_AGAINST = "iptalker"


@dataclass(frozen=True, kw_only=True)
class DefaultChoice:
    """What the rule says.

    Attributes:
        model: The model that should dub by default.
        line: That, and why, in one line.
        refused: Models that a gate leaves out, and why.
        ranks: Mean rank of the others, 1 is the best.
    """

    model: str
    line: str
    refused: Mapping[str, str]
    ranks: Mapping[str, float]


@dataclass(frozen=True)
class _Interval:
    """A figure and its interval, less is better."""

    mean: float
    low: float
    high: float

    def is_below(self, other: _Interval) -> bool:
        """Whether all of it is better than all of the other one."""
        return self.high < other.low


def _higher(one: _Interval) -> _Interval:
    return _Interval(-one.mean, -one.high, -one.low)


def _as_it_is(one: _Interval) -> _Interval:
    return one


def _near_one(one: _Interval) -> _Interval:
    """How many times too much or too little, as |ln|."""
    mean, low, high = (math.log(max(value, 1e-6)) for value in (one.mean, one.low, one.high))
    far = max(abs(low), abs(high))
    near = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    return _Interval(abs(mean), near, far)


# What is ranked: its name in words, run, key, and how its interval is read.
_RANKED: tuple[tuple[str, str, str, Callable[[_Interval], _Interval]], ...] = (
    ("cross r", CROSS_CLIP, "r_other_own_offset", _higher),
    ("LMD", RECONSTRUCTION, "lmd", _as_it_is),
    ("texture", RECONSTRUCTION, "texture", _near_one),
    ("motion", RECONSTRUCTION, "motion", _near_one),
)


def choose_default(content: Mapping[str, Any]) -> DefaultChoice | None:
    """The default model by what `scores.json` holds.

    Args:
        content: As `tables.as_json` makes it.

    Returns:
        None where fewer than two models were scored, or today's default was not.
    """
    models, today = list(content.get("models", [])), content.get("default_model", "")
    if len(models) < 2 or today not in models:
        return None
    reasons = {model: _refusal(content, model, models, today) for model in models}
    refused = {model: reason for model, reason in reasons.items() if reason}
    passed = [model for model in models if not reasons[model]]
    ranks = _mean_ranks(content, passed)
    model, why = _winner(content, ranks, today, refused)
    verdict = f"{today} stays" if model == today else f"{model} in place of {today}"
    left = "; ".join(f"{name}: {reason}" for name, reason in refused.items() if name != today)
    line = f"default model: {verdict}: {why}." + (f" Left out by a gate: {left}." if left else "")
    return DefaultChoice(model=model, line=line, refused=refused, ranks=ranks)


def _winner(
    content: Mapping[str, Any], ranks: Mapping[str, float], today: str, refused: Mapping[str, str]
) -> tuple[str, str]:
    if not ranks:
        return today, f"no model passes all gates; its own fault: {refused[today]}"
    best = min(ranks, key=lambda model: (ranks[model], model != today))
    if today not in ranks:
        return (
            best,
            f"best mean rank, {ranks[best]:.2f}, and today's fails a gate: {refused[today]}",
        )
    if best == today:
        return (
            today,
            f"no other model that passes the gates has a better mean rank than {ranks[today]:.2f}",
        )
    against = f"mean rank {ranks[best]:.2f} of {best} against {ranks[today]:.2f}"
    better, worse = _certain(content, best, today), _certain(content, today, best)
    if not better:
        return today, f"{against}, but the intervals overlap in all that it is better in"
    if worse:
        return today, f"{against}, but it is certainly worse in {', '.join(worse)}"
    return (
        best,
        f"{against}, certainly better in {', '.join(better)} and certainly worse in nothing",
    )


def _refusal(content: Mapping[str, Any], model: str, models: Sequence[str], today: str) -> str:
    """Which gate a model does not pass; '' where it passes all."""
    lost = _worst_person(content, model, "lip_colour")
    if lost is None:
        return "lost lips were not measured"
    if lost[1] > MOST_LOST_LIPS:
        return f"{lost[0]} loses the lips in {100 * lost[1]:.1f} % of the frames"
    leaks = [_figure(content, run, model, "leakage_r") for run in (CROSS_SPEECH, CROSS_CLIP)]
    told = [one for one in leaks if one is not None]
    if not told:
        return "leakage was not measured"
    # A mean over few clips is not 0 by chance alone; what counts is what is certain.
    if max(one.low for one in told) > MOST_LEAKAGE:
        worst = max(told, key=lambda one: one.low)
        return f"leakage {worst.mean:.2f} ({worst.low:.2f} to {worst.high:.2f})"
    memory = _figure(content, RECONSTRUCTION, model, PEAK_MEMORY)
    if memory is None:
        return "memory was not measured"
    if memory.mean * 2**20 > MOST_MEMORY_BYTES:
        return f"{memory.mean:.0f} MiB of memory"
    slow = _times_slower(content, model, models, today)
    if slow is None:
        return f"its time against {_TIMED_AGAINST} was not measured"
    if slow > MOST_TIME:
        return f"{slow:.2f} times the time of {_TIMED_AGAINST}"
    lacking = [word for word, run, key, _ in _RANKED if _figure(content, run, model, key) is None]
    return f"{', '.join(lacking)}: not measured" if lacking else ""


def _times_slower(
    content: Mapping[str, Any], model: str, models: Sequence[str], today: str
) -> float | None:
    """Times the processor time of IPTalker: of the default weights, else of the first scored."""
    known = [name for name in (today, *models) if name.split(".")[0] == _TIMED_AGAINST]
    own, other = (
        _figure(content, RECONSTRUCTION, name, CPU_TIME) for name in (model, (known or [""])[0])
    )
    if own is None or other is None or other.mean <= 0:
        return None
    return own.mean / other.mean


def _mean_ranks(content: Mapping[str, Any], models: Sequence[str]) -> dict[str, float]:
    """Mean over the ranked figures of each model's rank, ties sharing theirs."""
    if not models:
        return {}
    ranks = np.zeros(len(models))
    for _, run, key, read in _RANKED:
        values = np.array([read(_known(content, run, model, key)).mean for model in models])
        less = (values[None] < values[:, None]).sum(1)
        same = (values[None] == values[:, None]).sum(1)
        ranks += less + (same + 1) / 2
    return dict(zip(models, (ranks / len(_RANKED)).tolist(), strict=True))


def _certain(content: Mapping[str, Any], model: str, other: str) -> list[str]:
    """In which ranked figures a model's whole interval is better than another's."""
    return [
        word
        for word, run, key, read in _RANKED
        if read(_known(content, run, model, key)).is_below(read(_known(content, run, other, key)))
    ]


def _known(content: Mapping[str, Any], run: str, model: str, key: str) -> _Interval:
    found = _figure(content, run, model, key)
    assert found is not None  # gates refuse models that lack one
    return found


def _figure(content: Mapping[str, Any], run: str, model: str, key: str) -> _Interval | None:
    stated = content.get("means", {}).get(run, {}).get(model, {}).get(key, {})
    mean = stated.get("mean")
    if mean is None:
        return None
    low, high = stated.get("low"), stated.get("high")
    return _Interval(mean, mean if low is None else low, mean if high is None else high)


def _worst_person(content: Mapping[str, Any], model: str, key: str) -> tuple[str, float] | None:
    """The person with the highest mean over their clips in any run."""
    values: dict[tuple[str, str], list[float]] = {}
    for item in content.get("clips", []):
        value = item["scores"].get(key)
        if item["system"] == model and value is not None:
            values.setdefault((item["identity"], item["run"]), []).append(value)
    means = {place: sum(several) / len(several) for place, several in values.items()}
    if not means:
        return None
    worst = max(means, key=lambda place: means[place])
    return worst[0], means[worst]
