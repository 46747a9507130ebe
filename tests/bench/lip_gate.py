"""Sharpness against error: `python tests/bench/lip_gate.py --set SET --weights lip-identity`.

When generating, the shares of the references are sharpened by one exponent, and the gate between
aligned image and painted picture is raised to another. For pairs of them this prints PSNR and
texture of mouths with true landmarks, which is how `SHARP_MIXING` and `SHARP_GATE` of
`models/lip_identity` were chosen, on people of the training set.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dubcli.models.lip_identity import network, reference_alignment
from dubcli.models.lip_identity.lip_scores import sample_of, scores_of
from dubcli.training.data.train_clips import load_clips
from dubcli.weights.load import load_model

PAIRS = ((1, 1.0), (4, 1.0), (4, 0.1), (12, 0.1), (12, 0.05), (12, 0.0))
COUNTS = (5, 5)


def main() -> None:
    """Print a row for each pair."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--set", type=Path, required=True, help="prepared set")
    parser.add_argument("--clips", type=int, default=12, help="evenly spread over the set")
    parser.add_argument("--weights", default="lip-identity", help="model that is looked at")
    job = parser.parse_args()
    torch.set_num_threads(1)
    model: Any = load_model(job.weights, "cpu")[0]
    clips = load_clips(job.set)
    spread = np.linspace(0, len(clips) - 1, min(job.clips, len(clips))).round().astype(int)
    clips = [clips[number] for number in spread]
    for mixing, power in PAIRS:
        network.SHARP_GATE, reference_alignment.SHARP_MIXING = power, float(mixing)
        rows = [scores_of(model, [sample_of(model, clip, clip, 0, COUNTS)]) for clip in clips]
        means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        told = " | ".join(f"{x:.2f}" for x in means.values())
        print(f"| {mixing} | {power:g} | {told} |", flush=True)


if __name__ == "__main__":
    main()
