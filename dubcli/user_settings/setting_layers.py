"""Settings of a command in layers: the user's file, `./dub.toml`, variables; the later wins.

Nothing else is read: no file beside a video, none in a parent folder. The command line is the last
layer and is laid over these by the command itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dubcli.config.commands import COMMANDS
from dubcli.core.paths import settings_home
from dubcli.user_settings.settings_file import EVERY_COMMAND, Tables, read_settings_file
from dubcli.user_settings.variables import read_variables, variable_name

FILE_NAME = "dub.toml"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A value that a layer sets.

    Attributes:
        value: As the command line takes it.
        origin: The file or the variable that it comes from.
    """

    value: Any
    origin: str


@dataclass(frozen=True, kw_only=True)
class LayeredSettings:
    """What the layers set for one command.

    Attributes:
        chosen: By the option's name.
        files: Files that were looked for, and whether they are there.
        foreign: Variables that begin as ours do and set nothing.
    """

    chosen: Mapping[str, Chosen]
    files: Mapping[Path, bool]
    foreign: tuple[str, ...]


def settings_files() -> tuple[Path, Path]:
    """The user's file, and that of the current folder."""
    return settings_home() / FILE_NAME, Path(FILE_NAME)


def read_layers(command: str, environment: Mapping[str, str]) -> LayeredSettings:
    """What files and variables set for a command.

    Args:
        command: Name of a `CommandSpec`.
        environment: The process's variables.

    Raises:
        ConfigError: A file or a variable is wrong, for whichever command; the line names it.
    """
    chosen: dict[str, Chosen] = {}
    files: dict[Path, bool] = {}
    for path in settings_files():
        tables = read_settings_file(path)
        files[path] = tables is not None
        for name, (_, value) in _for_command(command, tables or {}).items():
            chosen[name] = Chosen(value=value, origin=str(path))
    tables, foreign = read_variables(environment)
    for name, (table, value) in _for_command(command, tables).items():
        chosen[name] = Chosen(value=value, origin=variable_name(table, name))
    return LayeredSettings(chosen=chosen, files=files, foreign=tuple(foreign))


def _for_command(command: str, tables: Tables) -> dict[str, tuple[str, Any]]:
    """Table and value of each option: a command's own table before those that it inherits."""
    order = [EVERY_COMMAND]
    inherits = COMMANDS[command].inherits
    order += [inherits] if inherits else []
    found: dict[str, tuple[str, Any]] = {}
    for table in [*order, command]:
        for name, value in tables.get(table, {}).items():
            found[name] = table, value
    return found
