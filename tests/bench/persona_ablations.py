"""Rows of PersonaTalk's Table 4: `python tests/bench/persona_ablations.py --dev SET ...`.

* `--train SET`: each variation is trained from nothing at half size, `--minutes` of one thread's
  processor time each, a third for stage geometry, the rest for render: full, no style, single
  attention. Random references vary in use only: the paper, too, trains with random ones.
* `--weights NAME`: a model as it is, with sorted and random references, 25 and 5.

Style and references are of the first part of each clip of `--dev`, frames in a row of the rest are
made of the clip's own sound and looked at by a detector: r of the mouth opening, LMD, motion (the
spread of the opening over the true one, and the clips where it lies within 0.8 to 1.25), StyleSim
against the person's true mouths of the first part, texture of the mouth in bands of detail.
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
from ablations import BANDS_PX, energies
from persona_style import MOST_FRAMES, STYLE_PART, WITHIN, Scores, vector_of
from picture_scores import face_geometry, put_back_landmarks

from dubcli.config import TrainConfig
from dubcli.core.errors import DubError
from dubcli.core.types import F32, U8, Int
from dubcli.evaluation.style_network import StyleJudge
from dubcli.evaluation.style_similarity import load_style_judge
from dubcli.face.detect import open_detector
from dubcli.face.landmarks import SPEAKING, mouth_open
from dubcli.face.pose import Pose, to_canonical
from dubcli.metrics.lips import lip_distance, opening_correlation
from dubcli.models.api import ModelWindow
from dubcli.models.common.own_skin import mouth_share
from dubcli.models.common.stage_parts import half_size
from dubcli.models.conversion import to_images, to_tensor
from dubcli.models.personatalk.config import PersonaTalkConfig
from dubcli.models.personatalk.dual_attention import Encoded
from dubcli.models.personatalk.network import PersonaTalk
from dubcli.models.personatalk.persona_state import PersonaState
from dubcli.training.batches import resize_pictures
from dubcli.training.checkpoint import load_into, read_state
from dubcli.training.data.train_clips import TrainClip, audio_windows, load_clips, with_sound
from dubcli.training.device_utils import evaluating
from dubcli.training.run import Overrides, train
from dubcli.weights.load import load_model
from dubcli.weights.manifest import load_manifest

# Frames in a row that are looked at, of each clip; and how many are painted at a time.
NUM_SEEN, CHUNK, DRAW_SEED, TIMED_STEPS = 100, 10, 5, 6
FULL = half_size(PersonaTalkConfig())
TRAINED = {
    "full": FULL,
    "no style": replace(FULL, has_style=False),
    "single attention": replace(FULL, attention="single"),
}
# Stage, share of the minutes, clips, frames, learning rate.
PLAN = (("geometry", 1 / 3, 12, 24, 8e-4), ("render", 2 / 3, 4, 4, 1e-3))


@dataclass(frozen=True, kw_only=True)
class InUse:
    """Lip references of a row: how many, and whether they are drawn at random."""

    num: int
    is_random: bool = False


SORTED = InUse(num=FULL.num_lips)
VARIED = {
    "random references": replace(SORTED, is_random=True),
    "5 references": InUse(num=5),
    "5 random references": InUse(num=5, is_random=True),
}


def main() -> None:
    """Train or take the networks, score them, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--dev", type=Path, required=True, help="prepared set of other people")
    parser.add_argument("--train", type=Path, help="prepared set that is learned")
    parser.add_argument("--weights", nargs="+", default=[], help="models as they are")
    parser.add_argument("--minutes", type=float, default=20.0, help="processor time of each row")
    parser.add_argument("--only", nargs="+", help="names of the trained rows")
    parser.add_argument("--out", type=Path, help="file for all scores as JSON")
    job = parser.parse_args()
    torch.set_num_threads(1)
    dev, found = with_sound(load_clips(job.dev)), dict[str, dict[str, Scores]]()
    judge = load_style_judge(torch.device("cpu"), load_manifest())
    assert judge is not None

    def score(name: str, model: PersonaTalk, in_use: InUse = SORTED) -> None:
        found[name] = scores_of(model, judge, dev, in_use)
        print(row_of(name, found[name]), flush=True)
        if job.out is not None:
            job.out.write_text(json.dumps(found, indent=1), encoding="utf-8")

    for weights in job.weights:
        model: Any = load_model(weights, "cpu")[0]
        score(weights, model)
        for name, in_use in VARIED.items():
            score(f"{weights}, {name}", model, in_use)
    for name, sizes in TRAINED.items():
        if job.train is not None and (job.only is None or name in job.only):
            model = trained(job, sizes)
            score(name, model)
            if name == "full":
                for other, in_use in VARIED.items():
                    score(other, model, in_use)


def row_of(name: str, clips: Mapping[str, Scores]) -> str:
    """A row of the table: means over the clips where they are known."""
    keys = next(iter(clips.values()))
    means = {key: float(np.nanmean([scores[key] for scores in clips.values()])) for key in keys}
    motion = np.array([scores["motion"] for scores in clips.values()])
    within = float(((motion >= WITHIN[0]) & (motion <= WITHIN[1])).mean())
    cells = [f"{key} {value:.3f}" for key, value in means.items()]
    return f"| {name} | " + " | ".join([*cells, f"within {100 * within:.0f} %"]) + " |"


def trained(job: argparse.Namespace, sizes: PersonaTalkConfig) -> PersonaTalk:
    """Both stages of a row; the second begins with what the first learned."""
    overrides, start = Overrides(sizes=sizes), None
    with tempfile.TemporaryDirectory(prefix="dub-bench-") as folder:
        for stage, share, clips, frames, rate in PLAN:
            base = TrainConfig(
                model="personatalk",
                data=job.train,
                output=Path(folder) / f"{stage}-timed",
                stage=stage,
                init=start,
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
        model = PersonaTalk(PersonaTalkConfig(**read_state(start).model_config))
        load_into(model, start, averaged=True)
    return model


@torch.no_grad()
def scores_of(
    model: PersonaTalk, judge: StyleJudge, dev: list[TrainClip], in_use: InUse
) -> dict[str, Scores]:
    """Scores of each clip."""
    with evaluating(model):
        return {clip.clip_id: score_clip(model, judge, clip, in_use) for clip in dev}


def score_clip(model: PersonaTalk, judge: StyleJudge, clip: TrainClip, in_use: InUse) -> Scores:
    """Frames in a row after the first part, made of the clip's own sound."""
    num = round(STYLE_PART * len(clip.frames))
    first, shown = clip.frames[:num], clip.frames[num : num + min(NUM_SEEN, MOST_FRAMES)]
    made, real, speaking = _painted(model, clip, first, shown, in_use)
    config = model.config
    share = mouth_share(speaking, config.box, config.unit_px)[:, None]
    bands = [
        energies(to_tensor(pictures, "cpu")[:, :, config.top :], share) for pictures in (made, real)
    ]
    texture = np.sqrt(np.array(bands[0]) / np.maximum(bands[1], 1e-12)).tolist()
    detector_sees = _Seen(clip, shown)
    seen, true = detector_sees.landmarks(made), detector_sees.landmarks(real)
    opening, real_opening = mouth_open(seen), mouth_open(true)
    reference = vector_of(judge, clip, first, clip.mouth_offset[first])
    style = vector_of(judge, clip, shown, detector_sees.mouth(seen))
    return {
        "r": opening_correlation(opening, real_opening),
        "lmd": lip_distance(seen, true),
        "motion": float(np.nanstd(opening) / np.nanstd(real_opening)),
        "style_sim": float(reference @ style),
        **{f"texture_{low:g}": x for low, x in zip(BANDS_PX[:-1], texture, strict=True)},
    }


class _Seen:
    """Landmarks of pictures of a clip, put back in its stored crops.

    Args:
        clip: Whose pictures they are.
        frames: Which frames. Shape (T,).
    """

    def __init__(self, clip: TrainClip, frames: Int) -> None:
        self._clip, self._frames = clip, frames

    def landmarks(self, pictures: U8) -> F32:
        """Kept points, stored-crop px; NaN without a face. Shape (T, K, 3)."""
        detector = open_detector()
        try:
            return put_back_landmarks(detector, self._clip, self._frames, pictures)
        finally:
            detector.close()

    def mouth(self, seen: F32) -> F32:
        """Speaking points without pose; those of the clip where no face is seen. (T, S, 3)."""
        data, at = self._clip.clip, self._frames
        pose = Pose(
            scale=data.scale[at], rotation=data.rotation[at], translation=data.translation[at]
        )
        known = np.isfinite(seen[:, 0, 0])[:, None, None]
        return to_canonical(np.where(known, seen, data.landmarks[at]), pose)[:, SPEAKING]


def _references(clip: TrainClip, pool: Int, in_use: InUse) -> Int:
    """Frames of lip references: evenly by rank of opening, or at random."""
    num = min(in_use.num, len(pool))
    if in_use.is_random:
        return np.random.default_rng(DRAW_SEED).choice(pool, num, replace=False)
    order = pool[np.argsort(clip.opening[pool], kind="stable")]
    return order[np.linspace(0, len(order) - 1, num).round().astype(np.int64)]


def _painted(
    model: PersonaTalk, clip: TrainClip, first: Int, frames: Int, in_use: InUse
) -> tuple[U8, U8, torch.Tensor]:
    """Made and real crops (T, H, W, 3) at the model's size, and wanted points (T, S, 2)."""
    lips = _references(clip, first, in_use)
    pictures, points = _shown(model, clip, lips)
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
        frames=torch.from_numpy(lips),
    )
    made, real, wanted = list[U8](), list[U8](), list[torch.Tensor]()
    for at in range(0, len(frames), CHUNK):
        crops, out = _window_painted(model, clip, frames[at : at + CHUNK], state)
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


if __name__ == "__main__":
    try:
        main()
    except DubError as error:
        raise SystemExit(f"{error}") from error
