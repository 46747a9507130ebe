"""Who is where: observations of single frames become one dense track per person.

Inside a shot a face is followed by place, size and appearance; what belongs together across gaps
and cuts, `face.tracklets` decides at the end. Memory holds landmarks, and a few embeddings a shot.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dubcli.core.types import F32, F64, Bool, FaceObservation, FaceTrack, Frame, Int
from dubcli.face.light import unusable_light
from dubcli.face.pose import Pose, fit_pose
from dubcli.face.recognition import FaceEmbedder
from dubcli.face.sighting import Sighting, look_at
from dubcli.face.tracklets import (
    TrackedPerson,
    Tracklet,
    closeness,
    group_tracklets,
    match,
)
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


class Tracker:
    """Collects observations frame by frame; `finish` gives the people of the video.

    Args:
        segmenter: Segments what lies in front of a face; None: nothing is looked for.
        recogniser: Tells who a face is; None: what a gap or a cut parts is never put together.
    """

    def __init__(
        self, segmenter: Segmenter | None = None, recogniser: FaceEmbedder | None = None
    ) -> None:
        self._segmenter, self._recogniser = segmenter, recogniser
        self._num_frames = self._num_looked = 0
        self._cuts: list[int] = []
        self._spoilt: list[str] = []
        self._size = (0.0, 0.0)
        self._open: list[Tracklet] = []
        self._closed: list[Tracklet] = []

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
        return [
            look_at(now, frame, seen, segmenter, with_picture=self._recogniser is not None)
            for seen in _without_doubles(observations)
        ]

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
        for tracklet, sighting in match(self._open, [] if spoilt else sightings):
            if tracklet is None:
                tracklet = Tracklet(shot=len(self._cuts))
                self._open.append(tracklet)
            tracklet.add(sighting)

    def finish(self) -> list[FaceTrack]:
        """One track per person over the whole video.

        Returns:
            People with usable frames first, then by median face height times frames seen, largest
            first; at most `MAX_TRACKS`. Empty when no face was seen at all.
        """
        self._close(list(self._open))
        people = group_tracklets(self._closed)
        steady = [p for p in people if p.num_seen >= MIN_RUN_FRAMES] or people
        steady.sort(key=lambda person: person.weight, reverse=True)
        shot = np.zeros(self._num_frames, np.int64)
        shot[self._cuts] = 1
        shot = np.cumsum(shot)
        spoilt = np.array(self._spoilt, str)
        tracks = [_dense(person, shot, self._size, spoilt) for person in steady[: 2 * MAX_TRACKS]]
        # sorted() keeps the order of size among those that can, and those that cannot, be used.
        return sorted(tracks, key=lambda track: not track.valid.any())[:MAX_TRACKS]

    def _close(self, tracklets: list[Tracklet]) -> None:
        for tracklet in tracklets:
            tracklet.close(self._recogniser)
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


def _without_doubles(observations: list[FaceObservation]) -> list[FaceObservation]:
    kept: list[FaceObservation] = []
    for seen in sorted(observations, key=lambda o: (o.score, _height(o.box)), reverse=True):
        finite = bool(np.isfinite(seen.landmarks).all() and np.isfinite(seen.box).all())
        if finite and all(_iou(seen.box, other.box) < _TWICE_IOU for other in kept):
            kept.append(seen)
    return kept


def _dense(
    person: TrackedPerson, shot: Int, size: tuple[float, float], spoilt: NDArray[np.str_]
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
        embedding=person.embedding,
        occluded_share=np.where(known, cover[:, 0], np.float32(0)),
        partially_occluded=partially_occluded_frames(cover[:, 1], known, shot),
        light=light,
    )


def _short_gaps(seen: Int, boxes: F32, shot: Int) -> Iterator[tuple[int, int]]:
    """Neighbours in `seen` with few frames between them, in one shot and about one place."""
    missing = np.diff(seen) - 1
    for first in np.flatnonzero((missing > 0) & (missing <= MAX_GAP_FRAMES)):
        same_shot = shot[seen[first]] == shot[seen[first + 1]]
        if same_shot and closeness(boxes[first], boxes[first + 1]) > 0:
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
