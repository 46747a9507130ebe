"""Sizes and variants of PersonaTalk, and the named ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dubcli.models.common.config_parts import (
    LipWindowConfig,
    MomentConfig,
    check_dilated_width,
    check_odd,
    check_words,
)

TextureAttention = Literal["dual", "single"]
GeometrySource = Literal["detected", "fitted"]


@dataclass(frozen=True, kw_only=True)
class PersonaTalkConfig(MomentConfig, LipWindowConfig):
    """Sizes and variants. The repainted box is a multiple of 8 px high and wide.

    The bases have the rest: sizes that other models have, too.

    Attributes:
        num_moments: T, moments of 40 ms that attend to each other; odd.
        has_style: The geometry half is told the person's style.
        carries_amplitude: Mean mouth and spread of the style are those of what is made; otherwise
            the style only conditions what is made, as in the paper.
        geometry: Rest and expression of the person: `detected` landmarks, or `fitted` to them over
            the video as in eq. 1 and 2.
        num_shapes: Of the identity basis that is fitted.
        num_lips: N_l, lip references in use.
        train_lips: N_l in training.
        num_faces: N_f, frames around the current one that Face-Attention looks in, in use; odd.
            Training shows one.
        channels: C of geometry and texture features at H/4.
        key_size: Of queries and keys.
        reach: Cells on either side that Face-Attention looks at.
        attention: `dual`; `single`: Lip-Attention alone, over the window, without M^l.
        geometric_sharpness: Weight of the squared distance on the mean face in the logits at the
            start of training; 0 leaves finding correspondences to training.
        fine: Width of the decoder at H/2.
        own_skin: Around the lips the frame's own skin is kept, deformed to the new jaw.

    Raises:
        ConfigError: An unknown word, or sizes that exclude each other.
    """

    num_moments: int = 21
    has_style: bool = True
    carries_amplitude: bool = True
    geometry: GeometrySource = "detected"
    num_shapes: int = 24
    num_lips: int = 25
    train_lips: int = 5
    num_faces: int = 1
    channels: int = 64
    key_size: int = 32
    reach: int = 2
    attention: TextureAttention = "dual"
    geometric_sharpness: float = 200.0
    fine: int = 24
    own_skin: bool = True

    def __post_init__(self) -> None:
        check_words(self, {"attention": TextureAttention, "geometry": GeometrySource})
        check_odd(self, "num_moments")
        check_odd(self, "num_faces")
        check_dilated_width(self, "mouth_width")

    @property
    def style_size(self) -> int:
        """Values of a style: S, and with `carries_amplitude` a spread and mean coefficients."""
        return self.token + (1 + self.num_coefficients if self.carries_amplitude else 0)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """y0, y1, x0, x1 of the repainted part, crop px."""
        return self.top, self.height, 0, self.width

    @property
    def cells(self) -> tuple[int, int]:
        """Height and width of the box at H/4."""
        return (self.height - self.top) // 4, self.width // 4


# Sizes of the paper where it tells them, else those that its figures suggest; for a GPU.
PAPER = PersonaTalkConfig(
    height=256,
    width=256,
    box_top=0.0,
    token=256,
    num_moments=41,
    num_layers=4,
    num_coefficients=64,
    geometry="fitted",
    num_faces=5,
    num_shapes=80,
    channels=256,
    key_size=256,
    reach=3,
    lip_height=1.0,
    lip_width=1.0,
    geometric_sharpness=0.0,
    carries_amplitude=False,
    fine=64,
    own_skin=False,
)
# For tests: a network that runs and learns in milliseconds, with every block of the default.
_TINY = PersonaTalkConfig(
    height=104,
    width=80,
    token=16,
    num_moments=3,
    num_layers=1,
    num_heads=2,
    num_coefficients=4,
    audio_kind="mel",
    num_lips=3,
    train_lips=2,
    channels=16,
    key_size=8,
    reach=1,
    fine=8,
)
NAMED_CONFIGS: dict[str, PersonaTalkConfig] = {
    "default": PersonaTalkConfig(),
    "whisper": PersonaTalkConfig(audio_kind="speech+whisper"),
    "tiny": _TINY,
    "paper": PAPER,
}
