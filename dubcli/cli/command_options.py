"""Options of a command, made from the fields of its configuration."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, get_type_hints

import typer

from dubcli.cli.model_parameters import MODEL_OPTIONS, model_parameters, take_model_options
from dubcli.cli.view import View
from dubcli.config import DubConfig, Voice, help_of, voices_from

_SHORT = {"output": "-o", "overwrite": "-y", "data": "-d"}

ConfigT = TypeVar("ConfigT")

_VIEW_OPTIONS = {
    "quiet": Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")],
    "verbose": Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")],
    "json": Annotated[bool, typer.Option("--json", help="The report on stdout, alone.")],
    "dry_run": Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, as dub plan does; no more.")
    ],
}
_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def _parameter(config_class: type, name: str, annotation: Any, default: Any) -> inspect.Parameter:
    """One field of a configuration as a parameter of a command."""
    (entry,) = (entry for entry in fields(cast(Any, config_class)) if entry.name == name)
    text = help_of(entry.metadata)
    is_required = default is MISSING
    if name == fields(config_class)[0].name:
        info: Any = typer.Argument(help=text, metavar=name.upper(), show_default=False)
        # Several files are a tuple in a configuration; on the command line, words in a row.
        annotation = list[Path] if annotation == tuple[Path, ...] else annotation
    else:
        # What may be a number or a word comes as a word; voices as several words.
        annotation = str if annotation == str | int else annotation
        annotation = list[str] if annotation == Path | tuple[Voice, ...] else annotation
        flag = f"--{name.replace('_', '-')}"
        decls = [flag if default is not True else f"{flag}/--no-{flag[2:]}"]
        decls += [_SHORT[name]] if name in _SHORT else []
        show_default = not (is_required or default is None or default is False)
        info = typer.Option(*decls, help=text, show_default=show_default)
    return inspect.Parameter(
        name,
        _KEYWORD,
        annotation=Annotated[annotation, info],
        default=inspect.Parameter.empty if is_required else default,
    )


def options_of(
    config_class: type[ConfigT],
    *view_options: str,
    preset: dict[str, Any] | None = None,
    defaults: dict[str, Any] | None = None,
) -> Callable[[Callable[[ConfigT, View], None]], Callable[..., None]]:
    """Make a command of `function(config, view)`: its options are the configuration's fields.

    Args:
        config_class: Its first field is the positional argument.
        view_options: Fields of `View` that the command has as flags.
        preset: Fields that the command fixes; they are no options.
        defaults: Defaults that differ from the configuration's.
    """
    preset, defaults = preset or {}, defaults or {}
    hints = get_type_hints(config_class)
    parameters = [
        _parameter(
            config_class, entry.name, hints[entry.name], defaults.get(entry.name, entry.default)
        )
        for entry in fields(cast(Any, config_class))
        if entry.name not in preset and entry.name != MODEL_OPTIONS
    ]
    takes_options = issubclass(config_class, DubConfig)
    parameters += model_parameters() if takes_options else []
    parameters += [
        inspect.Parameter(name, _KEYWORD, annotation=_VIEW_OPTIONS[name], default=False)
        for name in view_options
    ]

    def decorate(function: Callable[[ConfigT, View], None]) -> Callable[..., None]:
        def command(**values: Any) -> None:
            view = View(**{name: values.pop(name) for name in view_options})
            values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            if issubclass(config_class, DubConfig) and "audio" in values:
                values["audio"] = voices_from(values["audio"] or ())
            if takes_options:
                values[MODEL_OPTIONS] = take_model_options(values)
            with view.logging():
                function(config_class(**preset, **values), view)

        command.__doc__ = function.__doc__
        cast(Any, command).__signature__ = inspect.Signature(parameters)
        return command

    return decorate
