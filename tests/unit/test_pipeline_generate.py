"""Too little memory: fewer frames at once, the same pictures; an error where one is too many."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch

from dubcli.core.errors import DeviceError
from dubcli.models.api import FaceGeometry, LipSyncModel, ModelWindow, Motion, Patches
from dubcli.models.conversion import whole_window
from dubcli.models.passthrough.network import Passthrough
from dubcli.pipeline import generator
from dubcli.pipeline.generator import Generator
from dubcli.pipeline.model_pair import ModelPair, one_model

FRAMES = 16


class _Small:
    """A model on a device that holds only so many frames."""

    spec = Passthrough().spec

    def __init__(self, most: int, error: type[Exception], text: str = "") -> None:
        self.most, self.error, self.text = most, error, text
        self.sizes: list[int] = []

    def predict_motion(self, window: ModelWindow, state: Any) -> Motion | None:
        return None

    def render(self, window: ModelWindow, motion: Motion | None, state: Any) -> Patches:
        self.sizes.append(len(window))
        if len(window) > self.most:
            raise self.error(self.text)
        return Patches(rgb=window.shown() + window.audio.mean((1, 2))[:, None, None, None])


class _OverTime(_Small):
    """The same, whose frames are the sums of three."""

    spec = replace(_Small.spec, context=1)

    def render(self, window: ModelWindow, motion: Motion | None, state: Any) -> Patches:
        patches = super().render(window, motion, state)
        rows = torch.arange(len(window))[window.emit, None] + torch.arange(-1, 2)
        return Patches(rgb=patches.rgb[rows.clamp(0, len(window) - 1)].sum(1))


def _window() -> ModelWindow:
    count = torch.arange(FRAMES, dtype=torch.float32)
    return whole_window(
        crops=count[:, None, None, None].expand(FRAMES, 3, 4, 4).clone(),
        audio=count[:, None, None].expand(FRAMES, 2, 2).clone(),
        landmarks=torch.zeros(FRAMES, 5, 2),
        geometry=FaceGeometry(
            scale=torch.ones(FRAMES),
            rotation=torch.eye(3).expand(FRAMES, 3, 3),
            translation=torch.zeros(FRAMES, 3),
            neutral=torch.zeros(7, 3),
        ),
    )


@pytest.fixture(autouse=True)
def _in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """On any processor."""
    monkeypatch.setattr(generator, "has_fast_bfloat16", lambda _: False)


def _generator(model: _Small) -> Generator:
    return Generator(one_model(cast(LipSyncModel, model)), None, None, torch.device("cpu"))


class _Speaking(_Small):
    """Predicts a mouth with what it was made of, and remembers what it is given to paint."""

    def __init__(self) -> None:
        super().__init__(FRAMES, MemoryError)
        self.painted: list[Motion | None] = []

    def predict_motion(self, window: ModelWindow, state: Any) -> Motion | None:
        num = window.num_wanted
        return Motion(
            points=torch.zeros(num, 7, 3),
            confidence=torch.ones(num),
            source="one",
            latent=torch.ones(num, 2),
        )

    def render(self, window: ModelWindow, motion: Motion | None, state: Any) -> Patches:
        self.painted.append(motion)
        return super().render(window, motion, state)


def test_what_a_mouth_was_made_of_is_for_the_model_that_made_it_alone() -> None:
    """Two tags of one architecture have coefficients of different meaning."""
    one, other = _Speaking(), _Speaking()
    _generator(one)(_window(), _window())
    models = ModelPair(motion=cast(LipSyncModel, one), render=cast(LipSyncModel, other))
    Generator(models, None, None, torch.device("cpu"))(_window(), _window())
    for own, foreign in zip(one.painted, other.painted, strict=True):
        assert own is not None
        assert own.latent is not None
        assert foreign is not None
        assert foreign.latent is None
        assert foreign.points.equal(own.points)


def test_predicted_mouths_ease_to_rest() -> None:
    model = _Speaking()
    window = _window()
    rest = torch.full((7, 3), 2.0)
    window = replace(window, geometry=replace(window.geometry, neutral=rest))
    shares = np.zeros(FRAMES, np.float32)
    shares[1], shares[2] = 0.5, 1
    generator = Generator(
        one_model(cast(LipSyncModel, model)), None, None, torch.device("cpu"), rest=shares
    )
    generator(window, window)
    painted = [mouth for mouth in model.painted if mouth is not None]
    points = torch.cat([mouth.points for mouth in painted])
    assert points[:, 0, 0].tolist() == [0, 1, 2, *[0] * (FRAMES - 3)]
    assert painted[0].latent is None


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (torch.OutOfMemoryError, "CUDA out of memory."),
        (MemoryError, ""),
        (RuntimeError, "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        (RuntimeError, "MPS backend out of memory"),
    ],
)
def test_the_batch_is_halved_until_it_fits_and_stays_so(
    error: type[Exception], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = _Small(5, error, text)
    halving = _generator(model)
    with caplog.at_level(logging.WARNING):
        patches = halving(_window(), _window())
    assert torch.equal(patches.rgb[:, 0, 0, 0], 2 * torch.arange(FRAMES))
    assert model.sizes == [8, 4, 4, 4, 4]
    assert [record.getMessage() for record in caplog.records][-1].endswith("going on with 4.")
    halving(_window(), _window())
    assert model.sizes[5:] == [4, 4, 4, 4]


def test_a_model_over_time_keeps_its_context_in_halves() -> None:
    whole = _generator(_OverTime(FRAMES, MemoryError))(_window(), _window())
    halved = _OverTime(6, MemoryError)
    assert torch.equal(_generator(halved)(_window(), _window()).rgb, whole.rgb)
    assert halved.sizes == [16, 9, 5, 6, 6, 5]


def test_twice_as_many_frames_fit_a_processors_caches_in_bfloat16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(generator, "has_fast_bfloat16", lambda _: True)
    model = _Small(FRAMES, MemoryError)
    _generator(model)(_window(), _window())
    assert model.sizes == [16]


def test_one_frame_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(DeviceError, match="cpu has too little memory"):
        _generator(_Small(0, torch.OutOfMemoryError))(_window(), _window())


def test_another_error_is_not_taken_for_it() -> None:
    model = _Small(0, RuntimeError, "shapes do not match")
    with pytest.raises(RuntimeError, match="shapes"):
        _generator(model)(_window(), _window())
    assert model.sizes == [8]
