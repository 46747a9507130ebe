"""Light previews: source above result in one film, so that no player can put them out of step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from dubcli.compare.compared_video import (
    ComparedVideo,
    input_from,
    open_video,
    picture_of,
    sound_of,
)
from dubcli.core.errors import NoFaceError
from dubcli.face.detect import open_detector
from dubcli.media.container.ffmpeg import build_argv, ffmpeg_binary, file_url, graph, run
from dubcli.media.container.web_encoding import preferred_encoding
from dubcli.media.sound.waveform import read_waveform
from dubcli.metrics.lips import measure_mouth
from dubcli.review.excerpts import Excerpt

_MOST_HEIGHT, _MOST_WIDTH = 540, 960
_CRF = 24
_CURVE_HZ = 25
_SILENCE_DB = -60.0


@dataclass(frozen=True, kw_only=True)
class Preview:
    """An excerpt as a page shows it.

    Attributes:
        excerpt: Which part of the result.
        film: File with the source above the result (or the result alone), and its sound.
        source_sound: File with the source's own sound, None where it has none.
        width: Of one of the two pictures, px.
        height: Of one of the two pictures, px.
        frame_rate: Frames a second.
        has_source: The source is there.
        opening: Mouth opening of the result 25 times a second: inner lip gap over the distance
            between the eyes; None where no face was seen. Empty where not measured.
        loudness: Root mean square of its sound in dB of full scale at the same times.
    """

    excerpt: Excerpt
    film: Path
    source_sound: Path | None
    width: int
    height: int
    frame_rate: float
    has_source: bool
    opening: tuple[float | None, ...]
    loudness: tuple[float, ...]


def preview_size(video: ComparedVideo) -> tuple[int, int]:
    """Even width and height of a preview, at most 960 x 540 px, never enlarged."""
    width, height = video.video.display_size
    scale = min(1.0, _MOST_HEIGHT / height, _MOST_WIDTH / width)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def make_preview(
    result: Path,
    source: Path | None,
    excerpt: Excerpt,
    folder: Path,
    name: str,
    detector: str | None,
) -> Preview:
    """Write the preview of an excerpt.

    Args:
        result: The dubbed video.
        source: What was dubbed; None where it is not there.
        excerpt: Which part.
        folder: Where the files go.
        name: Their name without suffix.
        detector: Finds the mouth whose opening is measured; None leaves that out.

    Raises:
        ProbeError: A video cannot be read.
        FfmpegError: A video cannot be decoded.
        EncodeError: The disk is full.
    """
    videos = [open_video(path) for path in (source, result) if path is not None]
    dubbed = videos[-1]
    start_s = Fraction(excerpt.start_s)
    length_s = max(Fraction(excerpt.end_s - excerpt.start_s), 1 / dubbed.frame_rate)
    film = _write_film(videos, start_s, length_s, folder / name)
    own = None
    if source is not None and start_s < videos[0].length_s:
        own = _write_sound(videos[0], start_s, length_s, folder / f"{name}-source")
    width, height = preview_size(dubbed)
    return Preview(
        excerpt=excerpt,
        film=film,
        source_sound=own,
        width=width,
        height=height,
        frame_rate=float(dubbed.frame_rate),
        has_source=source is not None,
        opening=() if detector is None else _openings(dubbed, excerpt, folder / name, detector),
        loudness=() if dubbed.info.audio is None else loudness_of(film),
    )


def _write_film(
    videos: Sequence[ComparedVideo], start_s: Fraction, length_s: Fraction, stem: Path
) -> Path:
    """The source above the result, where both are there, under the result's sound."""
    encoding = preferred_encoding()
    dubbed = videos[-1]
    size, rate = preview_size(dubbed), dubbed.frame_rate
    # What begins after the end of the source shows its last frame.
    starts = [min(start_s, max(Fraction(0), one.length_s - 2 / rate)) for one in videos]
    inputs = [
        input_from(one, at_s, length_s, number=n)
        for n, (one, at_s) in enumerate(zip(videos, starts, strict=True))
    ]
    pictures = [
        picture_of(stream, one, size, rate, length_s)
        for stream, one in zip(inputs, videos, strict=True)
    ]
    shown = graph.filter(pictures, "vstack") if len(pictures) > 1 else pictures[0]
    heard = sound_of(inputs[-1], dubbed, length_s)
    streams = [shown] if heard is None else [shown, heard]
    options = {**encoding.video, **encoding.quality(_CRF), **encoding.container}
    options |= {**(encoding.audio if heard is not None else {}), "map_metadata": -1}
    options["t"] = f"{float(length_s):.6f}"
    film = stem.with_name(f"{stem.name}{encoding.suffix}")
    run(build_argv(ffmpeg_binary(), graph.output(*streams, file_url(film), **options)))
    return film


def _write_sound(
    video: ComparedVideo, start_s: Fraction, length_s: Fraction, stem: Path
) -> Path | None:
    stream = sound_of(input_from(video, start_s, length_s), video, length_s)
    if stream is None:
        return None
    encoding = preferred_encoding()
    path = stem.with_name(f"{stem.name}{encoding.sound_suffix}")
    output = stream.output(file_url(path), **encoding.audio, map_metadata=-1)
    run(build_argv(ffmpeg_binary(), output))
    return path


def _openings(
    video: ComparedVideo, excerpt: Excerpt, stem: Path, detector: str
) -> tuple[float | None, ...]:
    """The opening 25 times a second, by a copy of the result's picture that is removed again."""
    length_s = Fraction(excerpt.end_s - excerpt.start_s)
    copy = stem.with_name(f"{stem.name}-measured.mkv")
    stream: Any = input_from(video, Fraction(excerpt.start_s), length_s)
    picture = picture_of(stream, video, preview_size(video), Fraction(_CURVE_HZ), length_s)
    options = {"c:v": "ffv1", "t": f"{float(length_s):.6f}"}
    try:
        run(build_argv(ffmpeg_binary(), picture.output(file_url(copy), **options)))
        with open_detector(detector) as finder:
            values = measure_mouth(copy, detector=finder).opening.tolist()
    except NoFaceError:
        return ()
    finally:
        copy.unlink(missing_ok=True)
    return tuple(None if value != value else round(value, 4) for value in values)


def loudness_of(path: Path) -> tuple[float, ...]:
    """Root mean square of a file's sound 25 times a second, dB of full scale, at least -60."""
    wave = read_waveform(path)
    step = wave.sample_rate // _CURVE_HZ
    whole = len(wave.samples) // step * step
    power = np.square(wave.samples[:whole].reshape(-1, step)).mean(1)
    level = 10 * np.log10(np.maximum(power, 1e-12))
    return tuple(round(float(value), 1) for value in np.maximum(level, _SILENCE_DB))
