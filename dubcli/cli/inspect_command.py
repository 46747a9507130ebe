"""`dub inspect`: the marks of a file, read back and verified."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from dubcli.cli.plain_table import PlainTable
from dubcli.cli.view import View, as_json, emit, emit_table, say

if TYPE_CHECKING:
    from dubcli.provenance.verify import Findings

UNMARKED_EXIT_CODE = 8
ALTERED_EXIT_CODE = 9

_File = Annotated[Path, typer.Argument(metavar="FILE", help="A video, dubbed or not.")]
_Trust = Annotated[
    Path | None,
    typer.Option("--trust", help="PEM of authorities whose signers are trusted besides."),
]
_Json = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]


def inspect_file(file: _File, trust: _Trust = None, json: _Json = False) -> None:
    """Read the marks of a file and verify them. Exit code 8: no mark; 9: not as they were put."""
    from dubcli.provenance.verify import look_at

    with View().logging():
        found = look_at(file, trust)
    if json:
        emit(as_json({"file": str(file), **_as_json(found)}))
    else:
        _show(file, found)
    raise typer.Exit(_exit_code(found))


def _exit_code(found: Findings) -> int:
    if not found.is_marked:
        return UNMARKED_EXIT_CODE
    return 0 if found.is_intact else ALTERED_EXIT_CODE


def _as_json(found: Findings) -> dict[str, Any]:
    statement, credentials = found.tag.statement, found.credentials
    return {
        "marked": found.is_marked,
        "intact": found.is_intact,
        "comment": found.tag.comment or None,
        "statement": None if statement is None else asdict(statement),
        "content_credentials": None if credentials is None else asdict(credentials),
        "can_verify_credentials": found.can_verify,
        "problems": list(found.problems),
        "notes": list(found.notes),
    }


def _show(file: Path, found: Findings) -> None:
    table = PlainTable.grid(padding=(0, 2))
    for name, text in _rows(file, found):
        table.add_row(name, Text(text))  # what a file says is no markup
    emit_table(table)
    for problem in found.problems:
        say(f"dub: {problem}")
    for note in found.notes:
        say(f"dub: note: {note}")


def _rows(file: Path, found: Findings) -> list[tuple[str, str]]:
    verdict = "no mark"
    if found.is_marked:
        verdict = "marked, and intact" if found.is_intact else "marked, and altered since"
    rows = [("file", f"{file}: {verdict}")]
    statement, credentials = found.tag.statement, found.credentials
    if found.tag.is_there:
        rows.append(("comment", found.tag.comment))
    if statement is not None:
        weights = "" if statement.weights_sha256 is None else f", sha256 {statement.weights_sha256}"
        seen = "; frames show it too" if statement.visible else ""
        rows.append(("made by", f"dub {statement.version}, {statement.model}{weights}{seen}"))
    if credentials is not None:
        by = f", signed by {credentials.signer} ({credentials.issuer})"
        rows.append(
            (
                "credentials",
                f"{credentials.state}, {credentials.where}{by if credentials.signer else ''}",
            )
        )
    return rows
