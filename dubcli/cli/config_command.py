"""`dub config`: what is set, and where it comes from."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Annotated, Any, cast

import typer
from rich.text import Text

from dubcli.cli.configured_command import (
    OPTION_TABLE,
    ConfiguredCommand,
    from_layers,
    layered_settings,
)
from dubcli.cli.plain_table import PlainTable
from dubcli.cli.view import as_json, emit, emit_table, say
from dubcli.config.commands import COMMANDS
from dubcli.core.errors import ConfigError
from dubcli.user_settings.setting import nearest, settings_of

config_app = typer.Typer(help="What configuration files and variables set.")


@config_app.callback()
def _group() -> None: ...


@config_app.command(
    "show", context_settings={"ignore_unknown_options": True, "allow_extra_args": True}
)
def _show(
    ctx: typer.Context,
    command: Annotated[
        str,
        typer.Argument(metavar="COMMAND", help="Whose options: dub, train, train-sync, ..."),
    ] = "dub",
    json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """Every option of a command, its value, and where that comes from. Its flags may follow."""
    if command not in COMMANDS:
        near = nearest(command, COMMANDS)
        raise ConfigError(
            f"'{command}' is no command with options to set.",
            f"Did you mean '{near}'?" if near else f"Use one of {', '.join(COMMANDS)}.",
        )
    target = _parsed(ctx, command)
    rows = _rows(target, command)
    settings = layered_settings(target)
    files = [{"path": str(path), "read": is_there} for path, is_there in settings.files.items()]
    if json:
        content = {"command": command, "files": files, "options": rows}
        emit(as_json({**content, "ignored_variables": list(settings.foreign)}))
        return
    table = PlainTable("option", "value", "from")
    for row in rows:
        table.add_row(*(Text(cell) for cell in (row["option"], _text(row["value"]), row["from"])))
    emit_table(table)
    for file in files:
        say(f"dub: {file['path']}: {'read' if file['read'] else 'no such file'}")
    for name in settings.foreign:
        say(f"dub: {name} sets nothing here")


def _parsed(ctx: typer.Context, table: str) -> typer.Context:
    """The command's own context: what follows on the command line, over the layers."""
    root = ctx.find_root()
    (found,) = (one for one in _configured(root.command) if _table_of(one) == table)
    return cast(Any, _with_nothing_required(found)).make_context(table, list(ctx.args), parent=root)


def _table_of(command: ConfiguredCommand) -> str:
    return getattr(command.callback, OPTION_TABLE)


def _configured(group: Any) -> Iterator[ConfiguredCommand]:
    """The commands with settings, in all groups."""
    for command in group.commands.values():
        if isinstance(command, ConfiguredCommand):
            yield command
        elif hasattr(command, "commands"):
            yield from _configured(command)


def _with_nothing_required(command: ConfiguredCommand) -> ConfiguredCommand:
    """A copy that can be parsed without the job itself."""
    copied = copy.copy(command)
    copied.params = [copy.copy(parameter) for parameter in command.params]
    for parameter in copied.params:
        parameter.required = False
    return copied


def _rows(target: typer.Context, table: str) -> list[dict[str, Any]]:
    layers = from_layers(target)
    rows: list[dict[str, Any]] = []
    for name, setting in settings_of(table).items():
        origin = "default"
        if name in layers:
            origin = layers[name].origin
        elif (source := target.get_parameter_source(name)) and source.name == "COMMANDLINE":
            origin = "command line"
        value = target.params.get(name)
        rows.append({"option": setting.flag, "value": value, "from": origin})
    return rows


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) or "-" if isinstance(value, (list, tuple)) else str(value)
