"""What does each idea give? `python tests/bench/ablations.py --train SET --dev SET`.

Every variation leaves one thing out (or puts one in), is trained at equal cost and scored on people
that it has not seen. Cost is processor time of one thread: a few steps are timed, and the run gets
as many as fit into `--minutes`, so its learning rate falls to the end as in any run.

* `--stage geometry`: the motion part from nothing. Scored on the clips of `--dev` with sound of
  their own, by the mouth opening that the sound asks for.
* `--stage render`: the rendering part at half size from `--init`, with other losses. Scored on
  drawn samples of the clips of `--dev` with true landmarks, in the generated part of the mouth.

The rows of IPTalker's Table III are made by `dub tables iptalker --only table-3`.

Both sets are folders that `dub prepare` made. A Markdown table goes to stdout, JSON with every
clip's scores to `--out`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from dubcli.config import TrainConfig
from dubcli.core.errors import ConfigError, DubError
from dubcli.core.types import F32
from dubcli.models.common.loss_weights import LossWeights
from dubcli.models.common.mouth_basis import coefficients_of
from dubcli.models.common.own_skin import mouth_share
from dubcli.models.common.render_samples import RenderSamples
from dubcli.models.common.stage_parts import half_size
from dubcli.models.iptalker.geometry_task import random_references, reference_boxes
from dubcli.models.iptalker.losses import LOSS_PRESETS
from dubcli.models.iptalker.network import NAMED_CONFIGS, IPTalker, IPTalkerConfig
from dubcli.models.iptalker.offsets import MAX_LAG_FRAMES, lag_of, predicted_opening
from dubcli.models.iptalker.render_task import render_scene, set_scene
from dubcli.training.batches import as_batch, stacked
from dubcli.training.checkpoint import load_into, read_state
from dubcli.training.data.prepared_clip import ClipSound
from dubcli.training.data.train_clips import TrainClip, load_clips, with_sound
from dubcli.training.device_utils import evaluating
from dubcli.training.init_weights import start_from
from dubcli.training.picture_scores import BANDS_PX, band_energies, band_ratios
from dubcli.training.run import Overrides, train

Change = Callable[[list[TrainClip]], list[TrainClip]]
Scores = dict[str, dict[str, float]]

# Of what is trained.
PRESET = "few-people"
TIMED_STEPS = 6
# Noise beside silence, as a share of each feature's own spread.
SILENCE_NOISE = 0.1
SAMPLES, FRAMES, DRAW_SEED = 4, 4, 5

COLUMNS = {
    "geometry": {
        "r": "r of mouth opening (1 is best)",
        "r_best_lag": f"r at best lag within ±{MAX_LAG_FRAMES} frames (1)",
        "spread": "spread, over the true one's (1)",
        "silence": "motion in silence, over that in speech (0)",
    },
    "render": {
        "psnr_db": "PSNR of the mouth, dB (high)",
        **{
            f"texture_{low:g}": f"texture ratio, {low:g}-{high:g} px (1)"
            for low, high in pairwise(BANDS_PX)
        },
    },
}


@dataclass(frozen=True, kw_only=True)
class Variation:
    """One run: what is changed of the training clips, of the network, of the losses."""

    name: str
    change: Change = list
    sizes: IPTalkerConfig = NAMED_CONFIGS[PRESET]
    losses: LossWeights = LOSS_PRESETS["default"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a variation with one seed: steps made, and scores by clip."""

    name: str
    seed: int
    steps: int
    processor_s: float
    clips: Scores

    def mean(self, key: str) -> float:
        """Mean over the clips where it is known."""
        values = np.array([scores[key] for scores in self.clips.values()])
        known = values[np.isfinite(values)]
        return float(known.mean()) if len(known) else math.nan


def main() -> None:
    """Train and score every variation."""
    job = _parse()
    cv2.setNumThreads(1)
    try:
        clips, dev = load_clips(job.train), load_clips(job.dev)
        if job.stage != "render":
            clips, dev = with_sound(clips), with_sound(dev)
        if job.stage == "geometry":
            variations = geometry_variations(_offsets(job.offsets, clips))
        else:
            variations = render_variations()
        chosen = [v for v in variations if not job.only or v.name in job.only]
        if not chosen:
            names = ", ".join(v.name for v in variations)
            raise ConfigError("No variation has this name.", f"Known: {names}.")
        results = _start(job, dev)
        for variation in chosen:
            results += [_run(job, variation, clips, dev, seed) for seed in job.seeds]
    except DubError as error:
        sys.exit(str(error))
    print(table(job.stage, results))
    if job.out is not None:
        job.out.write_text(json.dumps(_as_json(job, results), indent=2) + "\n", encoding="utf-8")


def geometry_variations(offsets: dict[str, int]) -> list[Variation]:
    """The motion part with everything, and with one thing changed."""

    def in_step(clips: list[TrainClip]) -> list[TrainClip]:
        return [replace(x, offset_steps=offsets.get(x.clip_id, x.offset_steps)) for x in clips]

    def alone(clips: list[TrainClip]) -> list[TrainClip]:
        return [replace(x, identity=x.clip_id) for x in in_step(clips)]

    def as_recorded(clips: list[TrainClip]) -> list[TrainClip]:
        return [replace(x, offset_steps=0) for x in clips]

    sizes = NAMED_CONFIGS[PRESET]
    return [
        Variation(name="full", change=in_step),
        Variation(name="mel only", change=in_step, sizes=replace(sizes, audio_kind="mel")),
        Variation(name="no other voices", change=lambda clips: _heard(in_step(clips), 1)),
        Variation(name="no pauses", change=lambda clips: _heard(in_step(clips), None)),
        Variation(name="no identity balance", change=alone),
        Variation(name="no offset correction", change=as_recorded),
        Variation(
            name="reference tokens",
            change=in_step,
            sizes=replace(sizes, alignment="full"),
        ),
    ]


def render_variations() -> list[Variation]:
    """The rendering part with other losses."""
    default = LOSS_PRESETS["default"]
    return [
        Variation(name="default"),
        Variation(name="default without texture", losses=replace(default, texture=0.0)),
        Variation(name="default without gan", losses=replace(default, gan=0.0, matching=0.0)),
        Variation(name="no-gan", losses=LOSS_PRESETS["no-gan"]),
    ]


def _heard(clips: list[TrainClip], num: int | None) -> list[TrainClip]:
    """Clips with their first `num` versions of the sound; None: all those without pauses."""
    out: list[TrainClip] = []
    for clip in clips:
        prepared = clip.clip
        kept = np.flatnonzero(prepared.heard.min(1) >= 1) if num is None else np.arange(num)
        out.append(replace(clip, clip=prepared.with_versions(kept)))
    return out


def _offsets(path: Path | None, clips: list[TrainClip]) -> dict[str, int]:
    """Audio steps by which each clip's picture lags its sound; those of the index without a file.

    Raises:
        ConfigError: The file is no JSON object of numbers.
    """
    if path is None:
        if not any(clip.offset_steps for clip in clips):
            print("no offsets are known: 'no offset correction' equals 'full'", file=sys.stderr)
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {name: round(steps) for name, steps in found.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"'{path}' cannot be read: {error}.", 'Name a file of {"clip": audio steps}.'
        ) from error


def _run(
    job: argparse.Namespace,
    variation: Variation,
    clips: list[TrainClip],
    dev: list[TrainClip],
    seed: int,
) -> Result:
    overrides = Overrides(
        clips=variation.change(clips),
        sizes=variation.sizes if job.stage == "geometry" else half_size(variation.sizes),
        losses=variation.losses,
    )
    if job.work is not None:
        job.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dub-bench-", dir=job.work) as folder:
        first = _config(job, seed, TIMED_STEPS, Path(folder) / "timed")
        steps = max(1, round(60 * job.minutes / _seconds_a_step(first, overrides)))
        began = time.process_time()
        last = train(_config(job, seed, steps, Path(folder) / "run"), overrides=overrides)
        spent = time.process_time() - began
        model = IPTalker(IPTalkerConfig(**read_state(last).model_config))
        load_into(model, last, averaged=True)
    scores = _score_all(job.stage, model, dev)
    result = Result(
        name=variation.name, seed=seed, steps=steps, processor_s=round(spent, 1), clips=scores
    )
    means = ", ".join(f"{key} {result.mean(key):.3f}" for key in COLUMNS[job.stage])
    print(f"{variation.name}, seed {seed}: {steps} steps, {spent:.0f} s, {means}", file=sys.stderr)
    return result


def _config(job: argparse.Namespace, seed: int, steps: int, output: Path) -> TrainConfig:
    sizes = {"geometry": (8, 16, 8e-4), "render": (2, 4, 2e-4)}
    batch, frames, learning_rate = sizes[job.stage]
    return TrainConfig(
        model="iptalker",
        data=job.train,
        output=output,
        stage=job.stage,
        preset=PRESET,
        half_size=job.stage != "geometry",
        init=job.init,
        steps=steps,
        batch_clips=batch,
        frames_per_clip=frames,
        learning_rate=learning_rate,
        seed=seed,
        device="cpu",
        threads=1,
        checkpoint_every=steps,
        sample_every=steps,
    )


def _seconds_a_step(config: TrainConfig, overrides: Overrides) -> float:
    """Processor time of a step, the first one left out."""
    marks: list[float] = []
    train(config, lambda stage, done, total: marks.append(time.process_time()), overrides)
    return (marks[-1] - marks[0]) / (len(marks) - 1)


def _start(job: argparse.Namespace, dev: list[TrainClip]) -> list[Result]:
    """What the rendering part scores before it is trained further."""
    if job.stage != "render":
        return []
    model = IPTalker(half_size(NAMED_CONFIGS[PRESET]))
    start_from(model, job.init, "iptalker", spare=("alignment.audio_encoder.",))
    clips = _score_all(job.stage, model, dev)
    return [Result(name="before", seed=0, steps=0, processor_s=0.0, clips=clips)]


@torch.no_grad()
def _score_all(stage: str, model: IPTalker, dev: list[TrainClip]) -> Scores:
    score = {"geometry": score_opening, "render": score_pictures}[stage]
    with evaluating(model):
        return {clip.clip_id: score(model, clip) for clip in dev}


def score_opening(model: IPTalker, clip: TrainClip) -> dict[str, float]:
    """How the mouth opening that the sound asks for follows the true one."""
    tokens = None
    if model.config.alignment == "full":
        rng = np.random.default_rng(DRAW_SEED)
        shown = torch.from_numpy(random_references(clip, model.config.num_references, rng))
        tokens = model.alignment.encode_references(reference_boxes(model, shown))
    predicted = predicted_opening(model, clip, tokens)
    true = clip.opening[clip.frames]
    lag, best, now = lag_of(predicted, true)
    silent = predicted_opening(model, _silenced(clip), tokens)
    return {
        "r": now,
        "r_best_lag": best,
        "lag": float(lag),
        "spread": _spread(predicted) / max(_spread(true), 1e-6),
        "silence": _spread(silent) / max(_spread(predicted), 1e-6),
    }


def _spread(opening: F32) -> float:
    return float(opening.std(dtype=np.float64))


def _silenced(clip: TrainClip) -> TrainClip:
    """The clip with silence and low noise in place of its sound."""
    rng = np.random.default_rng(DRAW_SEED)
    sounds = {kind: _noise_of(sound, rng) for kind, sound in clip.clip.sounds.items()}
    return replace(clip, clip=replace(clip.clip, sounds=sounds, heard=clip.clip.heard[:1]))


def _noise_of(sound: ClipSound, rng: np.random.Generator) -> ClipSound:
    values = sound.version(0).astype(np.float32)
    noise = rng.standard_normal(values.shape, np.float32)
    silence = sound.fill + SILENCE_NOISE * values.std(0) * noise
    return ClipSound(versions=silence.astype(np.float16)[None], fill=sound.fill)


def score_pictures(model: IPTalker, clip: TrainClip) -> dict[str, float]:
    """How the generated part of the mouth looks with true landmarks, as `generate` renders it."""
    config, (psnr, made_energy, real_energy) = model.config, ([], [], [])
    samples = RenderSamples(
        [clip],
        num_frames=FRAMES,
        num_references=config.num_references,
        audio_kind=config.audio_kind,
        audio_width=config.audio_width,
        seed=DRAW_SEED,
    )
    for index in range(SAMPLES):
        batch = as_batch(stacked([samples[index]]), torch.device("cpu"))
        scene = set_scene(model, batch)
        coefficients = coefficients_of(batch["mouth_offset"][0], model.alignment.basis)
        code = model.coefficient_code(coefficients)
        out, speaking = render_scene(model, scene, coefficients, code, sharp=True)
        share = mouth_share(speaking, (config.top, config.height, 0, config.width), config.unit_px)
        share = share[:, None]
        real = scene.targets[:, :, config.top :]
        error = ((out.rgb.clamp(0, 1) - real) ** 2 * share).sum() / (3 * share.sum())
        psnr.append(-10 * float(error.log10()))
        made_energy.append(band_energies(out.rgb.clamp(0, 1), share))
        real_energy.append(band_energies(real, share))
    return {"psnr_db": float(np.mean(psnr)), **band_ratios(made_energy, real_energy)}


def table(stage: str, results: list[Result]) -> str:
    """A Markdown table: means over clips and seeds, the best direction in each header."""
    columns = COLUMNS[stage]
    lines = [
        "| " + " | ".join(["variation", "steps", *columns.values()]) + " |",
        "|" + "---|" * (len(columns) + 2),
    ]
    for name in dict.fromkeys(result.name for result in results):
        same = [result for result in results if result.name == name]
        steps = round(float(np.mean([result.steps for result in same])))
        means = (np.mean([result.mean(key) for result in same]) for key in columns)
        lines.append("| " + " | ".join([name, str(steps), *(f"{x:.2f}" for x in means)]) + " |")
    return "\n".join(lines)


def _as_json(job: argparse.Namespace, results: list[Result]) -> dict[str, Any]:
    return {
        "stage": job.stage,
        "processor_minutes": job.minutes,
        "seeds": job.seeds,
        "columns": COLUMNS[job.stage],
        "results": [
            {
                "variation": result.name,
                "seed": result.seed,
                "steps": result.steps,
                "processor_s": result.processor_s,
                "mean": {key: round(result.mean(key), 4) for key in COLUMNS[job.stage]},
                "clips": {
                    clip: {key: round(value, 4) for key, value in scores.items()}
                    for clip, scores in result.clips.items()
                },
            }
            for result in results
        ],
    }


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--train", type=Path, required=True, help="prepared set that is learned")
    parser.add_argument("--dev", type=Path, required=True, help="prepared set of other people")
    parser.add_argument("--stage", choices=list(COLUMNS), default="geometry")
    parser.add_argument("--init", type=Path, help="weights that --stage render starts from")
    parser.add_argument("--minutes", type=float, default=3.0, help="processor time of each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="a run for each")
    parser.add_argument("--only", nargs="+", help="names of the variations that are run")
    parser.add_argument(
        "--offsets", type=Path, help='JSON {"clip": audio steps by which its picture is late}'
    )
    parser.add_argument("--work", type=Path, help="folder for the runs while they last")
    parser.add_argument("--out", type=Path, help="file for all scores as JSON")
    job = parser.parse_args()
    if (job.stage == "render") != (job.init is not None):
        parser.error("--init belongs to --stage render, which needs it")
    return job


if __name__ == "__main__":
    main()
