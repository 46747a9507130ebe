"""What the configurations share: checks, and what each field says of itself as an option."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

from dubcli.config.option_parsing import check
from dubcli.core.choices import DETECTORS

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16")
_OPTION = "option"


class Panel(StrEnum):
    """Where `--help` shows an option, in this order."""

    FIRST = "What you need first"
    INPUT = "Input"
    FACES = "Faces"
    SOUND = "Sound"
    LENGTH = "Length"
    OUTPUT = "Output"
    MARKS = "Marks"
    LEARNING = "Learning"
    RUN = "How it runs"


@dataclass(frozen=True, kw_only=True)
class OptionInfo:
    """What a field of a configuration says of itself as an option of a command.

    Attributes:
        help: What it is for, as users read it.
        panel: Where `--help` shows it.
        choices: The words that it takes; empty where others are possible.
        command_line_only: Neither a configuration file nor a variable may set it.
        flag: Its name on the command line, where that is not the field's.
        metavar: What stands for its value in `--help`.
    """

    help: str
    panel: Panel
    choices: tuple[str, ...]
    command_line_only: bool
    flag: str | None
    metavar: str | None


def about(
    text: str,
    *,
    panel: Panel = Panel.RUN,
    choices: Sequence[str] = (),
    command_line_only: bool = False,
    flag: str | None = None,
    metavar: str | None = None,
) -> dict[str, OptionInfo]:
    """Metadata of a field; see `OptionInfo`."""
    info = OptionInfo(
        help=text,
        panel=panel,
        choices=tuple(choices),
        command_line_only=command_line_only,
        flag=flag,
        metavar=metavar,
    )
    return {_OPTION: info}


def option_info(metadata: Any) -> OptionInfo | None:
    """What a field's metadata says of the option; None where the field is none."""
    return metadata.get(_OPTION)


def help_of(metadata: Any) -> str:
    """What a field's metadata says of the option; empty where it says nothing."""
    info = option_info(metadata)
    return "" if info is None else info.help


def check_device(device: str) -> None:
    """Refuse what is no device. Raises ConfigError."""
    check(
        device.split(":")[0] in DEVICES,
        f"Unknown device '{device}'.",
        "Use auto, cpu, cuda, cuda:N or mps.",
    )


def check_precision(precision: str) -> None:
    """Refuse what is no number format. Raises ConfigError."""
    check(
        precision in PRECISIONS,
        f"Unknown precision '{precision}'.",
        "Use auto, float32 or bfloat16.",
    )


def as_json(config: Any) -> dict[str, Any]:
    """Fields of a configuration as JSON-ready values."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            items = cast("dict[str, Any]", value).items()
            return {key: plain(item) for key, item in items}
        if isinstance(value, tuple):
            return [plain(item) for item in cast("tuple[Any, ...]", value)]
        return str(value) if isinstance(value, Path) else value

    return {key: plain(value) for key, value in asdict(config).items()}


def seed_option() -> Any:
    """The field `seed` of a command."""
    return field(default=0, metadata=about("Seed of everything random."))


def threads_option() -> Any:
    """The field `threads` of a command."""
    return field(default=0, metadata=about("CPU threads; 0 takes all cores."))


def device_option(what: str) -> Any:
    """The field `device` of a command; `what` runs there, with its verb. See `check_device`."""
    text = f"Where {what}: {', '.join(DEVICES)}; cuda:N picks one GPU."
    return field(default="auto", metadata=about(text))


def about_catalogue() -> dict[str, OptionInfo]:
    """Metadata of the field `catalogue` of a command that scores clips."""
    text = "CSV that names people and whether a clip's sound is theirs."
    return about(text, panel=Panel.INPUT)


def about_score_weights() -> dict[str, OptionInfo]:
    """Metadata of the field `weights` of a command that scores clips."""
    text = (
        "Folder with networks of other projects; those of `dub models pull --for evaluate` are "
        "found without it."
    )
    return about(text, panel=Panel.INPUT)


def results_option(text: str, panel: Panel) -> Any:
    """The field `results` of a command that scores other tools' videos."""
    return field(
        default=(),
        metadata=about(text, metavar="NAME=FOLDER", panel=panel, command_line_only=True),
    )


def limit_option(verb: str) -> Any:
    """The field `limit` of a command that scores clips; see `check_limit`."""
    text = f"{verb} the first clips only; 0 for all."
    return field(default=0, metadata=about(text, panel=Panel.INPUT))


def check_limit(limit: int) -> None:
    """Refuse a negative number of clips. Raises ConfigError."""
    check(limit >= 0, f"A limit of {limit} clips.", "Use 0 for all clips.")


def detector_option() -> Any:
    """The field `detector` of a command that looks at faces; see `check_detector`."""
    text = (
        "What finds faces: onnx, or mediapipe, the package that the networks come from, where "
        "the extra of that name is installed."
    )
    return field(default=DETECTORS[0], metadata=about(text, panel=Panel.FACES, choices=DETECTORS))


def check_detector(detector: str) -> None:
    """Refuse a detector that does not exist.

    Raises:
        ConfigError: Unknown detector.
    """
    known = " or ".join(DETECTORS)
    check(detector in DETECTORS, f"Unknown detector '{detector}'.", f"Use {known}.")
