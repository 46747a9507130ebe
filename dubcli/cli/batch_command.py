"""`dub batch`."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.table import Table
from rich.text import Text

from dubcli.cli.command_options import options_of
from dubcli.cli.view import View, as_json, emit, emit_table, say
from dubcli.config import BatchConfig
from dubcli.config.commands import BATCH
from dubcli.core.errors import BATCH_FAILED_EXIT_CODE
from dubcli.core.formatting import in_time, plain_text
from dubcli.user_settings.setting_layers import read_layers

if TYPE_CHECKING:
    from dubcli.batches.row_result import BatchReport, RowResult

# Rows of the table of what failed; the file of results has all.
MOST_FAILED = 40


@options_of(BATCH)
def do_batch(config: BatchConfig, view: View) -> None:
    """Do many jobs from a list or two folders; run it again to do what is missing."""
    from dubcli.batches.batch_row import ROW_COMMANDS
    from dubcli.batches.run import batch

    defaults = {
        command: {name: one.value for name, one in read_layers(command, os.environ).chosen.items()}
        for command in ROW_COMMANDS
    }
    with view.progress_in("rows") as progress:
        report = batch(config, progress, on_result=_tell, defaults=defaults)
    if view.json:
        emit(as_json({**asdict(report), "counts": report.counts}))
    else:
        _show(report)
    view.say(f"the results are in {report.path}")
    if not report.is_complete:
        raise typer.Exit(BATCH_FAILED_EXIT_CODE)


def _tell(result: RowResult) -> None:
    """A line for each row that failed, whatever else is shown."""
    if result.error is not None:
        say(f"dub: row {result.row}: {result.error}")
    if result.traceback is not None:
        for line in result.traceback.splitlines():
            say(f"dub: row {result.row}: {line}")


def _show(report: BatchReport) -> None:
    emit(f"{len(report.results)} rows in {in_time(report.seconds)}")
    table = Table("rows", "")
    for status, count in report.counts.items():
        if count:
            table.add_row(str(count), status)
    emit_table(table)
    failed = [one for one in report.results if one.error is not None]
    if not failed:
        return
    table = Table("row", "command", "output", "exit code", "why")
    for one in failed[:MOST_FAILED]:
        cells = (str(one.row), one.command, one.output, str(one.exit_code), one.error or "")
        table.add_row(*(Text(plain_text(cell)) for cell in cells))
    emit_table(table)
    if len(failed) > MOST_FAILED:
        emit(f"and {len(failed) - MOST_FAILED} more: the file of results has all")
