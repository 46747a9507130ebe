"""`dub tables`: each table of a model's paper, as far as it can be made here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from dubcli import __version__
from dubcli.config import TablesConfig
from dubcli.core.atomic_io import make_folder
from dubcli.core.errors import ConfigError, TrainingError
from dubcli.core.progress import Progress, no_progress
from dubcli.evaluation.results import write_text
from dubcli.models.architecture import load_part
from dubcli.models.paper_table import (
    Dubbed,
    FineTuned,
    InUse,
    NotMade,
    OtherTool,
    PaperRow,
    PaperTable,
    TrainedNetwork,
)
from dubcli.models.registry import find_architecture, model_names
from dubcli.paper_tables.dubbed_rows import (
    check_tools,
    dubbed_key,
    make_dubbed_rows,
    tool_of,
)
from dubcli.paper_tables.learned_rows import learned_key, make_learned_rows
from dubcli.paper_tables.row_store import MadeRow, known_row, load_row, row_path, save_row
from dubcli.paper_tables.row_work import FATAL, RowWork
from dubcli.paper_tables.table_text import (
    ShownRow,
    ShownTable,
    TablesReport,
    as_json,
    as_markdown,
    need_of,
)
from dubcli.paper_tables.trained_rows import (
    in_use_key,
    make_in_use_row,
    make_trained_row,
    trained_key,
)
from dubcli.pipeline.engine import Engine, engine_for
from dubcli.weights.entry import WeightEntry
from dubcli.weights.resolve import resolve

_NOT_ASKED = "not asked for in this run"


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A row of a table and where its result lies."""

    table: PaperTable
    row: PaperRow
    path: Path


def tables_of(architecture: str) -> tuple[PaperTable, ...]:
    """The tables of a model's paper.

    Raises:
        ConfigError: There is no such model, or its package names none.
    """
    place = find_architecture(architecture).tables
    if place is None:
        known = [name for name in model_names() if find_architecture(name).tables is not None]
        raise ConfigError(f"'{architecture}' has no tables.", f"Known: {', '.join(known)}.")
    return load_part(place)


def list_tables(config: TablesConfig) -> TablesReport:
    """The tables with the paper's figures, and what each row takes; nothing is made.

    Raises:
        ConfigError: Unknown model, table or row.
    """
    entry = _entry(config)
    tables = tables_of(entry.architecture)
    wanted = _wanted(config, tables)
    shown = tuple(
        ShownTable(
            table=table,
            rows=tuple(
                ShownRow(row=row, made=None, reason=need_of(row))
                for row in table.rows
                if (table.name, row.name) in wanted
            ),
        )
        for table in tables
        if any(name == table.name for name, _ in wanted)
    )
    return TablesReport(model=entry.name, tables=shown, version=__version__)


def make_tables(
    config: TablesConfig,
    progress: Progress | None = None,
    tell: Callable[[str], None] = lambda text: None,
    *,
    engine: Engine | None = None,
) -> TablesReport:
    """Make the rows of a paper's tables that lack here; an interrupted run goes on.

    Args:
        config: What to do.
        progress: Called as (stage, done, total).
        tell: Takes a line on each row.
        engine: Holds loaded models; one for this call alone by default.

    Returns:
        All tables that were asked for; `MODEL.md` and `MODEL.json` of the output folder hold all
        of the model's, each row as it stands.

    Raises:
        ConfigError: Unknown model, table or row, a folder that is not there, a row of an earlier
            run with other settings.
        TrainingError: A prepared set cannot be used.
        WeightsError: Weights are missing or damaged.
        DubError: Dubs cannot be scored, the results cannot be written.
    """
    assert config.output is not None
    entry = _entry(config)
    tables = tables_of(entry.architecture)
    wanted = _wanted(config, tables)
    tools = [row.recipe.name for t in tables for row in t.rows if isinstance(row.recipe, OtherTool)]
    check_tools(config.results, tools)
    with engine_for(engine, config.device, config.threads) as held:
        work = RowWork(
            config=config,
            output=config.output,
            entry=entry,
            engine=held,
            tell=tell,
            progress=progress or no_progress,
        )
        places = [
            _Place(
                table=table,
                row=row,
                path=row_path(config.output, entry.architecture, table.name, row.name),
            )
            for table in tables
            for row in table.rows
        ]
        chosen = [one for one in places if (one.table.name, one.row.name) in wanted]
        reasons = _make_all(chosen, work)
        report = _report(places, reasons, work)
    stem = config.output / entry.architecture
    write_text(stem.with_suffix(".md"), as_markdown(report))
    write_text(stem.with_suffix(".json"), json.dumps(as_json(report), indent=1) + "\n")
    return _only_chosen(report, wanted)


def _entry(config: TablesConfig) -> WeightEntry:
    """The weights that are meant.

    Raises:
        ConfigError: No weights have the name.
    """
    entry = resolve(config.model)
    tables_of(entry.architecture)
    return entry


def _wanted(config: TablesConfig, tables: Sequence[PaperTable]) -> set[tuple[str, str]]:
    """Names of table and row of all that is asked for.

    Raises:
        ConfigError: No table or row is called so.
    """
    every = {table.name: [row.name for row in table.rows] for table in tables}
    if not config.only:
        return {(table, row) for table, rows in every.items() for row in rows}
    wanted: set[tuple[str, str]] = set()
    for given in config.only:
        table, _, row = given.partition("/")
        if table not in every:
            raise ConfigError(f"Unknown table '{table}'.", _hint(table, list(every)))
        if row and row not in every[table]:
            raise ConfigError(f"'{table}' has no row '{row}'.", _hint(row, every[table]))
        wanted |= {(table, name) for name in every[table] if row in ("", name)}
    return wanted


def _hint(word: str, known: Sequence[str]) -> str:
    close = get_close_matches(word, known, n=1)
    return f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(known)}."


def _lacking(row: PaperRow, config: TablesConfig) -> str:
    """Why a row cannot be made with what was given; '' where it can."""
    match row.recipe:
        case NotMade():
            return need_of(row)
        case OtherTool(name=name):
            has_all = config.clips is not None and name in map(tool_of, config.results)
        case Dubbed() | FineTuned():
            has_all = config.clips is not None
        case TrainedNetwork():
            has_all = config.train is not None
        case InUse():
            has_all = config.dev is not None
    return "" if has_all else need_of(row)


def _key(row: PaperRow, work: RowWork) -> Mapping[str, Any]:
    """What a row depends on. Raises DubError where its inputs are not there."""
    match row.recipe:
        case Dubbed() | OtherTool():
            return dubbed_key(row.recipe, work)
        case FineTuned():
            return learned_key(row.recipe, work)
        case TrainedNetwork():
            return trained_key(row.recipe, work)
        case InUse():
            return in_use_key(row.recipe, work)
        case NotMade():
            return {}


def _make_all(chosen: Sequence[_Place], work: RowWork) -> dict[Path, str]:
    """Make what lacks; returns why rows were not made, by their paths.

    Everything that can be wrong with what was given is found before the first row is made.
    """
    config = work.config
    reasons = {one.path: _lacking(one.row, config) for one in chosen}
    possible = [one for one in chosen if not reasons[one.path]]
    if not possible:
        raise ConfigError(
            "No row can be made with what was given.",
            "Name CLIPS, or --train SET and --dev SET; dub tables MODEL --list tells what each "
            "row needs.",
        )
    kept = [one for one in possible if _is_known(one, work)]
    needed = [one for one in possible if one not in kept]
    _load_sets(needed, work)
    make_folder(work.output)
    for one in kept:
        work.tell(f"{one.table.name}/{one.row.name}: there from an earlier run")
    _make_dubs(needed, work)
    for one in needed:
        recipe = one.row.recipe
        if isinstance(recipe, TrainedNetwork | InUse):
            reasons[one.path] = _make_on_set(one, recipe, work)
    return {path: why for path, why in reasons.items() if why}


def _is_known(place: _Place, work: RowWork) -> bool:
    """Whether an earlier run has made a row, with the same settings. Raises ConfigError."""
    key = _key(place.row, work)
    return not work.config.overwrite and known_row(place.path, key) is not None


def _load_sets(needed: Sequence[_Place], work: RowWork) -> None:
    """Read the prepared sets now, so that one that cannot be used is found at once."""
    kinds = {type(one.row.recipe) for one in needed}
    if kinds & {TrainedNetwork, InUse}:
        _ = work.dev_clips
    if TrainedNetwork in kinds:
        _ = work.train_clips


def _make_dubs(needed: Sequence[_Place], work: RowWork) -> None:
    """All rows that are dubs: in one evaluation, fine-tuned ones in one for each table."""
    dubs = {
        one.path: (one, one.row.recipe)
        for one in needed
        if isinstance(one.row.recipe, Dubbed | OtherTool)
    }
    if dubs:
        # One recipe may stand in several tables.
        recipes = list(dict.fromkeys(recipe for _, recipe in dubs.values()))
        made = dict(zip(recipes, make_dubbed_rows(recipes, work), strict=True))
        for one, recipe in dubs.values():
            _keep(one, made[recipe], work)
    tuned = [one for one in needed if isinstance(one.row.recipe, FineTuned)]
    for table in {one.table.name: one.table for one in tuned}.values():
        rows = [one for one in tuned if one.table is table]
        recipes = [one.row.recipe for one in rows if isinstance(one.row.recipe, FineTuned)]
        steps = [row.recipe.steps for row in table.rows if isinstance(row.recipe, FineTuned)]
        for one, row in zip(rows, make_learned_rows(recipes, steps, work), strict=True):
            _keep(one, row, work)


def _make_on_set(place: _Place, recipe: TrainedNetwork | InUse, work: RowWork) -> str:
    """Make a row on the prepared sets; returns why it could not be made."""
    work.tell(f"{place.table.name}/{place.row.name}: begun")
    try:
        if isinstance(recipe, InUse):
            made = make_in_use_row(recipe, work)
        else:
            made = make_trained_row(recipe, work)
    except FATAL:
        raise
    except TrainingError as error:
        work.tell(f"{place.table.name}/{place.row.name}: not made: {error}")
        return f"{error}".removesuffix(".")
    _keep(place, made, work)
    return ""


def _keep(place: _Place, made: MadeRow, work: RowWork) -> None:
    save_row(made, place.path)
    facts = ", ".join(f"{name} {value}" for name, value in made.facts.items())
    work.tell(f"{place.table.name}/{place.row.name}: made" + (f" ({facts})" if facts else ""))


def _report(places: Sequence[_Place], reasons: Mapping[Path, str], work: RowWork) -> TablesReport:
    """All tables as they stand; rows of earlier runs that were not asked for now are shown too."""
    tables = {one.table.name: one.table for one in places}
    shown = tuple(
        ShownTable(
            table=table,
            rows=tuple(_shown(one, reasons) for one in places if one.table is table),
        )
        for table in tables.values()
    )
    return TablesReport(
        model=work.entry.name, tables=shown, version=__version__, command=work.config.as_json()
    )


def _shown(place: _Place, reasons: Mapping[Path, str]) -> ShownRow:
    reason = reasons.get(place.path, "")
    made = None if reason else load_row(place.path)
    return ShownRow(row=place.row, made=made, reason=reason or ("" if made else _NOT_ASKED))


def _only_chosen(report: TablesReport, wanted: set[tuple[str, str]]) -> TablesReport:
    """The tables with the rows that were asked for."""
    tables = tuple(
        ShownTable(
            table=one.table,
            rows=tuple(row for row in one.rows if (one.table.name, row.row.name) in wanted),
        )
        for one in report.tables
        if any(table == one.table.name for table, _ in wanted)
    )
    return TablesReport(
        model=report.model, tables=tables, version=report.version, command=report.command
    )
