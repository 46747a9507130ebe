"""Noise of a frame on its patch: as much, as coarse and as coloured as around it; repeatable."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dubcli.composite.grain import Grain, add_grain, grain_share, measure_grain
from dubcli.core.types import F32, U8, FramePatch

SIZE = (120, 120)
MASK = np.ones(SIZE, bool)
BESIDE = MASK.copy()
BESIDE[40:, :] = False


def clean(seed: int = 1) -> F32:
    """Skin with pores, the same in every frame."""
    rng = np.random.default_rng(seed)
    pores = cv2.GaussianBlur(rng.normal(0, 6, SIZE).astype(np.float32), (0, 0), 1.2)
    return 150 + pores[..., None] * np.ones(3, np.float32)


def noise(seed: int, level: float, coarse: float = 0.0, coloured: float = 0.0) -> F32:
    rng = np.random.default_rng(seed)
    grey = rng.normal(0, 1, (*SIZE, 1)) * np.ones(3)
    planes = (grey + coloured * rng.normal(0, 1, (*SIZE, 3))).astype(np.float32)
    if coarse:
        planes = cv2.GaussianBlur(planes, (0, 0), coarse)
    return planes * np.float32(level / planes.mean(2).std())


def picture(*layers: F32) -> U8:
    return np.clip(np.rint(sum(layers[1:], layers[0])), 0, 255).astype(np.uint8)


def fine(levels: np.ndarray) -> F32:
    values = levels.astype(np.float32)
    return values - cv2.GaussianBlur(values, (0, 0), 2.0)


def measured(frame: U8, share: float = 1.0) -> Grain:
    found = measure_grain(frame, BESIDE, share)
    assert found is not None
    return found


def smooth_patch(alpha: float = 1.0) -> FramePatch:
    weight = np.full(SIZE, alpha, np.float32)
    weight[:40] = 0
    return FramePatch(x=0, y=0, rgb=np.full((*SIZE, 3), 150 / 255, np.float32), alpha=weight)


def shown(patch: FramePatch, frame: U8) -> F32:
    alpha = patch.alpha[..., None]
    return ((1 - alpha) * frame + alpha * patch.rgb * 255).astype(np.float32)


@pytest.mark.parametrize("coarse", [0.0, 0.8])
@pytest.mark.parametrize("level", [4.0, 12.0])
def test_the_patch_gets_as_much_and_as_coarse_noise_as_is_around_it(
    coarse: float, level: float
) -> None:
    frame = picture(np.full((*SIZE, 3), 150, np.float32), noise(5, level, coarse))
    result = shown(add_grain(smooth_patch(), frame, measured(frame), seed=1), frame).mean(2)
    inside, around = fine(result)[50:], fine(result)[:36]
    assert 0.85 < inside.std() / around.std() < 1.15

    def neighbours(values: F32) -> float:
        return float((values[:, 1:] * values[:, :-1]).mean() / (values**2).mean())

    assert neighbours(inside) == pytest.approx(neighbours(around), abs=0.12)


def test_coloured_noise_stays_coloured_and_grey_noise_grey() -> None:
    spread = {}
    for coloured in (0.0, 1.5):
        frame = picture(np.full((*SIZE, 3), 150, np.float32), noise(5, 8, 0, coloured))
        result = shown(add_grain(smooth_patch(), frame, measured(frame), seed=1), frame)
        red_blue = fine(result[..., 0] - result[..., 2])
        spread[coloured] = red_blue[50:].std(), red_blue[:36].std()
    assert spread[0.0][0] < 1.5
    assert spread[1.5][0] / spread[1.5][1] == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("alpha", [1.0, 0.6])
def test_no_more_is_put_on_where_the_patch_has_its_own(alpha: float) -> None:
    frame = picture(np.full((*SIZE, 3), 150, np.float32), noise(5, 8))
    own = picture(np.full((*SIZE, 3), 150, np.float32), noise(5, 8)).astype(np.float32)
    patch = smooth_patch(alpha)
    grainy = FramePatch(x=0, y=0, rgb=(own / 255).astype(np.float32), alpha=patch.alpha)
    result = shown(add_grain(grainy, frame, measured(frame), seed=1), frame).mean(2)
    assert 0.9 < fine(result)[50:].std() / fine(result)[:36].std() < 1.15


def test_thin_patches_are_as_grainy_as_the_rest() -> None:
    frame = picture(np.full((*SIZE, 3), 150, np.float32), noise(5, 8))
    result = shown(add_grain(smooth_patch(0.5), frame, measured(frame), seed=1), frame).mean(2)
    assert 0.85 < fine(result)[50:].std() / fine(result)[:36].std() < 1.15


def test_pores_are_no_grain_and_grain_is_no_pores() -> None:
    still = picture(clean())
    assert grain_share(still, still, MASK) == (0.0, 0.0)
    frames = [picture(clean(), noise(seed, 8)) for seed in (1, 2)]
    share, level = grain_share(frames[0], frames[1], MASK)
    assert 0.7 < share < 0.95
    assert level == pytest.approx(8, rel=0.25)


def test_a_clean_frame_gets_nothing() -> None:
    assert measure_grain(picture(clean()), BESIDE, 0.0) is None
    faint = picture(np.full((*SIZE, 3), 150, np.float32), noise(1, 0.8))
    assert measure_grain(faint, BESIDE, 1.0) is None


def test_the_same_seed_makes_the_same_noise_and_another_another() -> None:
    frame = picture(np.full((*SIZE, 3), 150, np.float32), noise(5, 8))
    made = [add_grain(smooth_patch(), frame, measured(frame), seed).rgb for seed in (1, 1, 2)]
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])
