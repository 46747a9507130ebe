"""Section 3.1: sound and a person's style to the geometry of the lower face."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dubcli.models.api import NUM_SPEAKING
from dubcli.models.common.encoders import DilatedAudioEncoder
from dubcli.models.common.moments import (
    moments_of_frames,
    shift_weights,
    sinusoidal_positions,
)
from dubcli.models.common.mouth_basis import coefficients_of
from dubcli.models.common.mouth_map import INNER, JAW, OUTER
from dubcli.models.personatalk.config import PersonaTalkConfig

# Shifts of the sound over which coefficients are averaged, in spreads.
_NUM_SHIFTS = 5
# Departures from rest are some hundredths of the inter-ocular distance.
_SCALE = 10.0
# Root mean square of departures from their mean, about the mean of people.
_TYPICAL_SPREAD, _LEAST_SPREAD = 0.02, 0.1
# Share of what sets a person apart, at the start of training.
_KEPT = 0.75
_VERTEX_GROUPS = (OUTER, INNER, JAW, slice(JAW.stop, NUM_SPEAKING))
# Rest shapes tell who of the few hundred people of the training set is speaking; dropout hides it.
_TEMPLATE_DROPOUT = 0.3


class StyleEncoder(nn.Module):
    """E_vtx, and S of the mean and deviation over time of what it encodes.

    With `carries_amplitude` the style also holds how far the mouth moves and its mean, so that they
    need not be learned from a few hundred people. Some seconds tell both with an error, so a
    learned share of what sets the person apart is kept.
    """

    def __init__(self, config: PersonaTalkConfig) -> None:
        super().__init__()
        token = config.token
        self._carries_amplitude = config.carries_amplitude
        if config.carries_amplitude:
            self.kept_spread = nn.Parameter(torch.tensor(_KEPT))
            self.kept_mean = nn.Parameter(torch.tensor(_KEPT))
            self.mean_mouth = nn.Parameter(torch.zeros(config.num_coefficients))
        self.vertices = nn.Linear(3 * NUM_SPEAKING, token)
        # Not normalised: how far a person's mouth moves is the size of these numbers.
        self.statistics = nn.Linear(2 * token, token)

    def forward(self, departures: Tensor, basis: Tensor) -> Tensor:
        """Styles (B, `style_size`) of departures from rest (B, M, S, 3), canonical units.

        Args:
            departures: Of M frames of speech.
            basis: Of the mouth. Shape (P, S, 3).
        """
        x = self.vertices(_SCALE * departures.flatten(2)).float()
        spread = (x.var(1, correction=0) + 1e-4).sqrt()
        token = self.statistics(torch.cat([x.mean(1), spread], 1))
        if not self._carries_amplitude:
            return token
        mean = departures.mean(1)
        moved = (departures - mean[:, None]).square().mean((1, 2, 3)).sqrt() / _TYPICAL_SPREAD
        moved = moved.clamp_min(_LEAST_SPREAD) ** self.kept_spread
        mouth = self.mean_mouth + self.kept_mean * (coefficients_of(mean, basis) - self.mean_mouth)
        return torch.cat([token, moved[:, None], mouth], 1)


class StyleAwareAudio(nn.Module):
    """Eq. 3: one cross-attention, style asks, sound answers.

    Q = S + PE, one query a moment, and what is asked is added to query and sound: one query alone
    gives one vector for all moments, and without the residual S would only choose which sound is
    mixed.
    """

    def __init__(self, token: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(token)
        self.query, self.key = nn.Linear(token, token), nn.Linear(token, token)
        self.value = nn.Linear(token, token)

    def forward(self, style: Tensor, sound: Tensor) -> Tensor:
        """Ã (B, T, D) of S (B, D) and A (B, T, D)."""
        sound = self.norm(sound)
        places = sinusoidal_positions(sound.shape[1], sound.shape[2], sound)
        asking = style[:, None].to(sound.dtype) + places
        told = functional.scaled_dot_product_attention(
            self.query(asking), self.key(sound + places), self.value(sound)
        )
        return asking + sound + told


class TemplateDriving(nn.Module):
    """Ã asks the person's rest shape, one token each of outer and inner lips, jaw and cheeks.

    With one token softmax would be 1, and Ã thrown away; it is kept as a residual as well.
    """

    def __init__(self, token: int) -> None:
        super().__init__()
        self.groups = nn.ModuleList(
            nn.Linear(3 * (group.stop - group.start), token) for group in _VERTEX_GROUPS
        )
        self.dropout = nn.Dropout(_TEMPLATE_DROPOUT)
        self.attention = nn.MultiheadAttention(token, 1, batch_first=True)

    def forward(self, sound: Tensor, template: Tensor) -> Tensor:
        """(B, T, D) of Ã (B, T, D) and rest shapes minus the mean face (B, S, 3)."""
        parts = [
            layer(_SCALE * template[:, group].flatten(1))
            for layer, group in zip(self.groups, _VERTEX_GROUPS, strict=True)
        ]
        tokens = self.dropout(torch.stack(parts, 1))
        return sound + self.attention(sound, tokens, tokens, need_weights=False)[0]


class GeometryConstruction(nn.Module):
    """The geometry half: mouths of all moments around a frame."""

    identity_basis: Tensor

    def __init__(self, config: PersonaTalkConfig) -> None:
        super().__init__()
        self.config, size = config, config.token
        if config.geometry == "fitted":
            self.register_buffer("identity_basis", torch.zeros(config.num_shapes, NUM_SPEAKING, 3))
        self.audio_encoder = DilatedAudioEncoder(
            config.audio_size, config.mouth_width, size, config.mouth_dropout
        )
        if config.has_style:
            self.style_encoder = StyleEncoder(config)
        # Style of a person of whom nothing is known.
        self.mean_style = nn.Parameter(0.02 * torch.randn(config.style_size))
        if config.carries_amplitude:
            self.mean_style.data[size:] = 0
            self.mean_style.data[size] = 1
        self.style_audio = StyleAwareAudio(size)
        self.driving = TemplateDriving(size)
        layer = nn.TransformerEncoderLayer(
            size, config.num_heads, 2 * size, config.token_dropout, "gelu",
            batch_first=True, norm_first=True,
        )  # fmt: skip
        self.encoder = nn.TransformerEncoder(
            layer, config.num_layers, nn.LayerNorm(size), enable_nested_tensor=False
        )
        self.to_coefficients = nn.Linear(size, config.num_coefficients)

    @property
    def margin(self) -> int:
        """Feature steps on either side of a frame's window that shifts look at."""
        return _NUM_SHIFTS // 2 * self.config.audio_smoothing

    @property
    def width(self) -> int:
        """Feature steps around a frame that `smoothed` takes."""
        return self.config.mouth_width + 2 * (self.config.moment_steps[-1] + self.margin)

    def style_of(self, departures: Tensor, basis: Tensor) -> Tensor:
        """Style (`style_size`,) of departures from rest (M, S, 3)."""
        if not self.config.has_style:
            return self.mean_style
        return self.style_encoder(departures[None], basis)[0]

    def mean_mouth(self, style: Tensor) -> Tensor:
        """Coefficients (..., P) that mouths of styles (..., `style_size`) move around."""
        if not self.config.carries_amplitude:
            return style.new_zeros(*style.shape[:-1], self.config.num_coefficients)
        return style[..., self.config.token + 1 :]

    def forward(self, heard: Tensor, style: Tensor, template: Tensor) -> Tensor:
        """Mouths of all moments.

        Args:
            heard: What the audio encoder gives of the moments. Shape (B, T, D).
            style: Shape (B, `style_size`).
            template: Rest shapes minus the mean face. Shape (B, S, 3).

        Returns:
            Mouth coefficients. Shape (B, T, P).
        """
        token = self.config.token
        driven = self.driving(self.style_audio(style[:, :token], heard), template)
        seen = self.encoder(driven)
        # Sub-pixel positions need more digits than mixed precision has.
        with torch.autocast(seen.device.type, enabled=False):
            made = self.to_coefficients(seen.to(self.to_coefficients.weight))
        if not self.config.carries_amplitude:
            return made
        return self.mean_mouth(style)[:, None] + style[:, token, None, None] * made.float()

    def smoothed(self, audio: Tensor, style: Tensor, template: Tensor) -> Tensor:
        """Coefficients (F, P) of frames with sound (F, `width`, D_audio).

        Averaged over small shifts of the sound, Gaussian in time around the frame's own moment.
        In float32 whatever surrounds it: mouths that are rounded on the way are a pixel off.

        Args:
            audio: Steps around each frame.
            style: Shape (`style_size`,).
            template: The person's rest minus the mean face. Shape (S, 3).
        """
        with torch.autocast(audio.device.type, enabled=False):
            return self._smoothed(audio.float(), style.float(), template.float())

    def _smoothed(self, audio: Tensor, style: Tensor, template: Tensor) -> Tensor:
        over = self.audio_encoder.over_sequence(audio)
        step = self.config.audio_smoothing
        num = _NUM_SHIFTS if step else 1
        places = step * (torch.arange(num, device=audio.device) - num // 2) + over.shape[1] // 2
        heard = moments_of_frames(over, places.expand(len(audio), -1), self.config.moment_steps)
        heard = heard.flatten(0, 1)
        made = self(
            heard, style.expand(len(heard), -1), template.expand(len(heard), *template.shape)
        )[:, self.config.num_moments // 2]
        return torch.einsum("fsp,s->fp", made.unflatten(0, (-1, num)), shift_weights(num, audio))
