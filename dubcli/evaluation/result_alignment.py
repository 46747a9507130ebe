"""A video of another tool beside its source: frame by frame, at the source's size and length."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from av.video.frame import VideoFrame

from dubcli.core.errors import MediaError
from dubcli.core.types import F64, Int, MediaInfo
from dubcli.evaluation.settings import SAMPLE_RATE_HZ
from dubcli.evaluation.source import MIN_SCORED, Source
from dubcli.media.container.probe import probe, require_video
from dubcli.media.sound.waveform import read_waveform
from dubcli.media.video.frame_reader import FrameReader, frame_times
from dubcli.media.video.frame_writer import EncodeOptions, FrameWriter
from dubcli.media.video.rgb_pictures import PictureMaker
from dubcli.media.video.timeline import FrameTimes

# Times that differ by less are the same: clocks of containers round.
_SAME_S = 0.002
# Two recordings are of one sound where they correlate at least so, at lags up to so many seconds.
_SAME_SOUND, _MOST_LAG_S = 0.5, 0.6


@dataclass(frozen=True, kw_only=True)
class AlignedResult:
    """A result with the frames of its source.

    Attributes:
        path: Its frame i belongs to frame i of `source`, at the same display size.
        source: The clip, cut to the common length.
        facts: JSON-ready: what differed.
    """

    path: Path
    source: Source
    facts: dict[str, Any]


def align_result(path: Path, source: Source, folder: Path, threads: int = 0) -> AlignedResult:
    """Bring a video to the times, the length and the size of its source.

    Each frame of the source is given the frame of the video that is nearest in time, counted from
    both first frames, and scaled to the source's display size; what one lasts longer is left out.
    A video that has the source's frames already is taken as it is.

    Args:
        path: The video.
        source: What it was made of.
        folder: Where a temporary file may lie.
        threads: Of decoder and encoder; 0 for all cores.

    Raises:
        MediaError: It cannot be read, or ends before the frames that are scored.
    """
    info = probe(path)
    size, wanted = require_video(info).display_size, require_video(source.info).display_size
    times = frame_times(path, info)
    indices = nearest_frames(_seconds(times), float(times.duration_s), source.seconds)
    common = source.until(len(indices))
    if len(common.scored) < MIN_SCORED:
        raise MediaError(
            f"'{path}' lasts {float(times.duration_s):.2f} s and ends before the frames that are "
            f"scored; its clip lasts {float(source.duration_s):.2f} s.",
            "Give a result as long as its clip.",
        )
    is_same = np.array_equal(indices, np.arange(len(times))) and bool(
        (np.abs(_seconds(times)[indices] - common.seconds) <= _SAME_S).all()
    )
    facts = {
        "size": list(size),
        "source_size": list(wanted),
        "frames": len(times),
        "source_frames": len(source),
        "compared_frames": len(common),
        "is_retimed": not is_same,
        "is_scaled": size != wanted,
        "is_cut": len(common) < len(source)
        or float(times.duration_s - source.duration_s) > _SAME_S,
    }
    if is_same and size == wanted:
        return AlignedResult(path=path, source=common, facts=facts)
    output = folder / "aligned.mkv"
    _write(path, info, indices, common, output, threads)
    return AlignedResult(path=output, source=common, facts=facts)


def nearest_frames(known_s: F64, length_s: float, wanted_s: F64) -> Int:
    """For each wanted time before the end, the frame that begins nearest to it.

    Args:
        known_s: When each frame begins, seconds after the first one, rising. Shape (T,).
        length_s: When the last one ends.
        wanted_s: Rising. Shape (U,).

    Returns:
        Shape (V,), V <= U: times from `length_s` on have none.
    """
    inside = wanted_s[wanted_s < length_s - 1e-6]
    later = np.clip(np.searchsorted(known_s, inside), 0, len(known_s) - 1)
    earlier = np.maximum(later - 1, 0)
    is_earlier = np.abs(inside - known_s[earlier]) < np.abs(known_s[later] - inside)
    return np.where(is_earlier, earlier, later)


def sound_lag(path: Path, driver: Path) -> float | None:
    """How much later a video is heard than the sound that should drive it, seconds.

    Args:
        path: The video; its first frame counts as 0.
        driver: A recording from the first frame on.

    Returns:
        None where the video has no sound; NaN where it is another sound.
    """
    info = probe(path)
    if info.audio is None:
        return None
    heard = read_waveform(path, SAMPLE_RATE_HZ)
    true = read_waveform(driver, SAMPLE_RATE_HZ).samples.astype(np.float64)
    video = require_video(info)
    late_s = float(heard.start_s - video.start_pts * video.time_base)
    samples = heard.samples.astype(np.float64)
    most = round(_MOST_LAG_S * SAMPLE_RATE_HZ)
    size = 1 << (len(samples) + len(true)).bit_length()
    spectrum = np.fft.rfft(samples, size) * np.conj(np.fft.rfft(true, size))
    products = np.fft.irfft(spectrum, size)
    near = np.concatenate([products[-most:], products[: most + 1]])
    scale = float(np.linalg.norm(samples) * np.linalg.norm(true))
    place = int(near.argmax())
    if scale <= 0 or near[place] / scale < _SAME_SOUND:
        return float("nan")
    return (place - most) / SAMPLE_RATE_HZ + late_s


def notes_on(items: list[tuple[str, str, dict[str, Any]]]) -> list[str]:
    """Sentences for a table on what was done to the results of other tools.

    Args:
        items: System, run and `AlignedResult.facts` of each scored one.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for system, run, facts in items:
        groups.setdefault((system, run), []).append(facts)
    notes: list[str] = []
    for (system, run), several in groups.items():
        said = [_said(several, key, what) for key, what in _WORDS.items()]
        least = min(facts["compared_frames"] / facts["source_frames"] for facts in several)
        said += (
            [f"at least {100 * least:.0f} % of a clip's frames are compared"] if least < 1 else []
        )
        told = [text for text in said if text]
        notes += [f"{system}, {run}: {'; '.join(told)}."] if told else []
    return notes


_WORDS = {
    "is_retimed": "had frames at other times (the nearest in time is compared)",
    "is_scaled": "had another size (scaled to the source's)",
    "is_cut": "had another length (the common part is compared)",
    "has_other_sound": "had another sound than the one that drives here",
    "has_own_sound": "followed the clip's own sound without the shift by its own offset",
    "is_silent": "had no sound to check what drove them",
}


def _said(several: list[dict[str, Any]], key: str, what: str) -> str:
    num = sum(bool(facts.get(key)) for facts in several)
    return f"{num} of {len(several)} {what}" if num else ""


def _seconds(times: FrameTimes) -> F64:
    pts = np.array(times.pts, np.int64)
    return (pts - pts[0]) * float(times.time_base)


def _write(
    path: Path, info: MediaInfo, indices: Int, common: Source, output: Path, threads: int
) -> None:
    """A lossless RGB video of some frames, upright, at the source's size and times."""
    video, shown = require_video(info), require_video(common.info)
    width, height = shown.display_size
    turned = video.rotation_deg in (90, 270)
    picture = PictureMaker((height, width) if turned else (width, height), video.rotation_deg)
    stream = replace(
        shown,
        codec="ffv1",
        width=width,
        height=height,
        pix_fmt="bgr0",
        sar=Fraction(1),
        rotation_deg=0,
        crop=(0, 0, 0, 0),
        forms=(),
        is_interlaced=False,
        color_space=0,
        color_range=2,
    )
    options = EncodeOptions(output=output, lossless=True, threads=threads)
    with FrameReader(path, info, threads) as reader, FrameWriter(output, stream, options) as writer:
        frames = reader.native_sequence(indices.tolist())
        for native, pts in zip(frames, common.times.pts, strict=True):
            made = VideoFrame.from_ndarray(picture(native.frame), format="rgb24")
            writer.write(made, pts)
