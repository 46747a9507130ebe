"""Tables as people and programs read them: the paper's figures beside this project's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dubcli.evaluation.results import to_json
from dubcli.evaluation.tables import MeanEstimate
from dubcli.models.paper_table import (
    Dubbed,
    FineTuned,
    InUse,
    NotMade,
    OtherTool,
    PaperColumn,
    PaperRow,
    PaperTable,
    TrainedNetwork,
)
from dubcli.paper_tables.row_store import MadeRow

HERE = "here"


@dataclass(frozen=True, kw_only=True)
class ShownRow:
    """A row as it stands after a run.

    Attributes:
        row: What the paper prints of it.
        made: What was made of it here; None where nothing was.
        reason: Why nothing was made; '' where it was.
    """

    row: PaperRow
    made: MadeRow | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class ShownTable:
    """A table and its rows as they stand after a run."""

    table: PaperTable
    rows: tuple[ShownRow, ...]


@dataclass(frozen=True, kw_only=True)
class TablesReport:
    """What `dub tables` has made.

    Attributes:
        model: Name of the weights.
        tables: All tables of the paper that were asked for.
        version: Of this program.
        command: What was asked for, JSON-ready.
    """

    model: str
    tables: tuple[ShownTable, ...]
    version: str
    command: Mapping[str, Any] = field(default_factory=dict[str, Any])


def shown_columns(table: PaperTable) -> tuple[PaperColumn, ...]:
    """The paper's columns, then ours."""
    return (*table.columns, *table.more)


def header_of(table: PaperTable) -> list[str]:
    """Titles of all columns, with what is best."""
    signs = {"higher": "↑", "lower": "↓"}
    titles = [
        f"{one.title} {signs.get(one.better, f'({one.better})')}".removesuffix(" (-)")
        for one in shown_columns(table)
    ]
    return ["row", "whose", *titles]


def lines_of(shown: ShownTable) -> list[list[str]]:
    """Cells of a table: of each row the paper's figures by data set, then this project's."""
    table = shown.table
    lines: list[list[str]] = []
    for one in shown.rows:
        spare = [""] * len(table.more)
        whose = {f"paper, {data}": values for data, values in one.row.printed.items()}
        rows = [
            [name, *map(_as_printed, table.columns, values), *spare]
            for name, values in whose.items()
        ]
        if one.made is None:
            rows.append([HERE, "not made", *[""] * (len(shown_columns(table)) - 1)])
        else:
            rows.append([HERE, *(_cell(one.made, column) for column in shown_columns(table))])
        lines += [[one.row.name if not number else "", *cells] for number, cells in enumerate(rows)]
    return lines


def notes_of(shown: ShownTable) -> list[str]:
    """What differs from the paper, and why rows were not made."""
    notes = [f"differs: {shown.table.differs}"] if shown.table.differs else []
    notes += [f"{one.row.name}: {one.row.differs}." for one in shown.rows if one.row.differs]
    by_reason: dict[str, list[str]] = {}
    for one in shown.rows:
        if one.made is None:
            by_reason.setdefault(one.reason, []).append(one.row.name)
    notes += [f"not made: {'; '.join(names)}: {why}." for why, names in by_reason.items()]
    return notes


def need_of(row: PaperRow) -> str:
    """What a row takes to be made."""
    match row.recipe:
        case OtherTool():
            return "needs CLIPS and the tool's videos of them: --results NAME=FOLDER"
        case Dubbed():
            return "needs CLIPS"
        case FineTuned():
            return "needs CLIPS, of which the first halves are learned"
        case TrainedNetwork():
            return "needs --train SET and --dev SET"
        case InUse():
            return "needs --dev SET"
        case NotMade(reason=reason):
            return reason


def as_markdown(report: TablesReport) -> str:
    """All tables, with what is to be said about them."""
    lines = [
        f"# Tables of {report.model}",
        "",
        f"The paper's figures beside what `dub tables` made (dub {report.version}).",
    ]
    for shown in report.tables:
        header = header_of(shown.table)
        lines += ["", f"## {shown.table.title}", ""]
        cells = [header, ["---"] * len(header), *lines_of(shown)]
        lines += [f"| {' | '.join(_markdown_cell(cell) for cell in line)} |" for line in cells]
        lines += ["", *(f"- {note}" for note in notes_of(shown))]
    return "\n".join(lines) + "\n"


def as_json(report: TablesReport) -> dict[str, Any]:
    """The same for programs, with intervals and what each row depends on."""
    return to_json(
        {
            "version": report.version,
            "model": report.model,
            "config": dict(report.command),
            "tables": [_table_json(shown) for shown in report.tables],
        }
    )


def _table_json(shown: ShownTable) -> dict[str, Any]:
    table = shown.table
    return {
        "table": table.name,
        "title": table.title,
        "differs": table.differs,
        "columns": [_column_json(column) for column in table.columns],
        "more": [_column_json(column) for column in table.more],
        "rows": [_row_json(one, shown_columns(table)) for one in shown.rows],
    }


def _column_json(column: PaperColumn) -> dict[str, str]:
    return {"title": column.title, "better": column.better, "key": column.key}


def _row_json(one: ShownRow, columns: Sequence[PaperColumn]) -> dict[str, Any]:
    content: dict[str, Any] = {
        "row": one.row.name,
        "differs": one.row.differs,
        "paper": {data: list(values) for data, values in one.row.printed.items()},
    }
    if one.made is None:
        return {**content, "not_made": one.reason}
    made = one.made
    figures = {
        column.key: _estimate_json(made.figures[column.key])
        for column in columns
        if column.key in made.figures
    }
    return {**content, "here": figures, "facts": dict(made.facts), "key": dict(made.key)}


def _estimate_json(found: MeanEstimate) -> dict[str, float]:
    return {name: getattr(found, name) for name in ("mean", "low", "high", "people")}


def _cell(made: MadeRow, column: PaperColumn) -> str:
    found = made.figures.get(column.key)
    return "-" if found is None or math.isnan(found.mean) else _measured(found.mean)


def _as_printed(column: PaperColumn, value: float | None) -> str:
    return "-" if value is None else f"{value:.{column.digits}f}"


def _measured(value: float) -> str:
    """Four digits or so."""
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def _markdown_cell(text: str) -> str:
    return " ".join(text.replace("|", "/").replace("<", "&lt;").split())
