"""What dubbing adds around the paper's network: own skin, steady lips, no reference tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from dubcli.face.landmarks import SPEAKING
from dubcli.face.pose import mean_face
from dubcli.models.api import FaceGeometry, ModelWindow, Patches
from dubcli.models.conversion import whole_window
from dubcli.models.iptalker.network import NAMED_CONFIGS, IPTalker

FRAMES = 2


def _model(**changes: object) -> IPTalker:
    torch.manual_seed(0)
    return IPTalker(replace(NAMED_CONFIGS["tiny"], **changes)).eval()  # pyright: ignore[reportArgumentType]


def _window(model: IPTalker) -> ModelWindow:
    """Frontal faces at rest, whose landmarks are exactly where an untrained model wants them."""
    config = model.config
    face = torch.from_numpy(mean_face().copy())
    geometry = FaceGeometry(
        scale=torch.full((FRAMES,), config.unit_px),
        rotation=torch.eye(3).repeat(FRAMES, 1, 1),
        translation=torch.tensor([config.width / 2, config.height / 4, 0]).repeat(FRAMES, 1),
        neutral=face[SPEAKING],
    )
    landmarks = geometry.place(face.repeat(FRAMES, 1, 1))
    generator = torch.Generator().manual_seed(1)
    return whole_window(
        crops=torch.rand(FRAMES, 3, config.height, config.width, generator=generator),
        audio=torch.rand(FRAMES, model.spec.audio.width, 80, generator=generator),
        landmarks=landmarks,
        geometry=geometry,
    )


def _references(model: IPTalker) -> tuple[Tensor, Tensor]:
    num, config = model.config.num_references, model.config
    window = _window(model)
    return torch.rand(num, 3, config.height, config.width), window.landmarks[:1, SPEAKING].repeat(
        num, 1, 1
    )


def _generate(model: IPTalker, window: ModelWindow, pictures: Tensor, points: Tensor) -> Patches:
    state = model.encode_references(pictures, points)
    return model.render(window, model.predict_motion(window, state), state)


@torch.no_grad()
def test_skin_away_from_an_unmoved_mouth_is_the_frames_own() -> None:
    model = _model()
    window = _window(model)
    patches = _generate(model, window, *_references(model))
    jaw = window.landmarks[0, SPEAKING][40:61]
    below = int(jaw[:, 1].max()) + 2
    made, shown = patches.rgb[:, :, below:], window.shown()[:, :, below:]
    assert made.shape[2] > 4
    torch.testing.assert_close(made, shown, atol=1e-3, rtol=0)


@torch.no_grad()
def test_the_mouth_itself_is_not_the_frames_own() -> None:
    model = _model()
    window = _window(model)
    patches = _generate(model, window, *_references(model))
    x, y = np.rint(window.landmarks[0, SPEAKING][20:40].mean(0).numpy()).astype(int)
    mouth = (slice(None), slice(None), slice(y - 2, y + 3), slice(x - 4, x + 5))
    assert float((patches.rgb[mouth] - window.shown()[mouth]).abs().mean()) > 0.05


@torch.no_grad()
def test_lips_do_not_jump_with_the_phase_of_the_audio_window() -> None:
    """A step of sound moves the averaged coefficients less than it moves single ones."""
    model = _model()
    generator = torch.Generator().manual_seed(2)
    sound = torch.rand(1, model.spec.audio.width + 1, 80, generator=generator)
    tokens = torch.zeros(model.config.num_references, model.config.embedding)
    steady = [model.coefficients(sound[:, i : i + model.spec.audio.width], tokens) for i in (0, 1)]
    width = model.config.audio_width
    centre = (model.spec.audio.width - width) // 2
    single = [
        model.alignment.to_coefficients(
            model.alignment(sound[:, centre + i : centre + i + width], tokens)
        )
        for i in (0, 1)
    ]
    assert float((steady[1] - steady[0]).norm()) < float((single[1] - single[0]).norm())


@torch.no_grad()
def test_without_reference_tokens_the_lips_follow_the_sound_alone() -> None:
    model = _model(alignment="audio")
    window = _window(model)
    pictures, points = _references(model)
    model.alignment.basis.normal_(generator=torch.Generator().manual_seed(3)).mul_(0.01)
    wanted = [_generate(model, window, other, points).points for other in (pictures, 1 - pictures)]
    assert wanted[0] is not None
    assert wanted[1] is not None
    assert torch.equal(wanted[0], wanted[1])


@torch.no_grad()
def test_fine_detail_of_mixed_references_has_the_energy_of_one() -> None:
    """Unrelated detail of N pictures loses energy when averaged; shares make up for it."""
    model = _model()
    patches = _generate(model, _window(model), *_references(model))
    detail = patches.detail
    assert detail is not None
    energy = detail.weights.square().sum(1).sqrt()
    generated = 1 - detail.source_weight
    assert bool((detail.weights.sum(1) >= energy - 1e-5).all())
    torch.testing.assert_close(energy, generated, atol=1e-4, rtol=0)
