"""Section 3.1.2: the matrix of mouths against sounds whose diagonal must win."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from dubcli.models.common.mouth_map import INNER, OUTER, normalised
from dubcli.models.g4g.config import G4GConfig

# Height and width of the mouths that E_m sees, px, and the height in inter-ocular distances.
MOUTH_SIZE = (48, 80)
MOUTH_HEIGHT = 1.1
_LIPS = slice(OUTER.start, INNER.stop)
_LUMA = (0.299, 0.587, 0.114)
_WIDTHS = (32, 64, 96, 128)
_FIRST_TEMPERATURE, _LEAST_TEMPERATURE = 0.07, 0.01
_DROPOUT = 0.2
# Difference of cosines that tells two ranks apart.
_SAME = 0.005


class MouthEncoder2d(nn.Module):
    """E_m: grey mouths of consecutive frames, as channels, to a vector like v."""

    def __init__(self, frames: int, code: int) -> None:
        super().__init__()
        sizes = (frames, *_WIDTHS)
        self.layers = nn.ModuleList(conv_half(a, b) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(nn.GroupNorm(8, size) for size in _WIDTHS)
        self.dropout = nn.Dropout(_DROPOUT)
        height, width = (side // 16 for side in MOUTH_SIZE)
        self.out = nn.Linear(_WIDTHS[-1] * height * width, code)

    def forward(self, mouths: Tensor) -> Tensor:
        """(N, frames, 48, 80) in [0, 1] to (N, d); light and contrast are taken out."""
        mean = mouths.mean((1, 2, 3), keepdim=True)
        x = (mouths - mean) / mouths.std((1, 2, 3), keepdim=True).clamp_min(0.02)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = functional.silu(norm(layer(x)))
        return self.out(self.dropout(x.flatten(1)))


def conv_half(inside: int, outside: int) -> nn.Conv2d:
    """A convolution that halves height and width."""
    return nn.Conv2d(inside, outside, 4, 2, 1)


class InterModalAlignment(nn.Module):
    """E_m, g_v and g_a with a learned temperature."""

    def __init__(self, config: G4GConfig) -> None:
        super().__init__()
        self.mouth_encoder = MouthEncoder2d(config.mouth_frames, config.code)
        self.g_v = nn.Linear(config.code, config.embedding)
        self.g_a = nn.Linear(config.code, config.embedding)
        self.log_temperature = nn.Parameter(torch.tensor(_FIRST_TEMPERATURE).log())

    @property
    def temperature(self) -> Tensor:
        """τ. Shape ()."""
        return self.log_temperature.exp().clamp_min(_LEAST_TEMPERATURE)

    def see(self, mouths: Tensor) -> Tensor:
        """Unit vectors of mouths: (N, frames, 48, 80) in [0, 1] to (N, E)."""
        return functional.normalize(self.g_v(self.mouth_encoder(mouths)).float(), dim=-1)

    def listen(self, heard: Tensor) -> Tensor:
        """Unit vectors of sounds: a, (..., d), to (..., E)."""
        return functional.normalize(self.g_a(heard).float(), dim=-1)

    def scores(self, mouths: Tensor, heard: Tensor) -> tuple[Tensor, Tensor]:
        """What the model itself thinks of mouths beside sounds.

        Args:
            mouths: Shape (N, frames, 48, 80), [0, 1].
            heard: a of each mouth's own moment in the middle, and of shifts. Shape (N, S, d).

        Returns:
            The share p (eq. 8) of the own moment among the shifts, and its rank among them, 1 the
            best; what scores the same to within some thousandths counts in part, so that the rank
            does not jump. Shapes (N,).
        """
        similarity = torch.einsum("ne,nse->ns", self.see(mouths), self.listen(heard))
        middle = similarity.shape[1] // 2
        share = (similarity / self.temperature).softmax(1)[:, middle]
        above = (similarity - similarity[:, middle : middle + 1]) / _SAME
        # The own moment is as good as itself.
        return share, 0.5 + torch.sigmoid(above).sum(1)


def contrastive_loss(seen: Tensor, heard: Tensor, temperature: Tensor) -> Tensor:
    """L_con (eq. 10 and 16): cross-entropy of a matrix's rows and of its columns.

    Args:
        seen: Unit vectors g_v(v). Shape (N, E).
        heard: Unit vectors g_a(a) in the same order. Shape (N, E).
        temperature: τ. Shape ().
    """
    logits = seen @ heard.T / temperature
    diagonal = torch.arange(len(seen), device=seen.device)
    rows = functional.cross_entropy(logits, diagonal)
    return (rows + functional.cross_entropy(logits.T, diagonal)) / 2


def grey_mouths(crops: Tensor, centres: Tensor, unit_px: float) -> Tensor:
    """Windows around the mouth at rest, whatever the lips do.

    Args:
        crops: RGB, [0, 1]. Shape (T, 3, H, W).
        centres: Of the resting lips, crop px, xy. Shape (T, 2).
        unit_px: One inter-ocular distance, px.

    Returns:
        Luma. Shape (T, 48, 80).
    """
    height, width = MOUTH_SIZE
    pixel = MOUTH_HEIGHT * unit_px / height
    y = (torch.arange(height, device=crops.device) - (height - 1) / 2) * pixel
    x = (torch.arange(width, device=crops.device) - (width - 1) / 2) * pixel
    window = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).flip(-1)
    grid = normalised(centres[:, None, None] + window, (crops.shape[2], crops.shape[3]))
    grey = (crops.float() * crops.new_tensor(_LUMA).float()[:, None, None]).sum(1, keepdim=True)
    return functional.grid_sample(grey, grid.float(), padding_mode="border", align_corners=False)[
        :, 0
    ]


def resting_centres(placed: Tensor) -> Tensor:
    """Middles of the lips of resting speaking points under each pose, (T, S, 2) to (T, 2)."""
    return placed[:, _LIPS].mean(1)
