"""`dub report`: read what there is, make light previews, write the page."""

from __future__ import annotations

import base64
import math
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

from dubcli.config import ReportConfig
from dubcli.core.atomic_io import replace_bytes
from dubcli.core.errors import ConfigError, DubError, EncodeError
from dubcli.core.progress import Progress, no_progress
from dubcli.face.detect import require_detector
from dubcli.review.excerpts import choose_excerpts, worth_a_look
from dubcli.review.preview_pairs import Preview, make_preview
from dubcli.review.result_page import result_page
from dubcli.review.review_input import (
    BatchResults,
    DubResult,
    ResultLine,
    ScoreSet,
    read_input,
)
from dubcli.review.table_page import (
    PagePicture,
    batch_summary,
    batch_table,
    score_tables,
    table_page,
)

# Seconds of previews beside a page, and in it.
_MOST_BESIDE_S, _MOST_INSIDE_S = 120.0, 60.0
_MOST_PICTURES = 40
# Commands whose results have a page.
_PAGED = ("dub", "evaluate")
_OWN_NAMES = r"preview-\d+(-source)?\.(mp4|webm|m4a)|plot-\d+\.png|row-\d+(_files|\.html)"


@dataclass(frozen=True, kw_only=True)
class ReviewReport:
    """What was written.

    Attributes:
        page: The page.
        folder: What lies beside it, None where everything is in the page.
        kind: dub, batch or scores.
        previews: How many excerpts are shown.
        seconds: Their length together.
        notes: What is not shown, and why.
    """

    page: str
    folder: str | None
    kind: str
    previews: int
    seconds: float
    notes: list[str]


@dataclass(frozen=True, kw_only=True)
class _MadePage:
    """A page, the number and the seconds of its previews, and what it does not show."""

    html: str
    previews: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


def make_review(config: ReportConfig, progress: Progress | None = None) -> ReviewReport:
    """Write the page that `dub report` is asked for, and its previews.

    Args:
        config: What to show.
        progress: Called as (stage, done, total).

    Raises:
        ConfigError: The input is not known, or the page exists.
        FfmpegError: A video cannot be decoded.
        EncodeError: The page cannot be written.
    """
    progress = progress or no_progress
    found = read_input(config.result, config.source)
    page = config.output or found.path.with_name(f"{found.path.stem}.review.html")
    folder = page.with_name(f"{page.stem}_files")
    _check_free(page, folder, config)
    if config.curve:
        require_detector(config.detector)
    kind = "batch" if isinstance(found, BatchResults) else "dub"
    try:
        with TemporaryDirectory(dir=page.absolute().parent, prefix=".review-") as name:
            made_in = Path(name) / folder.name  # as the page names it
            made_in.mkdir()
            if isinstance(found, ScoreSet):
                kind, made = "scores", _scores(found, made_in, config)
            elif isinstance(found, BatchResults):
                made = _batch(found, made_in, config, progress)
            else:
                made = _dub(found, made_in, "preview", config, progress)
            is_beside = not config.embed and any(made_in.iterdir())
            shutil.rmtree(folder, ignore_errors=True)
            if is_beside:
                made_in.replace(folder)
            replace_bytes(page, made.html.encode())
    except OSError as error:
        raise EncodeError(
            f"'{page}' cannot be written: {error.strerror}.",
            "Free some space, or choose another place with -o.",
        ) from error
    return ReviewReport(
        page=str(page),
        folder=str(folder) if is_beside else None,
        kind=kind,
        previews=made.previews,
        seconds=round(made.seconds, 3),
        notes=list(made.notes),
    )


def _check_free(page: Path, folder: Path, config: ReportConfig) -> None:
    if not page.absolute().parent.is_dir():
        raise ConfigError(
            f"The folder '{page.absolute().parent}' does not exist.", "Make it first."
        )
    for path in (page, folder):
        if path.exists() and not config.overwrite:
            raise ConfigError(
                f"'{path}' exists already.", "Use -y, or choose another name with -o."
            )
    if page.is_dir() or folder.is_file():
        raise ConfigError(f"'{page}' cannot be a page with '{folder}' beside it.", "Rename one.")
    if folder.is_dir() and not all(_is_own(one) for one in folder.iterdir()):
        raise ConfigError(
            f"'{folder}' holds files of others, and would be replaced.", "Choose another name."
        )


def _is_own(path: Path) -> bool:
    """Whether a file has a name that pages give."""
    return re.fullmatch(_OWN_NAMES, path.name) is not None


def _dub(
    result: DubResult, folder: Path, name: str, config: ReportConfig, progress: Progress
) -> _MadePage:
    report, notes = result.report, []
    if result.video is None:
        notes.append(f"There is no preview: '{report.output}' is not found.")
    elif result.source is None:
        notes.append("The result is shown alone: its source is not found. Name it with --source.")
    most_s = _MOST_INSIDE_S if config.embed else _MOST_BESIDE_S
    parts = choose_excerpts(float(report.duration_s), worth_a_look(report), most_s)
    previews: list[Preview] = []
    for number, part in enumerate(parts if result.video is not None else (), 1):
        progress("previews", number - 1, len(parts))
        detector = config.detector if config.curve else None
        assert result.video is not None
        previews.append(
            make_preview(result.video, result.source, part, folder, f"{name}-{number}", detector)
        )
        progress("previews", number, len(parts))
    shown_s = sum(one.excerpt.end_s - one.excerpt.start_s for one in previews)
    if previews and shown_s < report.duration_s - 0.1:
        notes.append(
            f"Excerpts of {shown_s:.0f} s out of {report.duration_s:.0f} s: around warnings and "
            "ranges that were left as they are, if any, then beginning, middle and end."
        )
    if previews and config.curve and not any(one.opening for one in previews):
        notes.append("No face was found in the previews, so no mouth opening is drawn.")
    html = result_page(result, previews, notes, embed=config.embed)
    return _MadePage(html=html, previews=len(previews), seconds=shown_s, notes=tuple(notes))


def _batch(
    results: BatchResults, folder: Path, config: ReportConfig, progress: Progress
) -> _MadePage:
    """The table of a batch, and pages of those results that are worth a look."""
    notes: list[str] = []
    worth = _worth_a_page(results.rows, notes)
    shown = [] if config.embed else worth[: config.pages]
    pages: dict[int, str] = {}
    previews, seconds = 0, 0.0
    for number, row in enumerate(shown):
        progress("pages", number, len(shown))
        assert row.report is not None
        inner = folder / f"row-{row.row}_files"
        inner.mkdir()
        try:
            made = _row_page(row.report, inner, config)
        except DubError as error:
            notes.append(f"Row {row.row} has no page: {error.cause}")
            shutil.rmtree(inner)
            continue
        previews, seconds = previews + made.previews, seconds + made.seconds
        # Its previews lie in the same folder, which the page names.
        (folder / f"row-{row.row}.html").write_text(made.html, encoding="utf-8")
        pages[row.row] = f"{quote(folder.name)}/row-{row.row}.html"
        progress("pages", number + 1, len(shown))
    without = len(worth) - len(shown)
    if without:
        said = f"{without} results have no page of their own"
        said = "1 result has no page of its own" if without == 1 else said
        why = "--embed makes one file" if config.embed else "--pages sets how many have"
        notes.append(f"{said}; {why}.")
    title = f"Batch {results.path.name}"
    html = table_page(title, batch_summary(results), [batch_table(results, pages)], notes)
    return _MadePage(html=html, previews=previews, seconds=seconds, notes=tuple(notes))


def _row_page(report: Path, folder: Path, config: ReportConfig) -> _MadePage:
    """The page of one row of a batch: of a dub, or of scores."""
    found = read_input(report)
    if isinstance(found, ScoreSet):
        return _scores(found, folder, config)
    if isinstance(found, DubResult):
        return _dub(found, folder, "preview", config, no_progress)
    raise ConfigError(f"'{report}' is no report of a dub and no scores.", "Was it edited?")


def _worth_a_page(rows: Sequence[ResultLine], notes: list[str]) -> list[ResultLine]:
    """Rows of scores, then rows of dubs with a report, those with the most warnings first.

    Args:
        rows: Of the batch.
        notes: Get a sentence for each row whose report cannot be read.
    """
    counted: list[tuple[float, ResultLine]] = []
    for row in rows:
        if row.report is None or row.command not in _PAGED:
            continue
        try:
            found = read_input(row.report)
        except DubError as error:
            notes.append(f"Row {row.row} has no page: {error.cause}")
            continue
        most = math.inf if isinstance(found, ScoreSet) else 0
        most = len(found.report.warnings) if isinstance(found, DubResult) else most
        counted.append((most, row))
    return [row for _, row in sorted(counted, key=lambda one: (-one[0], one[1].row))]


def _scores(scores: ScoreSet, folder: Path, config: ReportConfig) -> _MadePage:
    content = scores.content
    pictures: list[PagePicture] = []
    plots = sorted((scores.path.parent / "plots").glob("*.png"))
    for number, plot in enumerate(plots[:_MOST_PICTURES], 1):
        if config.embed:
            coded = base64.b64encode(plot.read_bytes()).decode()
            address = f"data:image/png;base64,{coded}"
        else:
            shutil.copyfile(plot, folder / f"plot-{number}.png")
            address = f"{quote(folder.name)}/plot-{number}.png"
        pictures.append(PagePicture(title=plot.stem, address=address))
    chosen = content.get("default_choice", {})
    notes = [str(chosen["line"])] if isinstance(chosen, dict) and chosen.get("line") else []
    notes += [str(note) for note in content.get("notes", [])]
    failures = content.get("failures", {})
    notes += [f"Not scored: {what}: {why}" for what, why in failures.items()]
    if len(plots) > _MOST_PICTURES:
        notes.append(f"{_MOST_PICTURES} of {len(plots)} plots are shown.")
    summary = f"dub {content.get('version', '?')}: {content.get('command', '')}"
    title = f"Scores {scores.path.parent.name}"
    html = table_page(title, summary, score_tables(scores), notes, pictures)
    return _MadePage(html=html, notes=tuple(notes))
