"""All figures of an evaluation: their means, and how they are written down."""

from __future__ import annotations

import json
import math
import shlex
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from dubcli.config import EvaluateConfig
from dubcli.core.formatting import plain_text
from dubcli.evaluation.default_choice import choose_default
from dubcli.evaluation.identity_systems import IdentitySystem
from dubcli.evaluation.measures import Measure, measures_of
from dubcli.evaluation.result_alignment import notes_on
from dubcli.evaluation.result_videos import ResultVideos
from dubcli.evaluation.results import Item, to_json, write_text
from dubcli.evaluation.settings import (
    CROSS_CLIP,
    CROSS_SPEECH,
    RECONSTRUCTION,
    RUNS,
    SILENCE,
)
from dubcli.evaluation.source import HALF_SHARE, REFERENCE_SHARE
from dubcli.metrics import fid
from dubcli.metrics.statistics import bootstrap_mean

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class MeanEstimate:
    """A mean over people, its 95 % interval, and over how many people; NaN where not measured.

    A figure of a whole set has no interval but the number of frames that it rests on.
    """

    mean: float
    low: float
    high: float
    people: int
    frames: int = 0


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What `dub evaluate` found.

    Attributes:
        config: What was asked for.
        items: Every scored result.
        failures: What could not be scored, and why.
        missing: Commands that get the weights of what was not measured, by group.
        files: sha256 of the scoring networks, by file name.
        has_judge: The own judge of sync took part.
        has_style: The own style encoder took part.
        weights: sha256 of each model's weights, or of an identity's adapter; None for a baseline
            and for a folder of identities.
        identities: The systems among them that are identities.
        results: Those that are videos of other tools.
        models: Those that are models.
        default_model: The one that dubs where nobody names a model.
        absent: Why an architecture is not scored, where all were asked for.
        costs: Figures of a whole system by its name and their keys.
        version: Of this program.
        sets: FID by run and system.
    """

    config: EvaluateConfig
    items: list[Item]
    failures: dict[str, str] = field(default_factory=dict[str, str])
    missing: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    files: dict[str, str] = field(default_factory=dict[str, str])
    has_judge: bool = False
    has_style: bool = False
    weights: dict[str, str | None] = field(default_factory=dict[str, "str | None"])
    identities: list[IdentitySystem] = field(default_factory=list[IdentitySystem])
    results: list[ResultVideos] = field(default_factory=list[ResultVideos])
    models: list[str] = field(default_factory=list[str])
    default_model: str = ""
    absent: tuple[str, ...] = ()
    costs: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    version: str = ""
    sets: dict[tuple[str, str], fid.SetScore] = field(
        default_factory=dict[tuple[str, str], fid.SetScore]
    )

    @property
    def runs(self) -> list[str]:
        """The runs that have items."""
        present = {item.run for item in self.items}
        return [run for run in RUNS if run in present]

    def systems(self, run: str) -> list[str]:
        """The systems that were scored in a run, models first."""
        present = {item.system for item in self.items if item.run == run}
        return [name for name in self.weights if name in present]

    def estimate(self, run: str, system: str, key: str) -> MeanEstimate:
        """Mean of a figure; clips of one person count together as one."""
        if key == fid.KEY:
            return self._of_set(run, system)
        if key in self.costs.get(system, {}):
            return MeanEstimate(self.costs[system][key], math.nan, math.nan, people=0)
        by_person: dict[str, list[float]] = defaultdict(list)
        for item in self.items:
            value = item.scores.get(key, math.nan)
            if item.run == run and item.system == system and not math.isnan(value):
                by_person[item.identity].append(value)
        means = [sum(values) / len(values) for values in by_person.values()]
        return MeanEstimate(*bootstrap_mean(means, seed=self.config.seed), people=len(means))

    def _of_set(self, run: str, system: str) -> MeanEstimate:
        found = self.sets.get((run, system), fid.SetScore(math.nan, 0, 0))
        return MeanEstimate(found.distance, math.nan, math.nan, found.people, found.frames)


def with_silence_against_speech(items: Sequence[Item]) -> list[Item]:
    """Items whose silence is set against the same system's reconstruction of the same clip."""
    spoken = {
        (item.clip, item.system): item.scores.get("opening_std", math.nan)
        for item in items
        if item.run == RECONSTRUCTION
    }
    done: list[Item] = []
    for item in items:
        speech = spoken.get((item.clip, item.system), math.nan)
        if item.run == SILENCE and speech > 0:
            ratio = item.scores.get("opening_std", math.nan) / speech
            item = replace(item, scores={**item.scores, "silence_motion": ratio})
        done.append(item)
    return done


def about(run: str, config: EvaluateConfig) -> str:
    """What drives in a run, and which frames are scored."""
    first = round(100 * (HALF_SHARE if config.half else REFERENCE_SHARE))
    parts = f"Lips are scored on all frames, pictures on the last {100 - first} %."
    return {
        RECONSTRUCTION: "The clip's own sound drives. References come from the first "
        f"{first} % of the frames, or with an identity; scores from the rest.",
        CROSS_SPEECH: f"A foreign recording drives. {parts}",
        CROSS_CLIP: "The sound of another clip of the set drives, whose true mouth is known. "
        f"{parts}",
        SILENCE: "Silence drives. The mouth should rest. Scored on the last "
        f"{100 - first} % of the frames.",
    }[run]


def table_rows(result: Evaluation, run: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a run's table: a row a figure, a column a system."""
    systems = result.systems(run)
    header = ["measure", "region", "unit", "right", *systems]
    rows: list[list[str]] = []
    for measure in measures_of(run):
        cells = [_cell(system, run, measure, result) for system in systems]
        rows.append([measure.title, measure.region, measure.unit, measure.better, *cells])
    return header, rows


def how_to_measure(result: Evaluation) -> list[str]:
    """What was not measured for lack of weights, and the commands that get them."""
    own = {"sync judge": result.has_judge, "style encoder": result.has_style}
    lines = [
        f"{name}: this installation has no weights of it"
        for name, is_there in own.items()
        if not is_there
    ]
    for group, commands in result.missing.items():
        lines.append(f"{group}: {' && '.join(commands)}")
    return lines


def notes(result: Evaluation) -> list[str]:
    """What is to be told of models that are absent, and of the videos of other tools."""
    lines = list(result.absent)
    lines += notes_on(
        [
            (item.system, item.run, item.facts["alignment"])
            for item in result.items
            if "alignment" in item.facts
        ]
    )
    for videos in result.results:
        num, names = len(videos.unmatched), ", ".join(videos.unmatched[:3])
        if num:
            more = ", ..." if num > 3 else ""
            lines.append(
                f"{videos.name}: {num} videos belong to no clip of a chosen setting: {names}{more}."
            )
    return lines


def command_line(config: EvaluateConfig) -> str:
    """The command that gives the same figures."""
    words = ["dub", "evaluate", str(config.clips)]
    for entry in fields(config)[1:]:
        value = getattr(config, entry.name)
        if value == entry.default or entry.name in ("keep", "overwrite"):
            continue
        flag = f"--{entry.name.replace('_', '-')}"
        for one in value if isinstance(value, tuple) else (value,):
            words += [flag] if one is True else [flag, str(one)]
    return shlex.join(words)


def default_line(result: Evaluation) -> str:
    """Which model should dub by default, and why; '' where the models cannot tell."""
    return as_json(result)["default_choice"].get("line", "")


def as_json(result: Evaluation) -> dict[str, Any]:
    """Everything but the openings, as JSON-ready values."""
    content = to_json(_content(result))
    choice = choose_default(content)
    return {**content, "default_choice": {} if choice is None else to_json(asdict(choice))}


def _content(result: Evaluation) -> dict[str, Any]:
    means = {
        run: {
            system: {
                measure.key: _estimate_json(result.estimate(run, system, measure.key))
                for measure in measures_of(run)
            }
            for system in result.systems(run)
        }
        for run in result.runs
    }
    return {
        "version": result.version,
        "command": command_line(result.config),
        "config": result.config.as_json(),
        "weights": result.weights,
        "models": result.models,
        "default_model": result.default_model,
        "identities": {
            system.name: {
                "path": str(system.path),
                "adapters": {name: one.adapter_sha256 for name, one in system.of_clip.items()},
            }
            for system in result.identities
        },
        "results": {
            videos.name: {
                "folder": str(videos.folder),
                "videos": len(videos.of_item),
                "unmatched": list(videos.unmatched),
            }
            for videos in result.results
        },
        "notes": notes(result),
        "networks": result.files,
        "measures": {run: [_measure_json(m) for m in measures_of(run)] for run in result.runs},
        "means": means,
        "clips": [
            {
                **{name: getattr(item, name) for name in ("clip", "identity", "run", "system")},
                "scores": item.scores,
                "facts": item.facts,
            }
            for item in result.items
        ],
        "failures": result.failures,
        "not_measured": {**result.missing},
    }


def as_markdown(result: Evaluation) -> str:
    """The report: a table of means for each run, then one of clips."""
    people = len({item.identity for item in result.items})
    clips = len({item.clip for item in result.items})
    lines = [
        "# Scores",
        "",
        f"`{command_line(result.config)}` (dub {result.version})",
        "",
        f"{clips} clips of {people} people. Means over people with the 95 % interval of the mean "
        f"(bootstrap, seed {result.config.seed}). What each figure means: docs/evaluation.md.",
        "",
    ]
    learned = {system.name: system for system in result.identities}
    lines += [f"- {videos.name}: videos of `{videos.folder}`" for videos in result.results]
    for name, sha256 in result.weights.items():
        if name in learned:
            lines += [f"- {name}: {_identity_line(learned[name])}"]
        elif sha256:
            lines += [f"- {name}: sha256 `{sha256}`"]
    for run in result.runs:
        lines += ["", f"## {run.capitalize()}", "", about(run, result.config), ""]
        lines += _markdown_table(*table_rows(result, run))
        lines += ["", "By clip:", "", *_markdown_table(*_clip_rows(result, run))]
    chosen = default_line(result)
    lines += ["", f"**{chosen[0].upper()}{chosen[1:]}** (docs/comparison.md)"] if chosen else []
    if notes(result):
        lines += ["", "## Notes", "", *(f"- {line}" for line in notes(result))]
    if result.failures:
        lines += ["", "## Not scored", ""]
        lines += [f"- {what}: {why}" for what, why in result.failures.items()]
    missing = how_to_measure(result)
    if missing:
        lines += ["", "## Not measured", ""]
        lines += [f"- {line}" for line in missing]
    # What browsers take for HTML, in names and messages of others, stays text.
    return "\n".join(plain_text(line).replace("<", "&lt;") for line in lines) + "\n"


def _identity_line(system: IdentitySystem) -> str:
    bases = ", ".join(sorted({one.base for one in system.of_clip.values()}))
    if system.is_folder:
        return (
            f"each clip its own identity of `{system.path}`, {len(system.of_clip)} in all; {bases}"
        )
    (sha256,) = {one.adapter_sha256 for one in system.of_clip.values()}
    return f"identity `{system.path}` on {bases}, adapter's sha256 `{sha256}`"


def write_tables(result: Evaluation, folder: Path) -> None:
    """Write `scores.json` and `scores.md`.

    Raises:
        EncodeError: The folder cannot be written.
    """
    write_text(folder / "scores.json", json.dumps(as_json(result), indent=1) + "\n")
    write_text(folder / "scores.md", as_markdown(result))


def _clip_rows(result: Evaluation, run: str) -> tuple[list[str], list[list[str]]]:
    known = [
        measure
        for measure in measures_of(run)
        if any(
            not math.isnan(item.scores.get(measure.key, math.nan))
            for item in result.items
            if item.run == run
        )
    ]
    header = ["clip", "system", *(f"{measure.key} ({measure.better})" for measure in known)]
    rows = [
        [item.clip, item.system, *(_number(item.scores.get(m.key, math.nan)) for m in known)]
        for item in result.items
        if item.run == run
    ]
    return header, rows


def _markdown_table(header: list[str], rows: list[list[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(map(_markdown_cell, line))} |" for line in lines]


def _markdown_cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


def _cell(system: str, run: str, measure: Measure, result: Evaluation) -> str:
    estimate = result.estimate(run, system, measure.key)
    if math.isnan(estimate.mean):
        lacking = measure.weights in result.missing
        own = {"judge": result.has_judge, "style": result.has_style}
        lacking = lacking or not own.get(measure.weights, True)
        lacking = lacking or (measure.weights == "memory" and system in result.models)
        return NOT_MEASURED if lacking else "-"
    if estimate.frames:
        return f"{_number(estimate.mean)} ({estimate.frames} frames)"
    if estimate.people <= 1 or estimate.low == estimate.high:
        return _number(estimate.mean)
    return f"{_number(estimate.mean)} ({_number(estimate.low)} to {_number(estimate.high)})"


def _number(value: float) -> str:
    """Three digits or so; whole numbers without any behind the point."""
    if math.isnan(value):
        return "-"
    if value == 0 or abs(value) >= 1000:
        return f"{value:.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.3f}" if abs(value) < 0.1 else f"{value:.2f}"


def _estimate_json(estimate: MeanEstimate) -> dict[str, Any]:
    values = {name: getattr(estimate, name) for name in ("mean", "low", "high", "people")}
    return {**values, "frames": estimate.frames} if estimate.frames else values


def _measure_json(measure: Measure) -> dict[str, str]:
    return {name: getattr(measure, name) for name in ("key", "title", "region", "unit", "better")}
