"""How far a clip's picture lags its sound, by a half-trained motion part.

For sets that were prepared without a sync expert: the mouth opening that the sound asks for,
shifted against the true one, fits best at the clip's lag.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from dubcli.core.types import F32
from dubcli.models.common.mouth_map import INNER_BOTTOM, INNER_TOP
from dubcli.models.iptalker.network import IPTalker
from dubcli.training.data.train_clips import TrainClip, audio_windows
from dubcli.training.device_utils import device_of, evaluating

MAX_LAG_FRAMES = 8
_MIN_GAIN = 0.05
_MIN_R = 0.2
_TRUSTED_R = 0.1
_BATCH = 256


@torch.no_grad()
def predicted_opening(model: IPTalker, clip: TrainClip, tokens: Tensor | None = None) -> F32:
    """Mouth opening over inter-ocular distance that the clip's sound asks for. Shape (U,).

    Args:
        model: Anything with an alignment module.
        clip: A clip with sound.
        tokens: E_v's embeddings of references, shape (N, D); none where None.
    """
    alignment, config, device = model.alignment, model.config, device_of(model)
    if tokens is None:
        tokens = torch.zeros(config.num_references, config.token_size, device=device)
    neutral = torch.from_numpy(clip.neutral).to(device)
    parts = []
    with evaluating(model):
        for start in range(0, len(clip.frames), _BATCH):
            frames = clip.frames[start : start + _BATCH]
            windows = audio_windows(clip, frames, config.audio_width, kind=config.heard_kind)
            v_alg = alignment(torch.from_numpy(windows).to(device), tokens)
            points = alignment.speaking_points(alignment.to_coefficients(v_alg), neutral)
            gap = points[:, INNER_BOTTOM] - points[:, INNER_TOP]
            parts.append(gap.norm(dim=-1).cpu().numpy())
    return np.concatenate(parts)


def lag_of(predicted: F32, true: F32) -> tuple[int, float, float]:
    """How far two series of mouth openings are apart.

    Args:
        predicted: What the sound asks for. Shape (U,).
        true: What the picture shows. Shape (U,), longer than twice `MAX_LAG_FRAMES`.

    Returns:
        Frames by which the picture comes later (negative: earlier), Pearson r at that lag, and r
        at lag 0.
    """
    scores = {}
    for lag in range(-MAX_LAG_FRAMES, MAX_LAG_FRAMES + 1):
        a = predicted[max(0, -lag) : len(predicted) - max(0, lag)]
        b = true[max(0, lag) : len(true) - max(0, -lag)]
        scores[lag] = _pearson(a, b)
    best = max(scores, key=lambda lag: scores[lag])
    return best, scores[best], scores[0]


def correct_offsets(model: IPTalker, clips: list[TrainClip]) -> list[TrainClip]:
    """Clips with sound, their lag corrected; those that no lag explains are left out.

    A lag that explains hardly more than none is no lag: the clip stays as it is. So does one whose
    offset was measured when the set was prepared.
    """
    kept = []
    for clip in clips:
        if not clip.has_audio:
            continue
        if clip.is_in_step:
            kept.append(clip)
            continue
        lag, peak, now = lag_of(predicted_opening(model, clip), clip.opening[clip.frames])
        if peak < _TRUSTED_R:
            continue
        if peak - now >= _MIN_GAIN and peak >= _MIN_R and abs(lag) < MAX_LAG_FRAMES:
            steps = round(lag * _steps_per_frame(clip))
            clip = replace(clip, offset_steps=clip.offset_steps + steps)
        kept.append(clip)
    return kept


def _steps_per_frame(clip: TrainClip) -> float:
    """Mean mel steps from a usable frame to the next, over neighbours only."""
    between = np.diff(clip.clip.steps[clip.frames])[np.diff(clip.frames) == 1]
    return float(between.mean()) if len(between) else 0.0


def _pearson(a: F32, b: F32) -> float:
    # Double precision: what is left of a still mouth must not count as movement.
    a, b = (x.astype(np.float64) - x.mean(dtype=np.float64) for x in (a, b))
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / scale if scale > 1e-9 else 0.0
