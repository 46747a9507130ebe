"""Figures of faces and shots, and frames that show everybody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from made_faces import canonical_face, made_pose, made_track, rotation

from dubcli.core.types import FaceTrack
from dubcli.face.landmarks import SPEAKING
from dubcli.face.pose import to_display
from dubcli.media.video.timeline import FrameTimes
from dubcli.pipeline.analysis import Analysis
from dubcli.preview.faces_seen import faces_seen
from dubcli.preview.faces_sheet import frames_to_show
from dubcli.preview.source_facts import is_variable
from dubcli.sync.lip_motion import lip_motion
from dubcli.sync.scorer import MouthClip, SyncScore

NUM = 150
SURE = SyncScore(confidence=0.6, distance=0.5, offset_frames=0.0, num_windows=120)
UNSURE = SyncScore(confidence=0.05, distance=0.9, offset_frames=3.0, num_windows=120)


def _times(num: int = NUM) -> FrameTimes:
    return FrameTimes(pts=list(range(num)), end_pts=num, time_base=Fraction(1, 25))


def _face(
    openings: Sequence[float],
    valid: list[bool] | None = None,
    shot: list[int] | None = None,
    yaw_deg: float = 0.0,
) -> FaceTrack:
    shapes = np.stack([canonical_face(opening) for opening in openings])
    pose = made_pose(len(openings), turn=rotation(yaw_deg))
    return made_track(to_display(shapes, pose), valid, shot)


def _talking(num: int = NUM) -> list[float]:
    return (0.15 * (1 - np.cos(np.arange(num) * 0.9))).tolist()


def _nobody(mouths: Sequence[MouthClip]) -> list[SyncScore | None]:
    return [None] * len(mouths)


def _seen(*tracks: FaceTrack) -> Analysis:
    return Analysis(times=_times(len(tracks[0])), tracks=list(tracks), num_corrupt=0)


@pytest.mark.parametrize(
    ("openings", "score", "lips"),
    [
        (_talking(), SURE, "speaks"),
        (_talking(), UNSURE, "moves"),
        (_talking(), None, "moves"),
        ([0.1] * NUM, UNSURE, "still"),
    ],
)
def test_lips(openings: list[float], score: SyncScore | None, lips: str) -> None:
    found = _seen(_face(openings))
    _, faces = faces_seen(found, lambda mouths: [score] * len(mouths))
    assert faces[0].lips == lips
    assert (faces[0].confidence is None) == (score is None)


def test_lips_that_are_hardly_seen_are_unknown() -> None:
    valid = [index < 5 for index in range(NUM)]
    _, faces = faces_seen(_seen(_face(_talking(), valid)), _nobody)
    assert (faces[0].lips, faces[0].frames, faces[0].usable) == ("unknown", 5, 5)


def test_a_short_stretch_is_not_listened_to() -> None:
    asked: list[int] = []

    def listen(mouths: Sequence[MouthClip]) -> list[SyncScore | None]:
        asked.extend(len(mouth) for mouth in mouths)
        return [SURE] * len(mouths)

    shot = [0] * 30 + [1] * 120
    shots, faces = faces_seen(_seen(_face(_talking(), shot=shot)), listen)
    assert asked == [120]
    assert [shot.faces[0].lips for shot in shots] == ["moves", "speaks"]
    assert faces[0].lips == "speaks"


def test_shots_tile_the_video_and_name_who_is_in_them() -> None:
    shot = [0] * 100 + [1] * 50
    first = _face(_talking(), shot=shot)
    second = _face([0.1] * NUM, valid=[i >= 100 for i in range(NUM)], shot=shot, yaw_deg=30)
    reasons = tuple("turned_away" if index == 120 else r for index, r in enumerate(second.reasons))
    second = replace(second, reasons=reasons, valid=np.array([reason == "" for reason in reasons]))
    shots, faces = faces_seen(_seen(first, second), _nobody)
    assert [(s.start_s, s.end_s, s.frames) for s in shots] == [(0.0, 4.0, 100), (4.0, 6.0, 50)]
    assert [[face.face for face in s.faces] for s in shots] == [[1], [1, 2]]
    assert (faces[1].frames, faces[1].usable, faces[1].reasons) == (50, 49, {"turned_away": 1})
    low, high = faces[1].yaw_deg
    assert 27 <= abs(low) <= 33
    assert 27 <= abs(high) <= 33
    height = float(first.boxes[0, 3] - first.boxes[0, 1])
    assert faces[0].height_px[0] == round(height)


def test_a_video_without_a_face_is_one_shot() -> None:
    shots, faces = faces_seen(Analysis(times=_times(), tracks=[], num_corrupt=0), _nobody)
    assert [(s.frames, s.faces) for s in shots] == [(NUM, ())]
    assert faces == []


def test_motion_counts_where_it_is_liveliest() -> None:
    def mouth(openings: Sequence[float]) -> MouthClip:
        points = np.stack([canonical_face(opening)[SPEAKING] for opening in openings])
        return MouthClip(points=points, times=np.arange(len(openings)) / 25)

    still, moving = lip_motion(mouth([0.0] * 50)), lip_motion(mouth([0.0] * 100 + _talking(50)))
    assert still is not None
    assert moving is not None
    assert still < 0.01
    assert moving > 0.15
    assert lip_motion(mouth([0.0] * 4)) is None


def test_one_frame_shows_all_where_one_does() -> None:
    both = [40 <= index < 60 for index in range(NUM)]
    tracks = [_face([0.1] * NUM), _face([0.1] * NUM, valid=both)]
    chosen = frames_to_show(tracks)
    assert len(chosen) == 1
    assert both[chosen[0]]


def test_faces_that_never_meet_are_shown_one_after_the_other() -> None:
    early, late = [i < 50 for i in range(NUM)], [i >= 100 for i in range(NUM)]
    chosen = frames_to_show([_face([0.1] * NUM, valid=late), _face([0.1] * NUM, valid=early)])
    assert len(chosen) == 2
    assert chosen[0] < 50
    assert chosen[1] >= 100
    assert frames_to_show([]) == []


def test_a_rate_varies_by_more_than_a_containers_rounding() -> None:
    steady = FrameTimes(pts=[0, 33, 67, 100], end_pts=500, time_base=Fraction(1, 1000))
    varying = FrameTimes(pts=[0, 1, 3, 4], end_pts=5, time_base=Fraction(1, 25))
    assert not is_variable(steady)
    assert is_variable(varying)
    assert not is_variable(FrameTimes(pts=[0], end_pts=1, time_base=Fraction(1, 25)))
