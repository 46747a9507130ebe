"""A source as its packets and key frames are, not as its header says, before anything slow."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from av.error import FFmpegError
from av.video.stream import VideoStream

from dubcli.core.formatting import clock_time
from dubcli.core.types import MediaInfo, PictureForm
from dubcli.media.container.clock_scan import ClockJump, ClockScan, write_without_jumps
from dubcli.media.container.probe import open_media, probe, require_video
from dubcli.media.video.picture_forms import FormScan, form_notes, on_canvas

_MOST_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class UsableSource:
    """The source of a dub.

    Attributes:
        info: Facts of it; `path` is a copy where the clock of the file itself jumps.
        notes: Sentences for the user on what was found.
    """

    info: MediaInfo
    notes: tuple[str, ...]


def usable_source(info: MediaInfo, scratch: Path) -> UsableSource:
    """Read all packets of a source once: does its clock jump, do its pictures change their form?

    Args:
        info: Facts by its header.
        scratch: Folder for a copy without jumps.

    Raises:
        ProbeError: It has no video, or cannot be read any more.
        EncodeError: The copy cannot be written.
    """
    clocks, forms = _scan(info)
    jumps = [jump for jump in clocks.jumps() if jump.by_s]
    notes: list[str] = []
    if jumps:
        path, notes = write_without_jumps(info.path, clocks, scratch / "source")
        info = replace(probe(path), container=info.container)
        _, forms = _scan(info)
        notes = [_jumps_in_words(jumps), *notes]
    changed = on_canvas(require_video(info), forms)
    return UsableSource(
        info=replace(info, video=changed),
        notes=(*notes, *form_notes(changed, info.duration_s)),
    )


def _scan(info: MediaInfo) -> tuple[ClockScan, tuple[PictureForm, ...]]:
    """Look at all packets of a file; what cannot be read is told when it is decoded."""
    video = require_video(info)
    shown_s: Fraction | None = None
    with open_media(info.path) as container:
        stream = container.streams[video.index]
        assert isinstance(stream, VideoStream)
        clocks, pictures = ClockScan(container), FormScan(stream, video)
        with suppress(FFmpegError):
            for packet in container.demux():
                if not packet.size:
                    continue
                clocks.add(packet)
                if packet.stream_index == video.index:
                    time = packet.pts if packet.pts is not None else packet.dts
                    if time is not None and packet.time_base is not None:
                        shown_s = time * Fraction(packet.time_base)
                    pictures.add(packet, shown_s)
        return clocks, pictures.forms()


def _jumps_in_words(jumps: list[ClockJump]) -> str:
    named = [
        f"by {float(jump.by_s):+.1f} s at {clock_time(float(jump.at_s))}"
        for jump in jumps[:_MOST_NAMED]
    ]
    more = f" and {len(jumps) - _MOST_NAMED} more times" if len(jumps) > _MOST_NAMED else ""
    return f"The video's clock jumps {', '.join(named)}{more}: it was taken to go on there."
