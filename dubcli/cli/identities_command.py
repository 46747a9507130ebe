"""`dub identities`: what is there, what it holds, remove, move between machines."""

from __future__ import annotations

import json as json_text
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from dubcli.cli.plain_table import PlainTable
from dubcli.cli.view import View, as_json, emit, emit_table, is_asked_by_a_person, say
from dubcli.core.errors import ConfigError

if TYPE_CHECKING:
    from dubcli.identities.layout import Description
    from dubcli.identities.store import Entry

identities_app = typer.Typer(help="People that dub finetune has learned.")

_Which = Annotated[str, typer.Argument(metavar="NAME", help="Its name, or its directory.")]
_Json = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]
_Overwrite = Annotated[
    bool, typer.Option("--overwrite", "-y", help="Replace what is there under this name.")
]
_DATE_LENGTH = len("2026-01-31")
_YES_NO = {True: "yes", False: "no", None: "-"}


@identities_app.command("list")
def _list(json: _Json = False) -> None:
    """All identities that have a name; damaged ones with the reason."""
    from dubcli.identities.store import identities_home, list_identities

    rows = [_row(entry) for entry in list_identities()]
    if not rows:
        say(f"dub: no identity in {identities_home()}; dub finetune VIDEO --name NAME learns one.")
    if json:
        emit(as_json(rows))
    elif rows:
        table = PlainTable(
            "name", "base", "learned on", "steps kept", "MB", "consent", "fits", "damage"
        )
        for row in rows:
            size, fits = f"{row['megabytes']:.1f}", _YES_NO[row["fits"]]
            dates = [(row[key] or "-")[:_DATE_LENGTH] for key in ("created", "consent")]
            texts = (row["name"], row["base"], dates[0], row["kept_step"], size, dates[1], fits)
            cells = ("-" if text is None else escape(str(text)) for text in texts)
            table.add_row(*cells, escape(row["problem"]) or "-")
        emit_table(table)


def _row(entry: Entry) -> dict[str, Any]:
    """One identity as JSON-ready values; None for what a damaged one does not tell."""
    found = entry.description
    row: dict[str, Any] = {"name": entry.name, "path": str(entry.path)}
    row |= {"base": None, "created": None, "kept_step": None, "consent": None, "fits": None}
    if found is not None:
        row |= {
            "base": found.base.name,
            "created": found.created,
            "kept_step": found.report.get("kept_step"),
            "consent": found.consent.date if found.consent.agreed else None,
            "fits": _fits(found),
        }
    return row | {"megabytes": entry.num_bytes / 1e6, "problem": entry.problem}


def _fits(description: Description) -> bool:
    """Whether the weights that it was learned on are those of this installation."""
    from dubcli.identities.adapter import fits_installed

    return fits_installed(description.base)


@identities_app.command("show")
def _show(which: _Which, json: _Json = False) -> None:
    """What one identity holds, and how it was learned."""
    from dubcli.identities.store import locate, read_files

    path = locate(which)
    description, contents = read_files(path)
    content = {
        **asdict(description),
        "path": str(path),
        "fits": _fits(description),
        "references": description.num_references,
        "megabytes": sum(len(part) for part in contents.values()) / 1e6,
        "files": sorted(description.files),
    }
    if json:
        emit(as_json(content))
        return
    table = PlainTable("what", "value")
    for key, value in _lines({key: content[key] for key in content if key != "files"}):
        table.add_row(escape(key), escape(value))
    emit_table(table)


def _lines(content: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested values as lines of a table."""
    lines: list[tuple[str, str]] = []
    for key, value in content.items():
        if isinstance(value, dict):
            lines += _lines(value, f"{prefix}{key}.")
        else:
            lines.append((prefix + key, _shown(value)))
    return lines


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return _YES_NO[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json_text.dumps(value, ensure_ascii=False)


@identities_app.command("remove")
def _remove(
    which: _Which,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove an identity for good."""
    from dubcli.identities.store import locate, remove_identity, require_identity
    from dubcli.identities.work_folder import remove_leftovers

    path = locate(which)
    remove_leftovers(path)  # also where a removal was broken off and the name is gone already
    require_identity(path)
    if not (yes or _agreed(f"Remove the identity '{path.name}' ({path}) for good?")):
        say("dub: nothing was removed.")
        return
    remove_identity(path)
    say(f"dub: removed the identity '{path.name}'")


def _agreed(question: str) -> bool:
    if not is_asked_by_a_person():
        raise ConfigError("There is no terminal to ask whether it may be removed.", "Add --yes.")
    try:
        return typer.confirm(question, err=True)
    except typer.Abort as error:
        raise KeyboardInterrupt from error


@identities_app.command("export")
def _export(
    which: _Which,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The file; gets .dubid where it has no suffix.")
    ],
    overwrite: _Overwrite = False,
) -> None:
    """Write an identity as one file, to use it on another machine."""
    from dubcli.identities.archive import export_identity
    from dubcli.identities.store import locate

    written = export_identity(locate(which), file, replace=overwrite)
    say(f"dub: wrote {written}: it holds pictures of a face, give it to nobody who may not see it")


@identities_app.command("import")
def _import(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A file that dub identities export wrote.")
    ],
    name: Annotated[str | None, typer.Option("--name", help="Call it this here.")] = None,
    overwrite: _Overwrite = False,
) -> None:
    """Take in an exported identity."""
    from dubcli.identities.archive import import_identity
    from dubcli.identities.store import read_files

    with View().logging():
        path = import_identity(file, name, replace=overwrite)
        description, _ = read_files(path)
    consent = description.consent
    agreed = f"agreed, {consent.date[:_DATE_LENGTH]}" if consent.agreed else "did not agree"
    say(f"dub: the file says that the person {agreed}; whether that is true is not known here")
    say(f"dub: use it with --identity {path.name}")
