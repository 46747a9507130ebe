"""Sizes and variants of IPTalker, and the named ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from dubcli.core.types import FEATURE_SIZES
from dubcli.models.common.masks import MaskKind


@dataclass(frozen=True, kw_only=True)
class IPTalkerConfig:
    """Sizes and variants. The repainted box is a multiple of 4 px high and wide."""

    height: int = 208
    width: int = 160
    box_top: float = 80 / 208
    num_references: int = 4
    channels: int = 64
    warp_channels: int = 64
    decoder_channels: int = 48
    spade_channels: int = 32
    embedding: int = 192
    audio_kind: str = "speech"
    audio_width: int = 128
    audio_dropout: float = 0.2
    num_alignment_units: int = 2
    num_heads: int = 4
    num_coefficients: int = 16
    align_to_references: bool = True
    mask: MaskKind = "fixed"
    geometry_map: bool = True
    fusion: Literal["select", "plain"] = "select"

    @property
    def audio_size(self) -> int:
        """Values of one audio step."""
        return FEATURE_SIZES[self.audio_kind]

    @property
    def top(self) -> int:
        """First repainted row, px."""
        return round(self.box_top * self.height)

    @property
    def unit_px(self) -> float:
        """One inter-ocular distance of the crop template, px."""
        return 0.28 * self.height


PAPER = IPTalkerConfig(
    height=416,
    width=320,
    box_top=0.0,
    channels=128,
    warp_channels=128,
    decoder_channels=128,
    spade_channels=128,
    embedding=512,
    num_alignment_units=4,
    num_heads=8,
    mask="hull",
    geometry_map=False,
    fusion="plain",
)
# For tests: a network that runs and learns in milliseconds, with every block of the default.
_TINY = IPTalkerConfig(
    height=104,
    width=80,
    num_references=2,
    channels=16,
    warp_channels=16,
    decoder_channels=16,
    spade_channels=8,
    embedding=32,
    audio_kind="mel",
    audio_width=32,
    num_alignment_units=1,
    num_heads=2,
    num_coefficients=4,
)
NAMED_CONFIGS: dict[str, IPTalkerConfig] = {
    "default": IPTalkerConfig(),
    "few-people": replace(IPTalkerConfig(), align_to_references=False),
    "tiny": _TINY,
    "paper": PAPER,
    "small-paper": replace(IPTalkerConfig(), mask="hull", geometry_map=False, fusion="plain"),
}
