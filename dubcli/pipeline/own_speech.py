"""How a person speaks in the video itself: frames in step with the video's own sound."""

from __future__ import annotations

import numpy as np
import torch

from dubcli.audio.windows import frame_steps, gather_windows
from dubcli.core.types import Bool
from dubcli.face.landmarks import SPEAKING
from dubcli.face.pose import to_canonical
from dubcli.media.video.timeline import FrameTimes
from dubcli.models.api import ModelSpec, OwnSpeech
from dubcli.pipeline.subject import DubbedFace
from dubcli.sync.source_sync import SourceSync

# Frames that are given to a model, spread over the stretch: mean and spread need no more.
_MOST_FRAMES = 250


def own_speech(
    own_sound: SourceSync,
    face: DubbedFace,
    times: FrameTimes,
    spec: ModelSpec,
    device: torch.device | str,
    reference_frames: range | None = None,
) -> OwnSpeech | None:
    """What a model that asks for it is given of the person's own speech.

    Args:
        own_sound: Compares mouths with the source's own sound.
        face: The face.
        times: Of the source's frames.
        spec: Of the model.
        device: Where the model is.
        reference_frames: Frames that may serve as references: no other is looked at; all where
            None.

    Returns:
        None where the model does not ask, where there is no sound, or where lips and sound are
        not surely in step.
    """
    if "own_speech" not in spec.needs:
        return None
    track = face.track
    allowed: Bool = np.ones(len(track), np.bool_)
    if reference_frames is not None:
        allowed = np.isin(track.start + np.arange(len(track)), list(reference_frames))
    kind = spec.audio.kind
    spoken = own_sound.spoken_part(track, face.pose, times, allowed, kind)
    if spoken is None:
        return None
    chosen = np.linspace(0, len(spoken.frames) - 1, min(_MOST_FRAMES, len(spoken.frames)))
    frames = spoken.frames[np.round(chosen).astype(np.int64)]
    pts = [times.pts[int(frame)] for frame in frames]
    steps = frame_steps(pts, times.time_base, spoken.features, spoken.origin_s)
    features = spoken.features
    audio = gather_windows(features.values, features.fill, steps, spec.audio.width)
    rows = frames - track.start
    points = to_canonical(track.landmarks[rows], face.pose.at(rows))[:, SPEAKING]
    return OwnSpeech(
        audio=torch.from_numpy(audio).to(device),
        points=torch.from_numpy(points.astype(np.float32)).to(device),
        seconds=spoken.seconds,
    )
