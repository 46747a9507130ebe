"""Who is who in several videos, by the recognition network.

docs/faces.md has how often a person's own clips are left out and strangers join.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from dubcli.core.types import Bool, FaceTrack, Int
from dubcli.face.recognition import similarity
from dubcli.face.usability import where_seen
from dubcli.media.video.timeline import FrameTimes

# Mean similarity of tracks from which on two groups of them are one person; chosen and measured by
# tests/bench/recognition.py.
SAME_GROUP = 0.94
# A portrait may be many times larger than who speaks, and is seen as long.
_STILL_WEIGHT = 0.01
# A frame that stands still longer than this is no footage.
_LONGEST_FRAME_S = Fraction(1, 5)


@dataclass(frozen=True, kw_only=True, eq=False)
class Appearance:
    """One face track of a video or of a stretch of it.

    Attributes:
        video: Which video.
        part: Which stretch, counted over all videos.
        track: The face, numbered as in the stretch.
        seconds: How long it can be used.
        height_px: Median height where it can be used, display px.
        is_still: Its lips do not move: a picture on the wall, or somebody who listens.
    """

    video: int
    part: int
    track: FaceTrack
    seconds: Fraction
    height_px: float
    is_still: bool = False

    @property
    def weight(self) -> float:
        """How much there is to learn from it; of lips that are still, hardly anything."""
        return float(self.seconds) * self.height_px * (_STILL_WEIGHT if self.is_still else 1)


Person = list[Appearance]


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
        if alike[one, other] <= SAME_GROUP:
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
        light=pick("light") if _have_light(tracks) else tracks[0].light[:0],
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
        light=chained("light")
        if all(len(track.light) for track in tracks)
        else tracks[0].light[:0],
    )


def _have_light(tracks: Sequence[FaceTrack]) -> bool:
    """Whether light was sampled in all of them."""
    return all(len(track.light) == len(track) for track in tracks)


def _alike(one: Appearance, other: Appearance) -> float:
    """Similarity; minus infinity for faces beside each other."""
    seen = where_seen(one.track.reasons), where_seen(other.track.reasons)
    if one.part == other.part and (seen[0] & seen[1]).any():
        return -np.inf
    return similarity(one.track.embedding, other.track.embedding)


def _blend(one: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    """Weighted mean that keeps what can never be joined apart."""
    apart = np.isneginf(one) | np.isneginf(other)
    with np.errstate(invalid="ignore"):
        return np.where(apart, -np.inf, share * one + (1 - share) * other)
