"""How IPTalker's rows are scored on prepared clips of other people: sound in, pictures out."""

from __future__ import annotations

import numpy as np
import torch

from dubcli.core.types import U8, Int
from dubcli.face.landmarks import SPEAKING
from dubcli.models.conversion import to_images, to_tensor
from dubcli.models.iptalker.network import IPTalker
from dubcli.models.paper_table import RowJudges, RowScores
from dubcli.training.batches import resize_pictures
from dubcli.training.data.train_clips import TrainClip, audio_windows, with_sound
from dubcli.training.device_utils import device_of
from dubcli.training.picture_scores import seen_frames, spread_references


def score_iptalker(model: IPTalker, dev: list[TrainClip], judges: RowJudges) -> RowScores:
    """What `CropScorer.scores` tells of each clip with sound of its own.

    Args:
        model: Without the mouth map.
        dev: Clips of people that it has not learned from.
        judges: What scores.
    """
    found = {
        clip.clip_id: judges.crops.scores(clip, frames, *_painted(model, clip, frames))
        for clip, frames in ((clip, seen_frames(clip)) for clip in with_sound(dev))
    }
    return RowScores(clips=found)


def _painted(model: IPTalker, clip: TrainClip, frames: Int) -> tuple[U8, U8]:
    """Made and real crops at the model's size. Shapes (T, H, W, 3)."""
    config, device = model.config, device_of(model)
    shown = np.concatenate([frames, spread_references(clip, config.num_references)])
    crops = np.stack([clip.clip.crop(int(i)) for i in shown])
    factor = config.height / crops.shape[1]
    pictures = resize_pictures(to_tensor(crops, device), factor)
    marks = clip.clip.crop_points(shown)
    landmarks = torch.from_numpy(marks * factor + (factor - 1) / 2).float().to(device)
    num = len(frames)
    state = model.encode_references(pictures[num:], landmarks[num:, SPEAKING])
    sound = audio_windows(clip, frames, config.audio_width, kind=config.audio_kind)
    code = model.alignment(torch.from_numpy(sound).to(device), state.tokens)
    source = pictures[:num]
    out = model.warp_and_inpaint(source, source, landmarks[:num], None, code, state)
    made = torch.cat([source[:, :, : config.top], out.rgb], 2)
    return to_images(made), to_images(source)
