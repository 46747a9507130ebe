"""What a ridge regression on sound features reaches: the least that a sound part must beat.

    python tests/bench/ridge.py --train data/ --dev other-people/ --models iptalker

Mouth coefficients by ridge regression on 13 taps of the features' principal components, people
weighted by the inverse root of their frames. Landmarks of both sets, no pictures; every clip at its
own offset, as `dub prepare` measured it.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dubcli.audio.windows import gather_windows
from dubcli.core.errors import DubError
from dubcli.core.types import F32, F64, Int
from dubcli.models.common.mouth_map import INNER_BOTTOM, INNER_TOP
from dubcli.models.iptalker.network import IPTalker
from dubcli.models.iptalker.offsets import predicted_opening
from dubcli.training.data.prepared_clip import STEPS_HZ
from dubcli.training.data.train_clips import TrainClip, fit_basis, load_clips, project, with_sound
from dubcli.weights.load import load_entry
from dubcli.weights.manifest import load_manifest
from dubcli.weights.resolve import resolve

NUM_TAPS, REACH_S = 13, 0.24
# Components kept, of 80 log-mel bands, of all 368 features, of a layer of a second recogniser.
NUM_COMPONENTS = {"mel": 40, "speech": 96, "second": 96}
PENALTY = 1.0
NUM_COEFFICIENTS = 16
TAPS: Int = np.round(np.linspace(-REACH_S, REACH_S, NUM_TAPS) * float(STEPS_HZ)).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Row:
    """Scores of one predictor: r of the mouth opening, and its spread over the true one's."""

    name: str
    r: dict[str, float]
    spread: dict[str, float]

    def line(self) -> str:
        """The row of a Markdown table."""
        r, spread = list(self.r.values()), np.array(list(self.spread.values()))
        within = float(np.mean((spread > 0.8) & (spread < 1.25)))
        return f"| {self.name} | {np.mean(r):.3f} | {spread.mean():.2f} | {within:.0%} |"


class Ridge:
    """Mouth coefficients of sound.

    Args:
        clips: With sound.
        kinds: Of the features, which are reduced apart and stand side by side.
    """

    def __init__(self, clips: list[TrainClip], kinds: tuple[str, ...]) -> None:
        self._parts = [_Components(clips, kind) for kind in kinds]
        self.basis = fit_basis(clips, NUM_COEFFICIENTS)
        self._solve(clips)

    def opening(self, clip: TrainClip) -> F32:
        """Mouth opening that a clip's sound asks for. Shape (U,)."""
        points = self._inputs(clip) @ self._weights + self._bias
        gap = self.basis[:, INNER_BOTTOM, 1] - self.basis[:, INNER_TOP, 1]
        return (points @ gap).astype(np.float32)

    def _inputs(self, clip: TrainClip) -> F32:
        """Taps of the components around usable frames. Shape (U, 13 C)."""
        reduced = [part.of(clip) for part in self._parts]
        values = np.concatenate([values for values, _ in reduced], 1)
        fill = np.concatenate([fill for _, fill in reduced])
        steps = clip.clip.steps[clip.frames] - clip.offset_steps
        taps = [gather_windows(values, fill, steps + tap, 1)[:, 0] for tap in TAPS]
        return np.concatenate(taps, 1)

    def _solve(self, clips: list[TrainClip]) -> None:
        total: dict[str, int] = {}
        for clip in clips:
            total[clip.identity] = total.get(clip.identity, 0) + len(clip.frames)
        num_inputs = NUM_TAPS * sum(part.num for part in self._parts)
        gram: F64 = np.zeros((num_inputs, num_inputs))
        moment: F64 = np.zeros((num_inputs, NUM_COEFFICIENTS))
        inputs_sum, wanted_sum = np.zeros(num_inputs), np.zeros(NUM_COEFFICIENTS)
        count = 0.0
        for clip in clips:
            weight = 1 / np.sqrt(total[clip.identity])
            inputs = self._inputs(clip)
            wanted = project(clip.mouth_offset[clip.frames], self.basis)
            gram += weight * (inputs.T @ inputs)
            moment += weight * (inputs.T @ wanted)
            inputs_sum += weight * inputs.sum(0)
            wanted_sum += weight * wanted.sum(0)
            count += weight * len(inputs)
        mean, wanted_mean = inputs_sum / count, wanted_sum / count
        gram = gram / count - np.outer(mean, mean) + PENALTY * np.eye(num_inputs)
        self._weights = np.linalg.solve(gram, moment / count - np.outer(mean, wanted_mean))
        self._bias = wanted_mean - mean @ self._weights


class _Components:
    """Principal components of one kind of features."""

    def __init__(self, clips: list[TrainClip], kind: str) -> None:
        self._kind, self.num = kind, NUM_COMPONENTS[kind]
        heard = np.concatenate([self._features(clip) for clip in clips])
        self._mean, self._spread = heard.mean(0), heard.std(0) + 1e-6
        scaled = (heard - self._mean) / self._spread
        vectors = np.linalg.eigh(scaled.T @ scaled / len(scaled))[1]
        self._vectors = vectors[:, ::-1][:, : self.num].astype(np.float32)

    def of(self, clip: TrainClip) -> tuple[F32, F32]:
        """A clip's components (A, C), and those of silence (C,)."""
        return self._reduced(self._features(clip)), self._reduced(clip.clip.sound(self._kind).fill)

    def _features(self, clip: TrainClip) -> F32:
        return clip.clip.sound(self._kind).version(0).astype(np.float32)

    def _reduced(self, values: F32) -> F32:
        return ((values - self._mean) / self._spread) @ self._vectors


def score(name: str, openings: dict[str, F32], clips: list[TrainClip]) -> Row:
    """How predicted openings follow the true ones."""
    r: dict[str, float] = {}
    spread: dict[str, float] = {}
    for clip in clips:
        predicted, true = openings[clip.clip_id], clip.opening[clip.frames]
        r[clip.clip_id] = float(np.corrcoef(predicted, true)[0, 1])
        spread[clip.clip_id] = float(predicted.std() / true.std())
    return Row(name=name, r=r, spread=spread)


def main() -> None:
    """Fit, score, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--train", type=Path, required=True, help="prepared set that is learned")
    parser.add_argument("--dev", type=Path, required=True, help="prepared set of other people")
    parser.add_argument("--models", nargs="*", default=[], help="IPTalker weights beside it")
    parser.add_argument("--out", type=Path, help="file for all scores as JSON")
    job = parser.parse_args()
    try:
        train, dev = with_sound(load_clips(job.train)), with_sound(load_clips(job.dev))
        rows = [ridge_row(train, dev, f"ridge on {kind}", (kind,)) for kind in ("mel", "speech")]
        rows += [_model_row(name, dev) for name in job.models]
    except DubError as error:
        sys.exit(str(error))
    print(f"{len(dev)} clips of {len({clip.identity for clip in dev})} people")
    print(
        "| sound part | r of mouth opening (1) | spread (1) | within 0.8-1.25 |\n|---|---|---|---|"
    )
    print("\n".join(row.line() for row in rows))
    if job.out is not None:
        told = [{"name": row.name, "r": row.r, "spread": row.spread} for row in rows]
        job.out.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def ridge_row(
    train: list[TrainClip], dev: list[TrainClip], name: str, kinds: tuple[str, ...]
) -> Row:
    """Scores of the ridge on some kinds of features."""
    ridge = Ridge(train, kinds)
    return score(name, {clip.clip_id: ridge.opening(clip) for clip in dev}, dev)


def _model_row(name: str, dev: list[TrainClip]) -> Row:
    model = load_entry(resolve(name, load_manifest()), "cpu")[0]
    assert isinstance(model, IPTalker)
    return score(name, {clip.clip_id: predicted_opening(model, clip) for clip in dev}, dev)


if __name__ == "__main__":
    main()
