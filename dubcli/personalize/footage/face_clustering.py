"""Who is who in several videos, by what faces look like.

This is no face recognition: it compares the descriptors of `face.face_descriptor`, which see hair,
brow, skin and light. Measured on 131 clips of 59 people, each clip by `LOOKS` pictures and two
clips by their closest pair, at `SAME_PERSON`: of pairs that show one person 78 % count as one (90 %
of the one person with hundreds of clips), of pairs that show two 3 %, or 18 % where both stand in
one studio, under one light.

Grouped, three clips of a person and one of somebody else, on the half of the people by which the
threshold was chosen and on the other half: the stranger joins in 1 % and 0 % of draws, one from the
same studio in 11 % and 61 % (a single person there); of the person's own clips 7 % and 23 % stay
out, mostly those under other light. So who gives several videos is told which were left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from dubcli.core.types import F32, Bool, FaceObservation, FaceTrack, Frame, Int
from dubcli.face.detect import FaceDetector
from dubcli.face.face_descriptor import closest_likeness, describe
from dubcli.face.pose import fit_pose
from dubcli.face.usability import where_seen
from dubcli.media.video.timeline import FrameTimes

# Pictures by which a track is compared with others.
LOOKS = 8
SAME_PERSON = 0.8
# A frame that stands still longer than this is no footage.
_LONGEST_FRAME_S = Fraction(1, 5)


@dataclass(frozen=True, kw_only=True, eq=False)
class Appearance:
    """One face track of a video or of a stretch of it.

    Attributes:
        video: Which video.
        part: Which stretch, counted over all videos.
        track: The face, numbered as in the stretch.
        looks: Descriptors of `face.face_descriptor.describe`, spread in time. Shape (L, D).
        seconds: How long it can be used.
        height_px: Median height where it can be used, display px.
    """

    video: int
    part: int
    track: FaceTrack
    looks: F32
    seconds: Fraction
    height_px: float

    @property
    def weight(self) -> float:
        """How much there is to learn from it."""
        return float(self.seconds) * self.height_px


Person = list[Appearance]


class LooksRecorder:
    """A detector that also notes what each face looks like, so that no frame is read again.

    Args:
        detector: Finds the faces; closed by its owner.
    """

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector
        self._seen: list[list[tuple[F32, F32]]] = []

    def detect(self, frame: Frame) -> list[FaceObservation]:
        """Faces of the next frame."""
        found = self._detector.detect(frame)
        scale = np.float32(frame.scale)
        self._seen.append(
            [
                # Pixel centres at integers in both spaces.
                (seen.box, describe(frame.image, (seen.landmarks[:, :2] + 0.5) / scale - 0.5))
                for seen in found
                if np.isfinite(seen.landmarks).all()
            ]
        )
        return found

    def close(self) -> None:
        """Nothing of its own to release."""

    def looks_of(self, track: FaceTrack) -> F32:
        """Descriptors of a track: the most frontal usable frame of each of `LOOKS` runs.

        Returns:
            Shape (L, D), fewer than `LOOKS` for a short track; (0, 0) where no frame is usable.
        """
        own = {
            index: looks
            for index in np.flatnonzero(track.valid & ~track.interpolated).tolist()
            for box, looks in self._seen[index]
            if np.array_equal(box, track.boxes[index])
        }
        if not own:
            return np.zeros((0, 0), np.float32)
        frames = np.array(list(own))
        pose = fit_pose(track.landmarks[frames])
        pitch = pose.pitch_deg()
        turn = pose.yaw_deg() ** 2 + (pitch - np.median(pitch)) ** 2
        runs = np.array_split(np.arange(len(frames)), min(LOOKS, len(frames)))
        return np.stack([own[int(frames[run[np.argmin(turn[run])]])] for run in runs])


def usable_seconds(track: FaceTrack, times: FrameTimes) -> Fraction:
    """How long a face can be used, exactly."""
    longest = int(_LONGEST_FRAME_S / times.time_base)
    return int(np.minimum(times.durations, longest)[track.valid].sum()) * times.time_base


def group_people(appearances: Sequence[Appearance]) -> list[Person]:
    """Put together what shows one person, by average linkage.

    Faces that are seen in the same frame are never one person.

    Returns:
        People by weight, and what shows each by weight, largest first.
    """
    people = [[appearance] for appearance in appearances]
    count = len(people)
    alike = np.full((count, count), -np.inf)
    for one in range(count):
        for other in range(one):
            alike[one, other] = alike[other, one] = _alike(people[one][0], people[other][0])
    while len(people) > 1:
        one, other = np.unravel_index(int(np.argmax(alike)), alike.shape)
        if alike[one, other] <= SAME_PERSON:
            break
        low, high = sorted((int(one), int(other)))
        share = len(people[low]) / (len(people[low]) + len(people[high]))
        mean = _blend(alike[low], alike[high], share)
        alike[low], alike[:, low] = mean, mean
        alike[low, low] = -np.inf
        alike = np.delete(np.delete(alike, high, 0), high, 1)
        people[low] += people.pop(high)
    for person in people:
        person.sort(key=lambda item: -item.weight)
    return sorted(people, key=lambda person: -sum(item.weight for item in person))


def join_tracks(tracks: Sequence[FaceTrack]) -> FaceTrack:
    """One person's tracks over the same frames, never seen at once, as one.

    Each frame comes from the first track that can use it; where that changes, a shot begins.
    """
    source: Int = np.zeros(len(tracks[0]), np.int64)
    taken: Bool = tracks[0].valid.copy()
    for number, track in enumerate(tracks[1:], 1):
        source[track.valid & ~taken] = number
        taken |= track.valid
    frames = np.arange(len(source))

    def pick(name: str) -> np.ndarray:
        return np.stack([getattr(track, name) for track in tracks])[source, frames]

    changes = (np.diff(source, prepend=source[:1]) != 0) | (
        np.diff(tracks[0].shot, prepend=tracks[0].shot[:1]) != 0
    )
    return replace(
        tracks[0],
        boxes=pick("boxes"),
        landmarks=pick("landmarks"),
        valid=taken,
        interpolated=pick("interpolated"),
        shot=np.cumsum(changes),
        reasons=tuple(tracks[number].reasons[frame] for frame, number in enumerate(source)),
        sharpness=pick("sharpness"),
        light=pick("light"),
    )


def chain_tracks(tracks: Sequence[FaceTrack]) -> FaceTrack:
    """Tracks of several stretches one after the other, as if of one video."""

    def chained(name: str) -> np.ndarray:
        return np.concatenate([getattr(track, name) for track in tracks])

    starts = np.cumsum([0, *(int(track.shot.max()) + 1 for track in tracks)])
    return FaceTrack(
        start=0,
        boxes=chained("boxes"),
        landmarks=chained("landmarks"),
        valid=chained("valid"),
        interpolated=chained("interpolated"),
        shot=np.concatenate(
            [track.shot + start for track, start in zip(tracks, starts, strict=False)]
        ),
        reasons=tuple(reason for track in tracks for reason in track.reasons),
        sharpness=chained("sharpness"),
        light=chained("light"),
    )


def spread_looks(appearances: Sequence[Appearance]) -> F32:
    """Descriptors of a person from all over the footage. Shape (at most LOOKS, D)."""
    every = np.concatenate([item.looks for item in appearances])
    chosen = np.linspace(0, len(every) - 1, min(LOOKS, len(every))).round().astype(np.int64)
    return every[chosen]


def _alike(one: Appearance, other: Appearance) -> float:
    """Likeness of the closest pictures; minus infinity for faces beside each other."""
    seen = where_seen(one.track.reasons), where_seen(other.track.reasons)
    if one.part == other.part and (seen[0] & seen[1]).any():
        return -np.inf
    return closest_likeness(one.looks, other.looks)


def _blend(one: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    """Weighted mean that keeps what can never be joined apart."""
    apart = np.isneginf(one) | np.isneginf(other)
    with np.errstate(invalid="ignore"):
        return np.where(apart, -np.inf, share * one + (1 - share) * other)
