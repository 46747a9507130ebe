"""The group of all commands: which one is meant, and one line for every error."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from dubcli.cli.configured_command import in_other_panel
from dubcli.cli.view import open_closed_streams, say
from dubcli.config.retired_options import next_step_after
from dubcli.core.errors import INTERRUPTED_EXIT_CODE, SYSTEM_ERRORS, DubError, of_system
from dubcli.core.waiting_threads import let_waiting_threads_sleep

TERMINATED_EXIT_CODE = 143
USAGE_EXIT_CODE = 2
# The main job has no name of its own on the command line; what trains beside models has two words.
MAIN_JOB = "VIDEO --audio AUDIO"  # not one word, so no shell argument can be mistaken for it
_OF_THE_GROUP = ("--help", "--version", "--install-completion", "--show-completion")
TRAIN_SYNC, TRAIN_OCCLUDER = "train sync", "train occluder"
# Commands that go on where they were interrupted.
_RESUMING = ("prepare", "train", "evaluate", "tables", "finetune", "batch")


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


class DubGroup(TyperGroup):
    """The commands, with the main job as the default one, and one line for every error."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        """Arguments with the command in front that they mean."""
        return super().parse_args(ctx, self._route(ctx, args))

    def _route(self, ctx: typer.Context, args: list[str]) -> list[str]:
        if not args:
            return args if ctx.resilient_parsing else ["--help"]
        first = args[0]
        if " ".join(args[:2]) in (TRAIN_SYNC, TRAIN_OCCLUDER):
            return [" ".join(args[:2]), *args[2:]]
        if first in self.commands or first in _OF_THE_GROUP:
            return args
        before_names = args[: args.index("--")] if "--" in args else args
        if "--help" in before_names:
            return ["--help"]
        is_bare_word = Path(first).name == first and not first.startswith("-")
        commands = [name for name in self.commands if name != MAIN_JOB]
        close = get_close_matches(first, commands, n=1, cutoff=0.75)
        if close and is_bare_word and not Path(first).exists() and not ctx.resilient_parsing:
            ctx.fail(f"'{first}' is neither a file nor a command. Did you mean '{close[0]}'?")
        return [MAIN_JOB, *args]

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:
        """The main job's options stand in the group's help: users look there for them."""
        own = self.params
        self.params = [*self.commands[MAIN_JOB].params, *map(in_other_panel, own)]
        try:
            super().format_help(ctx, formatter)
        finally:
            self.params = own

    def get_help_option(self, ctx: typer.Context) -> Any:
        """`--help`, below what the command does."""
        return in_other_panel(super().get_help_option(ctx))

    def shell_complete(self, ctx: typer.Context, incomplete: str) -> list[Any]:
        """Names of commands, and the main job's options beside the group's own."""
        main_job = self.commands[MAIN_JOB]
        with main_job.make_context(MAIN_JOB, [], parent=ctx, resilient_parsing=True) as context:
            of_main_job = main_job.shell_complete(context, incomplete)
        own = super().shell_complete(ctx, incomplete)
        return list({item.value: item for item in [*own, *of_main_job]}.values())

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run; what is wrong with the words themselves is one line."""
        open_closed_streams()
        let_waiting_threads_sleep()
        kwargs.update(prog_name="dub", standalone_mode=False)
        try:
            code = super().main(*args, **kwargs)
        except typer.TyperException as error:
            message = " ".join(str(error.format_message()).split())
            end = "" if message.endswith((".", "?")) else "."
            gone = next_step_after(getattr(error, "option_name", ""))
            say(f"dub: {message}{end} {gone or 'See: dub --help'}")
            sys.exit(USAGE_EXIT_CODE)
        sys.exit(code or 0)

    def invoke(self, ctx: typer.Context) -> Any:
        """Run the command; what goes wrong in it is one line and an exit code."""
        try:
            with _sigterm_as_interrupt():
                return super().invoke(ctx)
        except DubError as error:
            _tell(error, error)
            raise typer.Exit(error.exit_code) from error
        except ImportError as error:
            from dubcli.doctor import library_error

            known = library_error(error)
            if known is None:
                raise
            say(f"dub: {known}")
            raise typer.Exit(known.exit_code) from error
        except KeyboardInterrupt as error:
            # Two words for what `dub train` trains beside models.
            command = (ctx.invoked_subcommand or "").split()[:1]
            resumes = "".join(command) in _RESUMING
            rest = "run the same command again to go on" if resumes else "nothing was written"
            say(f"dub: interrupted; {'; '.join(_notes(error)) or rest}.")
            is_term = isinstance(error, _Terminated)
            raise typer.Exit(TERMINATED_EXIT_CODE if is_term else INTERRUPTED_EXIT_CODE) from error
        except SYSTEM_ERRORS as error:
            known = of_system(error)
            if known is None:
                raise
            _tell(known, error)
            raise typer.Exit(known.exit_code) from error


def _tell(error: DubError, cause: BaseException) -> None:
    """One line: what is wrong, what to do, and what an interrupted job left."""
    said = [f"{note[0].upper()}{note[1:]}." for note in _notes(cause)]
    say(" ".join([f"dub: {error}", *said]))
