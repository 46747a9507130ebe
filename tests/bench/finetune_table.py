"""What does learning a person give? Table II of IPTalker (arXiv:2501.04586) for this project.

`python tests/bench/finetune_table.py --clips DIR --catalogue CSV --speech DIR --out DIR`

Learns every clip from its first half and keeps an identity at each number of steps, in
`OUT/identities/STEPS/CLIP`. Then `dub evaluate --half` scores the model as it is (step 0) and each
number of steps on the second halves, in reconstruction and under other sound. `OUT/table.md` has a
row for each number of steps, then the same as differences from step 0, clip by clip; `table.json`
has every clip. An interrupted run goes on: what was learned or scored is kept.

Only clips that have an identity at every number of steps count, so that all rows show the same
clips; the others are named with the reason. A clip whose sound is not its own has no true mouth, so
it counts only where none is needed: texture, motion, flicker, cross.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dubcli
from dubcli.config import EvaluateConfig
from dubcli.core.errors import DubError
from dubcli.evaluation.clips import EvalClip, list_clips
from dubcli.evaluation.measures import MEASURES
from dubcli.evaluation.results import Item, to_json
from dubcli.evaluation.run import evaluate
from dubcli.evaluation.settings import CROSS_CLIP, CROSS_SPEECH, RECONSTRUCTION
from dubcli.evaluation.tables import Evaluation, MeanEstimate, how_to_measure
from dubcli.paper_tables.learned_rows import ClipLearning, complete, learn_clip
from dubcli.personalize.run import CHECK_EVERY
from dubcli.weights.resolve import resolve

SETTINGS = "reconstruction,cross"
TEXTURE_LOG = "texture_log"


@dataclass(frozen=True)
class Column:
    """One figure of the table.

    Attributes:
        title: With region, unit and, in brackets, what is best.
        run: As in `evaluation.settings.RUNS`.
        key: Name of the score.
    """

    title: str
    run: str
    key: str

    @property
    def name(self) -> str:
        """What the JSON calls it."""
        return f"{self.run}.{self.key}"


COLUMNS = (
    Column("PSNR, mouth box, dB (high)", RECONSTRUCTION, "psnr_mouth"),
    Column("SSIM, mouth box (high)", RECONSTRUCTION, "ssim_mouth"),
    Column("LPIPS, Alex (low)", RECONSTRUCTION, "lpips_alex"),
    Column("LPIPS, VGG (low)", RECONSTRUCTION, "lpips_vgg"),
    Column("texture, energy ratio (1)", RECONSTRUCTION, "texture"),
    Column("texture, abs ln of it (0)", RECONSTRUCTION, TEXTURE_LOG),
    Column("r, own offset corrected (high)", RECONSTRUCTION, "r_own_offset"),
    Column("LMD, eye distances (low)", RECONSTRUCTION, "lmd"),
    Column("motion, ratio (1)", RECONSTRUCTION, "motion"),
    Column("flicker, ratio (1)", RECONSTRUCTION, "flicker"),
    Column("LSE-C (high)", RECONSTRUCTION, "lse_c"),
    Column("LSE-D (low)", RECONSTRUCTION, "lse_d"),
    Column("cross: r with the sound's true mouth (high)", CROSS_CLIP, "r_other_own_offset"),
    Column("leakage, speech (0)", CROSS_SPEECH, "leakage_r"),
    Column("leakage, clips (0)", CROSS_CLIP, "leakage_r"),
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """The table at one number of steps: an estimate by column name."""

    steps: int
    scores: dict[str, MeanEstimate]


@dataclass(frozen=True, kw_only=True)
class Table:
    """What goes into `table.md` and `table.json`.

    Attributes:
        rows: A row for each number of steps.
        gains: Differences from step 0, taken clip by clip; empty without step 0.
        columns: Those that were measured.
        clips: Names of the clips that count.
        people: How many they show.
    """

    rows: list[Row]
    gains: list[Row]
    columns: list[Column]
    clips: list[str]
    people: int


def main() -> int:
    """Learn, score, write the table."""
    job = _parse()
    began = time.perf_counter()
    try:
        clips = list_clips(_config(job))
        excuses = learn_all(job, clips)
        result = _score(job, [clip.name for clip in clips])
    except DubError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    table = make_table(result, systems_of(job))
    notes = _notes(result, excuses, table, time.perf_counter() - began)
    text = as_markdown(table, notes)
    job.out.joinpath("table.md").write_text(text, encoding="utf-8")
    content = as_json(table, result, notes)
    job.out.joinpath("table.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    print(text)
    return 0


def learn_all(job: argparse.Namespace, clips: Sequence[EvalClip]) -> dict[str, str]:
    """Learn every clip that lacks an identity; returns why clips have none, by name."""
    learning, excuses = learning_of(job), dict[str, str]()
    wanted = [clip for clip in clips if not learning.has(clip.name)]
    for clip, why in _in_processes(job.jobs, _learn, [(learning, clip) for clip in wanted]):
        if why:
            print(f"{clip}: {why}", file=sys.stderr)
            excuses[clip] = why
    return excuses


def learning_of(job: argparse.Namespace) -> ClipLearning:
    """How the clips are learned, and where identities lie."""
    return ClipLearning(
        folder=job.out,
        model=job.model,
        steps=tuple(steps for steps in job.steps if steps),
        device=job.device,
        threads=job.threads,
    )


def systems_of(job: argparse.Namespace) -> dict[int, str]:
    """What `dub evaluate` calls each row."""
    return {steps: str(steps) if steps else resolve(job.model).name for steps in job.steps}


def _learn(learning: ClipLearning, clip: EvalClip) -> tuple[str, str]:
    """Learn a clip in this process; returns its name and why it failed."""
    began = time.perf_counter()
    why = learn_clip(learning, clip, _teller(clip.name))
    if not why:
        print(f"{clip.name}: learned in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return clip.name, why


def _config(job: argparse.Namespace) -> EvaluateConfig:
    folders = [learning_of(job).identities(steps) for steps in job.steps if steps]
    return EvaluateConfig(
        clips=job.clips,
        output=job.out / "scores",
        settings=SETTINGS,
        models=job.model if 0 in job.steps else "",
        identities=",".join(map(str, folders)),
        baselines="",
        half=True,
        catalogue=job.catalogue,
        speech=job.speech,
        weights=job.weights,
        limit=job.limit,
        device=job.device,
        threads=job.threads,
        keep=job.keep,
    )


def _score(job: argparse.Namespace, names: list[str]) -> Evaluation:
    """Score all clips, in as many processes as clips may be learned at a time."""
    config = _config(job)
    if job.jobs > 1:
        parts = [(config, names[first :: job.jobs]) for first in range(min(job.jobs, len(names)))]
        _in_processes(job.jobs, _score_part, parts)
    # Goes on from what the processes have scored.
    return evaluate(config, _teller("all"))


def _score_part(config: EvaluateConfig, names: list[str]) -> None:
    try:
        evaluate(config, _teller(names[0]), only=names)
    except DubError as error:
        # The last run over all of them meets it again, and says so.
        print(error, file=sys.stderr)


def _in_processes(
    num: int, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]
) -> list[Any]:
    """Call a function with each tuple, in fresh processes, `num` at a time."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num, context, max_tasks_per_child=1) as pool:
        return [
            done.result() for done in as_completed(pool.submit(function, *a) for a in arguments)
        ]


def _teller(name: str) -> Callable[[str, int, int], None]:
    """Progress as a line every half minute."""
    last = time.monotonic()

    def tell(stage: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > 30:
            last = time.monotonic()
            print(f"{name}: {stage} {done}/{total or '?'}", file=sys.stderr)

    return tell


def make_table(result: Evaluation, systems: dict[int, str]) -> Table:
    """Means over people of the clips that every system has dubbed.

    Args:
        result: What `evaluate` found.
        systems: Name of the system for each number of steps; 0 is what gains are told against.
    """
    result = replace(result, items=_with_texture_log(complete(result.items, systems.values())))
    columns = [c for c in COLUMNS if any(_known(item, c) for item in result.items)]
    rows = _rows(result, systems, columns)
    gains: list[Row] = []
    if 0 in systems:
        apart = replace(result, items=against(result.items, systems[0]))
        later = {steps: name for steps, name in systems.items() if steps}
        gains = _rows(apart, later, columns)
    return Table(
        rows=rows,
        gains=gains,
        columns=columns,
        clips=list(dict.fromkeys(item.clip for item in result.items)),
        people=len({item.identity for item in result.items}),
    )


def against(items: Sequence[Item], first: str) -> list[Item]:
    """Items with differences from another system's scores of the same clip and run."""
    base = {(item.clip, item.run): item.scores for item in items if item.system == first}
    return [
        replace(
            item,
            scores={
                key: value - base[item.clip, item.run].get(key, math.nan)
                for key, value in item.scores.items()
            },
        )
        for item in items
    ]


def _with_texture_log(items: Sequence[Item]) -> list[Item]:
    """Items that also tell how far texture is from 1, whichever way: means of ratios hide it."""
    done: list[Item] = []
    for item in items:
        texture = item.scores.get("texture", math.nan)
        distance = abs(math.log(texture)) if texture > 0 else math.nan
        done.append(replace(item, scores={**item.scores, TEXTURE_LOG: distance}))
    return done


def _known(item: Item, column: Column) -> bool:
    return item.run == column.run and not math.isnan(item.scores.get(column.key, math.nan))


def _rows(result: Evaluation, systems: dict[int, str], columns: Sequence[Column]) -> list[Row]:
    return [
        Row(
            steps=steps,
            scores={c.name: result.estimate(c.run, system, c.key) for c in columns},
        )
        for steps, system in systems.items()
    ]


def as_markdown(table: Table, notes: Sequence[str]) -> str:
    """The table, its differences from step 0, and what is to be said about it."""
    lines = [
        "# What learning a person gives",
        "",
        f"{len(table.clips)} clips of {table.people} people: learned from the first half of the "
        "frames. Pictures and reconstruction are scored on the second half, lips under other "
        "sound on all frames. Means over people with the 95 % interval of the mean (bootstrap).",
        "",
        *_means(table),
        "",
        "With intervals:",
        "",
        *_lines(table.columns, table.rows, sign=""),
    ]
    if table.gains:
        lines += ["", "Differences from step 0, clip by clip:", ""]
        lines += _lines(table.columns, table.gains, sign="+")
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]) + "\n"


def _means(table: Table) -> list[str]:
    """A row for each number of steps, as in the paper."""
    cells = [["steps", *(column.title for column in table.columns)]]
    cells.append(["---"] * len(cells[0]))
    for row in table.rows:
        means = (row.scores[column.name].mean for column in table.columns)
        cells.append([str(row.steps), *(_number(mean, "") for mean in means)])
    return [f"| {' | '.join(line)} |" for line in cells]


def _lines(columns: Sequence[Column], rows: Sequence[Row], sign: str) -> list[str]:
    """A row for each figure and a column for each number of steps: that fits a page."""
    cells = [["score", *(f"{row.steps} steps" for row in rows)], ["---", *("---" for _ in rows)]]
    for column in columns:
        cells.append([column.title, *(_cell(row.scores[column.name], sign) for row in rows)])
    return [f"| {' | '.join(line)} |" for line in cells]


def _cell(estimate: MeanEstimate, sign: str) -> str:
    mean, low, high = (_number(x, sign) for x in (estimate.mean, estimate.low, estimate.high))
    return mean if estimate.people < 2 else f"{mean} ({low} to {high})"


def _number(value: float, sign: str) -> str:
    digits = 2 if abs(value) >= 10 else 3
    return "-" if math.isnan(value) else f"{value:{sign}.{digits}f}"


def as_json(table: Table, result: Evaluation, notes: Sequence[str]) -> dict[str, Any]:
    """The same for programs, with the scores of every clip."""

    def plain(found: MeanEstimate) -> dict[str, float]:
        return {name: getattr(found, name) for name in ("mean", "low", "high", "people")}

    def rows(listed: Sequence[Row]) -> list[dict[str, Any]]:
        return [
            {"steps": row.steps} | {name: plain(found) for name, found in row.scores.items()}
            for row in listed
        ]

    content = {
        "version": dubcli.__version__,
        "weights": result.weights,
        "columns": {column.name: column.title for column in table.columns},
        "rows": rows(table.rows),
        "differences": rows(table.gains),
        "clips": [
            {"clip": item.clip, "run": item.run, "system": item.system, "scores": item.scores}
            for item in _with_texture_log(result.items)
            if item.clip in table.clips
        ],
        "notes": list(notes),
    }
    return to_json(content)


def _notes(result: Evaluation, excuses: dict[str, str], table: Table, seconds: float) -> list[str]:
    left_out = {item.clip for item in result.items} | set(excuses)
    notes = [
        f"{name} does not count: {excuses.get(name, 'not every system dubbed it')}"
        for name in sorted(left_out - set(table.clips))
    ]
    for what, why in result.failures.items():
        if what.split(",")[0] not in excuses:
            notes.append(f"{what} was not scored: {why}")
    shown = {column.name for column in table.columns}
    notes += [f"not measured: {column.title}" for column in COLUMNS if column.name not in shown]
    groups = {measure.key: measure.weights for measure in MEASURES}
    needed = {groups.get(column.key) for column in COLUMNS}
    for line in how_to_measure(result):
        if line.split(":")[0] in {*needed, "sync judge"}:
            notes.append(f"to measure it: {line}")
    return [*notes, f"dub {dubcli.__version__}, {seconds / 60:.0f} minutes in this run"]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clips", type=Path, required=True, help="folder of clips, or a CSV")
    parser.add_argument(
        "--catalogue", type=Path, help="CSV that names people and whose sound it is"
    )
    parser.add_argument("--speech", type=Path, required=True, help="folder of foreign recordings")
    parser.add_argument("--out", type=Path, required=True, help="folder of everything that is made")
    parser.add_argument("--steps", default="0,100,200,300", help="rows, separated by commas")
    parser.add_argument("--model", default=EvaluateConfig.models, help="what is learned upon")
    parser.add_argument("--weights", type=Path, help="folder with the networks of LPIPS and LSE")
    parser.add_argument("--device", default=EvaluateConfig.device, help="of learning and dubbing")
    parser.add_argument("--jobs", type=int, default=1, help="clips at a time")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each")
    parser.add_argument("--limit", type=int, default=0, help="the first clips only; 0 for all")
    parser.add_argument("--keep", action="store_true", help="keep the dubbed videos")
    job = parser.parse_args()
    try:
        job.steps = sorted({int(word) for word in job.steps.split(",")})
    except ValueError:
        parser.error("--steps are whole numbers, separated by commas")
    if job.steps[0] < 0 or job.steps[-1] == 0 or job.jobs < 1:
        parser.error("--steps needs a number above 0, and --jobs is 1 or more")
    uneven = [steps for steps in job.steps[:-1] if steps % CHECK_EVERY]
    if uneven:
        parser.error(
            f"--steps: {uneven[0]} is no multiple of {CHECK_EVERY}, as all but the last are"
        )
    if "," in str(job.out):
        parser.error("the name of --out may hold no comma")
    job.out.mkdir(parents=True, exist_ok=True)
    return job


if __name__ == "__main__":
    sys.exit(main())
