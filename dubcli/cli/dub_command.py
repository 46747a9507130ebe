"""`dub VIDEO --audio AUDIO` and `dub demo`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dubcli.cli.command_options import options_of
from dubcli.cli.finetune_command import learn
from dubcli.cli.plan_command import dry_run
from dubcli.cli.view import View
from dubcli.config import DubConfig, FinetuneConfig
from dubcli.config.commands import DEMO, DUB
from dubcli.config.option_parsing import face_number
from dubcli.core.errors import ConfigError

if TYPE_CHECKING:
    from dubcli.pipeline.engine import Engine

_ASSETS = Path(__file__).parent.parent / "assets"


@options_of(DUB)
def dub_video(config: DubConfig, view: View) -> None:
    """Put new speech on a video and move the lips with it."""
    _dub_and_report(config, view)


def _dub_and_report(config: DubConfig, view: View) -> None:
    if view.dry_run:
        dry_run(config, view)
        return
    if config.finetune:
        from dubcli.pipeline.engine import Engine

        with Engine(config.device, config.threads) as engine:
            _dub(_learn_first(config, view, engine), view, engine)
        return
    _dub(config, view)


def _dub(config: DubConfig, view: View, engine: Engine | None = None) -> None:
    from dubcli.pipeline.run import dub

    with view.progress_in("frames") as progress:
        report = dub(config, progress=progress, announce=view.say, engine=engine)
    view.report(report)


@options_of(
    DEMO,
    preset={"video": _ASSETS / "demo.mp4", "audio": _ASSETS / "demo_speech.wav"},
    defaults={"output": Path("dub-demo.mp4")},
)
def dub_demo(config: DubConfig, view: View) -> None:
    """Dub the clip that comes with the package, here."""
    _dub_and_report(config, view)


def _learn_first(config: DubConfig, view: View, engine: Engine) -> DubConfig:
    """Learn the person of the video; the same job with what was learned."""
    from dubcli.identities.store import locate
    from dubcli.pipeline.job import check

    check(config)
    name = config.identity or config.video.stem
    if locate(name).exists():
        raise ConfigError(
            f"The identity '{name}' exists already.",
            "Leave out --finetune to use it, or name another with --identity.",
        )
    learning = FinetuneConfig(
        videos=(config.video,),
        name=name,
        model=config.model,
        consent=config.consent,
        face=face_number(config.face) or 0,
        detector=config.detector,
        seed=config.seed,
        device=config.device,
        threads=config.threads,
    )
    path = learn(learning, view, engine).path
    return replace(config, identity=path, finetune=False, consent=False)
