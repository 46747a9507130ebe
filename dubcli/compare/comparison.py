"""`dub compare`: several videos in one, in step, with labels and the sound of one of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2

from dubcli.compare.compared_video import (
    ComparedVideo,
    cell_size,
    input_from,
    open_video,
    picture_of,
    sound_of,
)
from dubcli.compare.contact_sheet import write_sheet
from dubcli.compare.labels import label_picture, one_line
from dubcli.config.compare_config import LETTERS, CompareConfig
from dubcli.core.errors import ConfigError, EncodeError
from dubcli.core.formatting import clock_time
from dubcli.media.container.ffmpeg import build_argv, ffmpeg_binary, file_url, graph, run
from dubcli.media.container.web_encoding import WebEncoding, encoding_of
from dubcli.provenance.tag import read_tag

_WIPE_S = 6  # there and back
_MOST_COLUMNS = 3
_LINE_PX = 2


@dataclass(frozen=True, kw_only=True)
class ComparisonReport:
    """What was put together.

    Attributes:
        output: The video.
        sheet: The contact sheet, None without one.
        width: Of the video, px.
        height: Of the video, px.
        frame_rate: Frames a second.
        duration_s: Seconds.
        sound: Letter of the video that is heard, None for silence.
        videos: Path, label and facts of each, by its letter.
        notes: What differed, and how it was brought together.
    """

    output: str
    sheet: str | None
    width: int
    height: int
    frame_rate: float
    duration_s: float
    sound: str | None
    videos: dict[str, dict[str, Any]]
    notes: list[str]


def compare(config: CompareConfig) -> ComparisonReport:
    """Write a comparison, and its contact sheet where one is asked for.

    Time 0 of each video is its first frame; a video that ends early shows its last frame.

    Args:
        config: What to compare, and how.

    Raises:
        ConfigError: An output exists, or is one of the videos.
        ProbeError: A video cannot be read.
        FfmpegError: A video cannot be decoded.
        EncodeError: An output cannot be written.
    """
    check_outputs(config)
    videos = tuple(open_video(path) for path in config.videos)
    rate = max(video.frame_rate for video in videos)
    length_s = max(video.length_s for video in videos)
    cell = cell_size(videos, config.height)
    labels = [f"{LETTERS[n]}  {one_line(text)}" for n, text in enumerate(config.labels)]
    heard = config.heard
    notes = differences(videos, rate, length_s, cell)
    if heard is not None and videos[heard].info.audio is None:
        notes.append(f"{LETTERS[heard]} has no sound, so the comparison has none")
        heard = None
    size = _render(config, videos, labels, rate, length_s, cell, heard)
    if config.sheet is not None:
        write_sheet(videos, labels, length_s, config.sheet)
    return ComparisonReport(
        output=str(config.output),
        sheet=None if config.sheet is None else str(config.sheet),
        width=size[0],
        height=size[1],
        frame_rate=round(float(rate), 3),
        duration_s=round(float(length_s), 3),
        sound=None if heard is None else LETTERS[heard],
        videos={
            LETTERS[n]: _facts(video, text)
            for n, (video, text) in enumerate(zip(videos, config.labels, strict=True))
        },
        notes=notes,
    )


def check_outputs(config: CompareConfig) -> None:
    """Refuse what would replace a file, before anything slow.

    Raises:
        ConfigError: An output exists, is one of the videos, or has no folder.
    """
    inputs = {os.path.realpath(path) for path in config.videos}
    for flag, path in (("-o", config.output), ("--sheet", config.sheet)):
        if path is None:
            continue
        if os.path.realpath(path) in inputs:
            raise ConfigError(
                f"'{path}' is one of the videos.", f"Choose another name with {flag}."
            )
        if not path.absolute().parent.is_dir():
            raise ConfigError(
                f"The folder '{path.absolute().parent}' does not exist.", "Make it first."
            )
        if path.is_dir():
            raise ConfigError(f"'{path}' is a directory.", f"Name a file with {flag}.")
        if path.exists() and not config.overwrite:
            raise ConfigError(f"'{path}' exists already.", "Use -y, or choose another name.")


def differences(
    videos: Sequence[ComparedVideo], rate: Fraction, length_s: Fraction, cell: tuple[int, int]
) -> list[str]:
    """Sentences on what differs, and what was made of it."""
    notes: list[str] = []
    rates = [video.frame_rate for video in videos]
    if len(set(rates)) > 1:
        each = ", ".join(f"{LETTERS[n]} {float(one):.5g}" for n, one in enumerate(rates))
        notes.append(f"frames a second differ ({each}): shown at {float(rate):.5g}")
    sizes = [video.video.display_size for video in videos]
    if len(set(sizes)) > 1:
        each = ", ".join(f"{LETTERS[n]} {w}x{h}" for n, (w, h) in enumerate(sizes))
        notes.append(f"sizes differ ({each}): each fits into {cell[0]}x{cell[1]}")
    for number, video in enumerate(videos):
        if length_s - video.length_s > 1 / rate:
            ends = clock_time(float(video.length_s))
            notes.append(f"{LETTERS[number]} ends at {ends} and shows its last frame from then on")
    return notes


def _facts(video: ComparedVideo, label: str) -> dict[str, Any]:
    width, height = video.video.display_size
    return {
        "path": str(video.path),
        "label": label,
        "width": width,
        "height": height,
        "frame_rate": round(float(video.frame_rate), 3),
        "duration_s": round(float(video.length_s), 3),
        "has_sound": video.info.audio is not None,
    }


def _render(
    config: CompareConfig,
    videos: Sequence[ComparedVideo],
    labels: Sequence[str],
    rate: Fraction,
    length_s: Fraction,
    cell: tuple[int, int],
    heard: int | None,
) -> tuple[int, int]:
    """Write the video under a temporary name, then rename; width and height of its picture."""
    try:
        with TemporaryDirectory(dir=config.output.absolute().parent, prefix=".compare-") as name:
            folder = Path(name)
            sources = [input_from(one, Fraction(0), number=n) for n, one in enumerate(videos)]
            pictures = [
                picture_of(source, video, cell, rate, length_s)
                for source, video in zip(sources, videos, strict=True)
            ]
            plates = _plates(labels, cell, folder)
            if config.layout == "wipe":
                shown, size = _wiped(pictures, plates, cell, rate), cell
            else:
                shown, size = _side_by_side(pictures, plates, cell)
            streams = [shown]
            if heard is not None:
                streams.append(sound_of(sources[heard], videos[heard], length_s))
            encoding = encoding_of(config.output.suffix)
            target = folder / f"comparison{config.output.suffix.lower()}"
            options = _options(config, encoding, videos, heard is not None, length_s)
            output = graph.output(*streams, file_url(target), **options)
            run(build_argv(ffmpeg_binary(), output))
            target.replace(config.output)
    except OSError as error:
        raise EncodeError(
            f"'{config.output}' cannot be written: {error.strerror}.",
            "Free some space, or choose another folder.",
        ) from error
    return size


def _options(
    config: CompareConfig,
    encoding: WebEncoding,
    videos: Sequence[ComparedVideo],
    has_sound: bool,
    length_s: Fraction,
) -> dict[str, Any]:
    is_mp4 = config.output.suffix.lower() in (".mp4", ".mov")
    statements = [read_tag(video.path).statement for video in videos]
    sentence = next((one.sentence for one in statements if one is not None), None)
    return {
        **encoding.video,
        **encoding.quality(config.crf),
        **(encoding.audio if has_sound else {}),
        **(encoding.container if is_mp4 else {}),
        **({"metadata": f"comment={sentence}"} if sentence else {}),
        "threads": config.threads,
        "t": f"{float(length_s):.6f}",
        "map_metadata": -1,
    }


def _plates(labels: Sequence[str], cell: tuple[int, int], folder: Path) -> list[Path]:
    height = max(16, cell[1] // 18)
    paths: list[Path] = []
    for number, text in enumerate(labels):
        plate = label_picture(text, height, cell[0] - cell[0] % 2)
        paths.append(folder / f"label-{number}.png")
        cv2.imwrite(str(paths[-1]), plate[..., ::-1])
    return paths


def _side_by_side(
    pictures: Sequence[Any], plates: Sequence[Path], cell: tuple[int, int]
) -> tuple[Any, tuple[int, int]]:
    columns = len(pictures) if len(pictures) <= _MOST_COLUMNS else -(-len(pictures) // 2)
    columns = min(columns, _MOST_COLUMNS)
    rows = -(-len(pictures) // columns)
    labelled = [
        picture.overlay(graph.input(file_url(plate)), x=0, y=0)
        for picture, plate in zip(pictures, plates, strict=True)
    ]
    places = [
        f"{cell[0] * (number % columns)}_{cell[1] * (number // columns)}"
        for number in range(len(pictures))
    ]
    shown = graph.filter(
        labelled, "xstack", inputs=len(labelled), layout="|".join(places), fill="black"
    )
    return shown, (cell[0] * columns, cell[1] * rows)


def _wiped(
    pictures: Sequence[Any], plates: Sequence[Path], cell: tuple[int, int], rate: Fraction
) -> Any:
    """The first left of a line that goes from side to side, the second right of it."""
    width, height = cell
    place = f"{width}*(0.5+0.45*cos(2*PI*t/{_WIPE_S}))"
    each = f"{rate.numerator}/{rate.denominator}"
    left = pictures[0].overlay(graph.input(file_url(plates[0])), x=0, y=0)
    right = pictures[1].overlay(graph.input(file_url(plates[1])), x="W-w", y=0)
    mask = graph.input(f"color=c=white:s={width}x{height}:r={each}", f="lavfi")
    mask = mask.filter("pad", 2 * width, height, 0, 0, "black")
    mask = mask.filter("crop", width, height, f"{width}-{place}", 0)
    # RGB: chroma planes of a white mask would stand for half.
    planes = [stream.filter("format", "gbrp") for stream in (right, left, mask)]
    shown = graph.filter(planes, "maskedmerge")
    line = graph.input(f"color=c=white:s={_LINE_PX}x{height}:r={each}", f="lavfi")
    return shown.overlay(line, x=f"{place}-1", y=0, shortest=1)
