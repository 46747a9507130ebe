"""What browsers and players everywhere decode: H.264 with AAC, or VP9 with Opus."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from dubcli.core.errors import MediaError
from dubcli.media.container.ffmpeg import ffmpeg_binary, run


@dataclass(frozen=True, kw_only=True)
class WebEncoding:
    """Options of ffmpeg for a file that browsers play.

    Attributes:
        suffix: Of the file.
        video: Options of the picture but its quality.
        audio: Options of the sound.
        container: Options of the file.
        sound_suffix: Of a file with the sound alone.
    """

    suffix: str
    video: Mapping[str, Any]
    audio: Mapping[str, Any]
    container: Mapping[str, Any]
    sound_suffix: str

    def quality(self, crf: int) -> dict[str, Any]:
        """Options for a quality: 0 is the best, 51 the worst."""
        if self.video["c:v"] == "libx264":
            return {"crf": crf}
        return {"crf": min(63, round(crf * 63 / 51)), "b:v": 0}  # libvpx counts to 63


_H264 = WebEncoding(
    suffix=".mp4",
    video=MappingProxyType(
        {"c:v": "libx264", "preset": "veryfast", "pix_fmt": "yuv420p", "g": 25, "bf": 0}
    ),
    audio=MappingProxyType({"c:a": "aac", "b:a": "128k", "ac": 2, "ar": 48000}),
    container=MappingProxyType({"movflags": "+faststart"}),
    sound_suffix=".m4a",
)
_VP9 = WebEncoding(
    suffix=".webm",
    video=MappingProxyType(
        {
            **{"c:v": "libvpx-vp9", "deadline": "realtime", "cpu-used": 6, "row-mt": 1},
            **{"pix_fmt": "yuv420p", "g": 25},
        }
    ),
    audio=MappingProxyType({"c:a": "libopus", "b:a": "96k", "ac": 2, "ar": 48000}),
    container=MappingProxyType({}),
    sound_suffix=".webm",
)


def preferred_encoding() -> WebEncoding:
    """H.264 where this ffmpeg has it, else VP9.

    Raises:
        MediaError: It has neither.
    """
    known = _encoders(ffmpeg_binary())
    for encoding in (_H264, _VP9):
        if {encoding.video["c:v"], encoding.audio["c:a"]} <= known:
            return encoding
    raise MediaError(
        "The ffmpeg program has neither libx264 nor libvpx-vp9 with libopus.",
        "Run: pip install --force-reinstall imageio-ffmpeg, and take other programs off PATH.",
    )


def encoding_of(suffix: str) -> WebEncoding:
    """VP9 for `.webm`, H.264 for other containers; the file keeps its suffix."""
    return _VP9 if suffix.lower() == ".webm" else _H264


@functools.cache
def _encoders(binary: str) -> frozenset[str]:
    lines = run([binary, "-hide_banner", "-encoders"]).decode("utf-8", "replace").splitlines()
    return frozenset(line.split()[1] for line in lines if len(line.split()) > 1)
