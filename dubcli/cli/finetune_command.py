"""`dub finetune`."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import typer

from dubcli.cli.command_options import options_of
from dubcli.cli.view import View, as_json, emit, is_asked_by_a_person
from dubcli.config import FinetuneConfig
from dubcli.config.commands import FINETUNE
from dubcli.core.errors import ConfigError

if TYPE_CHECKING:
    from dubcli.core.reports import FinetuneReport
    from dubcli.pipeline.engine import Engine


@options_of(FINETUNE)
def finetune_person(config: FinetuneConfig, view: View) -> None:
    """Learn one person from their own video; use it with --identity."""
    report = learn(config, view)
    if view.json:
        emit(as_json(asdict(report)))


def learn(config: FinetuneConfig, view: View, engine: Engine | None = None) -> FinetuneReport:
    """Ask whether the person agreed, learn, and tell.

    Args:
        config: What to do.
        view: Tells.
        engine: Holds loaded networks; one for this call alone by default.
    """
    from dubcli.training.parallel import require_one_process

    require_one_process("dub finetune")
    asked = not config.consent and is_asked_by_a_person()
    if asked:
        question = "Did the person in this footage agree that their face is learned and dubbed?"
        if not typer.confirm(question, err=True):
            raise ConfigError("Without consent nobody is learned.", "Ask the person first.")
        config = replace(config, consent=True)
    from dubcli.personalize.run import finetune

    with view.progress_in("steps") as progress:
        report = finetune(config, progress, announce=view.say, asked=asked, engine=engine)
    view.learned(report)
    return report
