"""`dub evaluate`."""

from __future__ import annotations

from dubcli.cli.command_options import options_of
from dubcli.cli.plain_table import PlainTable
from dubcli.cli.view import View, as_json, emit, emit_table
from dubcli.config import EvaluateConfig
from dubcli.config.commands import EVALUATE
from dubcli.core.errors import ConfigError
from dubcli.core.formatting import plain_text


@options_of(EVALUATE)
def evaluate_models(config: EvaluateConfig, view: View) -> None:
    """Score models and baselines on clips, by the pipeline that you run."""
    try:
        from dubcli.evaluation import tables
        from dubcli.evaluation.run import evaluate
    except ModuleNotFoundError as error:
        library = (error.name or "").split(".")[0]
        if library not in ("skimage", "matplotlib"):
            raise
        raise ConfigError(
            f"'dub evaluate' needs {library}.", "Run: pip install 'dubcli[evaluate]'"
        ) from error
    with view.progress_in("results") as progress:
        result = evaluate(config, progress=progress)
    for what, why in result.failures.items():
        view.say(f"warning: {what} was not scored: {why}")
    for line in tables.notes(result):
        view.say(f"note: {line}")
    for line in tables.how_to_measure(result):
        view.say(f"not measured: {line}")
    view.say(f"the scores are in {config.output / 'scores.md'}")
    if view.json:
        emit(as_json(tables.as_json(result)))
        return
    for run in result.runs:
        header, rows = tables.table_rows(result, run)
        table = PlainTable(*header, title=plain_text(f"{run}: {tables.about(run, config)}"))
        for row in rows:
            table.add_row(*row)
        emit_table(table)
    chosen = tables.default_line(result)
    if chosen:
        emit(chosen)
