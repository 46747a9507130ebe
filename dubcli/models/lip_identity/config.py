"""Sizes and variants of Lip-and-Identity, and the named ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from dubcli.core.errors import ConfigError
from dubcli.core.types import FEATURE_SIZES
from dubcli.models.common.encoders import DilatedAudioEncoder
from dubcli.models.common.masks import MaskKind

MouthEncoderKind = Literal["dilated", "windows"]
AlignmentUse = Literal["full", "reference-only", "none"]
# Audio steps from frame to frame of the landmark generator: 40 ms at 80 steps a second.
FRAME_STEPS = 3.2


@dataclass(frozen=True, kw_only=True)
class LipIdentityConfig:
    """Sizes and variants. The repainted box is a multiple of 8 px high and wide.

    Attributes:
        height: Of the crop, px.
        width: Of the crop, px.
        box_top: First repainted row, share of the height.
        num_landmark_sets: N_l, reference landmark sets of the landmark generator.
        num_images: N, reference images in use.
        num_lips: N_lip, reference lips in use.
        num_moments: T, frames of 40 ms that the landmark generator hears at once; odd.
        token: Size of its tokens.
        feed: Width of its feed-forward layers.
        num_layers: Of its encoder.
        num_heads: Of its attention.
        token_dropout: In its encoder.
        num_coefficients: Of the mouth.
        mouth_encoder: What hears for it: `dilated` convolutions over the whole stretch, or 2-D
            convolutions over `windows` of the paper's size.
        mouth_width: Feature steps that each moment hears.
        mouth_dropout: Of that encoder.
        audio_kind: Features of the sound.
        audio_smoothing: Coefficients are averaged over shifts of the sound, Gaussian with this
            spread, feature steps; 0 for none.
        has_landmark_sets: The generator is shown reference landmarks.
        reach: k, frames on either side whose mouths are drawn, too.
        channels: Of the features at H/4; half of it at H/2.
        spade_channels: Hidden width of what predicts SPADE's scales and shifts.
        wide: Width of the decoder at H/2.
        fine: Width of the decoder at H.
        alignment: `full`; `reference-only`: the flow does not see the occluded face; `none`:
            references are averaged as they are.
        first_guess: The flow starts from the landmarks' own displacement, and references whose
            lips have the wanted shape weigh more.
        has_lips: The multi-reference lip module is used.
        lip_height: Of the windows around the lips, share of the crop's height.
        lip_width: Of the windows around the lips, share of the crop's width.
        attention_width: Feature steps that the audio-aware cross-attention hears; 0 for none.
        attention_size: Of its keys and queries.
        attention_tokens: Moments that it tells apart.
        is_residual: What it attends to is added to the features, in place of replacing them.
        mixes_warped: The aligned image is mixed into the result through a gate.
        mask: Region of the source that is hidden.
        own_skin: Around the lips the frame's own skin is kept, deformed to the new jaw.
        paste: Hull by which the result is laid over the frame.

    Raises:
        ConfigError: An unknown word, or sizes that exclude each other.
    """

    height: int = 208
    width: int = 160
    box_top: float = 80 / 208
    num_landmark_sets: int = 15
    num_images: int = 4
    num_lips: int = 5
    num_moments: int = 9
    token: int = 160
    feed: int = 320
    num_layers: int = 3
    num_heads: int = 4
    token_dropout: float = 0.1
    num_coefficients: int = 32
    mouth_encoder: MouthEncoderKind = "dilated"
    mouth_width: int = 92
    mouth_dropout: float = 0.4
    audio_kind: str = "speech"
    audio_smoothing: int = 2
    has_landmark_sets: bool = True
    reach: int = 2
    channels: int = 48
    spade_channels: int = 32
    wide: int = 32
    fine: int = 16
    alignment: AlignmentUse = "full"
    first_guess: bool = True
    has_lips: bool = True
    lip_height: float = 64 / 208
    lip_width: float = 96 / 160
    attention_width: int = 32
    attention_size: int = 64
    attention_tokens: int = 16
    is_residual: bool = True
    mixes_warped: bool = True
    mask: MaskKind = "fixed"
    own_skin: bool = True
    paste: Literal["lower-face", "face"] = "lower-face"

    def __post_init__(self) -> None:
        _check_values(self)

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

    @property
    def window_cells(self) -> tuple[int, int]:
        """Height and width of the windows around the lips at H/4."""
        return round(self.lip_height * self.height / 4), round(self.lip_width * self.width / 4)

    @property
    def num_sketches(self) -> int:
        """Frames whose mouths are drawn."""
        return 2 * self.reach + 1

    @property
    def moment_steps(self) -> tuple[int, ...]:
        """Audio steps from a frame to the moments of the landmark generator."""
        half = self.num_moments // 2
        return tuple(round(FRAME_STEPS * place) for place in range(-half, half + 1))


def _check_values(config: LipIdentityConfig) -> None:
    words = {"mouth_encoder": MouthEncoderKind, "alignment": AlignmentUse, "mask": MaskKind}
    for name, kind in words.items():
        value, known = getattr(config, name), get_args(kind)
        if value not in known:
            raise ConfigError(f"{name} = {value!r} is unknown.", f"Known: {', '.join(known)}.")
    if config.audio_kind not in FEATURE_SIZES:
        known = ", ".join(FEATURE_SIZES)
        raise ConfigError(f"audio_kind = {config.audio_kind!r} is unknown.", f"Known: {known}.")
    if config.num_moments % 2 == 0:
        raise ConfigError(
            f"num_moments = {config.num_moments} has no middle.", "Choose an odd number."
        )
    least = DilatedAudioEncoder.LEAST_WIDTH
    if config.mouth_encoder == "dilated" and config.mouth_width < least:
        raise ConfigError(
            f"mouth_encoder = 'dilated' wants {least} steps, mouth_width = "
            f"{config.mouth_width} has fewer.",
            "Make mouth_width larger.",
        )
    if config.attention_width and config.attention_width % config.attention_tokens:
        raise ConfigError(
            f"attention_tokens = {config.attention_tokens} does not divide attention_width = "
            f"{config.attention_width}.",
            "Choose a divisor of it.",
        )


PAPER = LipIdentityConfig(
    height=128,
    width=128,
    box_top=0.0,
    num_images=25,
    num_moments=5,
    token=512,
    feed=1024,
    num_layers=4,
    num_coefficients=64,
    mouth_encoder="windows",
    mouth_width=16,
    mouth_dropout=0.0,
    audio_kind="mel",
    audio_smoothing=0,
    channels=256,
    spade_channels=256,
    wide=128,
    fine=64,
    first_guess=False,
    lip_height=1.0,
    lip_width=1.0,
    attention_width=16,
    attention_size=256,
    attention_tokens=1,
    is_residual=False,
    mixes_warped=False,
    mask="lower-half",
    own_skin=False,
    paste="face",
)
_DEFAULT = LipIdentityConfig()
# For tests: a network that runs and learns in milliseconds, with every block of the default.
_TINY = LipIdentityConfig(
    height=104,
    width=80,
    num_landmark_sets=3,
    num_images=2,
    num_lips=2,
    num_moments=3,
    token=16,
    feed=16,
    num_layers=1,
    num_heads=2,
    num_coefficients=4,
    audio_kind="mel",
    channels=16,
    spade_channels=8,
    wide=8,
    fine=8,
    attention_width=16,
    attention_size=8,
    attention_tokens=4,
)
NAMED_CONFIGS: dict[str, LipIdentityConfig] = {
    "default": _DEFAULT,
    "tiny": _TINY,
    "paper": PAPER,
}
