"""Audio-visual sync expert: do these lips and this sound belong to the same moment?

After SyncNet (Chung and Zisserman 2016, doi:10.1007/978-3-319-54427-4_19): a short window of the
mouth and the sound around its centre become two vectors that agree where both are in step. Unlike
there, the mouth is landmarks without the head's pose, because few people are enough to learn from
those; the window is three times as long; and the vectors are taught by contrast (InfoNCE,
arXiv:1807.03748) against other moments and other people.

The mouth is sampled at 25 Hz whatever the video's frame rate, so an offset is a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dubcli.core.types import FEATURE_SIZES
from dubcli.models.common.mouth_map import JAW

# Mouth samples a second.
SYNC_RATE_HZ = 25
# Lips and jaw of the speaking points; the skin between them follows.
NUM_USED = JAW.stop
_FIRST_SCALE = 10.0
# What the convolutions before the last one reach over.
_LEAST_WINDOW, _LEAST_WIDTH = 9, 29


@dataclass(frozen=True, kw_only=True)
class SyncConfig:
    """Sizes and inputs.

    Attributes:
        window: Mouth samples that a moment is judged by: odd, 9 or more.
        audio_kind: A key of `core.types.FEATURE_SIZES`.
        audio_width: Audio steps that a moment is judged by: 29 and a multiple of 4.
        num_components: Principal components of the mouth's shape that are looked at.
        channels: Width of the encoders.
        embedding: Size of the vectors.
        dropout: While training.
    """

    window: int = 15
    audio_kind: str = "speech"
    audio_width: int = 61
    num_components: int = 16
    channels: int = 96
    embedding: int = 64
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.window % 2 == 0 or self.window < _LEAST_WINDOW:
            raise ValueError(f"window {self.window} is not odd and at least {_LEAST_WINDOW}")
        if self.audio_width < _LEAST_WIDTH or (self.audio_width - _LEAST_WIDTH) % 4:
            raise ValueError(f"audio_width {self.audio_width} is not {_LEAST_WIDTH} + 4 n")

    @property
    def audio_dim(self) -> int:
        """Values of one audio step."""
        return FEATURE_SIZES[self.audio_kind]


class _Temporal(nn.Module):
    """Unpadded convolution over time whose norm sees one step: windows and sequences agree."""

    def __init__(self, inside: int, config: SyncConfig, kernel: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inside, config.channels, kernel, dilation=dilation)
        self.norm = nn.LayerNorm(config.channels)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inside, L) to (N, C, L - dilation * (kernel - 1))."""
        x = self.norm(self.conv(x).transpose(1, 2))
        return self.dropout(functional.silu(x)).transpose(1, 2)


class MouthEncoder(nn.Module):
    """Departures of lips and jaw from rest, and their velocities, to vectors."""

    components: Tensor

    def __init__(self, config: SyncConfig) -> None:
        super().__init__()
        # Fitted to training data: mouth offsets times these have about unit variance.
        self.register_buffer("components", torch.zeros(config.num_components, NUM_USED, 3))
        self.layers = nn.Sequential(
            _Temporal(2 * config.num_components, config, kernel=3, dilation=1),
            _Temporal(config.channels, config, kernel=3, dilation=2),
        )
        self.out = nn.Conv1d(config.channels, config.embedding, config.window - _LEAST_WINDOW + 1)

    def forward(self, points: Tensor) -> Tensor:
        """(N, L, S, 3) to (N, E, L - V + 1)."""
        shape = torch.einsum("nlsc,psc->npl", points[:, :, :NUM_USED], self.components)
        velocity = shape[..., 2:] - shape[..., :-2]
        return self.out(self.layers(torch.cat([shape[..., 1:-1], velocity], 1)))


class SoundEncoder(nn.Module):
    """Audio steps to vectors."""

    mean: Tensor
    spread: Tensor

    def __init__(self, config: SyncConfig) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(config.audio_dim))
        self.register_buffer("spread", torch.ones(config.audio_dim))
        self.dropout = nn.Dropout(config.dropout)
        self.first = nn.Linear(config.audio_dim, config.channels)
        self.layers = nn.Sequential(
            *(_Temporal(config.channels, config, kernel=5, dilation=d) for d in (1, 2, 4))
        )
        taps = (config.audio_width - _LEAST_WIDTH) // 4 + 1
        self.out = nn.Conv1d(config.channels, config.embedding, taps, dilation=4)

    def forward(self, audio: Tensor) -> Tensor:
        """(N, L, D) to (N, E, L - A + 1)."""
        x = self.first(self.dropout((audio - self.mean) / self.spread))
        return self.out(self.layers(x.transpose(1, 2)))


class SyncExpert(nn.Module):
    """Two encoders into one space, where the cosine tells how well lips and sound agree.

    Both are convolutions without padding: a sequence gives one vector for each window in it.
    """

    def __init__(self, config: SyncConfig) -> None:
        super().__init__()
        self.config = config
        self.mouth = MouthEncoder(config)
        self.sound = SoundEncoder(config)
        # Logarithms of what cosines are multiplied by in training, for a moment and for a run.
        self.scale = nn.Parameter(torch.tensor(_FIRST_SCALE).log())
        self.run_scale = nn.Parameter(torch.tensor(_FIRST_SCALE).log())

    def see(self, points: Tensor) -> Tensor:
        """Unit vectors of mouths, V = `config.window` samples at 25 Hz each.

        Args:
            points: Departures of the speaking points from neutral, canonical units.
                Shape (N, L, S, 3), L >= V.

        Returns:
            Shape (N, L - V + 1, E).
        """
        return functional.normalize(self.mouth(points).transpose(1, 2), dim=-1)

    def listen(self, audio: Tensor) -> Tensor:
        """Unit vectors of sounds, A = `config.audio_width` steps each.

        Args:
            audio: Audio steps. Shape (N, L, D), L >= A.

        Returns:
            Shape (N, L - A + 1, E).
        """
        return functional.normalize(self.sound(audio).transpose(1, 2), dim=-1)

    def forward(self, points: Tensor, audio: Tensor) -> Tensor:
        """Cosine of single windows (N, V, S, 3) and (N, A, D), in [-1, 1]. Shape (N,)."""
        return (self.see(points)[:, 0] * self.listen(audio)[:, 0]).sum(-1)
