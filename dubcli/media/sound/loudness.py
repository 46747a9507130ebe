"""How loud a recording is, by EBU R128."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from dubcli.core.errors import FfmpegError
from dubcli.media.container.ffmpeg import ffmpeg_binary, file_url, graph, run_for_messages

# The measure's absolute gate: what is no louder counts as silence.
_SILENCE_LUFS = -70.0
_FIGURES = re.compile(r"I:\s+(\S+) LUFS.*Peak:\s+(\S+) dBFS", re.DOTALL)


@dataclass(frozen=True)
class Loudness:
    """Of one audio stream.

    Attributes:
        integrated: Loudness of all that is not silence, LUFS (EBU R128, ITU-R BS.1770), to 0.1;
            None where there is nothing else, or less than 0.4 s of it.
        peak: True peak, dB over full scale; minus infinity for digital silence.
    """

    integrated: float | None
    peak: float


def measure_loudness(path: Path, stream: str = "a:0") -> Loudness:
    """Measure a whole stream with ffmpeg's ebur128.

    A single channel is taken as played by two speakers, which is what players do with it; so mono
    and stereo of the same level are as loud as each other.

    Args:
        path: The file.
        stream: Which of its streams, as ffmpeg counts: `a:0` is the first audio, `3` stream 3.

    Raises:
        FfmpegError: ffmpeg cannot decode it.
        MediaError: ffmpeg cannot be started.
    """
    settings = {"peak": "true", "dualmono": "true", "framelog": "quiet"}
    sound = graph.input(file_url(path))[stream].filter("ebur128", **settings)
    words = graph.get_args(graph.output(sound, "-", f="null"))
    # The figures are said as information, so not with the quiet options of every other call.
    argv = [ffmpeg_binary(), *("-hide_banner", "-nostdin", "-nostats", "-loglevel", "info"), *words]
    said = run_for_messages(argv)
    found = _FIGURES.search(said, max(0, said.rfind("Summary:")))
    if found is None:
        raise FfmpegError(argv, "no loudness was measured")
    integrated, peak = (_number(word) for word in found.groups())
    return Loudness(integrated if integrated > _SILENCE_LUFS else None, peak)


def _number(word: str) -> float:
    value = float(word)
    return -math.inf if math.isnan(value) else value
