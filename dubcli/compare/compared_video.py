"""A video as a comparison shows it: upright, in a cell, from its first frame on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from dubcli.core.types import MediaInfo, VideoStreamInfo
from dubcli.media.container.ffmpeg import file_url, graph
from dubcli.media.container.probe import probe, require_video

# A seek that is rounded must not pass the frame that it is for.
_SEEK_MARGIN_S = 0.0002
_HDR_TRANSFERS = (16, 18)  # PQ and HLG
# Diffuse white of BT.2408, cd/m².
_HDR_WHITE = 203
MOST_RATE = 60


@dataclass(frozen=True, kw_only=True)
class ComparedVideo:
    """One of the videos.

    Attributes:
        info: What the file holds.
        length_s: Length of its picture, seconds.
    """

    info: MediaInfo
    length_s: Fraction

    @property
    def path(self) -> Path:
        """The file."""
        return self.info.path

    @property
    def video(self) -> VideoStreamInfo:
        """Its picture's facts."""
        return require_video(self.info)

    @property
    def first_s(self) -> Fraction:
        """When its first frame is shown, on the file's own clock, seconds."""
        return self.video.start_pts * self.video.time_base

    @property
    def frame_rate(self) -> Fraction:
        """Frames a second, at most 60."""
        rate = self.video.frame_rate
        return min(rate, Fraction(MOST_RATE)) if rate > 0 else Fraction(25)


def open_video(path: Path) -> ComparedVideo:
    """Read what a comparison needs to know of a video.

    Raises:
        ProbeError: It cannot be read, or has no picture.
    """
    info = probe(path)
    video = require_video(info)
    own = next((one.duration_s for one in info.streams if one.index == video.index), None)
    frames = video.num_frames_from_header or 1
    length_s = own or info.duration_s or frames / (video.frame_rate or Fraction(25))
    return ComparedVideo(info=info, length_s=length_s)


def cell_size(videos: tuple[ComparedVideo, ...], height: int) -> tuple[int, int]:
    """Width and height, even, of a cell that every picture fits into at this height."""
    tall = height + height % 2
    shares = [Fraction(*one.video.display_size) for one in videos]
    wide = max(round(share * tall / 2) * 2 for share in shares)
    return max(2, wide), tall


def fitted_size(video: ComparedVideo, cell: tuple[int, int]) -> tuple[int, int]:
    """Width and height, even, of the largest picture of its shape inside a cell."""
    width, height = video.video.display_size
    scale = min(Fraction(cell[0], width), Fraction(cell[1], height))
    return (
        min(cell[0], max(2, round(width * scale / 2) * 2)),
        min(cell[1], max(2, round(height * scale / 2) * 2)),
    )


def input_from(
    video: ComparedVideo, start_s: Fraction, length_s: Fraction | None = None, *, number: int = 0
) -> Any:
    """Ffmpeg's input whose time 0 is a time after the video's first frame.

    Args:
        video: The video.
        start_s: Seconds after its first frame.
        length_s: How much is read; to the end by default.
        number: Another one for each input of a graph: a file may be there twice.
    """
    at_s = math.floor(float(video.first_s + start_s) * 1e6) / 1e6 - _SEEK_MARGIN_S
    limit = {} if length_s is None else {"t": f"{float(length_s) + _SEEK_MARGIN_S:.6f}"}
    # The library takes inputs with the same options for one; packets of queue more tell them apart.
    limit = {**limit, "thread_queue_size": 16 + number}
    return graph.input(file_url(video.path), seek_timestamp=1, ss=f"{at_s:.6f}", **limit)


def picture_of(
    source: Any, video: ComparedVideo, cell: tuple[int, int], rate: Fraction, length_s: Fraction
) -> Any:
    """The picture in its cell, at a rate, as long as asked for: its last frame stays.

    Args:
        source: As `input_from` gives it.
        video: The video.
        cell: Width and height.
        rate: Frames a second.
        length_s: Seconds.
    """
    stream = source[str(video.video.index)]
    if video.video.is_interlaced:
        stream = stream.filter("bwdif", mode="send_frame")
    stream = stream.filter("fps", fps=f"{rate.numerator}/{rate.denominator}", start_time=0)
    width, height = fitted_size(video, cell)
    stream = stream.filter("scale", width, height, flags="bicubic").filter("setsar", 1)
    for name, options in _tone_mapping(video.video):
        stream = stream.filter(name, **options)
    stream = stream.filter("format", "yuv420p")
    if (width, height) != cell:
        stream = stream.filter("pad", *cell, "(ow-iw)/2", "(oh-ih)/2")
    stream = stream.filter("tpad", stop_mode="clone", stop=-1)
    return stream.filter("trim", duration=f"{float(length_s):.6f}")


def sound_of(source: Any, video: ComparedVideo, length_s: Fraction) -> Any | None:
    """The sound in step with the picture, filled with silence; None where there is none."""
    if video.info.audio is None:
        return None
    stream = source[str(video.info.audio.index)]
    stream = stream.filter("aresample", 48000, **{"async": 1, "first_pts": 0})
    stream = stream.filter("apad")
    return stream.filter("atrim", duration=f"{float(length_s):.6f}")


def _tone_mapping(video: VideoStreamInfo) -> list[tuple[str, dict[str, Any]]]:
    """Filters that bring HDR to what every screen shows."""
    if video.color_transfer not in _HDR_TRANSFERS:
        return []
    return [
        ("zscale", {"t": "linear", "npl": _HDR_WHITE}),
        ("format", {"pix_fmts": "gbrpf32le"}),
        ("zscale", {"p": "bt709"}),
        ("tonemap", {"tonemap": "mobius", "desat": 0}),
        ("zscale", {"t": "bt709", "m": "bt709", "r": "limited"}),
    ]
