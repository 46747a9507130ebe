"""Sizes that several models' configurations have, and what such configurations are refused for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from dubcli.core.errors import ConfigError
from dubcli.core.types import FEATURE_SIZES
from dubcli.models.common.encoders import DilatedAudioEncoder

# Audio steps from moment to moment: 40 ms at 80 steps a second.
_FRAME_STEPS = 3.2


@dataclass(frozen=True, kw_only=True)
class CropConfig:
    """Sizes of a model that repaints the lower part of a crop, with a mouth that it predicts.

    Attributes:
        height: Of the crop, px.
        width: Of the crop, px.
        box_top: First repainted row, share of the height.
        audio_kind: Features of the sound.
        audio_smoothing: Coefficients are averaged over shifts of the sound, Gaussian with this
            spread, feature steps; 0 for none.
        num_coefficients: P, of the mouth.
    """

    height: int = 208
    width: int = 160
    box_top: float = 80 / 208
    audio_kind: str = "speech"
    audio_smoothing: int = 2
    num_coefficients: int = 32

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


@dataclass(frozen=True, kw_only=True)
class LipWindowConfig(CropConfig):
    """Sizes of a model that looks at windows around the lips.

    Attributes:
        lip_height: Of the windows, share of the crop's height.
        lip_width: Of the windows, share of the crop's width.
    """

    lip_height: float = 64 / 208
    lip_width: float = 96 / 160

    @property
    def window_cells(self) -> tuple[int, int]:
        """Height and width of the windows around the lips at H/4."""
        return round(self.lip_height * self.height / 4), round(self.lip_width * self.width / 4)


@dataclass(frozen=True, kw_only=True)
class MomentConfig(CropConfig):
    """Sizes of a model whose mouths come of moments of sound that attend to each other.

    Attributes:
        num_moments: T, moments of 40 ms; odd.
        token: Size of a moment's features.
        num_layers: Of the attention.
        num_heads: Of the attention.
        token_dropout: In the attention.
        mouth_width: Feature steps that each moment hears.
        mouth_dropout: Of what hears them.
    """

    num_moments: int
    token: int = 160
    num_layers: int = 3
    num_heads: int = 4
    token_dropout: float = 0.1
    mouth_width: int = 92
    mouth_dropout: float = 0.4

    @property
    def moment_steps(self) -> tuple[int, ...]:
        """Audio steps from a frame to the moments around it."""
        half = self.num_moments // 2
        return tuple(round(_FRAME_STEPS * place) for place in range(-half, half + 1))


def check_words(config: CropConfig, words: Mapping[str, Any]) -> None:
    """Refuse words that are not known.

    Args:
        config: Its `audio_kind` is checked, too.
        words: Names of its fields, each with the `Literal` of its words.

    Raises:
        ConfigError: One is unknown.
    """
    known = {name: get_args(kind) for name, kind in words.items()}
    for name, allowed in {**known, "audio_kind": tuple(FEATURE_SIZES)}.items():
        value = getattr(config, name)
        if value not in allowed:
            raise ConfigError(f"{name} = {value!r} is unknown.", f"Known: {', '.join(allowed)}.")


def check_odd(config: CropConfig, name: str) -> None:
    """Refuse an even number of frames or moments, which would have no middle.

    Raises:
        ConfigError: It is even.
    """
    value = getattr(config, name)
    if value % 2 == 0:
        raise ConfigError(f"{name} = {value} has no middle.", "Choose an odd number.")


def check_dilated_width(config: CropConfig, name: str) -> None:
    """Refuse windows of sound that are too short for `DilatedAudioEncoder`.

    Raises:
        ConfigError: They are.
    """
    value, least = getattr(config, name), DilatedAudioEncoder.LEAST_WIDTH
    if value < least:
        raise ConfigError(
            f"{name} = {value}, but the dilated encoder hears {least} steps.",
            f"Make {name} {least} or larger.",
        )
