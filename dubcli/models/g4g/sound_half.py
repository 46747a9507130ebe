"""E_a (eq. 1), and the mouth that it draws."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dubcli.models.api import NUM_SPEAKING
from dubcli.models.common.encoders import AudioEncoder, DilatedAudioEncoder
from dubcli.models.g4g.config import G4GConfig

# Shifts of the sound over which coefficients are averaged, in spreads.
_SHIFTS = (-2, -1, 0, 1, 2)


class SoundHalf(nn.Module):
    """a = E_a(A), and coefficients of a mouth basis from it, which anchor a on little data."""

    basis: Tensor

    def __init__(self, config: G4GConfig) -> None:
        super().__init__()
        self.config = config
        sizes = (config.audio_size, config.audio_width, config.code, config.audio_dropout)
        self.audio_encoder: DilatedAudioEncoder | AudioEncoder = (
            DilatedAudioEncoder(*sizes)
            if config.sound_encoder == "dilated"
            else AudioEncoder(*sizes)
        )
        self.to_coefficients = coefficient_head(config) if config.drawn_mouth else None
        self.register_buffer("basis", torch.zeros(config.num_coefficients, NUM_SPEAKING, 3))

    @property
    def margin(self) -> int:
        """Feature steps beyond the window on either side that `smoothed` hears."""
        return _SHIFTS[-1] * self.config.audio_smoothing

    def forward(self, audio: Tensor) -> Tensor:
        """A of windows: (T, A, D_audio) to (T, d)."""
        return self.audio_encoder(audio)[:, 0]

    def at_places(self, audio: Tensor, places: Tensor) -> Tensor:
        """A of the windows that begin at some places of stretches.

        Args:
            audio: Shape (B, L, D_audio).
            places: First step of each window. Shape (B, F).

        Returns:
            Shape (B, F, d).
        """
        rows = torch.arange(len(audio), device=audio.device)[:, None]
        if isinstance(self.audio_encoder, DilatedAudioEncoder):
            return self.audio_encoder.over_sequence(audio)[rows, places]
        steps = torch.arange(self.config.audio_width, device=audio.device)
        windows = audio[rows[:, :, None], places[:, :, None] + steps]
        return self(windows.flatten(0, 1)).unflatten(0, (places.shape[0], places.shape[1]))

    def shifted(self, audio: Tensor, shifts: tuple[int, ...]) -> Tensor:
        """A of each frame's own window and of windows around it.

        Args:
            audio: Steps around each frame, as many before as behind. Shape (T, L, D_audio).
            shifts: From the frame's own moment, feature steps.

        Returns:
            Shape (T, number of shifts, d).
        """
        middle = audio.shape[1] // 2 - self.config.audio_width // 2
        places = torch.tensor(shifts, device=audio.device) + middle
        return self.at_places(audio, places.expand(len(audio), -1))

    def smoothed(self, audio: Tensor) -> Tensor:
        """Coefficients (T, P) of frames with sound (T, L, D_audio).

        Averaged over small shifts of the sound, Gaussian in time around the frame's own moment:
        steadier lips at any frame rate, without looking at other frames.
        """
        step = self.config.audio_smoothing
        places = _SHIFTS if step else (0,)
        assert self.to_coefficients is not None, "the sound half draws no mouth"
        made = self.to_coefficients(self.shifted(audio, tuple(place * step for place in places)))
        weights = audio.new_tensor([math.exp(-0.5 * place**2) for place in places])
        return torch.einsum("tsp,s->tp", made.float(), weights / weights.sum())

    def speaking_points(self, coefficients: Tensor, neutral: Tensor) -> Tensor:
        """Pose-free speaking points (T, S, 3) of coefficients (T, P)."""
        return neutral + torch.einsum("tp,psc->tsc", coefficients, self.basis)


def coefficient_head(config: G4GConfig) -> nn.Sequential:
    """Layers from a (..., d) to mouth coefficients (..., P)."""
    return nn.Sequential(
        nn.LayerNorm(config.code),
        nn.Linear(config.code, config.code),
        nn.SiLU(),
        nn.Linear(config.code, config.num_coefficients),
    )
