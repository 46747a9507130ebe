"""A part of the video that is dubbed, while the rest stays as it is."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil

import numpy as np

from dubcli.config import DubConfig
from dubcli.config.option_parsing import moment
from dubcli.core.errors import ConfigError, NoFaceError
from dubcli.core.types import F32, Bool, Int, VideoStreamInfo
from dubcli.face.track import fade
from dubcli.media.sound.audio_track import Part
from dubcli.media.video.timeline import FrameTimes, Timeline, build_timeline
from dubcli.pipeline.analysis_cache import Analysis

# Around the part faces are looked for too: they show the mouth in other shapes.
_MARGIN_S = 20


def part_s(config: DubConfig, audio_s: Fraction) -> tuple[Fraction, Fraction] | None:
    """Begin and end of what is dubbed, seconds from the first frame; None for all of the video.

    Args:
        config: What the user asked for.
        audio_s: Length of the driving audio, which ends the part where nothing else does.
    """
    if not config.is_part:
        return None
    start_s = moment(config.start or "0")
    end_s = start_s + config.audio_offset_s + audio_s
    return start_s, end_s if config.end is None else moment(config.end)


def looked_at(
    config: DubConfig, audio_s: Fraction, video: VideoStreamInfo
) -> tuple[Fraction, Fraction] | None:
    """From when to when pass 1 looks for faces, in units of the video's clock; None for all of it.

    Args:
        config: What the user asked for.
        audio_s: Length of the driving audio, seconds.
        video: The stream that is dubbed.
    """
    part = part_s(config, audio_s)
    if part is None:
        return None
    begin_s, end_s = part[0] - _MARGIN_S, part[1] + _MARGIN_S
    first, tick_s = video.start_pts, video.time_base
    return first + begin_s / tick_s, first + end_s / tick_s


def place_part(config: DubConfig, audio_s: Fraction, times: FrameTimes) -> Part | None:
    """The part on the video's clock, no longer than the video; None for all of the video.

    Args:
        config: What the user asked for.
        audio_s: Length of the driving audio, seconds.
        times: The source's frame times.

    Raises:
        ConfigError: It begins after the video's end, or no frame is first shown in it.
    """
    asked = part_s(config, audio_s)
    if asked is None:
        return None
    start_s, end_s = asked
    require_start(config, times.duration_s)
    first_s = times.pts[0] * times.time_base
    part = Part(
        begin_s=first_s + start_s,
        end_s=first_s + min(end_s, times.duration_s),
        has_before=start_s > 0,
        has_after=end_s < times.duration_s,
    )
    first, stop = positions(part, np.array(times.pts, np.int64), times.time_base)
    if first == stop:
        raise ConfigError(
            f"No frame is first shown between {float(start_s):g} and {float(end_s):g} s.",
            "Use a longer part.",
        )
    return part


def require_start(config: DubConfig, duration_s: Fraction, slack_s: int = 0) -> None:
    """Refuse a part of which the video has nothing.

    Args:
        config: What the user asked for.
        duration_s: Length of the video, seconds.
        slack_s: How much longer it may be than that, seconds.

    Raises:
        ConfigError: The part begins at the video's end or after it.
    """
    if config.start is not None and moment(config.start) >= duration_s + slack_s:
        raise ConfigError(
            f"--start {config.start} is after the end of the video, which lasts "
            f"{float(duration_s):.2f} s.",
            "Use an earlier one.",
        )


def positions(part: Part, pts: Int, time_base: Fraction) -> tuple[int, int]:
    """First frame of a part and the first one after it: a frame counts by when it appears.

    Args:
        part: Where.
        pts: Presentation times, increasing, units of `time_base`. Shape (N,).
        time_base: Seconds per unit.
    """
    begin, end = (ceil(time_s / time_base) for time_s in (part.begin_s, part.end_s))
    return int(np.searchsorted(pts, begin)), int(np.searchsorted(pts, end))


def part_timeline(times: FrameTimes, part: Part, audio_s: Fraction) -> Timeline:
    """All frames of the video, once and in order.

    Args:
        times: The source's frame times.
        part: What is dubbed.
        audio_s: How much of the driving audio there is from the part's begin on, seconds.
    """
    whole = build_timeline(times, times.duration_s, "pad")
    part_s = part.end_s - part.begin_s
    over_s = audio_s - part_s
    lengths = f"audio {float(audio_s):.2f} s, part {float(part_s):.2f} s"
    text = f"Lengths match ({lengths})."
    if over_s > 0:
        text = f"The audio is longer; its last {float(over_s):.2f} s are left out ({lengths})."
    elif over_s < 0:
        text = f"The audio is shorter; {float(-over_s):.2f} s of silence follow it ({lengths})."
    return replace(whole, description=text)


def is_inside(part: Part | None, timeline: Timeline) -> Bool:
    """Which positions of a timeline belong to a part; all where it is None. Shape (N,)."""
    inside: Bool = np.ones(len(timeline), np.bool_)
    if part is not None:
        first, stop = positions(part, timeline.pts, timeline.time_base)
        inside[:first] = False
        inside[stop:] = False
    return inside


def part_strength(part: Part, timeline: Timeline, cuts: Bool) -> F32:
    """Weight of the dub at each position: 0 outside the part, with fades that lie inside it.

    Args:
        part: What is dubbed.
        timeline: All frames of the video.
        cuts: Whether the picture jumps before this position. Shape (N,).

    Returns:
        Shape (N,), in [0, 1], above 0 in all of the part.
    """
    return fade(is_inside(part, timeline), np.cumsum(cuts, dtype=np.int64))


def faces_of_part(found: Analysis, part: Part | None, timeline: Timeline) -> Analysis:
    """What pass 1 found, without people who cannot be dubbed in the part.

    Raises:
        NoFaceError: Nobody can, though around the part somebody could.
    """
    if part is None or not any(track.valid.any() for track in found.tracks):
        return found
    inside = is_inside(part, timeline)
    tracks = [track for track in found.tracks if track.valid[inside].any()]
    if not tracks:
        raise NoFaceError(
            "No frame between --start and --end shows a usable face.",
            "Choose another part, in which a face is at least 40 px high and turned to the camera.",
        )
    return replace(found, tracks=tracks)
