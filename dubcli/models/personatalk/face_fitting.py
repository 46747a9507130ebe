"""Equations 1 and 2: identity, expression and pose of a face over a video, fitted to landmarks.

The paper fits a 3-D morphable model, which is not free. Here the face is linear in the speaking
points of MediaPipe's mesh: the mean face, a principal basis of people's rests for identity, one of
departures from rest for expression. The paper names neither weights nor iterations.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# lambda of eq. 1. The paper's 0.2 is in the units of its own face model; chosen on made faces.
_SMOOTHNESS = 1.5
# Weights of eq. 1 and of eq. 2 beside the distance to the landmarks, hundredths of the inter-ocular
# distance.
_TEMPORAL, _PRIOR = 0.3, 0.02
_UNIT = 100.0
_STEPS, _RATE = 300, 0.03
# Of a rotation in radians, a shift in inter-ocular distances and a logarithm of scale, in pose
# variables of about unit size: what detection leaves of the pose is some hundredths.
_POSE_SIZE = 0.02
_NUM_POSE = 6


@dataclass(frozen=True, kw_only=True)
class LinearFace:
    """A face as a sum; alpha and beta have about unit variance.

    Attributes:
        mean: Shape (S, 3), canonical units.
        identity: Of people's rests. Shape (I, S, 3).
        expression: Of departures from rest. Shape (P, S, 3).
    """

    mean: Tensor
    identity: Tensor
    expression: Tensor

    def rest(self, alpha: Tensor) -> Tensor:
        """Rest shapes (..., S, 3) of alpha (..., I)."""
        return self.mean + torch.einsum("...i,isc->...sc", alpha, self.identity)

    def departures(self, beta: Tensor) -> Tensor:
        """Departures from rest (..., S, 3) of beta (..., P)."""
        return torch.einsum("...p,psc->...sc", beta, self.expression)

    def alpha_of(self, rest: Tensor) -> Tensor:
        """Identity (I,) of a rest shape (S, 3), by least squares towards the mean face."""
        return _ridge(self.identity, rest - self.mean)

    def beta_of(self, departures: Tensor) -> Tensor:
        """Expression (T, P) of departures (T, S, 3), by least squares towards rest."""
        return _ridge(self.expression, departures)


@dataclass(frozen=True, kw_only=True)
class FittedFace:
    """A face over T frames.

    Attributes:
        alpha: Identity, one for the video. Shape (I,).
        beta: Expression. Shape (T, P).
        pose: What the landmarks' pose lacks: rotation vector in radians, shift in x and y in
            canonical units, logarithm of the scale. Shape (T, 6).
    """

    alpha: Tensor
    beta: Tensor
    pose: Tensor


def fit_face(
    points: Tensor, rest: Tensor, face: LinearFace, runs: Tensor | None = None
) -> FittedFace:
    """Fit a video's landmarks by gradient steps on eq. 1, eq. 2 and the distance to them.

    Args:
        points: Detected speaking points whose detected pose was taken out, canonical units; x and
            y are fitted. Shape (T, S, 3).
        rest: The person's detected rest. Shape (S, 3).
        face: The basis.
        runs: Number of the run of consecutive frames that each frame belongs to; one for all where
            None. Neighbours of one run alone are compared. Shape (T,).
    """
    points, rest = points.detach().float(), rest.detach().float()
    same = torch.ones(len(points) - 1, dtype=torch.bool) if runs is None else runs.diff() == 0
    same = same.to(points.device)
    sizes = _UNIT * face.expression.square().sum(-1).mean(-1).sqrt()
    first_alpha, first_beta = face.alpha_of(rest), face.beta_of(points - rest)
    with torch.enable_grad():
        alpha, beta = first_alpha.clone().requires_grad_(), first_beta.clone().requires_grad_()
        pose = points.new_zeros(len(points), _NUM_POSE).requires_grad_()
        optimizer = torch.optim.Adam([alpha, beta, pose], lr=_RATE)
        course = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
        for _ in range(_STEPS):
            shape = face.rest(alpha) + face.departures(beta)
            shown = _UNIT * _placed(shape, _POSE_SIZE * pose)
            cost = _norm(shown - _UNIT * points[..., :2]).mean()
            cost = cost + _TEMPORAL * _tempo(
                shown, _UNIT * points[..., :2], sizes * beta, pose, same
            )
            cost = cost + _PRIOR * _prior(alpha - first_alpha, beta - first_beta, pose)
            optimizer.zero_grad()
            cost.backward()
            optimizer.step()
            course.step()
    return FittedFace(alpha=alpha.detach(), beta=beta.detach(), pose=_POSE_SIZE * pose.detach())


def people_basis(rests: Tensor, weights: Tensor, num: int) -> Tensor:
    """Principal components of people's rests, scaled to unit variance of alpha.

    Args:
        rests: Minus their mean. Shape (N, S, 3).
        weights: Of each, sum 1. Shape (N,).
        num: How many; where there are fewer people the last ones are zero.

    Returns:
        Shape (num, S, 3).
    """
    flat = rests.flatten(1).double() * weights.double().sqrt()[:, None]
    _, spread, axes = torch.linalg.svd(flat, full_matrices=False)
    basis = rests.new_zeros(num, flat.shape[1])
    kept = min(num, len(spread))
    basis[:kept] = (spread[:kept, None] * axes[:kept]).to(basis)
    return basis.unflatten(1, rests.shape[1:])


def _ridge(basis: Tensor, shapes: Tensor) -> Tensor:
    """Coefficients of shapes (..., S, 3) on a basis (N, S, 3); a small prior keeps them bounded."""
    rows = _UNIT * basis.flatten(1)
    gram = rows @ rows.T + torch.eye(len(rows)).to(rows)
    wanted = _UNIT * shapes.flatten(-2) @ rows.T
    return torch.linalg.solve(gram, wanted[..., None])[..., 0]


def _placed(shape: Tensor, pose: Tensor) -> Tensor:
    """Shapes (T, S, 3) in a pose (T, 6), seen from the front. Shape (T, S, 2)."""
    x, y, z = pose[:, :3].unbind(1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).unflatten(1, (3, 3))
    turned = torch.einsum("tij,tsj->tsi", torch.linalg.matrix_exp(skew), shape)[..., :2]
    return pose[:, 5].exp()[:, None, None] * turned + pose[:, None, 3:5]


def _tempo(shown: Tensor, seen: Tensor, beta: Tensor, pose: Tensor, same: Tensor) -> Tensor:
    """Eq. 1, as a mean: points move as landmarks do, pose and expression little.

    Expression and pose are in hundredths of the inter-ocular distance that they move a point.
    """
    follows = _norm(shown.diff(dim=0) - seen.diff(dim=0)).mean(1)
    moves = _UNIT * _POSE_SIZE * pose.diff(dim=0).norm(dim=1) + beta.diff(dim=0).norm(dim=1)
    each = (follows + _SMOOTHNESS * moves) * same
    return each.sum() / same.sum().clamp_min(1)


def _prior(alpha: Tensor, beta: Tensor, pose: Tensor) -> Tensor:
    """Eq. 2, as a mean: not far from where it began; identity is one for the video already."""
    return _norm(alpha) + (_norm(beta) + _norm(pose)).mean()


def _norm(x: Tensor) -> Tensor:
    """Length of the last dimension; its gradient at 0 is 0."""
    return (x.square().sum(-1) + 1e-8).sqrt()
