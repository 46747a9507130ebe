"""Section 3.2: the decoder, the soft-mask composite and the blend net; masks of several sizes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dubcli.models.common.layers import ResidualBlock, concatenated, conv
from dubcli.models.common.masks import mouth_mask
from dubcli.models.common.mouth_map import NUM_CHANNELS
from dubcli.models.g4g.config import SCALES, G4GConfig

# Rows and columns of the masks around the mouth, shares of the crop: y0, y1, x0, x1.
_MOUTH = (96 / 208, 160 / 208, 32 / 160, 128 / 160)
_SQUARE = (80 / 208, 1.0, 16 / 160, 144 / 160)
# Spread of the Gaussian that smooths a mask, inter-ocular distances, and its reach, spreads.
_SMOOTHING, _REACH = 0.07, 2


class StackDecoder(nn.Module):
    """F_s ‖ F_d to the picture, by PixelShuffle, and how much each reference counts."""

    def __init__(self, config: G4GConfig) -> None:
        super().__init__()
        channels, wide, fine = config.channels, config.wide, config.fine
        # F_s, colours of what is shown and the mask, F_d with the references' colours.
        self.enter = conv(channels + 4 + config.reference_channels, channels)
        self.to_half = conv(channels, 4 * wide)
        self.shuffle = nn.PixelShuffle(2)
        self.join = conv(wide + NUM_CHANNELS, wide) if config.drawn_mouth else None
        self.block = ResidualBlock(wide)
        self.to_full = conv(wide, 4 * fine)
        self.out = conv(fine, 3, 7)
        self.share: nn.Conv2d | None = None
        if config.copies_pixels:
            self.share = conv(fine, config.num_references + 1)
            # All references and the painted picture count alike to begin with.
            nn.init.zeros_(self.share.weight)
            assert self.share.bias is not None
            nn.init.zeros_(self.share.bias)

    def forward(
        self, source: Tensor, hidden: Tensor, deformed: Tensor, drawn: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """What is painted (T, 3, h, w), [0, 1], and logits of what counts.

        The logits are of each reference and, last, of the painted picture, (T, N + 1, h, w); None
        without copied pixels.

        Args:
            source: F_s. Shape (T, C, h/4, w/4).
            hidden: The source where it is not hidden, and the mask. Shape (T, 4, h, w).
            deformed: F_d with colours. Shape (T, C + 3 N, h/4, w/4).
            drawn: The mouth, drawn at H/2; not looked at without a drawn mouth.
                Shape (T, 3, h/2, w/2).
        """
        shown = functional.avg_pool2d(hidden, 4)
        joined = concatenated([source, shown, deformed])
        x = functional.silu(self.enter(joined))
        x = self.shuffle(self.to_half(x))
        if self.join is not None:
            x = self.join(concatenated([x, drawn]))
        x = self.shuffle(self.to_full(functional.silu(self.block(x))))
        x = functional.silu(x)
        shares = None if self.share is None else self.share(x).float()
        return torch.sigmoid(self.out(x).float()), shares


class BlendNet(nn.Module):
    """A U-Net of three levels that predicts the picture, not a residual.

    Its last convolution begins as a copy of the composite, which it sees beside the features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second, third = width, 2 * width, 3 * width
        self.in1, self.in2 = conv(7, first), conv(first, first)
        self.down1, self.mid1 = conv(first, second, stride=2), conv(second, second)
        self.down2, self.mid2 = conv(second, third, stride=2), conv(third, third)
        self.up1, self.up2 = conv(third + second, second), conv(second + first, first)
        self.out = conv(first + 3, 3)
        with torch.no_grad():
            self.out.weight[:, first:] = 0
            for channel in range(3):
                self.out.weight[channel, first + channel, 1, 1] = 1
            self.out.weight[:, :first] *= 0.1
            nn.init.zeros_(self.out.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, composite: Tensor, outside: Tensor, soft: Tensor) -> Tensor:
        """The picture (T, 3, h, w).

        Args:
            composite: Shape (T, 3, h, w).
            outside: The source, hidden inside the soft mask. Shape (T, 3, h, w).
            soft: Shape (T, 1, h, w).
        """
        seen = concatenated([composite, outside, soft])
        full = functional.silu(self.in2(functional.silu(self.in1(seen))))
        half = functional.silu(self.mid1(functional.silu(self.down1(full))))
        x = functional.silu(self.mid2(functional.silu(self.down2(half))))
        x = functional.silu(self.up1(concatenated([_twice(x), half])))
        x = functional.silu(self.up2(concatenated([_twice(x), full])))
        return self.out(concatenated([x, composite])).float()


def _twice(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="nearest")


def scale_masks(crops: Tensor) -> Tensor:
    """1 where a mask hides the source, of each size in the order of `SCALES`.

    Args:
        crops: Shape (T, 3, H, W).

    Returns:
        Shape (number of masks, 1, H, W).
    """
    lower = mouth_mask("fixed", crops[:1], torch.empty(0))[0]
    masks = [_rectangle(place, lower) for place in (_MOUTH, _SQUARE)]
    masks.append(lower)
    assert len(masks) == len(SCALES)
    return torch.stack(masks)


def _rectangle(place: tuple[float, float, float, float], like: Tensor) -> Tensor:
    height, width = like.shape[-2:]
    y0, y1, x0, x1 = place
    mask = torch.zeros_like(like)
    mask[:, round(y0 * height) : round(y1 * height), round(x0 * width) : round(x1 * width)] = 1
    return mask


def soft_mask(mask: Tensor, unit_px: float) -> Tensor:
    """Gaussian-smoothed masks (T, 1, h, w) that are 0 wherever the source is not hidden."""
    spread = max(1.0, _SMOOTHING * unit_px)
    reach = round(_REACH * spread)
    place = torch.arange(-reach, reach + 1, device=mask.device, dtype=mask.dtype)
    kernel = torch.exp(-0.5 * (place / spread) ** 2)
    kernel = kernel / kernel.sum()
    padded = functional.pad(mask, (reach,) * 4, mode="replicate")
    across = functional.conv2d(padded, kernel.reshape(1, 1, 1, -1))
    smooth = functional.conv2d(across, kernel.reshape(1, 1, -1, 1))
    # Half the way at an edge: what lies beyond it is shown, and nothing of it is replaced.
    return mask * (2 * smooth - 1).clamp(0, 1)


def composite_of(made: Tensor, source: Tensor, soft: Tensor) -> Tensor:
    """Soft · Î + (1 - soft) · I, all (T, C, h, w)."""
    return soft * made + (1 - soft) * source
