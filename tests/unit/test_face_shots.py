from __future__ import annotations

import cv2
import numpy as np
import pytest

from dubcli.face.shots import ShotDetector
from dubcli.types import U8


def scene(seed: int, size: tuple[int, int] = (90, 160)) -> U8:
    noise = np.random.default_rng(seed).random((9, 16, 3)) * 255
    return np.asarray(cv2.resize(noise.astype(np.uint8), size[::-1]), np.uint8)


def cuts(images: list[U8]) -> list[int]:
    detector = ShotDetector()
    return [index for index, image in enumerate(images) if detector.update(image)]


def moved(image: U8, shift: int) -> U8:
    return np.roll(image, shift, axis=1)


def brightened(image: U8, factor: float, offset: float = 0.0) -> U8:
    return np.clip(image * factor + offset, 0, 255).astype(np.uint8)


def test_each_change_of_scene_is_one_cut() -> None:
    images = [scene(1)] * 10 + [scene(2)] * 7 + [scene(1)] * 5
    assert cuts(images) == [10, 17]


def test_a_single_frame_between_scenes_counts() -> None:
    assert cuts([scene(1)] * 5 + [scene(2)] + [scene(3)] * 5) == [5, 6]


@pytest.mark.parametrize("step", [1, 4])
def test_motion_is_no_cut(step: int) -> None:
    assert cuts([moved(scene(1), step * index) for index in range(30)]) == []


def test_noise_is_no_cut() -> None:
    rng = np.random.default_rng(0)
    images = [
        np.clip(scene(1) + rng.normal(0, 12, (90, 160, 3)), 0, 255).astype(np.uint8)
        for _ in range(20)
    ]
    assert cuts(images) == []


def test_a_flash_is_not_two_cuts() -> None:
    flash = brightened(scene(1), 1.0, 140)
    assert len(cuts([scene(1)] * 10 + [flash] + [scene(1)] * 10)) <= 1


def test_a_slow_fade_of_brightness_is_no_cut() -> None:
    assert cuts([brightened(scene(1), 1 - 0.025 * index) for index in range(24)]) == []


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
    assert cuts([scene(1, (16, 16))] * 3 + [scene(2, (16, 16))] * 3) == [3]
