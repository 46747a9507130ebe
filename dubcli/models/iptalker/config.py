"""Sizes and variants of IPTalker, and the named ones."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, replace
from typing import Literal

from dubcli.core.errors import ConfigError
from dubcli.core.types import FEATURE_SIZES
from dubcli.models.common.config_parts import CropConfig, check_dilated_width, check_words
from dubcli.models.common.masks import MaskKind

AlignmentKind = Literal["full", "audio", "none"]
DecoderKind = Literal["spade", "conv"]
FusionKind = Literal["select", "plain"]
ModulationKind = Literal["blocks", "every-layer"]
AudioEncoderKind = Literal["strided", "dilated"]
PasteKind = Literal["lower-face", "face"]
# How many feature steps the convolutions of E_a make one of.
AUDIO_STRIDE = 16


@dataclass(frozen=True, kw_only=True)
class IPTalkerConfig(CropConfig):
    """Sizes and variants. The repainted box is a multiple of 4 px high and wide.

    `CropConfig` has the rest: sizes that other models have, too.

    Attributes:
        visual_top: First row that E_v sees, share of the height; None: as `box_top`.
        num_references: N of the paper.
        channels: C of the paper, of F_S and of each F_R.
        warp_channels: Width of the warping network at H/4.
        decoder_channels: Width of the decoder at H/2.
        spade_channels: Hidden width of what predicts SPADE's scales and shifts.
        embedding: D, size of a token.
        second_audio_kind: Features that a second alignment module hears; the mouth is the mean of
            what both ask for. Such a model is joined of two trained ones.
        audio_width: Feature steps around a frame.
        audio_dropout: In E_a.
        audio_encoder: Layers of E_a: `strided` convolutions over the whole window, or `dilated`
            ones, which many frames share in training.
        audio_smoothing: With the map coefficients are averaged over shifts of the window, Gaussian
            with this spread, feature steps.
        audio_tokens: Tokens that E_a gives of a window. With one, each reference's attention to
            the sound has a single key, so all references hear the same.
        num_alignment_units: k of eq. 2.
        num_heads: Of each attention.
        num_coefficients: Of the mouth, with the map.
        alignment: `full`: eq. 1-3. `audio`: zeros stand for E_v's tokens, whose weights are kept
            but idle. `none`: e_a through one linear layer in place of AVAU and E_cm.
        cross_modality: E_cm of eq. 3; without it all tokens, in a row, are v_alg.
        mask: Region of the source that is hidden.
        geometry_map: The mouth is predicted as landmarks and drawn, see `network.py`.
        fusion: Of warped references: channel-wise shares, or one convolution.
        decoder: `conv`: convolutions in place of SPADE.
        modulation: `blocks`: AdaIN and SPADE inside the residual blocks alone. `every-layer`:
            before each convolution of warping network and decoder; without the map only.
        paste: Hull by which the result is laid over the frame.
        align_to_references: How `alignment` was written until its third value: `full` or `audio`.

    Raises:
        ConfigError: An unknown word, or switches that exclude each other.
    """

    visual_top: float | None = None
    num_references: int = 4
    channels: int = 64
    warp_channels: int = 64
    decoder_channels: int = 48
    spade_channels: int = 32
    embedding: int = 192
    second_audio_kind: str | None = None
    audio_width: int = 128
    audio_dropout: float = 0.2
    audio_encoder: AudioEncoderKind = "strided"
    audio_smoothing: int = 4
    audio_tokens: int = 1
    num_alignment_units: int = 2
    num_heads: int = 4
    num_coefficients: int = 16
    alignment: AlignmentKind = "full"
    cross_modality: bool = True
    mask: MaskKind = "fixed"
    geometry_map: bool = True
    fusion: FusionKind = "select"
    decoder: DecoderKind = "spade"
    modulation: ModulationKind = "blocks"
    paste: PasteKind = "lower-face"
    align_to_references: InitVar[bool | None] = None

    def __post_init__(self, align_to_references: bool | None) -> None:
        if align_to_references is not None:
            meant = "full" if align_to_references else "audio"
            if self.alignment not in ("full", meant):
                raise ConfigError(
                    f"align_to_references = {align_to_references} contradicts "
                    f"alignment = {self.alignment!r}.",
                    "Give alignment alone.",
                )
            object.__setattr__(self, "alignment", meant)
        words = {
            "alignment": AlignmentKind,
            "audio_encoder": AudioEncoderKind,
            "mask": MaskKind,
            "fusion": FusionKind,
            "decoder": DecoderKind,
            "modulation": ModulationKind,
            "paste": PasteKind,
        }
        check_words(self, words)
        _check_switches(self)

    @property
    def heard_kind(self) -> str:
        """Features that the sound part takes, of both kinds where there are two."""
        second = self.second_audio_kind
        return self.audio_kind if second is None else f"{self.audio_kind}+{second}"

    @property
    def visual_row(self) -> int:
        """First row that E_v sees, px."""
        return self.top if self.visual_top is None else round(self.visual_top * self.height)

    @property
    def alignment_size(self) -> int:
        """Size of v_alg, of both alignment modules where there are two."""
        if self.cross_modality:
            return self.token_size
        return (self.num_references + self.audio_tokens) * self.embedding

    @property
    def token_size(self) -> int:
        """Size of a reference's token: of both alignment modules where there are two."""
        return self.embedding * (1 if self.second_audio_kind is None else 2)

    @property
    def code_size(self) -> int:
        """Size of AdaIN's code."""
        return self.embedding if self.geometry_map else self.alignment_size


def _check_switches(config: IPTalkerConfig) -> None:
    steps = -(-config.audio_width // AUDIO_STRIDE)
    if config.audio_tokens < 1 or steps % config.audio_tokens:
        raise ConfigError(
            f"audio_tokens = {config.audio_tokens} does not divide the {steps} steps of E_a.",
            "Choose a divisor of them.",
        )
    if config.audio_smoothing < 1:
        raise ConfigError(
            f"audio_smoothing = {config.audio_smoothing} is no number of steps.", "Use 1 or more."
        )
    if config.audio_encoder == "dilated":
        if config.audio_tokens > 1:
            raise ConfigError(
                "audio_encoder = 'dilated' gives one token.", "Leave audio_tokens at 1."
            )
        check_dilated_width(config, "audio_width")
    if config.visual_top is not None and not 0 <= config.visual_top < 1:
        raise ConfigError(
            f"visual_top = {config.visual_top} is no row of the crop.",
            "Choose a share of its height, from 0 to below 1.",
        )
    if config.heard_kind not in FEATURE_SIZES:
        raise ConfigError(
            f"second_audio_kind = {config.second_audio_kind!r} does not go with "
            f"audio_kind = {config.audio_kind!r}.",
            f"Known: {', '.join(FEATURE_SIZES)}.",
        )
    if config.second_audio_kind is not None and not config.geometry_map:
        raise ConfigError(
            "second_audio_kind needs the mouth map, whose mouths are averaged.",
            "Set geometry_map to true.",
        )
    if config.alignment == "none" and not config.cross_modality:
        raise ConfigError(
            "cross_modality = false needs tokens, which alignment = 'none' has not.",
            "Take one of the two.",
        )
    if config.alignment == "none" and config.audio_tokens > 1:
        raise ConfigError(
            f"audio_tokens = {config.audio_tokens} is for attention, which alignment = 'none' "
            "has not.",
            "Leave it at 1.",
        )
    if config.modulation == "every-layer" and config.geometry_map:
        raise ConfigError(
            "modulation = 'every-layer' has no place for the mouth map.",
            "Set geometry_map to false, or modulation to 'blocks'.",
        )


PAPER = IPTalkerConfig(
    height=416,
    width=320,
    box_top=0.0,
    visual_top=0.5,
    channels=128,
    warp_channels=128,
    decoder_channels=128,
    spade_channels=128,
    embedding=512,
    audio_kind="mel",
    num_alignment_units=4,
    num_heads=8,
    mask="hull",
    geometry_map=False,
    fusion="plain",
    modulation="every-layer",
    paste="face",
)
_DEFAULT = IPTalkerConfig()
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
_SOUND_ALONE = replace(
    _DEFAULT,
    alignment="audio",
    audio_encoder="dilated",
    audio_width=92,
    audio_dropout=0.4,
    audio_smoothing=2,
)
NAMED_CONFIGS: dict[str, IPTalkerConfig] = {
    "default": _DEFAULT,
    "few-people": replace(_DEFAULT, alignment="audio"),
    "sound-alone": _SOUND_ALONE,
    "whisper": replace(_SOUND_ALONE, audio_kind="whisper"),
    "two-recognisers": replace(_SOUND_ALONE, audio_kind="speech+whisper"),
    "paired": replace(_SOUND_ALONE, second_audio_kind="whisper"),
    "tiny": _TINY,
    "paper": PAPER,
    "small-paper": replace(
        PAPER,
        height=_DEFAULT.height,
        width=_DEFAULT.width,
        channels=_DEFAULT.channels,
        warp_channels=_DEFAULT.warp_channels,
        decoder_channels=_DEFAULT.decoder_channels,
        spade_channels=_DEFAULT.spade_channels,
        embedding=_DEFAULT.embedding,
        num_alignment_units=_DEFAULT.num_alignment_units,
        num_heads=_DEFAULT.num_heads,
    ),
}
