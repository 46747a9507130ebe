"""One frozen configuration per command; every default of the product stands here, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

from dubcli.config.option_parsing import check, check_face, decibels, face_number, moment

SYNC_MODES = ("loop", "bounce", "freeze", "cut", "pad")
DEVICES = ("auto", "cpu", "cuda", "mps")
_MOST_OFFSET_S = 86_400


def _check_device(device: str) -> None:
    check(
        device.split(":")[0] in DEVICES,
        f"Unknown device '{device}'.",
        "Use auto, cpu, cuda, cuda:N or mps.",
    )


def _check_precision(precision: str) -> None:
    check(
        precision in ("auto", "float32", "bfloat16"),
        f"Unknown precision '{precision}'.",
        "Use auto, float32 or bfloat16.",
    )


def _as_json(config: Any) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            items = cast("dict[str, Any]", value).items()
            return {key: plain(item) for key, item in items}
        if isinstance(value, tuple):
            return [plain(item) for item in cast("tuple[Any, ...]", value)]
        return str(value) if isinstance(value, Path) else value

    return {key: plain(value) for key, value in asdict(config).items()}


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

    video: Path
    audio: Path | tuple[Voice, ...]
    output: Path | None = None
    overwrite: bool = False
    model: str = "iptalker"
    device: str = "auto"
    face: str | int = "auto"
    sync_mode: str = "bounce"
    crf: int = 16
    seed: int = 0
    threads: int = 0
    allow_silence: bool = False
    identity: str | None = None
    finetune: bool = False
    consent: bool = False
    audio_offset: float = 0.0
    match_loudness: bool = False
    mix_original: str | None = None
    keep_silent_frames: bool = False
    deinterlace: bool = False
    start: str | None = None
    end: str | None = None
    no_mark: bool = False
    visible_mark: bool = False
    c2pa_cert: Path | None = None
    c2pa_key: Path | None = None

    def __post_init__(self) -> None:
        check(
            self.sync_mode in SYNC_MODES,
            f"Unknown sync mode '{self.sync_mode}'.",
            f"Use one of {', '.join(SYNC_MODES)}.",
        )
        _check_device(self.device)
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
        if self.mix_original is not None:
            decibels(self.mix_original)
        self._check_part()
        self._check_marks()

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
    def is_part(self) -> bool:
        """Only a part of the video is dubbed."""
        return self.start is not None or self.end is not None

    @property
    def audio_offset_s(self) -> Fraction:
        """`audio_offset` as the decimal that was given, without a float's error."""
        return Fraction(str(self.audio_offset))

    def as_json(self) -> dict[str, Any]:
        """The configuration as JSON-ready values."""
        return _as_json(self)


@dataclass(frozen=True, kw_only=True)
class PlanConfig(DubConfig):
    """Everything that `dub plan` can be told: a dub, and where its faces are drawn.

    Without `audio` only the faces are looked at.
    """

    audio: Path | tuple[Voice, ...] = ()
    faces: Path | None = None
    picture: bool = True

    def _check_voices(self) -> None:
        if self.audio:
            super()._check_voices()


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Everything that `dub prepare` can be told."""

    clips: Path
    output: Path
    overwrite: bool = False
    jobs: int = 1
    catalogue: Path | None = None

    def __post_init__(self) -> None:
        check(self.jobs >= 1, f"{self.jobs} jobs.", "Use 1 or more.")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that `dub train` can be told."""

    model: str
    data: Path
    output: Path
    stage: str | None = None
    preset: str | None = None
    losses: str | None = None
    perceptual: str = "auto"
    init: Path | None = None
    steps: int = 20_000
    minutes: float = 0.0
    batch_clips: int = 2
    frames_per_clip: int = 4
    accumulate: int = 1
    workers: int = 0
    half_size: bool = False
    learning_rate: float = 2e-4
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    threads: int = 0
    checkpoint_every: int = 500
    sample_every: int = 500
    resume: bool = True

    def __post_init__(self) -> None:
        check(self.steps >= 1, f"{self.steps} steps.", "Use 1 or more.")
        check(self.minutes >= 0, f"{self.minutes} minutes.", "Use 0 for no limit.")
        check(self.batch_clips >= 1, f"{self.batch_clips} clips in a batch.", "Use 1 or more.")
        check(self.frames_per_clip >= 1, f"{self.frames_per_clip} frames.", "Use 1 or more.")
        check(self.accumulate >= 1, f"{self.accumulate} batches a step.", "Use 1 or more.")
        check(self.workers >= 0, f"{self.workers} workers.", "Use 0 for none.")
        check(self.learning_rate > 0, f"Learning rate {self.learning_rate}.", "Use 2e-4.")
        check(self.threads >= 0, f"{self.threads} threads.", "Use 0 for all cores.")
        check(
            self.checkpoint_every >= 1 and self.sample_every >= 1,
            "A checkpoint or sample picture every 0 steps.",
            "Use 1 or more.",
        )
        _check_device(self.device)
        check(
            self.perceptual in ("auto", "vgg19", "substitute"),
            f"Unknown perceptual features '{self.perceptual}'.",
            "Use auto, vgg19 or substitute.",
        )
        _check_precision(self.precision)


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Everything that `dub finetune` can be told."""

    videos: tuple[Path, ...]
    name: str
    model: str = "iptalker"
    consent: bool = False
    steps: int = 200
    minutes: float = 0.0
    half: bool = False
    face: int = 0
    learn_sound: bool = False
    overwrite: bool = False
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        check(bool(self.videos), "No video to learn from.", "Name one or more videos.")
        check(bool(self.name.strip()), "The identity has no name.", "Use --name, such as anna.")
        check(self.steps >= 1, f"{self.steps} steps.", "Use 1 or more; 200 is usual.")
        check(self.minutes >= 0, f"{self.minutes} minutes.", "Use 0 for no limit.")
        check(self.face >= 0, f"Face {self.face} does not exist.", "Faces count from 1.")
        check(self.threads >= 0, f"{self.threads} threads.", "Use 0 for all cores.")
        _check_device(self.device)
        _check_precision(self.precision)

    def as_json(self) -> dict[str, Any]:
        """The configuration as JSON-ready values."""
        return _as_json(self)


@dataclass(frozen=True, kw_only=True)
class SyncTrainConfig:
    """Everything that `dub train sync` can be told."""

    model: str = "sync"
    data: Path
    output: Path
    preset: str = "expert"
    steps: int = 500
    minutes: float = 0.0
    batch_clips: int = 16
    moments_per_clip: int = 32
    learning_rate: float = 1e-3
    seed: int = 0
    device: str = "auto"
    threads: int = 0
    checkpoint_every: int = 200

    def __post_init__(self) -> None:
        check(self.steps >= 1, f"{self.steps} steps.", "Use 1 or more.")
        check(self.minutes >= 0, f"{self.minutes} minutes.", "Use 0 to go by --steps.")
        check(self.batch_clips >= 2, f"{self.batch_clips} clips in a batch.", "Use 2 or more.")
        check(
            self.moments_per_clip >= 8,
            f"{self.moments_per_clip} moments of each clip.",
            "Use 8 or more.",
        )
        check(self.learning_rate > 0, f"Learning rate {self.learning_rate}.", "Use 1e-3.")
        check(self.threads >= 0, f"{self.threads} threads.", "Use 0 for all cores.")
        check(self.checkpoint_every >= 1, "A checkpoint every 0 steps.", "Use 1 or more.")
        _check_device(self.device)


@dataclass(frozen=True, kw_only=True)
class OccluderTrainConfig:
    """Everything that `dub train occluder` can be told."""

    model: str = "occluder"
    data: Path
    output: Path
    steps: int = 3000
    minutes: float = 0.0
    batch: int = 24
    faces: int = 6000
    learning_rate: float = 2e-3
    seed: int = 0
    threads: int = 0

    def __post_init__(self) -> None:
        least_of = {"steps": 1, "minutes": 0, "batch": 2, "faces": 2, "threads": 0}
        for name, least in least_of.items():
            value = getattr(self, name)
            check(value >= least, f"{value} {name}.", f"Use {least} or more.")
        check(self.learning_rate > 0, f"Learning rate {self.learning_rate}.", "Use 2e-3.")


EVALUATION_SETTINGS = ("reconstruction", "cross", "silence")
BASELINES = ("passthrough", "best-reference", "audio-reference", "ground-truth")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Everything that `dub evaluate` can be told. Lists are comma-separated names."""

    clips: Path
    output: Path
    settings: str = "reconstruction,cross,silence"
    models: str = "iptalker"
    identities: str = ""
    baselines: str = "passthrough,best-reference,audio-reference,ground-truth"
    half: bool = False
    catalogue: Path | None = None
    speech: Path | None = None
    weights: Path | None = None
    limit: int = 0
    device: str = "auto"
    threads: int = 0
    seed: int = 0
    keep: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        for kind, chosen, known in (
            ("setting", self.setting_names, EVALUATION_SETTINGS),
            ("baseline", self.baseline_names, BASELINES),
        ):
            unknown = [name for name in chosen if name not in known]
            check(
                not unknown,
                f"Unknown {kind} '{''.join(unknown[:1])}'.",
                f"Use one or more of {', '.join(known)}, separated by commas.",
            )
        check(bool(self.setting_names), "No setting.", "Use reconstruction, cross or silence.")
        check(
            bool(self.model_names or self.identity_names or self.baseline_names),
            "Neither a model nor an identity nor a baseline.",
            "Name one with --models, --identities or --baselines.",
        )
        _check_device(self.device)
        check(self.threads >= 0, f"{self.threads} threads.", "Use 0 for all cores.")
        check(self.limit >= 0, f"A limit of {self.limit} clips.", "Use 0 for all clips.")

    @property
    def setting_names(self) -> tuple[str, ...]:
        """The chosen settings."""
        return _names(self.settings)

    @property
    def model_names(self) -> tuple[str, ...]:
        """The models that are scored."""
        return _names(self.models)

    @property
    def identity_names(self) -> tuple[str, ...]:
        """The identities that are scored beside the models: names, paths, folders of several."""
        return _names(self.identities)

    @property
    def baseline_names(self) -> tuple[str, ...]:
        """The chosen baselines."""
        return _names(self.baselines)

    def as_json(self) -> dict[str, Any]:
        """The configuration as JSON-ready values."""
        return _as_json(self)


def _names(listed: str) -> tuple[str, ...]:
    """The different names of a comma-separated list, in order."""
    return tuple(dict.fromkeys(name.strip() for name in listed.split(",") if name.strip()))
