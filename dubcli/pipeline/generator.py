"""One call of a model, in as many parts as the device's memory asks for."""

from __future__ import annotations

import logging
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch

from dubcli.core.errors import DeviceError
from dubcli.models.api import LipSyncModel, ModelWindow, Patches
from dubcli.pipeline.device import autocast

# What torch's allocator for the processor says; it raises no error of its own kind.
_CPU_IS_FULL = "can't allocate memory"
_LOG = logging.getLogger(__name__)
T = TypeVar("T")


class Generator:
    """A model with its references' state, which halves its batch where memory runs out.

    The smaller batch stays for the rest of the run: what did not fit once will not fit again.

    Args:
        model: On `device`.
        state: What it made of the references.
        device: Where it runs.
    """

    def __init__(self, model: LipSyncModel, state: Any, device: torch.device) -> None:
        self._model, self._state, self._device = model, state, device
        self._most = model.spec.window

    def __call__(self, window: ModelWindow) -> Patches:
        """New mouths for a window.

        Raises:
            DeviceError: Not even a single frame fits.
        """
        done: list[Patches] = []
        start = 0
        while start < len(window):
            part = _part(window, slice(start, start + self._most))
            try:
                with torch.inference_mode(), autocast(self._device):
                    done.append(self._model.generate(part, self._state))
                start += len(part)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                self._halve(len(part), error)
        return done[0] if len(done) == 1 else _joined(done)

    def _halve(self, size: int, error: Exception) -> None:
        if size == 1:
            elsewhere = "Close other programs, or use a smaller video."
            raise DeviceError(
                f"{self._device} has too little memory.",
                elsewhere if self._device.type == "cpu" else "Use --device cpu.",
            ) from error
        self._most = size // 2
        _LOG.warning(
            "%s has too little memory for %d frames at once; going on with %d.",
            self._device,
            size,
            self._most,
        )
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return _CPU_IS_FULL in str(error) or "out of memory" in str(error).lower()


def _part(window: ModelWindow, frames: slice) -> ModelWindow:
    geometry = window.geometry
    return ModelWindow(
        crops=window.crops[frames],
        audio=window.audio[frames],
        landmarks=window.landmarks[frames],
        geometry=replace(
            geometry,
            scale=geometry.scale[frames],
            rotation=geometry.rotation[frames],
            translation=geometry.translation[frames],
        ),
    )


def _joined(parts: list[T]) -> T:
    """Dataclasses of tensors one after the other; what is no tensor is the same in all."""
    first = parts[0]
    if isinstance(first, torch.Tensor):
        return torch.cat(parts)  # type: ignore[arg-type, return-value]
    if is_dataclass(first) and not isinstance(first, type):
        columns = {e.name: [getattr(part, e.name) for part in parts] for e in fields(first)}
        return replace(first, **{name: _joined(column) for name, column in columns.items()})
    return first
