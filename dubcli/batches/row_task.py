"""One step of a batch as a worker does it: a row, or a part of one."""

from __future__ import annotations

import errno
import json
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from dubcli import __version__
from dubcli.batches.row_checks import CheckedRow
from dubcli.config import DubConfig, EvaluateConfig, FinetuneConfig, PlanConfig
from dubcli.core.atomic_io import replace_bytes
from dubcli.core.errors import DeviceError, DubError, of_system
from dubcli.core.json_text import parse_json
from dubcli.pipeline.context import SEGMENT_FRAMES

if TYPE_CHECKING:
    from dubcli.pipeline.engine import Engine

_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ENOMEM, errno.EMFILE)
ROW, LOOK, PART = "row", "look", "part"


@dataclass(frozen=True, kw_only=True)
class RowTask:
    """What a worker is to do.

    Attributes:
        row: Of the batch.
        kind: `row`: all of it; `look`: pass 1 alone, and how many segments follow; `part`: the
            segments of `span`.
        span: Numbers of the first segment and of the one after the last.
        segment_frames: Least length of a segment, frames.
    """

    row: CheckedRow
    kind: str = ROW
    span: tuple[int, int] = (0, 0)
    segment_frames: int = SEGMENT_FRAMES


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a task.

    Attributes:
        exit_code: 0 where it is done.
        error: What went wrong, and what to do.
        may_pass: It may go well the next time: memory or disk ran out, or the like.
        segments: What `look` counted.
        seconds: What it took.
        started: When it began, ISO 8601 in UTC.
        ended: When it ended.
        traceback: Of a fault of the program.
    """

    exit_code: int = 0
    error: str | None = None
    may_pass: bool = False
    segments: int = 0
    seconds: float = 0.0
    started: str = ""
    ended: str = ""
    traceback: str | None = None


def do_task(task: RowTask, engine: Engine) -> Outcome:
    """Do it; whatever goes wrong is in the outcome, but for an interrupt.

    Args:
        task: What to do.
        engine: Holds loaded models.
    """
    started, began = now(), time.monotonic()
    say = partial(_outcome, started, began)
    try:
        return say(segments=_do(task, engine))
    except DubError as error:
        return say(exit_code=error.exit_code, error=str(error), may_pass=_may_pass(error))
    except Exception as error:
        known = of_system(error)
        if known is not None:
            return say(exit_code=known.exit_code, error=str(known), may_pass=_may_pass(error))
        said = f"A fault of the program: {type(error).__name__}: {error}"
        return say(exit_code=1, error=said, traceback=traceback.format_exc())


def _may_pass(error: BaseException) -> bool:
    """Memory or disk ran out, or a disk of another machine failed."""
    causes = [error, error.__cause__]
    return isinstance(error, DeviceError | MemoryError | RuntimeError) or any(
        isinstance(cause, OSError) and cause.errno in _PASSING for cause in causes
    )


def now() -> str:
    """The time, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _outcome(started: str, began: float, **values: Any) -> Outcome:
    seconds = round(time.monotonic() - began, 3)
    return Outcome(started=started, ended=now(), seconds=seconds, **values)


def _do(task: RowTask, engine: Engine) -> int:
    """Do it; for a look, the number of segments."""
    row, config = task.row, task.row.config
    if task.kind == ROW and is_there(row):
        return 0  # a worker was killed after it had put the result in place
    if task.kind != ROW and isinstance(config, DubConfig):
        from dubcli.pipeline.split_job import begin_parts, render_part

        if task.kind == LOOK:
            return begin_parts(config, engine, task.segment_frames)
        render_part(config, engine, range(*task.span), task.segment_frames)
        return 0
    _command(config, task.segment_frames)(row, engine)
    return 0


def _command(config: Any, segment_frames: int) -> Callable[[CheckedRow, Engine], None]:
    if isinstance(config, PlanConfig):
        return _plan
    if isinstance(config, DubConfig):
        return partial(_dub, segment_frames)
    return _finetune if isinstance(config, FinetuneConfig) else _evaluate


def _dub(segment_frames: int, row: CheckedRow, engine: Engine) -> None:
    from dubcli.pipeline.run import dub

    assert isinstance(row.config, DubConfig)
    dub(row.config, engine=engine, segment_frames=segment_frames)


def _plan(row: CheckedRow, engine: Engine) -> None:
    assert isinstance(row.config, PlanConfig)
    report = engine.plan(row.config)
    assert row.report is not None
    content = json.dumps(asdict(report), indent=2, default=str) + "\n"
    replace_bytes(row.report, content.encode())
    if report.error is not None:
        raise _PlannedFailure(report.error, report.exit_code)


class _PlannedFailure(DubError):
    """What a plan says that the dub would end with."""

    def __init__(self, said: str, exit_code: int) -> None:
        super().__init__(said)
        self.exit_code = exit_code


def _finetune(row: CheckedRow, engine: Engine) -> None:
    from dubcli.personalize.run import finetune

    assert isinstance(row.config, FinetuneConfig)
    finetune(row.config, engine=engine)


def _evaluate(row: CheckedRow, engine: Engine) -> None:
    from dubcli.evaluation.run import evaluate

    assert isinstance(row.config, EvaluateConfig)
    evaluate(row.config, engine=engine)


def is_there(row: CheckedRow, *, is_known: bool = False) -> bool:
    """The result of a dub or a plan lies there, and its report says that it is of these options.

    A result that is older than what it was made of is of other files.

    Args:
        row: Of the batch.
        is_known: It was made of these very files: their times tell nothing, which may lie in the
            future where a clock was wrong.
    """
    if row.report is None or not isinstance(row.config, DubConfig) or not row.output.is_file():
        return False
    try:
        told = parse_json(row.report.read_text(encoding="utf-8"))
        read = [row.config.video, *(voice.audio for voice in row.config.voices)]
        newest = max(path.stat().st_mtime_ns for path in read)
        is_newer = is_known or row.output.stat().st_mtime_ns >= newest
    except (OSError, ValueError):
        return False
    wanted = json.loads(json.dumps(row.config.as_json(), default=str))
    if not isinstance(told, dict) or told.get("error"):
        return False
    return is_newer and (told.get("config"), told.get("version")) == (wanted, __version__)
