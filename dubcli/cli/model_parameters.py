"""The options that models declare, as parameters of the commands that dub."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from dubcli.models.model_options import DeclaredOption, declared_options

# The field of a configuration that holds them.
MODEL_OPTIONS = "model_options"


def model_parameters() -> list[inspect.Parameter]:
    """One parameter for each name; several models may declare the same."""
    by_name: dict[str, list[DeclaredOption]] = {}
    for option in declared_options():
        by_name.setdefault(option.name, []).append(option)
    return [_parameter(options) for options in by_name.values()]


def take_model_options(values: dict[str, Any]) -> dict[str, Any]:
    """Take what was given for the models' options out of a command's values."""
    names = {option.name for option in declared_options()}
    given = {name: values.pop(name, None) for name in names}
    return {name: value for name, value in sorted(given.items()) if value is not None}


def _parameter(options: list[DeclaredOption]) -> inspect.Parameter:
    first = options[0]
    kind: Any = first.annotation
    flag = f"{first.flag}/--no-{first.flag[2:]}" if kind is bool else first.flag
    models = ", ".join(option.model for option in options)
    default = "" if first.default is None else f" Default: {first.default}."
    info = typer.Option(
        flag,
        help=f"{first.range.help}{default}",
        show_default=False,
        rich_help_panel=f"Options of {models}",
    )
    return inspect.Parameter(
        first.name,
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[kind | None, info],
        default=None,
    )
