"""`dub tables`."""

from __future__ import annotations

from dubcli.cli.command_options import options_of
from dubcli.cli.plain_table import PlainTable
from dubcli.cli.view import View, as_json, emit, emit_table
from dubcli.config import TablesConfig
from dubcli.config.commands import TABLES
from dubcli.core.errors import ConfigError
from dubcli.models.registry import find_architecture, model_names


def _models_with_tables() -> list[str]:
    return [name for name in model_names() if find_architecture(name).tables is not None]


@options_of(TABLES, words=_models_with_tables)
def show_paper_tables(config: TablesConfig, view: View) -> None:
    """Make the tables of a model's paper: its printed figures beside your own."""
    try:
        from dubcli.paper_tables import table_text
        from dubcli.paper_tables.run import list_tables, make_tables
    except ModuleNotFoundError as error:
        library = (error.name or "").split(".")[0]
        if library not in ("skimage", "matplotlib"):
            raise
        raise ConfigError(
            f"'dub tables' needs {library}.", "Run: pip install 'dubcli[evaluate]'"
        ) from error
    if config.list:
        report = list_tables(config)
    else:
        with view.progress_in("steps") as progress:
            report = make_tables(config, progress, view.say)
        view.say(f"the tables are in {config.output}")
    if view.json:
        emit(as_json(table_text.as_json(report)))
        return
    for shown in report.tables:
        table = PlainTable(
            *table_text.header_of(shown.table), title=f"{shown.table.name}: {shown.table.title}"
        )
        for line in table_text.lines_of(shown):
            table.add_row(*line)
        emit_table(table)
        for note in table_text.notes_of(shown):
            emit(note)
        emit("")
