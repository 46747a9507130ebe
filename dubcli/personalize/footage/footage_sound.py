"""The own sound of some stretches of videos, as `dub prepare` hears that of whole clips."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate, groupby
from math import ceil

import numpy as np

from dubcli.audio.features import Recognisers
from dubcli.audio.log_mel import HOP, SAMPLE_RATE
from dubcli.audio.windows import frame_steps
from dubcli.core.errors import DecodeError, MediaError
from dubcli.core.progress import Progress
from dubcli.core.types import Int, Waveform
from dubcli.media.sound.waveform import is_silent, read_waveform
from dubcli.personalize.footage.footage_analysis import FootagePart
from dubcli.training.data.sound_variants import (
    DEFAULT_KINDS,
    HeardVersions,
    hear_clean,
    hear_versions,
    no_sound,
)

# Audio steps of a stretch's frames, and what is heard.
PartSound = tuple[Int, HeardVersions]
# Sound on both sides of a stretch: the windows of its first and last frames reach into it.
_MARGIN_S = 1


def hear_parts(
    parts: Sequence[FootagePart],
    recognisers: Recognisers,
    *,
    kinds: tuple[str, ...] = DEFAULT_KINDS,
    whole: bool,
    progress: Progress,
) -> tuple[list[PartSound], dict[str, str]]:
    """Sound of each stretch in several versions; nothing from where its video is cut off on.

    The stretches of a video are heard as one recording, so that all have one loudness.

    Args:
        parts: By video and time.
        recognisers: What these kinds need.
        kinds: Of features, keys of `core.types.FEATURE_SIZES`.
        whole: Each part is all of its video that may be used: all the sound belongs to it.
        progress: Called after each video, stage `hear`.

    Returns:
        Steps and sound of each part, and why files have none.
    """
    sounds: list[PartSound] = []
    without: dict[str, str] = {}
    for _, group in groupby(parts, key=lambda part: part.video.number):
        of_video = list(group)
        heard = _hear_video(of_video, whole, recognisers, kinds)
        if isinstance(heard, str):
            without[str(of_video[0].video.path)] = heard
            heard = [_nothing(part, kinds) for part in of_video]
        sounds += heard
        progress("hear", len(sounds), len(parts))
    return sounds, without


def _hear_video(
    parts: list[FootagePart], whole: bool, recognisers: Recognisers, kinds: tuple[str, ...]
) -> list[PartSound] | str:
    """Sound of the parts of one video, or why there is none."""
    video = parts[0].video
    if video.info.audio is None:
        return "no sound"
    try:
        pieces = [_read(part, whole) for part in parts]
    except MediaError as error:
        return error.cause
    samples = np.concatenate([piece.samples for piece in pieces])
    joined = Waveform(samples=samples, sample_rate=SAMPLE_RATE)
    if is_silent(joined):
        return "silent throughout"
    clean = hear_clean(joined, recognisers, kinds)
    versions = hear_versions(joined, clean, recognisers, zlib.crc32(str(video.path.name).encode()))
    features = next(iter(clean.values()))
    ends = accumulate(-(-len(piece.samples) // HOP) for piece in pieces)
    sounds: list[PartSound] = []
    begin = 0
    for part, piece, end in zip(parts, pieces, ends, strict=True):
        if end > begin:
            times = part.found.times
            own = replace(features, start_s=piece.start_s)
            steps = frame_steps(times.pts, times.time_base, own, Fraction(0))
            sounds.append((steps, versions.part(begin, end)))
        else:
            sounds.append(_nothing(part, kinds))
        begin = end
    return sounds


def _read(part: FootagePart, whole: bool) -> Waveform:
    """The sound of a part. A stretch's is whole feature steps long."""
    video = part.video
    if whole:
        return _between(read_waveform(video.path, SAMPLE_RATE), None, video.end_s)
    begin_s = video.at_s(part.frames.start) - _MARGIN_S
    end_s = video.at_s(part.frames.stop) + _MARGIN_S
    end_s = end_s if video.end_s is None else min(end_s, video.end_s)
    try:
        waveform = read_waveform(video.path, SAMPLE_RATE, (begin_s, end_s))
    except DecodeError:
        # The sound is shorter than the picture.
        return Waveform(samples=np.zeros(0, np.float32), sample_rate=SAMPLE_RATE, start_s=begin_s)
    piece = _between(waveform, begin_s, end_s)
    return replace(piece, samples=piece.samples[: len(piece.samples) // HOP * HOP])


def _between(waveform: Waveform, begin_s: Fraction | None, end_s: Fraction | None) -> Waveform:
    """The samples from a time on up to another, container's clock."""
    start_s, count = waveform.start_s, len(waveform.samples)
    first = 0 if begin_s is None else min(count, max(0, ceil((begin_s - start_s) * SAMPLE_RATE)))
    last = count if end_s is None else max(first, min(count, ceil((end_s - start_s) * SAMPLE_RATE)))
    return replace(
        waveform,
        samples=waveform.samples[first:last],
        start_s=start_s + Fraction(first, SAMPLE_RATE),
    )


def _nothing(part: FootagePart, kinds: tuple[str, ...]) -> PartSound:
    return np.zeros(len(part.numbers), np.int64), no_sound(kinds)
