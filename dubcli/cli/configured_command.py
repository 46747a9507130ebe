"""A command whose options may also be set by files and variables."""

from __future__ import annotations

import os
from typing import Any

import typer
from typer.core import TyperCommand, TyperOption

from dubcli.user_settings.setting_layers import Chosen, LayeredSettings, read_layers

OPTION_TABLE = "option_table"  # attribute of a command's function: the name of its `CommandSpec`
OTHER_PANEL = "Other"
_LAYERS = "dubcli.user_settings"


class ConfiguredCommand(TyperCommand):
    """Below the command line lie the layers of `user_settings`; `--help` shows neither."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        """Parse the words; what they leave out comes from the layers."""
        before_names = args[: args.index("--")] if "--" in args else args
        if not ctx.resilient_parsing and "--help" not in before_names:
            lay_under(ctx, getattr(self.callback, OPTION_TABLE))
        return super().parse_args(ctx, args)

    def get_help_option(self, ctx: typer.Context) -> Any:
        """`--help`, below what the command does."""
        return in_other_panel(super().get_help_option(ctx))


def lay_under(ctx: typer.Context, table: str) -> None:
    """Make what files and variables set the defaults of a command.

    Raises:
        ConfigError: A file or a variable is wrong.
    """
    settings = read_layers(table, os.environ)
    ctx.meta[_LAYERS] = settings
    ctx.default_map = {name: chosen.value for name, chosen in settings.chosen.items()}


def layered_settings(ctx: typer.Context) -> LayeredSettings:
    """What files and variables set for the command that was parsed last."""
    return ctx.meta[_LAYERS]


def from_layers(ctx: typer.Context) -> dict[str, Chosen]:
    """Values of a command that come from a file or a variable, by option."""
    chosen = layered_settings(ctx).chosen
    return {name: one for name, one in chosen.items() if not _is_typed(ctx, name)}


def _is_typed(ctx: typer.Context, name: str) -> bool:
    """Whether the option was given on the command line."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def in_other_panel(option: Any) -> Any:
    """An option that every program has, in the last panel of the help."""
    if isinstance(option, TyperOption):
        option.rich_help_panel = OTHER_PANEL
    return option
