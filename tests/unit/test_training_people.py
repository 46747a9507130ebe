"""Grouping faces by who they are, joining tracks, counting seconds, spreading stretches."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from made_faces import face_at, made_embedding, made_track

from dubcli.core.types import FaceTrack
from dubcli.media.video.timeline import FrameTimes
from dubcli.personalize.footage.face_clustering import (
    Appearance,
    chain_tracks,
    group_people,
    join_tracks,
    usable_seconds,
)
from dubcli.personalize.footage.sampling import spread_stretches


def _track(valid: list[bool], centre: float = 160.0, shot: list[int] | None = None) -> FaceTrack:
    return made_track(np.stack([face_at((centre, 100.0))] * len(valid)), valid, shot)


def _appearance(
    person: int, part: int, track: FaceTrack | None = None, seconds: int = 4, noise: float = 0.0
) -> Appearance:
    shaken = made_embedding(person) + noise * made_embedding(100 + part)
    embedding = (shaken / np.linalg.norm(shaken)).astype(np.float32)
    return Appearance(
        video=part,
        part=part,
        track=replace(track or _track([True] * 10), embedding=embedding),
        seconds=Fraction(seconds),
        height_px=100.0,
    )


def test_similar_faces_are_one_person_and_the_largest_comes_first() -> None:
    faces = [
        _appearance(1, 0, seconds=5),
        _appearance(2, 1, seconds=4, noise=0.2),
        _appearance(2, 2, seconds=3, noise=0.25),
        _appearance(3, 3, seconds=1),
    ]
    people = group_people(faces)
    assert [[face.part for face in person] for person in people] == [[1, 2], [0], [3]]
    assert group_people([]) == []


def test_who_speaks_comes_before_a_larger_portrait() -> None:
    portrait = replace(_appearance(1, 0, seconds=8), height_px=400.0, is_still=True)
    speaker = _appearance(2, 1, seconds=4)
    assert group_people([portrait, speaker]) == [[speaker], [portrait]]
    # Where all are still, size and time decide as ever.
    still = replace(speaker, is_still=True)
    assert group_people([still, portrait]) == [[portrait], [still]]


def test_faces_beside_each_other_are_never_one_person() -> None:
    """Twins: alike, but in the same frames. A third picture may be of one of them."""
    first = _appearance(1, 0, _track([True] * 10, 60.0))
    second = _appearance(1, 0, _track([False] * 8 + [True] * 2, 260.0))
    elsewhere = _appearance(1, 1)
    people = group_people([first, second, elsewhere])
    assert sorted(len(person) for person in people) == [1, 2]
    assert not any(first in person and second in person for person in people)
    after = _appearance(1, 0, _track([False] * 10, 260.0))
    assert len(group_people([first, after])) == 1


def test_joined_tracks_take_each_frame_from_the_one_that_can_use_it() -> None:
    one = _track([True, True, False, False, False, False], 60.0, shot=[0, 0, 0, 1, 1, 1])
    other = _track([False, False, False, True, True, False], 260.0, shot=[0, 0, 0, 1, 1, 1])
    joined = join_tracks([one, other])
    assert joined.valid.tolist() == [True, True, False, True, True, False]
    from_other = np.abs(joined.boxes - other.boxes).max(1) == 0
    assert from_other.tolist() == [False, False, False, True, True, False]
    assert np.array_equal(joined.landmarks[3], other.landmarks[3])
    assert [joined.reasons[index] for index in (0, 2, 4)] == ["", "no_face", ""]
    # Nothing is smoothed over a change from one to the other.
    assert joined.shot.tolist() == [0, 0, 0, 1, 1, 2]
    alone = join_tracks([one])
    assert alone.shot.tolist() == one.shot.tolist()
    assert np.array_equal(alone.boxes, one.boxes)


def test_chained_tracks_share_no_shot() -> None:
    chain = chain_tracks([_track([True] * 3, shot=[0, 0, 1]), _track([True, False])])
    assert chain.shot.tolist() == [0, 0, 1, 2, 2]
    assert chain.valid.tolist() == [True, True, True, True, False]
    assert len(chain.reasons) == len(chain.landmarks) == 5


def test_usable_seconds_are_exact_and_a_slide_is_no_footage() -> None:
    track = _track([True, True, False, True])
    ntsc = FrameTimes(pts=[0, 1001, 2002, 3003], end_pts=4004, time_base=Fraction(1, 30000))
    assert usable_seconds(track, ntsc) == Fraction(3003, 30000)
    slides = FrameTimes(pts=[0, 40, 80, 1080], end_pts=61_080, time_base=Fraction(1, 1000))
    assert usable_seconds(track, slides) == Fraction(280, 1000)


@pytest.mark.parametrize("phase", [0.5, 0.17, 0.83])
@pytest.mark.parametrize(
    "lengths",
    [[3600.0], [100.0], [91.0], [30.0, 3000.0], [3.0] * 200, [0.0, 0.5, 400.0], [45.0, 50.0]],
)
def test_stretches_are_spread_over_all_and_keep_to_the_limit(
    lengths: list[float], phase: float
) -> None:
    found = spread_stretches(lengths, 90.0, phase)
    total = sum(end - begin for _, begin, end in found)
    assert 80 < total <= 90.001
    for (video, begin, end), following in zip(found, [*found[1:], None], strict=True):
        assert 0 <= begin < end <= lengths[video]
        assert following is None or (video, end) < following[:2]
    starts = np.cumsum([0, *lengths[:-1]])
    places = np.array([starts[video] + (begin + end) / 2 for video, begin, end in found])
    # No part of the whole is far from a stretch.
    gaps = np.diff([0, *places, sum(lengths)])
    assert gaps.max() < 0.2 * sum(lengths) + 12


def test_what_fits_is_taken_whole() -> None:
    assert spread_stretches([10.0, 0.0, 80.0], 90.0) == [(0, 0.0, 10.0), (2, 0.0, 80.0)]
