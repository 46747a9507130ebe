"""What lies in front of a face: found, told as ranges, and left in the picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from made_faces import FRAME_SIZE, face_at, made_track, picture, seen

from dubcli.composite.mask import occlude
from dubcli.core.errors import NoFaceError
from dubcli.core.types import F32, F64, U8, Bool, FaceTrack, Frame, FramePatch, Int
from dubcli.face.landmarks import LIPS_OUTER
from dubcli.face.pose import fit_pose
from dubcli.face.references import select_references
from dubcli.face.track import Tracker, fade
from dubcli.media.video.timeline import FrameTimes
from dubcli.occlusion.ranges import (
    SEEN_SIZE,
    blurred_frames,
    cover_shares,
    covered_frames,
    known_cover,
    lips_region,
    lower_region,
    partially_occluded_frames,
)
from dubcli.pipeline.analysis import Analysis, usable_faces

RED = (255, 0, 0)
FACE = face_at((160, 100), 60)
ONE_SHOT = np.zeros(60, np.int64)
ALL_SEEN = np.ones(60, np.bool_)


def red_is_in_front(crops: U8) -> F32:
    """A segmenter for tests: what is pure red lies in front of the face."""
    values = crops.astype(np.float32)
    return ((values[..., 0] > 200) & (values[..., 1:].max(-1) < 60)).astype(np.float32)


def follow(num: int, things: dict[int, tuple[int, int, int, int]]) -> FaceTrack:
    """A face that stands still; red boxes (x0, y0, x1, y1) lie before it in some frames."""
    tracker = Tracker(red_is_in_front)
    for index in range(num):
        image = picture([(1, FACE)])
        if index in things:
            x0, y0, x1, y1 = things[index]
            image[y0:y1, x0:x1] = RED
        frame = Frame(index=index, pts=index, image=image)
        tracker.update(frame, [seen(FACE)], is_cut=False)
    (track,) = tracker.finish()
    return track


def over_lips(growth: float = 1.0) -> tuple[int, int, int, int]:
    lips = FACE[LIPS_OUTER, :2]
    centre, half = lips.mean(0), (np.ptp(lips, 0) / 2 + 6) * growth
    low, high = (centre - half).round().astype(int), (centre + half).round().astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def beside_lips() -> tuple[int, int, int, int]:
    """Over the chin, below the lips."""
    x0, _, x1, y1 = over_lips()
    return x0, y1 + 6, x1, y1 + 22


def test_hidden_lips_are_covered_and_fade_on_either_side() -> None:
    track = follow(40, dict.fromkeys(range(15, 26), over_lips()))
    assert [index for index, why in enumerate(track.reasons) if why] == list(range(15, 26))
    assert set(track.reasons) == {"", "covered"}
    strength = fade(track.valid, track.shot)
    assert np.abs(np.diff(strength)).max() <= 1 / 6 + 1e-6
    assert (track.occluded_share[16:25] > 0.7).all()
    assert not track.occluded_share[:15].any()


def test_a_thing_beside_the_lips_is_dubbed_around() -> None:
    track = follow(40, dict.fromkeys(range(15, 25), beside_lips()))
    assert track.valid.all()
    assert track.partially_occluded[15:25].all()
    assert not track.partially_occluded[:8].any()
    assert not track.partially_occluded[32:].any()


def test_nobody_looks_without_a_segmenter() -> None:
    tracker = Tracker()
    for index in range(6):
        image = picture([(1, FACE)])
        image[:, :150] = RED
        tracker.update(Frame(index=index, pts=index, image=image), [seen(FACE)], is_cut=False)
    (track,) = tracker.finish()
    assert track.valid.all()
    assert not track.partially_occluded.any()
    assert not track.occluded_share.any()


def test_one_look_is_no_range() -> None:
    assert follow(30, {12: over_lips()}).valid.all()


def test_who_wears_a_mask_throughout_is_told_why() -> None:
    track = follow(20, dict.fromkeys(range(20), over_lips()))
    assert set(track.reasons) == {"covered"}
    times = FrameTimes(pts=list(range(20)), end_pts=20, time_base=1)  # pyright: ignore[reportArgumentType]
    found = Analysis(times=times, tracks=[track], num_corrupt=0)
    with pytest.raises(NoFaceError, match=r"mouth covered: 20.*without a mask"):
        usable_faces(found)


def shares(*ranges: tuple[int, int, float]) -> F32:
    lips = np.zeros(60, np.float32)
    for start, stop, value in ranges:
        lips[start:stop] = value
    return lips


def where(flags: Bool) -> list[int]:
    return np.flatnonzero(flags).tolist()


def test_a_hand_that_trembles_is_one_range() -> None:
    lips = shares((10, 14, 0.5), (14, 17, 0.1), (17, 22, 0.6), (26, 30, 0.4))
    assert where(covered_frames(lips, ALL_SEEN, ONE_SHOT)) == list(range(10, 30))


def test_a_range_lasts_until_the_lips_are_plainly_free() -> None:
    lips = shares((5, 10, 0.25), (10, 14, 0.5), (14, 20, 0.25), (20, 24, 0.15))
    assert where(covered_frames(lips, ALL_SEEN, ONE_SHOT)) == list(range(5, 20))


def test_light_cover_alone_is_never_covered() -> None:
    assert not covered_frames(shares((5, 40, 0.3)), ALL_SEEN, ONE_SHOT).any()


def test_ranges_do_not_cross_a_cut() -> None:
    shot = (np.arange(60) >= 20).astype(np.int64)
    lips = shares((14, 18, 0.6), (22, 26, 0.6))
    assert where(covered_frames(lips, ALL_SEEN, shot)) == [*range(14, 18), *range(22, 26)]
    lower = shares((17, 21, 0.2))
    assert not partially_occluded_frames(lower, ALL_SEEN, shot).any()


def test_frames_without_a_face_are_not_covered() -> None:
    is_seen = ALL_SEEN.copy()
    is_seen[20:24] = False
    covered = covered_frames(shares((16, 28, 0.7)), is_seen, ONE_SHOT)
    assert where(covered) == [*range(16, 20), *range(24, 28)]


def moving(step_px: float) -> F32:
    return np.stack([face_at((100 + step_px * index, 100), 60) for index in range(60)])


def boxes_of(landmarks: F32) -> F32:
    return made_track(landmarks).boxes


@pytest.mark.parametrize(
    ("step_px", "share", "expected"),
    [(8.0, 0.1, True), (8.0, 0.6, False), (0.2, 0.1, False)],
    ids=["fast and unsharp", "fast but sharp", "still"],
)
def test_blur_takes_both_speed_and_loss_of_sharpness(
    step_px: float, share: float, expected: bool
) -> None:
    points = moving(step_px)
    sharpness = np.full(60, 200, np.float32)
    sharpness[30:34] *= share
    blurred = blurred_frames(sharpness, points, boxes_of(points), ALL_SEEN, ONE_SHOT)
    assert where(blurred) == (list(range(30, 34)) if expected else [])


def test_a_soft_video_is_not_blurred() -> None:
    points = moving(8.0)
    soft = np.full(60, 3, np.float32)
    assert not blurred_frames(soft, points, boxes_of(points), ALL_SEEN, ONE_SHOT).any()


def test_a_cut_is_no_motion() -> None:
    points = moving(0.0)
    points[30:] += 60
    sharpness = np.full(60, 200, np.float32)
    sharpness[30:32] = 5
    shot: Int = (np.arange(60) >= 30).astype(np.int64)
    assert not blurred_frames(sharpness, points, boxes_of(points), ALL_SEEN, shot).any()


def test_references_do_not_lend_what_lies_in_front() -> None:
    track = follow(40, dict.fromkeys(range(15, 40), beside_lips()))
    chosen = select_references(track, fit_pose(track.landmarks), 4)
    assert not track.partially_occluded[chosen].any()


def test_shares_are_of_the_lips_and_of_the_lower_face() -> None:
    points = _seen_points()
    everything, nothing = np.ones(SEEN_SIZE, np.float32), np.zeros(SEEN_SIZE, np.float32)
    assert cover_shares(everything, points) == (1.0, 1.0)
    assert cover_shares(nothing, points) == (0.0, 0.0)
    lips = lips_region(points, SEEN_SIZE)
    on_lips, lower = cover_shares(lips.astype(np.float32), points)
    assert on_lips == 1.0
    assert 0.1 < lower < 0.7
    assert lower_region(points, SEEN_SIZE).sum() > 1.5 * lips.sum()


def _seen_points() -> F32:
    return face_at((SEEN_SIZE[1] / 2, SEEN_SIZE[0] / 4), 0.28 * SEEN_SIZE[0])


def _patch() -> FramePatch:
    rgb = np.full((80, 100, 3), 0.5, np.float32)
    return FramePatch(x=20, y=10, rgb=rgb, alpha=np.ones((80, 100), np.float32))


# The small crop lies at (20, 10) of the frame, one of its pixels is one of the frame's.
TO_CODED: F64 = np.array([[1.0, 0, 20], [0, 1.0, 10]])


def test_a_patch_is_held_back_exactly_on_the_thing_in_front() -> None:
    thing = np.zeros(SEEN_SIZE, np.float32)
    cv2.circle(thing, (40, 40), 12, (1.0,), -1)
    held = occlude(_patch(), thing, TO_CODED)
    on_it = thing[:80] > 0.5
    assert (held.alpha[:, :80][on_it] == 0).all()
    # A guard around it, then the patch in full.
    assert held.alpha[40, 54] == 0
    assert (held.alpha[:, :16] == 1).all()
    steps = np.abs(np.diff(held.alpha[40, :80]))
    assert steps.max() < 0.75


def test_specks_do_not_hold_a_patch_back() -> None:
    speck = np.zeros(SEEN_SIZE, np.float32)
    speck[40:42, 40:42] = 1
    assert occlude(_patch(), speck, TO_CODED).alpha.min() == 1


def test_a_thing_follows_the_crop_into_the_frame() -> None:
    """Twice as large in the frame, and elsewhere."""
    thing = np.zeros(SEEN_SIZE, np.float32)
    thing[30:50, 10:30] = 1
    to_coded = np.array([[2.0, 0, 0], [0, 2.0, -40]])
    held = occlude(_patch(), thing, to_coded)
    zero = np.flatnonzero((held.alpha == 0).any(0))
    # Columns 10 to 29 are 20 to 58 of the frame: 0 to 38 of the patch, and a guard of 2 px each.
    assert zero[0] == 0
    assert 38 <= zero[-1] <= 46


def test_frames_that_were_not_asked_lie_between_those_that_were() -> None:
    nan = np.nan
    cover = np.array([[0, 0], [nan, nan], [0.4, 0.2], [nan, nan], [nan, nan]], np.float32)
    known = known_cover(np.array([3, 4, 5, 6, 9]), cover)
    np.testing.assert_allclose(known[:, 0], [0, 0.2, 0.4, 0.4, 0.4], atol=1e-6)
    assert not known_cover(np.array([3]), np.full((1, 2), nan, np.float32)).any()


def test_small_faces_are_not_looked_at() -> None:
    asked: list[int] = []

    def asking(crops: U8) -> F32:
        asked.append(len(crops))
        return np.zeros(crops.shape[:3], np.float32)

    tracker = Tracker(asking)
    small = face_at((160, 100), 12)
    for index in range(4):
        image = picture([(1, small)], FRAME_SIZE)
        tracker.update(Frame(index=index, pts=index, image=image), [seen(small)], is_cut=False)
    assert not asked
    assert set(tracker.finish()[0].reasons) == {"too_small"}
