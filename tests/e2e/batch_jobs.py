"""Job lists of tiny dubs, and what tests ask about a batch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from studio import face_clip, speech

from dubcli.batches.row_result import DONE, BatchReport, RowResult, read_results
from dubcli.batches.run import batch
from dubcli.config import BatchConfig

# Fast, and the same bytes each time: a signature holds a random number.
TINY = ("model=passthrough", "sync_mode=pad", "no_mark=true", "threads=1", "device=cpu")
FRAMES = 5


def tiny_media(folder: Path) -> Path:
    """A face of five frames and as much speech, `face.mp4` and `speech.wav`; returns `folder`."""
    face_clip(folder / "face.mp4", "scale=96:96", frames=FRAMES)
    speech(folder / "speech.wav", FRAMES / 25)
    return folder


def job_list(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """A list of JSON lines; returns `path`."""
    path.write_text("".join(json.dumps(dict(row)) + "\n" for row in rows), encoding="utf-8")
    return path


def tiny_jobs(path: Path, media: Path, outputs: Iterable[str]) -> Path:
    """A list of dubs of the tiny face with these outputs beside it; returns `path`."""
    own = {"video": str(media / "face.mp4"), "audio": str(media / "speech.wav")}
    return job_list(path, [{**own, "output": str(path.with_name(name))} for name in outputs])


def batch_here(jobs: Path, **settings: Any) -> BatchReport:
    """Do a list in this process with the model that needs no weights."""
    chosen = {"set": TINY, **settings}
    return batch(BatchConfig(jobs=jobs, **chosen), in_process=True)


def statuses(report: BatchReport) -> list[str]:
    """The status of each row, by row."""
    return [result.status for result in report.results]


def errors(report: BatchReport) -> dict[int, str]:
    """What went wrong, by row."""
    return {result.row: result.error for result in report.results if result.error is not None}


def done_in(path: Path) -> list[RowResult]:
    """What a file of results says that is done."""
    return [result for result in read_results(path) if result.status == DONE]


def as_line(result: RowResult) -> str:
    """A result as its file holds it."""
    return json.dumps(asdict(result)) + "\n"
