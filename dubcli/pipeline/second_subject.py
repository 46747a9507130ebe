"""The person of another video, which an option of a model names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from dubcli.core.types import MediaInfo
from dubcli.media.container.probe import require_video
from dubcli.media.video.frame_reader import FrameReader
from dubcli.models.api import ModelSpec, Part, Subject
from dubcli.pipeline.analysis import analyse, choose_face, expected_frames
from dubcli.pipeline.subject import follow_face, model_subject

if TYPE_CHECKING:
    from dubcli.pipeline.context import RunContext


def analyse_second_subjects(
    context: RunContext,
    videos: Mapping[Part, MediaInfo],
    specs: Mapping[Part, ModelSpec],
    device: torch.device,
    detector: str,
) -> dict[Part, Subject]:
    """The largest face of each video, as the model that asks for it prepares for a person.

    Args:
        context: Of the run.
        videos: Facts of each, by the part of the model that asks for it.
        specs: Of the models.
        device: Where the models are.
        detector: As `DubConfig` has it.

    Raises:
        MediaError: A video cannot be read.
        NoFaceError: It shows no face that can be used.
    """
    return {
        part: _analysed(context, info, specs[part], device, detector)
        for part, info in videos.items()
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
                recogniser=context.engine.recogniser(),
            )
        face = follow_face(reader, require_video(info), choose_face(found, 1), spec)
        sound = context.engine.source_sound(info, device)
        own_audio = sound.windows(face.track, found.times, {"render": spec}).get("render")
        return model_subject(
            face,
            face.references,
            spec,
            device,
            times=found.times,
            own_audio=own_audio,
            own_speech=sound.speech(face, found.times, spec, device),
        )
