"""Writes weights of IPTalker with two alignment modules, from weights with one each.

    python tests/tools/pair_iptalker.py iptalker.v3 older_weights/iptalker.v4.safetensors --tag NAME

Everything but the second alignment module is the first one's. Writes
`dubcli/assets/iptalker.NAME.safetensors` and prints its entry for the weights manifest.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from joined_weights import write_joined
from safetensors.torch import load_file

from dubcli.weights.manifest import load_manifest
from dubcli.weights.resolve import local_path, resolve

PREFIX, BASIS = "alignment.", "alignment.basis"


def main() -> None:
    """Join the two and print the entry."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("first", help="weights by name; their rendering part is kept")
    parser.add_argument("second", help="weights by name; their alignment module is added")
    parser.add_argument("--tag", required=True)
    job = parser.parse_args()
    first, second = (resolve(name, load_manifest()) for name in (job.first, job.second))
    one, other = (load_file(_path(entry)) for entry in (first, second))
    if not torch.equal(one[BASIS], other[BASIS]):
        parser.error("The two have different mouth bases.")
    tensors = {name: value for name, value in one.items() if not name.startswith(PREFIX)}
    for part, of in (("first", one), ("second", other)):
        tensors |= {
            f"{PREFIX}{part}.{name.removeprefix(PREFIX)}": value
            for name, value in of.items()
            if name.startswith(PREFIX)
        }
    config = {**first.config, "second_audio_kind": second.config["audio_kind"]}
    source = f"tests/tools/pair_iptalker.py {job.first} {job.second}"
    write_joined(f"iptalker.{job.tag}", tensors, config, first.license, source)


def _path(entry: Any) -> Path:
    path = local_path(entry)
    if path is None:
        raise SystemExit(f"The weights of {entry.name} are not on this machine.")
    return path


if __name__ == "__main__":
    main()
