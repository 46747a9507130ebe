"""Which device the model runs on, and in which number format."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from dubcli.core.errors import DeviceError


def choose_device(name: str) -> torch.device:
    """The device that the user named, or for `auto` the fastest one present.

    Raises:
        DeviceError: It is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"'{name}' names no device.", "Use --device auto.") from error
    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not present.get(device.type, False):
        raise DeviceError(f"Device '{name}' is not available here.", "Use --device auto.")
    return device


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 pays: on GPUs, and on processors with matrix tiles.

    Elsewhere it is emulated, ten times slower than float32.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    check = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return device.type == "cpu" and bool(check and check())


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """Mixed precision where it is faster."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bfloat16(device))
