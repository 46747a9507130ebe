"""`dub models`: what weights there are, get, prove, find, remove, publish."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from dubcli.cli.command_options import options_of
from dubcli.cli.configured_command import ConfiguredCommand
from dubcli.cli.plain_table import PlainTable
from dubcli.cli.view import View, as_json, emit, emit_table, is_asked_by_a_person, say
from dubcli.config.commands import MODELS_PULL
from dubcli.config.pull_config import PullConfig
from dubcli.core.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    from dubcli.weights.entry import WeightEntry
    from dubcli.weights.publish import Terms

models_app = typer.Typer(help="Weights: list, get, prove, find, remove, publish.")

_Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME", help="As dub models list has it, or hf:ORG/REPO\\[@REV]."),
]
_All = Annotated[bool, typer.Option("--all", help="Everything that the manifest lists.")]
_For = Annotated[
    str | None,
    typer.Option(
        "--for", metavar="COMMAND", help="What a command needs: evaluate, train, personatalk."
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]
_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
_YES_NO = {True: "yes", False: "no", None: "-"}
_ALLOWED = {True: "yes", False: "no", None: "not stated"}


@models_app.command("list")
def _list(json: _Json = False) -> None:
    """All models: licence, size, and whether their weights are here and whole."""
    from dubcli.weights.manifest import load_manifest

    manifest = load_manifest()
    defaults = {f"{name}.{tag}" for name, tag in manifest.default.items()}
    rows = [
        {**_row(entry), "default": name in defaults} for name, entry in manifest.weights.items()
    ]
    if json:
        emit(as_json(rows))
        return
    columns = ("name", "role", "licence", "commercial", "MB", "for", "present", "sha256", "source")
    table = PlainTable(*columns)
    for row in rows:
        size = "?" if row["megabytes"] is None else f"{row['megabytes']:.1f}"
        cells = (row["name"], row["role"], row["license"], _ALLOWED[row["commercial"]], size)
        marks = (_YES_NO[row["present"]], _YES_NO[row["sha256_ok"]])
        table.add_row(*cells, ", ".join(row["needed_by"]) or "-", *marks, row["source"])
    emit_table(table)


def _row(entry: WeightEntry) -> dict[str, Any]:
    """One entry of the manifest as JSON-ready values; None where there is nothing to check."""
    from dubcli.weights.resolve import is_whole, local_path

    present = local_path(entry) is not None if entry.needs_weights else None
    return {
        "name": entry.name,
        "architecture": entry.architecture,
        "role": entry.role,
        "license": entry.license,
        "commercial": entry.commercial,
        "needed_by": list(entry.needed_by),
        "megabytes": None if entry.num_bytes is None else entry.num_bytes / 1e6,
        "present": present,
        "sha256_ok": is_whole(entry) if present else None,
        "sources": [str(source) for source in entry.sources],
        "source": entry.source,
    }


def _chosen(names: list[str] | None, everything: bool, purpose: str | None) -> list[WeightEntry]:
    """The entries that were asked for, each once."""
    from dubcli.weights.manifest import load_manifest
    from dubcli.weights.resolve import needed_by, resolve

    if sum((bool(names), everything, purpose is not None)) != 1:
        raise ConfigError("Which ones?", "Give names, or --for COMMAND, or --all.")
    if everything:
        return list(load_manifest().weights.values())
    if purpose is not None:
        return needed_by(purpose)
    entries = [resolve(name, role=None) for name in names or []]
    return list({entry.name: entry for entry in entries}.values())


@models_app.command("pull", cls=ConfiguredCommand)
@options_of(MODELS_PULL)
def _pull(config: PullConfig, view: View) -> None:
    """Download weights, and prove them by their sha256."""
    names = list(config.names)
    wanted = [e for e in _chosen(names, config.everything, config.purpose) if e.needs_weights]
    agreed = [entry for entry in wanted if _agree(entry, config.accept_licence)]
    rows: list[dict[str, Any]] = []
    failed: list[WeightsError] = []
    for entry in agreed:
        try:
            rows.append(_get(entry, view))
        except WeightsError as error:
            if len(wanted) == 1:
                raise
            failed.append(error)
            say(f"dub: {error}")
    if view.json:
        emit(as_json(rows))
    if failed:
        raise typer.Exit(failed[0].exit_code)
    if len(agreed) < len(wanted):
        raise ConfigError("What was not agreed to was not downloaded.", "See: dub models list")


def _agree(entry: WeightEntry, accept_licence: bool) -> bool:
    """Show a licence that does not allow every use, once, and keep the answer."""
    from dubcli.weights.local_files import is_accepted
    from dubcli.weights.lock import accept

    if is_accepted(entry):
        return True
    licence = entry.license or "none stated"
    say(
        f"dub: {entry.agreement} has the licence: {licence}. Commercial use: "
        f"{_ALLOWED[entry.commercial]}."
    )
    if not accept_licence:
        if not is_asked_by_a_person():
            raise ConfigError(
                f"There is no terminal to ask whether you agree to the licence of "
                f"{entry.agreement}.",
                "If your use is allowed, add --accept-licence.",
            )
        if not _confirmed("Do you agree, and is your use allowed?"):
            return False
    accept(entry.agreement, entry.license)
    return True


def _get(entry: WeightEntry, view: View) -> dict[str, Any]:
    """Get one entry; package files are proven only."""
    from dubcli.weights.resolve import pull, size_in_words

    if entry.sources:
        view.say(f"{entry.name} ({size_in_words(entry)})")
    with view.progress_in("MB") as progress:
        proof, is_new = pull(entry, progress)
    done = "downloaded" if is_new else "here already"
    view.say(f"{entry.name}: {done}, sha256 {proof.sha256[:12]} is right, {proof.path}")
    return {"name": entry.name, "downloaded": is_new, **_of_proof(proof)}


def _of_proof(proof: Any) -> dict[str, Any]:
    return {"path": str(proof.path), "sha256": proof.sha256, "bytes": proof.num_bytes}


@models_app.command("verify")
def _verify(
    names: _Names = None,
    everything: _All = False,
    purpose: _For = None,
    json: _Json = False,
) -> None:
    """Prove weights that are here by their sha256; a wrong download is moved aside."""
    from dubcli.weights.resolve import local_path, prove

    with View().logging():
        is_plain = not names and purpose is None and not everything
        entries = [e for e in _chosen(names, everything or is_plain, purpose) if e.needs_weights]
        rows: list[dict[str, Any]] = []
        for entry in entries:
            if (is_plain or everything) and local_path(entry) is None:
                continue
            try:
                rows.append({"name": entry.name, "ok": True, **_of_proof(prove(entry))})
            except WeightsError as error:
                rows.append({"name": entry.name, "ok": False, "problem": str(error)})
    if json:
        emit(as_json(rows))
    else:
        table = PlainTable("name", "whole", "sha256", "file or problem")
        for row in rows:
            texts = (row.get("sha256", "-")[:12], row.get("path") or row["problem"])
            table.add_row(row["name"], _YES_NO[row["ok"]], *map(escape, texts))
        emit_table(table)
    if not all(row["ok"] for row in rows):
        raise typer.Exit(WeightsError.exit_code)


@models_app.command("path")
def _path(name: Annotated[str, typer.Argument(metavar="NAME", help="One model or part.")]) -> None:
    """Where the proven file of a model or part lies."""
    from dubcli.weights.resolve import prove, resolve

    with View().logging():
        entry = resolve(name, role=None)
        if not entry.needs_weights:
            raise ConfigError(f"{entry.name} needs no weights.", "Choose another model.")
        proof = prove(entry)
    emit(str(proof.path))


@models_app.command("remove")
def _remove(
    names: _Names = None,
    everything: _All = False,
    purpose: _For = None,
    forget: Annotated[
        bool,
        typer.Option("--forget", help="Also drop its recorded sha256 and the accepted licence."),
    ] = False,
) -> None:
    """Delete downloaded weights; those of the package stay."""
    from dubcli.weights.local_files import discard
    from dubcli.weights.lock import forget as drop

    entries = _chosen(names, everything, purpose)
    fixed = [entry.name for entry in entries if not entry.sources]
    if names and fixed:
        raise ConfigError(
            f"{fixed[0]} is no download, so it is not removed.", "See: dub models list"
        )
    for entry in entries:
        if not entry.sources:
            continue
        freed = discard(entry)
        dropped = forget and any([drop(entry.name), drop(entry.agreement)])
        if freed or dropped:
            say(f"dub: {entry.name}: removed, {freed / 1e6:.1f} MB are free again")
        elif names:
            say(f"dub: {entry.name} is not on this machine")


@models_app.command("push")
def _push(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="A training run, a step-NNNNNN folder, or a .safetensors file."
        ),
    ],
    repo: Annotated[str, typer.Argument(metavar="ORG/REPO", help="The repository of the hub.")],
    licence: Annotated[
        str | None, typer.Option("--licence", help="Of the weights, such as 'CC BY-NC-SA 4.0'.")
    ] = None,
    commercial: Annotated[
        bool | None,
        typer.Option("--commercial/--no-commercial", help="Whether it allows commercial use."),
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", help="What it was trained on, in words.")
    ] = None,
    scores: Annotated[
        Path | None, typer.Option("--scores", help="scores.json of dub evaluate on these weights.")
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Make a new repository public; private by default.")
    ] = False,
    yes: _Yes = False,
    json: _Json = False,
) -> None:
    """Publish a checkpoint of your own, with its model card. The token is HF_TOKEN."""
    from dubcli.weights.external import of_path
    from dubcli.weights.load import load_entry
    from dubcli.weights.publish import check_repo, publish

    view = View(json=json)
    with view.logging():
        check_repo(repo)
        entry = of_path(path)
        terms = _terms(entry, licence, commercial, source, scores)
        load_entry(entry, "cpu")  # what nobody could load is not published
        kind = "public if it is new" if public else "private if it is new"
        question = f"Publish {entry.path} to {repo} ({kind}) under {terms.licence}?"
        if not (yes or _may_publish(question)):
            view.say("nothing was published.")
            return
        view.say(f"publishing {(entry.num_bytes or 0) / 1e6:.1f} MB to {repo}")
        done = publish(entry, repo, terms, private=not public)
    view.say(f"published: {done.url}")
    view.say(f"use it with --model {done.model}")
    if json:
        emit(as_json(asdict(done)))


def _terms(
    entry: WeightEntry,
    licence: str | None,
    commercial: bool | None,
    source: str | None,
    scores: Path | None,
) -> Terms:
    """What the user says of the weights, else what their configuration says."""
    from dubcli.weights.publish import Terms, scores_of

    said = (licence or entry.license).strip()
    if not said:
        raise ConfigError("Under which licence?", "Add --licence, such as --licence 'CC BY 4.0'.")
    return Terms(
        licence=said,
        commercial=entry.commercial if commercial is None else commercial,
        source=source or entry.source,
        metrics=entry.metrics if scores is None else scores_of(scores, str(entry.sha256)),
    )


def _may_publish(question: str) -> bool:
    if not is_asked_by_a_person():
        raise ConfigError("There is no terminal to ask whether it may be published.", "Add --yes.")
    return _confirmed(question)


def _confirmed(question: str) -> bool:
    try:
        return typer.confirm(question, err=True)
    except typer.Abort as error:
        raise KeyboardInterrupt from error
