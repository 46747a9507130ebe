"""A dub whose picture several processes render: each some of its segments, one joins them.

`begin_parts` looks at the video and leaves what it found in the job's folder; `render_part` puts
segments there, in any process that sees the folder; `run.dub` takes them as those of a run that was
interrupted, renders what is missing and joins. So the result is that of a single run.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dubcli.config import DubConfig
from dubcli.core.atomic_io import move_file
from dubcli.media.container.concat import count_packets
from dubcli.pipeline.context import SEGMENT_FRAMES, Clock
from dubcli.pipeline.copy_choice import choose_copies
from dubcli.pipeline.inputs import load_inputs
from dubcli.pipeline.job import fingerprint, require_free, validate
from dubcli.pipeline.resume import JobFolder, folder_path, job_folder
from dubcli.pipeline.run import beside_config, foresee_needs, look_and_decide, open_source
from dubcli.pipeline.segments import num_segments, render_segments

if TYPE_CHECKING:
    from dubcli.pipeline.engine import Engine


def begin_parts(config: DubConfig, engine: Engine, segment_frames: int = SEGMENT_FRAMES) -> int:
    """Look at the video, and leave what was found for those who render.

    Args:
        config: What to do.
        engine: Holds loaded models.
        segment_frames: Least length of a segment, frames.

    Returns:
        How many segments the picture has.

    Raises:
        DubError: As `run.dub`, up to where the picture would be rendered.
    """
    checked = validate(config, engine)
    extras = beside_config(segment_frames=segment_frames)
    clock = Clock()
    with job_folder(checked.output, fingerprint(checked, extras), is_left=True) as folder:
        if not folder.was_finishing:
            require_free(checked.output, config)
        folder.split()
        job = load_inputs(checked, engine, folder.path, clock)
        with open_source(config, job.info, engine, clock, None, folder, segment_frames) as context:
            decision, speakers = look_and_decide(context, job)
            copies = choose_copies(context, job, decision)
            foresee_needs(context, job, decision, speakers, copies)
            return num_segments(context, job, decision, speakers, copies)


def render_part(
    config: DubConfig, engine: Engine, numbers: range, segment_frames: int = SEGMENT_FRAMES
) -> None:
    """Render some segments, after `begin_parts`.

    Args:
        config: What to do.
        engine: Holds loaded models.
        numbers: Which segments.
        segment_frames: As for `begin_parts`.

    Raises:
        DubError: As `run.dub` while it renders.
        OSError: The folder of the job is gone, or cannot be written.
    """
    checked = validate(config, engine)
    whole = JobFolder(path=folder_path(checked.output), is_resumed=True)
    if all(count_packets(whole.segment(number)) for number in numbers):
        return
    clock = Clock()
    with _own_folder(whole, numbers) as folder:
        job = load_inputs(checked, engine, folder.path, clock)
        with open_source(config, job.info, engine, clock, None, folder, segment_frames) as context:
            decision, speakers = look_and_decide(context, job)
            copies = choose_copies(context, job, decision)
            render_segments(context, job, decision, speakers, copies, numbers)
        for number in numbers:
            _hand_over(folder, whole, number)


@contextmanager
def _own_folder(whole: JobFolder, numbers: range) -> Iterator[JobFolder]:
    """A folder that no other part writes to; a lost process may still write to its own."""
    path = Path(tempfile.mkdtemp(prefix=f"part-{numbers.start:05d}-", dir=whole.path))
    try:
        folder = JobFolder(path=path, is_resumed=False)
        if whole.analysis is not None and folder.analysis is not None and whole.analysis.exists():
            shutil.copyfile(whole.analysis, folder.analysis)
        yield folder
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _hand_over(folder: JobFolder, whole: JobFolder, number: int) -> None:
    """Move a segment and what was noted of it; the picture last, for it says that all is there."""
    picture = folder.segment(number)
    for path in sorted(folder.path.glob(f"{picture.stem}*"), key=lambda path: path == picture):
        move_file(path, whole.path / path.name)
