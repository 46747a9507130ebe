"""A video's own sound: compared with its mouths, and what models are given of it."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import numpy as np
import torch

from dubcli.audio.windows import frame_steps, gather_windows
from dubcli.core.types import F32, Bool, FaceTrack
from dubcli.face.landmarks import SPEAKING
from dubcli.face.pose import to_canonical
from dubcli.media.video.timeline import FrameTimes
from dubcli.models.api import ModelSpec, OwnSpeech, Part
from dubcli.pipeline.subject import DubbedFace
from dubcli.sync.source_sync import SourceSync

# Frames of a person's speech that are given to a model, spread over the stretch: mean and spread
# need no more.
_MOST_FRAMES = 250


class SourceSound(SourceSync):
    """The own sound of one source, read once: whether it is a mouth's, and that mouth's speech."""

    def windows(
        self, track: FaceTrack, times: FrameTimes, specs: Mapping[Part, ModelSpec]
    ) -> dict[Part, F32]:
        """What models that need the track hear of the person's own speech, around every frame.

        Args:
            track: The face.
            times: Of the video's frames.
            specs: Of the models.

        Returns:
            By the model's part, shape (F, A, D). Nothing for a model that does not need the track,
            and nothing at all unless the sync expert is sure that the sound is this mouth's and in
            step.
        """
        asking: dict[Part, ModelSpec] = {
            part: spec for part, spec in specs.items() if "track" in spec.needs
        }
        waveform = self.sound_in_step(track, times) if asking else None
        if waveform is None:
            return {}
        found: dict[Part, F32] = {}
        for part, spec in asking.items():
            features = self._extract(waveform, spec.audio.kind)
            steps = frame_steps(times.pts, times.time_base, features, Fraction(0))
            found[part] = gather_windows(features.values, features.fill, steps, spec.audio.width)
        return found

    def speech(
        self,
        face: DubbedFace,
        times: FrameTimes,
        spec: ModelSpec,
        device: torch.device | str,
        reference_frames: range | None = None,
    ) -> OwnSpeech | None:
        """How the person speaks in the video itself: the liveliest seconds, for a model that asks.

        Args:
            face: The face.
            times: Of the source's frames.
            spec: Of the model.
            device: Where the model is.
            reference_frames: Frames that may serve as references: no other is looked at; all
                where None.

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
        spoken = self.spoken_part(track, face.pose, times, allowed, spec.audio.kind)
        if spoken is None:
            return None
        chosen = np.linspace(0, len(spoken.frames) - 1, min(_MOST_FRAMES, len(spoken.frames)))
        frames = spoken.frames[np.round(chosen).astype(np.int64)]
        pts = [times.pts[int(frame)] for frame in frames]
        features = spoken.features
        steps = frame_steps(pts, times.time_base, features, spoken.origin_s)
        audio = gather_windows(features.values, features.fill, steps, spec.audio.width)
        rows = frames - track.start
        points = to_canonical(track.landmarks[rows], face.pose.at(rows))[:, SPEAKING]
        return OwnSpeech(
            audio=torch.from_numpy(audio).to(device),
            points=torch.from_numpy(points.astype(np.float32)).to(device),
            seconds=spoken.seconds,
        )
