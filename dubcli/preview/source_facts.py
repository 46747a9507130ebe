"""What a video is, in figures and words."""

from __future__ import annotations

import numpy as np

from dubcli.core.types import AudioStreamInfo, MediaInfo, VideoStreamInfo
from dubcli.media.container.probe import require_video
from dubcli.media.video.timeline import FrameTimes
from dubcli.preview.plan_types import SourceFacts

# ISO 23091-2: what code points of the matrix, the transfer and the range mean.
_MATRICES = {1: "BT.709", 5: "BT.601", 6: "BT.601", 9: "BT.2020", 10: "BT.2020"}
_TRANSFERS = {16: "PQ", 18: "HLG"}
_RANGES = {1: "limited range", 2: "full range"}
# Durations that differ by less are a container's rounding.
_ROUNDING_S = 0.0015


def source_facts(info: MediaInfo, times: FrameTimes) -> SourceFacts:
    """Put together what is known of a source.

    Args:
        info: Its facts.
        times: Of its frames.

    Raises:
        ProbeError: It has no video.
    """
    video = require_video(info)
    used = {item.index for item in (info.video, info.audio) if item is not None}
    return SourceFacts(
        path=str(info.path),
        container=info.container,
        codec=video.codec,
        pix_fmt=video.pix_fmt,
        colour=colour_in_words(video),
        width=video.width,
        height=video.height,
        display_size=video.display_size,
        rotation_deg=video.rotation_deg,
        is_interlaced=video.is_interlaced,
        frames=len(times),
        duration_s=round(float(times.duration_s), 3),
        frame_rate=round(float(len(times) / times.duration_s), 3),
        is_variable=is_variable(times),
        sound=None if info.audio is None else _sound_in_words(info.audio),
        others=tuple(f"{s.kind} ({s.codec})" for s in info.streams if s.index not in used),
    )


def is_variable(times: FrameTimes) -> bool:
    """Frames last differently long, by more than a container rounds; the last one does not count.

    Args:
        times: Of a video's frames.
    """
    durations = times.durations[:-1]
    if len(durations) == 0:
        return False
    return float(np.ptp(durations)) * float(times.time_base) > _ROUNDING_S


def colour_in_words(video: VideoStreamInfo) -> str:
    """Matrix, transfer where it is HDR's, and range, as far as the file says."""
    known = [
        _MATRICES.get(video.color_space),
        _TRANSFERS.get(video.color_transfer),
        _RANGES.get(video.color_range),
    ]
    return ", ".join(word for word in known if word) or "not tagged"


def _sound_in_words(audio: AudioStreamInfo) -> str:
    usual = {1: "mono", 2: "stereo"}
    channels = usual.get(audio.channels, f"{audio.channels} channels")
    return f"{audio.codec}, {audio.sample_rate} Hz, {channels}"
