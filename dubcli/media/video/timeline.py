"""How long the result lasts: which source frame is shown when, and how much audio is kept.

Integers and fractions only, so nothing drifts however long the video is. Audio times count from
the start of the first video frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np

from dubcli.config import SYNC_MODES
from dubcli.core.errors import DecodeError
from dubcli.core.types import Int

# Mean length of a frame, s, outside which the times are taken for damage. Slides may be shown for
# minutes each, but not all day.
_FASTEST_FRAME_S = Fraction(1, 2000)
_SLOWEST_FRAME_S, _LONGEST_SLOW_S = 60, 86_400


@dataclass(frozen=True, kw_only=True)
class FrameTimes:
    """When each frame of a video is shown.

    Attributes:
        pts: Presentation times, strictly increasing, units of `time_base`.
        end_pts: When the last frame stops being shown, units of `time_base`.
        time_base: Seconds per unit.
    """

    pts: list[int]
    end_pts: int
    time_base: Fraction

    def __post_init__(self) -> None:
        if not self.pts:
            raise ValueError("a video has at least one frame")
        if self.time_base <= 0:
            raise ValueError(f"time base {self.time_base} must be positive")
        if np.any(np.diff([*self.pts, self.end_pts]) <= 0):
            raise ValueError("frame times must increase strictly")

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def durations(self) -> Int:
        """How long each frame is shown, units of `time_base`. Shape (n,), int64."""
        return np.diff(np.array([*self.pts, self.end_pts], dtype=np.int64))

    @property
    def duration_s(self) -> Fraction:
        """From the start of the first to the end of the last frame, seconds."""
        return (self.end_pts - self.pts[0]) * self.time_base


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The frames and the audio of the result.

    Attributes:
        source_index: Source frame shown at each position. Shape (n,), int64.
        pts: Presentation times, strictly increasing, units of `time_base`. Shape (n,), int64.
        end_pts: When the last frame stops being shown, units of `time_base`.
        time_base: Seconds per unit; the source's.
        audio_s: How much of the driving audio is kept, seconds.
        pad_s: Silence after it, seconds.
        description: One sentence for the user.
    """

    source_index: Int
    pts: Int
    end_pts: int
    time_base: Fraction
    audio_s: Fraction
    pad_s: Fraction
    description: str

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def duration_s(self) -> Fraction:
        """From the start of the first to the end of the last frame, seconds."""
        return (self.end_pts - int(self.pts[0])) * self.time_base


def build_timeline(times: FrameTimes, audio_duration_s: Fraction, sync_mode: str) -> Timeline:
    """Fit video and driving audio to each other.

    The first pass through the source keeps its timestamps in every mode. Audio that is longer by
    less than one frame changes nothing: nobody sees or hears it.

    Args:
        times: The source's frame times.
        audio_duration_s: Length of the driving audio, seconds.
        sync_mode: `cut`: both end with the shorter. `pad`: the result lasts as long as the video.
            `loop`, `bounce`, `freeze`: nothing is lost; longer audio goes on over the video
            started again, played backwards and forwards, or held on its last frame.

    Raises:
        DecodeError: The times are none that a recording could have.
        ValueError: The mode is unknown or the duration negative.
    """
    if sync_mode not in SYNC_MODES:
        raise ValueError(f"unknown sync mode {sync_mode!r}")
    if audio_duration_s < 0:
        raise ValueError(f"audio lasts {audio_duration_s} s")
    _check_plausible(times)
    audio_s = Fraction(audio_duration_s)
    excess_s = audio_s - times.duration_s
    lengths = f"audio {float(audio_s):.2f} s, video {float(times.duration_s):.2f} s"
    if 0 <= excess_s < _one_frame(times) * times.time_base:
        return _timeline(times, len(times), audio_s, Fraction(0), f"Lengths match ({lengths}).")
    if excess_s < 0 and sync_mode == "cut":
        return _cut_to_audio(times, audio_s, lengths)
    if excess_s < 0:
        text = f"The audio is shorter; {float(-excess_s):.2f} s of silence follow it ({lengths})."
        return _timeline(times, len(times), audio_s, -excess_s, text)
    if sync_mode in ("cut", "pad"):
        text = f"The audio is longer; its last {float(excess_s):.2f} s are left out ({lengths})."
        return _timeline(times, len(times), times.duration_s, Fraction(0), text)
    return _extend(times, audio_s, sync_mode, lengths)


def _check_plausible(times: FrameTimes) -> None:
    """Refuse times of a damaged header: sound over them would be millions of frames, or years."""
    mean_s = times.duration_s / len(times)
    is_too_slow = mean_s > _SLOWEST_FRAME_S and times.duration_s > _LONGEST_SLOW_S
    # The last frame's length may come from elsewhere, so one that stands out does not count.
    others = np.sort(times.durations)[: max(1, len(times) - 1)]
    is_too_fast = Fraction(int(others.sum()), len(others)) * times.time_base < _FASTEST_FRAME_S
    if is_too_slow or is_too_fast:
        raise DecodeError(
            f"The video's {len(times)} frames last {float(times.duration_s):.3g} s: its timestamps "
            "are damaged.",
            "Give it a frame rate first, e.g. ffmpeg -r 25 -i IN OUT.mp4.",
        )


def _one_frame(times: FrameTimes) -> int:
    """One frame's duration: the last frame's, unless that one is held longer than usual."""
    durations = np.sort(times.durations)
    return int(min(durations[(len(durations) - 1) // 2], times.end_pts - times.pts[-1]))


def _timeline(
    times: FrameTimes, count: int, audio_s: Fraction, pad_s: Fraction, description: str
) -> Timeline:
    return Timeline(
        source_index=np.arange(count, dtype=np.int64),
        pts=np.array(times.pts[:count], dtype=np.int64),
        end_pts=times.end_pts if count == len(times) else times.pts[count],
        time_base=times.time_base,
        audio_s=audio_s,
        pad_s=pad_s,
        description=description,
    )


def _cut_to_audio(times: FrameTimes, audio_s: Fraction, lengths: str) -> Timeline:
    end = times.pts[0] + ceil(audio_s / times.time_base)
    count = max(1, int(np.searchsorted(np.array(times.pts, dtype=np.int64), end, side="left")))
    dropped = len(times) - count
    text = f"The audio is shorter; the last {dropped} frames are left out ({lengths})."
    if not dropped:
        text = f"The audio ends within the last frame; nothing is left out ({lengths})."
    return _timeline(times, count, audio_s, Fraction(0), text)


def _extend(times: FrameTimes, audio_s: Fraction, sync_mode: str, lengths: str) -> Timeline:
    num = len(times)
    durations = times.durations
    needed = ceil(audio_s / times.time_base)  # in ticks: frames that start before this are shown
    if sync_mode == "freeze":
        held = _held_duration(times)
        count = num + ceil(Fraction(needed - int(durations.sum()), held))
        indices = np.minimum(np.arange(count, dtype=np.int64), num - 1)
        shown = np.full(count, held, dtype=np.int64)
        shown[:num] = durations
        how = "the last frame is held"
    else:
        indices = _periodic(num, sync_mode, ceil(Fraction(needed, _shortest_pass(durations))))
        shown = durations[indices]
        how = "the video starts over"
        if sync_mode == "bounce":
            how = "the video plays backwards, then forwards"
    starts = np.concatenate(([0], np.cumsum(shown)))
    count = int(np.searchsorted(starts[:-1], needed, side="left"))
    added = count - num
    return Timeline(
        source_index=indices[:count],
        pts=starts[:count] + times.pts[0],
        end_pts=int(starts[count]) + times.pts[0],
        time_base=times.time_base,
        audio_s=audio_s,
        pad_s=Fraction(0),
        description=f"The audio is longer; {how} for {added} more frames ({lengths}).",
    )


def _shortest_pass(durations: Int) -> int:
    """Least time one run through the video takes, ticks (a turn leaves one end frame out)."""
    total = int(durations.sum())
    return total if len(durations) == 1 else total - int(max(durations[0], durations[-1]))


def _periodic(num: int, sync_mode: str, passes: int) -> Int:
    """Source indices for at least `passes` runs through the video. Shape (m,), int64."""
    if num == 1:
        return np.zeros(passes + 1, dtype=np.int64)
    if sync_mode == "loop":
        return np.tile(np.arange(num, dtype=np.int64), passes + 1)
    # The turning frames are shown once: a repeat would look like a stutter.
    phase = np.arange((passes + 1) * num, dtype=np.int64) % (2 * num - 2)
    return np.where(phase < num, phase, 2 * num - 2 - phase)


def _held_duration(times: FrameTimes) -> int:
    """How long each repeat of the last frame is shown, ticks.

    That frame's own duration, unless it is a stub, as some recorders write: hours of audio over
    one-tick frames would be millions of pictures.
    """
    durations = np.sort(times.durations)
    last = times.end_pts - times.pts[-1]
    usual = int(durations[(len(durations) - 1) // 2])
    return last if last * 4 >= usual else usual
