"""The lag between sound and picture, found by a model of how mouths follow sound."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from made_clips import NUM_FRAMES, STEPS_PER_FRAME, made_clip
from torch import Tensor, nn

from dubcli.face.landmarks import SPEAKING, mouth_open
from dubcli.face.rest import rest_shape
from dubcli.models.iptalker import NAMED_CONFIGS, NUM_POINTS
from dubcli.models.mouth_map import INNER_BOTTOM
from dubcli.training.data import TrainClip
from dubcli.training.offsets import MAX_LAG_FRAMES, correct_offsets, lag_of
from dubcli.types import F32


def _series(num: int = 120) -> F32:
    noise = np.random.default_rng(5).standard_normal(num + 2)
    return np.convolve(noise, np.ones(3) / 3, "valid").astype(np.float32)


@pytest.mark.parametrize("lag", [-7, -3, -1, 0, 1, 2, 5, 8])
def test_a_known_shift_is_found_positive_when_the_picture_comes_later(lag: int) -> None:
    series = _series(160)
    sound, picture = series[20:140], series[20 - lag : 140 - lag]
    found, peak, at_zero = lag_of(sound, picture)
    assert found == lag
    assert peak == pytest.approx(1, abs=1e-5)
    assert (at_zero == peak) == (lag == 0)


def test_a_still_mouth_has_no_lag_and_no_correlation() -> None:
    still = np.full(60, 0.1, np.float32)
    assert lag_of(_series(60), still)[1:] == (0.0, 0.0)


class _Alignment(nn.Module):
    """Opens the mouth as wide as the middle of the window is loud."""

    def forward(self, audio: Tensor, tokens: Tensor) -> Tensor:
        middle = audio.shape[1] // 2
        return audio[:, middle - 1 : middle + 2, ::2].mean((1, 2))[:, None]

    def to_coefficients(self, v_alg: Tensor) -> Tensor:
        return v_alg + 1

    def speaking_points(self, coefficients: Tensor, neutral: Tensor) -> Tensor:
        assert neutral.shape == (NUM_POINTS, 3)
        points = torch.zeros(len(coefficients), NUM_POINTS, 3)
        points[:, INNER_BOTTOM, 1] = coefficients[:, 0]
        return points


class _SoundModel(nn.Module):
    """Stands for a trained network: only what the lag estimate asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.config = NAMED_CONFIGS["tiny"]
        self.alignment = _Alignment()
        self.weight = nn.Parameter(torch.zeros(1))


def _train_clip(lag_frames: int, **changes: Any) -> TrainClip:
    clip = made_clip(3, lag_frames=lag_frames, **changes)
    neutral = rest_shape(clip.canonical, clip.valid)
    return TrainClip(
        clip_id="clip",
        identity="clip",
        clip=clip,
        frames=np.flatnonzero(clip.valid),
        neutral=neutral,
        departure=clip.canonical[:, SPEAKING] - neutral,
        opening=mouth_open(clip.canonical),
    )


@pytest.mark.parametrize("lag", [-4, 0, 3, 6])
def test_a_clip_that_lags_is_put_in_step(lag: int) -> None:
    model: Any = _SoundModel()
    model.train()
    (corrected,) = correct_offsets(model, [_train_clip(lag)])
    assert corrected.offset_steps == lag * STEPS_PER_FRAME
    # Looking is not training: the mode stays, and a second look finds nothing to correct.
    assert model.training
    assert correct_offsets(model, [corrected])[0].offset_steps == corrected.offset_steps


def test_the_step_between_frames_is_not_rounded() -> None:
    """At 25 frames a second a frame lasts 3.2 steps: six frames are 19, not 18."""
    clip = _train_clip(6)
    steps = np.round(np.arange(NUM_FRAMES) * 3.2).astype(np.int64)
    mel = np.repeat(clip.clip.mel[::STEPS_PER_FRAME], 4, 0)
    source = np.clip(np.arange(len(mel)) / 3.2, 0, NUM_FRAMES - 1).round().astype(np.int64)
    slow = replace(clip, clip=replace(clip.clip, steps=steps, mel=mel[source * 4]))
    (corrected,) = correct_offsets(_model(), [slow])
    assert corrected.offset_steps == 19


def _model() -> Any:
    return _SoundModel()


def test_a_lag_that_explains_hardly_more_is_no_lag() -> None:
    clip = _train_clip(0)
    slow = np.sin(np.arange(NUM_FRAMES) / 12).astype(np.float32)
    # Everything here changes so slowly that one frame to the side fits nearly as well.
    mel = np.repeat(np.roll(slow, -1), STEPS_PER_FRAME)[:, None] * np.ones((1, 80))
    unclear = replace(clip, clip=replace(clip.clip, mel=mel.astype(np.float16)), opening=slow)
    assert lag_of(np.roll(slow, -1), slow)[0] == 1
    assert correct_offsets(_model(), [unclear])[0].offset_steps == 0


def test_clips_that_no_lag_explains_and_silent_ones_are_left_out() -> None:
    still = _train_clip(0)
    still = replace(still, opening=np.full(NUM_FRAMES, 0.1, np.float32))
    silent = _train_clip(0, with_sound=False)
    fine = _train_clip(0)
    kept = correct_offsets(_model(), [still, silent, fine])
    assert [clip is fine for clip in kept] == [True]


def test_the_largest_lag_is_not_trusted() -> None:
    """At the edge of the search the true lag may lie beyond it."""
    clip = _train_clip(MAX_LAG_FRAMES)
    assert correct_offsets(_model(), [clip])[0].offset_steps == 0
