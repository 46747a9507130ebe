"""Rows of Lip-and-Identity's tables: `python tests/bench/lip_ablations.py --dev SET ...`.

* `--train SET`: each variation is trained from nothing at half size, `--minutes` of one thread's
  processor time each: full, no alignment, no lip module, no audio attention, a flow that does not
  see the occluded face; and of the landmark generator, with and without reference landmarks.
* `--weights NAME`: the numbers of references vary in use only: N = 1, 2, 4, 8 and N_lip = 1, 3, 5;
  and the landmark generator with and without the person's landmarks.

Pictures are scored on the clips of `--dev` with true landmarks, in the generated part of the mouth,
twice: with references of the same part of the clip, at least eight frames away, and with those of
another part (targets from the first half, references from the second). Mouths are scored by the
opening that the sound asks for, on clips with sound of their own.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ablations import BANDS_PX, energies

from dubcli.config import TrainConfig
from dubcli.core.types import Int
from dubcli.models.common.mouth_basis import coefficients_of, opening_basis
from dubcli.models.common.own_skin import mouth_share
from dubcli.models.common.render_samples import RenderSamples, Variation
from dubcli.models.common.stage_parts import half_size
from dubcli.models.lip_identity.config import LipIdentityConfig
from dubcli.models.lip_identity.lip_render_task import (
    LipBatches,
    render_lip_scene,
    set_lip_scene,
)
from dubcli.models.lip_identity.network import LipIdentity, even_steps
from dubcli.training.batches import BatchSize, as_batch
from dubcli.training.checkpoint import load_into, read_state
from dubcli.training.data.train_clips import TrainClip, audio_windows, load_clips
from dubcli.training.device_utils import evaluating
from dubcli.training.run import Overrides, train
from dubcli.weights.load import load_model

Scores = dict[str, float]
SAMPLES, FRAMES, DRAW_SEED, TIMED_STEPS, MOST_FRAMES = 2, 4, 5, 6, 400
_HALF = half_size(LipIdentityConfig())
PICTURES = {
    "full": _HALF,
    "no alignment": replace(_HALF, alignment="none"),
    "no lip module": replace(_HALF, has_lips=False),
    "no audio attention": replace(_HALF, attention_width=0),
    "no occluded input to the flow": replace(_HALF, alignment="reference-only"),
}
MOUTHS = {
    "reference landmarks": LipIdentityConfig(),
    "no reference landmarks": replace(LipIdentityConfig(), has_landmark_sets=False),
}
IN_USE = {
    **{f"N = {num}": (num, 5) for num in (1, 2, 4, 8)},
    **{f"N_lip = {num}": (4, num) for num in (1, 3, 5)},
}


# Mouths by sound, with the person's own reference landmarks or with none.
SHOWN = {"mouths, references shown": True, "mouths, none shown": False}


def main() -> None:
    """Train or take the networks, score them, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--dev", type=Path, required=True, help="prepared set of other people")
    parser.add_argument("--train", type=Path, help="prepared set that is learned")
    parser.add_argument("--weights", help="model whose numbers of references vary")
    parser.add_argument("--minutes", type=float, default=20.0, help="processor time of each run")
    parser.add_argument("--only", nargs="+", help="names of the rows")
    parser.add_argument("--out", type=Path, help="file for all scores as JSON")
    job = parser.parse_args()
    torch.set_num_threads(1)
    dev, rows = load_clips(job.dev), dict[str, dict[str, Scores]]()
    if job.train is not None:
        for name, config in {**PICTURES, **MOUTHS}.items():
            if job.only is None or name in job.only:
                rows[name] = _trained_row(job, name, config, dev)
                print(_line(name, rows[name]), flush=True)
    if job.weights is not None:
        model: Any = load_model(job.weights, "cpu")[0]
        heard = [clip for clip in dev if clip.has_audio]
        for name, is_shown in SHOWN.items():
            if job.only is None or name in job.only:
                rows[name] = {
                    clip.clip_id: score_opening_by_sound(model, clip, is_shown=is_shown)
                    for clip in heard
                }
                print(_line(name, rows[name]), flush=True)
        for name, counts in IN_USE.items():
            if job.only is None or name in job.only:
                rows[name] = {clip.clip_id: score_mouths(model, clip, counts) for clip in dev}
                print(_line(name, rows[name]), flush=True)
    if job.out is not None:
        job.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def _line(name: str, clips: Mapping[str, Scores]) -> str:
    keys = next(iter(clips.values()))
    means = {key: float(np.mean([scores[key] for scores in clips.values()])) for key in keys}
    return f"| {name} | " + " | ".join(f"{key} {value:.3f}" for key, value in means.items()) + " |"


def _trained_row(
    job: argparse.Namespace, name: str, config: LipIdentityConfig, dev: list[TrainClip]
) -> dict[str, Scores]:
    stage = "landmarks" if name in MOUTHS else "render"
    overrides = Overrides(sizes=config)
    with tempfile.TemporaryDirectory(prefix="dub-bench-") as folder:
        marks: list[float] = []
        first = _run_config(job, stage, TIMED_STEPS, Path(folder) / "timed")
        train(first, lambda *_: marks.append(time.process_time()), overrides)
        step_s = (marks[-1] - marks[0]) / (len(marks) - 1)
        steps = max(1, round(60 * job.minutes / step_s))
        last = train(_run_config(job, stage, steps, Path(folder) / "run"), overrides=overrides)
        model = LipIdentity(LipIdentityConfig(**read_state(last).model_config))
        load_into(model, last, averaged=True)
    with evaluating(model):
        if stage == "landmarks":
            heard = [clip for clip in dev if clip.has_audio]
            return {clip.clip_id: score_opening_by_sound(model, clip) for clip in heard}
        counts = (config.num_images, config.num_lips)
        return {clip.clip_id: score_mouths(model, clip, counts) for clip in dev}


def _run_config(job: argparse.Namespace, stage: str, steps: int, output: Path) -> TrainConfig:
    clips, frames, rate = (12, 32, 8e-4) if stage == "landmarks" else (4, 4, 6e-4)
    return TrainConfig(
        model="lip-identity",
        data=job.train,
        output=output,
        stage=stage,
        steps=steps,
        batch_clips=clips,
        frames_per_clip=frames,
        learning_rate=rate,
        device="cpu",
        threads=1,
        checkpoint_every=steps,
        sample_every=steps,
    )


@torch.no_grad()
def score_opening_by_sound(model: LipIdentity, clip: TrainClip, *, is_shown: bool = True) -> Scores:
    """r of the opening, its spread over the true one, and the error of its mean, spreads.

    Reference landmarks are of the whole clip, so they tell its mean and spread.
    """
    frames, gap = clip.frames[:MOST_FRAMES], opening_basis(model.basis)
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
    near, far = _Scored(), _Scored()
    for index in range(SAMPLES):
        near.add(model, sample_of(model, clip, clip, index, counts))
        far.add(model, sample_of(model, first, second, index, counts))
    return {f"near_{key}": value for key, value in near.means().items()} | {
        f"far_{key}": value for key, value in far.means().items()
    }


@torch.no_grad()
def scores_of(model: LipIdentity, batches: list[dict[str, Any]]) -> Scores:
    """PSNR and texture of some samples."""
    scored = _Scored()
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
                num_frames=FRAMES,
                num_references=sum(counts),
                audio_kind=config.audio_kind,
                audio_width=max(1, config.attention_width),
                seed=DRAW_SEED,
                # References of another sample have the light of this one.
                variation=Variation(is_mirrored=False, is_coloured=False, noise=0.0),
                reach=config.reach,
            ),
            BatchSize(seed=DRAW_SEED, clips=1, frames=FRAMES),
            config.num_coefficients,
            counts,
        ).of([index])
        for clip in (targets, lending)
    ]
    own, other = (as_batch(batch, torch.device("cpu")) for batch in drawn)
    names = ("references", "reference_points")
    return {**own, **{name: other[name] for name in names}}


class _Scored:
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
        self.made.append(energies(made, share))
        self.real.append(energies(real, share))

    def means(self) -> Scores:
        """PSNR, dB, and texture ratio by band."""
        made, real = np.sum(self.made, 0), np.maximum(np.sum(self.real, 0), 1e-12)
        names = [f"texture_{low:g}" for low in BANDS_PX[:-1]]
        ratios = dict(zip(names, np.sqrt(made / real).tolist(), strict=True))
        return {"psnr_db": float(np.mean(self.psnr)), **ratios}


if __name__ == "__main__":
    main()
