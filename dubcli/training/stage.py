"""What a model brings to be trained: its stages, what each trains and costs, and how it ships.

A model's package has `stages.py` with a `RECIPE`; `dub train` needs to know nothing else of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dubcli.config import TrainConfig
from dubcli.core.errors import TrainingError
from dubcli.core.types import U8, Int, References
from dubcli.models.api import Motion
from dubcli.training.checkpoint import TrainState
from dubcli.training.data.train_clips import TrainClip
from dubcli.training.schedule import CosineSchedule

# The module whose weights ship and are averaged; also the name of its optimizer.
MODEL = "model"
# Key of an optimizer's parameter group: the share of the learning rate that the group moves at.
RATE_SHARE = "rate_share"
# Tensors by name, nested at will; the loop moves them to the device.
Batch = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """One optimizer of a task, with its own course of the learning rate.

    Attributes:
        optimizer: Of the parameters that it moves.
        schedule: Its learning rate.
        clip_norm: Gradients of all its parameters together are clipped at this norm.
    """

    optimizer: torch.optim.Optimizer
    schedule: CosineSchedule
    clip_norm: float = 1.0

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What the optimizer moves."""
        return [value for group in self.optimizer.param_groups for value in group["params"]]


class Task(Protocol):
    """What the loop trains: modules, what they are shown, and what that costs."""

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Everything with weights that a checkpoint holds; `MODEL` is what ships."""
        ...

    @property
    def optimizers(self) -> Mapping[str, Optimization]:
        """By name, in the order in which their losses are computed; the first is the main one."""
        ...

    @property
    def batches(self) -> Dataset[Batch]:
        """Batch number i, which depends on the seed and on i alone; any i >= 0 is a batch.

        It runs in worker processes: numpy or CPU tensors, no model, no open file.
        """
        ...

    def losses(self, batch: Batch, optimizer: str, step: int) -> dict[str, Tensor]:
        """What one optimizer minimises, `loss`, and its parts for the log; all scalars.

        Args:
            batch: On the device of the modules. All optimizers share it.
            optimizer: A key of `optimizers`.
            step: Updates made so far.
        """
        ...

    def preview(self) -> U8 | None:
        """A sheet of samples to look at, RGB (H, W, 3); None where there is nothing to see."""
        ...


@dataclass(frozen=True, kw_only=True)
class DataNeeds:
    """What a stage reads of a prepared set.

    Attributes:
        size: Height and width of its crops, px; a set of another size is resized.
        template: How its crops are aligned, as `CropSpec` names it.
        features: Kinds of sound features, keys of `core.types.FEATURE_SIZES`.
        has_sound: Clips without sound of their own are of no use.
        in_a_row: `--frames-per-clip` usable frames of one shot follow each other; a clip without
            such a run is of no use.
        context: Frames more on either side of them.
    """

    size: tuple[int, int]
    template: str = "head"
    features: tuple[str, ...] = ()
    has_sound: bool = False
    in_a_row: bool = False
    context: int = 0

    def run(self, frames: int) -> int:
        """Usable frames in a row that a clip must have to give `frames` of them."""
        return frames + 2 * self.context if self.in_a_row else 1


@dataclass(frozen=True, kw_only=True)
class StageSetup:
    """What the task of a stage is made from.

    Attributes:
        model: The network on its device, with the weights that the run starts from.
        clips: Of the prepared set, those that `DataNeeds` allow.
        config: The run's options.
        settings: What `Stage.settings` decided.
        started: The run started from other weights (`--init`), which fit all of the model.
        losses: What experiments put in place of the named losses.
        note: Takes a sentence for the terminal and for `notes.txt`.
    """

    model: Any
    clips: list[TrainClip]
    config: TrainConfig
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    started: bool = False
    losses: object | None = None
    note: Callable[[str], None] = lambda text: None


def no_settings(config: TrainConfig, before: Mapping[str, str] | None) -> dict[str, str]:
    """A stage of which nothing can be set."""
    return {}


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """Settings of a stage that no option changes.

    Attributes:
        losses: Names for `--losses`; none where the stage has one set, and refuses the option.
        least_frames: Frames of each clip that a batch needs at least.
        average_decay: Of the running average of the weights, at most.
        spare: Starts of the names of weights that the stage does not use: where those of `--init`
            do not fit, the model keeps its own.
    """

    losses: tuple[str, ...] = ()
    least_frames: int = 1
    average_decay: float = 0.998
    spare: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of training.

    Attributes:
        task: Makes what is trained.
        needs: What it reads, of the network's configuration.
        config: Its settings.
        settings: What `config.json` keeps of the run's options, which a run that goes on must
            agree in: of the options and, where the run goes on, of what it began with.
            Raises ConfigError or TrainingError.
        init: Stages whose checkpoints it may start from; the weights of any may where empty.
    """

    task: Callable[[StageSetup], Task]
    needs: Callable[[Any], DataNeeds]
    config: StageConfig = field(default_factory=StageConfig)
    settings: Callable[[TrainConfig, Mapping[str, str] | None], dict[str, str]] = no_settings
    init: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A checkpoint, read: where it lies, what it says of itself, and its weights."""

    path: Path
    state: TrainState
    tensors: dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Assembled:
    """Weights that ship, before they are rounded, with the network's configuration."""

    tensors: dict[str, Tensor]
    config: dict[str, Any]


def the_only_one(checkpoints: Sequence[Trained]) -> Assembled:
    """The weights of a model that is trained as a whole.

    Raises:
        TrainingError: There are several checkpoints.
    """
    if len(checkpoints) != 1:
        raise TrainingError(
            f"{len(checkpoints)} checkpoints, of a model that is trained as a whole.",
            "Name one.",
        )
    (only,) = checkpoints
    return Assembled(tensors=only.tensors, config=only.state.model_config)


@dataclass(frozen=True, kw_only=True)
class PersonSetup:
    """What the task of fine-tuning is made from.

    Attributes:
        model: The network on its device, with its weights as they ship.
        clips: The person's footage to learn from.
        references: Pictures that stand for the person in every sample.
        learn_sound: Learn how the mouth follows sound, too.
        sync: The frozen sync expert; None where there is none, or it is not wanted.
        schedule: Of the learning rate.
        seed: Of the batches.
        frames: Of each batch.
    """

    model: Any
    clips: list[TrainClip]
    references: References
    learn_sound: bool
    sync: nn.Module | None
    schedule: CosineSchedule
    seed: int
    frames: int


class Adapter(Protocol):
    """How a model learns one person, see `personalize`."""

    def can_learn(self, config: Mapping[str, Any]) -> bool:
        """Whether weights of this configuration can learn a person."""
        ...

    def task(self, setup: PersonSetup) -> Task:
        """What `dub finetune` trains."""
        ...

    def learned_names(self, task: Task) -> list[str]:
        """Names of the weights that an identity keeps."""
        ...

    def set_mouth(self, model: Any, clips: list[TrainClip]) -> bool:
        """Take over how the person's mouth moves, without a step of training.

        Returns:
            Whether there was sound to learn it from; the model stays as it is otherwise.
        """
        ...

    def widen_mouth(self, model: Any, clips: list[TrainClip], shown: float) -> None:
        """Make up for pictures that open less than their landmarks.

        Args:
            model: After `set_mouth`.
            clips: What was learned from.
            shown: Spread of the opening in generated pictures over the true one; NaN changes
                nothing.
        """
        ...

    def true_motion(self, model: Any, clip: TrainClip, frames: Int) -> Motion:
        """The mouths that a clip shows in some frames, as far as the model can express them."""
        ...


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How an architecture is trained, shipped and adapted.

    Attributes:
        stages: By name, in the order in which they are usually run.
        configs: Configurations of the network by the name that `--preset` gives; `default` first.
        default_stage: What is trained without `--stage`.
        network: An untrained network of a configuration.
        check: Refuses a configuration that a stage cannot train. Raises ConfigError.
        half_size: The configuration on crops of half the height and width; None: there is none.
        assemble: Weights that ship, of checkpoints of one or several stages. Raises TrainingError.
        adapter: For `dub finetune`; None where the model cannot learn a person.
    """

    stages: Mapping[str, Stage]
    configs: Mapping[str, Any]
    default_stage: str
    network: Callable[[Any], nn.Module]
    check: Callable[[Any, str], None] = lambda config, stage: None
    half_size: Callable[[Any], Any] | None = None
    assemble: Callable[[Sequence[Trained]], Assembled] = the_only_one
    adapter: Adapter | None = None
