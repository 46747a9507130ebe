"""Section III-B of IPTalker: the alignment module (eq. 1-3)."""

from __future__ import annotations

import torch
from einops import repeat
from torch import Tensor, nn

from dubcli.models.common.encoders import AudioEncoder, CrossModalityEncoder, VisualEncoder
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

    def forward(self, visual: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (T, N, D) and (T, 1, D), both updated."""
        num = visual.shape[1]
        tokens = torch.cat([visual, audio], 1)
        normed = self.self_norm(tokens)
        tokens = tokens + self.self_attention(normed, normed, normed, need_weights=False)[0]
        visual, audio = tokens[:, :num], tokens[:, num:]
        v, a = self.visual_norm(visual), self.audio_norm(audio)
        audio = audio + self.audio_to_visual(a, v, v, need_weights=False)[0]
        visual = visual + self.visual_to_audio(v, a, a, need_weights=False)[0]
        tokens = torch.cat([visual, audio], 1)
        tokens = tokens + self.feed(self.feed_norm(tokens))
        return tokens[:, :num], tokens[:, num:]


class AlignmentModule(nn.Module):
    """Section III-B: which reference mouth the audio asks for, and with the map, its landmarks.

    The last layers turn v_alg into mouth coefficients; `neutral + basis @ coefficients` are
    pose-free speaking points.
    """

    basis: Tensor

    def __init__(self, config: IPTalkerConfig) -> None:
        super().__init__()
        size = config.embedding
        self.audio_encoder = AudioEncoder(
            config.audio_size, config.audio_width, size, config.audio_dropout
        )
        self.visual_encoder = VisualEncoder(size)
        self.audio_token = nn.Parameter(torch.randn(size) * 0.02)
        self.visual_token = nn.Parameter(torch.randn(size) * 0.02)
        self.units = nn.ModuleList(
            AudioVisualAlignmentUnit(size, config.num_heads)
            for _ in range(config.num_alignment_units)
        )
        self.cross_modality = CrossModalityEncoder(size)
        if config.geometry_map:
            self.to_coefficients = nn.Sequential(
                nn.LayerNorm(size),
                nn.Linear(size, size),
                nn.SiLU(),
                nn.Linear(size, config.num_coefficients),
            )
        self.register_buffer("basis", torch.zeros(config.num_coefficients, NUM_POINTS, 3))

    def forward(self, audio: Tensor, visual_tokens: Tensor) -> Tensor:
        """v_alg of eq. 3: audio (T, A, D_audio), E_v embeddings (N, D) or (T, N, D) to (T, D)."""
        e_a = self.audio_encoder(audio) + self.audio_token
        if visual_tokens.ndim == 2:
            visual_tokens = repeat(visual_tokens, "n d -> t n d", t=len(audio))
        visual, aware = visual_tokens + self.visual_token, e_a[:, None]
        for unit in self.units:
            visual, aware = unit(visual, aware)
        return self.cross_modality(visual, aware) + e_a

    def speaking_points(self, coefficients: Tensor, neutral: Tensor) -> Tensor:
        """Pose-free speaking points (T, S, 3) of coefficients (T, P)."""
        return neutral + torch.einsum("tp,psc->tsc", coefficients, self.basis)
