"""What pass 1 found, and its file: a job that goes on does not look at every frame again."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np

from dubcli.core.atomic_io import replacing
from dubcli.core.types import FaceTrack
from dubcli.media.video.timeline import FrameTimes


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What pass 1 found.

    Attributes:
        times: Of every frame.
        tracks: Every person, largest first.
        num_corrupt: Packets that could not be decoded.
        num_interlaced: Frames that say of themselves that they are interlaced.
    """

    times: FrameTimes
    tracks: list[FaceTrack]
    num_corrupt: int
    num_interlaced: int = 0


def save_analysis(found: Analysis, path: Path) -> None:
    """Write the result of pass 1; the file is there whole or not at all."""
    times = found.times
    arrays: dict[str, Any] = {
        "pts": np.array(times.pts, np.int64),
        "end_pts": np.int64(times.end_pts),
        "time_base": np.array(times.time_base.as_integer_ratio(), np.int64),
        "num_corrupt": np.int64(found.num_corrupt),
        "num_interlaced": np.int64(found.num_interlaced),
        "num_tracks": np.int64(len(found.tracks)),
    }
    for number, track in enumerate(found.tracks):
        for entry in fields(track):
            value = getattr(track, entry.name)
            arrays[f"{number}.{entry.name}"] = np.array(value)
    # Not by `savez`, which leaves an archive open when the disk is full.
    with (
        replacing(path) as partial,
        partial.open("wb") as file,
        zipfile.ZipFile(file, "w") as archive,
    ):
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)


def load_analysis(path: Path) -> Analysis | None:
    """What `save_analysis` wrote; None where there is no such file or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            data = {name: stored[name] for name in stored.files}
        numerator, denominator = data["time_base"].tolist()
        times = FrameTimes(
            pts=data["pts"].tolist(),
            end_pts=int(data["end_pts"]),
            time_base=Fraction(numerator, denominator),
        )
        tracks = [_track(data, number) for number in range(int(data["num_tracks"]))]
        return Analysis(
            times=times,
            tracks=tracks,
            num_corrupt=int(data["num_corrupt"]),
            num_interlaced=int(data["num_interlaced"]),
        )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _track(data: dict[str, Any], number: int) -> FaceTrack:
    values: dict[str, Any] = {}
    for entry in fields(FaceTrack):
        value = data[f"{number}.{entry.name}"]
        if entry.name == "reasons":
            values[entry.name] = tuple(cast("list[str]", value.tolist()))
        else:
            values[entry.name] = value if value.ndim else value.item()
    return FaceTrack(**values)
