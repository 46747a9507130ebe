"""How Lip-and-Identity's rows are scored on prepared clips of other people.

Pictures are made with true landmarks and scored in the generated part of the mouth, twice: with
references of the same part of the clip, at least eight frames away, and with those of another part
(targets from the first half, references from the second). Mouths are scored by the opening that
the sound asks for, on clips with sound of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from dubcli.core.types import Int
from dubcli.models.common.mouth_basis import coefficients_of, opening_basis
from dubcli.models.common.own_skin import mouth_share
from dubcli.models.common.render_samples import RenderSamples, Variation
from dubcli.models.lip_identity.lip_render_task import (
    LipBatches,
    render_lip_scene,
    set_lip_scene,
)
from dubcli.models.lip_identity.network import LipIdentity, even_steps
from dubcli.models.paper_table import RowJudges, RowScores, Scores
from dubcli.training.batches import BatchSize, as_batch
from dubcli.training.data.train_clips import TrainClip, audio_windows, with_sound
from dubcli.training.picture_scores import band_energies, band_ratios

_SAMPLES, _FRAMES, _DRAW_SEED, _MOST_FRAMES = 2, 4, 5, 400


def score_lip_pictures(
    model: LipIdentity,
    dev: list[TrainClip],
    judges: RowJudges,
    *,
    counts: tuple[int, int] | None = None,
) -> RowScores:
    """Pictures of every clip, with reference images and lips in these numbers, or the model's."""
    config = model.config
    shown = (config.num_images, config.num_lips) if counts is None else counts
    return RowScores(clips={clip.clip_id: score_mouths(model, clip, shown) for clip in dev})


def score_lip_mouths(
    model: LipIdentity, dev: list[TrainClip], judges: RowJudges, *, is_shown: bool = True
) -> RowScores:
    """Mouths by sound of every clip with sound, with the person's reference landmarks or none."""
    return RowScores(
        clips={
            clip.clip_id: score_opening_by_sound(model, clip, is_shown=is_shown)
            for clip in with_sound(dev)
        }
    )


@torch.no_grad()
def score_opening_by_sound(model: LipIdentity, clip: TrainClip, *, is_shown: bool = True) -> Scores:
    """R of the opening, its spread over the true one, and the error of its mean, spreads.

    Reference landmarks are of the whole clip, so they tell its mean and spread.
    """
    frames, gap = clip.frames[:_MOST_FRAMES], opening_basis(model.basis)
    every = coefficients_of_frames(model, clip, clip.frames)
    sets = reference_sets(model, every, is_shown=is_shown)
    audio = torch.from_numpy(
        audio_windows(clip, frames, model.landmarks.width, kind=model.config.audio_kind)
    )
    rotation = torch.from_numpy(clip.clip.rotation[frames].astype(np.float32))
    made = torch.cat(
        [
            model.landmarks.smoothed(audio[at : at + 64], rotation[at : at + 64], sets)
            for at in range(0, len(frames), 64)
        ]
    )
    made, true = (made @ gap).numpy(), (coefficients_of_frames(model, clip, frames) @ gap).numpy()
    return {
        "r": float(np.corrcoef(made, true)[0, 1]),
        "spread": float(made.std() / true.std()),
        "mean_error": float(abs(made.mean() - true.mean()) / true.std()),
    }


def reference_sets(model: LipIdentity, every: torch.Tensor, *, is_shown: bool) -> torch.Tensor:
    """The person's reference landmarks (N_l, P) out of all mouths (T, P), or zeros."""
    order = (every @ opening_basis(model.basis)).argsort()
    sets = every[order[even_steps(len(order), model.config.num_landmark_sets)]]
    return sets if is_shown else torch.zeros_like(sets)


def coefficients_of_frames(model: LipIdentity, clip: TrainClip, frames: Int) -> torch.Tensor:
    """The mouths that a clip shows in some frames. Shape (T, P)."""
    offset = np.asarray(clip.mouth_offset[frames], np.float32)
    return coefficients_of(torch.from_numpy(offset), model.basis)


@torch.no_grad()
def score_mouths(model: LipIdentity, clip: TrainClip, counts: tuple[int, int]) -> Scores:
    """PSNR and texture of mouths, with references of the same part and of another part."""
    half = len(clip.frames) // 2
    first, second = (replace(clip, frames=x) for x in (clip.frames[:half], clip.frames[half:]))
    near, far = _LipSums(), _LipSums()
    for index in range(_SAMPLES):
        near.add(model, sample_of(model, clip, clip, index, counts))
        far.add(model, sample_of(model, first, second, index, counts))
    return {f"near_{key}": value for key, value in near.means().items()} | {
        f"far_{key}": value for key, value in far.means().items()
    }


@torch.no_grad()
def scores_of(model: LipIdentity, batches: list[dict[str, Any]]) -> Scores:
    """PSNR and texture of some samples."""
    scored = _LipSums()
    for batch in batches:
        scored.add(model, batch)
    return scored.means()


def sample_of(
    model: LipIdentity, targets: TrainClip, lending: TrainClip, index: int, counts: tuple[int, int]
) -> dict[str, Any]:
    """A sample of one clip, whose references may be of another."""
    config = model.config
    drawn = [
        LipBatches(
            RenderSamples(
                [clip],
                num_frames=_FRAMES,
                num_references=sum(counts),
                audio_kind=config.audio_kind,
                audio_width=max(1, config.attention_width),
                seed=_DRAW_SEED,
                # References of another sample have the light of this one.
                variation=Variation(is_mirrored=False, is_coloured=False, noise=0.0),
                reach=config.reach,
            ),
            BatchSize(seed=_DRAW_SEED, clips=1, frames=_FRAMES),
            config.num_coefficients,
            counts,
        ).of([index])
        for clip in (targets, lending)
    ]
    own, other = (as_batch(batch, torch.device("cpu")) for batch in drawn)
    names = ("references", "reference_points")
    return {**own, **{name: other[name] for name in names}}


class _LipSums:
    """Sums over samples."""

    def __init__(self) -> None:
        self.psnr: list[float] = []
        self.made: list[list[float]] = []
        self.real: list[list[float]] = []

    def add(self, model: LipIdentity, batch: Mapping[str, Any]) -> None:
        config, scene = model.config, set_lip_scene(model, batch)
        out = render_lip_scene(model, scene, sharp=True)
        box = (config.top, config.height, 0, config.width)
        neutral, middle = scene.geometry.neutral, scene.around[:, config.reach]
        speaking = scene.geometry.place(model.speaking_points(middle, neutral))
        share = mouth_share(speaking, box, config.unit_px)[:, None]
        real, made = scene.targets[:, :, config.top :], out.rgb.clamp(0, 1)
        error = ((made - real) ** 2 * share).sum() / (3 * share.sum())
        self.psnr.append(-10 * float(error.log10()))
        self.made.append(band_energies(made, share))
        self.real.append(band_energies(real, share))

    def means(self) -> Scores:
        """PSNR, dB, and texture ratio by band."""
        return {"psnr_db": float(np.mean(self.psnr)), **band_ratios(self.made, self.real)}
