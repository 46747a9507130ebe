"""What a dub must leave alone: pixels outside the face, times, streams and the sound it was given.

All differences are expected to be zero. Pixels are compared before the lossy encode: the first
second is dubbed once more, into a lossless file.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import soundfile
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from dubcli.composite.mask import fixed_mask
from dubcli.config import DubConfig
from dubcli.core.types import Bool
from dubcli.evaluation.source import CROP_SIZE, Source
from dubcli.face.pose import compose
from dubcli.media.container.probe import probe, require_video
from dubcli.media.sound.waveform import read_waveform
from dubcli.media.video.frame_reader import FrameReader, frame_times
from dubcli.media.video.frame_writer import EncodeOptions
from dubcli.media.video.spaces import coded_to_display
from dubcli.pipeline.engine import Engine
from dubcli.pipeline.run import dub

_EXCERPT_S = 1


def score_harm(
    source: Source, result: Path, config: DubConfig, folder: Path, engine: Engine | None = None
) -> dict[str, float]:
    """How much of what should stay did not.

    Args:
        source: The clip that was dubbed.
        result: The result, as users get it.
        config: How it was dubbed.
        folder: Where temporary files may lie.
        engine: Holds loaded models; one for this call alone by default.

    Returns:
        `changed_samples`, `changed_times`, `lost_streams` and `changed_audio`, all counts; NaN
        where a format cannot be compared sample by sample.
    """
    excerpt = _first_second(config.voices[0].audio, folder / "excerpt.wav")
    lossless = folder / "excerpt.mov"
    settings = {"output": lossless, "audio": excerpt, "sync_mode": "cut", "overwrite": True}
    kept = ("video", "model", "identity", "face", "detector", "device", "threads")
    fields = {name: getattr(config, name) for name in kept}
    dub(
        DubConfig(**fields, **settings, allow_silence=True, seed=config.seed),
        engine=engine,
        reference_frames=range(len(source)),
        encode=EncodeOptions(output=lossless, lossless=True, threads=config.threads),
    )
    return {
        "changed_samples": _changed_samples(source, lossless),
        "changed_times": float(_changed_times(source, result)),
        "lost_streams": float(_lost_streams(source, result)),
        "changed_audio": float(_changed_audio(excerpt, lossless)),
    }


def outside(source: Source, index: int, size: tuple[int, int]) -> Bool:
    """Coded pixels of a frame that no model may repaint. Shape `size`."""
    to_display = coded_to_display(require_video(source.info))
    matrix = compose(source.alignment.frame_to_crop[index], to_display)
    region = (fixed_mask(CROP_SIZE) > 0).astype(np.uint8)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    # Any share of the region counts, and a pixel more for how a soft edge is drawn.
    inside = cv2.warpAffine(255 * region, matrix, size[::-1], flags=flags) > 0
    return cv2.dilate(inside.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0


def changed_in(before: VideoFrame, after: VideoFrame, outside_px: Bool) -> float:
    """Stored samples that differ outside a region; NaN where the formats differ."""
    if before.format.name != after.format.name:
        return float("nan")
    changed = 0
    for one, other in zip(_planes(before), _planes(after), strict=True):
        free = _on_plane(outside_px, one.shape[:2])
        changed += int((one != other)[free].sum())
    return float(changed)


def _changed_samples(source: Source, lossless: Path) -> float:
    total = 0.0
    with (
        FrameReader(source.clip.path, source.info) as before,
        FrameReader(lossless, probe(lossless)) as after,
    ):
        pairs = zip(before.native_frames(), after.native_frames(), strict=False)
        for one, other in pairs:
            if one.index >= len(source):
                break
            free = outside(source, one.index, (one.height, one.width))
            total += changed_in(one.frame, other.frame, free)
    return total


def _changed_times(source: Source, result: Path) -> int:
    found = frame_times(result, probe(result))
    times = source.times
    before = [pts * times.time_base for pts in times.pts]
    after = [pts * found.time_base for pts in found.pts]
    moved = sum(a != b for a, b in zip(before, after, strict=False))
    return moved + abs(len(before) - len(after))


def _lost_streams(source: Source, result: Path) -> int:
    """Streams of the source that are missing; sound that was added counts for nothing."""
    info, found = source.info, probe(result)
    wanted = (info.num_video, max(info.num_audio, 1), info.num_subtitles)
    there = (found.num_video, found.num_audio, found.num_subtitles)
    return sum(max(0, a - b) for a, b in zip(wanted, there, strict=True))


def _changed_audio(driving: Path, result: Path) -> int:
    rate = soundfile.info(str(driving)).samplerate
    wanted, found = (read_waveform(path, rate).samples for path in (driving, result))
    num = min(len(wanted), len(found))
    return int((wanted[:num] != found[:num]).sum()) + len(wanted) - num


def _first_second(audio: Path, path: Path) -> Path:
    with soundfile.SoundFile(str(audio)) as file:
        samples = file.read(_EXCERPT_S * file.samplerate, dtype="int16")
        soundfile.write(str(path), samples, file.samplerate, subtype="PCM_16")
    return path


def _planes(frame: VideoFrame) -> list[NDArray[np.uint8]]:
    """Bytes of each plane, without line padding. Shapes (h, w, bytes a pixel)."""
    planes: list[NDArray[np.uint8]] = []
    for plane in frame.planes:
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, abs(plane.line_size))
        step = max(1, abs(plane.line_size) // max(1, plane.width))
        width = plane.width * _bytes_per_pixel(frame, step)
        planes.append(rows[: plane.height, :width].reshape(plane.height, plane.width, -1))
    return planes


def _bytes_per_pixel(frame: VideoFrame, most: int) -> int:
    """Bytes that a plane stores for each pixel of its width."""
    bits = max(component.bits for component in frame.format.components)
    packed = len(frame.format.components) if len(frame.planes) == 1 else 1
    return min(most, packed * (2 if bits > 8 else 1))


def _on_plane(pixels: Bool, shape: tuple[int, ...]) -> Bool:
    """Samples of a plane all of whose pixels are marked. Shape (h, w) of the plane."""
    high, wide = -(-pixels.shape[0] // shape[0]), -(-pixels.shape[1] // shape[1])
    padding = ((0, shape[0] * high - pixels.shape[0]), (0, shape[1] * wide - pixels.shape[1]))
    cells = np.pad(pixels, padding, constant_values=True)
    return np.asarray(cells.reshape(shape[0], high, shape[1], wide).all((1, 3)), np.bool_)
