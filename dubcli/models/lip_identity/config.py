"""Sizes and variants of Lip-and-Identity, and the named ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dubcli.core.choices import feature_parts
from dubcli.core.errors import ConfigError
from dubcli.models.common.config_parts import (
    LipWindowConfig,
    MomentConfig,
    check_dilated_width,
    check_odd,
    check_words,
)
from dubcli.models.common.masks import MaskKind

MouthEncoderKind = Literal["dilated", "windows"]
AlignmentUse = Literal["full", "reference-only", "none"]


@dataclass(frozen=True, kw_only=True)
class LipIdentityConfig(MomentConfig, LipWindowConfig):
    """Sizes and variants. The repainted box is a multiple of 8 px high and wide.

    The bases have the rest: sizes that other models have, too.

    Attributes:
        num_landmark_sets: N_l, reference landmark sets of the landmark generator.
        num_images: N, reference images in use.
        num_lips: N_lip, reference lips in use.
        num_moments: T, frames of 40 ms that the landmark generator hears at once; odd.
        feed: Width of its feed-forward layers.
        mouth_encoder: What hears for it: `dilated` convolutions over the whole stretch, or 2-D
            convolutions over `windows` of the paper's size.
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
        attention_width: Feature steps that the audio-aware cross-attention hears; 0 for none.
        attention_kind: Features of these steps that it hears, the first kind of `audio_kind`; None:
            all.
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

    num_landmark_sets: int = 15
    num_images: int = 4
    num_lips: int = 5
    num_moments: int = 9
    feed: int = 320
    mouth_encoder: MouthEncoderKind = "dilated"
    has_landmark_sets: bool = True
    reach: int = 2
    channels: int = 48
    spade_channels: int = 32
    wide: int = 32
    fine: int = 16
    alignment: AlignmentUse = "full"
    first_guess: bool = True
    has_lips: bool = True
    attention_width: int = 32
    attention_kind: str | None = None
    attention_size: int = 64
    attention_tokens: int = 16
    is_residual: bool = True
    mixes_warped: bool = True
    mask: MaskKind = "fixed"
    own_skin: bool = True
    paste: Literal["lower-face", "face"] = "lower-face"

    def __post_init__(self) -> None:
        words = {"mouth_encoder": MouthEncoderKind, "alignment": AlignmentUse, "mask": MaskKind}
        check_words(self, words)
        check_odd(self, "num_moments")
        if self.mouth_encoder == "dilated":
            check_dilated_width(self, "mouth_width")
        heard = feature_parts(self.audio_kind)[0]
        if self.attention_kind not in {None, heard, self.audio_kind}:
            raise ConfigError(
                f"attention_kind = {self.attention_kind!r}, but audio_kind = {self.audio_kind!r} "
                f"begins with {heard!r}.",
                f"Leave it out, or make it {heard!r}.",
            )
        if self.attention_width and self.attention_width % self.attention_tokens:
            raise ConfigError(
                f"attention_tokens = {self.attention_tokens} does not divide attention_width = "
                f"{self.attention_width}.",
                "Choose a divisor of it.",
            )

    @property
    def attended_kind(self) -> str:
        """Features that the audio-aware cross-attention hears."""
        return self.attention_kind or self.audio_kind

    @property
    def num_sketches(self) -> int:
        """Frames whose mouths are drawn."""
        return 2 * self.reach + 1


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
    "whisper": LipIdentityConfig(audio_kind="speech+whisper", attention_kind="speech"),
    "tiny": _TINY,
    "paper": PAPER,
}
