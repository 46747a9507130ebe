"""Windows of a face and its driving audio, as one model is given them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import numpy as np
import torch

from dubcli.audio.windows import frame_steps, gather_windows
from dubcli.core.types import F32, F64, U8, AudioFeatures, Int
from dubcli.face.pose import apply_matrix, to_canonical, transform_pose
from dubcli.media.video.timeline import Timeline
from dubcli.models.api import FaceGeometry, ModelSpec, ModelWindow
from dubcli.models.conversion import neighbour_rows, to_tensor
from dubcli.pipeline.subject import DubbedFace


class ModelInput:
    """Makes windows for one model.

    Args:
        spec: Of the model.
        face: The face that is dubbed.
        features: Driving audio by kind.
        timeline: What is shown when.
        origin_s: Video time at which the driving audio begins.
        device: Where the model is.
    """

    def __init__(
        self,
        spec: ModelSpec,
        face: DubbedFace,
        features: Mapping[str, AudioFeatures],
        timeline: Timeline,
        origin_s: Fraction,
        device: torch.device,
    ) -> None:
        self._spec, self._face, self._timeline, self._device = spec, face, timeline, device
        self._features = features[spec.audio.kind]
        pts = timeline.pts.tolist()
        self._steps = frame_steps(pts, timeline.time_base, self._features, origin_s)

    def window(self, positions: Int, emit: slice) -> ModelWindow:
        """The window of some positions of the timeline, without pictures.

        Args:
            positions: Usable ones of one shot, ascending. Shape (T,).
            emit: Which of them are wanted.
        """
        face, spec = self._face, self._spec
        source = self._timeline.source_index[positions]
        matrices = face.alignment.frame_to_crop[source]
        landmarks = apply_matrix(face.track.landmarks[source], matrices)[..., :2]
        features, steps = self._features, self._steps[positions]
        audio = gather_windows(features.values, features.fill, steps, spec.audio.width)
        seconds = self._timeline.pts[positions] * float(self._timeline.time_base)
        return ModelWindow(
            crops=None,
            audio=torch.from_numpy(audio).to(self._device),
            landmarks=torch.from_numpy(landmarks).to(self._device),
            geometry=self._geometry(source, matrices),
            positions=torch.from_numpy(positions).to(self._device),
            # On the CPU: some devices know no float64.
            times_s=torch.from_numpy(seconds),
            emit=emit,
            mesh=self._mesh(source) if "mesh" in spec.needs else None,
            neighbours={
                role: rows.to(self._device)
                for role, rows in neighbour_rows(spec, len(positions), emit).items()
            },
        )

    def with_crops(self, window: ModelWindow, crops: U8) -> ModelWindow:
        """The window with its source crops, RGB (T, H, W, 3), uint8."""
        return replace(window, crops=to_tensor(crops, self._device))

    def _mesh(self, source: Int) -> torch.Tensor:
        face = self._face
        points = to_canonical(face.track.landmarks[source], face.pose.at(source))
        return torch.from_numpy(points.astype(np.float32)).to(self._device)

    def _geometry(self, source: Int, matrices: F64) -> FaceGeometry:
        """Poses in crop px: the alignment's similarity after the display pose."""
        pose = transform_pose(self._face.pose.at(source), matrices)

        def tensor(values: F64 | F32) -> torch.Tensor:
            return torch.from_numpy(values.astype(np.float32)).to(self._device)

        return FaceGeometry(
            scale=tensor(pose.scale),
            rotation=tensor(pose.rotation),
            translation=tensor(pose.translation),
            neutral=tensor(self._face.neutral),
        )
