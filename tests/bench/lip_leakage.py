"""Does the source's own mouth come through under foreign sound?

    python tests/bench/lip_leakage.py --dev SET --speech RECORDING... --weights lip-identity

Lip-and-Identity's landmark generator is given the head's rotation and mouths of the whole clip. For
each clip of a prepared set under each recording, this correlates the opening that it predicts with
the opening of the source's mouth in the same frames, and, as chance, with the openings of all other
clips. What is above chance is leakage. The interval is by clip (bootstrap).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dubcli.audio.windows import gather_windows
from dubcli.core.types import F32, AudioFeatures
from dubcli.media.sound.waveform import read_waveform
from dubcli.models.common.mouth_basis import opening_basis
from dubcli.models.lip_identity.lip_scores import coefficients_of_frames, reference_sets
from dubcli.models.lip_identity.network import LipIdentity
from dubcli.pipeline.engine import Engine
from dubcli.training.data.train_clips import TrainClip, load_clips
from dubcli.weights.load import load_model

_LEAST_FRAMES, _DRAWS = 25, 5000


def main() -> None:
    """Print a row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--dev", type=Path, required=True, help="prepared set of other people")
    parser.add_argument("--speech", type=Path, nargs="+", required=True, help="recordings")
    parser.add_argument("--weights", default="lip-identity", help="model that is looked at")
    parser.add_argument("--every", type=int, default=2, help="look at every so many frames")
    job = parser.parse_args()
    torch.set_num_threads(1)
    model: Any = load_model(job.weights, "cpu")[0]
    clips = [replace(one, frames=one.frames[:: job.every]) for one in load_clips(job.dev)]
    clips = [clip for clip in clips if len(clip.frames) >= _LEAST_FRAMES]
    engine, kind = Engine(device="cpu"), model.config.audio_kind
    sounds = [engine.features(read_waveform(path), kind) for path in job.speech]
    rows = np.array([_rs(model, clip, clips, sounds) for clip in clips])
    rng = np.random.default_rng(0)
    above = rows[:, 0] - rows[:, 1]
    means = above[rng.integers(len(above), size=(_DRAWS, len(above)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    own, other = rows.mean(0)
    print("| clips | recordings | r with the source | with other mouths | above chance | 95 % |")
    print("|---|---|---|---|---|---|")
    told = f"{own:.3f} | {other:.3f} | {above.mean():+.3f} | {low:+.3f} to {high:+.3f}"
    print(f"| {len(clips)} | {len(sounds)} | {told} |")


@torch.no_grad()
def _rs(
    model: LipIdentity,
    clip: TrainClip,
    clips: list[TrainClip],
    sounds: list[AudioFeatures],
) -> tuple[float, float]:
    """Mean r of the predicted opening with the source's, and with other clips'."""
    own: list[float] = []
    others: list[float] = []
    for sound in sounds:
        made = _opening_under(model, clip, sound)
        if len(made) < _LEAST_FRAMES:
            continue
        own.append(_r(made, clip.opening[clip.frames]))
        others += [_r(made, one.opening[one.frames]) for one in clips if one is not clip]
    return float(np.nanmean(own)), float(np.nanmean(others))


def _opening_under(model: LipIdentity, clip: TrainClip, sound: AudioFeatures) -> F32:
    """The opening that a recording asks for, in the frames that it lasts. Shape (T,)."""
    steps = clip.clip.steps[clip.frames]
    frames = clip.frames[steps < len(sound.values)]
    if not len(frames):
        return np.zeros(0, np.float32)
    gap, every = opening_basis(model.basis), coefficients_of_frames(model, clip, clip.frames)
    sets = reference_sets(model, every, is_shown=True)
    width, steps = model.landmarks.width, clip.clip.steps[frames]
    heard = torch.from_numpy(gather_windows(sound.values, sound.fill, steps, width))
    rotation = torch.from_numpy(clip.clip.rotation[frames].astype(np.float32))
    parts = [
        model.landmarks.smoothed(heard[at : at + 64], rotation[at : at + 64], sets) @ gap
        for at in range(0, len(frames), 64)
    ]
    return torch.cat(parts).numpy()


def _r(one: F32, other: F32) -> float:
    """Pearson r over the frames that both have; NaN where they are too few or one is still."""
    num = min(len(one), len(other))
    if num < _LEAST_FRAMES or one[:num].std() < 1e-6 or other[:num].std() < 1e-6:
        return float("nan")
    return float(np.corrcoef(one[:num], other[:num])[0, 1])


if __name__ == "__main__":
    main()
