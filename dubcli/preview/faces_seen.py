"""What pass 1 saw of each face in each shot, as figures that a person can read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dubcli.core.types import F64, Bool, FaceTrack
from dubcli.face.pose import Pose, fit_pose
from dubcli.face.track import smooth_pose
from dubcli.face.usability import where_seen
from dubcli.media.video.timeline import FrameTimes
from dubcli.pipeline.analysis import Analysis
from dubcli.preview.plan_types import LIPS, FaceFacts, ShotFacts
from dubcli.sync.lip_motion import lips_move
from dubcli.sync.scorer import MouthClip, SyncScore, mouth_of_track

ScoreMouths = Callable[[Sequence[MouthClip]], Sequence[SyncScore | None]]

# A stretch must be a little longer than what the expert is sure of, and listening takes time.
_LEAST_HEARD_S, _MOST_HEARD = 2.2, 12


def faces_seen(
    found: Analysis, score_mouths: ScoreMouths
) -> tuple[list[ShotFacts], list[FaceFacts]]:
    """Shots with the faces in them, and each face over the whole video.

    Args:
        found: Result of pass 1.
        score_mouths: Tells how well mouths follow the video's own sound; None where it cannot.
    """
    times = found.times
    shown = _shots(found)
    seen = [_SeenFace.of(number, track, times) for number, track in enumerate(found.tracks, 1)]
    parts = [(face, part) for face in seen for part in shown if face.is_seen[part].any()]
    heard = _heard([face.mouth_in(part) for face, part in parts], score_mouths)
    facts = [face.facts(part, score) for (face, part), score in zip(parts, heard, strict=True)]
    shots = [
        ShotFacts(
            number=number,
            start_s=round(float(times.pts[part.start] * times.time_base), 3),
            end_s=round(float(_end_of(times, part) * times.time_base), 3),
            frames=part.stop - part.start,
            faces=tuple(
                fact for fact, (_, where) in zip(facts, parts, strict=True) if where == part
            ),
        )
        for number, part in enumerate(shown, 1)
    ]
    return shots, [_overall(face, shots) for face in seen]


def _overall(face: _SeenFace, shots: Sequence[ShotFacts]) -> FaceFacts:
    """A face over the whole video; its lips do what they do most clearly in any shot."""
    own = [fact for shot in shots for fact in shot.faces if fact.face == face.number]
    clearest = min((fact.lips for fact in own), key=LIPS.index, default="unknown")
    sure = [fact.confidence for fact in own if fact.confidence is not None]
    whole = face.facts(slice(0, len(face.is_seen)), None)
    return replace(whole, lips=clearest, confidence=max(sure, default=None))


@dataclass(frozen=True, kw_only=True)
class _SeenFace:
    """A track with what is measured once for all shots.

    Attributes:
        number: From 1.
        track: The face.
        is_seen: The face was found in this frame, or close to it. Shape (T,).
        pose: Of its head, canonical units to display px, as found.
        mouth: Its mouth on the video's clock.
    """

    number: int
    track: FaceTrack
    is_seen: Bool
    pose: Pose
    mouth: MouthClip

    @classmethod
    def of(cls, number: int, track: FaceTrack, times: FrameTimes) -> _SeenFace:
        return cls(
            number=number,
            track=track,
            is_seen=where_seen(track.reasons),
            pose=fit_pose(track.landmarks),
            mouth=mouth_of_track(track, smooth_pose(track), times),
        )

    def mouth_in(self, part: slice) -> MouthClip:
        """The mouth in some frames."""
        usable = self.mouth.usable
        return MouthClip(
            points=self.mouth.points[part],
            times=self.mouth.times[part],
            usable=None if usable is None else usable[part],
        )

    def facts(self, part: slice, score: SyncScore | None) -> FaceFacts:
        """Figures of some frames, of which at least one shows the face."""
        where = np.arange(part.start, part.stop)[self.is_seen[part]]
        boxes, pose = self.track.boxes[where], self.pose.at(where)
        height: F64 = (boxes[:, 3] - boxes[:, 1]).astype(np.float64)
        reasons = Counter(self.track.reasons[index] for index in where.tolist())
        usable = int(self.track.valid[where].sum())
        is_known = score is not None and score.num_windows > 0
        return FaceFacts(
            face=self.number,
            frames=len(where),
            usable=usable,
            height_px=(round(height.min()), round(float(np.median(height))), round(height.max())),
            yaw_deg=_rounded_range(pose.yaw_deg()),
            pitch_deg=_rounded_range(pose.pitch_deg()),
            lips=_lips(self.mouth_in(part), score),
            confidence=round(score.confidence, 3) if score is not None and is_known else None,
            reasons={reason: count for reason, count in reasons.most_common() if reason},
        )


def _rounded_range(values: F64) -> tuple[int, int]:
    return round(float(values.min())), round(float(values.max()))


def _lips(mouth: MouthClip, score: SyncScore | None) -> str:
    if score is not None and score.num_windows > 0 and score.is_sure:
        return "speaks"
    moves = lips_move(mouth)
    if moves is None:
        return "unknown"
    return "moves" if moves else "still"


def _heard(mouths: Sequence[MouthClip], score_mouths: ScoreMouths) -> list[SyncScore | None]:
    """Scores of the longest stretches; None of the others and of those too short to tell."""
    scores: list[SyncScore | None] = [None] * len(mouths)
    lengths = [_usable_s(mouth) for mouth in mouths]
    longest = sorted(range(len(mouths)), key=lambda place: -lengths[place])[:_MOST_HEARD]
    asked = [place for place in longest if lengths[place] >= _LEAST_HEARD_S]
    if asked:
        for place, score in zip(asked, score_mouths([mouths[i] for i in asked]), strict=True):
            scores[place] = score
    return scores


def _usable_s(mouth: MouthClip) -> float:
    times = mouth.times if mouth.usable is None else mouth.times[mouth.usable]
    return float(times[-1] - times[0]) if len(times) else 0.0


def _shots(found: Analysis) -> list[slice]:
    """Frames of each shot. Without a face nobody kept the cuts: it is one shot."""
    num = len(found.times)
    if not found.tracks:
        return [slice(0, num)]
    cuts = (np.flatnonzero(np.diff(found.tracks[0].shot)) + 1).tolist()
    return [slice(a, b) for a, b in zip([0, *cuts], [*cuts, num], strict=True)]


def _end_of(times: FrameTimes, part: slice) -> int:
    return times.pts[part.stop] if part.stop < len(times) else times.end_pts
