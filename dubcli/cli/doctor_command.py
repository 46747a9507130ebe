"""`dub doctor`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from dubcli.cli.plain_table import PlainTable
from dubcli.cli.view import View, as_json, emit, emit_table

_JsonOption = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]


def examine_machine(json: _JsonOption = False) -> None:
    """What this machine has and lacks for the main job."""
    # Imported here: other commands need none of it, and --help is to answer at once.
    from dubcli.doctor import examine, exit_code

    with View().logging():
        checks = examine()
    code = exit_code(checks)
    if json:
        emit(as_json({"ok": code == 0, "checks": [asdict(check) for check in checks]}))
    else:
        table = PlainTable("check", "found", "what to do")
        for check in checks:
            table.add_row(check.name, check.value, check.fix or "-")
        emit_table(table)
    raise typer.Exit(code)
