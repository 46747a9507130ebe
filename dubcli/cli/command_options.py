"""Options of a command, made from the fields of its configuration."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, fields, replace
from pathlib import Path
from typing import Annotated, Any, cast, get_type_hints

import typer

from dubcli.cli.configured_command import OPTION_TABLE, from_layers
from dubcli.cli.model_parameters import MODEL_OPTIONS, model_parameters, take_model_options
from dubcli.cli.view import View
from dubcli.config import DubConfig, Voice, voices_from
from dubcli.config.commands import CommandSpec
from dubcli.config.settings_common import OptionInfo, Panel, option_info
from dubcli.config.view_config import ViewConfig
from dubcli.core.errors import ConfigError

_SHORT = {"output": "-o", "overwrite": "-y", "data": "-d", "quiet": "-q", "verbose": "-v"}
_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_PANELS = {panel.value: number for number, panel in enumerate(Panel)}
# Options that are given once for each of several.
_SEVERAL_WORDS = (Path | tuple[Voice, ...], tuple[str, ...])
Command = Callable[[Any, View], None]


def options_of(
    spec: CommandSpec,
    *,
    preset: dict[str, Any] | None = None,
    defaults: dict[str, Any] | None = None,
    words: Callable[[], list[str]] | None = None,
    more_help: Mapping[str, str] | None = None,
) -> Callable[[Command], Callable[..., None]]:
    """Make a command of `function(config, view)`: its options are the configuration's fields.

    Args:
        spec: Which fields are options.
        preset: Values of the fields that the command fixes.
        defaults: Defaults that differ from the configuration's.
        words: What the shell offers for the positional argument.
        more_help: Sentences after the help of some options, by field: what depends on models.
    """
    preset, defaults = preset or {}, defaults or {}
    first = spec.arguments[0]
    takes_options = issubclass(spec.config, DubConfig)
    parameters = [inspect.Parameter("ctx", _KEYWORD, annotation=typer.Context)]
    made = _parameters(spec, defaults, words, more_help or {})
    parameters += sorted(made, key=_place_in_help)
    parameters += model_parameters() if takes_options else []

    def decorate(function: Command) -> Callable[..., None]:
        def command(ctx: typer.Context, **values: Any) -> None:
            view = View(**{name: values.pop(name) for name in spec.view})
            values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            if values.get(first, first) is None:
                del values[first]  # no words in a row: the configuration's default
            if takes_options:
                if "audio" in values:
                    values["audio"] = voices_from(values["audio"] or ())
                values[MODEL_OPTIONS] = take_model_options(values)
            with view.logging():
                function(_configuration(ctx, spec, {**preset, **values}), view)

        command.__doc__ = function.__doc__
        cast(Any, command).__signature__ = inspect.Signature(parameters)
        setattr(command, OPTION_TABLE, spec.name)
        return command

    return decorate


def _parameters(
    spec: CommandSpec,
    defaults: dict[str, Any],
    words: Callable[[], list[str]] | None,
    more_help: Mapping[str, str],
) -> Iterator[inspect.Parameter]:
    for config_class, is_wanted in (
        (spec.config, lambda name: name not in (*spec.fixed, MODEL_OPTIONS)),
        (ViewConfig, lambda name: name in spec.view),
    ):
        hints = get_type_hints(config_class)
        for entry in fields(config_class):
            info = option_info(entry.metadata)
            if info is None or not is_wanted(entry.name):
                continue
            if entry.name in more_help:
                info = replace(info, help=f"{info.help} {more_help[entry.name]}")
            default = defaults.get(entry.name, entry.default)
            if config_class is spec.config and entry.name in spec.arguments:
                offered = words if entry.name == spec.arguments[0] else None
                yield _argument(entry, info, hints[entry.name], default, offered)
            else:
                yield _option(entry, info, hints[entry.name], default)


def _argument(
    entry: Field[Any],
    info: OptionInfo,
    annotation: Any,
    default: Any,
    words: Callable[[], list[str]] | None,
) -> inspect.Parameter:
    """A first field of a configuration: what the command works on."""
    declared = typer.Argument(
        help=info.help,
        metavar=info.metavar or entry.name.upper(),
        show_default=False,
        autocompletion=words,
    )
    # Several are a tuple in a configuration; on the command line, words in a row.
    kinds = {tuple[Path, ...]: list[Path], tuple[str, ...]: list[str] | None}
    return _declared(entry.name, kinds.get(annotation, annotation), declared, default or None)


def _option(
    entry: Field[Any], info: OptionInfo, annotation: Any, default: Any
) -> inspect.Parameter:
    """A field of a configuration as an option."""
    # What may be a number or a word comes as a word; voices as several words.
    annotation = str if annotation == str | int else annotation
    annotation = list[str] if annotation in _SEVERAL_WORDS else annotation
    flag = info.flag or f"--{entry.name.replace('_', '-')}"
    decls = [flag if default is not True else f"{flag}/--no-{flag[2:]}"]
    decls += [_SHORT[entry.name]] if entry.name in _SHORT else []
    choices = info.choices
    declared = typer.Option(
        *decls,
        help=info.help,
        metavar=info.metavar,
        show_default=not (default is MISSING or default in (None, False, ())),
        rich_help_panel=info.panel.value,
        autocompletion=(lambda: list(choices)) if choices else None,
    )
    return _declared(entry.name, annotation, declared, default)


def _declared(name: str, annotation: Any, declared: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name,
        _KEYWORD,
        annotation=Annotated[annotation, declared],
        default=inspect.Parameter.empty if default is MISSING else default,
    )


def _place_in_help(parameter: inspect.Parameter) -> int:
    """Arguments first, then options by panel."""
    panel = parameter.annotation.__metadata__[0].rich_help_panel
    return -1 if panel is None else _PANELS[panel]


def _configuration(ctx: typer.Context, spec: CommandSpec, values: dict[str, Any]) -> Any:
    """The configuration; where a file or a variable made it impossible, the error names it."""
    try:
        return spec.config(**values)
    except ConfigError as error:
        for name, chosen in from_layers(ctx).items():
            if name in values and _is_possible(
                spec, {k: v for k, v in values.items() if k != name}
            ):
                error.add_note(f"'{name}' comes from {chosen.origin}")
                break
        raise


def _is_possible(spec: CommandSpec, values: dict[str, Any]) -> bool:
    try:
        spec.config(**values)
    except (ConfigError, TypeError):
        return False
    return True
