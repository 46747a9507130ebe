"""Checkpoints of a network that is built in milliseconds."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from dubcli.models.iptalker.config import NAMED_CONFIGS
from dubcli.models.registry import create_model

CONFIG = asdict(NAMED_CONFIGS["tiny"])


def weights_of(seed: int = 0) -> bytes:
    """A safetensors file of the tiny network."""
    torch.manual_seed(seed)
    return save(create_model("iptalker", CONFIG).state_dict())


def config_of(content: bytes, **changes: Any) -> dict[str, Any]:
    """What `config.json` says of it; None takes a field out."""
    fields = {
        "dubcli": 1,
        "architecture": "iptalker",
        "config": CONFIG,
        "file": "model.safetensors",
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "license": "CC BY 4.0",
        "commercial": True,
        "source": "a test",
        "metrics": {"reconstruction.r": 0.5},
        **changes,
    }
    return {key: value for key, value in fields.items() if value is not None}


def published(content: bytes, **changes: Any) -> dict[str, bytes]:
    """The files of a published checkpoint."""
    config = json.dumps(config_of(content, **changes)).encode()
    return {"model.safetensors": content, "config.json": config}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    """Files into a folder; returns it."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def trained(content: bytes) -> dict[str, bytes]:
    """What `dub train` leaves, as far as it matters here."""
    state = {"format": 1, "step": 20, "architecture": "iptalker", "stage": "joint"}
    return {
        "average.safetensors": content,
        "model.safetensors": b"the last step's, not the average",
        "state.json": json.dumps(state).encode(),
        "config.json": json.dumps({"model": CONFIG, "run": {}}).encode(),
    }
