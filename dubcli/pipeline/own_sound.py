"""A video's own sound around each frame of a face, for models that learn how the person speaks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction

from dubcli.audio.windows import frame_steps, gather_windows
from dubcli.core.types import F32, AudioFeatures, FaceTrack, Waveform
from dubcli.media.video.timeline import FrameTimes
from dubcli.models.api import ModelSpec
from dubcli.sync.source_sync import SourceSync


def own_sound_windows(
    own_sound: SourceSync,
    extract: Callable[[Waveform, str], AudioFeatures],
    track: FaceTrack,
    times: FrameTimes,
    specs: Iterable[ModelSpec],
) -> dict[str, F32]:
    """What models that need the track hear of the person's own speech.

    Args:
        own_sound: Compares mouths with the video's own sound.
        extract: Features of a waveform by kind.
        track: The face.
        times: Of the video's frames.
        specs: Of the models.

    Returns:
        By name of a model, shape (F, A, D). Nothing for a model that does not need the track, and
        nothing at all unless the sync expert is sure that the sound is this mouth's and in step.
    """
    asking = [spec for spec in specs if "track" in spec.needs]
    waveform = own_sound.sound_in_step(track, times) if asking else None
    if waveform is None:
        return {}
    windows: dict[str, F32] = {}
    for spec in asking:
        features = extract(waveform, spec.audio.kind)
        steps = frame_steps(times.pts, times.time_base, features, Fraction(0))
        windows[spec.name] = gather_windows(features.values, features.fill, steps, spec.audio.width)
    return windows
