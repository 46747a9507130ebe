"""The small convolutional network of the sound part on features of several recognisers.

    python tests/bench/ear_network.py --train data/ --dev other-people/ --encoder model.bin \
        --videos . --catalogue catalogue.csv --layer 2

`second_ear.py` with E_a's dilated convolutions and one linear layer in place of the ridge: the
recordings as they are, without changed copies, so compare its rows with each other only.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import numpy as np
import torch
from ridge import NUM_COEFFICIENTS, Row, score
from second_ear import (
    GROUPS,
    hear,
    languages_of,
    line,
    sound_options,
    with_layer,
)
from torch import Tensor, nn
from torch.nn import functional
from whisper_encoder import WhisperEncoder

from dubcli.core.errors import DubError
from dubcli.core.types import F32
from dubcli.models.common.encoders import DilatedAudioEncoder
from dubcli.models.common.mouth_basis import opening_basis
from dubcli.models.common.mouth_losses import correlation_loss
from dubcli.training.data.train_clips import (
    TrainClip,
    fit_basis,
    identity_weights,
    load_clips,
    project,
    with_sound,
)

WIDTH, EMBEDDING, DROPOUT = DilatedAudioEncoder.LEAST_WIDTH, 192, 0.4
BATCH, FRAMES, RATE, DECAY = 14, 40, 2e-3, 0.1
# Audio steps of a run of so many frames at 25 fps, and of the windows beyond it.
STEPS = 128
KINDS = {"shipped encoder": ("speech",), "layer": ("second", "mel")}


@dataclass(frozen=True, kw_only=True)
class Example:
    """A clip: features (A, D) with half a window of silence at each end, and what they move.

    Attributes:
        heard: Shape (A, D).
        steps: Step of each usable frame. Shape (U,).
        wanted: Mouth coefficients of these frames. Shape (U, P).
    """

    heard: F32
    steps: np.ndarray
    wanted: F32


class EarNetwork(nn.Module):
    """E_a and a linear layer.

    Args:
        size: Of a feature step.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.encoder = DilatedAudioEncoder(size, WIDTH, EMBEDDING, DROPOUT)
        self.out = nn.Linear(EMBEDDING, NUM_COEFFICIENTS)

    def forward(self, heard: Tensor) -> Tensor:
        """(B, L, D) to coefficients of each window (B, L - 91, P)."""
        return self.out(functional.silu(self.encoder.over_sequence(heard)))


def example(clip: TrainClip, kinds: tuple[str, ...], basis: F32) -> Example:
    """A clip as the network takes it."""
    sounds = [clip.clip.sound(kind) for kind in kinds]
    values = np.concatenate([one.version(0).astype(np.float32) for one in sounds], 1)
    fill = np.concatenate([one.fill for one in sounds])
    edge = np.broadcast_to(fill, (WIDTH + STEPS, len(fill)))
    steps = clip.clip.steps[clip.frames] - clip.offset_steps
    return Example(
        heard=np.concatenate([edge, values, edge]).astype(np.float32),
        steps=np.clip(steps, -STEPS, len(values) + STEPS - 1) + STEPS + WIDTH - WIDTH // 2,
        wanted=project(clip.mouth_offset[clip.frames], basis).astype(np.float32),
    )


def train(
    clips: list[TrainClip], examples: list[Example], gap: Tensor, job: argparse.Namespace
) -> EarNetwork:
    """The network after so many steps."""
    torch.manual_seed(job.seed)
    rng = np.random.default_rng(job.seed)
    network = EarNetwork(examples[0].heard.shape[1])
    every = np.concatenate([one.heard for one in examples])
    network.encoder.mean.copy_(torch.from_numpy(every.mean(0)))
    network.encoder.spread.copy_(torch.from_numpy(every.std(0) + 1e-3))
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    course = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=job.steps)
    chances = identity_weights(clips)
    for _ in range(job.steps):
        chosen = [examples[int(i)] for i in rng.choice(len(examples), BATCH, p=chances)]
        runs = [_run(one, rng) for one in chosen]
        made = network(torch.from_numpy(np.stack([run[0] for run in runs])))
        rows = torch.arange(BATCH)[:, None]
        made = made[rows, torch.from_numpy(np.stack([run[1] for run in runs]))]
        wanted = torch.from_numpy(np.stack([run[2] for run in runs]))
        loss = functional.smooth_l1_loss(made, wanted)
        loss = loss + 0.3 * correlation_loss(made @ gap, wanted @ gap)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        course.step()
    return network.eval()


def _run(one: Example, rng: np.random.Generator) -> tuple[F32, np.ndarray, F32]:
    """Features, places in them and coefficients of consecutive frames within `STEPS`."""
    start = int(rng.integers(0, max(1, len(one.steps) - FRAMES + 1)))
    chosen = np.minimum(np.arange(start, start + FRAMES), len(one.steps) - 1)
    places = np.clip(one.steps[chosen] - one.steps[start], 0, STEPS - 1)
    first = int(one.steps[start])
    return one.heard[first : first + STEPS + WIDTH - 1], places, one.wanted[chosen]


@torch.no_grad()
def opening(network: EarNetwork, one: Example, gap: Tensor) -> F32:
    """Mouth opening that a clip's sound asks for. Shape (U,)."""
    every = network(torch.from_numpy(one.heard)[None])[0] @ gap
    return every[torch.from_numpy(one.steps).clamp(max=len(every) - 1)].numpy()


def main() -> None:
    """Hear, train, score, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    sound_options(parser)
    parser.add_argument("--layer", type=int, default=2, help="of Whisper")
    parser.add_argument("--steps", type=int, default=300, help="of training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=list(KINDS), help="one of the rows")
    job = parser.parse_args()
    torch.set_num_threads(1)
    try:
        train_clips, dev = with_sound(load_clips(job.train)), with_sound(load_clips(job.dev))
        heard = hear([job.train, job.dev], WhisperEncoder(job.encoder), job.videos, job.cache)
    except DubError as error:
        sys.exit(str(error))
    train_clips, dev = (with_layer(clips, heard, job.layer) for clips in (train_clips, dev))
    basis = fit_basis(train_clips, NUM_COEFFICIENTS)
    gap = opening_basis(torch.from_numpy(basis).float())
    print(f"| network on | all | {' | '.join(GROUPS)} |\n|---|---|---|---|---|", flush=True)
    for name, kinds in KINDS.items():
        if job.only in (None, name):
            row = _row(name, kinds, train_clips, dev, basis, gap, job)
            print(line(row, languages_of(job.catalogue, dev)), flush=True)


def _row(
    name: str,
    kinds: tuple[str, ...],
    clips: list[TrainClip],
    dev: list[TrainClip],
    basis: F32,
    gap: Tensor,
    job: argparse.Namespace,
) -> Row:
    network = train(clips, [example(clip, kinds, basis) for clip in clips], gap, job)
    return score(
        name, {c.clip_id: opening(network, example(c, kinds, basis), gap) for c in dev}, dev
    )


if __name__ == "__main__":
    main()
