"""A row of a job list as the configuration of the command that it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from dubcli.batches.job_list import COMMAND_COLUMN, WrittenRow, column_name
from dubcli.config import DubConfig, EvaluateConfig, FinetuneConfig, PlanConfig, voices_from
from dubcli.config.commands import COMMANDS
from dubcli.config.retired_options import next_step_after
from dubcli.core.errors import ConfigError
from dubcli.models.model_options import declared_options
from dubcli.user_settings.setting import Setting, checked, nearest, settings_of
from dubcli.user_settings.variables import typed

ROW_COMMANDS = ("dub", "plan", "finetune", "evaluate")
RowConfig = DubConfig | PlanConfig | FinetuneConfig | EvaluateConfig
# Values by option, for each command.
Defaults = Mapping[str, Mapping[str, Any]]
_SEPARATOR = "|"
_OF_THE_VIEW = ("progress", "quiet", "verbose", "json", "dry_run")


@dataclass(frozen=True, kw_only=True)
class BatchRow:
    """A row whose options are right by themselves.

    Attributes:
        number: From 1.
        command: One of `ROW_COMMANDS`.
        config: What is to be done.
        options: What the row says, by option, JSON-ready.
    """

    number: int
    command: str
    config: RowConfig
    options: dict[str, Any]


def command_of(row: WrittenRow) -> str:
    """The command that a row names; `dub` where it names none.

    Raises:
        ConfigError: No such command.
    """
    command = str(row.cells.get(COMMAND_COLUMN, ROW_COMMANDS[0])).strip()
    if command not in ROW_COMMANDS:
        near = nearest(command, ROW_COMMANDS)
        raise ConfigError(
            f"Unknown command '{command}'.",
            f"Did you mean '{near}'?" if near else f"Use one of {', '.join(ROW_COMMANDS)}.",
        )
    return command


def row_settings(command: str) -> dict[str, Setting]:
    """What a row may set: the options of its command and what it works on.

    A job list stands for the command line, so that it may set what is taken from there only.
    """
    first = fields(COMMANDS[command].config)[0]
    found = {first.name: _first_setting(first.name, command)}
    for name, setting in settings_of(command).items():
        if name not in _OF_THE_VIEW:
            found[name] = replace(setting, command_line_only=False)
    return found


def _first_setting(name: str, command: str) -> Setting:
    is_list = COMMANDS[command].config is FinetuneConfig
    return Setting(name=name, kinds=(str,), is_list=is_list, flag=f"--{name}")


def options_in(words: tuple[str, ...]) -> dict[str, str]:
    """What `--set NAME=VALUE` says, by option.

    Raises:
        ConfigError: No command of a row has such an option, or it is set twice.
    """
    found: dict[str, str] = {}
    known = {name for command in ROW_COMMANDS for name in row_settings(command)}
    for word in words:
        written, _, value = word.partition("=")
        name = column_name(written)
        if name not in known:
            near = nearest(name, known)
            hint = f"Did you mean '{near}'?" if near else "dub --help lists the options."
            raise ConfigError(
                f"--set '{word}' sets no option of a row.", next_step_after(name) or hint
            )
        if name in found:
            raise ConfigError(f"--set '{written}' is given twice.", "Remove one of them.")
        found[name] = value
    return found


def make_row(row: WrittenRow, defaults: Defaults, given: Mapping[str, str]) -> BatchRow:
    """The configuration of a row.

    Args:
        row: As it is written.
        defaults: What holds where neither the row nor `given` says anything.
        given: Texts by option, for rows that have the option and do not set it.

    Raises:
        ConfigError: An unknown column, a value that an option does not take, or options that do
            not go together.
    """
    if row.error:
        raise ConfigError(row.error, row.next_step)
    command = command_of(row)
    known = row_settings(command)
    values: dict[str, Any] = {}
    for name, value in row.cells.items():
        if name == COMMAND_COLUMN:
            continue
        if name not in known:
            raise _unknown(name, command, known)
        values[name] = _value(known[name], value, is_text=row.is_text)
    options = dict(values)
    for name, text in given.items():
        if name in known and name not in values:
            values[name] = options[name] = _value(known[name], text, is_text=True)
    values = {**defaults.get(command, {}), **values}
    values = {name: value for name, value in values.items() if name in known}
    return BatchRow(
        number=row.number, command=command, config=_configuration(command, values), options=options
    )


def _unknown(name: str, command: str, known: Mapping[str, Setting]) -> ConfigError:
    near = nearest(name, [*known, COMMAND_COLUMN])
    hint = f"Did you mean '{near}'?" if near else "Columns are options' names without their dashes."
    return ConfigError(f"Unknown column '{name}' for {command}.", next_step_after(name) or hint)


def _value(setting: Setting, value: Any, *, is_text: bool) -> Any:
    if is_text and setting.is_list:
        value = [part.strip() for part in str(value).split(_SEPARATOR) if part.strip()]
    elif is_text:
        value = typed(str(value), setting)
    return checked(setting, value, setting.name, "")


def _configuration(command: str, values: Mapping[str, Any]) -> RowConfig:
    """The configuration of checked values, with the types that the command line gives them."""
    kind = COMMANDS[command].config
    hints = get_type_hints(kind)
    of_models = {one.name for one in declared_options()} if issubclass(kind, DubConfig) else set()
    arguments: dict[str, Any] = {}
    model_options: dict[str, Any] = {}
    for name, value in values.items():
        if name in of_models:
            model_options[name] = value
        elif name == "audio":
            arguments[name] = voices_from(value)
        else:
            arguments[name] = _as_field(hints[name], value)
    if model_options:
        arguments["model_options"] = dict(sorted(model_options.items()))
    missing = [
        entry.name for entry in fields(kind) if entry.name not in arguments and _is_required(entry)
    ]
    if missing:
        names = " and ".join(f"'{name}'" for name in missing)
        raise ConfigError(f"A row of {command} needs {names}.", "Fill the column.")
    return kind(**arguments)


def _is_required(entry: Any) -> bool:
    return entry.default is MISSING and entry.default_factory is MISSING


def _as_field(hint: Any, value: Any) -> Any:
    if isinstance(value, list):
        inner = Path if Path in get_args(hint) else str
        return tuple(inner(item) for item in value)
    if hint is Path or Path in get_args(hint):
        return Path(value)
    return value
