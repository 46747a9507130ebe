"""Pictures of another size or shape, fitted into the size that all of a video has."""

from __future__ import annotations

from fractions import Fraction

from av.error import FFmpegError
from av.filter import Graph
from av.video.frame import VideoFrame

from dubcli.core.types import VideoStreamInfo
from dubcli.media.container.probe import clockwise_rotation, plausible_sar
from dubcli.media.video.native_frame import frame_source
from dubcli.media.video.pixel_layout import matrix_index, pixel_layout

# What ffmpeg calls the matrices of H.273.
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020nc"}
_HD_HEIGHT = 720


class CanvasFitter:
    """Scales and turns pictures into a video's size with their shape kept, on black.

    Pictures that have that size already go through as they are.

    Args:
        video: The stream; its size is the canvas.
    """

    def __init__(self, video: VideoStreamInfo) -> None:
        self._video = video
        rotations = {form.rotation_deg for form in video.forms}
        self._may_turn = len(rotations) > 1
        self._has_shapes = len({form.sar for form in video.forms}) > 1
        self._graph: Graph | None = None
        self._key: tuple[object, ...] = ()

    def __call__(self, frame: VideoFrame, sar: Fraction | None) -> VideoFrame:
        """The frame in the video's size, with its own times.

        Args:
            frame: As decoded.
            sar: Width over height of one of its samples, as its decoder says.
        """
        video = self._video
        turn = (clockwise_rotation(frame) - video.rotation_deg) % 360 if self._may_turn else 0
        shape = plausible_sar(sar) if self._has_shapes else video.sar
        is_fit = (frame.width, frame.height) == (video.width, video.height)
        if is_fit and not turn and shape == video.sar:
            return frame
        key = (frame.width, frame.height, frame.format.name, turn, shape, int(frame.colorspace))
        try:
            if self._graph is None or self._key != key:
                self._graph, self._key = self._make_graph(frame, turn, shape), key
            self._graph.push(frame)
            made = self._graph.pull()
            assert isinstance(made, VideoFrame)
        except (FFmpegError, ValueError):
            self._graph = None  # a pixel format that the filters do not take
            made = frame.reformat(video.width, video.height)
        made.time_base = frame.time_base or video.time_base
        made.pts, made.dts, made.duration = frame.pts, frame.dts, frame.duration
        return made

    def _make_graph(self, frame: VideoFrame, turn: int, sar: Fraction) -> Graph:
        video = self._video
        width, height = frame.width, frame.height
        if turn in (90, 270):
            width, height, sar = height, width, 1 / sar
        shown = width * sar / video.sar  # its width in samples of the canvas
        factor = min(video.width / shown, Fraction(video.height, height))
        wide, high = _even(shown * factor, video.width), _even(height * factor, video.height)
        graph = Graph()
        last = frame_source(graph, frame)
        turns = {90: [("transpose", "clock")], 270: [("transpose", "cclock")]}
        flips = [("hflip", None), ("vflip", None)] if turn == 180 else []
        for name, word in [*turns.get(turn, []), *flips]:
            step = graph.add(name, word) if word else graph.add(name)
            last.link_to(step)
            last = step
        scale = graph.add("scale", f"{wide}:{high}:flags=bicubic{self._matrices(frame)}")
        x, y = (video.width - wide) // 4 * 2, (video.height - high) // 4 * 2
        pad = graph.add("pad", f"{video.width}:{video.height}:{x}:{y}:black")
        same = graph.add("format", frame.format.name)
        graph.link_nodes(last, scale, pad, same, graph.add("buffersink")).configure()
        return graph

    def _matrices(self, frame: VideoFrame) -> str:
        """From the frame's own colour matrix to the video's, where they are of different kinds."""
        layout = pixel_layout(frame.format.name)
        if layout is None or layout.kind != "yuv":
            return ""
        own, wanted = matrix_index(frame), self._video.color_space
        if wanted not in _MATRICES:
            wanted = 1 if self._video.height >= _HD_HEIGHT else 5
        if own == wanted or own not in _MATRICES:
            return ""
        return f":in_color_matrix={_MATRICES[own]}:out_color_matrix={_MATRICES[wanted]}"


def _even(size: Fraction, limit: int) -> int:
    """A whole even number of px near `size`, at most `limit`."""
    return limit if abs(limit - size) < 2 else max(2, round(size / 2) * 2)
