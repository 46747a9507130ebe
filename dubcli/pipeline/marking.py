"""Marks on a result: what goes into its metadata, its frames, and its signature."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dubcli.core.types import F32, FaceTrack
from dubcli.face.landmarks import LIPS_OUTER
from dubcli.media.video.native_frame import NativeFrame
from dubcli.media.video.spaces import coded_to_display
from dubcli.pipeline.context import RunContext
from dubcli.pipeline.decision import Decision
from dubcli.pipeline.job import Job
from dubcli.provenance import credentials
from dubcli.provenance.tag import append_packet, comment_of, file_tags
from dubcli.provenance.visible import choose_corners, draw, with_mark

# How far around the lips the mark keeps away, as a share of the mouth's width.
_AROUND_MOUTH = 0.25


def tags_of(job: Job) -> dict[str, str]:
    """Tags of the result; none where it is not marked."""
    if not job.marks.tag:
        return {}
    statement = job.marks.statement(job.model_name, job.weights_sha256)
    own = comment_of(job.config.video)
    return file_tags(statement, own, is_matroska=job.marks.is_matroska)


def finish_marks(context: RunContext, job: Job, joined: Path) -> list[tuple[Path, Path]]:
    """Put the marks on the joined file that need a whole file.

    Args:
        context: Of the run.
        job: What is done.
        joined: The result but for its marks; replaced.

    Returns:
        Finished files and where they go, the result last.

    Raises:
        EncodeError: It cannot be signed or written.
    """
    marks = job.marks
    statement = marks.statement(job.model_name, job.weights_sha256)
    if marks.tag and not marks.is_matroska:
        append_packet(joined, statement)
    if marks.key is None:
        return [(joined, job.output)]
    began = time.perf_counter()
    context.progress("sign", 0, 1)
    beside = marks.sidecar
    kept = joined if beside is None else joined.with_suffix(credentials.SIDECAR)
    target = joined.with_stem("signed") if beside is None else kept
    credentials.sign(
        joined,
        target,
        statement=statement,
        key=marks.key,
        source=job.config.video,
        title=job.output.name,
    )
    if beside is None:
        target.replace(joined)
    context.progress("sign", 1, 1)
    context.clock.add("sign", began)
    return [*([] if beside is None else [(kept, beside)]), (joined, job.output)]


def drop_stale_sidecar(job: Job) -> None:
    """Remove credentials of a result that was replaced: they would call the new one altered."""
    if job.config.overwrite and not credentials.embeds(job.output) and job.marks.sidecar is None:
        credentials.sidecar_path(job.output).unlink(missing_ok=True)


def show_mark(
    job: Job, decision: Decision, frames: Iterator[NativeFrame], positions: Sequence[int]
) -> Iterator[NativeFrame]:
    """Frames with the visible mark, where it is asked for.

    Args:
        job: What is done.
        decision: How.
        frames: Of some positions of the timeline.
        positions: These.
    """
    if not job.marks.visible:
        return frames
    drawing = draw(job.video, coded_to_display(job.video))
    mouths = [(track.start, _mouths(track)) for track in decision.found.tracks]
    shot = decision.speakers[0].choice.track.shot
    corners = choose_corners(drawing.boxes, mouths, shot)
    shown = decision.schedule.timeline.source_index[np.asarray(positions, np.int64)]
    return with_mark(frames, corners[shown].tolist(), drawing)


def _mouths(track: FaceTrack) -> F32:
    """x0, y0, x1, y1 of the mouth and what is around it, display px. Shape (T, 4)."""
    points = track.landmarks[:, LIPS_OUTER, :2]
    low, high = points.min(1), points.max(1)
    around = _AROUND_MOUTH * (high[:, :1] - low[:, :1])
    return np.concatenate([low - around, high + around], 1)
