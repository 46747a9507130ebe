"""The light of a face over a video: what is usual, what brings other light to it, what is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from made_faces import canonical_face, made_pose, made_track

from dubcli.core.types import F64, U8, FaceTrack
from dubcli.face.landmarks import CHEEKS
from dubcli.face.light import FaceLight, face_light, sample_light, unusable_light
from dubcli.face.pose import crop_alignment, fit_pose, to_display
from dubcli.face.references import select_references

NUM = 12
SIZE = (208, 160)


def skin() -> F64:
    """A face of uneven brightness in a frame of 240 x 320, levels 0 to 255."""
    noise = np.random.default_rng(3).random((10, 14, 3)) * 90 + (110, 80, 60)
    smooth = cv2.resize(noise.astype(np.float32), (320, 240), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth, 0, 255).astype(np.float64)


def lit(change: Callable[[F64], F64], from_frame: int = 8) -> tuple[FaceTrack, list[U8]]:
    """A track whose light changes at a frame, and its pictures."""
    landmarks = to_display(np.repeat(canonical_face()[None], NUM, 0), made_pose(NUM))
    pictures = [skin() if index < from_frame else change(skin()) for index in range(NUM)]
    shown = [np.clip(np.rint(picture), 0, 255).astype(np.uint8) for picture in pictures]
    light = np.stack([sample_light(*one) for one in zip(shown, landmarks, strict=True)])
    return replace(made_track(landmarks), light=light), shown


def crop(track: FaceTrack, picture: U8, frame: int) -> U8:
    matrix = crop_alignment(fit_pose(track.landmarks[frame][None]), SIZE).frame_to_crop[0]
    return np.asarray(cv2.warpAffine(picture, matrix, SIZE[::-1]), np.uint8)


CHANGES: dict[str, Callable[[F64], F64]] = {
    "fade": lambda x: 0.3 * x,
    "lamp off": lambda x: 255 * (x / 255) ** 2.2,
    "flicker": lambda x: 0.88 * x,
    "evening": lambda x: x * (0.9, 0.6, 0.3),
    "lamp and daylight": lambda x: 255 * (0.2 * (x / 255) ** 2.2 + 0.01) ** (1 / 2.2),
    "haze": lambda x: 0.6 * x + 90,
    "one side": lambda x: x * np.linspace(0.5, 1.0, 320)[None, :, None],
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_frame_in_other_light_is_brought_to_the_usual_one_and_back(kind: str) -> None:
    track, pictures = lit(CHANGES[kind])
    light = face_light(track)
    usual, other = crop(track, pictures[0], 0), crop(track, pictures[-1], NUM - 1)
    middle = slice(70, 180), slice(45, 115)
    apart = np.abs(other[middle].astype(float) - usual[middle]).mean()
    found = light.at(NUM - 1)
    assert found is not None
    there = np.abs(found.to_usual(other)[middle].astype(float) - usual[middle]).mean()
    back = np.abs(255 * found.to_frame(usual)[middle] - other[middle]).mean()
    assert there < max(4.0, 0.15 * apart)
    assert back < max(2.5, 0.15 * apart)


def test_what_is_brought_to_the_usual_light_comes_back_unchanged() -> None:
    """So the frame's own skin, deformed in the usual light, keeps its levels."""
    track, pictures = lit(CHANGES["fade"])
    found = face_light(track).at(NUM - 1)
    assert found is not None
    own = crop(track, pictures[-1], NUM - 1)
    again = 255 * found.to_frame(found.to_usual(own))
    assert np.abs(again - own).max() <= 0.6


@pytest.mark.parametrize("change", [lambda x: x, lambda x: 1.03 * x, lambda x: 0.97 * x])
def test_light_that_hardly_changes_is_left_to_the_paste(change: Callable[[F64], F64]) -> None:
    light = face_light(lit(change)[0])
    assert all(light.at(frame) is None for frame in range(NUM))
    assert (light.likeness() == 1).all()


def test_a_face_whose_light_nobody_looked_at_is_in_the_usual_light() -> None:
    track, _ = lit(CHANGES["fade"])
    light = face_light(replace(track, light=track.light[:0]))
    assert isinstance(light, FaceLight)
    assert light.at(NUM - 1) is None


def test_references_come_from_the_light_that_most_frames_share() -> None:
    track, _ = lit(CHANGES["lamp off"], from_frame=7)
    # The dark frames are the sharpest.
    track = replace(track, sharpness=np.where(np.arange(NUM) < 7, 60, 100).astype(np.float32))
    light = face_light(track)
    pose = fit_pose(track.landmarks)
    assert max(select_references(track, pose, 4, None, light.likeness())) < 7
    assert max(select_references(track, pose, 4)) >= 7


def test_well_lit_frames_set_the_usual_light_though_dark_ones_are_a_few_more() -> None:
    track, _ = lit(lambda x: 0.2 * x, from_frame=5)
    light = face_light(track)
    assert light.at(0) is None
    assert light.at(NUM - 1) is not None


@pytest.mark.parametrize(
    ("change", "reason"),
    [(lambda x: 0.03 * x, "too_dark"), (lambda x: 5 * x + 60, "overexposed")],
)
def test_light_in_which_nothing_is_left_of_a_face_is_named(
    change: Callable[[F64], F64], reason: str
) -> None:
    track, _ = lit(change)
    why = unusable_light(track.light, track.valid)
    assert why.tolist() == [""] * 8 + [reason] * 4


def test_a_video_that_is_dark_throughout_is_dubbed() -> None:
    landmarks = to_display(np.repeat(canonical_face()[None], NUM, 0), made_pose(NUM))
    dark = (0.04 * skin()).astype(np.uint8)
    light = np.stack([sample_light(dark, marks) for marks in landmarks])
    assert (unusable_light(light, np.ones(NUM, bool)) == "").all()


def test_the_mouth_has_no_say_in_the_light() -> None:
    """What lips and teeth do must not look like a lamp."""
    track, pictures = lit(lambda x: x)
    spoken = pictures[0].copy()
    centre = track.landmarks[0, CHEEKS, :2].mean(0).astype(int)
    x, y = int(centre[0]), int(centre[1])
    cv2.ellipse(spoken, (x, y), (14, 7), 0, 0, 360, (20, 5, 5), -1)
    light = track.light.copy()
    light[-1] = sample_light(spoken, track.landmarks[-1])
    assert face_light(replace(track, light=light)).at(NUM - 1) is None
