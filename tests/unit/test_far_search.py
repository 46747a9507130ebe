"""Small faces beside large ones: which parts of a picture are looked at, and what is told."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import dubcli
from dubcli.core.types import F32, U8, Frame
from dubcli.face.detect import open_detector
from dubcli.face.mesh.face_boxes import FaceBox
from dubcli.face.mesh.far_search import FarSearch, parts_of

DEMO = Path(dubcli.__file__).parent / "assets" / "demo.mp4"
SIZE = (540, 960)
IMAGE = np.zeros((*SIZE, 3), np.uint8)
LARGE = np.array([(300, 100, 0), (600, 450, 0)], np.float32)


class _Told:
    """A far detector that sees white squares where they are large in what it is shown."""

    def __init__(self) -> None:
        self.looks = 0

    def detect(self, image: U8) -> list[FaceBox]:
        self.looks += 1
        white = (image[..., 0] == 255).astype(np.uint8)
        stats = cv2.connectedComponentsWithStats(white)[2][1:]
        boxes = [np.array([(x, y), (x + w, y + h)], np.float32) for x, y, w, h, _ in stats]
        # A face that the picture's edge cuts is not seen.
        far = np.array(image.shape[1::-1])
        whole = [box for box in boxes if (box[0] > 0).all() and (box[1] < far).all()]
        seen = [box for box in whole if np.ptp(box[:, 1]) / max(image.shape[:2]) > 0.09]
        return [FaceBox(0.9, low, high, np.zeros((6, 2), np.float32)) for low, high in seen]


def _with_faces(*corners: tuple[int, int], side: int = 40) -> U8:
    image = IMAGE.copy()
    for x, y in corners:
        image[y : y + side, x : x + side] = 255
    return image


@pytest.mark.parametrize("size", [(540, 960), (960, 540), (540, 540), (400, 960), (64, 48)])
def test_whatever_is_small_lies_whole_in_some_part(size: tuple[int, int]) -> None:
    height, width = size
    parts = parts_of(height, width)
    assert parts[0] == (0, 0, width, height)
    assert all(0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height for x0, y0, x1, y1 in parts)
    side = min(size) // 8
    for x in range(0, width - side, side):
        for y in range(0, height - side, side):
            inside = [
                x0 <= x and y0 <= y and x + side <= x1 and y + side <= y1
                for x0, y0, x1, y1 in parts[1:]
            ]
            assert any(inside), (x, y)


@pytest.mark.parametrize("corner", [(10, 10), (800, 400), (640, 250), (5, 480)])
def test_a_small_face_is_found_when_a_face_has_come(corner: tuple[int, int]) -> None:
    search = FarSearch(_Told())  # pyright: ignore[reportArgumentType]
    assert search.whole(_with_faces(corner)) == []
    ((low, high),) = search.beside(_with_faces(corner), [LARGE], True, 30.0)
    assert low.tolist() == list(corner)
    assert (high - low).tolist() == [40, 40]


def test_what_is_seen_already_or_too_small_is_not_told() -> None:
    search = FarSearch(_Told())  # pyright: ignore[reportArgumentType]
    small = np.array([(795, 395, 0), (845, 445, 0)], np.float32)
    faces = _with_faces((800, 400), (440, 250))
    assert search.beside(faces, [LARGE, small], True, 30.0) == []
    search.reset()
    assert search.beside(_with_faces((800, 400)), [LARGE], True, 50.0) == []


def test_a_face_that_comes_late_is_found_within_two_seconds() -> None:
    search = FarSearch(_Told())  # pyright: ignore[reportArgumentType]
    search.beside(IMAGE, [LARGE], True, 30.0)
    late = _with_faces((800, 400))
    told = [bool(search.beside(late, [LARGE], False, 30.0)) for _ in range(50)]
    assert True in told


@pytest.mark.parametrize(("has_changed", "most"), [(False, 0.25), (True, 1.0)])
def test_the_cost_is_bounded(has_changed: bool, most: float) -> None:
    """Looks a frame, also where faces come and go all the time."""
    network = _Told()
    search = FarSearch(network)  # pyright: ignore[reportArgumentType]
    for _ in range(200):
        search.beside(IMAGE, [LARGE], has_changed, 30.0)
    assert 0 < network.looks / 200 <= most


def _beside(small_px: int) -> U8:
    """The bundled face large, and once more in a corner."""
    with av.open(str(DEMO)) as container:
        image = np.asarray(next(container.decode(video=0)).to_ndarray(format="rgb24"), np.uint8)
    wide = np.full((*SIZE, 3), 120, np.uint8)
    wide[30:510, 40:520] = image
    small = cv2.resize(image, (small_px, small_px), interpolation=cv2.INTER_AREA)
    wide[-small_px:, -small_px:] = small
    return wide


def _centre(box: F32) -> list[int]:
    return ((box[:2] + box[2:]) / 2).astype(int).tolist()


def test_the_networks_see_a_small_face_beside_a_large_one_and_follow_it() -> None:
    wide = _beside(120)
    moved = np.roll(wide, -12, axis=1)
    with open_detector() as detector:
        frames = [wide, wide, moved, moved]
        found = [
            detector.detect(Frame(index=i, pts=i, image=image)) for i, image in enumerate(frames)
        ]
    assert [len(faces) for faces in found] == [2, 2, 2, 2]
    large, small = found[0]
    assert large.box[3] - large.box[1] > 3 * (small.box[3] - small.box[1])
    before, after = _centre(found[1][1].box), _centre(found[3][1].box)
    assert before[0] - after[0] == pytest.approx(12, abs=2)
