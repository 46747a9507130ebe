"""Clips of a wanted size, length and number of faces, made of the bundled demo clip.

`python tests/bench/speed_clips.py OUT --width 1920 --height 1080 --frames 300 --face 300`
writes a video and, beside it, speech as long as it. The demo's picture is shown forwards and
backwards, enlarged or reduced so that the face has the wanted height, once for each face, side by
side before a still, textured wall.
"""

from __future__ import annotations

import argparse
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

import dubcli
from dubcli.core.types import U8

ASSETS = Path(dubcli.__file__).parent / "assets"
# Height of the face in the demo's picture, px.
_DEMO_FACE = 187


@dataclass(frozen=True, kw_only=True)
class ClipShape:
    """What a clip shows.

    Attributes:
        width: px.
        height: px.
        frames: How many.
        face: Height of each face, px.
        faces: How many beside each other.
        rate: Frames a second.
    """

    width: int = 1920
    height: int = 1080
    frames: int = 300
    face: int = 300
    faces: int = 1
    rate: int = 25


def make_clip(shape: ClipShape, path: Path) -> tuple[Path, Path]:
    """Write a clip.

    Args:
        shape: What it shows.
        path: The video's name.

    Returns:
        The video, and speech as long as it.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=shape.rate, options={"crf": "18", "preset": "veryfast"}
        )
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = shape.width, shape.height, "yuv420p"
        for number, picture in enumerate(_pictures(shape)):
            frame = VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, shape.rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path, _write_speech(path.with_suffix(".wav"), shape.frames / shape.rate)


def _pictures(shape: ClipShape) -> Iterator[U8]:
    """The clip's frames. RGB (H, W, 3), uint8."""
    with av.open(str(ASSETS / "demo.mp4")) as container:
        shown = [
            np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
            for frame in container.decode(video=0)
        ]
    factor = shape.face / _DEMO_FACE
    resized = [_resized(picture, factor) for picture in shown]
    wall = _wall(shape)
    for picture in islice(cycle(resized + resized[::-1]), shape.frames):
        yield _composed(wall, picture, shape.faces)


def _resized(picture: U8, factor: float) -> U8:
    how = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(picture, None, fx=factor, fy=factor, interpolation=how), np.uint8)


def _composed(wall: U8, picture: U8, faces: int) -> U8:
    """The picture in front of the wall, in the middle of as many equal columns as faces."""
    out = wall.copy()
    height, width = wall.shape[:2]
    column = width // faces
    wide, high = min(column, picture.shape[1]), min(height, picture.shape[0])
    left, top = (picture.shape[1] - wide) // 2, (picture.shape[0] - high) // 2
    part = picture[top : top + high, left : left + wide]
    y = (height - high) // 2
    for number in range(faces):
        x = number * column + (column - wide) // 2
        out[y : y + high, x : x + wide] = part[:, ::-1] if number % 2 else part
    return out


def _wall(shape: ClipShape) -> U8:
    """Soft colours with a fine texture, so that it costs the codec something."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(70, 170, (9, 16, 3)).astype(np.float32)
    size = (shape.width, shape.height)
    smooth = np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), np.float32)
    fine = rng.standard_normal((shape.height, shape.width, 1), dtype=np.float32) * 4
    return np.clip(smooth + fine, 0, 255).astype(np.uint8)


def _write_speech(path: Path, seconds: float) -> Path:
    """The demo's speech over and over."""
    with wave.open(str(ASSETS / "demo_speech.wav")) as source:
        params, rate = source.getparams(), source.getframerate()
        samples = source.readframes(source.getnframes())
    size = round(seconds * rate) * params.sampwidth * params.nchannels
    with wave.open(str(path), "wb") as target:
        target.setparams(params)
        target.writeframes((samples * (size // len(samples) + 1))[:size])
    return path


def main() -> None:
    """Write one clip."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    for name in ("width", "height", "frames", "face", "faces", "rate"):
        parser.add_argument(f"--{name}", type=int, default=getattr(ClipShape, name))
    values = vars(parser.parse_args())
    video, speech = make_clip(
        ClipShape(**{name: value for name, value in values.items() if name != "out"}),
        values["out"],
    )
    print(video, speech)


if __name__ == "__main__":
    main()
