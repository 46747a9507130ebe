"""Training clips whose rest and expression are fitted to their landmarks (eq. 1 and 2)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from dubcli.core.types import Int
from dubcli.face.landmarks import SPEAKING
from dubcli.models.personatalk.face_fitting import LinearFace, fit_face, people_basis
from dubcli.models.personatalk.network import PersonaTalk
from dubcli.training.data.train_clips import TrainClip, identity_weights


def fit_clips(model: PersonaTalk, clips: list[TrainClip]) -> list[TrainClip]:
    """Clips in fitted geometry; the identity basis is fitted first, unless the model has one.

    Args:
        model: With `geometry: fitted`, mean face and mouth basis fitted.
        clips: In detected geometry.
    """
    basis = model.geometry.identity_basis
    if not bool(basis.abs().sum() > 0):
        rests = torch.from_numpy(np.stack([clip.neutral for clip in clips])).float()
        weights = torch.from_numpy(identity_weights(clips))
        basis.copy_(people_basis(rests.to(basis) - model.mean_face, weights.to(basis), len(basis)))
    face = model.linear_face
    return [_fitted(clip, face) for clip in clips]


def _fitted(clip: TrainClip, face: LinearFace) -> TrainClip:
    """A clip with the fitted rest and departures; those of frames that are not usable are 0."""
    detected = clip.clip.canonical[clip.frames][:, SPEAKING]
    found = fit_face(
        torch.from_numpy(detected).to(face.mean),
        torch.from_numpy(clip.neutral).to(face.mean),
        face,
        torch.from_numpy(_runs(clip)),
    )
    departures = np.zeros(clip.mouth_offset.shape, np.float32)
    departures[clip.frames] = face.departures(found.beta).cpu().numpy()
    return replace(clip, neutral=face.rest(found.alpha).cpu().numpy(), mouth_offset=departures)


def _runs(clip: TrainClip) -> Int:
    """Number of the run of frames of one shot that follow each other, of each usable frame."""
    shots = clip.clip.shot[clip.frames]
    breaks = (np.diff(clip.frames) != 1) | (np.diff(shots) != 0)
    return np.concatenate([[0], np.cumsum(breaks)]).astype(np.int64)
