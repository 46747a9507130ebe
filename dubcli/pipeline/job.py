"""What is checked and loaded before a frame is looked at."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from dubcli import __version__
from dubcli.config import DubConfig, Voice
from dubcli.core.errors import ConfigError, EncodeError
from dubcli.core.types import MediaInfo, VideoStreamInfo, Waveform
from dubcli.identities.adapter import apply_adapter
from dubcli.identities.identity import Identity
from dubcli.identities.store import locate
from dubcli.media.container.ffmpeg import ffmpeg_binary
from dubcli.media.container.formats import container_of, default_output
from dubcli.media.container.probe import probe, require_audio, require_video
from dubcli.media.sound.mix import mix_recordings
from dubcli.media.video.deinterlace import refuse_interlaced
from dubcli.media.video.frame_writer import EncodeOptions
from dubcli.pipeline.device import choose_device
from dubcli.pipeline.model_pair import ModelPair, one_model
from dubcli.pipeline.resume import fingerprint_of
from dubcli.pipeline.soundtrack import Levels, plan_levels, read_audio
from dubcli.pipeline.stored_identity import read_identity
from dubcli.provenance.mark_choice import Marks, plan_marks, sidecar_of
from dubcli.weights.load import load_model
from dubcli.weights.resolve import resolve

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Speech:
    """What one person is to say.

    Attributes:
        voice: Who, and the file.
        waveform: The recording at the features' rate.
        audio_s: Its exact length, seconds.
    """

    voice: Voice
    waveform: Waveform
    audio_s: Fraction


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run that was checked and may begin: nothing in it depends on what the frames show.

    Attributes:
        config: What the user asked for.
        info: Facts of the source.
        output: Where the result goes.
        speeches: What each person says, in the user's order.
        sound: The file that becomes the result's sound: the only recording, or all mixed.
        audio_s: Its exact length, seconds.
        levels: How loud it and the source's own sound become.
        models: The models that predict and paint, on `device`.
        model_name: Name and tag of its manifest entry.
        identity: The person that it was adapted to, None for the model as it ships.
        weights_sha256: None for a model without weights.
        device: Where the model runs.
        encode: How frames are encoded.
        marks: What tells that it was dubbed.
    """

    config: DubConfig
    info: MediaInfo
    output: Path
    speeches: tuple[Speech, ...]
    sound: Path
    audio_s: Fraction
    levels: Levels
    models: ModelPair
    model_name: str
    identity: Identity | None
    weights_sha256: str | None
    device: torch.device
    encode: EncodeOptions
    marks: Marks

    @property
    def video(self) -> VideoStreamInfo:
        """The video stream that is dubbed."""
        return require_video(self.info)


def check(config: DubConfig) -> None:
    """Look at files and options alone, before something slow that a dub will need.

    Raises:
        DubError: The dub could not begin.
    """
    output = check_output(config, inspect(config))
    require_free(output, config)
    for voice in config.voices:
        read_audio(voice.audio, config)


def inspect(config: DubConfig) -> MediaInfo:
    """Facts of the source, once all inputs can be read.

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
    for voice in config.voices:
        require_audio(probe(voice.audio))
    return info


def check_output(config: DubConfig, info: MediaInfo) -> Path:
    """The output's path, when it can be written at all.

    Raises:
        ConfigError: It is an input.
        EncodeError: Its folder or its kind does not allow it.
    """
    output = config.output or default_output(config.video, info)
    inputs = [path.resolve() for path in (config.video, *(v.audio for v in config.voices))]
    if output.resolve() in inputs:
        raise ConfigError(
            f"The output '{output}' is an input.", "Choose another name with --output."
        )
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


def require_free(output: Path, config: DubConfig) -> None:
    """Refuse to replace what nobody said may be replaced.

    Raises:
        ConfigError: The output, its report or its credentials exist.
    """
    sidecar = sidecar_of(config, output)
    for path in (output, report_path(output), sidecar):
        if path is not None and path.exists() and not config.overwrite:
            raise ConfigError(f"'{path}' exists.", "Use -y to replace it or -o for another name.")


def report_path(output: Path) -> Path:
    """Where the report of a result lies: the same name with `.json`."""
    return output.with_suffix(".json")


def fingerprint(config: DubConfig, output: Path, extras: dict[str, Any]) -> str:
    """One value for all that the result depends on.

    Raises:
        DubError: A file or the model is missing.
    """
    files = [config.video, *(voice.audio for voice in config.voices)]
    wanted = config.model
    if config.identity is not None:
        _, wanted = read_identity(config.identity, config.model)
        files.append(locate(config.identity))
    settings = {
        "version": __version__,
        "weights": resolve(wanted).sha256,
        "config": _for_picture(config, output).as_json(),
        **extras,
    }
    return fingerprint_of(settings, files)


def _for_picture(config: DubConfig, output: Path) -> DubConfig:
    """The settings that finished parts depend on; marks other than the visible one come after."""
    return replace(
        config, overwrite=False, output=output, no_mark=False, c2pa_cert=None, c2pa_key=None
    )


def prepare_job(
    config: DubConfig, info: MediaInfo, output: Path, scratch: Path, encode: EncodeOptions | None
) -> Job:
    """Look at everything that can be wrong before the slow part.

    Args:
        config: What the user asked for.
        info: Facts of the source.
        output: Where the result goes.
        scratch: Folder for a mixed recording.
        encode: Encoder options in place of the configuration's.

    Raises:
        DubError: Some input cannot be used.
    """
    ffmpeg_binary()  # the very last step needs it: better missed now
    marks = plan_marks(config, output)
    speeches = tuple(_speech(voice, config) for voice in config.voices)
    longest = max(speeches, key=lambda speech: speech.audio_s)
    sound, lowered_db = longest.voice.audio, 0.0
    if len(speeches) > 1:
        sound = scratch / "voices.flac"
        recordings = [speech.voice.audio for speech in speeches]
        lowered_db = mix_recordings(recordings, sound, scratch / "voices.mka")
    levels = plan_levels(config, info, sound)
    if lowered_db:
        note = f"The voices were made {lowered_db:.1f} dB quieter: together they would clip."
        levels = replace(levels, notes=(note, *levels.notes))
    identity, wanted = None, config.model
    if config.identity is not None:
        identity, wanted = read_identity(config.identity, config.model)
    entry = resolve(wanted)
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    device = choose_device(config.device)
    model, sha256 = load_model(entry.name, str(device))
    if identity is not None:
        apply_adapter(cast(nn.Module, model), identity, sha256)
    default = EncodeOptions(output=output, crf=config.crf, threads=config.threads)
    return Job(
        config=config,
        info=info,
        output=output,
        speeches=speeches,
        sound=sound,
        audio_s=longest.audio_s,
        levels=levels,
        models=one_model(model),
        model_name=entry.name,
        identity=identity,
        weights_sha256=sha256,
        device=device,
        encode=encode or default,
        marks=marks,
    )


def _speech(voice: Voice, config: DubConfig) -> Speech:
    waveform, audio_s = read_audio(voice.audio, config)
    return Speech(voice=voice, waveform=waveform, audio_s=audio_s)
