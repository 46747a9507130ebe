"""How far a source's own picture and sound are apart, by the mouths that pass 1 has followed.

Only the liveliest seconds of a mouth are compared, so the cost hardly grows with length.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from dubcli.audio.log_mel import SAMPLE_RATE
from dubcli.core.errors import DubError
from dubcli.core.types import AudioFeatures, Bool, FaceTrack, Int, MediaInfo, Waveform
from dubcli.face.pose import Pose
from dubcli.face.track import smooth_pose
from dubcli.media.sound.waveform import is_silent, read_waveform
from dubcli.media.video.timeline import FrameTimes
from dubcli.models.common.mouth_map import INNER_BOTTOM, INNER_TOP
from dubcli.sync.scorer import LEAST_WINDOWS, MouthClip, SyncScore, SyncScorer, mouth_of_track

Extract = Callable[[Waveform, str], AudioFeatures]
_LOG = logging.getLogger(__name__)
# Longest stretch of a source that is compared, seconds.
_STRETCH_S = 20.0
_TOLERATED_FRAMES = 2.0


@dataclass(frozen=True, kw_only=True)
class SpokenPart:
    """A stretch of a source in which a mouth is in step with the source's own sound.

    Attributes:
        frames: Usable source frames. Shape (U,).
        features: Of the sound, from a second before to a second after.
        origin_s: Video time at which the features' clock reads 0.
        seconds: Length of what the frames show.
    """

    frames: Int
    features: AudioFeatures
    origin_s: Fraction
    seconds: float


class SourceSync:
    """Compares mouths of one source with its own sound, which is read once, on first use.

    Args:
        info: Facts of the source.
        load_expert: Gives the sync expert `train`; None where it is not there.
        extract: Features of a waveform by kind.
    """

    def __init__(
        self, info: MediaInfo, load_expert: Callable[[], SyncScorer | None], extract: Extract
    ) -> None:
        self._info, self._load_expert, self._extract = info, load_expert, extract
        self._waveform: Waveform | None = None
        self._known: list[tuple[FaceTrack, SyncScore | None]] = []

    def of_tracks(self, tracks: Sequence[FaceTrack], times: FrameTimes) -> list[SyncScore | None]:
        """Scores of followed faces, as `of_mouths` gives them; each face is compared once.

        Args:
            tracks: Faces, display px.
            times: Of the source's frames.
        """
        new = [one for one in tracks if not any(one is known for known, _ in self._known)]
        mouths = [mouth_of_track(track, smooth_pose(track), times) for track in new]
        self._known += zip(new, self.of_mouths(mouths), strict=True)
        return [next(score for one, score in self._known if one is track) for track in tracks]

    def spoken_part(
        self, track: FaceTrack, pose: Pose, times: FrameTimes, allowed: Bool, kind: str
    ) -> SpokenPart | None:
        """The liveliest seconds of a face, if its lips are surely in step with the sound.

        Args:
            track: Of the face, display px.
            pose: Its smoothed pose.
            times: Of the source's frames.
            allowed: Frames that may be looked at. Shape (T,).
            kind: Of the features.
        """
        mouth = mouth_of_track(track, pose, times)
        usable = allowed if mouth.usable is None else mouth.usable & allowed
        mouth = replace(mouth, usable=usable)
        (score,) = self.of_mouths([mouth])
        if score is None or not score.is_sure or self._waveform is None:
            return None
        part = _liveliest_part(mouth)
        frames = track.start + part.start + np.flatnonzero(usable[part])
        heard = _part(self._waveform, mouth.times[part][0], mouth.times[part][-1])
        gaps = np.diff(mouth.times[part], append=mouth.times[part][-1])[usable[part]]
        return SpokenPart(
            frames=frames,
            features=self._extract(heard, kind),
            origin_s=Fraction(round(score.offset_ms), 1000),
            seconds=float(np.minimum(gaps, 0.1).sum()),
        )

    def sound_in_step(self, track: FaceTrack, times: FrameTimes) -> Waveform | None:
        """The source's own sound, if a face surely speaks it at the same time; else None.

        Args:
            track: Of the face, display px.
            times: Of the source's frames.
        """
        (score,) = self.of_tracks([track], times)
        if score is None or not score.is_sure or abs(score.offset_frames) > _TOLERATED_FRAMES:
            return None
        return self._waveform

    def of_mouths(self, mouths: Sequence[MouthClip]) -> list[SyncScore | None]:
        """Scores of mouths, each by its own liveliest seconds.

        Whatever goes wrong is logged and leaves the score unknown: the dub does not need it.

        Args:
            mouths: On the video's clock.

        Returns:
            None where there is no sound, no expert, or not enough of a mouth.
        """
        unknown: list[SyncScore | None] = [None] * len(mouths)
        try:
            expert = self._load_expert()
            lively = [_liveliest(mouth) for mouth in mouths]
            is_enough = any(len(mouth) >= LEAST_WINDOWS for mouth in lively)
            if expert is None or not is_enough or self._info.audio is None:
                return unknown
            if self._waveform is None:
                self._waveform = read_waveform(self._info.path, SAMPLE_RATE)
            return [self._score(expert, mouth, self._waveform) for mouth in lively]
        except DubError as error:
            _LOG.info("Whether the source is in step is not known: %s", error)
            return unknown

    def _score(self, expert: SyncScorer, mouth: MouthClip, waveform: Waveform) -> SyncScore | None:
        if len(mouth) < LEAST_WINDOWS:
            return None
        heard = _part(waveform, mouth.times[0], mouth.times[-1])
        if not len(heard.samples) or is_silent(heard):
            return None
        return expert.score(mouth, self._extract(heard, expert.audio_kind))


def source_warning(score: SyncScore | None) -> str | None:
    """What to tell of a source whose own picture and sound are surely out of step."""
    if score is None or not score.is_sure or abs(score.offset_frames) <= _TOLERATED_FRAMES:
        return None
    when = "early" if score.offset_frames > 0 else "late"
    return (
        f"The source's own sound runs {round(abs(score.offset_ms), -1):.0f} ms {when} against its "
        "picture; the new audio is placed by time as given."
    )


def _liveliest(mouths: MouthClip) -> MouthClip:
    """The stretch of `_STRETCH_S` in which the lips move most."""
    part = _liveliest_part(mouths)
    usable = np.ones(len(mouths), np.bool_) if mouths.usable is None else mouths.usable
    return MouthClip(
        points=mouths.points[part],
        times=mouths.times[part],
        usable=usable[part],
        shot=None if mouths.shot is None else mouths.shot[part],
    )


def _liveliest_part(mouths: MouthClip) -> slice:
    gap = mouths.points[:, INNER_TOP] - mouths.points[:, INNER_BOTTOM]
    moved = np.abs(np.diff(np.linalg.norm(gap, axis=-1), prepend=0))
    usable = np.ones(len(mouths), np.bool_) if mouths.usable is None else mouths.usable
    moved[~usable | ~np.roll(usable, 1)] = 0
    moved[:1] = 0
    total = np.concatenate([[0], np.cumsum(moved)])
    ends = np.searchsorted(mouths.times, mouths.times + _STRETCH_S, side="right")
    start = int(np.argmax(total[ends] - total[:-1]))
    return slice(start, int(ends[start]))


def _part(waveform: Waveform, first_s: float, last_s: float) -> Waveform:
    """The sound from a second before `first_s` to a second after `last_s`."""
    rate, begin = waveform.sample_rate, float(waveform.start_s)
    start = max(0, round((first_s - 1 - begin) * rate))
    stop = max(start, round((last_s + 1 - begin) * rate))
    return Waveform(
        samples=waveform.samples[start:stop],
        sample_rate=rate,
        start_s=waveform.start_s + Fraction(start, rate),
    )
