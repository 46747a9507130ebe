"""An identity's pictures in another video, and what is said of a face."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_faces import BlotchRecogniser, made_embedding
from made_identities import made_identity

from dubcli.core.errors import IncompatibleAdapterError
from dubcli.core.types import U8, Alignment, References
from dubcli.face.pose import mean_face
from dubcli.identities.store import identities_home, save_identity
from dubcli.pipeline.stored_identity import in_this_video, read_identity, remarks

CROP, FINER = (104, 80), 2
RECOGNISER = BlotchRecogniser()


def _references(level: int, tint: int = 0) -> References:
    """Two plain faces, with structure that brightness scales."""
    rng = np.random.default_rng(0)
    height, width = (FINER * side for side in CROP)
    noise = rng.integers(-10, 10, (2, height, width, 3))
    fine = np.clip(level + noise + np.array([tint, 0, 0]), 0, 255).astype(np.uint8)
    face = mean_face() * 29 + np.array([40, 26, 0])
    landmarks = np.repeat(face[None], 2, 0).astype(np.float32)
    return References(
        crops=np.ascontiguousarray(fine[:, ::FINER, ::FINER]),
        detail_crops=fine,
        landmarks=landmarks,
        frame_indices=np.arange(2),
        mouth_open=np.zeros(2, np.float32),
    )


def _alignment(factor: float) -> Alignment:
    """A video that shows the face `factor` times as fine as the crop."""
    matrix = np.array([[1 / factor, 0, 0], [0, 1 / factor, 0]])
    return Alignment(frame_to_crop=np.repeat(matrix[None], 4, 0), crop_size=CROP)


def _mean(pictures: U8) -> np.ndarray:
    return pictures.reshape(-1, 3).mean(0)


USABLE = np.arange(4)


def test_in_the_same_light_nothing_is_touched() -> None:
    stored = _references(120)
    assert in_this_video(stored, _references(121), _alignment(FINER), USABLE) is stored


@pytest.mark.parametrize(("level", "tint"), [(80, 0), (150, 0), (120, 25)])
def test_references_take_the_light_of_the_video(level: int, tint: int) -> None:
    own = _references(level, tint)
    lit = in_this_video(_references(120), own, _alignment(FINER), USABLE)
    for pictures in (lit.crops, lit.detail_crops):
        assert _mean(pictures) == pytest.approx(_mean(own.crops), abs=2)


def test_a_night_scene_does_not_turn_references_black() -> None:
    lit = in_this_video(_references(120), _references(12), _alignment(FINER), USABLE)
    assert _mean(lit.crops).min() > 50


def test_references_finer_than_the_video_are_reduced_to_it() -> None:
    stored = _references(120)
    small = in_this_video(stored, stored, _alignment(1), USABLE)
    assert small.detail_crops.shape == small.crops.shape
    assert small.crops is stored.crops


def test_references_coarser_than_the_video_stay_as_they_are() -> None:
    stored = _references(120)
    assert in_this_video(stored, stored, _alignment(4), USABLE) is stored


def test_a_stored_identity_of_the_face_is_pointed_out() -> None:
    save_identity(made_identity("anna", embedding=made_embedding(1)), identities_home() / "anna")
    save_identity(made_identity("ben", embedding=made_embedding(2)), identities_home() / "ben")
    told = remarks(made_embedding(1), None, RECOGNISER)
    assert len(told) == 1
    assert "--identity anna" in told[0]
    assert remarks(made_embedding(3), None, RECOGNISER) == []


def test_another_persons_identity_is_doubted() -> None:
    anna = made_identity("anna", embedding=made_embedding(1))
    assert remarks(made_embedding(1), anna, RECOGNISER) == []
    assert "is it the same person" in remarks(made_embedding(5), anna, RECOGNISER)[0]
    unknown = np.zeros_like(made_embedding(1))
    assert remarks(unknown, anna, RECOGNISER) == remarks(unknown, None, RECOGNISER) == []


def test_an_identity_of_weights_that_are_not_installed_is_refused(tmp_path: Path) -> None:
    save_identity(made_identity("anna"), tmp_path / "anna")
    with pytest.raises(IncompatibleAdapterError, match="dub finetune"):
        read_identity(str(tmp_path / "anna"), "iptalker")


def test_the_weights_of_the_identity_are_used_where_none_are_named(tmp_path: Path) -> None:
    from dubcli.weights.resolve import resolve

    entry = resolve("iptalker")
    identity = made_identity("anna")
    base = replace(identity.base, name=entry.name, sha256=entry.sha256)
    save_identity(replace(identity, base=base), tmp_path / "anna")
    assert read_identity(str(tmp_path / "anna"), "iptalker")[1] == entry.name
    assert read_identity(str(tmp_path / "anna"), "passthrough")[1] == "passthrough"
