"""What is decoded and loaded before the slow part: recordings and models."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from dubcli.audio.speech_activity import SpeechActivity, mute_pauses, speech_activity
from dubcli.config import DubConfig, Voice
from dubcli.core.errors import ConfigError
from dubcli.core.types import Waveform
from dubcli.media.sound.audio_track import DrivingAudio
from dubcli.media.sound.mix import mix_recordings
from dubcli.media.sound.recording import Recording, made_regular, read_recording
from dubcli.models.api import ModelSpec
from dubcli.pipeline.context import Clock
from dubcli.pipeline.engine import Engine
from dubcli.pipeline.job import Job
from dubcli.pipeline.model_pair import ModelPair, one_model, require_pairable
from dubcli.pipeline.soundtrack import Levels, choose_levels, read_audio
from dubcli.pipeline.stored_identity import require_one_role
from dubcli.pipeline.usable_source import usable_source


@dataclass(frozen=True, kw_only=True)
class Speech:
    """What one person is to say.

    Attributes:
        voice: Who, and the file.
        recording: What is in it, regular and in a file that can be used as it is.
        waveform: It at the features' rate, its pauses muted where lips follow speech.
        activity: When somebody speaks in it.
    """

    voice: Voice
    recording: Recording
    waveform: Waveform
    activity: SpeechActivity

    @property
    def audio_s(self) -> Fraction:
        """Its exact length, seconds."""
        return self.recording.duration_s


@dataclass(frozen=True, kw_only=True)
class LoadedJob(Job):
    """A run whose inputs are in memory; nothing in it depends on what the frames show.

    Attributes:
        speeches: What each person says, in the user's order.
        sound: The file that becomes the result's sound: the only recording, or all mixed.
        driving: Facts of it.
        audio_s: Its exact length, seconds.
        levels: How loud it and the source's own sound become.
        models: The models that predict and paint, on `device`.
        input_notes: What is to be told of the files as they came.
    """

    speeches: tuple[Speech, ...]
    sound: Path
    driving: DrivingAudio
    audio_s: Fraction
    levels: Levels
    models: ModelPair
    input_notes: tuple[str, ...] = ()


def load_inputs(job: Job, engine: Engine, scratch: Path, clock: Clock | None = None) -> LoadedJob:
    """Read the recordings and take the models from the engine.

    Args:
        job: What was checked.
        engine: Holds the models.
        scratch: Folder for what has to be written anew: recordings, or the source.
        clock: Collects the seconds that it takes.

    Raises:
        MediaError: A recording cannot be used.
        WeightsError: Weights are missing, damaged or do not fit the identity.
    """
    config, began = job.config, time.perf_counter()
    engine.use_threads(config.threads)
    torch.manual_seed(config.seed)
    models = _load_models(job, engine)
    engine.recognisers(models.audio_kinds)  # one that is missing is better missed now
    speeches = tuple(
        _read_speech(voice, config, engine, scratch / f"recording-{number}.mka")
        for number, voice in enumerate(config.voices)
    )
    source = usable_source(job.info, scratch)
    longest = max(range(len(speeches)), key=lambda place: speeches[place].audio_s)
    heard, lowered_db = speeches[longest].recording, 0.0
    if len(speeches) > 1:
        heard, lowered_db = _mixed(speeches, scratch)
    stream = str(heard.audio.index)
    levels = choose_levels(config, source.info, heard.path, stream, heard.peak)
    if lowered_db:
        note = f"The voices were made {lowered_db:.1f} dB quieter: together they would clip."
        levels = replace(levels, notes=(note, *levels.notes))
    checked: dict[str, Any] = {entry.name: getattr(job, entry.name) for entry in fields(job)}
    checked["info"] = source.info
    said = [note for speech in speeches for note in speech.recording.notes]
    loaded = LoadedJob(
        **checked,
        speeches=speeches,
        sound=heard.path,
        driving=heard.audio,
        audio_s=speeches[longest].audio_s,
        levels=levels,
        models=models,
        input_notes=(*source.notes, *dict.fromkeys(said)),
    )
    if clock is not None:
        clock.add("prepare", began)
    return loaded


def _load_models(job: Job, engine: Engine) -> ModelPair:
    """The models of a job with their options.

    Raises:
        ConfigError: Two models that cannot be paired, or one that takes no identity.
        WeightsError: Weights are missing, damaged or do not fit the identity.
    """
    render = engine.model(job.entry, job.device, job.identity)
    render.configure(job.options.get("render"))
    if job.identity is not None:
        require_one_role(render.spec)
    if job.config.landmarks is not None or job.config.landmarks_out is not None:
        _require_mouths(render.spec)
    if job.motion_entry.name == job.entry.name:
        return one_model(render)
    motion = engine.model(job.motion_entry, job.device)
    motion.configure(job.options.get("motion"))
    require_pairable(motion.spec, render.spec)
    return ModelPair(motion=motion, render=render)


def _require_mouths(spec: ModelSpec) -> None:
    """Refuse a landmark file with a model that has no mouths.

    Raises:
        ConfigError: It paints none that it is given.
    """
    if not spec.takes_motion:
        raise ConfigError(
            f"'{spec.name}' paints no mouth that it is given, so there are no landmarks.",
            "Choose another --model, or leave out --landmarks and --landmarks-out.",
        )


def _read_speech(voice: Voice, config: DubConfig, engine: Engine, target: Path) -> Speech:
    """Decode a recording; what is wrong with it is known before anything slow."""
    recording = made_regular(read_audio(voice.audio, config), target)
    waveform = recording.waveform
    activity = speech_activity(waveform, engine.speech_detector())
    if config.lips_follow == "speech":
        waveform = mute_pauses(waveform, activity)
    return Speech(voice=voice, recording=recording, waveform=waveform, activity=activity)


def _mixed(speeches: Sequence[Speech], scratch: Path) -> tuple[Recording, float]:
    """All recordings in one, and how much quieter they were made, dB."""
    recordings = [speech.recording for speech in speeches]
    sound = scratch / "voices.flac"
    lowered_db = mix_recordings(
        [one.path for one in recordings],
        sound,
        scratch / "voices.mka",
        [one.audio.index for one in recordings],
    )
    return read_recording(sound), lowered_db
