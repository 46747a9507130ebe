"""Stretches in which one face was followed, and which of them show the same person.

Inside a shot a face is followed by place, size and appearance. What belongs together across gaps
and cuts is decided at the end, longest stretch first, by the recognition network and a little by
place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from dubcli.core.types import F32, NUM_EMBEDDING
from dubcli.face.face_descriptor import likeness
from dubcli.face.face_gallery import FaceGallery
from dubcli.face.landmarks import NUM_KEPT
from dubcli.face.light import GRID
from dubcli.face.recognition import FaceEmbedder, mean_embedding, similarity
from dubcli.face.series import GrowingColumn
from dubcli.face.sighting import Sighting

# Least closeness (1 same place and size, 0 a face apart) and likeness to go on with a face.
_LEAST_CLOSENESS, _LEAST_LIKENESS = 0.3, 0.3
# Similarity that makes two stretches of one video one person, and how far the same place lowers it:
# less than between videos, for stretches are short and heads turned, but light and camera are one.
SAME_IN_VIDEO, _SAME_PLACE_BONUS = 0.93, 0.02


@dataclass
class Tracklet:
    """One face followed inside one shot."""

    shot: int
    frames: list[int] = field(default_factory=list)
    boxes: GrowingColumn = field(default_factory=lambda: GrowingColumn((4,)))
    landmarks: GrowingColumn = field(default_factory=lambda: GrowingColumn((NUM_KEPT, 3)))
    sharpness: GrowingColumn = field(default_factory=lambda: GrowingColumn(()))
    cover: GrowingColumn = field(default_factory=lambda: GrowingColumn((2,)))
    light: GrowingColumn = field(default_factory=lambda: GrowingColumn((*GRID, 3), np.uint8))
    appearance: F32 = field(default_factory=lambda: np.zeros(0, np.float32))
    gallery: FaceGallery = field(default_factory=FaceGallery)
    embedding: F32 = field(default_factory=lambda: np.zeros(NUM_EMBEDDING, np.float32))

    def add(self, sighting: Sighting) -> None:
        """Go on with the face of the next frame that shows it."""
        self.frames.append(sighting.frame_index)
        self.boxes.append(sighting.box)
        self.landmarks.append(sighting.landmarks)
        self.sharpness.append(sighting.sharpness)
        self.cover.append(sighting.cover)
        self.light.append(sighting.light)
        if sighting.picture is not None:
            self.gallery.append(sighting.picture)
        count = len(self.frames)
        # A mean that forgets slowly: it follows turns of the head, not a hand before the face.
        share = np.float32(max(1 / count, 0.05))
        before = sighting.appearance if count == 1 else self.appearance
        self.appearance = np.asarray(before + share * (sighting.appearance - before), np.float32)

    def close(self, recogniser: FaceEmbedder | None) -> None:
        """Nothing is added any more: of its pictures the sum of their embeddings is kept."""
        for column in (self.boxes, self.landmarks, self.sharpness, self.cover, self.light):
            column.trim()
        self.embedding = self.gallery.embedding(recogniser)
        self.gallery = FaceGallery()

    @property
    def last_frame(self) -> int:
        """The last frame that shows it."""
        return self.frames[-1]

    def expected_box(self, frame_index: int) -> F32:
        """Where the face is now if it went on as in its last two frames."""
        boxes = self.boxes.values
        if len(boxes) < 2 or self.frames[-1] - self.frames[-2] != 1:
            return boxes[-1]
        step = (boxes[-1] - boxes[-2]).reshape(2, 2).mean(0)
        return boxes[-1] + np.tile(step * min(frame_index - self.last_frame, 3), 2)


@dataclass
class TrackedPerson:
    """Stretches that show one person; no two at the same time."""

    tracklets: list[Tracklet]

    @property
    def embedding(self) -> F32:
        """Mean embedding over all stretches, of unit length or 0. Shape (128,)."""
        return mean_embedding([tracklet.embedding for tracklet in self.tracklets])

    @property
    def num_seen(self) -> int:
        """How many frames show the person."""
        return sum(len(tracklet.frames) for tracklet in self.tracklets)

    @property
    def weight(self) -> float:
        """Median height of the face times the frames that show it."""
        boxes = np.concatenate([tracklet.boxes.values for tracklet in self.tracklets])
        return float(np.median(boxes[:, 3] - boxes[:, 1])) * self.num_seen

    def affinity(self, tracklet: Tracklet) -> float:
        """How well a stretch fits, similarity plus a bonus for the same place; -1: it cannot."""
        if any(_overlap_in_time(own, tracklet) for own in self.tracklets):
            return -1.0
        nearest = min(self.tracklets, key=lambda own: _time_between(own, tracklet))
        place = max(0.0, closeness(_typical_box(nearest), _typical_box(tracklet)))
        alike = similarity(self.embedding, mean_embedding([tracklet.embedding]))
        return alike + _SAME_PLACE_BONUS * place


def match(
    tracklets: Sequence[Tracklet], sightings: Sequence[Sighting]
) -> Iterator[tuple[Tracklet | None, Sighting]]:
    """Pair faces with those followed so far, best pairs first; None starts a new tracklet."""
    scored: list[tuple[float, int, int]] = []
    for i, tracklet in enumerate(tracklets):
        for j, sighting in enumerate(sightings):
            expected = tracklet.expected_box(sighting.frame_index)
            near = max(
                closeness(expected, sighting.box),
                closeness(tracklet.boxes.values[-1], sighting.box),
            )
            alike = likeness(tracklet.appearance, sighting.appearance)
            if near > _LEAST_CLOSENESS and alike > _LEAST_LIKENESS:
                scored.append((near + 0.5 * alike, i, j))
    taken: dict[int, int] = {}
    for _, i, j in sorted(scored, reverse=True):
        if j not in taken and i not in taken.values():
            taken[j] = i
    for j, sighting in enumerate(sightings):
        yield (tracklets[taken[j]] if j in taken else None), sighting


def group_tracklets(tracklets: Sequence[Tracklet]) -> list[TrackedPerson]:
    """Put together what shows one person, longest stretch first."""
    people: list[TrackedPerson] = []
    for tracklet in sorted(tracklets, key=lambda s: (-len(s.frames), s.frames[0])):
        fits = [person.affinity(tracklet) for person in people]
        best = int(np.argmax(fits)) if fits else 0
        if fits and fits[best] > SAME_IN_VIDEO:
            people[best].tracklets.append(tracklet)
        else:
            people.append(TrackedPerson([tracklet]))
    return people


def closeness(one: F32, other: F32) -> float:
    """1 for the same place and size, 0 a face's size apart or half the size, less beyond.

    Args:
        one: A box, px. Shape (4,).
        other: Another. Shape (4,).
    """
    sides = [max(float(np.sqrt(abs((b[2:] - b[:2]).prod()))), 1e-3) for b in (one, other)]
    centres = [(b[:2] + b[2:]) / 2 for b in (one, other)]
    apart = float(np.linalg.norm(centres[0] - centres[1])) / (0.5 * (sides[0] + sides[1]))
    return 1 - apart - abs(float(np.log2(sides[0] / sides[1])))


def _typical_box(tracklet: Tracklet) -> F32:
    return np.median(tracklet.boxes.values, axis=0)


def _time_between(one: Tracklet, other: Tracklet) -> int:
    return max(one.frames[0] - other.last_frame, other.frames[0] - one.last_frame)


def _overlap_in_time(one: Tracklet, other: Tracklet) -> bool:
    if _time_between(one, other) > 0:
        return False
    return not set(one.frames).isdisjoint(other.frames)
