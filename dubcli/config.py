"""One frozen configuration per command; every default of the product stands here, once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from dubcli.errors import ConfigError

SYNC_MODES = ("loop", "bounce", "freeze", "cut", "pad")
DEVICES = ("auto", "cpu", "cuda", "mps")


def _check(condition: bool, cause: str, next_step: str) -> None:
    if not condition:
        raise ConfigError(cause, next_step)


def _check_device(device: str) -> None:
    _check(
        device.split(":")[0] in DEVICES,
        f"Unknown device '{device}'.",
        "Use auto, cpu, cuda, cuda:N or mps.",
    )


def _check_precision(precision: str) -> None:
    _check(
        precision in ("auto", "float32", "bfloat16"),
        f"Unknown precision '{precision}'.",
        "Use auto, float32 or bfloat16.",
    )


def _as_json(config: Any) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(item) for item in cast("tuple[Any, ...]", value)]
        return str(value) if isinstance(value, Path) else value

    return {key: plain(value) for key, value in asdict(config).items()}


@dataclass(frozen=True, kw_only=True)
class DubConfig:
    """Everything that `dub VIDEO --audio AUDIO` can be told."""

    video: Path
    audio: Path
    output: Path | None = None
    overwrite: bool = False
    model: str = "iptalker"
    device: str = "auto"
    face: int = 1
    sync_mode: str = "bounce"
    crf: int = 16
    seed: int = 0
    threads: int = 0
    allow_silence: bool = False
    identity: str | None = None
    finetune: bool = False
    consent: bool = False

    def __post_init__(self) -> None:
        _check(
            self.sync_mode in SYNC_MODES,
            f"Unknown sync mode '{self.sync_mode}'.",
            f"Use one of {', '.join(SYNC_MODES)}.",
        )
        _check_device(self.device)
        _check(self.face >= 1, f"Face {self.face} does not exist.", "Faces count from 1.")
        _check(0 <= self.crf <= 51, f"CRF {self.crf} is out of range.", "Use 0 to 51.")
        _check(self.threads >= 0, f"{self.threads} threads.", "Use 0 for all cores.")
        _check(
            self.finetune or not self.consent,
            "Consent is for learning a person.",
            "Add --finetune, or leave out --consent.",
        )

    def as_json(self) -> dict[str, Any]:
        """The configuration as JSON-ready values."""
        return _as_json(self)


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Everything that `dub prepare` can be told."""

    clips: Path
    output: Path
    overwrite: bool = False
    jobs: int = 1
    catalogue: Path | None = None

    def __post_init__(self) -> None:
        _check(self.jobs >= 1, f"{self.jobs} jobs.", "Use 1 or more.")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that `dub train` can be told."""

    model: str
    data: Path
    output: Path
    stage: str = "render"
    preset: str | None = None
    losses: str = "default"
    perceptual: str = "auto"
    init: Path | None = None
    steps: int = 20_000
    minutes: float = 0.0
    batch_clips: int = 2
    frames_per_clip: int = 4
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
        _check(self.steps >= 1, f"{self.steps} steps.", "Use 1 or more.")
        _check(self.minutes >= 0, f"{self.minutes} minutes.", "Use 0 for no limit.")
        _check(self.batch_clips >= 1, f"{self.batch_clips} clips in a batch.", "Use 1 or more.")
        _check(
            self.frames_per_clip >= (2 if self.stage == "geometry" else 1),
            f"{self.frames_per_clip} frames of each clip.",
            "Use 1 or more, and 2 or more in stage geometry, which compares neighbours.",
        )
        _check(self.learning_rate > 0, f"Learning rate {self.learning_rate}.", "Use 2e-4.")
        _check(self.threads >= 0, f"{self.threads} threads.", "Use 0 for all cores.")
        _check(
            self.checkpoint_every >= 1 and self.sample_every >= 1,
            "A checkpoint or sample picture every 0 steps.",
            "Use 1 or more.",
        )
        _check_device(self.device)
        _check(
            self.stage in ("geometry", "render", "joint"),
            f"Unknown stage '{self.stage}'.",
            "Use geometry, render or joint.",
        )
        _check(
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
        _check(bool(self.videos), "No video to learn from.", "Name one or more videos.")
        _check(bool(self.name.strip()), "The identity has no name.", "Use --name, such as anna.")
        _check(self.steps >= 1, f"{self.steps} steps.", "Use 1 or more; 200 is usual.")
        _check(self.minutes >= 0, f"{self.minutes} minutes.", "Use 0 for no limit.")
        _check(self.face >= 0, f"Face {self.face} does not exist.", "Faces count from 1.")
        _check(self.threads >= 0, f"{self.threads} threads.", "Use 0 for all cores.")
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
        _check(self.steps >= 1, f"{self.steps} steps.", "Use 1 or more.")
        _check(self.minutes >= 0, f"{self.minutes} minutes.", "Use 0 to go by --steps.")
        _check(self.batch_clips >= 2, f"{self.batch_clips} clips in a batch.", "Use 2 or more.")
        _check(
            self.moments_per_clip >= 8,
            f"{self.moments_per_clip} moments of each clip.",
            "Use 8 or more.",
        )
        _check(self.learning_rate > 0, f"Learning rate {self.learning_rate}.", "Use 1e-3.")
        _check(self.threads >= 0, f"{self.threads} threads.", "Use 0 for all cores.")
        _check(self.checkpoint_every >= 1, "A checkpoint every 0 steps.", "Use 1 or more.")
        _check_device(self.device)


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
            _check(
                not unknown,
                f"Unknown {kind} '{''.join(unknown[:1])}'.",
                f"Use one or more of {', '.join(known)}, separated by commas.",
            )
        _check(bool(self.setting_names), "No setting.", "Use reconstruction, cross or silence.")
        _check(
            bool(self.model_names or self.identity_names or self.baseline_names),
            "Neither a model nor an identity nor a baseline.",
            "Name one with --models, --identities or --baselines.",
        )
        _check_device(self.device)
        _check(self.threads >= 0, f"{self.threads} threads.", "Use 0 for all cores.")
        _check(self.limit >= 0, f"A limit of {self.limit} clips.", "Use 0 for all clips.")

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
