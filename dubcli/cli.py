"""The `dub` command: parse, call, show. Only this and `cli_view` import typer or rich.

`dub VIDEO --audio AUDIO` is the default command of the group: a first word that names no command
belongs to it. Options are made from the fields of the configurations in `dubcli.config`, so a
default stands there and nowhere else. stdout carries data only; the rest goes to stderr. torch and
the media libraries load inside the commands, because `dub --help` must answer at once.
"""

from __future__ import annotations

import inspect
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, asdict, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast, get_type_hints

import typer
from rich.table import Table
from typer.core import TyperGroup

from dubcli.cli_view import View, as_json, emit, emit_table, say
from dubcli.config import (
    DEVICES,
    SYNC_MODES,
    DubConfig,
    EvaluateConfig,
    PrepareConfig,
    SyncTrainConfig,
    TrainConfig,
)
from dubcli.doctor import examine, exit_code, library_error
from dubcli.errors import INTERRUPTED_EXIT_CODE, ConfigError, DubError, WeightsError

if TYPE_CHECKING:
    from dubcli.weights import WeightEntry

TERMINATED_EXIT_CODE = 143
USAGE_EXIT_CODE = 2
TRAIN_SYNC = "train sync"
MAIN_JOB = "VIDEO --audio AUDIO"  # not one word, so no shell argument can be mistaken for it

_HELP: dict[type, dict[str, str]] = {
    DubConfig: {
        "video": "The video to dub.",
        "audio": "The new speech: any file with an audio stream.",
        "output": "Where the result goes. Default: VIDEO.dubbed.EXT beside the video.",
        "overwrite": "Replace the output if it exists.",
        "model": "Model or model.tag, as in `dub models list`.",
        "device": f"Where the model runs: {', '.join(DEVICES)}; cuda:N picks one GPU.",
        "face": "Which face, counted from 1 by size.",
        "sync_mode": (
            f"When the lengths differ: {', '.join(SYNC_MODES)}. The first three extend the video "
            "under longer audio; cut ends with the shorter; pad keeps the video's length."
        ),
        "crf": "Quality of the video: 0 is lossless, 51 the worst.",
        "seed": "Seed of everything random.",
        "threads": "CPU threads; 0 takes all cores.",
        "allow_silence": "Dub although the audio is silent: the mouth stays closed.",
    },
    PrepareConfig: {
        "clips": "Folder of video clips.",
        "output": "Folder of the training set.",
        "overwrite": "Replace the training set if it exists.",
        "jobs": "Clips prepared at the same time.",
        "catalogue": "CSV that names clips, people and whether the audio is theirs.",
    },
    TrainConfig: {
        "model": "Architecture to train.",
        "data": "Folder that `dub prepare` made.",
        "output": "Folder of the run: checkpoints, log, sample pictures.",
        "stage": "What is trained: geometry, render or joint.",
        "preset": "Named model configuration.",
        "losses": "Named loss weights: default, no-gan, paper or lip-identity.",
        "perceptual": (
            "What perceptual losses compare: vgg19 (downloaded), substitute, or auto: vgg19 where "
            "it is downloaded already."
        ),
        "init": "What to start from: a run, a checkpoint, a .safetensors file or a model's name.",
        "half_size": "Train at half the crop's height and width: faster, for a first stage.",
        "steps": "Optimizer steps in all.",
        "minutes": "Stop after this many minutes; 0 for no limit.",
        "batch_clips": "Clips in a batch.",
        "frames_per_clip": "Frames of each clip in a batch.",
        "learning_rate": "Step size of the optimizer.",
        "seed": "Seed of everything random.",
        "device": f"Where it runs: {', '.join(DEVICES)}; cuda:N picks one GPU.",
        "precision": "Number format while training: auto, float32 or bfloat16.",
        "threads": "CPU threads; 0 takes all cores.",
        "checkpoint_every": "Steps between checkpoints.",
        "sample_every": "Steps between sample pictures.",
        "resume": "Go on from the last checkpoint in the output folder.",
    },
    SyncTrainConfig: {
        "data": "Folder that `dub prepare` made.",
        "output": "Folder of the run: offsets, checkpoints, log.",
        "preset": "Which expert: expert (finds offsets, teaches) or judge (scores).",
        "steps": "Optimizer steps of the last expert; those before it take 1.6 times as many.",
        "minutes": "About how long it may take in all, in place of --steps; 0 to go by --steps.",
        "batch_clips": "Clips in a batch.",
        "moments_per_clip": "Moments of each clip in a batch, 25 a second.",
        "learning_rate": "Step size of the optimizer.",
        "seed": "Seed of everything random.",
        "device": f"Where it runs: {', '.join(DEVICES)}; cuda:N picks one GPU.",
        "threads": "CPU threads; 0 takes all cores.",
        "checkpoint_every": "Steps between checkpoints.",
    },
    EvaluateConfig: {
        "clips": "Folder of videos, or a CSV with the column 'clip'.",
        "output": "Folder of the scores: tables, plots, contact sheets.",
        "settings": "What is dubbed: reconstruction, cross, silence.",
        "models": "Models that are scored, as in `dub models list`; '' for none.",
        "baselines": (
            "What they are compared with: passthrough, best-reference, audio-reference, "
            "ground-truth; '' for none."
        ),
        "catalogue": "CSV that names people and whether a clip's sound is theirs.",
        "speech": "Folder of foreign recordings for the setting cross.",
        "weights": "Folder with the networks of LPIPS, SyncNet and SFace, where you have them.",
        "limit": "Score the first clips only; 0 for all.",
        "device": f"Where the models run: {', '.join(DEVICES)}; cuda:N picks one GPU.",
        "threads": "CPU threads; 0 takes all cores.",
        "seed": "Seed of everything random.",
        "keep": "Keep the dubbed videos.",
        "overwrite": "Score again what an earlier run has scored.",
    },
}
_ASSETS = Path(__file__).parent / "assets"
_SHORT = {"output": "-o", "overwrite": "-y", "data": "-d"}

ConfigT = TypeVar("ConfigT")


class _Terminated(KeyboardInterrupt):
    """SIGTERM, unwound the way that Ctrl-C is."""


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    def stop(signum: int, frame: object) -> None:
        raise _Terminated

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class _DubGroup(TyperGroup):
    """The commands, with the main job as the default one, and one line for every error."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, self._route(ctx, args))

    def _route(self, ctx: typer.Context, args: list[str]) -> list[str]:
        if not args:
            return ["--help"]
        first = args[0]
        if args[:2] == TRAIN_SYNC.split():
            return [TRAIN_SYNC, *args[2:]]
        if first in self.commands or first in ("--help", "--version"):
            return args
        before_names = args[: args.index("--")] if "--" in args else args
        if "--help" in before_names:
            return ["--help"]
        is_bare_word = Path(first).name == first and not first.startswith("-")
        commands = [name for name in self.commands if name != MAIN_JOB]
        close = get_close_matches(first, commands, n=1, cutoff=0.75)
        if close and is_bare_word and not Path(first).exists():
            ctx.fail(f"'{first}' is neither a file nor a command. Did you mean '{close[0]}'?")
        return [MAIN_JOB, *args]

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:
        """The main job's options stand in the group's help: users look there for them."""
        own = self.params
        self.params = [*self.commands[MAIN_JOB].params, *own]
        try:
            super().format_help(ctx, formatter)
        finally:
            self.params = own

    def main(self, *args: Any, **kwargs: Any) -> Any:
        kwargs.update(prog_name="dub", standalone_mode=False)
        try:
            code = super().main(*args, **kwargs)
        except typer.TyperException as error:
            message = " ".join(str(error.format_message()).split())
            say(f"dub: {message}{'' if message.endswith(('.', '?')) else '.'} See: dub --help")
            sys.exit(USAGE_EXIT_CODE)
        sys.exit(code or 0)

    def invoke(self, ctx: typer.Context) -> Any:
        try:
            with _sigterm_as_interrupt():
                return super().invoke(ctx)
        except DubError as error:
            say(f"dub: {error}")
            raise typer.Exit(error.exit_code) from error
        except ImportError as error:
            known = library_error(error)
            if known is None:
                raise
            say(f"dub: {known}")
            raise typer.Exit(known.exit_code) from error
        except KeyboardInterrupt as error:
            resumes = ctx.invoked_subcommand in ("prepare", "train", "evaluate")
            rest = "run the same command again to go on" if resumes else "nothing was written"
            say(f"dub: interrupted; {rest}.")
            is_term = isinstance(error, _Terminated)
            raise typer.Exit(TERMINATED_EXIT_CODE if is_term else INTERRUPTED_EXIT_CODE) from error


app = typer.Typer(
    cls=_DubGroup,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    subcommand_metavar="| COMMAND ...",
    context_settings={"help_option_names": ["--help"]},
    help="Dub a video: lips that follow new audio. The main job is: dub VIDEO --audio AUDIO. A "
    "name that starts with a dash goes after all options and a double dash.",
)
models_app = typer.Typer(help="What models there are.")
app.add_typer(models_app, name="models")


def _show_version(value: bool) -> None:
    if value:
        from dubcli import __version__

        emit(f"dub {__version__}")
        raise typer.Exit


@app.callback()
def _group(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None: ...


_VIEW_OPTIONS = {
    "quiet": Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")],
    "verbose": Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")],
    "json": Annotated[bool, typer.Option("--json", help="The report on stdout, alone.")],
}
_JsonOption = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]
_YES_NO = {True: "yes", False: "no", None: "-"}
_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def _parameter(config_class: type, name: str, annotation: Any, default: Any) -> inspect.Parameter:
    """One field of a configuration as a parameter of a command."""
    text = _HELP[config_class].get(name, "")
    is_required = default is MISSING
    if name == fields(config_class)[0].name:
        info: Any = typer.Argument(help=text, metavar=name.upper(), show_default=False)
    else:
        flag = f"--{name.replace('_', '-')}"
        decls = [flag if default is not True else f"{flag}/--no-{flag[2:]}"]
        decls += [_SHORT[name]] if name in _SHORT else []
        show_default = not (is_required or default is None or default is False)
        info = typer.Option(*decls, help=text, show_default=show_default)
    return inspect.Parameter(
        name,
        _KEYWORD,
        annotation=Annotated[annotation, info],
        default=inspect.Parameter.empty if is_required else default,
    )


def _options_of(
    config_class: type[ConfigT],
    *view_options: str,
    preset: dict[str, Any] | None = None,
    defaults: dict[str, Any] | None = None,
) -> Callable[[Callable[[ConfigT, View], None]], Callable[..., None]]:
    """Make a command of `function(config, view)`: its options are the configuration's fields.

    Args:
        config_class: Its first field is the positional argument.
        view_options: Fields of `View` that the command has as flags.
        preset: Fields that the command fixes; they are no options.
        defaults: Defaults that differ from the configuration's.
    """
    preset, defaults = preset or {}, defaults or {}
    hints = get_type_hints(config_class)
    parameters = [
        _parameter(
            config_class, entry.name, hints[entry.name], defaults.get(entry.name, entry.default)
        )
        for entry in fields(cast(Any, config_class))
        if entry.name not in preset
    ]
    parameters += [
        inspect.Parameter(name, _KEYWORD, annotation=_VIEW_OPTIONS[name], default=False)
        for name in view_options
    ]

    def decorate(function: Callable[[ConfigT, View], None]) -> Callable[..., None]:
        def command(**values: Any) -> None:
            view = View(**{name: values.pop(name) for name in view_options})
            with view.logging():
                function(config_class(**preset, **values), view)

        command.__doc__ = function.__doc__
        cast(Any, command).__signature__ = inspect.Signature(parameters)
        return command

    return decorate


@app.command(MAIN_JOB, hidden=True)
@_options_of(DubConfig, "quiet", "verbose", "json")
def _dub(config: DubConfig, view: View) -> None:
    """Put new speech on a video and move the lips with it."""
    _dub_and_report(config, view)


def _dub_and_report(config: DubConfig, view: View) -> None:
    from dubcli.pipeline import dub

    with view.progress("frames") as progress:
        report = dub(config, progress=progress)
    view.report(report)


@app.command("demo")
@_options_of(
    DubConfig,
    "quiet",
    "verbose",
    "json",
    preset={"video": _ASSETS / "demo.mp4", "audio": _ASSETS / "demo_speech.wav"},
    defaults={"output": Path("dub-demo.mp4")},
)
def _demo(config: DubConfig, view: View) -> None:
    """Dub the clip that comes with the package, here."""
    _dub_and_report(config, view)


@app.command("prepare")
@_options_of(PrepareConfig, "quiet", "verbose")
def _prepare(config: PrepareConfig, view: View) -> None:
    """Build a training set from a folder of clips."""
    from dubcli.training.prepare import prepare

    with view.progress("clips") as progress:
        prepare(config, progress=progress)
    view.say(f"the training set is in {config.output}")


@app.command("train")
@_options_of(TrainConfig, "quiet", "verbose")
def _train(config: TrainConfig, view: View) -> None:
    """Train a model on a prepared set."""
    from dubcli.training.train import train

    with view.progress("steps") as progress:
        train(config, progress=progress)
    view.say(f"the run is in {config.output}")


@app.command("evaluate")
@_options_of(EvaluateConfig, "quiet", "verbose", "json")
def _evaluate(config: EvaluateConfig, view: View) -> None:
    """Score models and baselines on clips, by the pipeline that you run."""
    try:
        from dubcli.evaluation import tables
        from dubcli.evaluation.run import evaluate
    except ModuleNotFoundError as error:
        library = (error.name or "").split(".")[0]
        if library not in ("skimage", "matplotlib"):
            raise
        raise ConfigError(
            f"'dub evaluate' needs {library}.", "Run: pip install 'dubcli[evaluate]'"
        ) from error
    with view.progress("results") as progress:
        result = evaluate(config, progress=progress)
    for what, why in result.failures.items():
        view.say(f"warning: {what} was not scored: {why}")
    for line in tables.how_to_measure(result):
        view.say(f"not measured: {line}")
    view.say(f"the scores are in {config.output / 'scores.md'}")
    if view.json:
        emit(as_json(tables.as_json(result)))
        return
    for run in result.runs:
        header, rows = tables.table_rows(result, run)
        table = Table(*header, title=f"{run}: {tables.ABOUT[run]}")
        for row in rows:
            table.add_row(*row)
        emit_table(table)


@app.command(TRAIN_SYNC)
@_options_of(SyncTrainConfig, "quiet", "verbose", preset={"model": "sync"})
def _train_sync(config: SyncTrainConfig, view: View) -> None:
    """Train an expert that tells whether lips and sound are in step."""
    from dubcli.training.sync_run import train_sync

    with view.progress("steps") as progress:
        train_sync(config, progress=progress)
    view.say(f"the run is in {config.output}")


@models_app.command("list")
def _models_list(json: _JsonOption = False) -> None:
    """All models: licence, size, and whether their weights are here and whole."""
    from dubcli.weights import load_manifest

    manifest = load_manifest()
    defaults = {f"{name}.{tag}" for name, tag in manifest.default.items()}
    rows = [
        {**_model_row(entry), "default": name in defaults}
        for name, entry in manifest.weights.items()
    ]
    if json:
        emit(as_json(rows))
        return
    table = Table("name", "role", "licence", "MB", "present", "sha256", "source")
    for row in rows:
        cells = (row["name"], row["role"], row["license"], f"{row['megabytes']:.1f}")
        marks = (_YES_NO[row["present"]], _YES_NO[row["sha256_ok"]])
        table.add_row(*cells, *marks, row["source"])
    emit_table(table)


def _model_row(entry: WeightEntry) -> dict[str, Any]:
    """One entry of the manifest as JSON-ready values; None where there is nothing to check."""
    from dubcli.weights import local_path, verify

    present = local_path(entry) is not None if entry.needs_weights else None
    is_whole = None
    if present:
        try:
            verify(entry)
            is_whole = True
        except WeightsError:
            is_whole = False
    return {
        "name": entry.name,
        "architecture": entry.architecture,
        "role": entry.role,
        "license": entry.license,
        "megabytes": entry.num_bytes / 1e6,
        "present": present,
        "sha256_ok": is_whole,
        "source": entry.source,
    }


@app.command("doctor")
def _doctor(json: _JsonOption = False) -> None:
    """What this machine has and lacks for the main job."""
    with View().logging():
        checks = examine()
    code = exit_code(checks)
    if json:
        emit(as_json({"ok": code == 0, "checks": [asdict(check) for check in checks]}))
    else:
        table = Table("check", "found", "what to do")
        for check in checks:
            table.add_row(check.name, check.value, check.fix or "-")
        emit_table(table)
    raise typer.Exit(code)
