"""Mouths of a dub as a file of points that one can look at, edit, and render from.

The format is that of docs/landmarks.md. Points are kept in px of the upright picture with a depth
in the same unit, so that the pose-free mouth follows from them exactly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from dubcli.core.atomic_io import replacing
from dubcli.core.errors import ConfigError
from dubcli.core.json_text import parse_json
from dubcli.core.types import F32, F64, Int
from dubcli.face.pose import Pose
from dubcli.media.video.timeline import Timeline
from dubcli.models.api import NUM_SPEAKING
from dubcli.pipeline.resume import fingerprint_of

FORMAT = 1
_GROUPS = {"outer_lips": [0, 20], "inner_lips": [20, 40], "jaw": [40, 61], "skin": [61, 102]}
_INNER, _HALF = slice(20, 40), 10
# Lips may overlap by so much, canonical units: rounding, and no more.
_OVERLAP = 1e-3
# So many digits after the point give back the very float32 that a model predicted.
_DIGITS = 9


@dataclass(frozen=True, kw_only=True)
class GivenMouths:
    """The mouths of a landmark file, as it has them.

    Attributes:
        path: The file.
        faces: Of each voice, points (S, 3) by position of the result: x, y in px of the upright
            picture, and depth.
    """

    path: Path
    faces: tuple[Mapping[int, F64], ...]


@dataclass
class MouthLog:
    """Pose-free mouths (S, 3) of a dub by position of the result."""

    values: dict[int, F32] = field(default_factory=dict[int, F32])

    def add(self, positions: Tensor, points: Tensor) -> None:
        """Take up the mouths (E, S, 3) of some positions (E,)."""
        mouths = points.detach().float().cpu().numpy()
        self.values.update(zip(positions.tolist(), mouths, strict=True))

    def take(self, start: int, stop: int) -> MouthLog:
        """Take out what belongs to a range of positions."""
        # A copy: the next mouths may be added meanwhile.
        places = [place for place in list(self.values) if start <= place < stop]
        return MouthLog({place: self.values.pop(place) for place in sorted(places)})

    def save(self, path: Path) -> None:
        """Write, as a whole or not at all."""
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez(
                file,
                places=np.array(list(self.values), np.int64),
                points=np.array(list(self.values.values()), np.float32),
            )

    @staticmethod
    def load(path: Path) -> MouthLog:
        """What `save` has written."""
        with np.load(path, allow_pickle=False) as stored:
            places, points = stored["places"].tolist(), stored["points"]
        return MouthLog(dict(zip(places, points, strict=True)))


def video_digest(video: Path) -> str:
    """What tells a video from another one: its length and up to 16 MiB spread over it."""
    return fingerprint_of({}, [video])


def read_landmarks(path: Path, video: Path, num_faces: int) -> GivenMouths:
    """A landmark file, checked as far as the file alone can tell.

    Args:
        path: The file.
        video: The video that is dubbed.
        num_faces: How many people are dubbed.

    Raises:
        ConfigError: It cannot be read, is of another video or of other people, frames are
            missing, or points are no numbers.
    """
    again = "Write it anew with --landmarks-out."
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        kind, digest = content["dubcli_landmarks"], content["video"]["digest"]
        faces = [(face["positions"], face["frames"]) for face in content["faces"]]
    except OSError as error:
        raise ConfigError(f"'{path}' cannot be read: {error.strerror}.", again) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"'{path}' is no landmark file.", again) from error
    if kind != FORMAT:
        raise ConfigError(f"'{path}' has format {kind}, this version reads {FORMAT}.", again)
    if digest != video_digest(video):
        raise ConfigError(
            f"'{path}' holds the landmarks of another video than '{video}'.",
            "Name the video that it was made from.",
        )
    if len(faces) != num_faces:
        raise ConfigError(
            f"'{path}' holds {len(faces)} faces, {num_faces} are dubbed.",
            "Use the same --audio as when it was written.",
        )
    return GivenMouths(path=path, faces=tuple(_read_face(path, *face) for face in faces))


def _read_face(path: Path, ranges: Any, frames: Any) -> Mapping[int, F64]:
    """Points by position; the file's own ranges tell which there must be."""
    found: dict[int, F64] = {}
    try:
        wanted = [place for start, stop in ranges for place in range(int(start), int(stop))]
        for frame in frames:
            place = int(frame["position"])
            try:
                found[place] = np.array(frame["points"], np.float64)
            except (ValueError, TypeError) as error:
                raise _bad_frame(path, place, "holds points that are no numbers") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"'{path}' has a frame without position or points.",
            "Write it anew with --landmarks-out.",
        ) from error
    for place, points in found.items():
        if points.shape != (NUM_SPEAKING, 3):
            raise _bad_frame(path, place, f"does not hold {NUM_SPEAKING} points of x, y, depth")
        if not np.isfinite(points).all():
            raise _bad_frame(path, place, "holds points that are no numbers")
    missing = next((place for place in wanted if place not in found), None)
    if missing is not None:
        raise _bad_frame(path, missing, "is missing")
    return found


def _bad_frame(path: Path, place: int, what: str) -> ConfigError:
    return ConfigError(
        f"'{path}': the frame at position {place} {what}.",
        "Mend it, or write the file anew with --landmarks-out.",
    )


def pose_free(given: GivenMouths, face: int, positions: Int, poses: Pose) -> dict[int, F32]:
    """Canonical mouths of the positions that are dubbed.

    Args:
        given: The file.
        face: Number of the voice.
        positions: That are dubbed. Shape (T,).
        poses: Of the frames shown there. Length T.

    Raises:
        ConfigError: A position is missing, or lips cross.
    """
    points = given.faces[face]
    made: dict[int, F32] = {}
    for number, place in enumerate(positions.tolist()):
        if place not in points:
            raise _bad_frame(given.path, place, "is missing")
        centred = points[place] - poses.translation[number]
        mouth = (centred @ poses.rotation[number]) / poses.scale[number]
        if _overlap(mouth) > _OVERLAP:
            raise _bad_frame(given.path, place, "has lips that cross")
        made[place] = mouth.astype(np.float32)
    return made


def _overlap(mouth: F64) -> float:
    """How far the upper inner lip lies below the lower one; y points down."""
    ring = mouth[_INNER, 1]
    lower, upper = ring[1:_HALF], ring[_HALF + 1 :][::-1]
    return float((upper - lower).max())


def write_landmarks(
    output: Path,
    video: Path,
    timeline: Timeline,
    faces: Sequence[tuple[MouthLog, Pose]],
) -> None:
    """Write the mouths of a dub.

    Args:
        output: The file, replaced where it exists.
        video: What was dubbed.
        timeline: Of the result.
        faces: Mouths of each voice, and the poses of the source's frames.

    Raises:
        OSError: The disk is full.
    """
    about = {
        "dubcli_landmarks": FORMAT,
        "video": {"name": video.name, "digest": video_digest(video)},
        "points": "x and y in px of the upright picture, depth in the same unit",
        "groups": _GROUPS,
    }
    with replacing(output) as partial, partial.open("w", encoding="utf-8") as file:
        file.write(json.dumps(about, indent=1)[:-2] + ',\n "faces": [')
        for number, (log, pose) in enumerate(faces):
            file.write(",\n" if number else "\n")
            ranges = json.dumps(_ranges(sorted(log.values)))
            file.write(f'  {{"positions": {ranges}, "frames": [')
            for row, place in enumerate(sorted(log.values)):
                file.write(",\n" if row else "\n")
                frame = _frame(place, log.values[place], timeline, pose)
                file.write(f"   {json.dumps(frame)}")
            file.write("\n  ]}")
        file.write("\n ]\n}\n")


def _frame(place: int, mouth: F32, timeline: Timeline, pose: Pose) -> dict[str, object]:
    index = int(timeline.source_index[place])
    turned = mouth.astype(np.float64) @ pose.rotation[index].T
    points = turned * pose.scale[index] + pose.translation[index]
    shown = int(timeline.pts[place] - timeline.pts[0]) * float(timeline.time_base)
    return {
        "position": place,
        "source_frame": index,
        "time_s": round(shown, 4),
        "points": [[round(value, _DIGITS) for value in point] for point in points.tolist()],
    }


def _ranges(places: list[int]) -> list[list[int]]:
    """First position and the one after the last of each run."""
    ranges: list[list[int]] = []
    for place in places:
        if ranges and ranges[-1][1] == place:
            ranges[-1][1] = place + 1
        else:
            ranges.append([place, place + 1])
    return ranges
