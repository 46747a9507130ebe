"""The project's own judge of sync: an expert that no loss uses and no offset of training data.

Results are judged by it alone. The offset of a source against its own sound, which says nothing of
any model, is asked of the other expert too where the judge is not sure.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from dubcli.audio.log_mel import SAMPLE_RATE
from dubcli.core.types import AudioFeatures, Waveform
from dubcli.evaluation.source import Source
from dubcli.face.landmarks import SPEAKING
from dubcli.face.pose import to_canonical
from dubcli.media.sound.waveform import read_waveform
from dubcli.metrics.lips import MouthSeries
from dubcli.sync.scorer import MouthClip, SyncScore, SyncScorer


class OwnSyncScorer:
    """The shipped judge, if it is there.

    Args:
        judge: The sync expert `judge`.
        extract: Features of a waveform by kind.
        second: The expert `train`, asked for offsets of clips that the judge is not sure of.
    """

    def __init__(
        self,
        judge: SyncScorer | None,
        extract: Callable[[Waveform, str], AudioFeatures],
        second: SyncScorer | None = None,
    ) -> None:
        self._judge, self._extract, self._second = judge, extract, second

    def __bool__(self) -> bool:
        return self._judge is not None

    def own_offset_s(self, source: Source, audio: Path) -> float | None:
        """How much later a clip's picture comes than its own sound, seconds.

        Args:
            source: The clip.
            audio: Its own sound, from the first frame on.

        Returns:
            0 where neither expert is sure, None without a judge.
        """
        if self._judge is None:
            return None
        for expert in (self._judge, self._second):
            if expert is not None:
                found = self._ask(expert, source, source.mouth, audio, 0)
                if found.is_sure:
                    return found.offset_ms / 1000
        return 0.0

    def score(
        self, source: Source, mouth: MouthSeries, audio: Path, start: int = 0
    ) -> dict[str, float]:
        """How well a mouth follows a sound.

        Args:
            source: The clip that was dubbed.
            mouth: The mouth in the result.
            audio: What drove it, from the first frame on.
            start: First frame that counts.

        Returns:
            Nothing without a judge.
        """
        if self._judge is None:
            return {}
        found = self._ask(self._judge, source, mouth, audio, start)
        return {
            "sync_confidence": found.confidence,
            "sync_distance": found.distance,
            "sync_offset": found.offset_frames,
        }

    def _ask(
        self, expert: SyncScorer, source: Source, mouth: MouthSeries, audio: Path, start: int
    ) -> SyncScore:
        known = np.isfinite(mouth.opening) & source.valid & (np.arange(len(source)) >= start)
        landmarks = np.where(known[:, None, None], mouth.landmarks, source.track.landmarks)
        points = to_canonical(landmarks.astype(np.float32), source.pose)[:, SPEAKING]
        clip = MouthClip(points=points, times=source.seconds, usable=known, shot=source.track.shot)
        features = self._extract(read_waveform(audio, SAMPLE_RATE), expert.audio_kind)
        return expert.score(clip, features)
