"""Pictures into tensors and back, and landmarks into each frame's pose."""

from __future__ import annotations

import numpy as np
import torch

from dubcli.core.types import References
from dubcli.face.landmarks import SPEAKING
from dubcli.face.pose import Pose, mean_face, to_display
from dubcli.models.api import FaceGeometry
from dubcli.models.conversion import reference_set, to_images, to_tensor


def test_pictures_survive_the_way_into_a_model_and_back() -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, 8, 6, 3), np.uint8)
    tensor = to_tensor(images)
    assert tensor.shape == (2, 3, 8, 6)
    assert (float(tensor.min()), float(tensor.max())) >= (0, 0)
    assert np.array_equal(to_images(tensor), images)


def test_values_out_of_range_are_clipped_not_wrapped() -> None:
    tensor = torch.tensor([-0.5, 0.0, 1.0, 1.5]).reshape(1, 1, 2, 2).expand(1, 3, 2, 2)
    assert to_images(tensor)[0, :, :, 0].tolist() == [[0, 0], [255, 255]]


def test_geometry_places_points_where_the_face_has_them() -> None:
    cos, sin = np.cos(0.3), np.sin(0.3)
    turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    pose = Pose(
        scale=np.array([40.0]), rotation=turn[None], translation=np.array([[80.0, 60.0, 5.0]])
    )
    geometry = FaceGeometry(
        scale=torch.from_numpy(pose.scale).float(),
        rotation=torch.from_numpy(pose.rotation).float(),
        translation=torch.from_numpy(pose.translation).float(),
        neutral=torch.from_numpy(mean_face()[SPEAKING]),
    )
    placed = geometry.place(geometry.neutral[None])
    expected = to_display(mean_face()[None], pose)[:, SPEAKING, :2]
    np.testing.assert_allclose(placed.numpy(), expected, atol=1e-4)


def test_references_become_crops_and_their_speaking_points() -> None:
    marks = np.random.default_rng(2).uniform(0, 9, (2, 133, 3)).astype(np.float32)
    crops = np.zeros((2, 8, 6, 3), np.uint8)
    references = References(
        crops=crops,
        detail_crops=crops,
        landmarks=marks,
        frame_indices=np.arange(2),
        mouth_open=np.zeros(2, np.float32),
    )
    found = reference_set(references, SPEAKING)
    assert found.crops.shape == (2, 3, 8, 6)
    assert np.array_equal(found.points.numpy(), marks[:, SPEAKING, :2])
    assert found.frames.tolist() == [0, 1]
