"""How G4G's rows are scored on prepared clips of other people."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from dubcli.core.types import Int
from dubcli.face.landmarks import SPEAKING
from dubcli.models.common.mouth_basis import coefficients_of, opening_basis
from dubcli.models.conversion import to_images, to_tensor
from dubcli.models.g4g.contrast_task import NUM_ROWS, ContrastBatches, MouthStore
from dubcli.models.g4g.network import G4G
from dubcli.models.paper_table import RowJudges, RowScores, Scores
from dubcli.training.batches import BatchSize, resize_pictures
from dubcli.training.data.train_clips import TrainClip, audio_windows, with_sound
from dubcli.training.picture_scores import face_geometry, seen_frames, spread_references

_NUM_MATRICES, _DRAW_SEED, _MOST_FRAMES = 40, 5, 400


def score_g4g(model: G4G, dev: list[TrainClip], judges: RowJudges) -> RowScores:
    """Pictures by own and by swapped sound, clip by clip; the diagonal; what is drawn.

    Returns:
        By clip what `CropScorer.scores` tells of the clip's own sound, and `swapped_...` of
        another clip's while the drawn mouth stays: what is lost is what the alignment of sound and
        picture gives. Of the whole set `diagonal` and `drawn_mouths`.
    """
    dev = with_sound(dev)
    clips: dict[str, Scores] = {}
    for number, clip in enumerate(dev):
        own = _score_pictures(model, clip, clip, judges)
        other = _score_pictures(model, clip, dev[(number + 1) % len(dev)], judges)
        clips[clip.clip_id] = {**own, **{f"swapped_{key}": value for key, value in other.items()}}
    return RowScores(clips=clips, whole={**diagonal(model, dev), **drawn_mouths(model, dev)})


def _score_pictures(model: G4G, clip: TrainClip, heard: TrainClip, judges: RowJudges) -> Scores:
    """Pictures of a clip's frames; the mouth is drawn by its own sound, a is of `heard`."""
    config, frames = model.config, seen_frames(clip)
    num = len(frames)
    shown = np.concatenate([frames, spread_references(clip, config.num_references)])
    crops = np.stack([clip.clip.crop(int(i)) for i in shown])
    factor = config.height / crops.shape[1]
    pictures = resize_pictures(to_tensor(crops, "cpu"), factor)
    marks = torch.from_numpy(clip.clip.crop_points(shown) * factor + (factor - 1) / 2).float()
    state = model.encode_references(pictures[None, num:], marks[None, num:, SPEAKING])
    geometry = face_geometry(clip, frames, factor)
    speaking = geometry.place(geometry.neutral.expand(num, -1, -1))
    if config.drawn_mouth:
        made = model.options.articulation * model.sound.smoothed(_audio(model, clip, frames))
        speaking = geometry.place(model.motion_of(made, geometry.neutral).points)
    at = heard.frames[np.arange(num) * len(heard.frames) // num]
    own = model.sound.shifted(_audio(model, heard, frames if heard is clip else at), (0,))[:, 0]
    scales = torch.full((num,), config.scale_number)
    shown = pictures[:num]
    out = model.paint(shown, shown, speaking, own, state, scales, sharp=True)
    whole = torch.cat([pictures[:num, :, : config.top], out.rgb.clamp(0, 1)], 2)
    return judges.crops.scores(clip, frames, to_images(whole), to_images(pictures[:num]))


def _audio(model: G4G, clip: TrainClip, frames: Int) -> Tensor:
    spec = model.spec.audio
    return torch.from_numpy(audio_windows(clip, frames, spec.width, kind=spec.kind)).float()


def diagonal(model: G4G, dev: list[TrainClip]) -> Scores:
    """How often the own sound wins among 64: `top1_hard`, `top1_people`, and `chance`.

    Half of the hard ones are of the same clip at other moments; the others are of as many people
    as there are.
    """
    found: Scores = {"chance": 1 / NUM_ROWS}
    for kind in ("hard", "people"):
        config, hits = replace(model.config, negatives=kind), list[float]()
        batches = ContrastBatches(dev, config, BatchSize(seed=_DRAW_SEED, clips=1, frames=2))
        for number in range(_NUM_MATRICES):
            rng = np.random.default_rng((_DRAW_SEED, number))
            drawn = batches.matrix(rng, is_augmented=False)
            seen = model.matcher.see(torch.from_numpy(drawn["mouths"]).float() / 255)
            heard = model.matcher.listen(model.sound(torch.from_numpy(drawn["heard"])))
            best = (seen @ heard.T).argmax(1)
            hits.append(float((best == torch.arange(len(best))).float().mean()))
        found[f"top1_{kind}"] = float(np.mean(hits))
    return found


def drawn_mouths(model: G4G, dev: list[TrainClip]) -> Scores:
    """The drawn mouth's opening beside the true one, and own scores of real mouths; means.

    Returns:
        `drawn_r` and `drawn_spread` of the opening; `share`, `least_share` and `rank` of the real
        mouths' own sound among shifts of it.
    """
    store, drawn, own = (
        MouthStore(dev, model.config.reach),
        list[list[float]](),
        list[list[float]](),
    )
    gap = opening_basis(model.sound.basis)
    for number, clip in enumerate(dev):
        frames, middles = clip.frames[:_MOST_FRAMES], store.middles[number][: _MOST_FRAMES // 2 : 2]
        if model.config.drawn_mouth:
            offset = torch.from_numpy(np.asarray(clip.mouth_offset[frames], np.float32))
            true = (coefficients_of(offset, model.sound.basis) @ gap).numpy()
            made = model.options.articulation * model.sound.smoothed(_audio(model, clip, frames))
            opening = (made @ gap).numpy()
            r = float(np.corrcoef(opening, true)[0, 1])
            drawn.append([r, float(opening.std() / true.std())])
        if len(middles):
            mouths = torch.from_numpy(store.windows(number, middles, None)).float() / 255
            heard = model.sound.shifted(_audio(model, clip, middles), model.config.shifts)
            share, rank = model.matcher.scores(mouths, heard)
            own.append([float(share.mean()), float(rank.mean())])
    r, spread = np.mean(drawn, 0).tolist() if drawn else (np.nan, np.nan)
    shares, ranks = np.array(own).T
    return {
        "drawn_r": r,
        "drawn_spread": spread,
        "share": float(shares.mean()),
        "least_share": float(shares.min()),
        "rank": float(ranks.mean()),
    }
