"""Write docs/cli.md and docs/dub.1, the manual page, from the commands themselves.

    python tests/tools/write_cli_pages.py

A test compares both files with what this would write.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from rich.markup import render

from dubcli import __version__
from dubcli.cli.app import app
from dubcli.cli.command_group import MAIN_JOB, TERMINATED_EXIT_CODE
from dubcli.cli.configured_command import OTHER_PANEL
from dubcli.cli.inspect_command import ALTERED_EXIT_CODE, UNMARKED_EXIT_CODE
from dubcli.core import errors

DOCS = Path(__file__).resolve().parents[2] / "docs"
COMMAND_LINE = "python tests/tools/write_cli_pages.py"
PLAIN_PANEL = "Options"
TABLE_HEAD = ("| option | default | what it does |", "|---|---|---|")
BAR = "\\|"  # a bar inside a cell
EXIT_CODES = (
    (0, "Done."),
    (1, "A fault of the program; a traceback is shown."),
    *((kind.exit_code, kind.__doc__ or "") for kind in (errors.ConfigError, errors.MediaError)),
    *((kind.exit_code, kind.__doc__ or "") for kind in (errors.WeightsError, errors.FaceError)),
    *((kind.exit_code, kind.__doc__ or "") for kind in (errors.DeviceError, errors.TrainingError)),
    (UNMARKED_EXIT_CODE, "dub inspect: the file has no mark."),
    (ALTERED_EXIT_CODE, "dub inspect: the marks are not as they were put."),
    (errors.BATCH_FAILED_EXIT_CODE, "dub batch: some rows failed."),
    (errors.INTERRUPTED_EXIT_CODE, "Interrupted."),
    (TERMINATED_EXIT_CODE, "Terminated."),
)
FILES = (
    ("~/.config/dubcli/dub.toml", "The user's settings, or $DUB_HOME/dub.toml where that is set."),
    ("./dub.toml", "Settings of the current folder; they win over the user's."),
)
VARIABLES = (
    ("DUB_HOME", "Folder of identities, accepted licences and the user's settings."),
    ("DUB_<OPTION>", "Sets an option of every command that has it, such as DUB_DEVICE."),
    ("DUB_<COMMAND>_<OPTION>", "Sets an option of one command, such as DUB_TRAIN_STEPS."),
)


def markdown() -> str:
    """The page for docs/."""
    lines = [
        "# Commands",
        "",
        f"Written from the code by `{COMMAND_LINE}`; do not edit.",
        "Set by files and variables: [settings](settings.md). Exit codes: [errors](errors.md).",
    ]
    for name, command in _commands():
        lines += ["", f"## {_title(name)}", "", _plain(command.help or ""), ""]
        lines += ["```", _usage(name, command), "```"]
        for argument in _arguments(command):
            lines += ["", f"`{_metavar(argument)}`: {_plain(argument.help or '')}"]
        for panel, options in _panels(command).items():
            lines += [
                "",
                f"**{panel}**",
                "",
                "| option | default | what it does |",
                "|---|---|---|",
            ]
            for option in options:
                cells = (f"`{_names(option)}`", _default(option) or "", _plain(option.help or ""))
                lines.append(
                    f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
                )
    return "\n".join(lines) + "\n"


def manual() -> str:
    """The manual page, in the man macros of roff."""
    (_, main_job), *others = _commands()
    lines = [
        f'.\\" Written from the code by {COMMAND_LINE}; do not edit.',
        f'.TH DUB 1 "" "dub {__version__}" "User Commands"',
        ".SH NAME",
        "dub \\- visual dubbing: lips that follow new audio",
        ".SH SYNOPSIS",
        *_roff_line(f".B {_roff('dub')}", " VIDEO --audio AUDIO [OPTIONS]"),
        ".br",
        *_roff_line(f".B {_roff('dub')}", " COMMAND [OPTIONS]"),
        ".SH DESCRIPTION",
        _roff(_plain(main_job.help or "")),
        "The options of the main job:",
        *_roff_options(main_job),
        ".SH COMMANDS",
    ]
    for name, command in others:
        lines += [f".SS {_roff(_title(name))}", _roff(_plain(command.help or "")), ".PP"]
        lines += [_roff(_usage(name, command))]
        for argument in _arguments(command):
            lines += _roff_item(_metavar(argument), _plain(argument.help or ""))
        for options in _panels(command).values():
            for option in options:
                lines += _roff_item(_names(option), _with_default(option))
    for title, items in (("FILES", FILES), ("ENVIRONMENT", VARIABLES), ("EXIT STATUS", EXIT_CODES)):
        lines.append(f".SH {title}")
        for term, text in items:
            lines += _roff_item(str(term), text)
    return "\n".join(lines) + "\n"


def _commands() -> Iterator[tuple[str, Any]]:
    """The main job, then every command by name, those of groups with two words."""
    group: Any = typer.main.get_command(app)
    yield MAIN_JOB, group.commands[MAIN_JOB]
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            for inner, nested in sorted(command.commands.items()):
                yield f"{name} {inner}", nested
        elif name != MAIN_JOB:
            yield name, command


def _title(name: str) -> str:
    return f"dub {name}"


def _usage(name: str, command: Any) -> str:
    words = [_metavar(one) if one.required else f"[{_metavar(one)}]" for one in _arguments(command)]
    required = [
        f"{option.opts[0]} {_value(option)}"
        for option in command.params
        if option.param_type_name == "option" and option.required
    ]
    start = "dub" if name == MAIN_JOB else f"dub {name}"
    return " ".join([start, *words, *required, "[OPTIONS]"])


def _arguments(command: Any) -> list[Any]:
    return [one for one in command.params if one.param_type_name == "argument"]


def _panels(command: Any) -> dict[str, list[Any]]:
    """Options by panel; what every command has, such as --help, is left out."""
    panels: dict[str, list[Any]] = {}
    for option in command.params:
        panel = option.rich_help_panel or PLAIN_PANEL
        if option.param_type_name == "option" and not option.hidden and panel != OTHER_PANEL:
            panels.setdefault(panel, []).append(option)
    return panels


def _metavar(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return name if argument.nargs == 1 else f"{name}..."


def _names(option: Any) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    return names if option.is_flag else f"{names} {_value(option)}"


def _value(option: Any) -> str:
    """What stands for an option's value."""
    if option.metavar:
        return option.metavar
    kind = str(option.type_descriptor.annotation)
    words = {"int": "NUMBER", "float": "NUMBER", "Path": "PATH"}
    return next((word for name, word in words.items() if name in kind), "TEXT")


def _default(option: Any) -> str:
    if option.required:
        return "required"
    value = option.default
    return "" if value is None or not option.show_default else str(value)


def _with_default(option: Any) -> str:
    default = _default(option)
    text = _plain(option.help or "")
    if not default:
        return text
    return f"{text} [{default if option.required else f'default: {default}'}]"


def _plain(text: str) -> str:
    """A help text without the markup of the terminal."""
    return " ".join(render(text).plain.split())


def _roff(text: str) -> str:
    """Text that roff shows as it stands."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return f"\\&{escaped}" if escaped.startswith(".") else escaped


def _roff_line(first: str, rest: str) -> list[str]:
    return [first, _roff(rest.strip())]


def _roff_item(term: str, text: str) -> list[str]:
    return [".TP", f".B {_roff(term)}", _roff(text)]


def _roff_options(command: Any) -> Iterator[str]:
    for panel, options in _panels(command).items():
        yield f".SS {_roff(panel)}"
        for option in options:
            yield from _roff_item(_names(option), _with_default(option))


PAGES = {"cli.md": markdown, "dub.1": manual}


def main() -> None:
    """Write both pages."""
    for name, write in PAGES.items():
        (DOCS / name).write_text(write(), encoding="utf-8")
        print(DOCS / name)


if __name__ == "__main__":
    main()
