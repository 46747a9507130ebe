"""Pages of tables that sort and filter: the results of a batch, the scores of an evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dubcli.core.formatting import in_time
from dubcli.review.html_page import asset, render_page
from dubcli.review.review_input import BatchResults, ScoreSet, is_figure

_SCRIPTS = ("table_logic.js", "tables.js")


@dataclass(frozen=True, kw_only=True)
class TableCell:
    """One cell: what is shown, what it is sorted by, and the page that it leads to."""

    text: str
    value: float | str
    link: str = ""


@dataclass(frozen=True, kw_only=True)
class TableColumn:
    """One column; `choose` offers its values to filter by."""

    title: str
    help: str = ""
    choose: bool = False


@dataclass(frozen=True, kw_only=True)
class PageTable:
    """A table of a page."""

    title: str
    about: str
    columns: tuple[TableColumn, ...]
    rows: tuple[tuple[TableCell, ...], ...]


@dataclass(frozen=True, kw_only=True)
class PagePicture:
    """A picture of a page; `address` may be a data URL."""

    title: str
    address: str


def table_page(
    title: str,
    summary: str,
    tables: Sequence[PageTable],
    notes: Sequence[str] = (),
    pictures: Sequence[PagePicture] = (),
) -> str:
    """The page as HTML."""
    values = {
        "summary": summary,
        "tables": [asdict(table) for table in tables],
        "notes": list(notes),
        "pictures": [asdict(picture) for picture in pictures],
    }
    scripts = [asset(name) for name in _SCRIPTS]
    return render_page(asset("tables_page.html"), scripts, title, values, {})


def batch_summary(results: BatchResults) -> str:
    """Such as `12 rows: 10 done, 2 failed`."""
    counts = Counter(row.status for row in results.rows)
    each = ", ".join(f"{num} {status}" for status, num in counts.most_common())
    return f"{len(results.rows)} rows: {each}"


def batch_table(results: BatchResults, pages: Mapping[int, str]) -> PageTable:
    """All rows; `pages` are addresses of results' own pages by row."""
    rows = tuple(
        (
            _plain(row.row),
            _plain(row.status),
            _plain(row.command),
            TableCell(text=row.output, value=row.output, link=pages.get(row.row, "")),
            TableCell(text=in_time(row.seconds) if row.attempts else "-", value=row.seconds),
            _plain(row.attempts),
            _plain(row.error),
        )
        for row in results.rows
    )
    columns = (
        TableColumn(title="row"),
        TableColumn(title="status", choose=True),
        TableColumn(title="command", choose=True),
        TableColumn(title="result"),
        TableColumn(title="time"),
        TableColumn(title="attempts"),
        TableColumn(title="error"),
    )
    return PageTable(title="Results", about="", columns=columns, rows=rows)


def score_tables(scores: ScoreSet) -> list[PageTable]:
    """Means of each run, then all clips."""
    content = scores.content
    measures: Mapping[str, Any] = _mapping(content.get("measures"))
    tables = [
        _means(run, systems, measures.get(run, []))
        for run, systems in _mapping(content.get("means")).items()
        if isinstance(systems, dict)
    ]
    clips = [one for one in content.get("clips", []) if isinstance(one, dict)]
    keys = list(dict.fromkeys(key for one in clips for key in _mapping(one.get("scores"))))
    scored = [_mapping(one.get("scores")) for one in clips]
    known = [key for key in keys if any(is_figure(scores.get(key)) for scores in scored)]
    about = {m["key"]: m for run in measures.values() for m in run if isinstance(m, dict)}
    names = ("clip", "identity", "run", "system")
    columns = tuple(TableColumn(title=name, choose=name in names[2:]) for name in names)
    columns += tuple(TableColumn(title=key, help=_explained(about.get(key, {}))) for key in known)
    rows = tuple(
        (
            *(_plain(one.get(name, "")) for name in names),
            *(_figure(_mapping(one.get("scores")).get(key)) for key in known),
        )
        for one in clips
    )
    return [*tables, PageTable(title="Clips", about="", columns=columns, rows=rows)]


def _means(run: str, systems: Mapping[str, Any], measures: Sequence[Any]) -> PageTable:
    heads = ("measure", "region", "unit", "right")
    columns = tuple(TableColumn(title=title) for title in heads)
    columns += tuple(TableColumn(title=name) for name in systems)
    rows: list[tuple[TableCell, ...]] = []
    for measure in measures:
        estimates = [_mapping(_mapping(one).get(measure["key"])) for one in systems.values()]
        if any(is_figure(one.get("mean")) for one in estimates):
            title = measure.get("title", measure["key"])
            head = (title, *(measure.get(key, "") for key in ("region", "unit", "better")))
            rows.append((*map(_plain, head), *(_estimate(one) for one in estimates)))
    about = "Means over people, with 95 % intervals."
    return PageTable(title=run, about=about, columns=columns, rows=tuple(rows))


def _estimate(one: Mapping[str, Any]) -> TableCell:
    cell, low, high = (_figure(one.get(key)) for key in ("mean", "low", "high"))
    if "" in (cell.value, low.value, high.value) or low.value == high.value:
        return cell
    return TableCell(text=f"{cell.text} ({low.text} to {high.text})", value=cell.value)


def _figure(value: Any) -> TableCell:
    if not is_figure(value):
        return TableCell(text="-", value="")
    return TableCell(text=f"{value:.4g}", value=float(value))


def _plain(value: Any) -> TableCell:
    return TableCell(text=str(value), value=value if is_figure(value) else str(value))


def _explained(measure: Mapping[str, Any]) -> str:
    parts = (measure.get("title"), measure.get("region"), measure.get("unit"))
    return ", ".join(str(part) for part in parts if part)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
