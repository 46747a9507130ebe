"""Writes weights of PersonaTalk with another geometry half.

    python tests/tools/replace_geometry.py personatalk.v1 runs/geometry --tag NAME

The renderer sees mouths as points under the frame's pose, so it goes with any geometry half that
has the same mean face, whatever that hears. Writes `dubcli/assets/personatalk.NAME.safetensors` in
half precision and prints its entry for the weights manifest.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from dubcli.core.atomic_io import write_whole
from dubcli.models.personatalk.config import PersonaTalkConfig
from dubcli.models.personatalk.network import PersonaTalk
from dubcli.training.checkpoint import list_checkpoints, load_weights, read_state
from dubcli.training.export import WeightFile, manifest_entry
from dubcli.weights.manifest import load_manifest
from dubcli.weights.resolve import local_path, resolve

ROOT = Path(__file__).resolve().parents[2]
GEOMETRY, BASIS, MEAN_FACE = "geometry.", "basis", "mean_face"
# Inter-ocular distances; half precision rounds more.
TOLERANCE = 1e-3


def main() -> None:
    """Join the two and print the entry."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("weights", help="by name; their renderer is kept")
    parser.add_argument("run", type=Path, help="run of stage geometry; its averaged weights")
    parser.add_argument("--tag", required=True)
    job = parser.parse_args()
    entry = resolve(job.weights, load_manifest())
    path = local_path(entry)
    checkpoint = next(iter(list_checkpoints(job.run)[::-1]), None)
    if path is None or checkpoint is None:
        parser.error("The weights are not on this machine, or the run has no checkpoint.")
    whole, half = load_file(path), load_weights(checkpoint, averaged=True)
    gap = float((whole[MEAN_FACE].float() - half[MEAN_FACE]).abs().max())
    if gap > TOLERANCE:
        parser.error(f"Their mean faces differ by {gap:.2g}.")
    tensors = {name: value for name, value in whole.items() if not name.startswith(GEOMETRY)}
    tensors |= {
        name: value.to(torch.float16) if value.is_floating_point() else value
        for name, value in half.items()
        if name.startswith(GEOMETRY) or name == BASIS
    }
    learned = read_state(checkpoint).model_config
    config = {**learned, **{key: entry.config[key] for key in ("height", "width")}}
    PersonaTalk(PersonaTalkConfig(**config)).load_state_dict(tensors, strict=True)
    package = f"assets/personatalk.{job.tag}.safetensors"
    content = save({name: value.contiguous() for name, value in tensors.items()})
    write_whole(ROOT / "dubcli" / package, content)
    file = WeightFile(
        sha256=hashlib.sha256(content).hexdigest(), num_bytes=len(content), config=config
    )
    source = f"tests/tools/replace_geometry.py {job.weights} {job.run.name}"
    found: dict[str, Any] = manifest_entry("personatalk", file, package, entry.license, source)
    print(json.dumps({f"personatalk.{job.tag}": found}, indent=2))


if __name__ == "__main__":
    main()
