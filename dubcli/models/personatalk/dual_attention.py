"""Section 3.2: the dual-attention face renderer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from dubcli.models.common.encoders import PictureEncoder
from dubcli.models.common.layers import ResidualBlock, conv
from dubcli.models.common.lip_windows import cut_windows, put_back
from dubcli.models.personatalk.config import PersonaTalkConfig
from dubcli.models.personatalk.lower_face_mesh import NUM_CHANNELS as NUM_COORDINATES

# RGB of the pixels of a cell.
NUM_PIXELS = 48
# Waves of a place within the window that keys and queries are told.
_WAVES = (0.5, 1.0, 2.0, 4.0)
_FULL = 8
# A reference whose best logit is this far behind everywhere has a share of less than 1 in 2500
# of the values, for a window of a few hundred cells.
_FAR_BEHIND = 14.0
# Cells along a side of a tile, and the logit of what a place does not see.
_TILE, _NOWHERE = 8, 1e9


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Pictures as what attention looks up. At H/4; leading dimensions as the caller has them.

    Attributes:
        keys: Shape (..., d, y, x).
        values: Texture features, RGB of each cell's pixels, coordinates on the mean face.
            Shape (..., C + 48 + 3, y, x).
        coordinates: Shape (..., 3, y, x).
    """

    keys: Tensor
    values: Tensor
    coordinates: Tensor


class GeometryEncoder(nn.Module):
    """E_geo: PNCC at H/2 to features at H/4."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(NUM_COORDINATES, channels // 2)
        self.norm = nn.GroupNorm(8, channels // 2)
        self.second = conv(channels // 2, channels, stride=2)
        self.block = ResidualBlock(channels)

    def forward(self, pncc: Tensor) -> Tensor:
        """(T, 3, h/2, w/2) to (T, C, h/4, w/4)."""
        x = functional.silu(self.norm(self.first(pncc)))
        return self.block(self.second(x))


class TextureAttention(nn.Module):
    """One attention: geometry asks, geometry of references answers with their texture.

    Logits begin as the negative squared distance on the mean face: which place of a reference
    shows a place of the face is known, and need not be learned.
    """

    def __init__(self, config: PersonaTalkConfig) -> None:
        super().__init__()
        self.size = config.key_size
        self.query = conv(config.channels, config.key_size, 1)
        self.key = conv(config.channels, config.key_size, 1)
        places = 4 * len(_WAVES)
        self.query_place = nn.Linear(places, config.key_size)
        self.key_place = nn.Linear(places, config.key_size)
        self.is_geometric = config.geometric_sharpness > 0
        if self.is_geometric:
            self.log_sharpness = nn.Parameter(torch.tensor(math.log(config.geometric_sharpness)))

    def queries(self, features: Tensor) -> Tensor:
        """Features (T, C, y, x) to (T, d, y, x)."""
        return self.query(features) + _places(self.query_place, features)

    def keys(self, features: Tensor) -> Tensor:
        """Features (T, C, y, x) to (T, d, y, x)."""
        return self.key(features) + _places(self.key_place, features)

    def extended(self, wanted: Tensor, coordinates: Tensor, *, is_query: bool) -> Tensor:
        """Queries or keys (..., d, y, x) with terms whose products are the squared distance.

        -g |a - b|² is 2 g a·b - g |b|² but for what all keys share.
        """
        scaled = wanted.float() / math.sqrt(math.sqrt(self.size))
        if not self.is_geometric:
            return scaled
        centred = coordinates.float() - 0.5
        root = self.log_sharpness.float().exp().sqrt()
        square = centred.square().sum(-3, keepdim=True)
        if is_query:
            return torch.cat([scaled, 2 * root * centred, -root * torch.ones_like(square)], -3)
        return torch.cat([scaled, root * centred, root * square], -3)

    def look_up(self, asking: Encoded, references: Encoded, liking: Tensor | None = None) -> Tensor:
        """Values (T, Dv, y, x) of all places of references (B, N, ..., y, x) that T frames ask.

        The frames of one of the B sets follow each other. `liking` (T, N), if there is one set, is
        added to the logits of all places of a reference; references that it leaves next to no share
        anywhere are left out.
        """
        height = asking.keys.shape[-2]
        q = self.extended(asking.keys, asking.coordinates, is_query=True)
        k = self.extended(references.keys, references.coordinates, is_query=False)
        q = rearrange(q, "t d y x -> t (y x) d")
        k = rearrange(k, "b n d y x -> b d (n y x)")
        v = rearrange(references.values.float(), "b n d y x -> b (n y x) d")
        q = q.unflatten(0, (len(k), -1))
        # One frame after the other: all logits together would not fit.
        told: list[Tensor] = []
        for at in range(q.shape[1]):
            logits, seen = q[:, at] @ k, v
            if liking is not None:
                logits, seen = _of_the_liked(logits, v, liking[at])
            told.append(torch.softmax(logits, -1) @ seen)
        return rearrange(torch.stack(told, 1), "b f (y x) d -> (b f) d y x", y=height)

    def look_near(self, asking: Encoded, face: Encoded, reach: int) -> Tensor:
        """Values (T, Dv, y, x) of the neighbourhood of each place in N pictures (T, N, ...)."""
        q = self.extended(asking.keys, asking.coordinates, is_query=True)
        k = self.extended(face.keys, face.coordinates, is_query=False)
        height, width = q.shape[-2:]
        below, beside = -height % _TILE, -width % _TILE
        around = (reach, reach + beside, reach, reach + below)
        side = _TILE + 2 * reach
        # Tile by tile: products of matrices are faster than one shift after the other.
        q = rearrange(
            _tiles(functional.pad(q, (0, beside, 0, below)), _TILE),
            "t d j i y x -> (t j i) (y x) d",
        )
        k = rearrange(_tiles(functional.pad(k, around), side), "t n d j i y x -> (t j i) d (n y x)")
        v = functional.pad(face.values.float(), around)
        v = rearrange(_tiles(v, side), "t n d j i y x -> (t j i) (n y x) d")
        inside = functional.pad(q.new_ones(1, height, width), around)
        kept = rearrange(_tiles(inside, side), "1 j i y x -> (j i) 1 (y x)") * _within(reach, q)
        logits = (q @ k).unflatten(-1, (face.keys.shape[1], -1)).unflatten(0, (-1, len(kept)))
        logits = logits + ((kept - 1) * _NOWHERE)[:, :, None]
        told = logits.flatten(0, 1).flatten(-2).softmax(-1) @ v
        columns = (width + beside) // _TILE
        told = rearrange(
            told, "(t j i) (y x) d -> t d (j y) (i x)", t=len(face.keys), i=columns, y=_TILE
        )
        return told[..., :height, :width]


def _of_the_liked(logits: Tensor, values: Tensor, liking: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and values without references that no place would take a visible share of.

    Args:
        logits: Without liking. Shape (B, P, N cells).
        values: Shape (B, N cells, Dv).
        liking: Shape (N,).
    """
    each = logits.unflatten(-1, (len(liking), -1))
    best = each.amax(-1) + liking
    behind = (best - best.amax(-1, keepdim=True)).amax((0, 1))
    kept = (behind > -_FAR_BEHIND).nonzero()[:, 0]
    each = each[:, :, kept] + liking[kept][:, None]
    return each.flatten(-2), values.unflatten(1, (len(liking), -1))[:, kept].flatten(1, 2)


def _tiles(maps: Tensor, side: int) -> Tensor:
    """Squares that begin at every `_TILE`-th cell: (..., h, w) to (..., j, i, side, side)."""
    return maps.unfold(-2, side, _TILE).unfold(-2, side, _TILE)


def _within(reach: int, like: Tensor) -> Tensor:
    """1 where a place of a tile (rows) has a place of its surroundings (columns) within reach."""
    step = (
        torch.arange(_TILE + 2 * reach, device=like.device)
        - torch.arange(_TILE, device=like.device)[:, None]
    )
    near = ((step >= 0) & (step <= 2 * reach)).to(like)
    return torch.einsum("ab,cd->acbd", near, near).flatten(0, 1).flatten(1)


def _places(layer: nn.Linear, features: Tensor) -> Tensor:
    """What a layer makes of each cell's place in the window, 0 to 1. Shape (d, y, x)."""
    height, width = features.shape[-2:]
    axes = [
        (torch.arange(num, device=features.device, dtype=layer.weight.dtype) + 0.5) / num
        for num in (height, width)
    ]
    at = torch.stack(torch.meshgrid(axes[0], axes[1], indexing="ij"), -1)
    angles = (math.pi * at[..., None] * at.new_tensor(_WAVES)).flatten(2)
    return layer(torch.cat([angles.sin(), angles.cos()], -1)).permute(2, 0, 1)


class DualDecoder(nn.Module):
    """Attended textures and the wanted geometry to a picture: what is added to copied pixels."""

    def __init__(self, config: PersonaTalkConfig) -> None:
        super().__init__()
        channels, fine = config.channels, config.fine
        self.enter = conv(2 * channels + NUM_PIXELS, channels, 1)
        self.block = ResidualBlock(channels)
        self.to_half = conv(channels, 4 * fine)
        self.at_half = conv(fine + NUM_PIXELS // 4 + NUM_COORDINATES, fine)
        self.to_full = conv(fine, 4 * _FULL)
        self.out = conv(_FULL + 3, 3)
        self.shuffle = nn.PixelShuffle(2)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, features: Tensor, pixels: Tensor, geometry: Tensor, pncc: Tensor) -> Tensor:
        """RGB (T, 3, h, w).

        Args:
            features: Attended. Shape (T, C, h/4, w/4).
            pixels: Attended RGB of each cell's pixels. Shape (T, 48, h/4, w/4).
            geometry: Of the wanted face. Shape (T, C, h/4, w/4).
            pncc: Of the wanted face. Shape (T, 3, h/2, w/2).
        """
        copied = functional.pixel_shuffle(pixels, 4)
        x = self.block(self.enter(torch.cat([features, geometry.float(), pixels], 1)))
        x = functional.silu(self.shuffle(self.to_half(functional.silu(x))))
        half = functional.pixel_unshuffle(copied, 2)
        x = functional.silu(self.at_half(torch.cat([x, half.to(x.dtype), pncc.to(x.dtype)], 1)))
        x = functional.silu(self.shuffle(self.to_full(x)))
        return copied + self.out(torch.cat([x, copied.to(x.dtype)], 1)).float()


class DualAttentionRenderer(nn.Module):
    """E_geo, E_tex, Lip-Attention, Face-Attention and the decoder."""

    def __init__(self, config: PersonaTalkConfig) -> None:
        super().__init__()
        self.config = config
        self.geometry = GeometryEncoder(config.channels)
        self.texture = PictureEncoder(3, 0, config.channels)
        self.lips = TextureAttention(config)
        self.face = TextureAttention(config) if config.attention == "dual" else None
        self.decoder = DualDecoder(config)

    def encoded(
        self, attention: TextureAttention, pictures: Tensor, pncc: Tensor, corners: Tensor | None
    ) -> Encoded:
        """References of an attention.

        Args:
            attention: Which.
            pictures: Box, [0, 1]. Shape (N, 3, h, w).
            pncc: Shape (N, 3, h/2, w/2).
            corners: Of windows to cut out; None: the whole box. Shape (N, 2).
        """
        geometry = self.geometry(pncc)
        coordinates = functional.avg_pool2d(pncc, 2)
        values = torch.cat(
            [
                self.texture(pictures, None).float(),
                functional.pixel_unshuffle(pictures.float(), 4),
                coordinates,
            ],
            1,
        )
        if corners is not None:
            geometry, values, coordinates = (
                cut_windows(x, corners, self.config.window_cells)
                for x in (geometry, values, coordinates)
            )
        return Encoded(keys=attention.keys(geometry), values=values, coordinates=coordinates)

    def attended(
        self,
        geometry: Tensor,
        coordinates: Tensor,
        corners: Tensor,
        lips: Encoded,
        face: Encoded | None,
        share: Tensor,
        liking: Tensor | None = None,
    ) -> Tensor:
        """Eq. 4: LipAttn · M^l + FaceAttn · (1 - M^l). Shape (T, C + 48 + 3, h/4, w/4).

        Args:
            geometry: E_geo of the wanted face. Shape (T, C, h/4, w/4).
            coordinates: Its PNCC. Shape (T, 3, h/4, w/4).
            corners: Windows around the wanted lips. Shape (T, 2).
            lips: References of B clips, (B, N, ..., y, x).
            face: N a frame, (T, N, ..., h/4, w/4).
            share: M^l. Shape (T, 1, h/4, w/4).
            liking: How much each lip reference is preferred. Shape (T, N).
        """
        cells = self.config.window_cells
        window = cut_windows(geometry, corners, cells)
        where = cut_windows(coordinates, corners, cells)
        asking = Encoded(keys=self.lips.queries(window), values=window, coordinates=where)
        from_lips = self.lips.look_up(asking, lips, liking)
        if self.face is None or face is None:
            nothing = from_lips.new_zeros(len(geometry), from_lips.shape[1], *geometry.shape[-2:])
            return put_back(nothing, from_lips, corners)
        asking = Encoded(keys=self.face.queries(geometry), values=geometry, coordinates=coordinates)
        from_face = self.face.look_near(asking, face, self.config.reach)
        everywhere = put_back(from_face, from_lips, corners)
        return share * everywhere + (1 - share) * from_face
