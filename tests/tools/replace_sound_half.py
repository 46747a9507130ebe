"""Writes weights of PersonaTalk or Lip-and-Identity with another sound half.

    python tests/tools/replace_sound_half.py personatalk.v1 runs/geometry --tag NAME
    python tests/tools/replace_sound_half.py lip-identity.v1 runs/landmarks --tag NAME

The renderer sees mouths as points under the frame's pose, so it goes with any sound half, whatever
that hears, that has the same mean face where the model has one. Writes
`dubcli/assets/MODEL.NAME.safetensors` in half precision and prints its entry for the weights
manifest.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from joined_weights import write_joined
from safetensors.torch import load_file

from dubcli.training.checkpoint import list_checkpoints, load_weights, read_state
from dubcli.weights.manifest import load_manifest
from dubcli.weights.resolve import local_path, resolve

# Names of the weights of each model's sound half begin with this.
PREFIXES = {"personatalk": "geometry.", "lip-identity": "landmarks."}
BASIS, MEAN_FACE = "basis", "mean_face"
# Inter-ocular distances; half precision rounds more.
TOLERANCE = 1e-3


def main() -> None:
    """Join the two and print the entry."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("weights", help="by name; their renderer is kept")
    parser.add_argument("run", type=Path, help="of the sound half's stage; its averaged weights")
    parser.add_argument("--tag", required=True)
    job = parser.parse_args()
    entry = resolve(job.weights, load_manifest())
    model = job.weights.partition(".")[0]
    path = local_path(entry)
    checkpoint = next(iter(list_checkpoints(job.run)[::-1]), None)
    if path is None or checkpoint is None or model not in PREFIXES:
        parser.error("The weights are not on this machine, or the run has no checkpoint.")
    whole, half = load_file(path), load_weights(checkpoint, averaged=True)
    if MEAN_FACE in whole:
        gap = float((whole[MEAN_FACE].float() - half[MEAN_FACE]).abs().max())
        if gap > TOLERANCE:
            parser.error(f"Their mean faces differ by {gap:.2g}.")
    prefix = PREFIXES[model]
    tensors = {name: value for name, value in whole.items() if not name.startswith(prefix)}
    tensors |= {
        name: value.to(torch.float16) if value.is_floating_point() else value
        for name, value in half.items()
        if name.startswith(prefix) or name == BASIS
    }
    learned = read_state(checkpoint).model_config
    config = {**learned, **{key: entry.config[key] for key in ("height", "width")}}
    source = f"tests/tools/replace_sound_half.py {job.weights} {job.run.name}"
    write_joined(f"{model}.{job.tag}", tensors, config, entry.license, source)


if __name__ == "__main__":
    main()
