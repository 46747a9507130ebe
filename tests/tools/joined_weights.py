"""What tools that put weights together share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from dubcli.core.atomic_io import write_whole
from dubcli.models.registry import create_model
from dubcli.training.export import WeightFile, manifest_entry

ROOT = Path(__file__).resolve().parents[2]


def write_joined(
    name: str,
    tensors: Mapping[str, Tensor],
    config: dict[str, Any],
    licence: str,
    source: str,
) -> None:
    """Write `dubcli/assets/NAME.safetensors` and print its entry for the weights manifest.

    Args:
        name: As `MODEL.TAG`.
        tensors: Of the whole model.
        config: Of its network.
        licence: Of what they were put together from.
        source: Command that made them.

    Raises:
        RuntimeError: The network has other tensors.
    """
    model = name.partition(".")[0]
    create_model(model, config).load_state_dict(dict(tensors), strict=True)
    package = f"assets/{name}.safetensors"
    content = save({key: value.contiguous() for key, value in tensors.items()})
    write_whole(ROOT / "dubcli" / package, content)
    file = WeightFile(
        sha256=hashlib.sha256(content).hexdigest(), num_bytes=len(content), config=config
    )
    entry = manifest_entry(model, file, package, licence, source)
    print(json.dumps({name: entry}, indent=2))
