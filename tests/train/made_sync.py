"""A mouth and a sound that plainly belong together, and an expert made by hand that knows how."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import torch
from made_clips import speaking_face
from torch import Tensor, nn

from dubcli.core.types import F64, AudioFeatures
from dubcli.face.landmarks import SPEAKING
from dubcli.models.common.mouth_map import INNER_BOTTOM, INNER_TOP
from dubcli.sync.network import SyncConfig
from dubcli.sync.scorer import MouthClip

CONFIG = SyncConfig(
    window=9, audio_kind="mel", audio_width=29, num_components=4, channels=16, embedding=16
)
STEPS_HZ = 80
OPENING = 0.2


def loudness(times: F64) -> F64:
    """How loud it is at some times, in [0, 1]: it never repeats within minutes."""
    waves = sum(np.sin(2 * np.pi * f * times + p) for f, p in ((2.3, 0), (1.37, 1), (0.61, 2)))
    return (np.asarray(waves) + 3) / 6


# A mouth's rest is the mean of its most closed fifth, so it opens this much less than it is loud.
_QUIET = float(np.sort(loudness(np.arange(3000) / 25))[:600].mean())


def made_sound(seconds: float) -> AudioFeatures:
    """All mel bands are as loud as `loudness` says."""
    heard = loudness(np.arange(round(seconds * STEPS_HZ)) / STEPS_HZ)
    return AudioFeatures(
        values=np.repeat(heard[:, None], 80, 1).astype(np.float32),
        rate_hz=Fraction(STEPS_HZ),
        kind="mel",
        start_s=Fraction(0),
        fill=np.zeros(80, np.float32),
    )


def made_mouth(times: F64, late_s: float = 0.0, **changes: Any) -> MouthClip:
    """A mouth as open as the sound is loud, `late_s` later."""
    face = np.stack([speaking_face(OPENING * x) for x in loudness(times - late_s)])
    return MouthClip(points=face[:, SPEAKING], times=times, **changes)


class HandMadeExpert(nn.Module):
    """Its vectors are angles: how open the mouth is, how loud the sound."""

    def __init__(self) -> None:
        super().__init__()
        self.config = CONFIG
        self.scale = nn.Parameter(torch.zeros(()))

    def see(self, points: Tensor) -> Tensor:
        half = CONFIG.window // 2
        gap = points[:, half : points.shape[1] - half, INNER_BOTTOM, 1]
        gap = gap - points[:, half : points.shape[1] - half, INNER_TOP, 1]
        return _angle(gap / OPENING)

    def listen(self, audio: Tensor) -> Tensor:
        half = CONFIG.audio_width // 2
        heard = audio[:, half : audio.shape[1] - half].mean(-1)
        return _angle(heard - _QUIET)


def _angle(share: Tensor) -> Tensor:
    return torch.stack([torch.cos(5 * share), torch.sin(5 * share)], -1)
