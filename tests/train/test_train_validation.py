"""Footage kept apart is shown to a model as a dub would show it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from made_clips import NUM_FRAMES, made_clip

from dubcli.core.types import U8, References
from dubcli.face.landmarks import mouth_open
from dubcli.models.conversion import to_images
from dubcli.models.lip_identity.adapt import LipIdentityAdapter
from dubcli.models.lip_identity.config import NAMED_CONFIGS
from dubcli.models.lip_identity.landmark_task import prepare_model
from dubcli.models.lip_identity.network import LipIdentity
from dubcli.personalize.clip_windows import clip_window, frames_around, windows_of
from dubcli.personalize.person_subject import person_subject
from dubcli.personalize.personal_clips import rest_of
from dubcli.personalize.validation import Validation
from dubcli.training.data.train_clips import TrainClip, derive_clip

SIZES = NAMED_CONFIGS["tiny"]


def _clip(*, with_sound: bool = True) -> TrainClip:
    prepared = made_clip(0, size=(SIZES.height, SIZES.width), with_sound=with_sound)
    return derive_clip("clip", "anna", prepared, rest_of([prepared]))


def _references(clip: TrainClip) -> References:
    frames = np.array([3, 30])
    crops = np.stack([clip.clip.crop(int(i)) for i in frames])
    landmarks = clip.clip.landmarks[frames] - np.array([*clip.clip.margin[::-1], 0], np.float32)
    return References(
        crops=crops,
        detail_crops=crops,
        landmarks=landmarks,
        frame_indices=frames,
        mouth_open=mouth_open(landmarks),
    )


def _model(clip: TrainClip) -> LipIdentity:
    """A network that reads its neighbours' mouths: all layers are drawn."""
    torch.manual_seed(3)
    model = LipIdentity(SIZES).eval()
    prepare_model(model, [clip])
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.1 * torch.randn_like(value))
    return model


def _no_detector() -> Any:
    raise AssertionError("no face is looked for")


def _in_one_go(model: LipIdentity, clip: TrainClip, references: References) -> U8:
    """Every frame of the clip, in one window."""
    every, spec = np.arange(NUM_FRAMES), model.spec
    view = clip_window(model, clip, every, every)
    with torch.inference_mode():
        state = model.prepare(person_subject(spec, references, clip.neutral, "cpu"))
        if clip.has_audio:
            motion = model.predict_motion(view, state)
        else:
            motion = LipIdentityAdapter().true_motion(model, clip, every)
        return to_images(model.render(view, motion, state).rgb)


@pytest.mark.parametrize("with_sound", [True, False])
def test_a_model_over_time_sees_the_frames_around_each_that_is_scored(with_sound: bool) -> None:
    clip = _clip(with_sound=with_sound)
    model, references = _model(clip), _references(clip)
    held = replace(clip, frames=np.array([0, 7, 8, 9, 20, 31, 39]))
    shown = Validation([held], references, LipIdentityAdapter(), _no_detector).pictures(model)
    whole = _in_one_go(model, clip, references)
    # Six of them are shown.
    chosen = held.frames[np.linspace(0, 6, 6).round().astype(int)]
    for index, picture in zip(chosen, shown, strict=True):
        assert np.abs(picture.astype(int) - whole[index]).max() <= 1


def test_context_ends_with_the_shot_and_leaves_out_what_cannot_be_used() -> None:
    clip = _clip()
    shot = np.repeat([0, 1], NUM_FRAMES // 2)
    valid = np.ones(NUM_FRAMES, bool)
    valid[23] = False
    clip = replace(clip, clip=replace(clip.clip, shot=shot, valid=valid))
    assert frames_around(clip, np.array([21, 22]), 2).tolist() == [20, 21, 22, 24]
    assert frames_around(clip, np.array([19]), 2).tolist() == [17, 18, 19]
    assert frames_around(clip, np.array([0, 39]), 0).tolist() == [0, 39]


def test_frames_without_context_are_asked_for_together() -> None:
    spec, frames = _model(_clip()).spec, np.array([1, 2, 3, 8, 20])
    still = replace(spec, context=0, window=4)
    assert [part.tolist() for part in windows_of(still, frames)] == [[1, 2, 3, 8], [20]]
    moving = replace(spec, window=2)
    assert [part.tolist() for part in windows_of(moving, frames)] == [[1, 2], [3], [8], [20]]
