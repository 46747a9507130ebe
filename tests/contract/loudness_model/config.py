"""Sizes of Loudness, and the named ones."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LoudnessConfig:
    """Sizes.

    Attributes:
        height: Of the crop, px.
        width: Of the crop, px.
        channels: Of the painting network.
        motion_context: Frames on either side that a frame's mouth is predicted from.
    """

    height: int = 208
    width: int = 160
    channels: int = 8
    motion_context: int = 2


NAMED_CONFIGS = {"default": LoudnessConfig(), "tiny": LoudnessConfig(height=104, width=80)}
