"""`dub.toml`: what it sets, checked before anything runs."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dubcli.config.commands import COMMANDS
from dubcli.config.retired_options import next_step_after
from dubcli.core.errors import ConfigError
from dubcli.user_settings.setting import Setting, checked, nearest, settings_of

# Settings at the top of a file, before its tables, count for every command that has them.
EVERY_COMMAND = ""
Tables = dict[str, dict[str, Any]]


def read_settings_file(path: Path) -> Tables | None:
    """What a file sets, by command and option; None where there is no such file.

    Raises:
        ConfigError: It cannot be read, or is no TOML; a key is unknown, has a value of the wrong
            type, or is taken from the command line only.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise ConfigError(f"'{path}' is no UTF-8 text.", "Save it as UTF-8.") from error
    except OSError as error:
        raise ConfigError(
            f"'{path}' cannot be read: {error.strerror}.", "Let it be read, or move it away."
        ) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"'{path}' is no TOML: {error}.", "Mend it, or move it away.") from error
    general = {key: value for key, value in content.items() if not isinstance(value, dict)}
    named = {key: value for key, value in content.items() if isinstance(value, dict)}
    for key in general:
        refuse_ambiguous(f"'{path}': '{key}'", key.replace("-", "_"), "[{}]".format)
    tables = {EVERY_COMMAND: _table(path, general, "", common_settings())}
    for key, values in named.items():
        command = key.replace("_", "-")
        if command not in COMMANDS:
            raise ConfigError(f"'{path}': unknown table [{key}].", _hint(command, COMMANDS))
        tables[command] = _table(path, values, f" in [{key}]", settings_of(command))
    return tables


def common_settings() -> dict[str, Setting]:
    """The options that are the same in all commands that have them."""
    return {name: found[0][1] for name, found in _by_name().items() if _is_same(found)}


def refuse_ambiguous(what: str, name: str, place: Callable[[str], str]) -> None:
    """Refuse a setting for all commands where it is not the same in all of them.

    Args:
        what: The setting, as the error calls it.
        name: Of the option.
        place: Gives, for a command's name, where its own setting is written.

    Raises:
        ConfigError: It is not.
    """
    found = _by_name().get(name, [])
    if not _is_same(found):
        places = " or ".join(place(command) for command, _ in found)
        raise ConfigError(f"{what} is not the same in all commands.", f"Set it by {places}.")


def _by_name() -> dict[str, list[tuple[str, Setting]]]:
    """Commands and their settings, by the option's name."""
    found: dict[str, list[tuple[str, Setting]]] = {}
    for command in COMMANDS:
        for name, setting in settings_of(command).items():
            found.setdefault(name, []).append((command, setting))
    return found


def _is_same(found: list[tuple[str, Setting]]) -> bool:
    return len({setting for _, setting in found}) <= 1


def _table(
    path: Path, values: Mapping[str, Any], where: str, known: Mapping[str, Setting]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in known:
            names = [*known, *COMMANDS] if isinstance(value, dict) else known
            raise ConfigError(f"'{path}': unknown key '{key}'{where}.", _hint(name, names))
        if name in found:
            raise ConfigError(f"'{path}': '{key}'{where} is set twice.", "Remove one of them.")
        found[name] = checked(known[name], value, key, f"'{path}'{where.replace(' in', ',')}")
    return found


def _hint(name: str, known: Mapping[str, Any] | list[str]) -> str:
    gone, near = next_step_after(name), nearest(name, known)
    if gone is not None:
        return gone
    return f"Did you mean '{near}'?" if near else "dub config show lists what can be set."
