"""Windows of a prepared clip as a dub would give them to a model: context around what is wanted."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from dubcli.core.types import Int
from dubcli.models.api import FaceGeometry, ModelSpec, ModelWindow
from dubcli.models.conversion import neighbour_rows, to_tensor
from dubcli.training.data.prepared_clip import STEPS_HZ
from dubcli.training.data.train_clips import TrainClip, audio_windows
from dubcli.training.device_utils import device_of


def windows_of(spec: ModelSpec, frames: Int) -> list[Int]:
    """Ascending frame numbers (T,) in parts that a model is asked for together.

    Frames of a model that looks at neighbours follow each other in a part; where each frame stands
    for itself, any will do.
    """
    is_over_time = spec.context or spec.motion_context
    breaks = np.flatnonzero(np.diff(frames) != 1) + 1 if is_over_time else []
    return [
        run[start : start + spec.window]
        for run in np.split(frames, breaks)
        for start in range(0, len(run), spec.window)
    ]


def frames_around(clip: TrainClip, frames: Int, reach: int) -> Int:
    """Frames with so many on either side, as far as they are usable and of the same shot.

    Args:
        clip: Whose frames they are.
        frames: Ascending; in a row where `reach` is above 0. Shape (T,).
        reach: Of the context.
    """
    if not reach:
        return frames
    data = clip.clip
    before = np.arange(max(0, frames[0] - reach), frames[0])
    after = np.arange(frames[-1] + 1, min(len(data), frames[-1] + reach + 1))
    usable = [
        side[data.valid[side] & (data.shot[side] == data.shot[frames[0]])]
        for side in (before, after)
    ]
    return np.concatenate([usable[0], frames, usable[1]])


def clip_window(model: Any, clip: TrainClip, frames: Int, wanted: Int) -> ModelWindow:
    """The window of some frames of a clip, with their pictures.

    Args:
        model: That is given it.
        clip: The person's footage.
        frames: Context and wanted ones, ascending. Shape (T,).
        wanted: A stretch of `frames`. Shape (E,).
    """
    device, data, spec = device_of(model), clip.clip, model.spec

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.asarray(values, np.float32)).to(device)

    translation = data.translation[frames].copy()
    translation[:, :2] -= data.margin[::-1]
    sound = audio_windows(clip, frames, spec.audio.width, kind=spec.audio.kind)
    first = int(np.searchsorted(frames, wanted[0]))
    emit = slice(first, first + len(wanted))
    neighbours = neighbour_rows(spec, len(frames), emit)
    return ModelWindow(
        crops=to_tensor(np.stack([data.crop(int(i)) for i in frames]), device),
        audio=tensor(sound),
        landmarks=tensor(data.crop_points(frames)),
        geometry=FaceGeometry(
            scale=tensor(data.scale[frames]),
            rotation=tensor(data.rotation[frames]),
            translation=tensor(translation),
            neutral=tensor(clip.neutral),
        ),
        positions=torch.from_numpy(np.asarray(frames, np.int64)).to(device),
        # On the CPU: some devices know no float64.
        times_s=torch.from_numpy(data.steps[frames] / float(STEPS_HZ)),
        emit=emit,
        mesh=tensor(data.canonical[frames]) if "mesh" in spec.needs else None,
        neighbours={role: rows.to(device) for role, rows in neighbours.items()},
    )
