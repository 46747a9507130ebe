"""Sizes and variants of G4G, and the named ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from dubcli.models.common.config_parts import (
    CropConfig,
    check_dilated_width,
    check_odd,
    check_words,
)

SoundEncoderKind = Literal["dilated", "strided"]
AlignmentUse = Literal["full", "none"]
MaskScales = Literal["several", "one"]
MaskScale = Literal["mouth", "mouth-square", "lower-face"]
NegativeKind = Literal["hard", "people"]
# The masks in the order of their numbers, the smallest first.
SCALES: tuple[MaskScale, ...] = get_args(MaskScale)


@dataclass(frozen=True, kw_only=True)
class G4GConfig(CropConfig):
    """Sizes and variants. The repainted box is a multiple of 8 px high and wide.

    `CropConfig` has the rest: sizes that other models have, too.

    Attributes:
        num_references: Reference pictures, stacked as channels from closed to open.
        channels: C, of the features at H/4.
        code: d, size of the vectors a, l_r and v.
        embedding: Size of what g_v and g_a give.
        num_blocks: AdaIN residual blocks of the intra-modal alignment.
        num_before: Residual blocks before the deformation.
        num_after: Residual blocks after it.
        halves: Parts of the map, one above the other, that have affines of their own.
        deform_size: Hidden width of what predicts the affines.
        wide: Width of the decoder at H/2.
        fine: Width of the decoder at H.
        blend_width: Width of the blend net at H; twice and three times as much below.
        sound_encoder: E_a: `dilated` convolutions, or `strided` ones over the paper's window.
        audio_width: Feature steps that E_a hears.
        audio_dropout: Of E_a.
        drawn_mouth: The landmark picture shows the mouth that the sound half predicts; without it
            the person's mouth at rest, and the sound reaches the picture by the affines alone.
        alignment: `full`; `none`: convolutions in place of AdaIN, no landmark picture.
        mask_scales: Of training: `several` masks, one drawn for each sample, or `one`.
        mask_scale: The mask in use, and the one of training where there is one.
        copied_pixels: The decoder mixes what it paints with the references' own pixels, moved under
            the drawn mouth; only with `drawn_mouth`.
        has_blend: A blend net repaints the composite.
        negatives: What a row of the diagonal matrix is told apart from: `hard` is the same clip at
            other moments, and other people; `people` are other people alone.
        mouth_frames: Consecutive frames that E_m sees; odd.
        shift_steps: Feature steps from one shift of the sound to the next, for the model's own
            score.
        num_shifts: Shifts on either side that the score is a share of.
        own_skin: Around the lips the frame's own skin is kept, deformed to the new jaw; only with
            `drawn_mouth`.
        paste: Hull by which the result is laid over the frame.

    Raises:
        ConfigError: An unknown word, or sizes that exclude each other.
    """

    num_references: int = 5
    channels: int = 64
    code: int = 192
    embedding: int = 128
    num_blocks: int = 2
    num_before: int = 1
    num_after: int = 2
    halves: int = 2
    deform_size: int = 256
    wide: int = 48
    fine: int = 24
    blend_width: int = 16
    sound_encoder: SoundEncoderKind = "dilated"
    audio_width: int = 92
    audio_dropout: float = 0.4
    drawn_mouth: bool = True
    alignment: AlignmentUse = "full"
    mask_scales: MaskScales = "several"
    mask_scale: MaskScale = "lower-face"
    copied_pixels: bool = True
    has_blend: bool = True
    negatives: NegativeKind = "hard"
    mouth_frames: int = 5
    shift_steps: int = 4
    num_shifts: int = 8
    own_skin: bool = True
    paste: Literal["lower-face", "face"] = "lower-face"

    def __post_init__(self) -> None:
        words = {
            "sound_encoder": SoundEncoderKind,
            "alignment": AlignmentUse,
            "mask_scales": MaskScales,
            "mask_scale": MaskScale,
            "negatives": NegativeKind,
        }
        check_words(self, words)
        check_odd(self, "mouth_frames")
        if self.sound_encoder == "dilated":
            check_dilated_width(self, "audio_width")

    @property
    def reference_channels(self) -> int:
        """Channels that are deformed: features, and the colours of each reference."""
        return self.channels + 3 * self.num_references

    @property
    def copies_pixels(self) -> bool:
        """The references' pixels are moved under the drawn mouth."""
        return self.copied_pixels and self.drawn_mouth

    @property
    def reach(self) -> int:
        """Frames on either side that E_m sees."""
        return self.mouth_frames // 2

    @property
    def shifts(self) -> tuple[int, ...]:
        """Shifts of the sound, feature steps, that the model's own score is a share of."""
        num = self.num_shifts
        return tuple(self.shift_steps * place for place in range(-num, num + 1))

    @property
    def scale_number(self) -> int:
        """Number of the mask in use."""
        return SCALES.index(self.mask_scale)


PAPER = G4GConfig(
    height=416,
    width=320,
    box_top=0.0,
    channels=256,
    code=128,
    num_before=4,
    num_after=4,
    halves=1,
    wide=128,
    fine=64,
    audio_kind="mel",
    sound_encoder="strided",
    audio_width=16,
    audio_dropout=0.0,
    audio_smoothing=0,
    drawn_mouth=False,
    copied_pixels=False,
    own_skin=False,
    paste="face",
)
_DEFAULT = G4GConfig()
# The paper's landmark picture at the default's sizes.
_NO_DRAWN_MOUTH = replace(_DEFAULT, drawn_mouth=False, own_skin=False)
# For tests: a network that runs and learns in milliseconds, with every block of the default.
_TINY = G4GConfig(
    height=104,
    width=80,
    num_references=2,
    channels=16,
    code=8,
    embedding=8,
    num_blocks=1,
    num_after=1,
    deform_size=8,
    wide=8,
    fine=4,
    blend_width=8,
    audio_kind="mel",
    num_coefficients=4,
    mouth_frames=3,
    num_shifts=1,
)
NAMED_CONFIGS: dict[str, G4GConfig] = {
    "default": _DEFAULT,
    "tiny": _TINY,
    "paper": PAPER,
    "no-drawn-mouth": _NO_DRAWN_MOUTH,
}
