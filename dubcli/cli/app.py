"""The `dub` command: parse, call, show. Only the modules `cli*` import typer or rich.

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
from dataclasses import MISSING, asdict, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast, get_type_hints

import typer
from rich.table import Table
from typer.core import TyperGroup

from dubcli.cli.identities_command import identities_app
from dubcli.cli.inspect_command import inspect_file
from dubcli.cli.model_parameters import MODEL_OPTIONS, model_parameters, take_model_options
from dubcli.cli.models_command import models_app
from dubcli.cli.plan_command import dry_run, show_plan
from dubcli.cli.view import (
    View,
    as_json,
    emit,
    emit_table,
    is_asked_by_a_person,
    open_closed_streams,
    say,
)
from dubcli.config import (
    DubConfig,
    EvaluateConfig,
    FinetuneConfig,
    OccluderTrainConfig,
    PlanConfig,
    PrepareConfig,
    SyncTrainConfig,
    TrainConfig,
    Voice,
    help_of,
    voices_from,
)
from dubcli.config.option_parsing import face_number
from dubcli.core.errors import INTERRUPTED_EXIT_CODE, ConfigError, DubError, of_system
from dubcli.doctor import examine, exit_code, library_error

if TYPE_CHECKING:
    from dubcli.core.reports import FinetuneReport

TERMINATED_EXIT_CODE = 143
USAGE_EXIT_CODE = 2
TRAIN_SYNC, TRAIN_OCCLUDER = "train sync", "train occluder"
MAIN_JOB = "VIDEO --audio AUDIO"  # not one word, so no shell argument can be mistaken for it

_ASSETS = Path(__file__).parent.parent / "assets"
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


def _notes(error: BaseException) -> list[str]:
    """What was added to an error on its way: which finished parts were kept, and where."""
    return list(getattr(error, "__notes__", []))


class _DubGroup(TyperGroup):
    """The commands, with the main job as the default one, and one line for every error."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, self._route(ctx, args))

    def _route(self, ctx: typer.Context, args: list[str]) -> list[str]:
        if not args:
            return ["--help"]
        first = args[0]
        if " ".join(args[:2]) in (TRAIN_SYNC, TRAIN_OCCLUDER):
            return [" ".join(args[:2]), *args[2:]]
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
        open_closed_streams()
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
            _tell(error, error)
            raise typer.Exit(error.exit_code) from error
        except ImportError as error:
            known = library_error(error)
            if known is None:
                raise
            say(f"dub: {known}")
            raise typer.Exit(known.exit_code) from error
        except KeyboardInterrupt as error:
            # Two words for what `dub train` trains beside models.
            command = (ctx.invoked_subcommand or "").split()[:1]
            resumes = command in (["prepare"], ["train"], ["evaluate"], ["finetune"])
            rest = "run the same command again to go on" if resumes else "nothing was written"
            say(f"dub: interrupted; {'; '.join(_notes(error)) or rest}.")
            is_term = isinstance(error, _Terminated)
            raise typer.Exit(TERMINATED_EXIT_CODE if is_term else INTERRUPTED_EXIT_CODE) from error
        except (OSError, MemoryError, RuntimeError) as error:
            known = of_system(error)
            if known is None:
                raise
            _tell(known, error)
            raise typer.Exit(known.exit_code) from error


def _tell(error: DubError, cause: BaseException) -> None:
    """One line: what is wrong, what to do, and what an interrupted job left."""
    said = [f"{note[0].upper()}{note[1:]}." for note in _notes(cause)]
    say(" ".join([f"dub: {error}", *said]))


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
app.add_typer(models_app, name="models")
app.add_typer(identities_app, name="identities")
app.command("inspect")(inspect_file)


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
    "dry_run": Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, as dub plan does; no more.")
    ],
}
_JsonOption = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]
_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def _parameter(config_class: type, name: str, annotation: Any, default: Any) -> inspect.Parameter:
    """One field of a configuration as a parameter of a command."""
    (entry,) = (entry for entry in fields(cast(Any, config_class)) if entry.name == name)
    text = help_of(entry.metadata)
    is_required = default is MISSING
    if name == fields(config_class)[0].name:
        info: Any = typer.Argument(help=text, metavar=name.upper(), show_default=False)
        # Several files are a tuple in a configuration; on the command line, words in a row.
        annotation = list[Path] if annotation == tuple[Path, ...] else annotation
    else:
        # What may be a number or a word comes as a word; voices as several words.
        annotation = str if annotation == str | int else annotation
        annotation = list[str] if annotation == Path | tuple[Voice, ...] else annotation
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
        if entry.name not in preset and entry.name != MODEL_OPTIONS
    ]
    takes_options = issubclass(config_class, DubConfig)
    parameters += model_parameters() if takes_options else []
    parameters += [
        inspect.Parameter(name, _KEYWORD, annotation=_VIEW_OPTIONS[name], default=False)
        for name in view_options
    ]

    def decorate(function: Callable[[ConfigT, View], None]) -> Callable[..., None]:
        def command(**values: Any) -> None:
            view = View(**{name: values.pop(name) for name in view_options})
            values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            if issubclass(config_class, DubConfig) and "audio" in values:
                values["audio"] = voices_from(values["audio"] or ())
            if takes_options:
                values[MODEL_OPTIONS] = take_model_options(values)
            with view.logging():
                function(config_class(**preset, **values), view)

        command.__doc__ = function.__doc__
        cast(Any, command).__signature__ = inspect.Signature(parameters)
        return command

    return decorate


@app.command(MAIN_JOB, hidden=True)
@_options_of(DubConfig, "quiet", "verbose", "json", "dry_run")
def _dub(config: DubConfig, view: View) -> None:
    """Put new speech on a video and move the lips with it."""
    _dub_and_report(config, view)


def _dub_and_report(config: DubConfig, view: View) -> None:
    if view.dry_run:
        dry_run(config, view)
        return
    from dubcli.pipeline.run import dub

    if config.finetune:
        config = _learn_first(config, view)
    with view.progress("frames") as progress:
        report = dub(config, progress=progress, announce=view.say)
    view.report(report)


@app.command("plan")
@_options_of(PlanConfig, "quiet", "verbose", "json")
def _plan(config: PlanConfig, view: View) -> None:
    """Show what a dub would do: faces, shots, what stays as it is, time and disk."""
    show_plan(config, view)


def _learn_first(config: DubConfig, view: View) -> DubConfig:
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
        seed=config.seed,
        device=config.device,
        threads=config.threads,
    )
    path = _learn(learning, view).path
    return replace(config, identity=path, finetune=False, consent=False)


def _learn(config: FinetuneConfig, view: View) -> FinetuneReport:
    """Ask whether the person agreed, learn, and tell."""
    asked = not config.consent and is_asked_by_a_person()
    if asked:
        question = "Did the person in this footage agree that their face is learned and dubbed?"
        if not typer.confirm(question, err=True):
            raise ConfigError("Without consent nobody is learned.", "Ask the person first.")
        config = replace(config, consent=True)
    from dubcli.personalize.run import finetune

    with view.progress("steps") as progress:
        report = finetune(config, progress, announce=view.say, asked=asked)
    view.learned(report)
    return report


@app.command("finetune")
@_options_of(FinetuneConfig, "quiet", "verbose", "json")
def _finetune(config: FinetuneConfig, view: View) -> None:
    """Learn one person from their own video; use it with --identity."""
    report = _learn(config, view)
    if view.json:
        emit(as_json(asdict(report)))


@app.command("demo")
@_options_of(
    DubConfig,
    "quiet",
    "verbose",
    "json",
    "dry_run",
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
    from dubcli.training.data.prepare import prepare

    with view.progress("clips") as progress:
        prepare(config, progress=progress)
    view.say(f"the training set is in {config.output}")


@app.command("train")
@_options_of(TrainConfig, "quiet", "verbose")
def _train(config: TrainConfig, view: View) -> None:
    """Train a model on a prepared set."""
    from dubcli.training.run import train

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
        table = Table(*header, title=f"{run}: {tables.about(run, config)}")
        for row in rows:
            table.add_row(*row)
        emit_table(table)


@app.command(TRAIN_SYNC)
@_options_of(SyncTrainConfig, "quiet", "verbose", preset={"model": "sync"})
def _train_sync(config: SyncTrainConfig, view: View) -> None:
    """Train an expert that tells whether lips and sound are in step."""
    from dubcli.sync.training import train_sync

    with view.progress("steps") as progress:
        train_sync(config, progress=progress)
    view.say(f"the run is in {config.output}")


@app.command(TRAIN_OCCLUDER)
@_options_of(OccluderTrainConfig, "quiet", "verbose", preset={"model": "occluder"})
def _train_occluder(config: OccluderTrainConfig, view: View) -> None:
    """Train the network that tells what lies in front of a face."""
    from dubcli.occlusion.training import train_occluder

    with view.progress("steps") as progress:
        path = train_occluder(config, progress=progress)
    view.say(f"the weights are in {path}, their scores beside them")


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
