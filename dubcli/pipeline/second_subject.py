"""The person of another video, which an option of a model names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from dubcli.core.types import MediaInfo
from dubcli.media.container.probe import require_video
from dubcli.media.video.frame_reader import FrameReader
from dubcli.models.api import ModelSpec, Subject
from dubcli.pipeline.analysis import analyse, choose_face, expected_frames
from dubcli.pipeline.own_sound import own_sound_windows
from dubcli.pipeline.subject import follow_face, model_subject

if TYPE_CHECKING:
    from dubcli.pipeline.context import RunContext


def analyse_second_subjects(
    context: RunContext,
    videos: Mapping[str, MediaInfo],
    specs: Mapping[str, ModelSpec],
    device: torch.device,
    detector: str,
) -> dict[str, Subject]:
    """The largest face of each video, as the model that asks for it prepares for a person.

    Args:
        context: Of the run.
        videos: Facts of each, by architecture.
        specs: Of the models, by architecture.
        device: Where the models are.
        detector: As `DubConfig` has it.

    Raises:
        MediaError: A video cannot be read.
        NoFaceError: It shows no face that can be used.
    """
    return {
        name: _analysed(context, info, specs[name], device, detector)
        for name, info in videos.items()
    }


def _analysed(
    context: RunContext, info: MediaInfo, spec: ModelSpec, device: torch.device, detector: str
) -> Subject:
    path = info.path
    with FrameReader(path, info) as reader:
        with context.engine.detector(detector) as finder:
            found = analyse(
                reader,
                finder,
                expected_frames(info),
                lambda stage, done, total: context.progress(f"{stage} {path.name}", done, total),
                context.engine.segmenter(),
            )
        face, _ = follow_face(reader, require_video(info), choose_face(found, 1), spec)
        own_audio = own_sound_windows(
            context.engine.source_sync(info, device),
            context.engine.features,
            face.track,
            found.times,
            [spec],
        )
        face = replace(face, own_audio=own_audio)
        return model_subject(face, face.references, spec, device, found.times)
