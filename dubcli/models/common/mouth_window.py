"""The part of the repainted box that a generated mouth is seen in.

Around it the frame's own skin stays, so what a network would paint there need not be worked out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dubcli.models.common.mouth_map import OUTER

# The generated part reaches this far beyond the lips and fades out over this, inter-ocular units.
LIP_MARGIN, LIP_SOFTNESS = 0.14, 0.035
# A generated pixel of less weight cannot be seen.
_LEAST_SHARE = 1 / 256
# How far convolutions carry the part's edge inwards, to where its weight is still next to nothing,
# and how far shares are carried outwards as they are enlarged, px.
_BORDER_PX = 4
# Parts begin and end at whole cells of so many px: few different sizes, each of which the
# convolutions' code is prepared for.
_CELL_PX = 8


@dataclass(frozen=True, kw_only=True)
class BoxPart:
    """Rows `top` to `bottom` and columns `left` to `right` of the box, half-open, px."""

    top: int
    bottom: int
    left: int
    right: int

    def of(self, maps: Tensor, stride: int = 1) -> Tensor:
        """This part of maps (..., h / stride, w / stride), a view of them."""
        rows = slice(self.top // stride, self.bottom // stride)
        return maps[..., rows, self.left // stride : self.right // stride]


def mouth_part(speaking: Tensor, size: tuple[int, int], top: int, unit_px: float) -> BoxPart:
    """The part that holds the generated mouths of all frames, see `own_skin.mouth_share`.

    Args:
        speaking: Wanted speaking points, crop px. Shape (T, S, 2).
        size: Height and width of the box, px.
        top: First row of the box in the crop.
        unit_px: One inter-ocular distance, px.
    """
    reach = (LIP_MARGIN + LIP_SOFTNESS * math.log(1 / _LEAST_SHARE)) * unit_px + _BORDER_PX
    lips = speaking[:, OUTER].detach().float().flatten(0, 1).cpu() - torch.tensor([0.0, top])
    # Points of bad weights may be no numbers; a part is some part all the same.
    low, high = (lips.amin(0) - reach).nan_to_num(0), (lips.amax(0) + reach).nan_to_num(1e6)
    left, right = _whole_cells(float(low[0]), float(high[0]), size[1])
    first, last = _whole_cells(float(low[1]), float(high[1]), size[0])
    return BoxPart(top=first, bottom=last, left=left, right=right)


def _whole_cells(low: float, high: float, length: int) -> tuple[int, int]:
    """The cells that a stretch touches, within a length; at least one."""
    first = min(max(0, math.floor(low / _CELL_PX)), (length - 1) // _CELL_PX)
    last = max(first + 1, math.ceil(min(high, length) / _CELL_PX))
    return first * _CELL_PX, min(last * _CELL_PX, length)
