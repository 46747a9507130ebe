"""`DUB_*` variables: what they set."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any, NamedTuple

from dubcli.config.commands import COMMANDS
from dubcli.config.retired_options import next_step_after
from dubcli.core.errors import ConfigError
from dubcli.core.paths import HOME_VARIABLE
from dubcli.user_settings.setting import Setting, checked, settings_of
from dubcli.user_settings.settings_file import (
    EVERY_COMMAND,
    Tables,
    common_settings,
    refuse_ambiguous,
)

_PREFIX = "DUB_"
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class Named(NamedTuple):
    """What the name of a variable means."""

    command: str
    setting: Setting


def variable_name(command: str, option: str) -> str:
    """The variable that sets an option: of one command, or of all (`EVERY_COMMAND`)."""
    parts = [command, option] if command else [option]
    return _PREFIX + "_".join(parts).replace("-", "_").upper()


def known_variables() -> dict[str, Named]:
    """Every variable that sets something."""
    found = {
        variable_name(EVERY_COMMAND, name): Named(EVERY_COMMAND, setting)
        for name, setting in common_settings().items()
    }
    for command in COMMANDS:
        for name, setting in settings_of(command).items():
            found[variable_name(command, name)] = Named(command, setting)
    return found


def read_variables(environment: Mapping[str, str]) -> tuple[Tables, list[str]]:
    """What variables set, by command and option, and those that set nothing.

    Empty variables count as absent. A name that is much like a known one is a slip; others that
    begin with `DUB_` may belong to other programs.

    Raises:
        ConfigError: A name is nearly a known one, or a value has the wrong type, or it is taken
            from the command line only.
    """
    known = known_variables()
    tables: Tables = {}
    foreign: list[str] = []
    for name, text in environment.items():
        if not name.startswith(_PREFIX) or name == HOME_VARIABLE or not text:
            continue
        option = name.removeprefix(_PREFIX).lower()
        refuse_ambiguous(name, option, partial(variable_name, option=option))
        if name not in known:
            gone = _after_retired(option)
            if gone is not None:
                raise ConfigError(f"Unknown variable {name}.", gone)
            near = get_close_matches(name, known, n=1, cutoff=0.85)
            if near:
                raise ConfigError(f"Unknown variable {name}.", f"Did you mean {near[0]}?")
            foreign.append(name)
            continue
        command, setting = known[name]
        value = checked(setting, typed(text, setting), name, "")
        tables.setdefault(command, {})[setting.name] = value
    return tables, sorted(foreign)


def _after_retired(option: str) -> str | None:
    """What to do in place of an option that is gone, for all commands or for one of them."""
    prefixes = ("", *(f"{command.replace('-', '_')}_" for command in COMMANDS))
    rests = [option.removeprefix(prefix) for prefix in prefixes if option.startswith(prefix)]
    return next((gone for rest in rests if (gone := next_step_after(rest))), None)


def typed(text: str, setting: Setting) -> Any:
    """The text as the type that an option wants, where it can be read as one."""
    if bool in setting.kinds:
        word = text.lower()
        return True if word in _TRUE else False if word in _FALSE else text
    for kind in (int, float):
        if kind in setting.kinds and str not in setting.kinds:
            try:
                return kind(text)
            except ValueError:
                return text
    return text
