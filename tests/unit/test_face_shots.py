from __future__ import annotations

import cv2
import numpy as np
import pytest

from dubcli.core.types import U8
from dubcli.face.shots import ShotDetector, Verdict


def scene(seed: int, size: tuple[int, int] = (90, 160)) -> U8:
    noise = np.random.default_rng(seed).random((9, 16, 3)) * 255
    return np.asarray(cv2.resize(noise.astype(np.uint8), size[::-1]), np.uint8)


def verdicts(images: list[U8]) -> list[Verdict]:
    detector = ShotDetector()
    told = [verdict for image in images for verdict in detector.update(image)]
    told += detector.finish()
    assert len(told) == len(images)
    return told


def cuts(images: list[U8]) -> list[int]:
    return [index for index, verdict in enumerate(verdicts(images)) if verdict.is_cut]


def spoilt(images: list[U8], reason: str) -> list[int]:
    return [index for index, verdict in enumerate(verdicts(images)) if verdict.spoilt == reason]


def moved(image: U8, shift: int) -> U8:
    return np.roll(image, shift, axis=1)


def brightened(image: U8, factor: float, offset: float = 0.0) -> U8:
    return np.clip(image * factor + offset, 0, 255).astype(np.uint8)


def mixed(one: U8, other: U8, share: float) -> U8:
    return np.asarray(cv2.addWeighted(one, 1 - share, other, share, 0), np.uint8)


def fading(one: U8, other: U8, length: int) -> list[U8]:
    return [mixed(one, other, (step + 1) / (length + 1)) for step in range(length)]


def test_each_change_of_scene_is_one_cut() -> None:
    images = [scene(1)] * 10 + [scene(2)] * 7 + [scene(1)] * 9
    assert cuts(images) == [10, 17]
    assert {verdict.spoilt for verdict in verdicts(images)} == {""}


def test_a_single_frame_between_scenes_counts() -> None:
    assert cuts([scene(1)] * 5 + [scene(2)] + [scene(3)] * 5) == [5, 6]


def test_a_cut_to_a_small_picture_on_a_plain_ground_is_no_change_of_light() -> None:
    """A curve of tones turns anything into a plain ground."""
    barred = np.full_like(scene(1), 16)
    barred[:, 40:120] = scene(1)[:, 40:120]
    small = np.full_like(scene(2), 128)
    small[30:60, 60:100] = scene(2)[30:60, 60:100]
    assert cuts([barred] * 12 + [small] * 12 + [barred] * 12) == [12, 24]


@pytest.mark.parametrize("step", [1, 4])
def test_motion_is_no_cut(step: int) -> None:
    images = [moved(scene(1), step * index) for index in range(30)]
    assert set(verdicts(images)) == {Verdict(False)}


def test_noise_is_no_cut() -> None:
    rng = np.random.default_rng(0)
    images = [
        np.clip(scene(1) + rng.normal(0, 12, (90, 160, 3)), 0, 255).astype(np.uint8)
        for _ in range(20)
    ]
    assert set(verdicts(images)) == {Verdict(False)}


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("level", [0, 255])
def test_a_flash_or_a_dropout_is_no_cut_and_shows_no_face(length: int, level: int) -> None:
    blank = np.full_like(scene(1), level)
    images = [scene(1)] * 10 + [mixed(scene(1), blank, 0.95)] * length + [scene(1)] * 10
    assert cuts(images) == []
    assert spoilt(images, "flash") == list(range(10, 10 + length))


def test_frames_of_another_scene_that_slipped_in_are_no_cut() -> None:
    images = [scene(1)] * 10 + [scene(2)] * 2 + [scene(1)] * 10
    assert cuts(images) == []
    assert spoilt(images, "flash") == [10, 11]


def test_a_change_of_light_is_neither_a_cut_nor_spoils_a_frame() -> None:
    dim = [brightened(scene(1), 0.75 + 0.25 * np.cos(index / 6)) for index in range(80)]
    assert set(verdicts(dim)) == {Verdict(False)}
    step = [scene(1)] * 20 + [brightened(scene(1), 0.7)] * 20
    assert set(verdicts(step)) == {Verdict(False)}


def test_a_slow_fade_of_brightness_is_no_cut() -> None:
    assert cuts([brightened(scene(1), 1 - 0.025 * index) for index in range(24)]) == []


@pytest.mark.parametrize("length", [3, 4, 8, 12, 25, 50, 60])
def test_a_cross_fade_is_spoilt_from_end_to_end_and_cut_in_its_middle(length: int) -> None:
    before, after = [scene(1)] * 20, [scene(2)] * 20
    images = before + fading(scene(1), scene(2), length) + after
    found = spoilt(images, "cross_fade")
    assert set(range(20, 20 + length)) <= set(found) <= set(range(18, 22 + length))
    (cut,) = cuts(images)
    assert abs(cut - (20 + length / 2)) <= 1.5


def test_a_cross_fade_of_moving_scenes_is_found() -> None:
    ones = [moved(scene(1), index // 5) for index in range(60)]
    others = [moved(scene(2), -index // 5) for index in range(60)]
    shares = np.clip((np.arange(60) - 23) / 13, 0, 1)
    images = [mixed(*pair) for pair in zip(ones, others, shares.tolist(), strict=True)]
    assert set(range(24, 36)) <= set(spoilt(images, "cross_fade")) <= set(range(21, 39))
    assert len(cuts(images)) == 1


def test_cross_fades_that_follow_each_other_are_told_apart() -> None:
    images: list[U8] = [scene(1)] * 15
    for number in (1, 2, 3):
        images += fading(scene(number), scene(number + 1), 8) + [scene(number + 1)] * 15
    assert len(cuts(images)) == 3
    found = spoilt(images, "cross_fade")
    assert {15 + 23 * n + k for n in range(3) for k in range(8)} <= set(found)
    assert len(found) <= 3 * 12


def test_a_hard_cut_beside_a_cross_fade_stays() -> None:
    images = [scene(1)] * 15 + fading(scene(1), scene(2), 10) + [scene(2)] * 15 + [scene(3)] * 15
    assert len(cuts(images)) == 2
    assert cuts(images)[1] == 40


@pytest.mark.parametrize("level", [0, 255])
def test_only_the_empty_half_of_a_fade_to_black_or_white_is_spoilt(level: int) -> None:
    blank = np.full_like(scene(1), level)
    images = [scene(1)] * 20 + fading(scene(1), blank, 20) + [blank] * 10
    images += fading(blank, scene(2), 20) + [scene(2)] * 20
    found = spoilt(images, "cross_fade")
    assert set(range(31, 40)) <= set(found)
    assert set(range(50, 59)) <= set(found)
    assert not set(found) & {*range(29), *range(62, 90)}
    (cut,) = cuts(images)
    assert 40 <= cut < 60


def test_a_scene_that_comes_out_of_black_is_new_unless_it_is_the_old_one() -> None:
    down = [*np.linspace(1, 0, 11), 0.0, 0.0]
    out = [brightened(scene(1), factor) for factor in down]
    first_seen = len(out)
    new = [brightened(scene(2), factor) for factor in np.linspace(0.1, 1, 10)]
    same = [brightened(scene(1), factor) for factor in np.linspace(0.1, 1, 10)]
    (cut,) = cuts(out + new)
    assert first_seen <= cut < first_seen + 4
    assert cuts(out + same) == []


def test_black_video_and_tiny_pictures_work() -> None:
    assert cuts([np.zeros((16, 16, 3), np.uint8)] * 5) == []
    assert cuts([scene(1, (16, 16))] * 3 + [scene(2, (16, 16))] * 7) == [3]
    assert ShotDetector().finish() == []


def test_verdicts_come_in_time_however_long_the_video() -> None:
    detector, told = ShotDetector(), 0
    for index in range(3 * ShotDetector.LATENCY):
        told += len(detector.update(scene(1)))
        assert index + 1 - told <= ShotDetector.LATENCY
