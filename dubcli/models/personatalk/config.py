"""Sizes and variants of PersonaTalk, and the named ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from dubcli.core.errors import ConfigError
from dubcli.core.types import FEATURE_SIZES
from dubcli.models.common.encoders import DilatedAudioEncoder

TextureAttention = Literal["dual", "single"]
GeometrySource = Literal["detected", "fitted"]
# Audio steps from moment to moment: 40 ms at 80 steps a second.
FRAME_STEPS = 3.2


@dataclass(frozen=True, kw_only=True)
class PersonaTalkConfig:
    """Sizes and variants. The repainted box is a multiple of 8 px high and wide.

    Attributes:
        height: Of the crop, px.
        width: Of the crop, px.
        box_top: First repainted row, share of the height.
        token: D, size of the geometry half's features.
        num_moments: T, moments of 40 ms that attend to each other; odd.
        num_layers: Of the geometry half's self-attention.
        num_heads: Of it.
        token_dropout: In it.
        num_coefficients: P, of the mouth.
        audio_kind: Features of the sound.
        mouth_width: Feature steps that each moment hears.
        mouth_dropout: Of what hears them.
        audio_smoothing: Coefficients are averaged over shifts of the sound, Gaussian with this
            spread, feature steps; 0 for none.
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
        lip_height: Of the windows around the lips, share of the crop's height.
        lip_width: Of the windows around the lips, share of the crop's width.
        attention: `dual`; `single`: Lip-Attention alone, over the window, without M^l.
        geometric_sharpness: Weight of the squared distance on the mean face in the logits at the
            start of training; 0 leaves finding correspondences to training.
        fine: Width of the decoder at H/2.
        own_skin: Around the lips the frame's own skin is kept, deformed to the new jaw.

    Raises:
        ConfigError: An unknown word, or sizes that exclude each other.
    """

    height: int = 208
    width: int = 160
    box_top: float = 80 / 208
    token: int = 160
    num_moments: int = 21
    num_layers: int = 3
    num_heads: int = 4
    token_dropout: float = 0.1
    num_coefficients: int = 32
    audio_kind: str = "speech"
    mouth_width: int = 92
    mouth_dropout: float = 0.4
    audio_smoothing: int = 2
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
    lip_height: float = 64 / 208
    lip_width: float = 96 / 160
    attention: TextureAttention = "dual"
    geometric_sharpness: float = 200.0
    fine: int = 24
    own_skin: bool = True

    def __post_init__(self) -> None:
        for name, words in (("attention", TextureAttention), ("geometry", GeometrySource)):
            value, known = getattr(self, name), get_args(words)
            if value not in known:
                raise ConfigError(f"{name} = {value!r} is unknown.", f"Known: {', '.join(known)}.")
        if self.audio_kind not in FEATURE_SIZES:
            kinds = ", ".join(FEATURE_SIZES)
            raise ConfigError(f"audio_kind = {self.audio_kind!r} is unknown.", f"Known: {kinds}.")
        for name in ("num_moments", "num_faces"):
            value = getattr(self, name)
            if value % 2 == 0:
                raise ConfigError(f"{name} = {value} has no middle.", "Choose an odd number.")
        least = DilatedAudioEncoder.LEAST_WIDTH
        if self.mouth_width < least:
            raise ConfigError(
                f"mouth_width = {self.mouth_width} is less than {least}.", "Make it larger."
            )

    @property
    def audio_size(self) -> int:
        """Values of one audio step."""
        return FEATURE_SIZES[self.audio_kind]

    @property
    def style_size(self) -> int:
        """Values of a style: S, and with `carries_amplitude` a spread and mean coefficients."""
        return self.token + (1 + self.num_coefficients if self.carries_amplitude else 0)

    @property
    def top(self) -> int:
        """First repainted row, px."""
        return round(self.box_top * self.height)

    @property
    def unit_px(self) -> float:
        """One inter-ocular distance of the crop template, px."""
        return 0.28 * self.height

    @property
    def box(self) -> tuple[int, int, int, int]:
        """y0, y1, x0, x1 of the repainted part, crop px."""
        return self.top, self.height, 0, self.width

    @property
    def cells(self) -> tuple[int, int]:
        """Height and width of the box at H/4."""
        return (self.height - self.top) // 4, self.width // 4

    @property
    def window_cells(self) -> tuple[int, int]:
        """Height and width of the windows around the lips at H/4."""
        return round(self.lip_height * self.height / 4), round(self.lip_width * self.width / 4)

    @property
    def moment_steps(self) -> tuple[int, ...]:
        """Audio steps from a frame to the moments around it."""
        half = self.num_moments // 2
        return tuple(round(FRAME_STEPS * place) for place in range(-half, half + 1))


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
    "tiny": _TINY,
    "paper": PAPER,
}
