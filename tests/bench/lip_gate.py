"""Sharpness against error: `python tests/bench/lip_gate.py --dev SET --weights lip-identity`.

The gate between aligned image and painted picture is raised to some power when generating. For
several powers this prints PSNR and texture of mouths with true landmarks, which is how the power in
`models/lip_identity/network.py` was chosen.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lip_ablations import sample_of, scores_of

from dubcli.models.lip_identity import network
from dubcli.training.data.train_clips import load_clips
from dubcli.weights.load import load_model

POWERS = (1.0, 0.4, 0.2, 0.1, 0.05, 0.0)
COUNTS = (5, 5)


def main() -> None:
    """Print a row for each power."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--dev", type=Path, required=True, help="prepared set of other people")
    parser.add_argument("--weights", default="lip-identity", help="model that is looked at")
    job = parser.parse_args()
    torch.set_num_threads(1)
    model: Any = load_model(job.weights, "cpu")[0]
    clips = load_clips(job.dev)
    for power in POWERS:
        network.SHARP_GATE = power
        rows = [scores_of(model, [sample_of(model, clip, clip, 0, COUNTS)]) for clip in clips]
        means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        print(f"| {power:g} | " + " | ".join(f"{x:.2f}" for x in means.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
