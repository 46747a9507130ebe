from __future__ import annotations

import numpy as np
import pytest
from made_faces import BlotchRecogniser, face_at, frame, made_track, picture, rotation, seen

from dubcli.core.types import F32, FaceTrack, Frame
from dubcli.face.pose import fit_pose
from dubcli.face.track import MAX_GAP_FRAMES, Tracker, fade, smooth_pose

People = list[tuple[int, F32]]


def follow(frames: list[People], cuts: tuple[int, ...] = ()) -> list[FaceTrack]:
    """Track people given as (who, landmarks) per frame; None of them is told who is who."""
    tracker = Tracker(recogniser=BlotchRecogniser())
    for index, people in enumerate(frames):
        found = [seen(landmarks) for _, landmarks in people]
        tracker.update(frame(index, people), found, index in cuts)
    return tracker.finish()


def one(num: int, person: int = 1, start: tuple[float, float] = (160, 100)) -> list[People]:
    return [[(person, face_at((start[0] + index, start[1])))] for index in range(num)]


def test_one_person_is_one_dense_track() -> None:
    (track,) = follow(one(20))
    assert track.start == 0
    assert len(track) == 20
    assert track.valid.all()
    assert set(track.reasons) == {""}
    assert not track.interpolated.any()
    assert (track.sharpness > 0).all()
    assert track.landmarks.dtype == np.float32


def test_no_face_is_no_track() -> None:
    assert follow([[] for _ in range(5)]) == []
    assert Tracker().finish() == []


def test_a_short_gap_is_filled_in_a_straight_line() -> None:
    frames = one(20)
    whole = follow(frames)[0]
    for index in range(8, 8 + MAX_GAP_FRAMES):
        frames[index] = []
    (track,) = follow(frames)
    assert track.valid.all()
    assert np.flatnonzero(track.interpolated).tolist() == list(range(8, 8 + MAX_GAP_FRAMES))
    np.testing.assert_allclose(track.landmarks, whole.landmarks, atol=1e-3)


def test_a_long_gap_is_told_as_no_face() -> None:
    frames = one(24)
    for index in range(8, 8 + MAX_GAP_FRAMES + 1):
        frames[index] = []
    (track,) = follow(frames)
    assert track.reasons.count("no_face") == MAX_GAP_FRAMES + 1
    assert not track.interpolated.any()
    assert np.isfinite(track.landmarks).all()
    np.testing.assert_array_equal(track.landmarks[8], track.landmarks[7])
    np.testing.assert_array_equal(track.landmarks[13], track.landmarks[14])


def test_a_gap_is_not_filled_across_a_cut() -> None:
    frames = one(20)
    frames[9] = frames[10] = []
    (track,) = follow(frames, cuts=(10,))
    assert np.flatnonzero(~track.valid).tolist() == [9, 10]
    assert track.shot.tolist() == [0] * 10 + [1] * 10


def test_people_keep_their_tracks_when_the_order_of_observations_changes() -> None:
    frames: list[People] = []
    for index in range(20):
        left, right = (1, face_at((90, 100))), (2, face_at((230, 110), 42))
        frames.append([left, right] if index % 2 else [right, left])
    tracks = follow(frames)
    assert len(tracks) == 2
    assert all(track.valid.all() for track in tracks)
    for track in tracks:
        centre = track.boxes[:, [0, 2]].mean(1)
        assert np.ptp(centre) < 1
    assert np.median(tracks[0].boxes[:, 0]) > np.median(tracks[1].boxes[:, 0])


def test_people_who_pass_each_other_keep_their_tracks() -> None:
    frames: list[People] = []
    for index in range(40):
        x = 60 + 5 * index
        # Behind the other the second person is not seen.
        people = [(1, face_at((x, 100)))]
        if abs(x - (320 - x)) > 60:
            people.append((2, face_at((320 - x, 105), 38)))
        frames.append(people)
    first, second = follow(frames)
    assert first.boxes[-1, 0] > first.boxes[0, 0] + 150
    assert second.boxes[-1, 0] < second.boxes[0, 0] - 150


def test_one_person_across_cuts_is_one_track() -> None:
    near = [[(1, face_at((200, 120), 60))] for _ in range(8)]
    far = [[(1, face_at((90, 80), 30))] for _ in range(8)]
    (track,) = follow(near + far + near, cuts=(8, 16))
    assert track.valid.all()
    assert track.shot.max() == 2


def test_another_person_at_the_same_place_is_another_track() -> None:
    tracks = follow(one(8, 1) + one(9, 2) + one(8, 1), cuts=(8, 17))
    assert [int(track.valid.sum()) for track in tracks] == [16, 9]
    assert set(tracks[1].reasons) == {"", "no_face"}


def test_a_cut_that_was_missed_still_parts_two_people() -> None:
    tracks = follow(one(8, 1) + one(10, 2))
    assert [int(track.valid.sum()) for track in tracks] == [10, 8]


def test_the_largest_comes_first() -> None:
    frames: list[People] = [
        [(1, face_at((80, 100), 25)), (2, face_at((220, 100), 40))] for _ in range(10)
    ]
    tracks = follow(frames)
    heights = [float(np.median(track.boxes[:, 3] - track.boxes[:, 1])) for track in tracks]
    assert heights == sorted(heights, reverse=True)


def test_a_face_that_can_be_dubbed_comes_before_a_larger_one_that_cannot() -> None:
    frames: list[People] = [
        [(1, face_at((80, 110), 45, rotation(yaw_deg=75))), (2, face_at((240, 110), 30))]
        for _ in range(10)
    ]
    first, second = follow(frames)
    assert first.valid.all()
    assert set(second.reasons) == {"turned_away"}


@pytest.mark.parametrize(
    ("landmarks", "reason"),
    [
        (face_at(scale=12), "too_small"),
        (face_at(turn=rotation(yaw_deg=60)), "turned_away"),
        (face_at(turn=rotation(pitch_deg=55)), "turned_away"),
        (face_at((160, 205), 50), "cut_off"),
        (face_at((310, 100), 50), "cut_off"),
    ],
)
def test_unusable_faces_say_why(landmarks: F32, reason: str) -> None:
    (track,) = follow([[(1, landmarks)] for _ in range(6)])
    assert not track.valid.any()
    assert set(track.reasons) == {reason}


def test_two_usable_frames_are_too_brief() -> None:
    turned = rotation(yaw_deg=60)
    frames: list[People] = [
        [(1, face_at(turn=None if index in (6, 7, 12, 13, 14) else turned))] for index in range(20)
    ]
    (track,) = follow(frames)
    assert np.flatnonzero(track.valid).tolist() == [12, 13, 14]
    assert [index for index, why in enumerate(track.reasons) if why == "brief"] == [6, 7]


def test_a_video_of_two_frames_is_not_too_brief() -> None:
    (track,) = follow(one(2))
    assert track.valid.all()


def test_a_face_found_twice_counts_once() -> None:
    tracker = Tracker(recogniser=BlotchRecogniser())
    for index in range(6):
        face = face_at()
        found = [seen(face, 0.9), seen(face + np.float32(2), 0.8)]
        tracker.update(frame(index, [(1, face)]), found, False)
    assert len(tracker.finish()) == 1


def test_reduced_frames_give_display_coordinates() -> None:
    face = face_at((320, 200), 80)
    tracker = Tracker(recogniser=BlotchRecogniser())
    for index in range(5):
        image = picture([(1, face)], scale=2.0)
        tracker.update(Frame(index=index, pts=0, image=image, scale=2.0), [seen(face)], False)
    (track,) = tracker.finish()
    assert track.valid.all()
    np.testing.assert_allclose(track.landmarks[3], face)


def test_smoothing_takes_jitter_out_and_keeps_rotations() -> None:
    rng = np.random.default_rng(0)
    faces = np.stack([face_at((100 + 2 * index, 100), 40) for index in range(40)])
    shaken = faces + rng.normal(0, 1.0, (40, 1, 3)).astype(np.float32)
    raw, smooth = fit_pose(shaken), smooth_pose(made_track(shaken))
    before = np.diff(raw.translation[:, 0], 2).std()
    after = np.diff(smooth.translation[:, 0], 2).std()
    assert after < 0.35 * before
    product = smooth.rotation @ smooth.rotation.transpose(0, 2, 1)
    np.testing.assert_allclose(product, np.tile(np.eye(3), (40, 1, 1)), atol=1e-9)
    np.testing.assert_allclose(smooth.scale, raw.scale, rtol=1e-3)


def test_smoothing_stops_at_cuts_and_at_unusable_ranges() -> None:
    def place(index: int) -> tuple[float, float]:
        return (100.0, 100.0) if index < 10 else (200.0, 100.0)

    faces = np.stack([face_at(place(index), 40 if index < 10 else 60) for index in range(20)])
    cut = smooth_pose(made_track(faces, shot=[0] * 10 + [1] * 10))
    np.testing.assert_allclose(cut.scale, [40] * 10 + [60] * 10, rtol=1e-4)
    gap = smooth_pose(made_track(faces, valid=[i not in (9, 10) for i in range(20)]))
    np.testing.assert_allclose(gap.scale, [40] * 10 + [60] * 10, rtol=1e-4)
    mixed = smooth_pose(made_track(faces))
    assert 40.5 < mixed.scale[9] < 50


def test_the_dub_fades_beside_unusable_ranges_only() -> None:
    valid = np.array([True] * 10 + [False] * 2 + [True] * 10)
    weights = fade(valid, np.zeros(22, np.int64), length=4)
    np.testing.assert_allclose(weights[6:10], [0.8, 0.6, 0.4, 0.2], atol=1e-6)
    np.testing.assert_array_equal(weights[10:12], 0)
    np.testing.assert_allclose(weights[12:16], [0.2, 0.4, 0.6, 0.8], atol=1e-6)
    np.testing.assert_array_equal(weights[:6], 1)
    np.testing.assert_array_equal(weights[16:], 1)


def test_the_dub_does_not_fade_at_cuts() -> None:
    valid = np.array([True] * 6 + [False] * 6)
    shot = np.array([0] * 6 + [1] * 6)
    np.testing.assert_array_equal(fade(valid, shot), [1] * 6 + [0] * 6)


def test_a_run_between_two_gaps_fades_both_ways() -> None:
    valid = np.array([False, True, True, True, False])
    weights = fade(valid, np.zeros(5, np.int64), length=5)
    np.testing.assert_allclose(weights, [0, 1 / 6, 2 / 6, 1 / 6, 0], atol=1e-6)


def test_a_person_in_other_light_is_still_the_one_the_pictures_show() -> None:
    """The embedding is a mean over the whole track, of unit length."""
    first, second = ([(person, face_at())] for person in (1, 5))
    alone = [follow([people] * 30)[0].embedding for people in (first, second)]
    tracker = Tracker(recogniser=BlotchRecogniser())
    for index in range(120):
        people = first if index < 60 else second
        tracker.update(frame(index, people), [seen(people[0][1])], False)
    tracks = tracker.finish()
    assert [float(np.linalg.norm(track.embedding)) for track in tracks] == pytest.approx([1, 1])
    best = [max(float(one @ track.embedding) for track in tracks) for one in alone]
    assert min(best) > 0.99


def test_without_a_network_nobody_is_put_together_over_a_cut() -> None:
    tracker = Tracker()
    for index, people in enumerate(one(16)):
        tracker.update(frame(index, people), [seen(people[0][1])], index == 8)
    tracks = tracker.finish()
    assert [int(track.valid.sum()) for track in tracks] == [8, 8]
    assert not any(track.embedding.any() for track in tracks)
