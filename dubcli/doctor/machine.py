"""The interpreter, the processor, what the model can run on."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from dubcli.doctor.check import Check

# What decides the pace on a processor: vectors of 512 bits, bfloat16 in hardware, matrix tiles.
_UNITS = (
    ("AVX2", "avx2"),
    ("AVX-512", "avx512f"),
    ("AVX-512 bf16", "avx512_bf16"),
    ("AMX", "amx_tile"),
    ("NEON bf16", "bf16"),
)


def python() -> Check:
    """Version and place of the interpreter."""
    return Check(name="python", value=f"{platform.python_version()} ({sys.executable})")


def system() -> Check:
    """The operating system."""
    return Check(name="platform", value=platform.platform())


def torch_build() -> Check:
    """Version of torch, and the CUDA that it was built for."""
    import torch

    built = torch.version.cuda or torch.version.hip
    return Check(name="torch", value=f"{torch.__version__}, {f'CUDA {built}' if built else 'CPU'}")


def device() -> Check:
    """What `--device auto` takes, and what it can do."""
    import torch

    if torch.cuda.is_available():
        found = [_gpu(index) for index in range(torch.cuda.device_count())]
        return Check(name="device", value="; ".join(found))
    if torch.backends.mps.is_available():
        return Check(name="device", value="mps")
    fix = ""
    if torch.version.cuda and _has_nvidia_driver():
        fix = "The driver is there, but torch cannot use the GPU: nvidia-smi says more."
    return Check(name="device", value="cpu", fix=fix)


def cpu() -> Check:
    """Threads, and the units of the processor that make the model fast."""
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    units = [label for label, flag in _UNITS if flag in _cpu_flags()]
    return Check(
        name="cpu",
        value=f"{torch.get_num_threads()} threads, torch uses {capability}"
        + (f"; has {', '.join(units)}" if units else ""),
    )


def _gpu(index: int) -> str:
    import torch

    facts = torch.cuda.get_device_properties(index)
    fast = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
    return (
        f"cuda:{index} ({facts.name}, capability {facts.major}.{facts.minor}, "
        f"{facts.total_memory / 1e9:.0f} GB, {fast})"
    )


def _cpu_flags() -> set[str]:
    info = Path("/proc/cpuinfo")
    return set(info.read_text(encoding="utf-8").split()) if info.is_file() else set()


def _has_nvidia_driver() -> bool:
    return Path("/proc/driver/nvidia/version").exists()
