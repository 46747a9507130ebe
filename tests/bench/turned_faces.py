"""How often a face is seen right when the picture is turned.

    python tests/bench/turned_faces.py CLIP [CLIP ...] [--step 30]

Of each clip one picture is turned, its border carried on. A face is right where its landmarks lie
within a quarter of the eye distance, in the mean, of those that the detector sees in the upright
picture, turned with it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np

from dubcli.core.types import F32, U8, Frame
from dubcli.face.detect import VideoFaceDetector, open_detector
from dubcli.face.landmarks import inter_ocular

PICTURE, MOST_PX, RIGHT = 12, 640, 0.25


def main(words: Sequence[str] | None = None) -> None:
    """Print a table: for each turn how many faces were seen right, wrong and not at all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--step", type=int, default=30)
    options = parser.parse_args(words)
    pictures = [picture for clip in options.clips if (picture := read_picture(clip)) is not None]
    print("| turn, degrees | right | wrong | not seen |\n|---|---|---|---|")
    with open_detector() as detector:
        uprights = [_largest(detector, turned(picture, 0)[0]) for picture in pictures]
        known = [
            (one, face) for one, face in zip(pictures, uprights, strict=True) if face is not None
        ]
        for degrees in range(0, 360, options.step):
            counts = [count_turn(detector, picture, face, degrees) for picture, face in known]
            right, wrong, unseen = (counts.count(kind) for kind in ("right", "wrong", "unseen"))
            print(f"| {degrees} | {right} | {wrong} | {unseen} |", flush=True)


def read_picture(clip: Path) -> U8 | None:
    """A picture from near the start of a clip, RGB; None where it is shorter."""
    with av.open(str(clip)) as container:
        frame = next(islice(container.decode(video=0), PICTURE, None), None)
    if frame is None:
        return None
    image = frame.to_ndarray(format="rgb24")
    shrink = min(1.0, MOST_PX / max(image.shape))
    return np.asarray(
        cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA), np.uint8
    )


def turned(picture: U8, degrees: float) -> tuple[U8, F32]:
    """A picture, turned clockwise in a square that holds it, and the matrix (2, 3) that did it."""
    height, width = picture.shape[:2]
    side = int(np.hypot(height, width))
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1)
    matrix[:, 2] += ((side - width) / 2, (side - height) / 2)
    whole = cv2.warpAffine(picture, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(whole, np.uint8), matrix.astype(np.float32)


def count_turn(detector: VideoFaceDetector, picture: U8, upright: F32, degrees: float) -> str:
    """`right`, `wrong` or `unseen`; `upright` are landmarks (K, 3) in the picture at 0 degrees."""
    _, before = turned(picture, 0)
    image, after = turned(picture, degrees)
    plain = (upright[:, :2] - before[:, 2]) @ np.linalg.inv(before[:, :2]).T
    expected = plain @ after[:, :2].T + after[:, 2]
    faces = _faces(detector, image)
    apart = [
        float(np.linalg.norm(face[:, :2] - expected, axis=1).mean() / inter_ocular(face))
        for face in faces
    ]
    if not faces:
        return "unseen"
    return "right" if min(apart) < RIGHT else "wrong"


def _largest(detector: VideoFaceDetector, image: U8) -> F32 | None:
    return next(iter(_faces(detector, image)), None)


def _faces(detector: VideoFaceDetector, image: U8) -> list[F32]:
    detector.reset()
    return [face.landmarks for face in detector.detect(Frame(index=0, pts=0, image=image))]


if __name__ == "__main__":
    main()
