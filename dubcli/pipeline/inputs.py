"""What is decoded and loaded before the slow part: recordings and models."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from dubcli.audio.speech_activity import SpeechActivity, mute_pauses, speech_activity
from dubcli.config import DubConfig, Voice
from dubcli.core.types import AudioStreamInfo, Waveform
from dubcli.media.container.probe import probe, require_audio
from dubcli.media.sound.mix import mix_recordings
from dubcli.pipeline.context import Clock
from dubcli.pipeline.engine import Engine
from dubcli.pipeline.job import Job
from dubcli.pipeline.model_pair import ModelPair, one_model, require_pairable
from dubcli.pipeline.soundtrack import Levels, choose_levels, read_audio
from dubcli.pipeline.stored_identity import require_one_role


@dataclass(frozen=True, kw_only=True)
class Speech:
    """What one person is to say.

    Attributes:
        voice: Who, and the file.
        waveform: The recording at the features' rate, its pauses muted where lips follow speech.
        activity: When somebody speaks in it.
        audio_s: Its exact length, seconds.
    """

    voice: Voice
    waveform: Waveform
    activity: SpeechActivity
    audio_s: Fraction


@dataclass(frozen=True, kw_only=True)
class LoadedJob(Job):
    """A run whose inputs are in memory; nothing in it depends on what the frames show.

    Attributes:
        speeches: What each person says, in the user's order.
        sound: The file that becomes the result's sound: the only recording, or all mixed.
        sound_stream: Its audio stream.
        audio_s: Its exact length, seconds.
        levels: How loud it and the source's own sound become.
        models: The models that predict and paint, on `device`.
    """

    speeches: tuple[Speech, ...]
    sound: Path
    sound_stream: AudioStreamInfo
    audio_s: Fraction
    levels: Levels
    models: ModelPair


def load_inputs(job: Job, engine: Engine, scratch: Path, clock: Clock | None = None) -> LoadedJob:
    """Read the recordings and take the models from the engine.

    Args:
        job: What was checked.
        engine: Holds the models.
        scratch: Folder for a mixed recording.
        clock: Collects the seconds that it takes.

    Raises:
        MediaError: A recording cannot be used.
        WeightsError: Weights are missing, damaged or do not fit the identity.
    """
    config, began = job.config, time.perf_counter()
    speeches = tuple(_read_speech(voice, config, engine) for voice in config.voices)
    longest = max(range(len(speeches)), key=lambda place: speeches[place].audio_s)
    sound, sound_info = speeches[longest].voice.audio, job.recordings[longest]
    lowered_db = 0.0
    if len(speeches) > 1:
        sound = scratch / "voices.flac"
        recordings = [speech.voice.audio for speech in speeches]
        lowered_db = mix_recordings(recordings, sound, scratch / "voices.mka")
        sound_info = probe(sound)
    levels = choose_levels(config, job.info, sound)
    if lowered_db:
        note = f"The voices were made {lowered_db:.1f} dB quieter: together they would clip."
        levels = replace(levels, notes=(note, *levels.notes))
    engine.use_threads(config.threads)
    torch.manual_seed(config.seed)
    checked: dict[str, Any] = {entry.name: getattr(job, entry.name) for entry in fields(job)}
    loaded = LoadedJob(
        **checked,
        speeches=speeches,
        sound=sound,
        sound_stream=require_audio(sound_info),
        audio_s=speeches[longest].audio_s,
        levels=levels,
        models=_load_models(job, engine),
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
    if job.motion_entry.name == job.entry.name:
        return one_model(render)
    motion = engine.model(job.motion_entry, job.device)
    motion.configure(job.options.get("motion"))
    require_pairable(motion.spec, render.spec)
    return ModelPair(motion=motion, render=render)


def _read_speech(voice: Voice, config: DubConfig, engine: Engine) -> Speech:
    waveform, audio_s = read_audio(voice.audio, config)
    activity = speech_activity(waveform, engine.speech_detector())
    if config.lips_follow == "speech":
        waveform = mute_pauses(waveform, activity)
    return Speech(voice=voice, waveform=waveform, activity=activity, audio_s=audio_s)
