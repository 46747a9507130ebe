"""Section 3.1: the landmark generator, sound and reference landmarks to a mouth."""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional

from dubcli.models.common.encoders import DilatedAudioEncoder
from dubcli.models.common.moments import (
    moments_of_frames,
    shift_weights,
    sinusoidal_positions,
)
from dubcli.models.lip_identity.config import LipIdentityConfig

# Shifts of the sound over which coefficients are averaged, in spreads.
_SHIFTS = (-2, -1, 0, 1, 2)
_ROTATION = 9


class MelWindowEncoder(nn.Module):
    """The audio branch of IP_LAP: 2-D convolutions over one window of log-mel to one token.

    The window is kept as a picture of bands by steps; widths 32 to 512, strides in bands and in
    steps of 3 x 1, 3 x 3 and 3 x 2, as its code has them, each followed by a residual layer.

    Args:
        size: Bands.
        width: Steps of a window.
        token: Size of a token.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, size: int, width: int, token: int) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("spread", torch.ones(size))
        widths, strides = (32, 64, 128, 256), ((1, 1), (3, 1), (3, 3), (3, 2))
        self.layers, self.rests = nn.ModuleList(), nn.ModuleList()
        inside = 1
        for outside, stride in zip(widths, strides, strict=True):
            self.layers.append(_conv_norm(inside, outside, stride))
            self.rests.append(_conv_norm(outside, outside, (1, 1)))
            inside = outside
        self.out = nn.Linear(inside, token)

    def over_sequence(self, audio: Tensor) -> Tensor:
        """(B, L, D_audio) to (B, L - A + 1, D): a token for each window of A steps."""
        windows = ((audio - self.mean) / self.spread).unfold(1, self.width, 1)
        batch, num = windows.shape[:2]
        x = rearrange(windows, "b n d a -> (b n) 1 d a")
        for layer, rest in zip(self.layers, self.rests, strict=True):
            x = functional.relu(layer(x))
            x = functional.relu(x + rest(x))
        return rearrange(torch.tanh(self.out(x.mean((2, 3)))), "(b n) d -> b n d", b=batch, n=num)


def _conv_norm(inside: int, outside: int, stride: tuple[int, int]) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inside, outside, 3, stride, padding=1), nn.BatchNorm2d(outside))


class LandmarkGenerator(nn.Module):
    """Reference landmarks, sound and head pose as tokens of one transformer encoder.

    Tokens: N_l reference mouths ordered from closed to open, T moments of sound around the frame,
    the head's rotation. Outputs at the positions of the sound are mouths of those moments.
    """

    def __init__(self, config: LipIdentityConfig) -> None:
        super().__init__()
        size = config.token
        self.config = config
        self.audio_encoder = (
            DilatedAudioEncoder(config.audio_size, config.mouth_width, size, config.mouth_dropout)
            if config.mouth_encoder == "dilated"
            else MelWindowEncoder(config.audio_size, config.mouth_width, size)
        )
        if config.has_landmark_sets:
            self.set_code = _code(config.num_coefficients, size)
        self.pose_code = _code(_ROTATION, size)
        self.audio_norm = nn.LayerNorm(size)
        # Which modality a token is of: reference mouths, sound, pose.
        self.kinds = nn.Parameter(0.02 * torch.randn(3, size))
        layer = nn.TransformerEncoderLayer(
            size, config.num_heads, config.feed, config.token_dropout, "gelu",
            batch_first=True, norm_first=True,
        )  # fmt: skip
        self.encoder = nn.TransformerEncoder(
            layer, config.num_layers, nn.LayerNorm(size), enable_nested_tensor=False
        )
        self.to_coefficients = nn.Linear(size, config.num_coefficients)

    @property
    def margin(self) -> int:
        """Feature steps on either side of a frame's window that shifts look at."""
        return _SHIFTS[-1] * self.config.audio_smoothing

    @property
    def width(self) -> int:
        """Feature steps around a frame that `smoothed` takes."""
        reach = self.config.moment_steps[-1] + self.margin
        return self.config.mouth_width + 2 * reach

    def forward(self, heard: Tensor, rotation: Tensor, sets: Tensor) -> Tensor:
        """Mouths of all moments.

        Args:
            heard: What the audio encoder gives of the moments. Shape (B, T, D).
            rotation: Of the heads. Shape (B, 3, 3).
            sets: Coefficients of reference mouths from closed to open, (N, P) or (B, N, P).

        Returns:
            Mouth coefficients. Shape (B, T, P).
        """
        batch, moments, size = heard.shape
        sound = self.audio_norm(heard) + sinusoidal_positions(moments, size, heard) + self.kinds[1]
        turned = rotation - torch.eye(3, device=rotation.device, dtype=rotation.dtype)
        pose = self.pose_code(4 * turned.flatten(1))[:, None] + self.kinds[2]
        tokens = [sound, pose.to(sound.dtype)]
        if self.config.has_landmark_sets:
            shown = (
                self.set_code(sets)
                + sinusoidal_positions(sets.shape[-2], size, heard)
                + self.kinds[0]
            )
            if shown.ndim == 2:
                shown = repeat(shown, "n d -> b n d", b=batch)
            tokens.append(shown)
        return self.to_coefficients(self.encoder(torch.cat(tokens, 1))[:, :moments])

    def smoothed(self, audio: Tensor, rotation: Tensor, sets: Tensor) -> Tensor:
        """Coefficients (F, P) of frames with sound (F, `width`, D_audio).

        Averaged over small shifts of the sound, Gaussian in time around the frame's own moment:
        steadier lips at any frame rate, without looking at other frames.
        """
        over = self.audio_encoder.over_sequence(audio)
        step = self.config.audio_smoothing
        shifts = _SHIFTS if step else (0,)
        places = torch.tensor([shift * step for shift in shifts], device=audio.device)
        places = places + over.shape[1] // 2
        heard = moments_of_frames(over, places.expand(len(audio), -1), self.config.moment_steps)
        num = len(shifts)
        made = self(
            heard.flatten(0, 1),
            rotation.repeat_interleave(num, 0),
            sets if sets.ndim == 2 else sets.repeat_interleave(num, 0),
        )[:, self.config.num_moments // 2]
        return torch.einsum(
            "fsp,s->fp", made.unflatten(0, (-1, num)).float(), shift_weights(num, audio)
        )


def _code(inside: int, size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inside, size), nn.SiLU(), nn.Linear(size, size), nn.LayerNorm(size)
    )
