"""Section 3.2.2: the rendering model M_r."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from dubcli.core.choices import FEATURE_SIZES
from dubcli.models.common.encoders import PictureEncoder
from dubcli.models.common.layers import ResidualBlock, SPADEBlock, SPADELayer, conv
from dubcli.models.common.mouth_map import NUM_CHANNELS
from dubcli.models.common.mouth_window import BoxPart
from dubcli.models.lip_identity.config import LipIdentityConfig

_HEARD = 128


class MultiReferenceLips(nn.Module):
    """Fig. 3: features of the occluded face, fused with those of several reference lips."""

    def __init__(self, config: LipIdentityConfig) -> None:
        super().__init__()
        channels = config.channels
        self.is_used = config.has_lips
        self.face_encoder = PictureEncoder(4, NUM_CHANNELS * config.num_sketches, channels)
        if self.is_used:
            self.lip_encoder = PictureEncoder(3, NUM_CHANNELS, channels)
            self.enter = conv(2 * channels, channels, 1)
            self.fusion = ResidualBlock(channels)

    def forward(self, face: Tensor, lips: Tensor) -> Tensor:
        """f̄ = mean over i of F([f^m, f_i^l]).

        Args:
            face: f^m in the windows around the wanted lips. Shape (T, C, y, x).
            lips: f^l, (N, C, y, x) or (T, N, C, y, x).

        Returns:
            Shape (T, C, y, x).
        """
        if not self.is_used:
            return face
        num = lips.shape[-4]
        lips = lips.expand(len(face), *lips.shape[-4:]).flatten(0, 1)
        pairs = torch.cat([face.repeat_interleave(num, 0), lips.to(face.dtype)], 1)
        fused = self.fusion(self.enter(pairs))
        return fused.unflatten(0, (-1, num)).mean(1)


class AudioAwareAttention(nn.Module):
    """Fig. 4: each place of the features asks the moments of the sound around the frame."""

    mean: Tensor
    spread: Tensor

    def __init__(self, config: LipIdentityConfig) -> None:
        super().__init__()
        channels, size = config.channels, config.attention_size
        self.is_residual = config.is_residual
        heard = FEATURE_SIZES[config.attended_kind]
        self.register_buffer("mean", torch.zeros(heard))
        self.register_buffer("spread", torch.ones(heard))
        stride = config.attention_width // config.attention_tokens
        self.audio_encoder = nn.Conv1d(heard, _HEARD, stride, stride)
        self.places = nn.Parameter(0.02 * torch.randn(config.attention_tokens, _HEARD))
        self.query = conv(channels, size, 1)
        self.key, self.value = nn.Linear(_HEARD, size), nn.Linear(_HEARD, size)
        self.out = conv(size, channels, 1)

    def forward(self, features: Tensor, audio: Tensor, has_audio: Tensor | None) -> Tensor:
        """f_g of features (T, C, y, x) and sound (T, A, D_audio), whose first kind is heard.

        Where `has_audio` (T,) says that there is no sound, nothing is added.
        """
        audio = audio[..., : len(self.mean)]
        x = rearrange((audio - self.mean) / self.spread, "t a d -> t d a")
        heard = rearrange(functional.silu(self.audio_encoder(x)), "t d n -> t n d") + self.places
        asked = rearrange(self.query(features), "t d y x -> t (y x) d")
        told = functional.scaled_dot_product_attention(
            asked, self.key(heard).to(asked.dtype), self.value(heard).to(asked.dtype)
        )
        height = features.shape[-2]
        told = self.out(rearrange(told, "t (y x) d -> t d y x", y=height))
        if has_audio is not None:
            told = told * has_audio.to(told.dtype)[:, None, None, None]
        return features + told if self.is_residual else told


class LipDecoder(nn.Module):
    """SPADE under f^{c_2}, f^{c_1} and I^c, PixelShuffle between them, and a 7 x 7 convolution."""

    def __init__(self, config: LipIdentityConfig) -> None:
        super().__init__()
        channels, hidden, fine = config.channels, config.spade_channels, config.fine
        self.spade_quarter = SPADEBlock(channels, channels, 2 * channels, hidden)
        self.to_half = conv(channels, 4 * config.wide, 1)
        self.spade_half = SPADEBlock(config.wide, config.wide, channels, hidden)
        self.to_full = conv(config.wide, 4 * fine)
        self.shuffle = nn.PixelShuffle(2)
        # Occluded face, its mask, aligned image.
        self.spade_full = SPADELayer(fine, fine, 7, max(8, hidden // 2))
        self.out = conv(fine, 4 if config.mixes_warped else 3, 7)

    def forward(
        self,
        x: Tensor,
        quarter: Tensor,
        half: Tensor,
        full: Tensor,
        part: BoxPart | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Picture and gate, of the part: (T, 3, h, w), and (T, 1, h, w) or None.

        Args:
            x: f_g in its place of the box. Shape (T, C, h/4, w/4).
            quarter: f^{c_2}. Shape (T, 2 C, h/4, w/4).
            half: f^{c_1}. Shape (T, C, h/2, w/2).
            full: I^c. Shape (T, 7, h, w).
            part: What is wanted of the box; None: all. Near its edge the picture is another one
                than all of the box shows there.
        """
        x = self.shuffle(self.to_half(functional.silu(self.spade_quarter(x, quarter))))
        x = self.shuffle(self.to_full(functional.silu(self.spade_half(x, half))))
        x = self.spade_full(x, full, None if part is None else part.of)
        out = self.out(functional.silu(x))
        rgb = torch.sigmoid(out[:, :3].float())
        gate = torch.sigmoid(out[:, 3:].float()) if out.shape[1] > 3 else None
        return rgb, gate


class RenderingModel(nn.Module):
    """M_r: reference lips, sound, and the aligned references as guides of the decoder."""

    def __init__(self, config: LipIdentityConfig) -> None:
        super().__init__()
        self.lips = MultiReferenceLips(config)
        self.attention = AudioAwareAttention(config) if config.attention_width else None
        self.decoder = LipDecoder(config)
