"""What may be set apart from the command line: the options of each command, and their types."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from dubcli.config.commands import COMMANDS, CommandSpec
from dubcli.config.dub_config import DubConfig
from dubcli.config.settings_common import option_info
from dubcli.config.view_config import ViewConfig
from dubcli.core.errors import ConfigError
from dubcli.models.model_options import declared_options

_WORDS_OF_KINDS = {
    (bool,): "true or false",
    (int,): "a whole number",
    (float,): "a number",
    (str,): "a text",
    (int, str): "a text or a whole number",
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One option of one command, as files and variables may set it.

    Attributes:
        name: Of the field; on the command line with dashes unless `flag` says otherwise.
        kinds: Types that a value may have: bool, int, float and str; paths are texts.
        is_list: Several of them are allowed.
        choices: The words that it takes; empty where others are possible.
        least: Smallest number that it takes; None for any, or where the configuration checks.
        most: Largest number, as `least`.
        command_line_only: Neither a file nor a variable may set it.
        flag: Its name on the command line.
    """

    name: str
    kinds: tuple[type, ...]
    is_list: bool = False
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    command_line_only: bool = False
    flag: str

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        words = _WORDS_OF_KINDS[self.kinds]
        return f"{words}, or a list of them" if self.is_list else words


@cache
def settings_of(command: str) -> dict[str, Setting]:
    """The options of a command by name. The positional argument is none.

    Args:
        command: Name of a `CommandSpec`.
    """
    spec = COMMANDS[command]
    own = [*_of_config(spec), *_of_fields(ViewConfig, lambda name: name in spec.view)]
    return {setting.name: setting for setting in own}


def _of_config(spec: CommandSpec) -> list[Setting]:
    others = (*spec.arguments, *spec.fixed)
    found = _of_fields(spec.config, lambda name: name not in others)
    if issubclass(spec.config, DubConfig):
        found += [
            Setting(
                name=one.name,
                kinds=_kinds(one.annotation)[0],
                least=one.range.least,
                most=one.range.most,
                flag=one.flag,
            )
            for one in declared_options()
        ]
    return found


def _of_fields(config_class: type, is_wanted: Any) -> list[Setting]:
    hints = get_type_hints(config_class)
    found: list[Setting] = []
    for entry in fields(config_class):
        info = option_info(entry.metadata)
        if info is None or not is_wanted(entry.name):
            continue
        kinds, is_list = _kinds(hints[entry.name])
        found.append(
            Setting(
                name=entry.name,
                kinds=kinds,
                is_list=is_list,
                choices=info.choices,
                command_line_only=info.command_line_only,
                flag=info.flag or f"--{entry.name.replace('_', '-')}",
            )
        )
    return found


def _kinds(hint: Any) -> tuple[tuple[type, ...], bool]:
    """Types of a value, and whether there may be several."""
    parts = get_args(hint) if get_origin(hint) is not tuple and get_args(hint) else (hint,)
    is_list = any(get_origin(part) is tuple for part in parts)
    if is_list:
        return (str,), True
    kinds = {str if part is Path else part for part in parts if part is not NoneType}
    return tuple(sorted(kinds, key=lambda kind: kind.__name__)), False


def checked(setting: Setting, value: Any, key: str, where: str) -> Any:
    """A value as the command line takes it, if it has the right type.

    Args:
        setting: What is set.
        value: As the file or the variable has it.
        key: The name that was used for it.
        where: File or variable, as an error names it; empty where `key` is enough.

    Raises:
        ConfigError: It may not be set there, has another type, holds a zero byte, lies beyond its
            limits, or is none of its choices.
    """
    place = f"{where}: " if where else ""
    if setting.command_line_only:
        raise ConfigError(
            f"{place}'{key}' is taken from the command line only.",
            f"Remove it, and use {setting.flag} where it is meant.",
        )
    items = value if setting.is_list and isinstance(value, list) else [value]
    for item in items:
        if not _has_type(item, setting.kinds):
            raise ConfigError(
                f"{place}'{key}' is {_shown(item)}, not {setting.expected}.",
                f"Mend or remove it; --help explains {setting.flag}.",
            )
        if isinstance(item, str) and "\0" in item:
            raise ConfigError(
                f"{place}'{key}' holds a zero byte, which no command line can.",
                "Write it again; the file may be damaged.",
            )
        limit = _limit(setting, item)
        if limit:
            raise ConfigError(f"{place}'{key}' is {_shown(item)}.", f"Use {limit}.")
        if setting.choices and item not in setting.choices:
            near = nearest(str(item), setting.choices)
            raise ConfigError(
                f"{place}'{key}' is {_shown(item)}, none of {', '.join(setting.choices)}.",
                f"Did you mean '{near}'?" if near else "Use one of them.",
            )
    if setting.is_list:
        return [str(item) for item in items]
    return str(value) if str in setting.kinds else value


def _limit(setting: Setting, value: Any) -> str:
    """Which limit a number is beyond, in words; empty where it is beyond none."""
    if setting.least is not None and not value >= setting.least:
        return f"{setting.least:g} or more"
    if setting.most is not None and not value <= setting.most:
        return f"{setting.most:g} or less"
    return ""


def _has_type(value: Any, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int) and float in kinds:
        return True
    return isinstance(value, kinds)


def _shown(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value).lower()


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like this one; None where none is."""
    found = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else None
