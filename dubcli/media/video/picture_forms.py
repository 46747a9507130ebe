"""Size, shape and pixel format of a video's pictures, where they change midway."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from av.error import FFmpegError
from av.packet import Packet
from av.video.format import VideoFormat
from av.video.stream import VideoStream

from dubcli.core.formatting import clock_time
from dubcli.core.types import PictureForm, VideoStreamInfo
from dubcli.media.container.probe import clockwise_rotation, picture_decoder, plausible_sar

# Key frames that follow sooner are not looked at; later on, those of a second.
_SOONEST_S, _SOONEST_LATER_S, _LATER_S = Fraction(1, 5), 1, 10
_MOST_NAMED = 3


class FormScan:
    """Decodes key frames, the only ones with which the form of the pictures can change.

    Args:
        stream: The video stream; its decoder is used.
        info: What was said of the first frames.
    """

    def __init__(self, stream: VideoStream, info: VideoStreamInfo) -> None:
        self._info = info
        self._decoder = picture_decoder(stream)
        self._decoder.thread_count = 1
        self._first_s: Fraction | None = None
        self._last_s: Fraction | None = None
        self._forms: list[PictureForm] = [
            PictureForm(
                start_s=Fraction(0),
                width=info.width,
                height=info.height,
                sar=info.sar,
                pix_fmt=info.pix_fmt,
                rotation_deg=info.rotation_deg,
            )
        ]

    def add(self, packet: Packet, time_s: Fraction | None) -> None:
        """Look at the next packet of the stream.

        Args:
            packet: Packet of the stream.
            time_s: When it is decoded, seconds; jumps of the clock may be in it.
        """
        if not packet.is_keyframe or time_s is None:
            return
        if self._first_s is None:
            self._first_s = time_s
        if self._last_s is not None:
            is_later = time_s - self._first_s > _LATER_S
            if abs(time_s - self._last_s) < (_SOONEST_LATER_S if is_later else _SOONEST_S):
                return
        self._last_s = time_s
        try:
            frames = [*self._decoder.decode(packet), *self._decoder.decode(None)]
            self._decoder.flush_buffers()
        except FFmpegError:
            return
        for frame in frames[-1:]:
            found = PictureForm(
                start_s=time_s - self._first_s,
                width=frame.width,
                height=frame.height,
                sar=plausible_sar(self._decoder.sample_aspect_ratio),
                pix_fmt=frame.format.name,
                rotation_deg=clockwise_rotation(frame),
            )
            last = self._forms[-1]
            if len(self._forms) == 1 and _is_same_shape(found, last):
                found = replace(found, sar=last.sar)
            if replace(found, start_s=last.start_s) != last:
                self._forms.append(found)

    def forms(self) -> tuple[PictureForm, ...]:
        """Those that were seen, in order; one for a video that does not change."""
        return tuple(self._forms)


def on_canvas(video: VideoStreamInfo, forms: Sequence[PictureForm]) -> VideoStreamInfo:
    """The stream with its largest picture's size and shape, and the richest pixel format.

    Args:
        video: Facts by the first frames.
        forms: All forms that its pictures take.
    """
    if len(forms) < 2:
        return video
    largest = max(forms, key=lambda form: form.width * form.height * form.sar)
    richest = max(forms, key=lambda form: _richness(form.pix_fmt))
    return replace(
        video,
        width=largest.width,
        height=largest.height,
        sar=largest.sar,
        rotation_deg=largest.rotation_deg,
        pix_fmt=richest.pix_fmt,
        forms=tuple(forms),
    )


def form_notes(video: VideoStreamInfo, duration_s: Fraction | None) -> list[str]:
    """What is to be told of pictures whose form changes, with times from the first frame.

    Args:
        video: The stream on its canvas.
        duration_s: Of the file, where it is known.
    """
    notes: list[str] = []
    ends = [*(form.start_s for form in video.forms[1:]), duration_s]
    size = (video.width, video.height, video.rotation_deg, video.sar)
    smaller = [
        (form, end)
        for form, end in zip(video.forms, ends, strict=False)
        if (form.width, form.height, form.rotation_deg, form.sar) != size
    ]
    if smaller:
        named = [f"{_shape(form)} {_when(form.start_s, end)}" for form, end in smaller]
        more = f" and {len(named) - _MOST_NAMED} more times" if len(named) > _MOST_NAMED else ""
        notes.append(
            f"The picture's size changes: {', '.join(named[:_MOST_NAMED])}{more} was fitted into "
            f"{video.width}x{video.height} px, the largest, with its shape kept."
        )
    changes = [
        form
        for before, form in zip(video.forms, video.forms[1:], strict=False)
        if form.pix_fmt != before.pix_fmt
    ]
    if changes:
        named = [f"{one.pix_fmt} at {clock_time(float(one.start_s))}" for one in changes]
        notes.append(
            f"The pixel format changes from {video.forms[0].pix_fmt} to "
            f"{', then '.join(named[:_MOST_NAMED])}: all frames are taken as {video.pix_fmt}."
        )
    return notes


def _shape(form: PictureForm) -> str:
    turned = f" turned by {form.rotation_deg}°" if form.rotation_deg else ""
    return f"{form.width}x{form.height} px{turned}"


def _when(start_s: Fraction, end_s: Fraction | None) -> str:
    begin = clock_time(float(start_s))
    return f"from {begin} on" if end_s is None else f"from {begin} to {clock_time(float(end_s))}"


def _is_same_shape(one: PictureForm, other: PictureForm) -> bool:
    return (one.width, one.height) == (other.width, other.height)


def _richness(pix_fmt: str) -> tuple[int, int]:
    """Bits of a sample, and chroma samples in a block of 16 by 16 px."""
    found = VideoFormat(pix_fmt, 16, 16)
    if not found.components:
        return 0, 0
    bits = max(component.bits for component in found.components)
    count = found.chroma_width(16) * found.chroma_height(16)
    return bits, count if len(found.components) > 2 else 0
