"""`dub VIDEO --audio AUDIO`, and who says what in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from dubcli.config.compare_config import check_comparison
from dubcli.config.option_parsing import check, check_face, decibels, face_number, moment
from dubcli.config.settings_common import (
    Panel,
    about,
    as_json,
    check_detector,
    check_device,
    detector_option,
    device_option,
    seed_option,
    threads_option,
)

LIPS_FOLLOW = ("speech", "sound")
SYNC_MODES = ("loop", "bounce", "freeze", "cut", "pad")
_MOST_OFFSET_S = 86_400


@dataclass(frozen=True)
class Voice:
    """Who says what, where several people are dubbed at once.

    Attributes:
        face: A number, a place or a picture, as `DubConfig.face` has them.
        audio: What this person says; all recordings begin together.
    """

    face: str | int
    audio: Path


def voices_from(words: Sequence[str]) -> Path | tuple[Voice, ...]:
    """What `--audio` was given: one file, or FACE=FILE for each of several people.

    A word that names a file which exists is that file, whatever its name looks like.

    Raises:
        ConfigError: Several files, not each with a face.
    """
    voices = [_voice(word) for word in words]
    if len(words) == 1 and voices[0] is None:
        return Path(words[0])
    bare = [word for word, voice in zip(words, voices, strict=True) if voice is None]
    check(
        not bare,
        f"--audio '{''.join(bare[:1])}' does not say whose it is.",
        "Use --audio 1=ANNA.wav --audio 2=BEN.wav; dub plan shows the faces' numbers.",
    )
    return tuple(voice for voice in voices if voice is not None)


def _voice(word: str) -> Voice | None:
    face, mark, audio = word.partition("=")
    if not mark or not audio or Path(word).exists():
        return None
    number = face_number(face)
    return Voice(face if number is None else number, Path(audio))


@dataclass(frozen=True, kw_only=True)
class DubConfig:
    """Everything that `dub VIDEO --audio AUDIO` can be told."""

    video: Path = field(metadata=about("The video to dub.", panel=Panel.INPUT))
    audio: Path | tuple[Voice, ...] = field(
        metadata=about(
            "The new speech: any file with an audio stream. For several people, once for "
            "each: FACE=FILE, such as 1=anna.wav or left=ben.wav; they sound together.",
            metavar="FILE",
            panel=Panel.FIRST,
        )
    )
    output: Path | None = field(
        default=None,
        metadata=about(
            "Where the result goes. Default: VIDEO.dubbed.EXT beside the video.", panel=Panel.FIRST
        ),
    )
    overwrite: bool = field(
        default=False, metadata=about("Replace the output if it exists.", panel=Panel.FIRST)
    )
    model: str = field(
        default="iptalker",
        metadata=about(
            "Model or model.tag, as in `dub models list`; hf:ORG/REPO\\[@REV]\\[:FILE] of"
            " the hub; or a checkpoint of your own: a folder, a run, a .safetensors file.",
            panel=Panel.RUN,
        ),
    )
    motion: str | None = field(
        default=None,
        metadata=about(
            "Model that predicts the mouth, where another one than --model paints it.",
            panel=Panel.RUN,
        ),
    )
    render: str | None = field(
        default=None,
        metadata=about(
            "Model that paints the mouth, where another one than --model predicts it.",
            panel=Panel.RUN,
        ),
    )
    landmarks: Path | None = field(
        default=None,
        metadata=about(
            "Paint the mouths of this file, which --landmarks-out wrote and you may have edited, "
            "in place of those that the model predicts.",
            panel=Panel.RUN,
            command_line_only=True,
        ),
    )
    landmarks_out: Path | None = field(
        default=None,
        metadata=about(
            "Also write the mouth of every dubbed frame, as points in px, to this JSON file.",
            panel=Panel.OUTPUT,
            command_line_only=True,
        ),
    )
    compare: Path | None = field(
        default=None,
        metadata=about(
            "Also write source and result side by side to this video, as dub compare does.",
            panel=Panel.OUTPUT,
            command_line_only=True,
        ),
    )
    motion_option: tuple[str, ...] = field(
        default=(),
        metadata=about(
            "With --motion or --render: an option of the model that predicts the mouth alone, "
            "such as articulation=1.5. An option's own flag sets it for both.",
            metavar="NAME=VALUE",
            panel=Panel.RUN,
        ),
    )
    render_option: tuple[str, ...] = field(
        default=(),
        metadata=about(
            "The same of the model that paints the mouth.", metavar="NAME=VALUE", panel=Panel.RUN
        ),
    )
    device: str = device_option("the model runs")
    face: str | int = field(
        default="auto",
        metadata=about(
            "Which face: a number from 1 by size; left, right, centre, top or bottom; a "
            "picture of the person; or auto: whose lips follow the video's own sound, "
            "else the largest.",
            panel=Panel.FIRST,
        ),
    )
    detector: str = detector_option()
    sync_mode: str = field(
        default="bounce",
        metadata=about(
            f"When the lengths differ: {', '.join(SYNC_MODES)}. The first three extend the"
            " video under longer audio; cut ends with the shorter; pad keeps the video's "
            "length.",
            panel=Panel.FIRST,
            choices=SYNC_MODES,
        ),
    )
    crf: int = field(
        default=16,
        metadata=about("Quality of the video: 0 is lossless, 51 the worst.", panel=Panel.OUTPUT),
    )
    reencode: bool = field(
        default=False,
        metadata=about("Encode all, also what could be copied as it is.", panel=Panel.OUTPUT),
    )
    seed: int = seed_option()
    threads: int = threads_option()
    allow_silence: bool = field(
        default=False,
        metadata=about(
            "Dub although the audio is silent: the mouth stays closed.", panel=Panel.SOUND
        ),
    )
    identity: str | None = field(
        default=None,
        metadata=about(
            "What `dub finetune` learned of this person: a name, or a folder.", panel=Panel.FACES
        ),
    )
    finetune: bool = field(
        default=False,
        metadata=about(
            "Learn the person from the video first, and keep it as --identity, or under "
            "the video's name. Takes minutes.",
            panel=Panel.FACES,
        ),
    )
    consent: bool = field(
        default=False,
        metadata=about(
            "With --finetune: the person agreed to be learned; no question is asked.",
            panel=Panel.FACES,
            command_line_only=True,
        ),
    )
    audio_stream: int | None = field(
        default=None,
        metadata=about(
            "Which audio stream of the recording is used, from 1; by default the first that can "
            "be decoded.",
            panel=Panel.SOUND,
        ),
    )
    audio_offset: float = field(
        default=0.0,
        metadata=about(
            "Seconds by which the audio starts later, lips and sound alike; below 0 its "
            "beginning is cut.",
            panel=Panel.SOUND,
        ),
    )
    match_loudness: bool = field(
        default=False,
        metadata=about(
            "Make the audio as loud as the video's own sound, short of clipping.", panel=Panel.SOUND
        ),
    )
    mix_original: str | None = field(
        default=None,
        metadata=about(
            "Mix the video's own sound below the new one at a level such as -20dB, -60dB to 0dB.",
            panel=Panel.SOUND,
        ),
    )
    keep_silent_frames: bool = field(
        default=False,
        metadata=about(
            "Leave the original picture while nobody speaks in the new audio.", panel=Panel.SOUND
        ),
    )
    lips_follow: str = field(
        default=LIPS_FOLLOW[0],
        metadata=about(
            "What moves the lips: speech, so that they rest under music, laughter and noise, or "
            "sound, all that is heard, for a song.",
            panel=Panel.SOUND,
            choices=LIPS_FOLLOW,
        ),
    )
    deinterlace: bool = field(
        default=False,
        metadata=about(
            "Make interlaced video progressive, frame by frame; refused otherwise.",
            panel=Panel.INPUT,
        ),
    )
    start: str | None = field(
        default=None,
        metadata=about(
            "Dub only from here on, and leave the rest as it is: seconds or [H:]M:S from "
            "the first frame; the audio begins here.",
            panel=Panel.LENGTH,
        ),
    )
    end: str | None = field(
        default=None,
        metadata=about(
            "Dub only up to here. Default: with --start, the end of the audio or of the "
            "video, whichever is first.",
            panel=Panel.LENGTH,
        ),
    )
    no_mark: bool = field(
        default=False,
        metadata=about(
            "Leave out the marks that tell that the lips were dubbed; the law may ask for them.",
            panel=Panel.MARKS,
            command_line_only=True,
        ),
    )
    visible_mark: bool = field(
        default=False,
        metadata=about(
            "Show small words in a corner of every frame, away from mouths.",
            panel=Panel.MARKS,
            command_line_only=True,
        ),
    )
    c2pa_cert: Path | None = field(
        default=None,
        metadata=about(
            "PEM certificate chain that signs Content Credentials in place of the "
            "development one; needs the extra c2pa.",
            panel=Panel.MARKS,
            command_line_only=True,
        ),
    )
    c2pa_key: Path | None = field(
        default=None,
        metadata=about(
            "Private key of that certificate, PEM.", panel=Panel.MARKS, command_line_only=True
        ),
    )

    # Of the models in use, by name; each model declares its own, see `models.model_options`.
    model_options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        check(
            self.sync_mode in SYNC_MODES,
            f"Unknown sync mode '{self.sync_mode}'.",
            f"Use one of {', '.join(SYNC_MODES)}.",
        )
        check(
            self.lips_follow in LIPS_FOLLOW,
            f"Lips cannot follow '{self.lips_follow}'.",
            f"Use {' or '.join(LIPS_FOLLOW)}.",
        )
        check_detector(self.detector)
        check_device(self.device)
        check_face(self.face)
        self._check_voices()
        check(0 <= self.crf <= 51, f"CRF {self.crf} is out of range.", "Use 0 to 51.")
        check(self.threads >= 0, f"{self.threads} threads.", "Use 0 for all cores.")
        check(
            self.finetune or not self.consent,
            "Consent is for learning a person.",
            "Add --finetune, or leave out --consent.",
        )
        check(
            not self.finetune or self.face == "auto" or face_number(self.face) is not None,
            f"--finetune cannot learn from '--face {self.face}'.",
            "Use --face auto or a number, or learn with dub finetune first.",
        )
        check(
            abs(self.audio_offset) <= _MOST_OFFSET_S,  # not so for NaN
            f"An audio offset of {self.audio_offset} s.",
            "Use seconds such as 0.25 or -0.1, a day at most.",
        )
        check(
            self.audio_stream is None or self.audio_stream >= 1,
            f"Audio stream {self.audio_stream} does not exist.",
            "Streams count from 1.",
        )
        if self.mix_original is not None:
            decibels(self.mix_original)
        if self.compare is not None:
            check_comparison(self.compare)
        self._check_part()
        self._check_marks()
        self._check_models()

    def _check_models(self) -> None:
        is_one = self.motion_model == self.render_model
        personal = {"--identity": self.identity is not None, "--finetune": self.finetune}
        for flag, is_given in personal.items():
            check(
                not is_given or is_one,
                f"{flag} does not go with --motion and --render: a person is learned on one model.",
                "Leave it out, or use --model alone.",
            )

    def _check_part(self) -> None:
        if self.start is None and self.end is None:
            return
        start_s = moment(self.start or "0")
        check(
            self.end is None or moment(self.end) > start_s,
            f"The part ends at {self.end}, not after its start at {self.start or 0}.",
            "Use a later --end, or an earlier --start.",
        )
        check(
            self.sync_mode in (DubConfig.sync_mode, "pad"),
            f"--sync-mode {self.sync_mode} does not go with --start and --end: "
            "outside the part the video stays as it is.",
            "Leave it out.",
        )

    def _check_marks(self) -> None:
        check(
            (self.c2pa_cert is None) == (self.c2pa_key is None),
            "A signature needs a certificate and its key.",
            "Give both --c2pa-cert and --c2pa-key, or neither.",
        )
        check(
            not self.no_mark or not (self.visible_mark or self.c2pa_cert),
            "--no-mark leaves out what another option asks for.",
            "Leave out --no-mark, or --visible-mark and --c2pa-cert.",
        )

    def _check_voices(self) -> None:
        if isinstance(self.audio, Path):
            return
        check(bool(self.audio), "No audio.", "Use --audio FILE.")
        for voice in self.audio:
            check_face(voice.face)
            check(
                voice.face != "auto",
                "A voice of its own needs a face of its own, not auto.",
                "Use --audio 1=FILE; dub plan shows the faces' numbers.",
            )
        for flag, value in (
            ("--face", self.face != "auto"),
            ("--identity", self.identity is not None),
            ("--finetune", self.finetune),
        ):
            check(
                not value,
                f"{flag} does not go with --audio FACE=FILE.",
                "Leave it out, or dub one person after the other.",
            )

    @property
    def voices(self) -> tuple[Voice, ...]:
        """Who says what; one entry with `face` where `audio` is a single file."""
        return (Voice(self.face, self.audio),) if isinstance(self.audio, Path) else self.audio

    @property
    def motion_model(self) -> str:
        """The model that predicts the mouth."""
        return self.motion or self.model

    @property
    def render_model(self) -> str:
        """The model that paints it."""
        return self.render or self.model

    @property
    def is_part(self) -> bool:
        """Only a part of the video is dubbed."""
        return self.start is not None or self.end is not None

    @property
    def audio_offset_s(self) -> Fraction:
        """`audio_offset` as the decimal that was given, without a float's error."""
        return Fraction(str(self.audio_offset))

    def as_json(self) -> dict[str, Any]:
        """The configuration as JSON-ready values."""
        return as_json(self)
