"""A video's own sound around each frame of a face, for models that learn how the person speaks."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING

import torch

from dubcli.audio.log_mel import SAMPLE_RATE
from dubcli.audio.windows import frame_steps, gather_windows
from dubcli.core.types import F32, FaceTrack, MediaInfo
from dubcli.media.sound.waveform import read_waveform
from dubcli.media.video.timeline import FrameTimes
from dubcli.models.api import ModelSpec
from dubcli.sync.source_sync import is_in_step

if TYPE_CHECKING:
    from dubcli.pipeline.engine import Engine


def own_sound_windows(
    engine: Engine,
    info: MediaInfo,
    track: FaceTrack,
    times: FrameTimes,
    specs: Iterable[ModelSpec],
    device: torch.device,
) -> dict[str, F32]:
    """What models that need the track hear of the person's own speech.

    Args:
        engine: Extracts features and knows the sync expert.
        info: Facts of the video.
        track: The face.
        times: Of the video's frames.
        specs: Of the models.
        device: Where the sync expert is.

    Returns:
        By name of a model, shape (F, A, D). Nothing for a model that does not need the track, and
        nothing at all unless the sync expert is sure that the sound is this mouth's and in step.
    """
    asking = [spec for spec in specs if "track" in spec.needs]
    if not asking or info.audio is None:
        return {}
    (score,) = engine.source_sync(info, device).of_tracks([track], times)
    if not is_in_step(score):
        return {}
    waveform = read_waveform(info.path, SAMPLE_RATE)
    windows: dict[str, F32] = {}
    for spec in asking:
        features = engine.features(waveform, spec.audio.kind)
        steps = frame_steps(times.pts, times.time_base, features, Fraction(0))
        windows[spec.name] = gather_windows(features.values, features.fill, steps, spec.audio.width)
    return windows
