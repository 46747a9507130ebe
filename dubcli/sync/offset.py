"""How far a clip's picture lags its sound: many public clips are some frames out of step.

`dub prepare` asks the shipped sync expert.
"""

from __future__ import annotations

from dataclasses import dataclass

from dubcli.sync.scorer import SyncScorer
from dubcli.training.data.prepared_clip import PreparedClip, features_of, mouth_of

# So many windows (6 s) make the sync expert sure of any sound that follows its mouth.
_TELLING_WINDOWS = 150


@dataclass(frozen=True, kw_only=True)
class OffsetColumns:
    """What the index of a training set says of a clip's offset.

    Attributes:
        offset_ms: How much later the picture comes than the sound; empty where that is not sure.
        offset_confidence: Of the sync expert; empty where it was not asked.
        sound_dropped: Why the sound is not used; empty where it is.
    """

    offset_ms: str = ""
    offset_confidence: str = ""
    sound_dropped: str = ""


def measure_offset(scorer: SyncScorer | None, clip: PreparedClip) -> OffsetColumns:
    """A clip's offset by the sync expert, and whether its sound can be learnt from.

    Sound too short to tell is kept as it is.

    Args:
        scorer: The expert, None where its weights do not ship.
        clip: A prepared clip.
    """
    if scorer is None or not clip.has_sound or scorer.audio_kind not in clip.sounds:
        return OffsetColumns()
    score = scorer.score(mouth_of(clip), features_of(clip, kind=scorer.audio_kind))
    if not score.num_windows:
        return OffsetColumns()
    confidence = f"{score.confidence:.3f}"
    if score.is_sure:
        return OffsetColumns(offset_ms=str(round(score.offset_ms)), offset_confidence=confidence)
    if score.num_windows >= _TELLING_WINDOWS:
        reason = f"the sound does not follow the mouth (confidence {confidence})"
        return OffsetColumns(offset_confidence=confidence, sound_dropped=reason)
    return OffsetColumns(offset_confidence=confidence)
