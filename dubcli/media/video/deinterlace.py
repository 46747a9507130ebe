"""Interlaced video: said to be, refused, or made progressive frame by frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable

from av.error import BlockingIOError as AvNothingYet
from av.error import EOFError as AvEndOfFile
from av.filter import Graph
from av.video.frame import VideoFrame

from dubcli.core.errors import ProbeError
from dubcli.core.types import VideoStreamInfo
from dubcli.media.video.native_frame import frame_source

# Codecs whose every frame says whether it is interlaced.
SELF_TELLING = (
    *("h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vc1", "wmv3", "prores", "ffv1"),
    *("dvvideo", "dnxhd", "v210", "rawvideo"),
)
_BOTTOM_FIRST = (3, 5)  # AVFieldOrder: both fields' orders that begin with the bottom field
# Their pictures are single fields, half as high and twice as many.
_FIELDS_AS_PICTURES = ("hevc",)


def refuse_interlaced(video: VideoStreamInfo, deinterlace: bool) -> None:
    """Refuse what cannot be dubbed as it is: two moments in the lines of one frame.

    Args:
        video: The stream that is dubbed.
        deinterlace: It will be made progressive.

    Raises:
        ProbeError: It is interlaced, and is not to be made progressive or cannot be here.
    """
    if not video.is_interlaced:
        return
    if video.codec in _FIELDS_AS_PICTURES:
        raise ProbeError(
            f"The video is interlaced, and its {video.codec} keeps each field as a picture.",
            "Convert it first, e.g. ffmpeg -i IN -vf weave,bwdif=mode=send_frame -c:a copy OUT.mp4",
        )
    if not deinterlace:
        raise ProbeError(
            "The video is interlaced.",
            "Add --deinterlace: every frame becomes a progressive one, none is added or lost.",
        )


def deinterlace_notes(
    video: VideoStreamInfo, deinterlace: bool, num_interlaced: int = 0
) -> list[str]:
    """What the report says of it; nothing for progressive video that was left alone.

    Args:
        video: The stream that was dubbed.
        deinterlace: Interlaced frames were made progressive.
        num_interlaced: How many said they are interlaced, `FrameReader.num_interlaced`.
    """
    if deinterlace and (video.is_interlaced or num_interlaced):
        return ["The video was interlaced; each such frame was made progressive (bwdif)."]
    if deinterlace:
        return ["--deinterlace changed nothing: no frame says that it is interlaced."]
    if num_interlaced:
        return [
            f"{num_interlaced} frames further on are interlaced and were left so; --deinterlace "
            "makes them progressive."
        ]
    return []


def deinterlaced(
    frames: Iterable[VideoFrame], video: VideoStreamInfo
) -> Generator[VideoFrame, None, None]:
    """As many frames at the same times, the interlaced ones made progressive.

    libav's bwdif (the motion of w3fdif, the edges of yadif). Frames that say they are progressive
    come out as they are. Each frame looks at the one before and the one after.

    Args:
        frames: Decoded, of one size.
        video: Their stream; tells the fields' order where frames do not.

    Yields:
        One frame for each, with its own times, one frame late.
    """
    graph: Graph | None = None
    waiting: deque[VideoFrame] = deque()
    pixel_format = ""
    for frame in frames:
        if graph is None:
            pixel_format = frame.format.name
            graph = _graph(frame, video)
        # The filter replaces what it is given; times are kept apart, None and all.
        same = frame if frame.format.name == pixel_format else frame.reformat(format=pixel_format)
        waiting.append(frame)
        graph.push(same)
        yield from _ready(graph, waiting, video)
    if graph is not None:
        graph.push(None)
        yield from _ready(graph, waiting, video)


def _ready(
    graph: Graph, waiting: deque[VideoFrame], video: VideoStreamInfo
) -> Generator[VideoFrame, None, None]:
    while waiting:
        try:
            made = graph.pull()
        except (AvNothingYet, AvEndOfFile):
            return
        assert isinstance(made, VideoFrame)
        given = waiting.popleft()
        made.time_base = given.time_base or video.time_base
        made.pts, made.dts, made.duration = given.pts, given.dts, given.duration
        yield made


def _graph(frame: VideoFrame, video: VideoStreamInfo) -> Graph:
    graph = Graph()
    settings = {"deint": "interlaced", "parity": "auto"}
    if video.is_interlaced and not frame.interlaced_frame and video.codec not in SELF_TELLING:
        # Its frames do not tell; the stream's word counts for all of them.
        order = "bff" if video.field_order in _BOTTOM_FIRST else "tff"
        settings = {"deint": "all", "parity": order}
    bwdif = graph.add("bwdif", mode="send_frame", **settings)
    graph.link_nodes(frame_source(graph, frame), bwdif, graph.add("buffersink")).configure()
    return graph
