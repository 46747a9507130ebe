"""Trains the style encoder of StyleSim and writes it as the package's asset.

    python tests/tools/train_style_judge.py --train data/ --dev other-people/ \
        --output dubcli/assets/style-judge.v1.safetensors

Two windows of 1.3 s of each of 48 people: the other window of the same person is to be nearer than
any other person's (InfoNCE, arXiv:1807.03748). A sixth of the people, by a hash of their names, is
held out; their vectors are stored as strangers. Printed are how often the encoder tells the same
person from a stranger (area under the ROC curve) on people held out and on `--dev`, and the entry
for the manifest.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from dubcli.core.atomic_io import write_whole
from dubcli.core.errors import DubError
from dubcli.core.types import F32
from dubcli.evaluation.style_network import StyleJudge, StyleJudgeConfig
from dubcli.evaluation.style_similarity import mouth_windows_of, style_vector
from dubcli.face.landmarks import SPEAKING, mirror_order
from dubcli.sync.network import NUM_USED
from dubcli.sync.scorer import MouthClip
from dubcli.sync.training import held_out
from dubcli.training.data.prepared_clip import mouth_of
from dubcli.training.data.train_clips import TrainClip, fit_basis, load_clips

SEED, SALT = 7, "style-judge"
PEOPLE, RATE, DECAY = 48, 2e-3, 0.05
# One factor moves both windows of a person: the same face, livelier or calmer, is another person.
AMPLITUDE = 0.3
# Most that a detector of another recording adds to a point, canonical units, drawn by window.
NOISE = 0.015
# Samples between the starts of windows that are drawn from.
STRIDE = 8
REFERENCE_SHARE = 0.4


@dataclass(frozen=True, kw_only=True)
class Person:
    """Windows (W, L, S, 3) of one person, and the clip and first sample of each."""

    windows: F32
    clip: np.ndarray
    start: np.ndarray


def people_of(clips: list[TrainClip], length: int) -> dict[str, Person]:
    """Everybody who shows two windows apart."""
    parts: dict[str, list[tuple[F32, np.ndarray, int]]] = {}
    for number, clip in enumerate(clips):
        windows, starts = mouth_windows_of(mouth_of(clip.clip), length, STRIDE)
        if len(windows):
            parts.setdefault(clip.identity, []).append((windows, starts, number))
    found: dict[str, Person] = {}
    for name, own in parts.items():
        person = Person(
            windows=np.concatenate([windows for windows, _, _ in own]),
            clip=np.concatenate([np.full(len(start), number) for _, start, number in own]),
            start=np.concatenate([start for _, start, _ in own]),
        )
        if any(len(partners(person, at)) for at in range(len(person.windows))):
            found[name] = person
    return found


def partners(person: Person, at: int) -> np.ndarray:
    """Windows of the person that share no sample with one."""
    other = person.clip != person.clip[at]
    return np.flatnonzero(
        other | (np.abs(person.start - person.start[at]) >= person.windows.shape[1])
    )


def pair(person: Person, mirror: np.ndarray, rng: np.random.Generator) -> F32:
    """Two windows (2, L, S, 3) of a person, changed alike but for the detector's noise."""
    while True:
        first = int(rng.integers(len(person.windows)))
        others = partners(person, first)
        if len(others):
            break
    windows = person.windows[[first, int(rng.choice(others))]]
    if rng.random() < 0.5:
        windows = windows[:, :, mirror] * np.array([-1, 1, 1], np.float32)
    windows = windows * np.float32(np.exp(rng.uniform(-AMPLITUDE, AMPLITUDE)))
    noise = rng.standard_normal(windows.shape, np.float32)
    level = np.float32(rng.uniform(0, NOISE, (2, 1, 1, 1)))
    return (windows + noise * level).astype(np.float32)


def train(people: list[Person], judge: StyleJudge, steps: int) -> StyleJudge:
    """The encoder after so many steps."""
    rng = np.random.default_rng(SEED)
    mirror = mirror_order()[SPEAKING] - SPEAKING.start
    optimizer = torch.optim.AdamW(judge.parameters(), lr=RATE, weight_decay=DECAY)
    course = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    began = time.perf_counter()
    for step in range(steps):
        chosen = rng.choice(len(people), min(PEOPLE, len(people)), replace=False)
        pairs = torch.from_numpy(np.stack([pair(people[i], mirror, rng) for i in chosen], 1))
        loss = contrast(judge, pairs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        course.step()
        if step % 100 == 0:
            print(
                f"step {step}: {loss.item():.3f}, {time.perf_counter() - began:.0f} s", flush=True
            )
    return judge.eval()


def contrast(judge: StyleJudge, pairs: Tensor) -> Tensor:
    """Each window's own partner against everybody else's, both ways. Pairs (2, B, L, S, 3)."""
    one, other = judge(pairs.flatten(0, 1)).unflatten(0, (2, -1))
    logits = one @ other.T * judge.scale.exp().clamp(max=30)
    right = torch.arange(len(one))
    return (functional.cross_entropy(logits, right) + functional.cross_entropy(logits.T, right)) / 2


def told_apart(judge: StyleJudge, clips: list[TrainClip]) -> tuple[float, int, float, float]:
    """Reference part of each clip against the rest of every clip.

    Returns:
        Area under the ROC curve, number of clips, mean cosine of a person's own parts, and of
        strangers'.
    """
    parts: list[tuple[str, F32, F32]] = []
    for clip in clips:
        mouth = mouth_of(clip.clip)
        first = np.arange(len(mouth)) < int(REFERENCE_SHARE * len(mouth))
        one, other = (style_vector(judge, only(mouth, wanted)) for wanted in (first, ~first))
        if one is not None and other is not None:
            parts.append((clip.identity, one, other))
    own = np.array([one @ other for _, one, other in parts])
    strangers = np.array(
        [one @ other for name, one, _ in parts for another, _, other in parts if another != name]
    )
    above = (own[:, None] > strangers).mean() + 0.5 * (own[:, None] == strangers).mean()
    return float(above), len(parts), float(own.mean()), float(strangers.mean())


def only(mouth: MouthClip, wanted: np.ndarray) -> MouthClip:
    """The mouth in some of its frames."""
    usable = wanted if mouth.usable is None else mouth.usable & wanted
    return replace(mouth, usable=usable)


def strangers_of(judge: StyleJudge, clips: list[TrainClip]) -> Tensor:
    """Vectors of people, one each: of their longest clip. Shape (N, E)."""
    longest: dict[str, TrainClip] = {}
    for clip in sorted(clips, key=lambda one: len(one.frames)):
        longest[clip.identity] = clip
    vectors = [style_vector(judge, mouth_of(clip.clip)) for clip in longest.values()]
    return torch.from_numpy(np.stack([vector for vector in vectors if vector is not None]))


def main() -> None:
    """Train, score, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--train", type=Path, required=True, help="prepared set that is learned")
    parser.add_argument("--dev", type=Path, help="prepared set of other people")
    parser.add_argument("--output", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--steps", type=int, default=800)
    job = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    try:
        clips = load_clips(job.train)
        dev = load_clips(job.dev) if job.dev else []
    except DubError as error:
        sys.exit(str(error))
    held = held_out({clip.identity for clip in clips}, SALT)
    learnt = [clip for clip in clips if clip.identity not in held]
    unseen = [clip for clip in clips if clip.identity in held]
    config = StyleJudgeConfig()
    judge = StyleJudge(config)
    basis = fit_basis(learnt, config.num_components).reshape(config.num_components, -1, 3)
    flat = basis[:, :NUM_USED].reshape(config.num_components, -1)
    flat = flat / (flat**2).sum(1, keepdims=True)
    judge.components.copy_(torch.from_numpy(flat.reshape(-1, NUM_USED, 3)))
    people = people_of(learnt, config.window)
    print(f"{len(people)} people are learned, {len(held)} held out")
    train(list(people.values()), judge, job.steps)
    judge = judge.half().float()
    for name, some in (("held out", unseen), ("dev", dev)):
        if some:
            auc, num, own, strange = told_apart(judge, some)
            print(f"{name}: AUC {auc:.3f} of {num} clips, own {own:.3f}, strangers {strange:.3f}")
    strangers = strangers_of(judge, unseen)
    config = replace(config, num_strangers=len(strangers))
    judge.strangers = strangers
    content = save({name: value.half().contiguous() for name, value in judge.state_dict().items()})
    write_whole(job.output, content)
    digest = hashlib.sha256(content).hexdigest()
    print(json.dumps({"sha256": digest, "bytes": len(content), "config": asdict(config)}, indent=2))


if __name__ == "__main__":
    main()
