"""Stage geometry: the motion part alone, audio windows and references to mouth coefficients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dubcli.core.types import F32, U8, Int
from dubcli.models.common.encoders import DilatedAudioEncoder
from dubcli.models.common.mouth_basis import coefficients_of, opening_basis, point_loss
from dubcli.models.common.stage_parts import fit_audio_range, fit_mouth_basis
from dubcli.models.iptalker.alignment import AlignmentModule
from dubcli.models.iptalker.config import IPTalkerConfig
from dubcli.models.iptalker.network import IPTalker
from dubcli.models.iptalker.options import IPTalkerOptions
from dubcli.training.batches import BatchSize, as_pictures, resize_pictures, stacked
from dubcli.training.data.prepared_clip import STEPS_HZ
from dubcli.training.data.train_clips import (
    TrainClip,
    audio_stretch,
    frames_of_run,
    heard_share,
    hide_stretch,
    identity_weights,
)
from dubcli.training.losses.pictures import correlation_loss, spread_loss
from dubcli.training.stage import MODEL, Batch, Optimization

_TOKEN_DROPOUT = 0.5
# A shift of the audio by up to this many steps, both ways, that costs nothing.
_JITTER_STEPS = 1
# How much further mouths move in use.
_ARTICULATION = IPTalkerOptions().articulation
# A run lasts as long as its frames do at this rate; slower videos give fewer frames of it.
_LEAST_FPS = 25


@dataclass(frozen=True, kw_only=True)
class GeometryRun:
    """Consecutive frames of one clip.

    Attributes:
        audio: Augmented steps of all windows, one after the other. Shape (L + A - 1, D).
        places: First step of each frame's window. Shape (T,), int64.
        mouth_offset: True speaking points minus neutral, canonical units, as far as the words are
            heard. Shape (T, S, 3).
        references: Crops, the part that E_v sees is cut later. Shape (N, H, W, 3), uint8.
        has_references: They are shown in this run. Shape ().
    """

    audio: F32
    places: Int
    mouth_offset: F32
    references: U8
    has_references: np.bool_


def prepare_model(model: IPTalker, clips: list[TrainClip]) -> None:
    """Fit the mouth basis and the range of the audio to the clips, unless the model has them."""
    alignment = trained_alignment(model)
    fit_audio_range([alignment.audio_encoder], clips, model.config.audio_kind)
    fit_mouth_basis(alignment.basis, clips)


def trained_alignment(model: IPTalker) -> AlignmentModule:
    """The alignment module, of which a model that can be trained has one."""
    assert isinstance(model.alignment, AlignmentModule)
    return model.alignment


class GeometryBatches(Dataset[Batch]):
    """Runs of frames of several clips, `GeometryRun` with a leading dimension (B, ...).

    Args:
        clips: With sound.
        config: Of the network.
        size: Of a batch.
    """

    def __init__(self, clips: list[TrainClip], config: IPTalkerConfig, size: BatchSize) -> None:
        self._clips, self._config, self._size = clips, config, size
        self._chances = identity_weights(clips)

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng((self._size.seed, index, 2))
        chosen = rng.choice(len(self._clips), self._size.clips, p=self._chances)
        return stacked([self._run(self._clips[int(number)], rng) for number in chosen])

    def _run(self, clip: TrainClip, rng: np.random.Generator) -> GeometryRun:
        config, num = self._config, self._size.frames
        length = round(num * float(STEPS_HZ) / _LEAST_FPS)
        start = int(rng.integers(0, max(1, len(clip.frames) - num + 1)))
        frames, places = frames_of_run(clip, start, num, length)
        version = int(rng.integers(clip.clip.num_versions))
        shift = int(rng.integers(-_JITTER_STEPS, _JITTER_STEPS + 1))
        kind = config.audio_kind
        audio = audio_stretch(
            clip, frames[0], length + config.audio_width - 1, config.audio_width // 2 - shift,
            kind=kind, version=version,
        )  # fmt: skip
        heard = heard_share(clip, frames, version)
        is_shown = config.alignment == "full" and rng.random() >= _TOKEN_DROPOUT
        return GeometryRun(
            audio=hide_stretch(audio, rng, kind=kind),
            places=places,
            mouth_offset=clip.mouth_offset[frames] * heard[:, None, None],
            references=random_references(clip, config.num_references, rng)
            if is_shown
            else np.zeros((config.num_references, *clip.clip.size, 3), np.uint8),
            has_references=np.bool_(is_shown),
        )


class GeometryTask:
    """The alignment module.

    Args:
        model: What is trained, on its device.
        clips: With sound.
        size: Of a batch; two frames or more, since neighbours are compared.
        optimization: Of `trained(model)`.
    """

    def __init__(
        self,
        model: IPTalker,
        clips: list[TrainClip],
        size: BatchSize,
        optimization: Optimization,
    ) -> None:
        prepare_model(model, clips)
        self._model = model
        self.modules: Mapping[str, nn.Module] = {MODEL: model}
        self.optimizers: Mapping[str, Optimization] = {MODEL: optimization}
        self.batches = GeometryBatches(clips, model.config, size)

    @staticmethod
    def trained(model: IPTalker) -> list[nn.Parameter]:
        """Parameters of this stage: the alignment module's."""
        return list(model.alignment.parameters())

    def losses(self, batch: Batch, optimizer: str, step: int) -> dict[str, Tensor]:
        """Point, velocity, correlation and spread losses over short runs of frames."""
        basis = self._model.alignment.basis
        wanted = coefficients_of(batch["mouth_offset"], basis)
        made = self._predicted(batch)
        error, gap = made - wanted, opening_basis(basis)
        losses = {
            "points": point_loss(error.flatten(0, 1), basis),
            "velocity": point_loss(error.diff(dim=1).flatten(0, 1), basis),
            "r": correlation_loss(made @ gap, wanted @ gap),
            "spread": spread_loss(_ARTICULATION * (made @ gap), wanted @ gap),
        }
        losses["loss"] = (
            losses["points"] + losses["velocity"] + 0.6 * losses["r"] + 0.3 * losses["spread"]
        )
        return losses

    def preview(self) -> None:
        """Nothing to look at."""

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
