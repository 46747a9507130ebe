"""A run that was checked and may begin."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dubcli import __version__
from dubcli.config import DubConfig
from dubcli.core.errors import ConfigError, EncodeError
from dubcli.core.file_names import address_in, name_limit
from dubcli.core.types import MediaInfo, VideoStreamInfo
from dubcli.face.detect import require_detector
from dubcli.identities.identity import Identity
from dubcli.identities.store import locate
from dubcli.media.container.ffmpeg import ffmpeg_binary
from dubcli.media.container.formats import container_of, default_output
from dubcli.media.container.probe import probe, require_audio, require_video
from dubcli.media.video.deinterlace import refuse_interlaced
from dubcli.media.video.frame_writer import EncodeOptions
from dubcli.models.api import Part
from dubcli.models.model_options import options_for, refuse_foreign_options, second_subject
from dubcli.models.registry import model_names
from dubcli.pipeline.landmark_file import GivenMouths, read_landmarks
from dubcli.pipeline.resume import fingerprint_of
from dubcli.pipeline.soundtrack import read_audio
from dubcli.pipeline.stored_identity import read_identity
from dubcli.provenance.mark_choice import Marks, choose_marks, sidecar_of
from dubcli.weights.entry import WeightEntry

if TYPE_CHECKING:
    from dubcli.pipeline.engine import Engine


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run that was checked by files' headers and options alone: nothing is decoded or loaded.

    Attributes:
        config: What the user asked for.
        info: Facts of the source.
        recordings: Facts of what each person says, in the user's order.
        output: Where the result goes.
        entry: Weights of the model that paints.
        motion_entry: Weights of the model that predicts the mouth; usually the same.
        given: Mouths of `--landmarks`.
        options: What users chose for each of the models; for one that plays both parts, as
            `render` alone.
        second_videos: Facts of the videos that these options name as second subjects.
        identity: The person that it is adapted to, None for the model as it ships.
        device: Where it runs.
        encode: How frames are encoded.
        marks: What tells that the result was dubbed.
    """

    config: DubConfig
    info: MediaInfo
    recordings: tuple[MediaInfo, ...]
    output: Path
    entry: WeightEntry
    motion_entry: WeightEntry
    options: Mapping[Part, Any]
    second_videos: Mapping[Part, MediaInfo]
    identity: Identity | None
    device: torch.device
    encode: EncodeOptions
    marks: Marks
    given: GivenMouths | None = None

    @property
    def video(self) -> VideoStreamInfo:
        """The video stream that is dubbed."""
        return require_video(self.info)

    @property
    def model_name(self) -> str:
        """Name and tag of the entry of the model that paints."""
        return self.entry.name

    @property
    def entries(self) -> dict[Part, WeightEntry]:
        """The entry of each model; of one that plays both parts, as `render` alone."""
        return entries_of(self.motion_entry, self.entry)

    @property
    def weights_sha256(self) -> str | None:
        """Digest of its weights, None for a model without weights."""
        return self.entry.sha256


def validate(config: DubConfig, engine: Engine, encode: EncodeOptions | None = None) -> Job:
    """Check what can be told without decoding: files, options, names, the device.

    Args:
        config: What the user asked for.
        engine: Knows the weights and the device.
        encode: Encoder options in place of the configuration's.

    Raises:
        DubError: Some input cannot be used.
    """
    require_detector(config.detector)
    info, recordings = inspect(config)
    output = check_output(config, info)
    identity, wanted = None, config.model
    if config.identity is not None:
        identity, wanted = read_identity(config.identity, config.model, engine.manifest)
    entry = engine.resolve(config.render or wanted)
    motion_entry = engine.resolve(config.motion or wanted)
    entries = entries_of(motion_entry, entry)
    options = _model_options(config, entries)
    second_videos = _second_videos(entries, options)
    ffmpeg_binary()  # the very last step needs it: better missed now
    return Job(
        config=config,
        info=info,
        recordings=recordings,
        output=output,
        entry=entry,
        motion_entry=motion_entry,
        options=options,
        second_videos=second_videos,
        identity=identity,
        device=engine.device(config.device),
        encode=encode or EncodeOptions(output=output, crf=config.crf, threads=config.threads),
        marks=choose_marks(config, output),
        given=None
        if config.landmarks is None
        else read_landmarks(config.landmarks, config.video, len(config.voices)),
    )


def entries_of(motion: WeightEntry, render: WeightEntry) -> dict[Part, WeightEntry]:
    """The models that play the two parts; one that plays both stands as `render` alone."""
    own: dict[Part, WeightEntry] = {"render": render}
    return own if motion.name == render.name else {"motion": motion, **own}


def _model_options(config: DubConfig, entries: Mapping[Part, WeightEntry]) -> dict[Part, Any]:
    """The options of the models in use.

    Raises:
        ConfigError: One that none of them has, a value that it does not take, or an option of one
            of two models where a single one plays both parts.
    """
    known: dict[Part, str] = {
        part: one.architecture for part, one in entries.items() if one.architecture in model_names()
    }
    refuse_foreign_options(config.model_options, known.values())
    alone: dict[Part, tuple[str, ...]] = {
        "motion": config.motion_option,
        "render": config.render_option,
    }
    for part, words in alone.items():
        if words and len(entries) == 1:
            raise ConfigError(
                f"--{part}-option is for two models, and {entries['render'].name} plays both "
                "parts.",
                "Use the option's own flag, or name another model with --motion or --render.",
            )
    return {
        part: options_for(name, config.model_options, alone[part], f"--{part}-option")
        for part, name in known.items()
    }


def _second_videos(
    entries: Mapping[Part, WeightEntry], options: Mapping[Part, Any]
) -> dict[Part, MediaInfo]:
    """Facts of the videos that options name; each file is opened once.

    Raises:
        ProbeError: One cannot be read, or has no picture.
    """
    probed: dict[Path, MediaInfo] = {}
    found: dict[Part, MediaInfo] = {}
    for part, chosen in options.items():
        path = second_subject(entries[part].architecture, chosen)
        if path is None:
            continue
        if path not in probed:
            probed[path] = probe(path)
            require_video(probed[path])
        found[part] = probed[path]
    return found


def check(config: DubConfig) -> None:
    """Look at files and options alone, before something slow that a dub will need.

    Raises:
        DubError: The dub could not begin.
    """
    require_detector(config.detector)
    output = check_output(config, inspect(config)[0])
    require_free(output, config)
    for voice in config.voices:
        read_audio(voice.audio, config)


def inspect(config: DubConfig) -> tuple[MediaInfo, tuple[MediaInfo, ...]]:
    """Facts of the source and of each recording, by their headers; each file is opened once.

    Raises:
        ConfigError: It is to be learned from as well.
        ProbeError: A file cannot be read, or lacks picture or sound, or is interlaced.
    """
    if config.finetune:
        raise ConfigError(
            "A dub does not learn the person by itself.",
            "Call dubcli.personalize.run first, and give the dub its identity.",
        )
    info = probe(config.video)
    refuse_interlaced(require_video(info), config.deinterlace)
    recordings = tuple(probe(voice.audio) for voice in config.voices)
    for recording in recordings:
        require_audio(recording)
    return info, recordings


def check_output(config: DubConfig, info: MediaInfo) -> Path:
    """The output's path, when it can be written at all.

    Raises:
        ConfigError: It is an input.
        EncodeError: Its folder or its kind does not allow it.
    """
    output = config.output or default_output(config.video, info)
    _check_name(output, config)
    inputs = [path.resolve() for path in (config.video, *(v.audio for v in config.voices))]
    if output.resolve() in inputs:
        raise ConfigError(
            f"The output '{output}' is an input.", "Choose another name with --output."
        )
    _check_other_outputs(config, output, inputs)
    if output.is_dir():
        raise EncodeError(f"'{output}' is a folder.", "Name a file with --output.")
    container_of(output)
    if not output.parent.is_dir():
        raise EncodeError(
            f"The folder '{output.parent}' does not exist.", "Create it, or choose another."
        )
    if not os.access(output.parent, os.W_OK):
        raise EncodeError(f"'{output.parent}' cannot be written.", "Choose another with --output.")
    return output


def _check_name(output: Path, config: DubConfig) -> None:
    """Refuse what is no file's name, and names that are too long for the file system.

    Raises:
        EncodeError: The output, its report or its credentials cannot have their names.
    """
    address = "standard output" if output == Path("-") else address_in(output)
    if address is not None:
        raise EncodeError(
            f"The result cannot be written to {address}.", "Name a file with --output."
        )
    limit = name_limit(output.parent)
    for path in (output, report_path(output), sidecar_of(config, output)):
        num_bytes = 0 if path is None else len(os.fsencode(path.name))
        if num_bytes > limit:
            raise EncodeError(
                f"'{path}' cannot be written: its name takes {num_bytes} bytes, {limit} is the "
                "most.",
                "Use a shorter name with --output.",
            )


def _check_other_outputs(config: DubConfig, output: Path, inputs: list[Path]) -> None:
    """Refuse places that neither a landmark file nor a comparison can be written to.

    Raises:
        ConfigError: One is an input, or the place of a result.
        EncodeError: Its folder does not allow it.
    """
    if config.landmarks is not None:
        inputs = [*inputs, config.landmarks.resolve()]
    taken = [*inputs, output.resolve(), report_path(output).resolve()]
    for flag, wanted in (("--landmarks-out", config.landmarks_out), ("--compare", config.compare)):
        if wanted is None:
            continue
        if wanted.resolve() in taken:
            raise ConfigError(
                f"'{wanted}' of {flag} is an input or the result.", "Choose another name."
            )
        if wanted.is_dir() or not wanted.parent.is_dir() or not os.access(wanted.parent, os.W_OK):
            raise EncodeError(
                f"'{wanted}' of {flag} cannot be written.", "Name a file in a folder of yours."
            )


def require_free(output: Path, config: DubConfig) -> None:
    """Refuse to replace what nobody said may be replaced.

    Raises:
        ConfigError: The output, its report or its credentials exist.
    """
    sidecar = sidecar_of(config, output)
    for path in (output, report_path(output), sidecar, config.landmarks_out, config.compare):
        if path is not None and path.exists() and not config.overwrite:
            raise ConfigError(f"'{path}' exists.", "Use -y to replace it or -o for another name.")


def report_path(output: Path) -> Path:
    """Where the report of a result lies: the same name with `.json`."""
    return output.with_suffix(".json")


def fingerprint(job: Job, extras: dict[str, Any]) -> str:
    """One value for all that the result depends on.

    Args:
        job: The run.
        extras: What else it depends on, JSON-ready.
    """
    config = job.config
    files = [config.video, *(voice.audio for voice in config.voices)]
    if config.identity is not None:
        files.append(locate(config.identity))
    files += [other.path for other in job.second_videos.values()]
    if config.landmarks is not None:
        files.append(config.landmarks)
    settings = {
        "version": __version__,
        "weights": [job.motion_entry.sha256, job.weights_sha256],
        "config": _for_picture(config, job.output).as_json(),
        **extras,
    }
    return fingerprint_of(settings, files)


def _for_picture(config: DubConfig, output: Path) -> DubConfig:
    """The settings that finished parts depend on; marks other than the visible one come after."""
    return replace(
        config,
        overwrite=False,
        output=output,
        compare=None,
        no_mark=False,
        c2pa_cert=None,
        c2pa_key=None,
    )
