"""Short clips of the bundled face, and what tests ask about a dubbed file."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

import dubcli
from dubcli.config import DubConfig, Voice
from dubcli.core.reports import DubReport
from dubcli.core.types import FramePatch
from dubcli.media.container.ffmpeg import ffmpeg_binary
from dubcli.media.video.frame_writer import EncodeOptions
from dubcli.media.video.native_frame import NativeFrame
from dubcli.pipeline.run import dub

ASSETS = Path(dubcli.__file__).parent / "assets"
DEMO, DEMO_SPEECH = ASSETS / "demo.mp4", ASSETS / "demo_speech.wav"
FACE_PX = 240
NUM_FRAMES = 16
TIMEOUT_S = 300
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-qp", "6", "-threads", "1")

Planes = list[NDArray[np.int64]]


# The bundled face with its eyes closer together and higher above the mouth: another person to the
# recognition network (similarity 0.90). For a picture of the whole square of the clip.
_BEND = "exp(-(pow((X/W-0.51)/0.12,2)+pow((Y/H-0.36)/0.12,2)))"
_BENT = f"X+0.9*(X-0.51*W)*{_BEND},Y-0.07*H*{_BEND}"
OTHER_PERSON = f"geq=lum='lum({_BENT})':cb='cb({_BENT})':cr='cr({_BENT})'"


def ffmpeg(*arguments: str | Path) -> None:
    """Run ffmpeg; a failure shows what it said."""
    words = [f"file:{word}" if isinstance(word, Path) else word for word in arguments]
    argv = [ffmpeg_binary(), "-nostdin", "-loglevel", "error", "-y", *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, f"{argv}\n{done.stderr}"


def face_clip(
    path: Path,
    filters: str = f"scale={FACE_PX}:{FACE_PX}",
    *options: str,
    frames: int = NUM_FRAMES,
    inputs: tuple[str | Path, ...] = (),
) -> Path:
    """The first frames of the bundled clip, without its sound; returns `path`.

    Args:
        path: File to write.
        filters: ffmpeg's chain for the picture.
        options: Output options; after them the picture is 4:2:0 H.264 unless they say otherwise.
        frames: How many.
        inputs: Arguments of further inputs, to be mapped by `options`.
    """
    own = options if "-c:v" in options else (*X264, *options)
    own = own if "-pix_fmt" in own else ("-pix_fmt", "yuv420p", *own)
    mapping = () if "-map" in own else ("-an",)
    chain = ("-vf", filters, "-frames:v", str(frames), *mapping)
    ffmpeg("-i", DEMO, *inputs, *chain, *own, path)
    return path


def speech(path: Path, seconds: float, *options: str) -> Path:
    """The beginning of the bundled recording; returns `path`."""
    ffmpeg("-i", DEMO_SPEECH, "-t", str(seconds), *options, path)
    return path


def dub_here(
    video: Path,
    audio: Path | tuple[Voice, ...],
    output: Path,
    *,
    lossless: bool = False,
    **settings: Any,
) -> DubReport:
    """Dub in this process with the model that needs no weights."""
    chosen = {"model": "passthrough", "device": "cpu", "sync_mode": "pad", **settings}
    config = DubConfig(video=video, audio=audio, output=output, **chosen)
    encode = EncodeOptions(output=output, lossless=True) if lossless else None
    return dub(config, encode=encode)


@dataclass(frozen=True)
class Shown:
    """A decoded frame and its time in seconds."""

    time_s: Fraction
    frame: av.VideoFrame


def pictures(path: Path) -> list[Shown]:
    """Every frame of the first video stream."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert all(frame.pts is not None and frame.time_base is not None for frame in frames)
    return [Shown((frame.pts or 0) * (frame.time_base or Fraction(0)), frame) for frame in frames]


def times(path: Path) -> list[Fraction]:
    """When each frame is shown, seconds."""
    return [shown.time_s for shown in pictures(path)]


def samples(frame: av.VideoFrame) -> Planes:
    """The stored samples of a planar format without line padding."""
    planes: Planes = []
    bytes_each = 2 if max(component.bits for component in frame.format.components) > 8 else 1
    for plane in frame.planes:
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        used = rows[: plane.height, : plane.width * bytes_each]
        planes.append(used.view(f"<u{bytes_each}").astype(np.int64))
    return planes


def same_samples(one: av.VideoFrame, other: av.VideoFrame) -> bool:
    """Whether two frames hold the same samples in every plane."""
    pairs = zip(samples(one), samples(other), strict=True)
    return one.format.name == other.format.name and all(np.array_equal(a, b) for a, b in pairs)


def sound(path: Path, stream: int = 0) -> tuple[NDArray[np.float64], int]:
    """Decoded samples (channels, n) of an audio stream in [-1, 1], and their rate in Hz."""
    parts: list[NDArray[np.float64]] = []
    with av.open(str(path)) as container:
        rate = container.streams.audio[stream].sample_rate
        for frame in container.decode(audio=stream):
            values = frame.to_ndarray()
            if frame.format.is_packed:
                values = values.reshape(-1, frame.layout.nb_channels).T
            scale = 1.0 if values.dtype.kind == "f" else -float(np.iinfo(str(values.dtype)).min)
            parts.append(values.astype(np.float64) / scale)
    return np.concatenate(parts, axis=1), rate


def packets(path: Path, kind: str, number: int = 0) -> list[bytes]:
    """The data of every packet of a stream; `kind` is PyAV's name."""
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[number]
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


def recorded_supports(blend: Any, seen: dict[int, Any]) -> Any:
    """A stand-in for `NativeFrame.blend` that notes per frame which pixels it may change."""

    def noting(self: NativeFrame, patch: FramePatch) -> NativeFrame:
        support = np.zeros((self.height, self.width), bool)
        height, width = patch.alpha.shape
        support[patch.y : patch.y + height, patch.x : patch.x + width] = patch.alpha > 0
        seen[self.index] = support
        return blend(self, patch)

    return noting


def on_plane(support: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A support in pixels as seen by a plane: any pixel of a sample's cell counts."""
    high, wide = -(-support.shape[0] // shape[0]), -(-support.shape[1] // shape[1])
    padding = ((0, shape[0] * high - support.shape[0]), (0, shape[1] * wide - support.shape[1]))
    cells = np.pad(support, padding).reshape(shape[0], high, shape[1], wide)
    return np.asarray(cells.any((1, 3)), np.bool_)


def pairs_of(source: Path, result: Path) -> Iterator[tuple[int, Shown, Shown]]:
    """Number, source frame and result frame; both files have as many."""
    both = zip(pictures(source), pictures(result), strict=True)
    for number, (before, after) in enumerate(both):
        yield number, before, after
