"""How PersonaTalk's rows are scored on prepared clips of other people.

Style and references are of the first part of each clip, frames in a row of the rest are made of the
clip's own sound and looked at by a detector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from dubcli.core.types import F32, U8, Int
from dubcli.face.landmarks import SPEAKING, mouth_open
from dubcli.face.pose import Pose, to_canonical
from dubcli.metrics.lips import lip_distance, opening_correlation
from dubcli.models.api import ModelWindow
from dubcli.models.common.own_skin import mouth_share
from dubcli.models.conversion import to_images, to_tensor
from dubcli.models.paper_table import RowJudges, RowScores, Scores
from dubcli.models.personatalk.dual_attention import Encoded
from dubcli.models.personatalk.network import PersonaTalk
from dubcli.models.personatalk.persona_state import PersonaState
from dubcli.sync.scorer import MouthClip
from dubcli.training.batches import resize_pictures
from dubcli.training.data.prepared_clip import STEPS_HZ
from dubcli.training.data.train_clips import TrainClip, audio_windows, with_sound
from dubcli.training.picture_scores import (
    band_energies,
    band_ratios,
    face_geometry,
    spread_references,
)

# Share of a clip's frames that style and references are taken from.
STYLE_PART = 0.4
# Where the spread of the opening over the true one is right.
WITHIN = (0.8, 1.25)
# Frames in a row that are looked at, of each clip; and how many are painted at a time.
_NUM_SEEN, _CHUNK, _DRAW_SEED = 100, 10, 5


@dataclass(frozen=True, kw_only=True)
class LipChoice:
    """Lip references of a row.

    Attributes:
        num: How many.
        is_random: Drawn at random instead of evenly by the mouth's opening.
    """

    num: int = 25
    is_random: bool = False


def score_persona(
    model: PersonaTalk, dev: list[TrainClip], judges: RowJudges, *, lips: LipChoice | None = None
) -> RowScores:
    """Scores of each clip with sound of its own, and the share of them that moves as it should.

    Returns:
        By clip `r` of the mouth opening, `lmd`, `motion` (the spread of the opening over the true
        one), `style_sim` against the person's true mouths of the first part, texture of the mouth
        in bands of detail, and `lpips` of the crop. Of the whole set `within`, the share of clips
        with `motion` of 0.8 to 1.25.
    """
    lips = LipChoice() if lips is None else lips
    clips = {clip.clip_id: score_clip(model, judges, clip, lips) for clip in with_sound(dev)}
    motion = np.array([scores["motion"] for scores in clips.values()])
    within = float(((motion >= WITHIN[0]) & (motion <= WITHIN[1])).mean())
    return RowScores(clips=clips, whole={"within": within})


def score_clip(model: PersonaTalk, judges: RowJudges, clip: TrainClip, lips: LipChoice) -> Scores:
    """Frames in a row after the first part, made of the clip's own sound."""
    num = round(STYLE_PART * len(clip.frames))
    first, shown = clip.frames[:num], clip.frames[num : num + _NUM_SEEN]
    made, real, speaking = _painted(model, clip, first, shown, lips)
    config = model.config
    share = mouth_share(speaking, config.box, config.unit_px)[:, None]
    of_made, of_real = (
        band_energies(to_tensor(pictures, "cpu")[:, :, config.top :], share)
        for pictures in (made, real)
    )
    seen, true = judges.crops.landmarks(clip, shown, made, real)
    opening, real_opening = mouth_open(seen), mouth_open(true)
    own = _style(judges, clip, first, clip.mouth_offset[first])
    style = _style(judges, clip, shown, _mouth(clip, shown, seen))
    return {
        "r": opening_correlation(opening, real_opening),
        "lmd": lip_distance(seen, true),
        "motion": _spread(opening) / _spread(real_opening),
        "style_sim": math.nan if own is None or style is None else float(own @ style),
        **band_ratios([of_made], [of_real]),
        "lpips": judges.crops.distance(made, real),
    }


def _spread(opening: F32) -> float:
    """Standard deviation of the openings that are known; NaN of fewer than two."""
    known = opening[np.isfinite(opening)]
    return float(known.std()) if len(known) > 1 and known.std() > 0 else math.nan


def _style(judges: RowJudges, clip: TrainClip, frames: Int, points: F32) -> F32 | None:
    """Unit vector (E,) of a mouth in some frames; None where they are too few."""
    if judges.style is None:
        return None
    times, shot = clip.clip.steps[frames] / float(STEPS_HZ), clip.clip.shot[frames]
    return judges.style(MouthClip(points=points, times=times, shot=shot))


def _mouth(clip: TrainClip, frames: Int, seen: F32) -> F32:
    """Speaking points (T, S, 3) without pose; the clip's own where no face is seen."""
    data = clip.clip
    pose = Pose(
        scale=data.scale[frames],
        rotation=data.rotation[frames],
        translation=data.translation[frames],
    )
    known = np.isfinite(seen[:, 0, 0])[:, None, None]
    return to_canonical(np.where(known, seen, data.landmarks[frames]), pose)[:, SPEAKING]


def _references(clip: TrainClip, pool: Int, lips: LipChoice) -> Int:
    """Frames of lip references: evenly by rank of opening, or at random."""
    num = min(lips.num, len(pool))
    if lips.is_random:
        return np.random.default_rng(_DRAW_SEED).choice(pool, num, replace=False)
    return spread_references(replace(clip, frames=pool), num)


def _painted(
    model: PersonaTalk, clip: TrainClip, first: Int, frames: Int, lips: LipChoice
) -> tuple[U8, U8, torch.Tensor]:
    """Made and real crops (T, H, W, 3) at the model's size, and wanted points (T, S, 2)."""
    lent = _references(clip, first, lips)
    pictures, points = _shown(model, clip, lent)
    encoded = model.encode_lips(pictures, points[:, SPEAKING])
    state = PersonaState(
        points=points[:, SPEAKING],
        lips=Encoded(
            keys=encoded.keys[None],
            values=encoded.values[None],
            coordinates=encoded.coordinates[None],
        ),
        style=model.geometry.style_of(torch.from_numpy(clip.mouth_offset[first]), model.basis),
        seconds=torch.zeros(1),
        frames=torch.from_numpy(lent),
    )
    made, real, wanted = list[U8](), list[U8](), list[torch.Tensor]()
    for at in range(0, len(frames), _CHUNK):
        crops, out = _window_painted(model, clip, frames[at : at + _CHUNK], state)
        made.append(to_images(out[0]))
        real.append(to_images(crops))
        wanted.append(out[1])
    return np.concatenate(made), np.concatenate(real), torch.cat(wanted)


def _window_painted(
    model: PersonaTalk, clip: TrainClip, frames: Int, state: PersonaState
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    """Crops of a few frames, and the pictures and points that the model makes."""
    crops, landmarks = _shown(model, clip, frames)
    factor = model.config.height / clip.clip.size[0]
    kind = model.config.audio_kind
    window = ModelWindow(
        crops=crops,
        audio=torch.from_numpy(
            audio_windows(clip, frames, model.geometry.width, kind=kind)
        ).float(),
        landmarks=landmarks,
        geometry=face_geometry(clip, frames, factor),
        positions=torch.arange(len(frames)),
        times_s=torch.from_numpy(frames / 25.0),
        emit=slice(0, len(frames)),
    )
    motion = model.predict_motion(window, state)
    patches = model.render(window, motion, state)
    assert patches.points is not None
    return crops, (patches.rgb, patches.points)


def _shown(model: PersonaTalk, clip: TrainClip, frames: Int) -> tuple[torch.Tensor, torch.Tensor]:
    """Crops (T, 3, H, W) at the model's size, and their kept points (T, K, 2)."""
    crops = np.stack([clip.clip.crop(int(i)) for i in frames])
    factor = model.config.height / crops.shape[1]
    points = clip.clip.crop_points(frames) * factor + (factor - 1) / 2
    return resize_pictures(to_tensor(crops, "cpu"), factor), torch.from_numpy(points).float()
