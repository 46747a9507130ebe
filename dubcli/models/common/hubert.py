"""What is said, as HuBERT hears it: the encoder that PersonaTalk's authors name.

HuBERT base (Hsu et al. 2021, arXiv:2106.07447), whose published weights learned from 960 hours of
LibriSpeech: seven convolutions over the waveform, a convolution that tells places, twelve
transformer layers that are normalised after each part. Parameters are called as in the published
file, `facebook/hubert-base-ls960` on the hub (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dubcli.audio.log_mel import SAMPLE_RATE
from dubcli.audio.speech_encoder import tokens_of_parts
from dubcli.core.errors import WeightsError
from dubcli.core.types import F32
from dubcli.metrics.foreign_weights import read_state

_KERNELS, _STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
# A token every 320 samples; the first sees samples 0 to 399.
_HOP, _CENTRE = 320, 200
# What a fine-tuned file holds beside the encoder, and the mask that only training uses.
_PREFIX, _UNUSED = "hubert.", ("lm_head.", "masked_spec_embed")
# The weight norm of the convolution of places, as newer versions of PyTorch call its parts.
_RENAMED = {
    "parametrizations.weight.original0": "weight_g",
    "parametrizations.weight.original1": "weight_v",
}


@dataclass(frozen=True, kw_only=True)
class HubertConfig:
    """Sizes, by default those of HuBERT base.

    Attributes:
        width: D, of the tokens.
        channels: Of the convolutions over the waveform.
        num_layers: Of the transformer.
        num_heads: Of its attention.
        inner: Width between the linear layers of its feed-forward parts.
        place_kernel: Tokens that the convolution of places reaches over, even.
        place_groups: Of that convolution.
    """

    width: int = 768
    channels: int = 512
    num_layers: int = 12
    num_heads: int = 12
    inner: int = 3072
    place_kernel: int = 128
    place_groups: int = 16


class _WaveLayer(nn.Module):
    """A convolution without padding; the first one is normalised over time."""

    def __init__(self, inside: int, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inside, channels, kernel, stride, bias=False)
        if inside == 1:
            self.layer_norm = nn.GroupNorm(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, L) to (N, channels, (L - kernel) // stride + 1)."""
        x = self.conv(x)
        return functional.gelu(self.layer_norm(x) if hasattr(self, "layer_norm") else x)


class _WaveEncoder(nn.Module):
    def __init__(self, config: HubertConfig) -> None:
        super().__init__()
        sizes = zip(_KERNELS, _STRIDES, strict=True)
        self.conv_layers = nn.ModuleList(
            _WaveLayer(1 if place == 0 else config.channels, config.channels, *size)
            for place, size in enumerate(sizes)
        )

    def forward(self, samples: Tensor) -> Tensor:
        """(N, L) to (N, K, channels)."""
        x = samples[:, None]
        for layer in self.conv_layers:
            x = layer(x)
        return x.transpose(1, 2)


class _Projection(nn.Module):
    def __init__(self, config: HubertConfig) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(config.channels)
        self.projection = nn.Linear(config.channels, config.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(self.layer_norm(x))


class _NormedConvolution(nn.Module):
    """A grouped convolution whose weight has a direction and, for each tap, a length."""

    def __init__(self, config: HubertConfig) -> None:
        super().__init__()
        size = config.width, config.width // config.place_groups, config.place_kernel
        self.weight_g = nn.Parameter(torch.ones(1, 1, config.place_kernel))
        self.weight_v = nn.Parameter(torch.randn(size) / config.width**0.5)
        self.bias = nn.Parameter(torch.zeros(config.width))
        self._groups = config.place_groups

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, K) to (N, D, K + 1)."""
        lengths = self.weight_v.square().sum((0, 1), keepdim=True).sqrt()
        weight = self.weight_g * self.weight_v / lengths
        return functional.conv1d(
            x, weight, self.bias, padding=weight.shape[-1] // 2, groups=self._groups
        )


class _Places(nn.Module):
    def __init__(self, config: HubertConfig) -> None:
        super().__init__()
        self.conv = _NormedConvolution(config)

    def forward(self, x: Tensor) -> Tensor:
        """(N, K, D) to the same; an even kernel gives one token too many."""
        return functional.gelu(self.conv(x.transpose(1, 2))[..., :-1]).transpose(1, 2)


class _SelfAttention(nn.Module):
    def __init__(self, config: HubertConfig) -> None:
        super().__init__()
        self._heads = config.num_heads
        self.q_proj, self.k_proj = (nn.Linear(config.width, config.width) for _ in range(2))
        self.v_proj, self.out_proj = (nn.Linear(config.width, config.width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        asked, key, value = (
            layer(x).unflatten(-1, (self._heads, -1)).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        told = functional.scaled_dot_product_attention(asked, key, value)
        return self.out_proj(told.transpose(1, 2).flatten(2))


class _FeedForward(nn.Module):
    def __init__(self, config: HubertConfig) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(config.width, config.inner)
        self.output_dense = nn.Linear(config.inner, config.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.output_dense(functional.gelu(self.intermediate_dense(x)))


class _PostNormLayer(nn.Module):
    def __init__(self, config: HubertConfig) -> None:
        super().__init__()
        self.attention = _SelfAttention(config)
        self.layer_norm = nn.LayerNorm(config.width)
        self.feed_forward = _FeedForward(config)
        self.final_layer_norm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer_norm(x + self.attention(x))
        return self.final_layer_norm(x + self.feed_forward(x))


class _Transformer(nn.Module):
    def __init__(self, config: HubertConfig) -> None:
        super().__init__()
        self.pos_conv_embed = _Places(config)
        self.layer_norm = nn.LayerNorm(config.width)
        self.layers = nn.ModuleList(_PostNormLayer(config) for _ in range(config.num_layers))

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer_norm(x + self.pos_conv_embed(x))
        for layer in self.layers:
            x = layer(x)
        return x


class Hubert(nn.Module):
    """The encoder."""

    def __init__(self, config: HubertConfig | None = None) -> None:
        super().__init__()
        config = config or HubertConfig()
        self.feature_extractor = _WaveEncoder(config)
        self.feature_projection = _Projection(config)
        self.encoder = _Transformer(config)

    def forward(self, samples: Tensor) -> Tensor:
        """Tokens (N, K, D) of 16 kHz samples (N, L) of mean 0 and deviation 1, L >= 400."""
        return self.encoder(self.feature_projection(self.feature_extractor(samples)))


class HubertEncoder:
    """HuBERT as a recogniser whose tokens are features, loaded once; it runs on the CPU.

    Args:
        path: Its weights: `pytorch_model.bin` as published, of which tensors alone are read, or
            safetensors with the same names.
        config: Sizes, those of HuBERT base by default.

    Raises:
        WeightsError: The file holds no weights, or those of another network.
    """

    hop = _HOP

    def __init__(self, path: Path, config: HubertConfig | None = None) -> None:
        network = Hubert(config)
        state = named_as_published(_tensors(path))
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise WeightsError(
                f"'{path.name}' holds no HuBERT base: {str(error).splitlines()[-1].strip()}",
                "Use the file of facebook/hubert-base-ls960.",
            ) from error
        self._network = network.eval().requires_grad_(False)

    @cached_property
    def silence(self) -> F32:
        """What it hears in silence. Shape (D,)."""
        return self.tokens(np.zeros(2 * SAMPLE_RATE, np.float32)).mean(0)

    def tokens(self, samples: F32) -> F32:
        """Encode 16 kHz samples (S,); token k belongs to sample 320 k. Shape (K, D)."""
        centred = samples - samples.mean() if len(samples) else samples
        deviation = float(np.sqrt((centred**2).mean() + 1e-7)) if len(samples) else 1.0
        padded = np.pad(centred / np.float32(deviation), (_CENTRE, SAMPLE_RATE // 2))
        return tokens_of_parts(padded, _HOP, self._run)

    @torch.no_grad()
    def _run(self, samples: F32) -> F32:
        return self._network(torch.from_numpy(samples.astype(np.float32))[None])[0].numpy()


def named_as_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's parameters alone, under the names of the published file."""
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        name = name.removeprefix(_PREFIX)
        for newer, published in _RENAMED.items():
            name = name.replace(newer, published)
        if not name.startswith(_UNUSED):
            found[name] = value
    return found


def _tensors(path: Path) -> dict[str, Tensor]:
    """Parameters of a safetensors file or of a pickle."""
    if path.suffix != ".safetensors":
        return read_state(path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"'{path}' holds no weights: {error}.", "Get it again.") from error
