"""Equations 1 and 2 of PersonaTalk on made faces: what is recovered, what is smoothed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dubcli.core.errors import ConfigError
from dubcli.models.personatalk.config import NAMED_CONFIGS
from dubcli.models.personatalk.face_fitting import FittedFace, LinearFace, fit_face, people_basis
from dubcli.models.personatalk.network import PersonaTalk

NUM_POINTS, NUM_FRAMES = 30, 60
ALPHA = torch.tensor([1.0, -0.8, 0.5])
JITTER = 0.01


@pytest.fixture(scope="module")
def face() -> LinearFace:
    """Shapes of some hundredths of the distance between the eyes, none like another."""
    generator = torch.Generator().manual_seed(0)
    axes, _ = torch.linalg.qr(torch.randn(3 * NUM_POINTS, 7, generator=generator))
    basis = axes.T.unflatten(1, (NUM_POINTS, 3))
    mean = 0.3 * torch.randn(NUM_POINTS, 3, generator=generator)
    return LinearFace(mean=mean, identity=0.3 * basis[:3], expression=0.3 * basis[3:])


@pytest.fixture(scope="module")
def beta() -> Tensor:
    """A mouth that opens and closes smoothly."""
    time = torch.linspace(0, 4, NUM_FRAMES)[:, None]
    return torch.sin(time * torch.tensor([1.0, 1.7, 2.3, 3.1]))


def _shown(face: LinearFace, beta: Tensor) -> Tensor:
    return face.rest(ALPHA) + face.departures(beta)


def _jitter() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return JITTER * torch.randn(NUM_FRAMES, NUM_POINTS, 3, generator=generator)


def _made(face: LinearFace, found: FittedFace) -> Tensor:
    return face.rest(found.alpha) + face.departures(found.beta)


def test_identity_and_expression_are_recovered(face: LinearFace, beta: Tensor) -> None:
    off = 0.02 * torch.ones_like(face.mean)
    found = fit_face(_shown(face, beta), face.rest(ALPHA) + off, face)
    assert torch.allclose(found.alpha, ALPHA, atol=0.15)
    assert torch.allclose(found.beta, beta, atol=0.15)
    assert found.pose.abs().max() < 0.03


def test_a_shift_of_all_points_is_pose_and_no_expression(face: LinearFace, beta: Tensor) -> None:
    shift = torch.tensor([0.03, -0.02, 0.0])
    found = fit_face(_shown(face, beta) + shift, face.rest(ALPHA), face)
    assert torch.allclose(found.pose[:, 3:5].mean(0), shift[:2], atol=0.012)
    assert torch.allclose(found.beta, beta, atol=0.2)


def test_jitter_of_landmarks_is_smoothed(face: LinearFace, beta: Tensor) -> None:
    true, noise = _shown(face, beta), _jitter()
    found = _made(face, fit_face(true + noise, face.rest(ALPHA), face))
    alone = face.rest(ALPHA) + face.departures(face.beta_of(true + noise - face.rest(ALPHA)))

    def roughness(points: Tensor) -> float:
        return float((points - true).diff(dim=0).square().mean())

    assert roughness(found) < 0.6 * roughness(alone)
    assert roughness(alone) < roughness(true + noise)


def test_frames_on_two_sides_of_a_cut_are_not_compared(face: LinearFace, beta: Tensor) -> None:
    jump = beta.clone()
    jump[NUM_FRAMES // 2 :] += 2
    points, runs = _shown(face, jump), torch.arange(NUM_FRAMES) // (NUM_FRAMES // 2)
    cut = fit_face(points, face.rest(ALPHA), face, runs).beta
    assert torch.allclose(cut, jump, atol=0.2)


def test_the_basis_of_people_spans_their_rests(face: LinearFace) -> None:
    alphas = torch.randn(40, 3, generator=torch.Generator().manual_seed(2))
    rests = torch.einsum("ni,isc->nsc", alphas, face.identity)
    weights = torch.full((40,), 1 / 40)
    basis = people_basis(rests, weights, 5)
    assert basis[3:].abs().max() < 1e-3
    flat = basis[:3].flatten(1)
    told = rests.flatten(1) @ torch.linalg.pinv(flat) @ flat
    assert torch.allclose(told, rests.flatten(1), atol=1e-4)
    spread = (rests.flatten(1) @ torch.linalg.pinv(flat)).square().mean(0)
    assert torch.allclose(spread, torch.ones(3), atol=0.01)


def _fitted_model(face: LinearFace) -> PersonaTalk:
    """The network with this face."""
    config = replace(NAMED_CONFIGS["tiny"], geometry="fitted", num_shapes=3, num_coefficients=4)
    model = PersonaTalk(config).eval()
    model.mean_face.copy_(_wide(face.mean))
    model.basis.copy_(_wide(face.expression))
    model.geometry.identity_basis.copy_(_wide(face.identity))
    return model


def _wide(shapes: Tensor) -> Tensor:
    """Shapes of 30 points as those of all speaking points, the rest in the middle."""
    return torch.nn.functional.pad(shapes, (0, 0, 0, 102 - NUM_POINTS))


def test_in_use_rest_and_departures_are_those_of_the_fitted_face(
    face: LinearFace, beta: Tensor
) -> None:
    model = _fitted_model(face)
    rest, noise = _wide(face.rest(ALPHA)), 0.01 * torch.randn(102, 3)
    assert not torch.equal(model.rest_of(rest + noise), rest + noise)
    assert (model.rest_of(rest + noise) - rest).square().mean() < 0.2 * noise.square().mean()
    points = rest + torch.einsum("tp,psc->tsc", beta, model.basis)
    found = model.departures_of(points, rest)
    assert torch.allclose(found, points - rest, atol=0.03)


def test_detected_geometry_is_what_is_detected() -> None:
    model = PersonaTalk(NAMED_CONFIGS["tiny"])
    rest, points = torch.randn(102, 3), torch.randn(5, 102, 3)
    assert torch.equal(model.rest_of(rest), rest)
    assert torch.equal(model.departures_of(points, rest), points - rest)
    assert "geometry.identity_basis" not in model.state_dict()


def test_a_word_that_is_no_geometry_is_refused() -> None:
    wrong: dict[str, Any] = {"geometry": "guessed"}
    with pytest.raises(ConfigError, match="geometry = 'guessed' is unknown"):
        replace(NAMED_CONFIGS["tiny"], **wrong)
