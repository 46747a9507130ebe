"""Stage geometry: the motion part alone, audio windows and references to mouth coefficients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dubcli.core.types import U8
from dubcli.models.common.encoders import DilatedAudioEncoder
from dubcli.models.common.mouth_basis import coefficients_of
from dubcli.models.common.mouth_losses import frame_losses
from dubcli.models.common.sound_runs import Hearing, SoundBatches, SoundRun, SoundTask, draw_run
from dubcli.models.common.stage_parts import fit_audio_range, fit_mouth_basis
from dubcli.models.iptalker.alignment import AlignmentModule
from dubcli.models.iptalker.config import IPTalkerConfig
from dubcli.models.iptalker.network import IPTalker
from dubcli.models.iptalker.options import IPTalkerOptions
from dubcli.training.batches import BatchSize, as_pictures, resize_pictures
from dubcli.training.data.train_clips import TrainClip
from dubcli.training.stage import Batch

_TOKEN_DROPOUT = 0.5
# How much further mouths move in use.
_ARTICULATION = IPTalkerOptions().articulation


@dataclass(frozen=True, kw_only=True)
class GeometryRun(SoundRun):
    """A run, and what E_v is shown of its clip.

    Attributes:
        references: Crops, the part that E_v sees is cut later. Shape (N, H, W, 3), uint8.
        has_references: They are shown in this run. Shape ().
    """

    references: U8
    has_references: np.bool_


def prepare_model(model: IPTalker, clips: list[TrainClip]) -> None:
    """Fit the mouth basis and the range of the audio to the clips, unless the model has them."""
    if isinstance(model.alignment, AlignmentModule):
        # Two modules are joined of trained ones, which have theirs.
        fit_audio_range([model.alignment.audio_encoder], clips, model.config.audio_kind)
    fit_mouth_basis(model.alignment.basis, clips)


def trained_alignment(model: IPTalker) -> AlignmentModule:
    """The alignment module, of which a model that can be trained has one."""
    assert isinstance(model.alignment, AlignmentModule)
    return model.alignment


class GeometryBatches(SoundBatches):
    """`GeometryRun`s of several clips.

    Args:
        clips: With sound.
        config: Of the network.
        size: Of a batch.
    """

    def __init__(self, clips: list[TrainClip], config: IPTalkerConfig, size: BatchSize) -> None:
        super().__init__(clips, size, stream=2)
        self._config = config
        self._hearing = Hearing(kind=config.audio_kind, width=config.audio_width)

    def run(self, clip: TrainClip, rng: np.random.Generator) -> GeometryRun:
        """A run with random references, or without them."""
        num = self._config.num_references
        drawn = draw_run(clip, self._size.frames, self._hearing, rng)
        is_shown = self._config.alignment == "full" and rng.random() >= _TOKEN_DROPOUT
        return GeometryRun(
            **vars(drawn.augmented(rng)),
            references=random_references(clip, num, rng)
            if is_shown
            else np.zeros((num, *clip.clip.size, 3), np.uint8),
            has_references=np.bool_(is_shown),
        )


class GeometryTask(SoundTask[IPTalker]):
    """The alignment module."""

    @staticmethod
    def trained(model: IPTalker) -> list[nn.Parameter]:
        """Parameters of this stage: the alignment module's."""
        return list(model.alignment.parameters())

    def losses(self, batch: Batch, optimizer: str, step: int) -> dict[str, Tensor]:
        """Point, velocity, correlation and spread losses over short runs of frames."""
        basis = self._model.alignment.basis
        true = coefficients_of(batch["mouth_offset"], basis)
        return frame_losses(self._predicted(batch), true, basis, _ARTICULATION)

    def _predicted(self, batch: Batch) -> Tensor:
        """Coefficients of all runs. Shape (B, T, P)."""
        alignment, audio = trained_alignment(self._model), batch["audio"]
        config = self._model.config
        runs, frames = batch["places"].shape
        tokens = audio.new_zeros(runs, config.num_references, config.embedding)
        shown = batch["has_references"].nonzero()[:, 0]
        if len(shown):
            boxes = reference_boxes(self._model, batch["references"][shown].flatten(0, 1))
            encoded = alignment.encode_references(boxes)
            tokens = tokens.to(encoded.dtype).index_copy(
                0, shown, encoded.unflatten(0, (len(shown), -1))
            )
        heard = self._heard(audio, batch["places"])
        v_alg = alignment.align(heard.flatten(0, 1), tokens.repeat_interleave(frames, 0))
        return alignment.to_coefficients(v_alg).unflatten(0, (runs, frames))

    def _heard(self, audio: Tensor, places: Tensor) -> Tensor:
        """What E_a makes of the windows at some places (B, T) of stretches. Shape (B, T, N, D)."""
        encoder, config = trained_alignment(self._model).audio_encoder, self._model.config
        rows = torch.arange(len(audio), device=audio.device)[:, None]
        if isinstance(encoder, DilatedAudioEncoder):
            return encoder.over_sequence(audio)[rows, places][:, :, None]
        steps = torch.arange(config.audio_width, device=audio.device)
        windows = audio[rows[:, :, None], places[:, :, None] + steps]
        return encoder(windows.flatten(0, 1)).unflatten(0, tuple(places.shape))


def random_references(clip: TrainClip, num: int, rng: np.random.Generator) -> U8:
    """Crops of random usable frames of a clip. Shape (N, H, W, 3)."""
    chosen = rng.choice(clip.frames, num)
    return np.stack([clip.clip.crop(int(i)) for i in chosen])


def reference_boxes(model: IPTalker, references: Tensor) -> Tensor:
    """What E_v sees of references (N, H, W, 3), uint8. Shape (N, 3, h, w), [0, 1]."""
    config = model.config
    pictures = as_pictures(references)
    return resize_pictures(pictures, config.height / pictures.shape[2])[:, :, config.visual_row :]
