"""Nothing that is worked out over several frames looks across a cut or into a cross-fade."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from made_faces import BlotchRecogniser, face_at, frame, made_track, picture, seen

from dubcli.audio.windows import frame_steps, iter_windows
from dubcli.core.types import F32, AudioFeatures, FaceTrack
from dubcli.face.pose import crop_alignment, fit_pose
from dubcli.face.references import cut_references, select_references
from dubcli.face.track import Tracker, fade, smooth_pose
from dubcli.media.video.timeline import Timeline
from dubcli.pipeline.jumps import picture_jumps

SHOTS = [0] * 10 + [1] * 12 + [2] * 8
STARTS = [10, 22]
WINDOW = 16


def jittered(num: int = len(SHOTS)) -> F32:
    rng = np.random.default_rng(3)
    return np.stack([face_at(tuple(rng.normal((160, 100), 2))) for _ in range(num)])


def shown(source: list[int]) -> Timeline:
    pts = np.arange(len(source))
    return Timeline(
        source_index=np.array(source),
        pts=pts,
        end_pts=len(source),
        time_base=Fraction(1, 25),
        audio_s=Fraction(1),
        pad_s=Fraction(0),
        description="",
    )


def follow(people: list[int], cut: int | None, spoilt: range) -> list[FaceTrack]:
    """Who is seen in each frame, all at one place; `spoilt` frames lie in a cross-fade."""
    tracker = Tracker(recogniser=BlotchRecogniser())
    waiting = []
    for index, person in enumerate(people):
        face = face_at()
        waiting.append(tracker.look(frame(index, [(person, face)]), [seen(face)]))
    # Verdicts come later than faces.
    for index, sightings in enumerate(waiting):
        tracker.add(sightings, index == cut, "cross_fade" if index in spoilt else "")
    return tracker.finish()


@pytest.mark.parametrize(
    "order", ["forwards", "forwards and back", "twice", "first and third shot"]
)
def test_no_window_of_the_model_spans_a_cut_or_a_jump(order: str) -> None:
    once = list(range(len(SHOTS)))
    source = {
        "forwards": once,
        "forwards and back": [*once, *once[::-1]],
        "twice": [*once, *once],
        "first and third shot": [*once[:10], *once[22:]],
    }[order]
    track = made_track(jittered(), shot=SHOTS)
    cuts = np.flatnonzero(picture_jumps(track, shown(source))).tolist()
    covered = 0
    for window in iter_windows(len(source), WINDOW, 0, cuts):
        inside = np.array(source[window.emit_start : window.emit_stop])
        assert (window.start, window.stop) == (window.emit_start, window.emit_stop)
        assert len({SHOTS[index] for index in inside}) == 1
        assert (np.abs(np.diff(inside)) <= 1).all()
        covered += len(inside)
    assert covered == len(source)


def test_what_another_shot_shows_does_not_move_a_pose() -> None:
    landmarks = jittered()
    elsewhere = landmarks.copy()
    elsewhere[10:22] += np.array([70, -30, 0], np.float32)
    one, other = (smooth_pose(made_track(points, shot=SHOTS)) for points in (landmarks, elsewhere))
    kept = np.array(SHOTS) != 1
    np.testing.assert_array_equal(one.translation[kept], other.translation[kept])
    np.testing.assert_array_equal(one.scale[kept], other.scale[kept])
    np.testing.assert_array_equal(one.rotation[kept], other.rotation[kept])
    assert not np.allclose(one.translation[~kept], other.translation[~kept])


def test_what_is_unusable_in_one_shot_weakens_no_dub_in_the_next() -> None:
    valid = np.ones(len(SHOTS), bool)
    valid[20:22] = False
    strength = fade(valid, np.array(SHOTS))
    assert (strength[:10] == 1).all()
    assert (strength[22:] == 1).all()
    assert strength[19] == pytest.approx(1 / 6)


def test_a_cross_fade_is_left_and_entered_by_a_ramp() -> None:
    (track,) = follow([1] * 40, 20, range(15, 25))
    assert [track.reasons[index] for index in (14, 15, 24, 25)] == [
        "",
        "cross_fade",
        "cross_fade",
        "",
    ]
    assert track.reasons.count("cross_fade") == 10
    strength = fade(track.valid, track.shot)
    assert (strength[15:25] == 0).all()
    np.testing.assert_allclose(strength[9:15], np.arange(6, 0, -1) / 6)
    np.testing.assert_allclose(strength[25:31], np.arange(1, 7) / 6)


def test_who_is_seen_before_and_after_a_cross_fade_at_one_place_stays_two_people() -> None:
    tracks = follow([1] * 20 + [2] * 20, 20, range(16, 24))
    assert len(tracks) == 2
    before, after = sorted(tracks, key=lambda track: track.valid[30])
    assert np.flatnonzero(before.valid).tolist() == list(range(16))
    assert np.flatnonzero(after.valid).tolist() == list(range(24, 40))


def test_a_few_frames_of_a_cross_fade_are_not_filled_in() -> None:
    (track,) = follow([1] * 30, None, range(14, 17))
    assert not track.valid[14:17].any()
    assert track.valid[:14].all()
    assert track.valid[17:].all()


def test_a_person_who_is_far_from_a_cross_fade_is_just_not_seen_in_it() -> None:
    tracker = Tracker(recogniser=BlotchRecogniser())
    for index in range(60):
        people = [(1, face_at((80, 100)))] + ([(2, face_at((240, 100)))] if index < 20 else [])
        found = [seen(landmarks) for _, landmarks in people]
        spoilt = "cross_fade" if 40 <= index < 48 else ""
        tracker.add(tracker.look(frame(index, people), found), index == 44, spoilt)
    stays, leaves = tracker.finish()
    assert stays.reasons.count("cross_fade") == 8
    assert set(leaves.reasons[20:]) == {"no_face"}


def test_each_reference_is_cut_from_one_frame_alone_in_its_own_pose() -> None:
    """Its texture may come from another shot: crop, pose and light are all of that frame."""
    places = [(110.0, 90.0) if shot == 0 else (200.0, 110.0) for shot in SHOTS]
    landmarks = np.stack([face_at(place, opening=0.01 * n) for n, place in enumerate(places)])
    track = made_track(landmarks, shot=SHOTS)
    pose = fit_pose(landmarks)
    alignment = crop_alignment(pose, (208, 160))
    chosen = select_references(track, pose, 4)
    assert len({SHOTS[index] for index in chosen}) > 1
    pictures = {
        index: picture([(SHOTS[index] + 1, landmarks[index])]) for index in range(len(track))
    }
    together = cut_references(list(pictures.items()), chosen, track, alignment)
    for place, index in enumerate(chosen):
        alone = cut_references([(index, pictures[index])], [index], track, alignment)
        np.testing.assert_array_equal(together.crops[place], alone.crops[0])
        np.testing.assert_array_equal(together.landmarks[place], alone.landmarks[0])


def test_sound_goes_on_over_cuts() -> None:
    """What is heard at a frame depends on its time alone."""
    features = AudioFeatures(
        values=np.zeros((400, 3), np.float32),
        rate_hz=Fraction(80),
        kind="mel",
        start_s=Fraction(0),
        fill=np.zeros(3, np.float32),
    )
    pts = list(range(0, 4 * len(SHOTS), 4))
    steps = frame_steps(pts, Fraction(1, 100), features, Fraction(0))
    assert np.abs(np.diff(steps) - 3.2).max() < 1
