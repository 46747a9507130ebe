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
    """Whether bfloat16 pays: on GPUs, on processors with matrix tiles, on AMD's with AVX-512 BF16.

    Intel's AVX-512 BF16 multiplies no faster than float32. Elsewhere bfloat16 is emulated, ten
    times slower than float32.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    if device.type != "cpu":
        return False
    has_tiles = getattr(torch.cpu, "_is_amx_tile_supported", None)
    if has_tiles and has_tiles():
        return True
    # Older versions of torch do not tell what a processor can.
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    # Only AMD's processors know SSE4a.
    return bool(capabilities.get("avx512_bf16") and capabilities.get("sse4a"))


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """Mixed precision where it is faster."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bfloat16(device))
