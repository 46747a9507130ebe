"""One person's footage as training clips, and what of it is kept apart for validation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dubcli.core.types import F32
from dubcli.face.landmarks import MOUTH_LEFT, MOUTH_RIGHT
from dubcli.face.neutral import rest_shape
from dubcli.sync.offset import measure_offset
from dubcli.sync.scorer import SyncScorer
from dubcli.training.data.prepared_clip import STEPS_HZ, PreparedClip
from dubcli.training.data.train_clips import TrainClip, derive_clip

# Share of the footage that is kept apart, the frames that it has at least and at most, and those
# beside it that nobody uses.
_HELD_SHARE, _LEAST_HELD, _MOST_HELD, _GAP_FRAMES = 0.2, 10, 250, 5


def rest_of(clips: list[PreparedClip]) -> F32:
    """The resting mouth over all clips. Shape (S, 3), canonical units."""
    return rest_shape(
        np.concatenate([clip.canonical[:] for clip in clips]),
        np.concatenate([clip.valid for clip in clips]),
    )


def person_clips(
    name: str, clips: list[PreparedClip], scorer: SyncScorer | None
) -> tuple[list[TrainClip], list[str]]:
    """Training clips of one person, picture and sound in step, and what is to be told of them.

    Args:
        name: Of the person.
        clips: The person's footage.
        scorer: The sync expert, None where its weights do not ship.
    """
    neutral = rest_of(clips)
    made, notes = [], []
    for number, clip in enumerate(clips):
        found = measure_offset(scorer, clip)
        if found.sound_dropped:
            notes.append(f"Sound of part {number + 1} is not used: {found.sound_dropped}.")
            clip = clip.without_sound()
        derived = derive_clip(f"{name}-{number + 1}", name, clip, neutral)
        late = round(float(found.offset_ms or 0) / 1000 * float(STEPS_HZ))
        made.append(replace(derived, offset_steps=late, is_in_step=bool(found.offset_ms)))
    return made, notes


def keep_apart(clips: list[TrainClip]) -> tuple[list[TrainClip], list[TrainClip]]:
    """What is learned from, and what decides: a stretch of every clip, which no step sees.

    It is the stretch in which the mouth moves as it does in the whole clip: where nobody speaks
    nothing could be decided. Neither does any step see the frames right beside it.
    """
    learned, held = [], []
    total = sum(len(clip.frames) for clip in clips)
    wanted = int(np.clip(_HELD_SHARE * total, _LEAST_HELD, _MOST_HELD))
    for clip in clips:
        num = len(clip.frames)
        count = min(num // 2, round(wanted * num / total))
        start = _typical_start(clip.opening[clip.frames], count)
        gap = min(_GAP_FRAMES, count // 4)
        rest = np.concatenate(
            [clip.frames[: max(0, start - gap)], clip.frames[start + count + gap :]]
        )
        learned.append(replace(clip, frames=rest))
        if count:
            held.append(replace(clip, frames=clip.frames[start : start + count]))
    return learned, held


def _typical_start(opening: F32, count: int) -> int:
    """Where a stretch of `count` frames begins whose spread is most like the whole one's."""
    starts = range(0, len(opening) - count + 1, max(1, count // 4))
    if not count:
        return len(opening)
    spreads = np.array([opening[start : start + count].std() for start in starts])
    return int(starts[int(np.argmin(np.abs(spreads - opening.std())))])


def mouth_statistics(clips: list[TrainClip]) -> dict[str, float]:
    """Opening and width of the mouth over the inter-ocular distance, for people to read."""
    opening = np.concatenate([clip.opening[clip.frames] for clip in clips])
    corners = np.concatenate([clip.clip.canonical[clip.frames] for clip in clips])
    width = np.linalg.norm(corners[:, MOUTH_LEFT] - corners[:, MOUTH_RIGHT], axis=-1)
    return {
        "opening_mean": float(opening.mean()),
        "opening_std": float(opening.std()),
        "opening_widest": float(np.quantile(opening, 0.98)),
        "width_mean": float(width.mean()),
        "width_std": float(width.std()),
    }
