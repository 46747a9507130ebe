"""The one training loop: batches to losses to updates, logged, averaged, kept and gone on with."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dubcli.core.errors import TrainingError
from dubcli.core.progress import Progress
from dubcli.training.batches import BatchNumbers, batches_of
from dubcli.training.checkpoint import (
    TrainState,
    list_checkpoints,
    read_state,
    restore_training,
    save_checkpoint,
)
from dubcli.training.device_utils import device_of
from dubcli.training.parallel import (
    as_the_first,
    average_statistics,
    is_first,
    joined,
    mean_values,
    rank,
    world_size,
)
from dubcli.training.run_folder import append_row, drop_rows_after, save_picture
from dubcli.training.stage import MODEL, RATE_SHARE, Batch, Task
from dubcli.training.weight_average import averaged_weights, restore_average, running_average

# Called after an update with the updates made, their losses, and whether it is the last one; a
# reason to stop, or None.
AfterStep = Callable[[int, Mapping[str, float], bool], str | None]
ALL_STEPS, TIME_IS_OVER = "all steps were made", "the time is over"


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How a task is trained.

    Attributes:
        steps: Updates in all.
        folder: Of the run: log, previews, checkpoints. None writes nothing.
        minutes: Stop after so long, with a checkpoint; 0 for no limit.
        is_time_course: Learning rates follow whichever is further, the steps or the minutes.
        began: When the minutes began, `time.monotonic()`; None: with the loop.
        accumulate: Batches whose gradients make one update.
        workers: Processes that make batches.
        seed: Where an update takes several batches, random numbers of each begin at this seed and
            the batch's number, so that it makes no difference which process draws them; None
            goes on with the numbers as they come.
        is_bfloat16: Compute in bfloat16 where that is safe.
        average_decay: Of the running average, at most.
        checkpoint_every: Updates between checkpoints; 0 for none but the last.
        preview_every: Updates between previews; 0 for none.
        keep: Checkpoints that stay.
        label: What the progress is called.
        run_config: Options of the run, for `config.json`.
    """

    steps: int
    folder: Path | None = None
    minutes: float = 0.0
    is_time_course: bool = False
    began: float | None = None
    accumulate: int = 1
    workers: int = 0
    seed: int | None = None
    is_bfloat16: bool = False
    average_decay: float = 0.998
    checkpoint_every: int = 0
    preview_every: int = 0
    keep: int = 2
    label: str = "train"
    run_config: Mapping[str, Any] = field(default_factory=dict[str, Any])


class _Cost(nn.Module):
    """The losses of one optimizer as the forward pass of a module, where processes can be joined.

    It knows the parameters of that optimizer alone: gradients of others are not its own to share.
    """

    def __init__(self, task: Task, name: str) -> None:
        super().__init__()
        self._task, self._name = task, name
        self.moved = nn.ParameterList(task.optimizers[name].parameters)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return self._task.losses(batch, self._name, step)


class Loop:
    """A task that is being trained.

    Args:
        task: Its modules lie on their device.
        state: What its checkpoints say of themselves; the step is the loop's.
        settings: How.
        fail: Makes the error for what cannot be computed at an update (from 1); by default it
            names the last good checkpoint.
    """

    def __init__(
        self,
        task: Task,
        state: TrainState,
        settings: LoopSettings,
        fail: Callable[[str, int], Exception] | None = None,
    ) -> None:
        self.task, self.settings = task, settings
        self.step, self.stopped = 0, ""
        self._state, self._fail = state, fail or self._diverged
        self.model = task.modules[MODEL]
        self.device = device_of(self.model)
        self.average = running_average(self.model, settings.average_decay)
        self._began = settings.began
        self._costs = {name: joined(_Cost(task, name)) for name in task.optimizers}
        self._batches: Iterator[Batch] | None = None
        self._saved_step = -1

    def resume(self, checkpoint: Path) -> None:
        """Go on exactly from a checkpoint of this run.

        Raises:
            TrainingError: It is damaged or of another run.
        """
        optimizers = {name: part.optimizer for name, part in self.task.optimizers.items()}
        restore_training(checkpoint, self.task.modules, optimizers)
        self.step = read_state(checkpoint).step
        restore_average(self.average, checkpoint, self.step)
        self._batches = None

    def begin_average(self) -> None:
        """Begin the running average at the weights as they are now."""
        self.average = running_average(self.model, self.settings.average_decay, self.step)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model with its averaged weights, for a while."""
        with averaged_weights(self.model, self.average):
            yield

    def run(self, progress: Progress | None = None, after_step: AfterStep | None = None) -> Path:
        """Train to the last step, the deadline, or what `after_step` says; `stopped` tells which.

        Returns:
            The last checkpoint; the folder itself would-be where nothing was to be done.

        Raises:
            TrainingError: A loss or gradient that is not finite, or the disk is full.
        """
        folder, settings = self.settings.folder, self.settings
        self._began = time.monotonic() if self._began is None else self._began
        if folder is not None and is_first():
            drop_rows_after(folder, self.step)
        self.stopped = ALL_STEPS
        while self.step < settings.steps:
            began = time.monotonic()
            values = self.advance()
            if folder is not None and is_first():
                append_row(folder, self.step, time.monotonic() - began, values)
            if progress is not None and is_first():
                progress(settings.label, self.step, settings.steps)
            reason = as_the_first(self._reason(values, after_step))
            is_due = reason or _is_due(self.step, settings.checkpoint_every)
            if is_due and self._saved_step != self.step:
                self.save()
            if reason or _is_due(self.step, settings.preview_every):
                self._draw()
            if reason:
                self.stopped = reason
                break
        self._batches = None
        return self._path(self.step)

    def advance(self) -> dict[str, float]:
        """One update; the weights stay as they were if it cannot be computed.

        Returns:
            The losses of all optimizers by name, means over the batches of all processes; `loss`
            is the first one's, those of others bear their optimizers' names.
        """
        optimizers = self.task.optimizers
        share = self._share()
        for part in optimizers.values():
            part.optimizer.zero_grad(set_to_none=True)
        values: dict[str, float] = {}
        batches, accumulate = self._numbered(), self.settings.accumulate
        vectors = _power_iterated(self.task.modules) if accumulate > 1 else []
        begun = [vector.clone() for vector in vectors]
        for number in range(accumulate):
            batch = next(batches)
            self._seed(number)
            # They depend on the weights alone: each batch begins where the update did, in whichever
            # process it is.
            for vector, value in zip(vectors, begun, strict=True):
                vector.copy_(value)
            for name, value in self._accumulated(batch, number + 1 == accumulate).items():
                values[name] = values.get(name, 0.0) + value / accumulate
        values = mean_values(values)
        for place, (name, part) in enumerate(optimizers.items()):
            whose = "The" if place == 0 else f"The {name}'s"
            loss = values["loss" if place == 0 else name]
            norm = float(nn.utils.clip_grad_norm_(part.parameters, part.clip_norm))
            if not math.isfinite(loss):
                raise self._fail(f"{whose} loss is {loss}", self.step + 1)
            if not math.isfinite(norm):
                raise self._fail(f"{whose} gradient is {norm}", self.step + 1)
        for part in optimizers.values():
            for group in part.optimizer.param_groups:
                rate = part.schedule.rate(self.step, share)
                group["lr"] = rate * group.get(RATE_SHARE, 1.0)
            part.optimizer.step()
        self.average.update_parameters(self.model)
        self.step += 1
        return values

    def save(self) -> Path:
        """A checkpoint of where the loop stands.

        Raises:
            TrainingError: The disk is full or the folder cannot be written.
        """
        if self.settings.folder is None:
            return self._path(self.step)
        self._saved_step = self.step
        average_statistics(self.task.modules.values())
        return save_checkpoint(
            self.settings.folder,
            state=replace(self._state, step=self.step),
            modules=self.task.modules,
            average=self.average.module.state_dict(),
            optimizers={name: part.optimizer for name, part in self.task.optimizers.items()},
            run_config=self.settings.run_config,
            keep=self.settings.keep,
        )

    def _path(self, step: int) -> Path:
        return (self.settings.folder or Path()) / f"step-{step:06d}"

    def _numbered(self) -> Iterator[Batch]:
        """Batches from where the loop stands."""
        if self._batches is None:
            numbers = BatchNumbers(
                self.step, max(self.settings.steps, self.step + 1), self.settings.accumulate
            )
            self._batches = batches_of(
                self.task.batches, numbers, workers=self.settings.workers, device=self.device
            )
        return self._batches

    def _seed(self, number: int) -> None:
        """Begin the random numbers of a batch of this update, from 0."""
        seed, processes = self.settings.seed, world_size()
        if seed is None or self.settings.accumulate * processes < 2:
            return
        place = (self.step * self.settings.accumulate + number) * processes + rank()
        words = np.random.SeedSequence([seed, place]).generate_state(1, np.uint64)
        torch.manual_seed(int(words[0]))

    def _accumulated(self, batch: Batch, is_last: bool) -> dict[str, float]:
        """Add the gradients of one batch, shared between processes at the last one."""
        values: dict[str, float] = {}
        for place, (name, cost) in enumerate(self._costs.items()):
            with (
                nullcontext() if is_last else _unshared(cost),
                torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.is_bfloat16),
            ):
                losses: dict[str, Tensor] = cost(batch, self.step)
            with nullcontext() if is_last else _unshared(cost):
                (losses["loss"] / self.settings.accumulate).backward()
            found = {key: float(value.detach()) for key, value in losses.items()}
            if place:
                found[name] = found.pop("loss")
            values |= found
        return values

    def _share(self) -> float:
        """How much of the run is over, in [0, 1]."""
        share = self.step / max(1, self.settings.steps)
        if self.settings.is_time_course and self.settings.minutes:
            passed = time.monotonic() - (self._began or time.monotonic())
            share = max(share, passed / (60 * self.settings.minutes))
        return min(1.0, as_the_first(share))

    def _reason(self, values: Mapping[str, float], after_step: AfterStep | None) -> str:
        """Why the run ends here; empty where it goes on."""
        passed = time.monotonic() - (self._began or 0.0)
        reason = ""
        if self.step >= self.settings.steps:
            reason = ALL_STEPS
        elif self.settings.minutes and passed >= 60 * self.settings.minutes:
            reason = TIME_IS_OVER
        after = after_step(self.step, values, bool(reason)) if after_step is not None else None
        return reason or after or ""

    def _draw(self) -> None:
        folder = self.settings.folder
        if folder is None or not self.settings.preview_every or not is_first():
            return
        picture = self.task.preview()
        if picture is not None:
            save_picture(picture, folder / f"sample-{self.step:06d}.jpg")

    def _diverged(self, what: str, step: int) -> TrainingError:
        found = list_checkpoints(self.settings.folder) if self.settings.folder else []
        where = (
            f"The last good checkpoint is '{found[-1]}'" if found else "There is no checkpoint yet"
        )
        return TrainingError(
            f"{what} at step {step}.", f"{where}; lower --learning-rate and run again."
        )


def _power_iterated(modules: Mapping[str, nn.Module]) -> list[Tensor]:
    """The vectors of spectral normalisation, which every forward pass moves on."""
    return [
        value
        for module in modules.values()
        for name, value in module.named_buffers()
        if name.endswith(("._u", "._v"))
    ]


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _unshared(cost: nn.Module) -> AbstractContextManager[None]:
    """Gradients stay in this process for now."""
    if isinstance(cost, nn.parallel.DistributedDataParallel):
        return cost.no_sync()
    return nullcontext()
