"""One person's footage as training clips, what is kept apart, and how the person's mouth moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from dubcli.core.types import F32, F64
from dubcli.face.landmarks import MOUTH_LEFT, MOUTH_RIGHT
from dubcli.face.neutral import rest_shape
from dubcli.models.common.mouth_map import INNER_BOTTOM, INNER_TOP
from dubcli.models.iptalker.geometry_task import coefficients_of
from dubcli.models.iptalker.network import ARTICULATION, IPTalker
from dubcli.sync.offset import measure_offset
from dubcli.sync.scorer import SyncJudge
from dubcli.training.data.prepared_clip import STEPS_HZ, PreparedClip
from dubcli.training.data.train_clips import TrainClip, audio_windows, derive_clip
from dubcli.training.device_utils import device_of, evaluating

# Share of the footage that is kept apart, the frames that it has at least and at most, and those
# beside it that nobody uses.
_HELD_SHARE, _LEAST_HELD, _MOST_HELD, _GAP_FRAMES = 0.2, 10, 250, 5
# Coefficients have unit variance over people. So much of it lies between people and so much
# within one, of what the sound does not tell; mouths repeat themselves within so many seconds.
_BETWEEN, _WITHIN, _MEMORY_S = 0.15, 0.37, 0.4
# Independent moments that the gain's prior, 1, is worth; and its limits.
_GAIN_PRIOR, _GAIN_RANGE = 20.0, (0.5, 2.0)
# What of a spread that pictures do not show is made up for (all of it costs 0.5 dB, this much 0.2),
# and its limits.
_WIDENED_SHARE, _WIDENED_RANGE = 0.6, (0.8, 1.4)
_BATCH = 64


def rest_of(clips: list[PreparedClip]) -> F32:
    """The resting mouth over all clips. Shape (S, 3), canonical units."""
    return rest_shape(
        np.concatenate([clip.canonical for clip in clips]),
        np.concatenate([clip.valid for clip in clips]),
    )


def person_clips(
    name: str, clips: list[PreparedClip], judge: SyncJudge | None
) -> tuple[list[TrainClip], list[str]]:
    """Training clips of one person, picture and sound in step, and what is to be told of them.

    Args:
        name: Of the person.
        clips: The person's footage.
        judge: The sync expert, None where its weights do not ship.
    """
    neutral = rest_of(clips)
    made, notes = [], []
    for number, clip in enumerate(clips):
        found = measure_offset(judge, clip)
        if found.sound_dropped:
            notes.append(f"Sound of part {number + 1} is not used: {found.sound_dropped}.")
            clip = replace(clip, voices=clip.voices[:0], heard=clip.heard[:0])
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


def teach_mouth(model: IPTalker, clips: list[TrainClip]) -> bool:
    """Let the predicted mouth take this person's mean shape, and open as far as the person does.

    Sound alone still decides when the mouth moves. The mapping is folded into the last layer, so
    the sound half needs no training.

    Returns:
        Whether there was sound to compare with; the model stays as it is otherwise.
    """
    heard = [clip for clip in clips if clip.has_audio and len(clip.frames)]
    if not heard:
        return False
    predicted = np.concatenate([_predicted(model, clip) for clip in heard])
    true = np.concatenate([coefficients_of(c.departure[c.frames], model).numpy() for c in heard])
    seconds = sum(len(clip.frames) * _frame_s(clip) for clip in heard)
    basis = model.alignment.basis.cpu().numpy()
    opening = basis[:, INNER_BOTTOM, 1] - basis[:, INNER_TOP, 1]
    gain, shift = mouth_mapping(predicted, true, opening, seconds)
    _fold(model, gain, shift)
    return True


def widen_mouth(model: IPTalker, clips: list[TrainClip], shown: float) -> None:
    """Make up for pictures that open less than their landmarks, as far as that costs little.

    Args:
        model: After `teach_mouth`.
        clips: What was learned from.
        shown: Spread of the opening in generated pictures over the true one; NaN changes nothing.
    """
    heard = [clip for clip in clips if clip.has_audio and len(clip.frames)]
    if not heard or not shown > 0:
        return
    factor = float(np.clip(shown**-_WIDENED_SHARE, *_WIDENED_RANGE))
    mean = np.concatenate([_predicted(model, clip) for clip in heard]).mean(0)
    _fold(model, factor, (1 - factor) * mean)


def _fold(model: IPTalker, gain: float, shift: F32 | F64) -> None:
    """Make the last layer give `gain * c + shift` where it gave the coefficients `c`."""
    last = model.alignment.to_coefficients[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.mul_(gain)
        last.bias.mul_(gain).add_(torch.from_numpy(shift / ARTICULATION).to(last.bias))


def mouth_mapping(predicted: F32, true: F32, opening: F32, seconds: float) -> tuple[float, F64]:
    """The map `gain * c + shift` from what sound predicts to a person's own mouth.

    What the sound does not tell on average is added, and the spread of the mouth opening made
    the person's; both as far as the footage outweighs a prior of no change (the posterior mean of
    a normal; a mean of logarithms).

    Args:
        predicted: Coefficients. Shape (T, P).
        true: Coefficients. Shape (T, P).
        opening: How far each coefficient opens the mouth. Shape (P,).
        seconds: Length of the footage: what counts is how often the mouth changed, not frames.
    """
    independent = max(1.0, seconds / _MEMORY_S)
    error = (true - predicted).astype(np.float64)
    spread = 0.5 * error.var(0) + 0.5 * _WITHIN
    moved = error.mean(0) * _BETWEEN / (_BETWEEN + spread / independent)
    ratio = max(float((true @ opening).std()), 1e-6) / max(float((predicted @ opening).std()), 1e-6)
    gain = float(np.clip(ratio ** (independent / (independent + _GAIN_PRIOR)), *_GAIN_RANGE))
    mean = predicted.mean(0, dtype=np.float64)
    return gain, moved + (1 - gain) * mean


@torch.inference_mode()
def _predicted(model: IPTalker, clip: TrainClip) -> F32:
    """Coefficients that the clip's sound asks for. Shape (U, P)."""
    device, spec, config = device_of(model), model.spec, model.config
    tokens = torch.zeros(config.num_references, config.embedding, device=device)
    parts = []
    with evaluating(model):
        for start in range(0, len(clip.frames), _BATCH):
            frames = clip.frames[start : start + _BATCH]
            audio = audio_windows(clip, frames, spec.audio.width, kind=spec.audio.kind)
            made = model.coefficients(torch.from_numpy(audio).to(device), tokens)
            parts.append(made.cpu().numpy())
    return np.concatenate(parts)


def _frame_s(clip: TrainClip) -> float:
    """Seconds from frame to frame."""
    steps = np.diff(clip.clip.steps)
    return float(np.median(steps)) / float(STEPS_HZ) if len(steps) else 0.0
