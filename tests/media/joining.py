"""A video through reader, writer and remux, as a dub does it but for the face."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from clips import make_tone
from numpy.typing import NDArray

from dubcli.media.container.formats import default_output
from dubcli.media.container.probe import picture_decoder, probe, require_video
from dubcli.media.container.remux import remux
from dubcli.media.video.frame_reader import FrameReader
from dubcli.media.video.frame_writer import EncodeOptions, FrameWriter
from dubcli.media.video.native_frame import NativeFrame

Edit = Callable[[NativeFrame], NativeFrame]


@dataclass
class Joined:
    output: Path
    encoder: str
    notes: list[str] = field(default_factory=list[str])


def join(
    video: Path,
    output: Path | None = None,
    *,
    edit: Edit | None = None,
    deinterlace: bool = False,
    audio_s: float = 0.3,
    **options: Any,
) -> Joined:
    """Write `video` again, under a tone of `audio_s` s; `edit` may change its frames."""
    info = probe(video)
    stream = require_video(info)
    output = output or default_output(video, info)
    picture = output.with_name("picture.bin")
    audio = make_tone(output.with_name("tone.wav"), audio_s)
    encode = EncodeOptions(output=output, threads=1, **options)
    # As in a dub, the result's clock does not begin below 0.
    later = max(0, -stream.start_pts)
    with (
        FrameReader(video, info, 1, deinterlace=deinterlace) as reader,
        FrameWriter(picture, stream, encode) as writer,
    ):
        for native in reader.native_frames():
            writer.write((edit(native) if edit else native).frame, native.pts + later)
        start = reader.native_frames()
        first = next(iter(start)).pts
    made = remux(
        picture=picture,
        source_info=info,
        audio=audio,
        audio_s=Fraction(str(audio_s)),
        pad_s=Fraction(0),
        output=output,
        start_s=(first + later) * stream.time_base,
        shift_s=later * stream.time_base,
    )
    picture.unlink()
    return Joined(output, writer.encoder, [*writer.notes, *made.notes])


def frames_of(path: Path) -> list[av.VideoFrame]:
    """All frames as decoded, with transparency."""
    info = probe(path)
    with av.open(str(path)) as container:
        stream: Any = container.streams[require_video(info).index]
        decoder = picture_decoder(stream)
        found: list[av.VideoFrame] = []
        for packet in container.demux(stream):
            found += decoder.decode(packet if packet.size else None)
        return found


def planes_of(frame: av.VideoFrame) -> list[NDArray[np.int64]]:
    """Stored samples, plane by plane, without the padding of lines."""
    parts = frame.format.components
    is_deep = max(part.bits for part in parts) > 8
    order = ">" if frame.format.is_big_endian else "<"
    packed = len(parts) if len(frame.planes) == 1 else 1
    found: list[NDArray[np.int64]] = []
    for plane in frame.planes:
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)
        used = rows[:, : plane.width * packed * (2 if is_deep else 1)]
        typed = np.ascontiguousarray(used).view(f"{order}u2" if is_deep else "u1")
        found.append(typed.astype(np.int64))
    return found


def times_of(path: Path) -> list[Fraction]:
    """When each frame is shown, s."""
    time_base = require_video(probe(path)).time_base
    return [Fraction(frame.pts or 0) * time_base for frame in frames_of(path)]
