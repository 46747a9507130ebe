"""What the commands show: data on stdout, everything else on stderr."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from dubcli.cli.progress_view import Callback, shown_as
from dubcli.config.view_config import ViewConfig
from dubcli.core.formatting import escaped_json, plain_text, reasons_in_words

if TYPE_CHECKING:
    from dubcli.core.reports import DubReport, FinetuneReport

_STDERR_DESCRIPTOR = 2


def say(text: str) -> None:
    """One line on stderr; a reader that went away is no error."""
    with suppress(BrokenPipeError):
        print(plain_text(text), file=sys.stderr, flush=True)


def open_closed_streams() -> None:
    """Streams that the caller closed lead nowhere; no file opened later may take their place."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def emit(text: str) -> None:
    """Data on stdout; a reader that went away is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # The interpreter flushes stdout once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def as_json(value: Any) -> str:
    """Text for programs: indented, readable in any language, and nothing that steers a terminal."""
    return escaped_json(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def is_asked_by_a_person() -> bool:
    """Whether somebody sits there who could answer a question."""
    return sys.stdin.isatty()


def emit_table(table: Table) -> None:
    """A table on stdout: as wide as the terminal, or as it needs when it is read by a program."""
    console = Console(width=None if sys.stdout.isatty() else 200)
    with console.capture() as capture:
        console.print(table)
    emit(capture.get().rstrip("\n"))


class _PlainFormatter(logging.Formatter):
    """Records as text: a file's name or tags cannot steer the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return plain_text(super().format(record))


@contextmanager
def _without_native_chatter() -> Iterator[None]:
    """Python keeps its stderr; what native libraries print on descriptor 2 goes nowhere.

    mediapipe logs from C++ while it runs, past every setting that it offers.
    """
    previous = sys.stderr
    try:
        is_descriptor_2 = previous.fileno() == _STDERR_DESCRIPTOR
    except (AttributeError, OSError):  # no stderr at all, or one that is no file
        is_descriptor_2 = False
    if not is_descriptor_2:
        yield
        return
    previous.flush()
    kept = os.dup(_STDERR_DESCRIPTOR)
    with (
        open(kept, "w", buffering=1, encoding=previous.encoding, errors="replace") as stream,
        open(os.devnull, "wb") as sink,
    ):
        os.dup2(sink.fileno(), _STDERR_DESCRIPTOR)
        sys.stderr = stream
        try:
            yield
        finally:
            sys.stderr = previous
            os.dup2(kept, _STDERR_DESCRIPTOR)


def _figure(value: float | None, digits: int) -> str:
    return "?" if value is None else f"{value:.{digits}f}"


@dataclass(frozen=True, kw_only=True)
class View(ViewConfig):
    """The options of a command's output, and the output itself."""

    def progress_in(self, unit: str) -> AbstractContextManager[Callback]:
        """A context whose value is the callback `(stage, done, total)`.

        `--quiet` alone silences it; a style that was asked for is shown nevertheless.
        """
        style = self.progress
        if style == "auto":
            style = "none" if self.quiet else "bar" if sys.stderr.isatty() else "plain"
        return shown_as(style, unit, say)

    def say(self, text: str) -> None:
        """A line on stderr, unless the user wants quiet."""
        if not self.quiet:
            say(f"dub: {text}")

    def report(self, report: DubReport) -> None:
        """What was done: the data on stdout if asked for, a sentence on stderr."""
        for warning in report.warnings:
            self.say(f"warning: {warning}")
        passed = sum(report.frames_passed_through.values())
        reasons = reasons_in_words(report.frames_passed_through)
        self.say(
            f"{report.output}: {report.frames} frames, {report.frames_dubbed} dubbed"
            + (f", {passed} passed through ({reasons})" if passed else "")
        )
        if self.json:
            emit(as_json(asdict(report)))

    def learned(self, report: FinetuneReport) -> None:
        """What was learned of a person, in sentences on stderr."""
        for what, why in report.left_out.items():
            self.say(f"left out: {what}: {why}")
        for note in report.notes:
            self.say(f"note: {note}")
        gains = ", ".join(
            f"{title} {_figure(report.before[key], digits)} -> {_figure(report.after[key], digits)}"
            for key, title, digits in (
                ("texture", "texture", 2),
                ("sync", "lips follow", 2),
                ("psnr", "dB", 1),
            )
        )
        self.say(f"kept step {report.kept_step} of {report.last_step} ({report.stopped})")
        self.say(f"on footage kept apart: {gains}")
        self.say(f"the identity '{report.name}' is in {report.path}")

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Log records of the package on stderr; libraries keep their chatter to themselves."""
        for name, level in (("GLOG_minloglevel", "2"), ("TF_CPP_MIN_LOG_LEVEL", "3")):
            os.environ.setdefault(name, level)
        with ExitStack() as stack:
            if not self.verbose:
                stack.enter_context(_without_native_chatter())
                stack.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
            stack.enter_context(self._log_handler())
            yield

    @contextmanager
    def _log_handler(self) -> Iterator[None]:
        logger = logging.getLogger("dubcli")
        level = logger.level
        handler = logging.StreamHandler()
        handler.setFormatter(_PlainFormatter("dub: %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(
            logging.DEBUG if self.verbose else logging.ERROR if self.quiet else logging.WARNING
        )
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
