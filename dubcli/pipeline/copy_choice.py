"""Which packets of the source the result takes over, decided before pass 2."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dubcli.core.errors import DubError
from dubcli.core.types import Bool
from dubcli.media.packet_copy.copy_plan import (
    FrameRange,
    is_worthwhile,
    match_for,
    plan_ranges,
    require_same_times,
)
from dubcli.media.packet_copy.packet_index import CopyRefusedError, PacketIndex, read_index
from dubcli.media.packet_copy.spliced_sets import SplicedSets, spliced_sets
from dubcli.media.video.frame_writer import EncodeOptions, FrameWriter, choose_encoder
from dubcli.media.video.timeline import Timeline
from dubcli.pipeline.context import RunContext
from dubcli.pipeline.decision import Decision
from dubcli.pipeline.inputs import LoadedJob
from dubcli.pipeline.job import Job

_ENCODERS = {"h264": "libx264", "hevc": "libx265"}  # by the source's codec


@dataclass(frozen=True, kw_only=True)
class Splice:
    """How copied and encoded packets stand in one stream.

    Attributes:
        index: The source's packets.
        template: A file of the encoder, whose stream is like the result's.
        sets: Parameter sets of all packets.
    """

    index: PacketIndex
    template: Path
    sets: SplicedSets


@dataclass(frozen=True, kw_only=True)
class CopyChoice:
    """What is copied and what is encoded.

    Attributes:
        ranges: They tile the result.
        encode: How the encoded ones are encoded.
        reason: Why all of it is, as the end of a sentence; None where something is copied.
        splice: How both stand together; None where all is encoded.
    """

    ranges: tuple[FrameRange, ...]
    encode: EncodeOptions
    reason: str | None
    splice: Splice | None = None

    @property
    def num_copied(self) -> int:
        """How many frames are copied as packets."""
        return sum(len(one) for one in self.ranges if one.is_copied)

    @property
    def num_bytes(self) -> int:
        """Size of the packets that are copied."""
        if self.splice is None:
            return 0
        sizes = self.splice.index.sizes
        return sum(int(sizes[one.start : one.stop].sum()) for one in self.ranges if one.is_copied)

    def as_report(self, timeline: Timeline) -> dict[str, Any]:
        """Values of `DubReport`, by the names of its fields; times are those of the timeline."""
        ends = [*timeline.pts.tolist(), timeline.end_pts]
        encoded = [
            {
                "start_s": round(float(ends[one.start] * timeline.time_base), 3),
                "end_s": round(float(ends[one.stop] * timeline.time_base), 3),
                "frames": len(one),
            }
            for one in self.ranges
            if not one.is_copied
        ]
        return {
            "copied_packets": self.num_copied,
            "encoded_ranges": encoded,
            "encoded_whole_because": self.reason,
        }


def choose_copies(context: RunContext, job: LoadedJob, decision: Decision) -> CopyChoice:
    """Find groups of pictures without a dubbed frame that can be copied exactly.

    The same for the same job, whenever it is asked: a run that goes on finds the same ranges.

    Args:
        context: Of the run.
        job: What is to be done.
        decision: How.

    Raises:
        MediaError: The source breaks off.
    """
    num, began = len(decision.schedule.timeline), time.perf_counter()
    try:
        _require_untouched_job(job, decision)
        copies = _spliced(context, job, decision)
        context.clock.add("copy_choice", began)
        return copies
    except CopyRefusedError as refusal:
        whole = FrameRange(start=0, stop=num, is_copied=False)
        return CopyChoice(ranges=(whole,), encode=job.encode, reason=str(refusal))


def _require_untouched_job(job: Job, decision: Decision) -> None:
    """Refuse what options and headers tell already.

    Raises:
        CopyRefusedError: Nothing can be copied.
    """
    video, timeline = job.video, decision.schedule.timeline
    encoder, pix_fmt, _ = choose_encoder(video, job.encode)
    same = np.array_equal(timeline.source_index, np.arange(len(timeline)))
    kinds = " and ".join(video.dynamic_hdr)
    refusals = {
        "--reencode was given": job.config.reencode,
        "the visible mark is on every frame": job.marks.visible,
        "--deinterlace may change every frame": job.config.deinterlace,
        "the encode is lossless": job.encode.lossless or job.encode.crf == 0,
        f"packets of {video.codec} are not copied": video.codec not in _ENCODERS,
        f"the encoder is {encoder}": encoder != _ENCODERS.get(video.codec),
        f"its pixel format changes to {pix_fmt}": pix_fmt != video.pix_fmt,
        "its pictures change their form midway": bool(video.forms),
        f"its {kinds} metadata would stay in parts": bool(kinds),
        "frames are shown more than once": not same,
        "it has damaged packets": decision.found.num_corrupt > 0,
    }
    reason = next((text for text, applies in refusals.items() if applies), None)
    if reason is not None:
        raise CopyRefusedError(reason)


def _spliced(context: RunContext, job: LoadedJob, decision: Decision) -> CopyChoice:
    touched: Bool = decision.strength > 0
    least = _least_run(job, len(decision.speakers))
    _require_run(touched, least)
    index = read_index(job.info.path, job.video.index)
    require_same_times(index, decision.found.times.pts)
    ranges = plan_ranges(touched, index, least)
    if not any(one.is_copied for one in ranges):
        raise CopyRefusedError("no whole group of pictures is free of dubbed frames")
    if not is_worthwhile(ranges, job.video.frame_rate):
        raise CopyRefusedError("so little could be copied that hardly anything would be gained")
    encode = replace(job.encode, beside=match_for(index))
    template = context.folder.path / "template.mov"
    _encode_first(context, job, encode, template)
    sets = spliced_sets(index.configuration, template, job.video.sar)
    return CopyChoice(
        ranges=ranges,
        encode=encode,
        reason=None,
        splice=Splice(index=index, template=template, sets=sets),
    )


def _least_run(job: LoadedJob, num_faces: int) -> int:
    """Frames of a run that no window of a model reaches over."""
    spec = job.models.render.spec
    return spec.window + 2 * num_faces * spec.context


def _require_run(touched: Bool, least: int) -> None:
    """Refuse before the packets are read where no run of frames is long enough.

    Raises:
        CopyRefusedError: None is.
    """
    edges = np.flatnonzero(np.concatenate([[True], touched, [True]]))
    if np.diff(edges).max() - 1 < least:
        raise CopyRefusedError("no whole group of pictures is free of dubbed frames")


def _encode_first(context: RunContext, job: Job, encode: EncodeOptions, target: Path) -> None:
    """Encode the first frame: its file tells what the encoder's parameter sets are.

    Raises:
        CopyRefusedError: The encoder does not keep to what it is told.
    """
    (native,) = context.reader.native_frames(0, 1)
    try:
        with FrameWriter(target, job.video, encode) as writer:
            writer.write(native.frame, native.pts)
    except DubError as error:
        raise CopyRefusedError("the encoder cannot keep to the source's profile") from error
