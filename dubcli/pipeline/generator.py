"""One call of a model, in as many parts as the device's memory asks for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch

from dubcli.core.errors import DeviceError
from dubcli.core.types import F32
from dubcli.models.api import ModelWindow, Motion, Part, Patches
from dubcli.pipeline.device import autocast, has_fast_bfloat16
from dubcli.pipeline.landmark_file import MouthLog
from dubcli.pipeline.model_pair import ModelPair

# What torch's allocator for the processor says; it raises no error of its own kind.
_CPU_IS_FULL = "can't allocate memory"
# Frames whose feature maps in float32 a processor's caches hold better than those of a whole
# window; where frames need neighbours, these would be worked out more often.
_IN_CACHE = 8
_LOG = logging.getLogger(__name__)
T = TypeVar("T")


class Generator:
    """A pair of models with their states, which halves its batch where memory runs out.

    A processor is given no more than `_IN_CACHE` frames at once from the start, in bfloat16 twice
    as many. The smaller batch stays for the rest of the run: what did not fit once will not fit
    again.

    Args:
        models: On `device`.
        motion_state: What the predicting model prepared.
        render_state: What the painting model prepared.
        device: Where they run.
        given: Pose-free mouths (S, 3) by position, in place of what the model predicts.
        rest: How far predicted mouths are at rest at each position, 0 to 1; None: nowhere.
            Shape (N,).
    """

    def __init__(
        self,
        models: ModelPair,
        motion_state: Any,
        render_state: Any,
        device: torch.device,
        given: Mapping[int, F32] | None = None,
        rest: F32 | None = None,
    ) -> None:
        self._models, self._device, self._given, self._rest = models, device, given, rest
        self.mouths = MouthLog()
        self._motion_state, self._render_state = motion_state, render_state
        self._most = models.render.spec.window
        if device.type == "cpu" and not models.render.spec.context:
            in_cache = 2 * _IN_CACHE if has_fast_bfloat16(device) else _IN_CACHE
            self._most = min(self._most, in_cache)

    def __call__(self, heard: ModelWindow, shown: ModelWindow) -> Patches:
        """New mouths for a window.

        Args:
            heard: What the predicting model is given; its wanted frames are all of `shown`.
            shown: What the painting model is given.

        Raises:
            DeviceError: Not even a single frame fits.
        """
        done: list[Patches] = []
        start = 0
        while start < shown.num_wanted:
            stop = min(shown.num_wanted, start + self._most)
            try:
                done.append(self._generate(heard, shown, start, stop))
                start = stop
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                self._halve(stop - start, error)
        return done[0] if len(done) == 1 else _joined(done)

    def _generate(self, heard: ModelWindow, shown: ModelWindow, start: int, stop: int) -> Patches:
        """Frames `start` to `stop` of those wanted."""
        motion, render = self._models.motion, self._models.render
        part = shown.part(start, stop, render.spec.context)
        first = shown.emit.start + start - part.emit.start
        sound = heard.part(first, first + len(part), motion.spec.motion_context)
        with torch.inference_mode(), autocast(self._device):
            if self._given is not None:
                mouth = self._given_motion(part, self._given)
            else:
                mouth = self._at_rest(motion.predict_motion(sound, self._motion_state), part)
            if mouth is not None:
                self.mouths.add(part.positions[part.emit], mouth.points[part.emit])
            if mouth is not None and not self._models.is_one:
                mouth = replace(mouth, latent=None)
            return render.render(part, mouth, self._render_state)

    def _at_rest(self, mouth: Motion | None, part: ModelWindow) -> Motion | None:
        """Predicted mouths of all frames of a window, eased to the person's rest in pauses.

        What they were made of no longer holds where that moves them.
        """
        if mouth is None or self._rest is None:
            return mouth
        share = torch.from_numpy(self._rest[part.positions.cpu().numpy()]).to(mouth.points)
        if not bool(share.any()):
            return mouth
        moved = share[:, None, None] * (part.geometry.neutral - mouth.points)
        return replace(mouth, points=mouth.points + moved, latent=None)

    def _given_motion(self, part: ModelWindow, given: Mapping[int, F32]) -> Motion:
        """The given mouths of all frames of a window."""
        mouths = np.stack([given[place] for place in part.positions.tolist()])
        points = torch.from_numpy(mouths).to(self._device)
        return Motion(points=points, confidence=points.new_ones(len(points)), source="given")

    def facts(self) -> dict[Part, dict[str, Any]]:
        """What the models report of the job; one that plays both parts does so as `render`."""
        motion, render = self._models.motion, self._models.render
        told: dict[Part, dict[str, Any]] = {"render": dict(render.facts(self._render_state))}
        if not self._models.is_one:
            told["motion"] = dict(motion.facts(self._motion_state))
        return told

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


def _joined(parts: list[T]) -> T:
    """Dataclasses of tensors one after the other; what is no tensor is the same in all."""
    first = parts[0]
    if isinstance(first, dict):
        return {name: _joined([part[name] for part in parts]) for name in first}  # type: ignore[index, return-value]
    if isinstance(first, torch.Tensor):
        return torch.cat(parts)  # type: ignore[arg-type, return-value]
    if is_dataclass(first) and not isinstance(first, type):
        columns = {e.name: [getattr(part, e.name) for part in parts] for e in fields(first)}
        return replace(first, **{name: _joined(column) for name, column in columns.items()})
    return first
