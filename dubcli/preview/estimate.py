"""Time and space that the slow part needs, and whether the disk has it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from dubcli.core.errors import EncodeError
from dubcli.core.formatting import in_bytes
from dubcli.core.types import MediaInfo
from dubcli.media.container.formats import LOSSLESS_AUDIO, Container, choose_streams, container_of
from dubcli.pipeline.context import RunContext
from dubcli.pipeline.copy_choice import CopyChoice
from dubcli.pipeline.decision import Decision
from dubcli.pipeline.inputs import LoadedJob
from dubcli.pipeline.speakers import PreparedSpeaker
from dubcli.preview.plan_types import Estimate
from dubcli.preview.trial import Trial, num_cuts, num_key_frames, try_out

# A trial of a shorter job would cost more than it tells.
LEAST_FRAMES = 750
# Joining: seconds to begin with, and bytes a second of all files that are written.
_JOIN_S, _JOIN_BYTES_S = 0.5, 150e6
# Sound: a channel of lossy codecs, and 24 bit stereo at 48 kHz with something to spare.
_LOSSY_BYTES_S, _LOSSLESS_BYTES_S = 16_000, 400_000
# Codecs whose result is a lossy file; others may need much more.
_USUAL = ("h264", "hevc", "av1", "vp9", "vp8", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg")
# More bytes for a pixel than encoders of the usual and of the lossless kind make.
_MOST_PIXEL_BYTES, _MOST_LOSSLESS_BYTES = 0.25, 6.0
_COPIES = 3


def estimate_needs(
    context: RunContext,
    job: LoadedJob,
    decision: Decision,
    speakers: Sequence[PreparedSpeaker],
    copies: CopyChoice,
    *,
    always: bool = False,
) -> Estimate | None:
    """Measure a few frames, and from them tell what all will need.

    Args:
        context: Of the run.
        job: What is to be done.
        decision: How.
        speakers: Who is dubbed.
        copies: What is copied from the source.
        always: Also for a job so short that nobody waits for it, unless the disk is nearly full.

    Raises:
        MediaError: The source breaks off, or the picture cannot be encoded or written.
        DeviceError: The device has too little memory.
    """
    free = free_bytes(job.output.parent)
    num = len(decision.schedule.timeline)
    num_encoded = num - copies.num_copied
    # Packets that are copied lie there twice at most, as the joined picture and in the result.
    most = _most_bytes(job, num_encoded) + _COPIES * copies.num_bytes
    is_roomy = free is None or free >= most
    if not always and num_encoded < LEAST_FRAMES and is_roomy:
        return None
    trial = try_out(context, job, decision, speakers)
    dubbed = int((decision.strength > 0).sum())
    return estimate(
        trial,
        frames=(dubbed, num_encoded - dubbed),
        num_cuts=num_cuts(decision),
        num_segments=-(-num_encoded // context.segment_frames),
        other_bytes=_other_bytes(job, decision),
        free=free,
        is_copied=job.marks.place == "embedded",
        source_bytes=copies.num_bytes,
    )


def estimate(
    trial: Trial,
    *,
    frames: tuple[int, int],
    num_cuts: int,
    num_segments: int,
    other_bytes: int,
    free: int | None,
    is_copied: bool = False,
    source_bytes: int = 0,
) -> Estimate:
    """What a whole job needs, from what a few frames needed.

    Args:
        trial: What was measured.
        frames: How many frames will be dubbed, and how many only encoded.
        num_cuts: How often the picture jumps.
        num_segments: Files that the picture is first written to.
        other_bytes: Sound and further streams.
        free: Bytes that the disk has.
        is_copied: Signing writes the result a second time, beside the segments.
        source_bytes: Packets that are copied from the source.
    """
    num = sum(frames)
    keys = num_key_frames(num, num_cuts, num_segments)
    encoded = round(keys * trial.key_frame_bytes + (num - keys) * trial.frame_bytes)
    picture = encoded + source_bytes
    result = picture + other_bytes
    # Segments, the picture joined from them, and the result are there at the same time.
    disk = result + picture + (encoded if num_segments > 1 or source_bytes else 0)
    disk = max(disk, encoded + 2 * result) if is_copied else disk
    paces = (trial.dubbed_frame_s, trial.passed_frame_s)
    seconds = sum(count * pace for count, pace in zip(frames, paces, strict=True))
    return Estimate(
        seconds=round(seconds + _JOIN_S + disk / _JOIN_BYTES_S, 1),
        dubbed_frame_s=round(trial.dubbed_frame_s, 4),
        passed_frame_s=round(trial.passed_frame_s, 4),
        trial_frames=trial.frames,
        result_bytes=result,
        disk_bytes=disk,
        free_bytes=free,
    )


def free_bytes(folder: Path) -> int | None:
    """Space that a folder's file system has left; None where it does not say."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return usage.free if usage.total > 0 else None


def require_space(needed: Estimate | None, output: Path) -> None:
    """Refuse a job that the disk cannot hold.

    Args:
        needed: What was foreseen; None allows the job.
        output: Where the result goes.

    Raises:
        EncodeError: Too little space.
    """
    if needed is None or needed.is_enough:
        return
    raise EncodeError(
        f"The dub needs about {in_bytes(needed.disk_bytes)} in '{output.parent}', "
        f"{in_bytes(needed.free_bytes or 0)} are free.",
        "Free some space, or choose another folder with --output.",
    )


def _most_bytes(job: LoadedJob, num_frames: int) -> float:
    """More than a job needs, whatever its pictures show."""
    video, container = job.video, container_of(job.output)
    is_lossless = job.encode.lossless or job.encode.crf < 8 or video.codec not in _USUAL
    each = _MOST_LOSSLESS_BYTES if is_lossless else _MOST_PIXEL_BYTES
    picture = num_frames * video.width * video.height * each
    return _COPIES * picture + _sound_bytes(job, container, job.audio_s) + _stream_bytes(job.info)


def _other_bytes(job: LoadedJob, decision: Decision) -> int:
    """About what sound and further streams of the result weigh."""
    container = container_of(job.output)
    kept, _ = choose_streams(job.info.streams, container, job.info)
    others = _stream_bytes(job.info) if kept else 0
    return _sound_bytes(job, container, decision.schedule.timeline.duration_s) + others


def _sound_bytes(job: LoadedJob, container: Container, duration_s: Fraction) -> int:
    audio = job.driving
    is_kept = audio.codec in container.exact_audio or container.lossless_encoder == "flac"
    if not is_kept or audio.codec not in LOSSLESS_AUDIO:
        return round(_LOSSY_BYTES_S * audio.channels * duration_s)
    return min(job.sound.stat().st_size, round(_LOSSLESS_BYTES_S * duration_s))


def _stream_bytes(info: MediaInfo) -> int:
    """About what the source holds besides the picture: all of it where that is not known."""
    size = info.path.stat().st_size
    if info.video is None or info.video.bit_rate is None or info.duration_s is None:
        return size // 4
    return max(0, size - round(info.video.bit_rate * info.duration_s / 8))
