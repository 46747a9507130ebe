"""Section III-B of IPTalker: the alignment module (eq. 1-3)."""

from __future__ import annotations

from dataclasses import replace

import torch
from einops import repeat
from torch import Tensor, nn
from torch.nn import functional

from dubcli.core.types import FEATURE_SIZES
from dubcli.models.common.encoders import (
    AudioEncoder,
    CrossModalityEncoder,
    DilatedAudioEncoder,
    VisualEncoder,
)
from dubcli.models.iptalker.config import IPTalkerConfig

NUM_POINTS = 102


class AudioVisualAlignmentUnit(nn.Module):
    """AVAU (eq. 2, fig. 3a): self-attention within, then attention across the modalities."""

    def __init__(self, embedding: int, heads: int) -> None:
        super().__init__()
        self.self_norm, self.visual_norm = nn.LayerNorm(embedding), nn.LayerNorm(embedding)
        self.audio_norm, self.feed_norm = nn.LayerNorm(embedding), nn.LayerNorm(embedding)
        self.self_attention = nn.MultiheadAttention(embedding, heads, batch_first=True)
        self.audio_to_visual = nn.MultiheadAttention(embedding, heads, batch_first=True)
        self.visual_to_audio = nn.MultiheadAttention(embedding, heads, batch_first=True)
        self.feed = nn.Sequential(
            nn.Linear(embedding, 2 * embedding), nn.GELU(), nn.Linear(2 * embedding, embedding)
        )

    def forward(
        self, visual: Tensor, audio: Tensor, *, are_alike: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Visual tokens (T, N, D) and audio tokens (T, A, D), both updated.

        `are_alike` says that the visual tokens of a frame are all the same.
        """
        num = visual.shape[1]
        tokens = torch.cat([visual, audio], 1)
        normed = self.self_norm(tokens)
        tokens = tokens + self.self_attention(normed, normed, normed, need_weights=False)[0]
        visual, audio = tokens[:, :num], tokens[:, num:]
        v, a = self.visual_norm(visual), self.audio_norm(audio)
        audio = audio + _attended(self.audio_to_visual, a, v[:, :1] if are_alike else v)
        visual = visual + _attended(self.visual_to_audio, v, a)
        tokens = torch.cat([visual, audio], 1)
        tokens = tokens + self.feed(self.feed_norm(tokens))
        return tokens[:, :num], tokens[:, num:]


def _attended(attention: nn.MultiheadAttention, asking: Tensor, told: Tensor) -> Tensor:
    """What tokens (T, N, D) are told by others (T, M, D). Shape (T, N, D)."""
    if told.shape[1] > 1:
        return attention(asking, told, told, need_weights=False)[0]
    # A single key has all the attention, whatever asks.
    assert attention.in_proj_weight is not None
    weight, bias = (x.chunk(3)[2] for x in (attention.in_proj_weight, attention.in_proj_bias))
    return attention.out_proj(functional.linear(told, weight, bias)).expand_as(asking)


class AlignmentModule(nn.Module):
    """Section III-B: which reference mouth the audio asks for, and with the map, its landmarks.

    The last layers turn v_alg into mouth coefficients; `neutral + basis @ coefficients` are
    pose-free speaking points. Rows 1 and 3 of the paper's Table III are `alignment="none"` (e_a
    through one linear layer) and `cross_modality=False`. For the latter the paper says both "the
    output token" and "concatenating the AVAUs output"; the second, which it gives reasons for, is
    built.
    """

    basis: Tensor

    def __init__(self, config: IPTalkerConfig) -> None:
        super().__init__()
        size, tokens = config.embedding, config.audio_tokens
        self.kind, self.width = config.alignment, config.audio_width
        self.audio_encoder = _audio_encoder(config)
        has_units = config.alignment != "none"
        self.visual_encoder = VisualEncoder(size) if has_units else None
        # With several tokens of sound it also says which moment each is of.
        self.audio_token = nn.Parameter(torch.randn(*([tokens] * (tokens > 1)), size) * 0.02)
        if has_units:
            self.visual_token = nn.Parameter(torch.randn(size) * 0.02)
            self.units = nn.ModuleList(
                AudioVisualAlignmentUnit(size, config.num_heads)
                for _ in range(config.num_alignment_units)
            )
        else:
            self.linear = nn.Linear(size, size)
        self.cross_modality = (
            CrossModalityEncoder(size) if has_units and config.cross_modality else None
        )
        skips = tokens > 1 and config.cross_modality
        self.audio_skip = nn.Linear(tokens * size, size) if skips else None
        if config.geometry_map:
            wide = config.alignment_size
            self.to_coefficients = nn.Sequential(
                nn.LayerNorm(wide),
                nn.Linear(wide, size),
                nn.SiLU(),
                nn.Linear(size, config.num_coefficients),
            )
        self.register_buffer("basis", torch.zeros(config.num_coefficients, NUM_POINTS, 3))

    def encode_references(self, pictures: Tensor) -> Tensor:
        """E_v of eq. 1: what `forward` takes of the references.

        Args:
            pictures: Their rows from `IPTalkerConfig.visual_row` down, [0, 1]. Shape (N, 3, h, w).

        Returns:
            Shape (N, D); zeros where the alignment does not look at references.
        """
        if self.kind == "full" and self.visual_encoder is not None:
            return self.visual_encoder(pictures)
        return pictures.new_zeros(len(pictures), self.audio_token.shape[-1])

    def forward(self, audio: Tensor, visual_tokens: Tensor) -> Tensor:
        """v_alg of eq. 3: audio (T, A, D_audio), E_v embeddings (N, D) or (T, N, D) to (T, D).

        Without E_cm v_alg has the size `IPTalkerConfig.alignment_size`.
        """
        return self.align(self.audio_encoder(audio), visual_tokens)

    def over_shifts(self, audio: Tensor, visual_tokens: Tensor, step: int) -> Tensor:
        """`forward` of every window that begins a multiple of `step` later, one after the other.

        Args:
            audio: Longer than a window by M multiples of `step`. Shape (T, A + M step, D_audio).
            visual_tokens: As `forward` takes them.
            step: Feature steps.

        Returns:
            Shape (M + 1, T, D).
        """
        if isinstance(self.audio_encoder, DilatedAudioEncoder):
            # Layers see what the windows share once.
            heard = self.audio_encoder.over_sequence(audio)[:, ::step].transpose(0, 1)[:, :, None]
        else:
            windows = audio.unfold(1, self.width, step).permute(1, 0, 3, 2)
            heard = self.audio_encoder(windows.flatten(0, 1)).unflatten(0, windows.shape[:2])
        if visual_tokens.ndim == 3:
            # Embeddings of each frame's own are the same for all shifts.
            visual_tokens = visual_tokens.repeat(len(heard), 1, 1)
        return self.align(heard.flatten(0, 1), visual_tokens).unflatten(0, heard.shape[:2])

    def align(self, heard: Tensor, visual_tokens: Tensor) -> Tensor:
        """As `forward`, of what E_a has made of the sound, (T, N, D)."""
        e_a = heard + self.audio_token
        if self.kind == "none":
            return self.linear(e_a[:, 0])
        if visual_tokens.ndim == 2:
            visual_tokens = repeat(visual_tokens, "n d -> t n d", t=len(e_a))
        visual, aware = visual_tokens + self.visual_token, e_a
        for unit in self.units:
            visual, aware = unit(visual, aware, are_alike=self.kind == "audio")
        if self.cross_modality is None:
            return torch.cat([visual, aware], 1).flatten(1)
        skipped = e_a[:, 0] if self.audio_skip is None else self.audio_skip(e_a.flatten(1))
        return self.cross_modality(visual, aware) + skipped

    @property
    def last_layers(self) -> list[nn.Linear]:
        """What gives mouth coefficients last: one layer."""
        last = self.to_coefficients[-1]
        assert isinstance(last, nn.Linear)
        return [last]

    def speaking_points(self, coefficients: Tensor, neutral: Tensor) -> Tensor:
        """Pose-free speaking points (T, S, 3) of coefficients (T, P)."""
        return neutral + torch.einsum("tp,psc->tsc", coefficients, self.basis)


class PairedAlignment(nn.Module):
    """Two alignment modules that hear features of different recognisers, as one.

    Each asks for a mouth of its own; their mean follows sound more closely than either
    (`docs/training.md`). What two modules give stands side by side: v_alg is (T, 2 D).
    """

    def __init__(self, config: IPTalkerConfig) -> None:
        super().__init__()
        assert config.second_audio_kind is not None
        self._split = (config.audio_size, FEATURE_SIZES[config.second_audio_kind])
        self.first = AlignmentModule(replace(config, second_audio_kind=None))
        self.second = AlignmentModule(
            replace(config, audio_kind=config.second_audio_kind, second_audio_kind=None)
        )

    @property
    def basis(self) -> Tensor:
        """Of the mouth, the same in both. Shape (P, S, 3)."""
        return self.first.basis

    @property
    def last_layers(self) -> list[nn.Linear]:
        """What gives mouth coefficients last, of each module."""
        return self.first.last_layers + self.second.last_layers

    def encode_references(self, pictures: Tensor) -> Tensor:
        """As `AlignmentModule.encode_references`, of both. Shape (N, 2 D)."""
        return torch.cat(
            [part.encode_references(pictures) for part in (self.first, self.second)], 1
        )

    def forward(self, audio: Tensor, visual_tokens: Tensor) -> Tensor:
        """v_alg (T, 2 D) of audio (T, A, D_1 + D_2)."""
        heard = audio.split(self._split, -1)
        tokens = visual_tokens.chunk(2, -1)
        parts = zip((self.first, self.second), heard, tokens, strict=True)
        return torch.cat([part(sound, token) for part, sound, token in parts], 1)

    def over_shifts(self, audio: Tensor, visual_tokens: Tensor, step: int) -> Tensor:
        """As `AlignmentModule.over_shifts`, (M + 1, T, 2 D)."""
        heard = audio.split(self._split, -1)
        tokens = visual_tokens.chunk(2, -1)
        parts = zip((self.first, self.second), heard, tokens, strict=True)
        return torch.cat([part.over_shifts(sound, token, step) for part, sound, token in parts], -1)

    def to_coefficients(self, v_alg: Tensor) -> Tensor:
        """Mean mouth coefficients (..., P) of v_alg (..., 2 D)."""
        one, other = v_alg.chunk(2, -1)
        return (self.first.to_coefficients(one) + self.second.to_coefficients(other)) / 2

    def speaking_points(self, coefficients: Tensor, neutral: Tensor) -> Tensor:
        """As `AlignmentModule.speaking_points`."""
        return self.first.speaking_points(coefficients, neutral)


def build_alignment(config: IPTalkerConfig) -> AlignmentModule | PairedAlignment:
    """The alignment module, or two of them."""
    return AlignmentModule(config) if config.second_audio_kind is None else PairedAlignment(config)


def _audio_encoder(config: IPTalkerConfig) -> AudioEncoder | DilatedAudioEncoder:
    sizes = (config.audio_size, config.audio_width, config.embedding, config.audio_dropout)
    if config.audio_encoder == "dilated":
        return DilatedAudioEncoder(*sizes)
    return AudioEncoder(*sizes, config.audio_tokens)
