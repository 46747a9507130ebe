"""Who a face is: the picture that the network is given, and what its numbers tell."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from made_faces import face_at, rotation

import dubcli
from dubcli.core.errors import WeightsError
from dubcli.core.types import F32, U8, Frame
from dubcli.face.detect import open_detector
from dubcli.face.landmarks import position
from dubcli.face.pose import apply_matrix
from dubcli.face.recognition import (
    NUM_EMBEDDING,
    SAME_PERSON,
    FaceRecogniser,
    cut_face,
    face_matrix,
    mean_embedding,
    similarity,
)
from dubcli.weights.resolve import part_path

DEMO = Path(dubcli.__file__).parent / "assets" / "demo.mp4"


@pytest.fixture(scope="module")
def recogniser() -> FaceRecogniser:
    return FaceRecogniser(part_path("recogniser"))


@pytest.fixture(scope="module")
def portrait() -> tuple[U8, F32]:
    """A frame of the demo and its landmarks."""
    with av.open(str(DEMO)) as container:
        image = np.asarray(next(container.decode(video=0)).to_ndarray(format="rgb24"), np.uint8)
    with open_detector() as detector:
        (face,) = detector.detect(Frame(index=0, pts=0, image=image))
    return image, face.landmarks


@pytest.mark.parametrize("turn", [0.0, 30.0, -90.0])
@pytest.mark.parametrize("scale", [15.0, 60.0])
def test_the_eyes_stand_level_at_dlibs_place(turn: float, scale: float) -> None:
    face = face_at((160.0, 100.0), scale, rotation(roll_deg=turn))
    placed = apply_matrix(face[None], face_matrix(face)[None])[0]
    left, right = placed[position(33), :2], placed[position(263), :2]
    assert abs(left[1] - right[1]) < 2
    # dlib: 0.12 and 0.86 of a square that a quarter of its side surrounds, in 150 px.
    assert left[0] == pytest.approx(37, abs=4)
    assert right[0] == pytest.approx(111, abs=4)
    assert (left[1] + right[1]) / 2 == pytest.approx(46, abs=4)


def test_a_face_at_the_pictures_edge_is_cut_out_whole() -> None:
    image = np.full((120, 160, 3), 90, np.uint8)
    for centre in ((0.0, 0.0), (160.0, 120.0), (80.0, -40.0)):
        assert cut_face(image, face_at(centre)).tolist() == np.full((150, 150, 3), 90).tolist()


def test_other_light_size_and_side_leave_it_the_same_person(
    recogniser: FaceRecogniser, portrait: tuple[U8, F32]
) -> None:
    image, landmarks = portrait
    plain = cut_face(image, landmarks)
    small = cv2.resize(image, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    warm = np.clip(image * np.array([1.0, 0.8, 0.55]), 0, 255).astype(np.uint8)
    dark = (image * 0.45).astype(np.uint8)
    others = [
        cut_face(np.asarray(small, np.uint8), landmarks * np.float32(0.4)),
        cut_face(warm, landmarks),
        cut_face(dark, landmarks),
        np.ascontiguousarray(plain[:, ::-1]),
    ]
    own, *found = recogniser.embed(np.stack([plain, *others]))
    assert [float(own @ one) > SAME_PERSON for one in found] == [True] * 4


def test_another_face_is_another_person(
    recogniser: FaceRecogniser, portrait: tuple[U8, F32]
) -> None:
    """The same skin and hair around a face of other proportions."""
    image, landmarks = portrait
    face = cut_face(image, landmarks)
    rows, columns = np.mgrid[:150, :150].astype(np.float32)
    near = np.exp(-(((rows - 75) / 40) ** 2) - ((columns - 75) / 40) ** 2)
    bent = cv2.remap(
        face, columns + 14 * near * np.sign(columns - 75), rows - 16 * near, cv2.INTER_LINEAR
    )
    own, other = recogniser.embed(np.stack([face, np.asarray(bent, np.uint8)]))
    assert float(own @ other) < SAME_PERSON


def test_an_embedding_does_not_depend_on_its_batch(recogniser: FaceRecogniser) -> None:
    faces = np.random.default_rng(0).integers(0, 256, (19, 150, 150, 3), np.uint8)
    together = recogniser.embed(faces)
    assert together.shape == (19, NUM_EMBEDDING)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert np.allclose(recogniser.embed(faces[17:18]), together[17], atol=1e-5)
    assert recogniser.embed(faces[:0]).shape == (0, NUM_EMBEDDING)


def test_a_mean_weighs_each_picture_and_is_of_unit_length() -> None:
    one, other = np.eye(NUM_EMBEDDING, dtype=np.float32)[:2]
    assert similarity(mean_embedding([one, other]), one) == pytest.approx(2**-0.5)
    assert similarity(mean_embedding([one, other], [3, 1]), one) == pytest.approx(3 / 10**0.5)
    nobody = mean_embedding([])
    assert nobody.shape == one.shape
    assert similarity(nobody, one) == similarity(nobody, nobody) == 0


def test_a_file_that_is_no_network_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match=r"x\.onnx.*not the face recognition network"):
        FaceRecogniser(tmp_path / "x.onnx")
