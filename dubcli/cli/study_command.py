"""`dub study`."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.text import Text

from dubcli.cli.command_options import options_of
from dubcli.cli.plain_table import PlainTable
from dubcli.cli.view import View, as_json, emit, emit_table
from dubcli.config import StudyConfig
from dubcli.config.commands import STUDY

if TYPE_CHECKING:
    from dubcli.study.votes import StudyResult, VoteMean


@options_of(STUDY)
def study_videos(config: StudyConfig, view: View) -> None:
    """Make a blind test: a page that shows pairs of videos to viewers and collects their votes."""
    if config.votes:
        _show_votes(config, view)
        return
    from dubcli.study.run import make_study

    with view.progress_in("films") as progress:
        report = make_study(config, progress)
    for note in report.notes:
        view.say(f"note: {note}")
    view.say(f"{report.pairs} pairs of {len(report.systems)} systems")
    view.say(f"give viewers {report.page} and {report.folder}; keep {report.key} to yourself")
    if view.json:
        emit(as_json(asdict(report)))


def _show_votes(config: StudyConfig, view: View) -> None:
    from dubcli.study.study_key import read_key
    from dubcli.study.votes import sum_up

    result = sum_up(config.folders, read_key(config.key_path))
    for note in result.notes:
        view.say(f"note: {note}")
    view.say(f"{result.votes} votes of {result.voters} viewers")
    if view.json:
        emit(as_json(_without_nan(asdict(result))))
    else:
        _emit_tables(result)


def _emit_tables(result: StudyResult) -> None:
    questions = list(next(iter(result.opinions.values())))
    table = PlainTable("system", *questions, title="Mean opinion, 1 to 5, and 95 % interval")
    for system, means in result.opinions.items():
        table.add_row(Text(system), *(_figure(means[one], 2) for one in questions))
    emit_table(table)
    table = PlainTable("preferred", "to", "wins", "ties", "losses", "share, %", title="Preference")
    for one in result.preferences:
        counts = (str(value) for value in (one.wins, one.ties, one.losses))
        table.add_row(Text(one.first), Text(one.second), *counts, _figure(one.share, 0))
    emit_table(table)


def _figure(value: VoteMean, digits: int) -> str:
    if math.isnan(value.mean):
        return "-"
    mean = f"{value.mean:.{digits}f}"
    if math.isnan(value.low):
        return mean
    return f"{mean} ({value.low:.{digits}f} to {value.high:.{digits}f})"


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, list) else value
