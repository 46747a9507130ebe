"""The `dub` command: every command by its name. Only `dubcli.cli` imports typer or rich.

`dub VIDEO --audio AUDIO` is the default command of the group: a first word that names no command
belongs to it. Options are made from the fields of the configurations in `dubcli.config`, so a
default stands there and nowhere else. stdout carries data only; the rest goes to stderr. torch and
the media libraries load inside the commands, because `dub --help` must answer at once.
"""

from __future__ import annotations

from typing import Annotated

import typer

from dubcli.cli.batch_command import do_batch
from dubcli.cli.command_group import MAIN_JOB, TRAIN_OCCLUDER, TRAIN_SYNC, DubGroup
from dubcli.cli.compare_command import compare_videos
from dubcli.cli.config_command import config_app
from dubcli.cli.configured_command import OTHER_PANEL, ConfiguredCommand
from dubcli.cli.doctor_command import examine_machine
from dubcli.cli.dub_command import dub_demo, dub_video
from dubcli.cli.evaluate_command import evaluate_models
from dubcli.cli.finetune_command import finetune_person
from dubcli.cli.identities_command import identities_app
from dubcli.cli.inspect_command import inspect_file
from dubcli.cli.models_command import models_app
from dubcli.cli.plan_command import plan_dub
from dubcli.cli.report_command import report_results
from dubcli.cli.study_command import study_videos
from dubcli.cli.tables_command import show_paper_tables
from dubcli.cli.train_command import (
    prepare_set,
    train_model,
    train_occluder_network,
    train_sync_expert,
)
from dubcli.cli.view import emit

app = typer.Typer(
    cls=DubGroup,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    subcommand_metavar="| COMMAND ...",
    context_settings={"help_option_names": ["--help"]},
    help="Dub a video: lips that follow new audio. The main job is: dub VIDEO --audio AUDIO. A "
    "name that starts with a dash goes after all options and a double dash.",
)
app.add_typer(models_app, name="models")
app.add_typer(identities_app, name="identities")
app.add_typer(config_app, name="config")
app.command("inspect")(inspect_file)
app.command(MAIN_JOB, hidden=True, cls=ConfiguredCommand)(dub_video)
app.command("plan", cls=ConfiguredCommand)(plan_dub)
app.command("finetune", cls=ConfiguredCommand)(finetune_person)
app.command("demo", cls=ConfiguredCommand)(dub_demo)
app.command("prepare", cls=ConfiguredCommand)(prepare_set)
app.command("train", cls=ConfiguredCommand)(train_model)
app.command("evaluate", cls=ConfiguredCommand)(evaluate_models)
app.command("tables", cls=ConfiguredCommand)(show_paper_tables)
app.command("batch", cls=ConfiguredCommand)(do_batch)
app.command("compare", cls=ConfiguredCommand)(compare_videos)
app.command("report", cls=ConfiguredCommand)(report_results)
app.command("study", cls=ConfiguredCommand)(study_videos)
app.command(TRAIN_SYNC, cls=ConfiguredCommand)(train_sync_expert)
app.command(TRAIN_OCCLUDER, cls=ConfiguredCommand)(train_occluder_network)
app.command("doctor")(examine_machine)


def _show_version(value: bool) -> None:
    if value:
        from dubcli import __version__

        emit(f"dub {__version__}")
        raise typer.Exit


@app.callback()
def _group(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            help="Show the version.",
            rich_help_panel=OTHER_PANEL,
        ),
    ] = False,
) -> None: ...
