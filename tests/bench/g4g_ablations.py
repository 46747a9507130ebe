"""Rows of G4G's tables: `python tests/bench/g4g_ablations.py --dev SET ...`.

* `--train SET`: each variation is trained from nothing at half size, `--minutes` of one thread's
  processor time each: a quarter for stage contrast, half for render, a quarter for blend.
* `--weights NAME`: weights as they are.

Every row is scored on the clips of `--dev` with sound of their own:

* in the pictures that it makes of the clip's sound, and once more with another clip's sound while
  the drawn mouth stays: what is lost is what the alignment of sound and picture gives;
* by its diagonal: how often the own sound wins among 64, half of them of the same clip at other
  moments, and among 64 of as many people as there are. Chance is 1 of 64;
* by what the sound half draws: r of the mouth opening with landmarks, and its spread; and by the
  model's own share and rank of real mouths' own sound among shifts, means and lowest clip.

`--hearing` leaves the pictures out, for runs of stage contrast.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from picture_scores import NUM_FRAMES, face_geometry, score_crops, spread_references
from torch import Tensor

from dubcli.config import TrainConfig
from dubcli.core.errors import DubError
from dubcli.core.types import Int
from dubcli.face.landmarks import SPEAKING
from dubcli.models.common.mouth_basis import coefficients_of, opening_basis
from dubcli.models.common.stage_parts import half_size
from dubcli.models.conversion import to_images, to_tensor
from dubcli.models.g4g.config import G4GConfig
from dubcli.models.g4g.contrast_task import NUM_ROWS, ContrastBatches, MouthStore
from dubcli.models.g4g.network import G4G
from dubcli.training.batches import BatchSize, resize_pictures
from dubcli.training.checkpoint import load_into, read_state
from dubcli.training.data.train_clips import TrainClip, audio_windows, load_clips, with_sound
from dubcli.training.device_utils import evaluating
from dubcli.training.run import Overrides, train
from dubcli.weights.load import load_model

Scores = dict[str, float]
TIMED_STEPS, NUM_MATRICES, DRAW_SEED, MOST_FRAMES = 6, 40, 5, 400
FULL = half_size(G4GConfig())


@dataclass(frozen=True, kw_only=True)
class Row:
    """One variation: the network, and the losses of its pictures."""

    sizes: G4GConfig
    losses: str = "default"


ROWS = {
    "full": Row(sizes=FULL),
    "no alignment": Row(sizes=replace(FULL, alignment="none"), losses="no-contrast"),
    "one mask": Row(sizes=replace(FULL, mask_scales="one")),
    "no blend net": Row(sizes=replace(FULL, has_blend=False)),
    "drawn mouth off": Row(sizes=replace(FULL, drawn_mouth=False, own_skin=False)),
    "negatives from other people only": Row(sizes=replace(FULL, negatives="people")),
}
# Stage, share of the minutes, clips, frames, learning rate.
PLAN = (("contrast", 0.25, 8, 32, 8e-4), ("render", 0.5, 4, 5, 6e-4), ("blend", 0.25, 4, 5, 4e-4))


def main() -> None:
    """Train or take the networks, score them, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--dev", type=Path, required=True, help="prepared set of other people")
    parser.add_argument("--train", type=Path, help="prepared set that is learned")
    parser.add_argument("--weights", nargs="+", default=[], help="models, or runs, as they are")
    parser.add_argument("--minutes", type=float, default=20.0, help="processor time of each row")
    parser.add_argument("--only", nargs="+", help="names of the rows")
    parser.add_argument("--hearing", action="store_true", help="score no pictures")
    parser.add_argument("--out", type=Path, help="file for all scores as JSON")
    job = parser.parse_args()
    torch.set_num_threads(1)
    dev, found = with_sound(load_clips(job.dev)), dict[str, dict[str, Any]]()
    for name in job.weights:
        model: Any = load_model(name, "cpu")[0]
        found[name] = scores_of(model, dev, has_pictures=not job.hearing)
        _show(name, found[name])
    for name, row in ROWS.items():
        if job.train is not None and (job.only is None or name in job.only):
            found[name] = scores_of(_trained(job, row), dev, has_pictures=not job.hearing)
            _show(name, found[name])
    if job.out is not None:
        job.out.write_text(json.dumps(found, indent=1), encoding="utf-8")


def _show(name: str, scores: Mapping[str, Any]) -> None:
    """A row of the table: means over the clips where they are known."""
    cells: list[str] = []
    for group in ("own", "swapped"):
        clips: Mapping[str, Scores] = scores.get(group, {})
        if not clips:
            continue
        for key in next(iter(clips.values())):
            values = np.array([one[key] for one in clips.values()])
            known = values[np.isfinite(values)]
            cells.append(f"{group} {key} {known.mean() if len(known) else np.nan:.4f}")
    for group in ("diagonal", "hearing"):
        cells += [f"{key} {value:.3f}" for key, value in scores[group].items()]
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def _trained(job: argparse.Namespace, row: Row) -> G4G:
    """All stages of a row, each from the one before."""
    overrides, start = Overrides(sizes=row.sizes), None
    with tempfile.TemporaryDirectory(prefix="dub-bench-") as folder:
        for stage, share, clips, frames, rate in PLAN:
            if stage == "blend" and not row.sizes.has_blend:
                continue
            if stage == "render" and not row.sizes.has_blend:
                share = 0.75
            base = TrainConfig(
                model="g4g",
                data=job.train,
                output=Path(folder) / f"{stage}-timed",
                stage=stage,
                init=start,
                losses=None if stage == "contrast" else row.losses,
                steps=TIMED_STEPS,
                batch_clips=clips,
                frames_per_clip=frames,
                learning_rate=rate,
                device="cpu",
                threads=1,
                checkpoint_every=10**6,
                sample_every=10**6,
            )
            marks: list[float] = []
            train(base, lambda *_, marks=marks: marks.append(time.process_time()), overrides)
            step_s = (marks[-1] - marks[0]) / (len(marks) - 1)
            steps = max(1, round(60 * job.minutes * share / step_s))
            run = replace(base, output=Path(folder) / stage, steps=steps)
            start = train(run, overrides=overrides)
        assert start is not None
        model = G4G(G4GConfig(**read_state(start).model_config))
        load_into(model, start, averaged=True)
    return model.eval()


@torch.no_grad()
def scores_of(model: G4G, dev: list[TrainClip], *, has_pictures: bool) -> dict[str, Any]:
    """Pictures by own and by swapped sound, clip by clip; the diagonal; what is drawn."""
    with evaluating(model):
        found: dict[str, Any] = {"diagonal": diagonal(model, dev), "hearing": hearing(model, dev)}
        if not has_pictures:
            return found
        own, swapped = dict[str, Scores](), dict[str, Scores]()
        for number, clip in enumerate(dev):
            other = dev[(number + 1) % len(dev)]
            own[clip.clip_id] = score_pictures(model, clip, clip)
            swapped[clip.clip_id] = score_pictures(model, clip, other)
        return {"own": own, "swapped": swapped, **found}


def score_pictures(model: G4G, clip: TrainClip, heard: TrainClip) -> Scores:
    """Pictures of a clip's frames; the mouth is drawn by its own sound, a is of `heard`."""
    config = model.config
    num = min(NUM_FRAMES, len(clip.frames))
    frames = clip.frames[np.linspace(0, len(clip.frames) - 1, num).round().astype(np.int64)]
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
    return score_crops(clip, frames, to_images(whole), to_images(pictures[:num]))


def _audio(model: G4G, clip: TrainClip, frames: Int) -> Tensor:
    spec = model.spec.audio
    return torch.from_numpy(audio_windows(clip, frames, spec.width, kind=spec.kind)).float()


def diagonal(model: G4G, dev: list[TrainClip]) -> Scores:
    """Top-1 of the matrix's rows, for each kind of negatives, and chance."""
    found: Scores = {"chance": 1 / NUM_ROWS}
    for kind in ("hard", "people"):
        config, hits = replace(model.config, negatives=kind), list[float]()
        batches = ContrastBatches(dev, config, BatchSize(seed=DRAW_SEED, clips=1, frames=2))
        for number in range(NUM_MATRICES):
            rng = np.random.default_rng((DRAW_SEED, number))
            drawn = batches.matrix(rng, is_augmented=False)
            seen = model.matcher.see(torch.from_numpy(drawn["mouths"]).float() / 255)
            heard = model.matcher.listen(model.sound(torch.from_numpy(drawn["heard"])))
            best = (seen @ heard.T).argmax(1)
            hits.append(float((best == torch.arange(len(best))).float().mean()))
        found[f"top1_{kind}"] = float(np.mean(hits))
    return found


def hearing(model: G4G, dev: list[TrainClip]) -> Scores:
    """The drawn mouth's opening beside the true one, and own scores of real mouths; means."""
    store, drawn, own = (
        MouthStore(dev, model.config.reach),
        list[list[float]](),
        list[list[float]](),
    )
    gap = opening_basis(model.sound.basis)
    for number, clip in enumerate(dev):
        frames, middles = clip.frames[:MOST_FRAMES], store.middles[number][: MOST_FRAMES // 2 : 2]
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
        "r": r,
        "spread": spread,
        "share": float(shares.mean()),
        "least_share": float(shares.min()),
        "rank": float(ranks.mean()),
    }


if __name__ == "__main__":
    try:
        main()
    except DubError as error:
        raise SystemExit(f"{error}") from error
