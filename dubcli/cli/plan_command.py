"""`dub plan` on the terminal: what a dub would do, in tables and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from dubcli.cli.command_options import options_of
from dubcli.cli.plain_table import PlainTable
from dubcli.cli.view import View, as_json, emit, emit_table, say
from dubcli.config import DubConfig, PlanConfig
from dubcli.config.commands import PLAN
from dubcli.core.formatting import clock_time, in_bytes, in_time, reason_in_words, reasons_in_words

if TYPE_CHECKING:
    from dubcli.preview.plan_types import FaceFacts, PlanReport, ResultFacts, ShotFacts, SourceFacts

# Rows of a table on a terminal; `--json` has all.
MOST_ROWS = 40
_LIPS = {
    "speaks": "speaks",
    "moves": "lips move",
    "still": "still",
    "unknown": "unknown",
}


def dry_run(config: DubConfig, view: View) -> None:
    """The plan of a dub, without the picture of the faces: nothing is written.

    Raises:
        DubError: The dub could not begin.
        typer.Exit: The dub would fail later, with its exit code.
    """
    values = {entry.name: getattr(config, entry.name) for entry in fields(config)}
    show_plan(PlanConfig(**values, picture=False), view)


@options_of(PLAN)
def plan_dub(config: PlanConfig, view: View) -> None:
    """Show what a dub would do: faces, shots, what stays as it is, time and disk."""
    show_plan(config, view)


def show_plan(config: PlanConfig, view: View) -> None:
    """Make a plan and put it on stdout.

    Raises:
        DubError: The dub could not begin, or the picture of the faces cannot be written.
        typer.Exit: The dub would fail later, with its exit code.
    """
    from dubcli.preview.plan_report import make_plan

    with view.progress_in("frames") as progress:
        report = make_plan(config, progress)
    if view.json:
        emit(as_json(asdict(report)))
    else:
        _show(report)
    if report.error is not None:
        say(f"dub: {report.error}")
        raise typer.Exit(report.exit_code)


def _show(report: PlanReport) -> None:
    _emit_pairs([("video", _source(report.source)), *_result(report), *_needs(report)])
    if report.faces:
        emit("")
        _emit_faces(report)
    if len(report.shots) > 1 and report.faces:
        emit("")
        _emit_shots(report.shots)
    if report.passed:
        emit("")
        _emit_passed(report)
    notes = [*report.notes, *(report.result.notes if report.result else ())]
    if notes:
        emit("")
    for note in notes:
        emit(f"- {note}")


def _emit_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    table = PlainTable.grid(padding=(0, 2))
    for name, text in pairs:
        table.add_row(name, Text(text))  # file names are no markup
    emit_table(table)


def _source(source: SourceFacts) -> str:
    width, height = source.display_size
    rate = "varying, " if source.is_variable else ""
    turned = f", turned by {source.rotation_deg} degrees" if source.rotation_deg else ""
    fields = ", interlaced" if source.is_interlaced else ""
    return (
        f"{source.path}: {width}x{height}{turned}, {rate}{source.frame_rate:g} frames/s{fields}, "
        f"{in_time(source.duration_s)}, {source.codec} {source.pix_fmt} ({source.colour}); "
        f"sound: {source.sound or 'none'}"
        + (f"; also {', '.join(source.others)}" if source.others else "")
    )


def _result(report: PlanReport) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    result = report.result
    for speaker in report.speakers:
        says = "" if speaker.audio is None else f", says {speaker.audio}"
        pairs.append(("dubbed", f"face {speaker.face}: {speaker.reason}{says}"))
    if result is not None:
        pairs += [
            ("frames", f"{result.frames_dubbed} of {result.frames} will be dubbed"),
            ("copied", _copied(result)),
            ("length", f"{in_time(result.duration_s)}. {result.timeline}"),
            ("result", _written(result, bool(report.config.get("overwrite")))),
            ("marks", result.marks),
        ]
    if report.picture is not None:
        pairs.append(("faces", f"numbered in {report.picture}"))
    return pairs


def _copied(result: ResultFacts) -> str:
    if result.encoded_whole_because is not None:
        return f"none, all are encoded: {result.encoded_whole_because}"
    return f"{result.frames_copied} frames will be the video's own packets, not encoded"


def _written(result: ResultFacts, is_replaced: bool) -> str:
    sound = "the new sound as it is" if result.sound == "copy" else f"sound in {result.sound}"
    exists = "; exists, and would be replaced" if is_replaced else "; exists: the dub needs -y"
    exists = exists if result.exists else ""
    return f"{result.path}: {result.container}, {result.encoder} {result.pix_fmt}, {sound}{exists}"


def _needs(report: PlanReport) -> list[tuple[str, str]]:
    needed = report.estimate
    if needed is None:
        return []
    before = sum(report.seconds.get(stage, 0) for stage in ("prepare", "analyse", "references"))
    free = "" if needed.free_bytes is None else f"; {in_bytes(needed.free_bytes)} are free"
    return [
        (
            "time",
            f"about {in_time(before + needed.seconds)}: {in_time(before)} to look at it, then "
            f"{in_time(needed.seconds)} ({1000 * needed.dubbed_frame_s:.0f} ms a dubbed frame, "
            f"measured on {needed.trial_frames} frames)",
        ),
        (
            "disk",
            f"about {in_bytes(needed.disk_bytes)}, {in_bytes(needed.result_bytes)} in the end"
            f"{free}",
        ),
    ]


def _emit_faces(report: PlanReport) -> None:
    table = PlainTable(
        "face", "", "frames", "usable", "height, px", "turn", "nod", "lips", "not usable"
    )
    dubbed = [speaker.face for speaker in report.speakers]
    for face in report.faces:
        mark = "dubbed" if face.face in dubbed else ""
        table.add_row(str(face.face), mark, *_cells(face))
    emit_table(table)


def _emit_shots(shots: Sequence[ShotFacts]) -> None:
    table = PlainTable(
        *("shot", "from", "to", "face", "frames", "usable", "height, px", "turn", "nod", "lips"),
        "not usable",
    )
    rows: list[tuple[str, ...]] = []
    for shot in shots:
        where = (str(shot.number), clock_time(shot.start_s), clock_time(shot.end_s))
        if not shot.faces:
            rows.append((*where, "-", str(shot.frames), "0", "-", "-", "-", "-", "no face"))
        for face in shot.faces:
            rows.append((*where, str(face.face), *_cells(face)))
            where = ("", "", "")
    _emit_rows(table, rows)


def _cells(face: FaceFacts) -> tuple[str, ...]:
    """Frames, usable ones, height, pose, lips and what is wrong, for a table."""
    least, middle, most = face.height_px
    lips = _LIPS.get(face.lips, face.lips)
    sure = "" if face.confidence is None or face.lips != "speaks" else f" ({face.confidence:.2f})"
    return (
        str(face.frames),
        str(face.usable),
        f"{middle} ({least} to {most})",
        _degrees(face.yaw_deg),
        _degrees(face.pitch_deg),
        f"{lips}{sure}",
        reasons_in_words(face.reasons) or "-",
    )


def _degrees(between: tuple[int, int]) -> str:
    return f"{between[0]} to {between[1]}°"


def _emit_passed(report: PlanReport) -> None:
    table = PlainTable("stays as it is, from", "to", "frames", "why")
    rows = [
        (
            clock_time(one.start_s),
            clock_time(one.end_s),
            str(one.frames),
            reason_in_words(one.reason),
        )
        for one in report.passed
    ]
    _emit_rows(table, rows)


def _emit_rows(table: PlainTable, rows: Sequence[tuple[str, ...]]) -> None:
    for row in rows[:MOST_ROWS]:
        table.add_row(*row)
    emit_table(table)
    if len(rows) > MOST_ROWS:
        emit(f"and {len(rows) - MOST_ROWS} more rows: --json has all")
