"""`dub compare`."""

from __future__ import annotations

from dataclasses import asdict

from dubcli.cli.command_options import options_of
from dubcli.cli.view import View, as_json, emit
from dubcli.config import CompareConfig
from dubcli.config.commands import COMPARE


@options_of(COMPARE)
def compare_videos(config: CompareConfig, view: View) -> None:
    """Put videos side by side, or one over the other with a wipe, in step and with labels."""
    from dubcli.compare.comparison import compare

    report = compare(config)
    for letter, facts in report.videos.items():
        view.say(f"{letter}: {facts['path']}")
    for note in report.notes:
        view.say(note)
    if report.sheet is not None:
        view.say(f"contact sheet: {report.sheet}")
    heard = "no sound" if report.sound is None else f"the sound of {report.sound}"
    view.say(f"{report.output}: {report.width}x{report.height}, {heard}")
    if view.json:
        emit(as_json(asdict(report)))
