"""Who is where: observations of single frames become one dense track per person.

Inside a shot a face is followed by place, size and looks. What belongs together across gaps and
cuts is decided at the end, longest tracklet first, by looks and place. Memory holds landmarks only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dubcli.core.types import F32, F64, Bool, FaceObservation, FaceTrack, Frame, Int
from dubcli.face.face_descriptor import likeness
from dubcli.face.landmarks import NUM_KEPT
from dubcli.face.light import GRID, unusable_light
from dubcli.face.pose import Pose, fit_pose
from dubcli.face.series import GrowingColumn, SpreadSample
from dubcli.face.sighting import Sighting, look_at
from dubcli.face.usability import (
    MIN_RUN_FRAMES,
    beside_known,
    frame_validity,
    run_numbers,
)
from dubcli.occlusion.ranges import (
    Segmenter,
    blurred_frames,
    covered_frames,
    known_cover,
    partially_occluded_frames,
)

MAX_TRACKS = 8
MAX_GAP_FRAMES = 5

# What lies in front of a face is asked in every so many frames; it does not appear in 1/25 s.
_ASKED_EVERY = 2
# A face is still looked for where it was last seen for this many frames.
_PATIENCE_FRAMES = 12
# Two observations that overlap more are the same face found twice.
_TWICE_IOU = 0.6
# Least closeness (1 same place and size, 0 a face apart) and likeness to go on with a face.
_LEAST_CLOSENESS, _LEAST_LIKENESS = 0.3, 0.3
# Likeness that makes two tracklets one person, and how far the same place lowers it.
_SAME_PERSON, _SAME_PLACE_BONUS = 0.8, 0.1
_EXEMPLARS = 8
# Looks that are kept of a tracklet and of a person.
_STRETCH_LOOKS, _PERSON_LOOKS = 4, 8


class Tracker:
    """Collects observations frame by frame; `finish` gives the people of the video.

    Args:
        segmenter: Segments what lies in front of a face; None: nothing is looked for.
    """

    def __init__(self, segmenter: Segmenter | None = None) -> None:
        self._segmenter = segmenter
        self._num_frames = self._num_looked = 0
        self._cuts: list[int] = []
        self._spoilt: list[str] = []
        self._size = (0.0, 0.0)
        self._open: list[_Tracklet] = []
        self._closed: list[_Tracklet] = []

    def update(self, frame: Frame, observations: list[FaceObservation], is_cut: bool) -> None:
        """Take in the next frame: `look` and `add` in one."""
        self.add(self.look(frame, observations), is_cut)

    def look(self, frame: Frame, observations: list[FaceObservation]) -> list[Sighting]:
        """What is kept of the next frame. Frames come in order, each once, with faces or without.

        Args:
            frame: The picture that was searched; only its image and scale are used.
            observations: What the detector found, display px.
        """
        height, width = frame.image.shape[:2]
        self._size = (width * frame.scale, height * frame.scale)
        now = self._num_looked
        self._num_looked += 1
        segmenter = self._segmenter if now % _ASKED_EVERY == 0 else None
        return [look_at(now, frame, seen, segmenter) for seen in _without_doubles(observations)]

    def add(self, sightings: list[Sighting], is_cut: bool, spoilt: str = "") -> None:
        """Follow the faces of the next frame.

        Args:
            sightings: From `look`, in the order of the frames.
            is_cut: The frame starts a new shot.
            spoilt: Why its faces are not to be trusted, as in a cross-fade; '' where they are.
        """
        now = self._num_frames
        self._num_frames += 1
        self._spoilt.append(spoilt)
        if is_cut and now > 0:
            self._cuts.append(now)
            self._close(self._open)
        self._close([s for s in self._open if now - s.last_frame > _PATIENCE_FRAMES])
        for tracklet, sighting in _match(self._open, [] if spoilt else sightings):
            if tracklet is None:
                tracklet = _Tracklet(shot=len(self._cuts))
                self._open.append(tracklet)
            tracklet.add(sighting)

    def finish(self) -> list[FaceTrack]:
        """One track per person over the whole video.

        Returns:
            People with usable frames first, then by median face height times frames seen, largest
            first; at most `MAX_TRACKS`. Empty when no face was seen at all.
        """
        self._close(list(self._open))
        people = _group(self._closed)
        steady = [p for p in people if p.num_seen >= MIN_RUN_FRAMES] or people
        steady.sort(key=lambda person: person.weight, reverse=True)
        shot = np.zeros(self._num_frames, np.int64)
        shot[self._cuts] = 1
        shot = np.cumsum(shot)
        spoilt = np.array(self._spoilt, str)
        tracks = [_dense(person, shot, self._size, spoilt) for person in steady[: 2 * MAX_TRACKS]]
        # sorted() keeps the order of size among those that can, and those that cannot, be used.
        return sorted(tracks, key=lambda track: not track.valid.any())[:MAX_TRACKS]

    def _close(self, tracklets: list[_Tracklet]) -> None:
        for tracklet in tracklets:
            tracklet.close()
        done = {id(tracklet) for tracklet in tracklets}
        self._closed.extend(tracklets)
        self._open = [tracklet for tracklet in self._open if id(tracklet) not in done]


def smooth_pose(track: FaceTrack, sigma_frames: float = 1.0) -> Pose:
    """Pose per frame, with the detector's jitter smoothed away.

    Gaussian in time; it never mixes frames of different shots or from beyond an unusable range.
    Frames that are not valid keep the pose of the landmarks that stand in for them.

    Args:
        track: Landmarks in display px.
        sigma_frames: Standard deviation, frames.

    Returns:
        One pose per frame of the track, display px.

    Raises:
        AlignmentError: The landmarks of a frame coincide.
    """
    raw = fit_pose(track.landmarks)
    run = run_numbers(track.valid, track.shot)
    num, reach = len(track), max(1, round(3 * sigma_frames))
    weight_sum = np.zeros(num)
    log_scale, rotation = np.zeros(num), np.zeros((num, 3, 3))
    translation = np.zeros((num, 3))
    for offset in range(-reach, reach + 1):
        other = np.clip(np.arange(num) + offset, 0, num - 1)
        inside = (other == np.arange(num) + offset) & (run[other] == run)
        weight = np.exp(-0.5 * (offset / sigma_frames) ** 2) * inside
        weight_sum += weight
        log_scale += weight * np.log(raw.scale[other])
        rotation += weight[:, None, None] * raw.rotation[other]
        translation += weight[:, None] * raw.translation[other]
    return Pose(
        scale=np.exp(log_scale / weight_sum),
        rotation=_nearest_rotation(rotation),
        translation=translation / weight_sum[:, None],
    )


def fade(valid: Bool, shot: Int, length: int = 5) -> F32:
    """Weight of the dub in each frame, so that it never pops on or off inside a shot.

    Args:
        valid: The face may be dubbed. Shape (T,).
        shot: Shot number of each frame. Shape (T,).
        length: Frames that a ramp takes beside an unusable range of the same shot.

    Returns:
        0 where not valid, 1 from `length` frames away from the nearest unusable frame of the same
        shot, in equal steps between. Cuts and the clip's ends have no ramp. Shape (T,).
    """
    num = len(valid)
    distance = np.full(num, np.inf)
    for order in (np.arange(num), np.arange(num)[::-1]):
        count, last_shot = np.inf, None
        for index in order:
            count = np.inf if shot[index] != last_shot else count + 1
            count = count if valid[index] else 0
            last_shot = shot[index]
            distance[index] = min(distance[index], count)
    return np.minimum(distance / (length + 1), 1).astype(np.float32)


@dataclass
class _Tracklet:
    """One face followed inside one shot."""

    shot: int
    frames: list[int] = field(default_factory=list)
    boxes: GrowingColumn = field(default_factory=lambda: GrowingColumn((4,)))
    landmarks: GrowingColumn = field(default_factory=lambda: GrowingColumn((NUM_KEPT, 3)))
    sharpness: GrowingColumn = field(default_factory=lambda: GrowingColumn(()))
    cover: GrowingColumn = field(default_factory=lambda: GrowingColumn((2,)))
    light: GrowingColumn = field(default_factory=lambda: GrowingColumn((*GRID, 3), np.uint8))
    looks: F32 = field(default_factory=lambda: np.zeros(0, np.float32))
    few_looks: SpreadSample = field(default_factory=lambda: SpreadSample(_STRETCH_LOOKS))

    def add(self, sighting: Sighting) -> None:
        self.frames.append(sighting.frame_index)
        self.boxes.append(sighting.box)
        self.landmarks.append(sighting.landmarks)
        self.sharpness.append(sighting.sharpness)
        self.cover.append(sighting.cover)
        self.light.append(sighting.light)
        self.few_looks.append(sighting.looks)
        count = len(self.frames)
        # A mean that forgets slowly: it follows turns of the head, not a hand before the face.
        share = max(1 / count, 0.05)
        moved = (
            self.looks + np.float32(share) * (sighting.looks - self.looks) if count > 1 else None
        )
        self.looks = sighting.looks if moved is None else np.asarray(moved, np.float32)

    def close(self) -> None:
        """Nothing is added any more."""
        for column in (self.boxes, self.landmarks, self.sharpness, self.cover, self.light):
            column.trim()

    @property
    def last_frame(self) -> int:
        return self.frames[-1]

    def expected_box(self, frame_index: int) -> F32:
        """Where the face is now if it went on as in its last two frames."""
        boxes = self.boxes.values
        if len(boxes) < 2 or self.frames[-1] - self.frames[-2] != 1:
            return boxes[-1]
        step = (boxes[-1] - boxes[-2]).reshape(2, 2).mean(0)
        return boxes[-1] + np.tile(step * min(frame_index - self.last_frame, 3), 2)


@dataclass
class _Person:
    """Stretches that show one person; no two at the same time."""

    tracklets: list[_Tracklet]

    @property
    def num_seen(self) -> int:
        return sum(len(tracklet.frames) for tracklet in self.tracklets)

    @property
    def weight(self) -> float:
        boxes = np.concatenate([tracklet.boxes.values for tracklet in self.tracklets])
        return float(np.median(boxes[:, 3] - boxes[:, 1])) * self.num_seen

    @property
    def few_looks(self) -> F32:
        """Descriptors from all over its longest tracklets. Shape (L, D)."""
        every = [look for own in self.tracklets[:_EXEMPLARS] for look in own.few_looks.values]
        chosen = np.linspace(0, len(every) - 1, min(_PERSON_LOOKS, len(every))).round()
        return np.stack([every[int(index)] for index in chosen])

    def affinity(self, tracklet: _Tracklet) -> float:
        """How well a tracklet fits, likeness plus a bonus for the same place; < 0: it cannot."""
        if any(_overlap_in_time(own, tracklet) for own in self.tracklets):
            return -1.0
        nearest = min(self.tracklets, key=lambda own: _time_between(own, tracklet))
        place = max(0.0, _closeness(_typical_box(nearest), _typical_box(tracklet)))
        # Stretches come longest first, so the first are the most trustworthy pictures.
        alike = max(likeness(own.looks, tracklet.looks) for own in self.tracklets[:_EXEMPLARS])
        return alike + _SAME_PLACE_BONUS * place


def _without_doubles(observations: list[FaceObservation]) -> list[FaceObservation]:
    kept: list[FaceObservation] = []
    for seen in sorted(observations, key=lambda o: (o.score, _height(o.box)), reverse=True):
        finite = bool(np.isfinite(seen.landmarks).all() and np.isfinite(seen.box).all())
        if finite and all(_iou(seen.box, other.box) < _TWICE_IOU for other in kept):
            kept.append(seen)
    return kept


def _match(
    tracklets: list[_Tracklet], sightings: list[Sighting]
) -> Iterator[tuple[_Tracklet | None, Sighting]]:
    """Pair faces with those followed so far, best pairs first; None starts a new tracklet."""
    scored: list[tuple[float, int, int]] = []
    for i, tracklet in enumerate(tracklets):
        for j, sighting in enumerate(sightings):
            expected = tracklet.expected_box(sighting.frame_index)
            near = max(
                _closeness(expected, sighting.box),
                _closeness(tracklet.boxes.values[-1], sighting.box),
            )
            alike = likeness(tracklet.looks, sighting.looks)
            if near > _LEAST_CLOSENESS and alike > _LEAST_LIKENESS:
                scored.append((near + 0.5 * alike, i, j))
    taken: dict[int, int] = {}
    for _, i, j in sorted(scored, reverse=True):
        if j not in taken and i not in taken.values():
            taken[j] = i
    for j, sighting in enumerate(sightings):
        yield (tracklets[taken[j]] if j in taken else None), sighting


def _group(tracklets: list[_Tracklet]) -> list[_Person]:
    people: list[_Person] = []
    for tracklet in sorted(tracklets, key=lambda s: (-len(s.frames), s.frames[0])):
        best = max(people, key=lambda person: person.affinity(tracklet), default=None)
        if best is not None and best.affinity(tracklet) > _SAME_PERSON:
            best.tracklets.append(tracklet)
        else:
            people.append(_Person([tracklet]))
    return people


def _dense(
    person: _Person, shot: Int, size: tuple[float, float], spoilt: NDArray[np.str_]
) -> FaceTrack:
    """Spread what was seen of a person over all frames."""
    frames = np.concatenate([np.array(s.frames) for s in person.tracklets])
    order = np.argsort(frames, kind="stable")
    seen = frames[order]
    columns = [
        np.concatenate([getattr(s, name).values for s in person.tracklets])[order]
        for name in ("boxes", "landmarks", "sharpness", "light", "cover")
    ]
    columns[-1] = known_cover(seen, columns[-1])
    num = len(shot)
    after = np.clip(np.searchsorted(seen, np.arange(num)), 0, len(seen) - 1)
    before = np.clip(np.searchsorted(seen, np.arange(num), side="right") - 1, 0, len(seen) - 1)
    is_after_nearer = np.abs(seen[after] - np.arange(num)) < np.abs(np.arange(num) - seen[before])
    nearest = np.where(is_after_nearer, after, before)
    boxes, landmarks, sharp, light, cover = (column[nearest] for column in columns)
    present = np.zeros(num, bool)
    present[seen] = True
    interpolated = np.zeros(num, bool)
    for first, last in _short_gaps(seen, columns[0], shot):
        gap = np.arange(seen[first] + 1, seen[last])
        share = ((gap - seen[first]) / (seen[last] - seen[first])).astype(np.float32)
        for target, column in zip((boxes, landmarks, sharp, light, cover), columns, strict=True):
            part = share.reshape(-1, *([1] * (column.ndim - 1)))
            target[gap] = (1 - part) * column[first] + part * column[last]
        interpolated[gap] = True
    known = present | interpolated
    hard = (
        covered_frames(cover[:, 0], known, shot),
        blurred_frames(sharp, landmarks, boxes, known, shot),
    )
    spoilt = np.where(beside_known(spoilt != "", known), spoilt, "")
    dim = unusable_light(light, known & (spoilt == ""))
    valid, reasons = frame_validity(known, boxes, landmarks, shot, size, hard, spoilt, dim)
    return FaceTrack(
        start=0,
        boxes=boxes,
        landmarks=landmarks,
        valid=valid,
        interpolated=interpolated,
        shot=shot,
        reasons=reasons,
        sharpness=sharp,
        looks=person.few_looks,
        occluded_share=np.where(known, cover[:, 0], np.float32(0)),
        partially_occluded=partially_occluded_frames(cover[:, 1], known, shot),
        light=light,
    )


def _short_gaps(seen: Int, boxes: F32, shot: Int) -> Iterator[tuple[int, int]]:
    """Neighbours in `seen` with few frames between them, in one shot and about one place."""
    missing = np.diff(seen) - 1
    for first in np.flatnonzero((missing > 0) & (missing <= MAX_GAP_FRAMES)):
        same_shot = shot[seen[first]] == shot[seen[first + 1]]
        if same_shot and _closeness(boxes[first], boxes[first + 1]) > 0:
            yield int(first), int(first) + 1


def _nearest_rotation(matrices: F64) -> F64:
    """The rotations closest to some sums of rotations. Shape (T, 3, 3)."""
    u, _, vt = np.linalg.svd(matrices)
    u[:, :, -1] *= np.sign(np.linalg.det(u @ vt))[:, None]
    rotation: F64 = np.matmul(u, vt)
    return rotation


def _height(box: F32) -> float:
    return float(box[3] - box[1])


def _iou(one: F32, other: F32) -> float:
    shared = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    if (shared <= 0).any():
        return 0.0
    inside = float(shared.prod())
    return inside / (float((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod()) - inside)


def _closeness(one: F32, other: F32) -> float:
    """1 for the same place and size, 0 a face's size apart or half the size, less beyond."""
    sides = [max(float(np.sqrt(abs((b[2:] - b[:2]).prod()))), 1e-3) for b in (one, other)]
    centres = [(b[:2] + b[2:]) / 2 for b in (one, other)]
    apart = float(np.linalg.norm(centres[0] - centres[1])) / (0.5 * (sides[0] + sides[1]))
    return 1 - apart - abs(float(np.log2(sides[0] / sides[1])))


def _typical_box(tracklet: _Tracklet) -> F32:
    return np.median(tracklet.boxes.values, axis=0)


def _time_between(one: _Tracklet, other: _Tracklet) -> int:
    return max(one.frames[0] - other.last_frame, other.frames[0] - one.last_frame)


def _overlap_in_time(one: _Tracklet, other: _Tracklet) -> bool:
    if _time_between(one, other) > 0:
        return False
    return not set(one.frames).isdisjoint(other.frames)
