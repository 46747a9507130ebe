"""PersonaTalk's geometry half: mouths by sound, in the person's style, in none, in a stranger's.

Style is found in the first part of each clip, mouths are scored in the rest: r of the opening, its
spread over the true one, the share of clips where that lies in 0.8 to 1.25, and StyleSim: the
cosine of the made mouths and the true ones of the first part, by the style encoder of
`dub evaluate`. Two more rows say what it can be: of the person's true mouths, and of strangers.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dubcli.core.types import F32, Int
from dubcli.evaluation.style_network import StyleJudge
from dubcli.evaluation.style_similarity import load_style_judge, style_vector
from dubcli.models.common.mouth_basis import coefficients_of, opening_basis
from dubcli.models.personatalk.config import PersonaTalkConfig
from dubcli.models.personatalk.network import PersonaTalk
from dubcli.models.personatalk.persona_scores import STYLE_PART, WITHIN
from dubcli.sync.scorer import MouthClip
from dubcli.training.checkpoint import load_into, read_state
from dubcli.training.data.prepared_clip import STEPS_HZ
from dubcli.training.data.train_clips import TrainClip, audio_windows, load_clips
from dubcli.training.device_utils import evaluating
from dubcli.weights.load import load_model
from dubcli.weights.manifest import load_manifest

Scores = dict[str, float]
MOST_FRAMES = 400


def main() -> None:
    """Score every clip with sound, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--dev", type=Path, required=True, help="prepared set of other people")
    parser.add_argument("--weights", help="model by name, or a checkpoint", default="personatalk")
    parser.add_argument("--out", type=Path, help="file for all scores as JSON")
    job = parser.parse_args()
    torch.set_num_threads(1)
    model = _model(job.weights)
    clips = [clip for clip in load_clips(job.dev) if clip.has_audio]
    with evaluating(model), torch.no_grad():
        rows = score_styles(model, clips)
    print("| style | r | spread | within | StyleSim |")
    print("|---|---|---|---|---|")
    for name, scores in rows.items():
        spread = np.array([one["spread"] for one in scores.values()])
        within = ((spread >= WITHIN[0]) & (spread <= WITHIN[1])).mean()
        r = np.mean([one["r"] for one in scores.values()])
        alike = _mean_known([one["style_sim"] for one in scores.values()])
        print(f"| {name} | {r:.3f} | {spread.mean():.2f} | {100 * within:.0f} % | {alike:.3f} |")
    for name in ("true", "strangers"):
        limits = [one[f"style_sim_{name}"] for one in rows["own"].values()]
        known = sum(np.isfinite(limits))
        print(f"| ({name}) | | | | {_mean_known(limits):.3f} ({known} clips) |")
    if job.out is not None:
        job.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def _mean_known(values: list[float]) -> float:
    """Mean over clips that are long enough."""
    return float(np.nanmean(values))


def _model(weights: str) -> PersonaTalk:
    if not Path(weights).is_dir():
        loaded: Any = load_model(weights, "cpu")[0]
        return loaded
    model = PersonaTalk(PersonaTalkConfig(**read_state(Path(weights)).model_config))
    load_into(model, Path(weights), averaged=True)
    return model


def score_styles(model: PersonaTalk, clips: list[TrainClip]) -> dict[str, dict[str, Scores]]:
    """Scores of each clip, by style; a stranger is the person of the next clip."""
    people = [clip.identity for clip in clips]
    styles = [_style(model, clip) for clip in clips]
    judge = load_style_judge(torch.device("cpu"), load_manifest())
    assert judge is not None
    rows: dict[str, dict[str, Scores]] = {"own": {}, "none": {}, "stranger's": {}}
    for at, clip in enumerate(clips):
        others = [k % len(clips) for k in range(at + 1, at + len(clips))]
        stranger = next((k for k in others if people[k] != people[at]), at)
        given = (styles[at], model.geometry.mean_style, styles[stranger])
        for name, style in zip(rows, given, strict=True):
            rows[name][clip.clip_id] = _scored(model, judge, clip, style)
    return rows


def _parts(clip: TrainClip) -> tuple[Int, Int]:
    """Frames that the style is found in, and those that are scored."""
    num = round(STYLE_PART * len(clip.frames))
    return clip.frames[:num], clip.frames[num : num + MOST_FRAMES]


def _style(model: PersonaTalk, clip: TrainClip) -> Tensor:
    departures = torch.from_numpy(clip.mouth_offset[_parts(clip)[0]])
    return model.geometry.style_of(departures, model.basis)


def _scored(model: PersonaTalk, judge: StyleJudge, clip: TrainClip, style: Tensor) -> Scores:
    frames, gap = _parts(clip)[1], opening_basis(model.basis)
    audio = torch.from_numpy(
        audio_windows(clip, frames, model.geometry.width, kind=model.config.audio_kind)
    )
    template = torch.from_numpy(clip.neutral) - model.mean_face
    made = torch.cat(
        [
            model.geometry.smoothed(audio[at : at + 64], style, template)
            for at in range(0, len(frames), 64)
        ]
    )
    true = coefficients_of(torch.from_numpy(clip.mouth_offset[frames]), model.basis) @ gap
    mouths = model.articulated(made, style)
    opening = mouths @ gap
    shown = model.speaking_points(mouths, torch.from_numpy(clip.neutral)).numpy()
    first = _parts(clip)[0]
    vectors = [
        _vector(judge, clip, where, points)
        for where, points in (
            (first, clip.mouth_offset[first]),
            (frames, shown),
            (frames, clip.mouth_offset[frames]),
        )
    ]
    reference = vectors[0]
    return {
        "style_sim": float(reference @ vectors[1]),
        "style_sim_true": float(reference @ vectors[2]),
        "style_sim_strangers": float((judge.strangers.numpy() @ reference).mean()),
        "r": float(torch.corrcoef(torch.stack([opening, true]))[0, 1]),
        "spread": float(opening.std() / true.std()),
    }


def _vector(judge: StyleJudge, clip: TrainClip, frames: Int, points: F32) -> F32:
    """What the style encoder makes of a mouth in some frames; NaN where they are too few."""
    mouth = MouthClip(
        points=points, times=clip.clip.steps[frames] / float(STEPS_HZ), shot=clip.clip.shot[frames]
    )
    found = style_vector(judge, mouth)
    return np.full(judge.config.embedding, np.nan, np.float32) if found is None else found


if __name__ == "__main__":
    main()
