"""`dub report`."""

from __future__ import annotations

from dataclasses import asdict

from dubcli.cli.command_options import options_of
from dubcli.cli.view import View, as_json, emit
from dubcli.config import ReportConfig
from dubcli.config.commands import REPORT


@options_of(REPORT)
def report_results(config: ReportConfig, view: View) -> None:
    """Make a page to look at a dub, a batch or scores: before and after in step, tables."""
    from dubcli.review.run import make_review

    with view.progress_in("parts") as progress:
        report = make_review(config, progress)
    for note in report.notes:
        view.say(f"note: {note}")
    beside = "" if report.folder is None else f", with {report.folder} beside it"
    view.say(f"the page is {report.page}{beside}")
    if view.json:
        emit(as_json(asdict(report)))
