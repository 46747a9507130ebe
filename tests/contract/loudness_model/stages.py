"""How Loudness is trained: its mouth by sound, then its pictures by true mouths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from dubcli.core.errors import TrainingError
from dubcli.core.types import F32, U8
from dubcli.face.landmarks import SPEAKING
from dubcli.training.batches import stacked
from dubcli.training.data.train_clips import TrainClip, audio_windows, run_starts
from dubcli.training.schedule import CosineSchedule
from dubcli.training.stage import (
    MODEL,
    Assembled,
    Batch,
    DataNeeds,
    Optimization,
    Recipe,
    Stage,
    StageSetup,
    Task,
    Trained,
)
from loudness_model.config import NAMED_CONFIGS, LoudnessConfig
from loudness_model.network import Loudness

_MOTION = "over_time."


@dataclass(frozen=True, kw_only=True)
class Run:
    """Frames of one clip in a row.

    Attributes:
        audio: Shape (T, A, D).
        opening: In units of the clip's own liveliness. Shape (T,).
        pictures: Crops. Shape (T, H, W, 3), uint8.
        points: Speaking points, crop px. Shape (T, S, 2).
    """

    audio: F32
    opening: F32
    pictures: U8
    points: F32


class Runs(Dataset[Batch]):
    """Batch number i depends on the seed and on i alone, so that a run resumes exactly."""

    def __init__(self, setup: StageSetup) -> None:
        self._clips, self._config = setup.clips, setup.config

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng((self._config.seed, index))
        chosen = rng.integers(len(self._clips), size=self._config.batch_clips)
        return stacked([self._run(self._clips[number], rng) for number in chosen])

    def _run(self, clip: TrainClip, rng: np.random.Generator) -> Run:
        num = self._config.frames_per_clip
        frames = int(rng.choice(run_starts(clip, num))) + np.arange(num)
        opening = clip.opening[frames] / max(float(clip.opening[clip.frames].std()), 1e-3)
        return Run(
            audio=audio_windows(clip, frames, 16, kind="mel"),
            opening=opening.astype(np.float32),
            pictures=np.stack([clip.clip.crop(int(i)) for i in frames]),
            points=clip.clip.crop_points(frames)[:, SPEAKING],
        )


class LoudnessTask:
    """What both stages share."""

    def __init__(self, setup: StageSetup, parameters: list[nn.Parameter]) -> None:
        rate = setup.config.learning_rate
        optimizer = torch.optim.AdamW(parameters, lr=rate)
        schedule = CosineSchedule(peak=rate, warm_up_steps=10)
        self.model: Loudness = setup.model
        self.modules: Mapping[str, nn.Module] = {MODEL: setup.model}
        self.optimizers = {MODEL: Optimization(optimizer=optimizer, schedule=schedule)}
        self.batches: Dataset[Batch] = Runs(setup)

    def preview(self) -> None:
        """Nothing to look at."""


class MotionTask(LoudnessTask):
    """Sound to openings."""

    def losses(self, batch: Batch, optimizer: str, step: int) -> dict[str, Tensor]:
        """Squared error of the openings."""
        return {"loss": functional.mse_loss(self.model.openings(batch["audio"]), batch["opening"])}


class PictureTask(LoudnessTask):
    """True mouths to pictures; neighbours and references are the other frames of the run."""

    def losses(self, batch: Batch, optimizer: str, step: int) -> dict[str, Tensor]:
        """Mean difference of the pictures."""
        pictures = batch["pictures"].permute(0, 1, 4, 2, 3).float() / 255
        size = (self.model.config.height, self.model.config.width)
        factor = size[0] / pictures.shape[-2]
        still = functional.interpolate(pictures.mean(1), size, mode="area")
        crops = functional.interpolate(pictures[:, 0], size, mode="area")
        around = functional.interpolate(pictures[:, -1], size, mode="area")
        points = batch["points"][:, 0] * factor + (factor - 1) / 2
        made, _ = self.model.paint(crops, points, around, still)
        return {"loss": (made - crops).abs().mean()}


def _motion(setup: StageSetup) -> Task:
    return MotionTask(setup, list(setup.model.over_time.parameters()))


def _picture(setup: StageSetup) -> Task:
    trained = {id(value) for value in setup.model.over_time.parameters()}
    parameters = [value for value in setup.model.parameters() if id(value) not in trained]
    return PictureTask(setup, parameters)


def _needs(config: LoudnessConfig) -> DataNeeds:
    return DataNeeds(
        size=(config.height, config.width), features=("mel",), has_sound=True, in_a_row=True
    )


def assemble(checkpoints: Sequence[Trained]) -> Assembled:
    """The pictures of a checkpoint of stage picture with the mouth of one of stage motion.

    Raises:
        TrainingError: These two are not there.
    """
    by_stage = {one.state.stage: one for one in checkpoints}
    if set(by_stage) != {"motion", "picture"}:
        raise TrainingError("Two stages make this model.", "Name a checkpoint of each.")
    motion, picture = by_stage["motion"].tensors, by_stage["picture"]
    tensors = {
        name: motion[name] if name.startswith(_MOTION) else value
        for name, value in picture.tensors.items()
    }
    return Assembled(tensors=tensors, config=picture.state.model_config)


RECIPE = Recipe(
    stages={
        "motion": Stage(task=_motion, needs=_needs),
        "picture": Stage(task=_picture, needs=_needs),
    },
    configs=NAMED_CONFIGS,
    default_stage="motion",
    network=Loudness,
    assemble=assemble,
)
