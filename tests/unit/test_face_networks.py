"""The face detector sees what mediapipe 0.10.21 sees: compared with values that it gave.

`tests/tools/face_networks/store_reference.py` stores them; `compare_with_mediapipe.py` beside it
compares live, on clips.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_portraits import WALK, photograph, portraits  # pyright: ignore[reportMissingImports]

from dubcli.config import DubConfig
from dubcli.core.errors import ConfigError, DeviceError
from dubcli.core.types import F32, U8, Frame
from dubcli.face.detect import open_detector
from dubcli.face.landmarks import LIPS_INNER, LIPS_OUTER
from dubcli.face.mesh.face_boxes import FAR, NEAR, BoxNetworkKind, FaceBoxNetwork
from dubcli.face.mesh.region import Region
from dubcli.face.mesh.region_sampling import sample
from dubcli.weights.resolve import part_path

REFERENCE = Path(__file__).with_name("reference_faces.npz")
PICTURES = ("upright", "tilted", "two", "cut off", "far", "nobody", WALK)
# Of a cut by OpenCV 4.11.
CUT_CHECKSUM = 2508149004
LIPS = slice(LIPS_OUTER.start, LIPS_INNER.stop)


@pytest.fixture(scope="module")
def pictures() -> dict[str, U8]:
    return portraits()


def _seen(frames: U8) -> tuple[list[int], F32]:
    numbers: list[int] = []
    landmarks: list[F32] = []
    with open_detector() as detector:
        for index, image in enumerate(frames):
            faces = detector.detect(Frame(index=index, pts=index, image=image))
            numbers += [index] * len(faces)
            landmarks += [face.landmarks for face in faces]
    return numbers, np.array(landmarks, np.float32)


def test_every_picture_has_a_reference(pictures: dict[str, U8]) -> None:
    with np.load(REFERENCE) as stored:
        assert {name.split("/")[0] for name in stored.files} == set(pictures) == set(PICTURES)


@pytest.mark.parametrize("name", PICTURES)
def test_faces_lie_where_mediapipe_sees_them(pictures: dict[str, U8], name: str) -> None:
    numbers, landmarks = _seen(pictures[name])
    with np.load(REFERENCE) as stored:
        assert numbers == stored[f"{name}/frame"].tolist()
        if numbers:
            apart = np.linalg.norm((landmarks - stored[f"{name}/landmarks"])[..., :2], axis=-1)
            assert apart.mean() < 0.15
            assert apart[:, LIPS].mean() < 0.19


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize(
    ("part", "kind", "least"), [("near", NEAR, 0.5), ("far", FAR, 0.6)], ids=["near", "far"]
)
def test_boxes_have_the_scores_of_mediapipe(
    pictures: dict[str, U8], name: str, part: str, kind: BoxNetworkKind, least: float
) -> None:
    boxes = FaceBoxNetwork(part_path(f"face-{part}"), kind, least).detect(pictures[name][0])
    found = np.array([(box.score, *box.low, *box.high) for box in boxes]).reshape(-1, 5)
    with np.load(REFERENCE) as stored:
        expected = stored[f"{name}/{part}"]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found[:, 0], expected[:, 0], atol=1e-3)
    np.testing.assert_allclose(found[:, 1:], expected[:, 1:], atol=0.5)


def test_a_detector_that_was_reset_sees_the_next_video_as_a_new_one_does(
    pictures: dict[str, U8],
) -> None:
    frame = Frame(index=0, pts=0, image=pictures["tilted"][0])
    with open_detector() as used, open_detector() as fresh:
        used.detect(Frame(index=0, pts=0, image=pictures["upright"][0]))
        used.reset()
        (one,), (other,) = used.detect(frame), fresh.detect(frame)
    np.testing.assert_array_equal(one.landmarks, other.landmarks)


def test_a_region_is_cut_out_alike_by_every_opencv() -> None:
    """Alike from OpenCV 4.8 to 5.0; their own warps differ, and landmarks by up to 0.6 px."""
    image = photograph()
    region = Region(150.3, 140.8, 171.9, 0.31)
    cut = sample(image, region, 48, is_black_outside=True)
    assert _checksum(cut) == CUT_CHECKSUM


def _checksum(image: U8) -> int:
    return int((image.astype(np.int64) * np.arange(1, image.size + 1).reshape(image.shape)).sum())


def test_an_unknown_detector_is_refused() -> None:
    with pytest.raises(ConfigError, match="Unknown detector 'dlib'"):
        DubConfig(video=Path("v.mp4"), audio=Path("a.wav"), detector="dlib")


def test_a_detector_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dubcli.face.detect.importlib.util.find_spec", lambda name: None)
    with pytest.raises(DeviceError, match="mediapipe") as caught:
        open_detector("mediapipe")
    assert "dubcli[mediapipe]" in caught.value.next_step


def test_nothing_loads_mediapipe() -> None:
    code = (
        "import sys, numpy as np; from dubcli.core.types import Frame;"
        "from dubcli.face.detect import open_detector;"
        "open_detector().detect(Frame(index=0, pts=0, image=np.zeros((64, 64, 3), np.uint8)));"
        "sys.exit('mediapipe' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("alone", [1, 2])
def test_a_second_face_is_seen_in_the_first_picture_after_a_cut(
    pictures: dict[str, U8], alone: int
) -> None:
    two = pictures["two"][0]
    one = two.copy()
    one[:, two.shape[1] // 2 :] = 90
    # The first face stays where it was.
    numbers, _ = _seen(np.stack([one] * alone + [two] * 2))
    assert numbers == [*range(alone), alone, alone, alone + 1, alone + 1]


@pytest.mark.parametrize("alone", [1, 2])
def test_a_second_face_that_comes_into_a_shot_is_seen_one_picture_late_at_most(alone: int) -> None:
    one = np.full((800, 1400, 3), 90, np.uint8)
    one[300:620, 100:400] = photograph()
    two = one.copy()
    two[300:620, 900:1200] = photograph()
    numbers, _ = _seen(np.stack([one] * alone + [two] * 3))
    assert [numbers.count(index) for index in range(alone)] == [1] * alone
    assert [numbers.count(index) for index in range(alone + 1, alone + 3)] == [2, 2]
