"""Frames as the codec stores them: read a region as RGB, blend a picture into the samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from av.error import FFmpegError
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from dubcli.core.errors import DecodeError
from dubcli.core.types import F32, U8, FramePatch
from dubcli.media.video.pixel_layout import (
    ColorCoding,
    Component,
    PixelLayout,
    color_coding,
    pixel_layout,
    reachable_format,
)

_Samples = NDArray[np.unsignedinteger]


@dataclass(frozen=True, eq=False)
class NativeFrame:
    """A decoded frame in coded space and in its own pixel format.

    Attributes:
        index: Position in presentation order, 0-based.
        pts: Presentation time, units of `time_base`.
        time_base: Seconds per unit.
        frame: libav's frame. Others may hold it too: never write into it.
    """

    index: int
    pts: int
    time_base: Fraction
    frame: VideoFrame

    @property
    def width(self) -> int:
        """Coded width, px."""
        return self.frame.width

    @property
    def height(self) -> int:
        """Coded height, px."""
        return self.frame.height

    def rgb_region(self, x: int, y: int, w: int, h: int) -> U8:
        """A region as RGB, through the frame's own colour matrix and range.

        Chroma is repeated over its cell, not interpolated, which makes this the exact inverse of
        `blend`. Outside the frame the edge is repeated.

        Args:
            x: Left edge, coded px; may lie outside the frame.
            y: Top edge, coded px; may lie outside the frame.
            w: Width, px, at least 1.
            h: Height, px, at least 1.

        Returns:
            Shape (h, w, 3), uint8, code values of the frame's transfer.

        Raises:
            DecodeError: The pixel format cannot be reached from memory.
        """
        if w < 1 or h < 1:
            raise ValueError(f"region of {w} x {h} px")
        source, layout = _reachable(self.frame)
        left, right = _clamped(x, w, source.width)
        top, bottom = _clamped(y, h, source.height)
        inside = _decode_rgb(source, layout, (left, top, right, bottom))
        before_x = min(max(0, left - x), w - (right - left))
        before_y = min(max(0, top - y), h - (bottom - top))
        after_x = w - (right - left) - before_x
        after_y = h - (bottom - top) - before_y
        if not any((before_x, before_y, after_x, after_y)):
            return inside
        padding = ((before_y, after_y), (before_x, after_x), (0, 0))
        return np.pad(inside, padding, mode="edge")

    def blend(self, patch: FramePatch) -> NativeFrame:
        """This frame with a patch blended into its samples.

        Samples outside the support (alpha 0; for subsampled chroma: 0 in the whole cell) are bit
        for bit the source's, in every plane. This frame itself is not altered. A pixel format
        whose samples cannot be reached one by one is converted to its nearest planar one first.

        Args:
            patch: Picture, weight and place, coded px; parts outside the frame are ignored.

        Returns:
            A new frame with the same index, times and side data, or this one where nothing of
            the patch lies inside the frame.

        Raises:
            DecodeError: The pixel format cannot be reached from memory.
        """
        if patch.rgb.shape != (*patch.alpha.shape, 3):
            raise ValueError(f"patch of {patch.rgb.shape} with alpha of {patch.alpha.shape}")
        source, layout = _reachable(self.frame)
        box = _support(patch, source.width, source.height)
        if box is None:
            return self
        alpha, rgb = _on_cells(patch, box, layout, source)
        target = _copy(source)
        coding = color_coding(source, layout)
        _blend_components(target, layout, coding, box, alpha, rgb)
        return replace(self, frame=target)


def _reachable(frame: VideoFrame) -> tuple[VideoFrame, PixelLayout]:
    layout = pixel_layout(frame.format.name)
    if layout is not None:
        return frame, layout
    try:
        converted = frame.reformat(format=reachable_format(frame.format.name))
    except (FFmpegError, ValueError) as error:
        raise DecodeError(
            f"Pixel format {frame.format.name} cannot be edited.",
            "Convert the video first, e.g. ffmpeg -i IN -pix_fmt yuv420p OUT.mp4.",
        ) from error
    layout = pixel_layout(converted.format.name)
    assert layout is not None, converted.format.name
    return converted, layout


def _clamped(start: int, length: int, limit: int) -> tuple[int, int]:
    """The part of [start, start + length) inside [0, limit); its nearest sample if none is."""
    first = min(max(start, 0), limit - 1)
    return first, max(first + 1, min(start + length, limit))


def _component_view(
    frame: VideoFrame, layout: PixelLayout, component: Component, is_chroma: bool
) -> _Samples:
    """Writable view of one component's stored samples, without line padding. Shape (h, w)."""
    shift_x, shift_y = layout.chroma_shift if is_chroma else (0, 0)
    width = -(-frame.width >> shift_x)
    height = -(-frame.height >> shift_y)
    plane = frame.planes[component.plane]
    rows = np.frombuffer(memoryview(plane), dtype=np.uint8).reshape(-1, abs(plane.line_size))[
        :height
    ]
    if plane.line_size < 0:  # stored bottom up
        rows = rows[::-1]
    stored = rows[:, : width * component.step * layout.dtype.itemsize].view(layout.dtype)
    return stored[:, component.offset :: component.step]


def _decode_rgb(frame: VideoFrame, layout: PixelLayout, box: tuple[int, int, int, int]) -> U8:
    """RGB of a box inside the frame. Shape (y1 - y0, x1 - x0, 3), uint8."""
    x0, y0, x1, y1 = box
    coding = color_coding(frame, layout)
    to_bytes = coding.inverse * np.float32(255)
    if layout.kind == "yuv":
        return _decode_yuv(frame, layout, coding.offset, to_bytes, box)
    image = np.empty((y1 - y0, x1 - x0, 3), dtype=np.uint8)
    for channel in range(3):
        number = min(channel, len(layout.components) - 1)  # gray has one for all three
        view = _component_view(frame, layout, layout.components[number], False)
        samples = _values(view[y0:y1, x0:x1], layout)
        gain = to_bytes[channel, number]
        samples *= gain
        samples += np.float32(0.5) - coding.offset[number] * gain
        image[..., channel] = np.clip(samples, 0, 255, out=samples)
    return image


def _decode_yuv(
    frame: VideoFrame,
    layout: PixelLayout,
    offset: F32,
    to_bytes: F32,
    box: tuple[int, int, int, int],
) -> U8:
    x0, y0, x1, y1 = box
    shift_x, shift_y = layout.chroma_shift
    cells = (x0 >> shift_x, y0 >> shift_y, -(-x1 >> shift_x), -(-y1 >> shift_y))
    luma = _component_view(frame, layout, layout.components[0], False)
    luma = _values(_whole_cells(luma, cells, layout.chroma_shift), layout)
    chroma: list[F32] = []
    for component in layout.components[1:]:
        view = _component_view(frame, layout, component, True)
        view = view[cells[1] : cells[3], cells[0] : cells[2]]
        chroma.append(_values(view, layout))
    image = np.empty((*luma.shape, 3), dtype=np.uint8)
    # A row of cells, the rows in it, its width: additions then run along whole lines.
    by_cell = (chroma[0].shape[0], 1 << shift_y, luma.shape[1])
    tints = np.empty((by_cell[0], 1, by_cell[2]), dtype=np.float32)
    value = np.empty(by_cell, dtype=np.float32)
    for channel in range(3):
        # Everything constant goes in where there are fewest samples; the 0.5 rounds.
        tint = to_bytes[channel, 1] * chroma[0] + to_bytes[channel, 2] * chroma[1]
        tint += np.float32(0.5) - to_bytes[channel] @ offset
        for column in range(1 << shift_x):
            tints[:, 0, column :: 1 << shift_x] = tint
        np.multiply(luma.reshape(by_cell), to_bytes[channel, 0], out=value)
        value += tints
        image[..., channel] = np.clip(value, 0, 255, out=value).reshape(luma.shape)
    left, top = x0 - (cells[0] << shift_x), y0 - (cells[1] << shift_y)
    return np.ascontiguousarray(image[top : top + y1 - y0, left : left + x1 - x0])


def _values(stored: _Samples, layout: PixelLayout) -> F32:
    """Sample values of stored samples, which may keep some low bits unused."""
    return (stored >> layout.shift if layout.shift else stored).astype(np.float32)


def _whole_cells(
    samples: NDArray[Any], cells: tuple[int, int, int, int], chroma_shift: tuple[int, int]
) -> NDArray[Any]:
    """The samples of whole chroma cells; where the frame ends within a cell its edge repeats.

    Args:
        samples: Luma-sized plane or planes. Shape (..., h, w).
        cells: x0, y0, x1, y1, half-open, chroma samples.
        chroma_shift: log2 of the subsampling, x and y.
    """
    shift_x, shift_y = chroma_shift
    x1, y1 = cells[2] << shift_x, cells[3] << shift_y
    part = samples[..., cells[1] << shift_y : y1, cells[0] << shift_x : x1]
    missing_y, missing_x = max(0, y1 - samples.shape[-2]), max(0, x1 - samples.shape[-1])
    if not missing_x and not missing_y:
        return part
    padding = ((0, 0),) * (samples.ndim - 2) + ((0, missing_y), (0, missing_x))
    return np.pad(part, padding, mode="edge")


def _support(patch: FramePatch, width: int, height: int) -> tuple[int, int, int, int] | None:
    """Bounding box of alpha above 0 inside the frame: x0, y0, x1, y1, half-open, coded px."""
    top, left = max(0, -patch.y), max(0, -patch.x)
    inside = patch.alpha[top : max(0, height - patch.y), left : max(0, width - patch.x)] > 0
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return None
    x, y = patch.x + left, patch.y + top
    return x + int(columns[0]), y + int(rows[0]), x + int(columns[-1]) + 1, y + int(rows[-1]) + 1


def _on_cells(
    patch: FramePatch, box: tuple[int, int, int, int], layout: PixelLayout, frame: VideoFrame
) -> tuple[F32, F32]:
    """Alpha and alpha-weighted RGB over the whole chroma cells that a box touches.

    Returns:
        Alpha in [0, 1], shape (h, w), and RGB times alpha, shape (3, h, w), float32. Beyond the
        patch both are 0, beyond the frame they repeat its edge.
    """
    x0, y0, x1, y1 = box
    shift_x, shift_y = layout.chroma_shift
    cx0, cy0 = x0 >> shift_x << shift_x, y0 >> shift_y << shift_y
    cx1 = min(-(-x1 >> shift_x) << shift_x, frame.width)
    cy1 = min(-(-y1 >> shift_y) << shift_y, frame.height)
    alpha = np.zeros((cy1 - cy0, cx1 - cx0), dtype=np.float32)
    weighted = np.zeros((3, cy1 - cy0, cx1 - cx0), dtype=np.float32)
    rows, columns = slice(y0 - patch.y, y1 - patch.y), slice(x0 - patch.x, x1 - patch.x)
    part = np.clip(patch.alpha[rows, columns], 0, 1)
    inner = (slice(y0 - cy0, y1 - cy0), slice(x0 - cx0, x1 - cx0))
    alpha[inner] = part
    for channel in range(3):
        # Where alpha is 0 the picture may be anything, even NaN, which fmax turns to 0.
        value = np.fmax(patch.rgb[rows, columns, channel], np.float32(0))
        np.minimum(value, np.float32(1), out=value)
        np.multiply(value, part, out=weighted[channel][inner])
    return alpha, weighted


def _blend_components(
    target: VideoFrame,
    layout: PixelLayout,
    coding: ColorCoding,
    box: tuple[int, int, int, int],
    alpha: F32,
    weighted: F32,
) -> None:
    shift_x, shift_y = layout.chroma_shift
    x0, y0 = box[0] >> shift_x << shift_x, box[1] >> shift_y << shift_y
    cell_alpha, cell_rgb = alpha, weighted
    if shift_x or shift_y:
        cell_alpha = _cell_mean(alpha, layout.chroma_shift)
        cell_rgb = _cell_mean(weighted, layout.chroma_shift)
    for number, component in enumerate(layout.components):
        is_chroma = layout.kind == "yuv" and number > 0
        weight, rgb = (cell_alpha, cell_rgb) if is_chroma else (alpha, weighted)
        x, y = (x0 >> shift_x, y0 >> shift_y) if is_chroma else (x0, y0)
        view = _component_view(target, layout, component, is_chroma)
        stored = view[y : y + weight.shape[0], x : x + weight.shape[1]]
        mixed = (coding.matrix[number] @ rgb.reshape(3, -1)).reshape(weight.shape)
        mixed += coding.offset[number] * weight
        mixed += (stored >> layout.shift) * (1 - weight)
        np.clip(np.rint(mixed, out=mixed), 0, layout.maximum, out=mixed)
        np.copyto(stored, mixed.astype(layout.dtype) << layout.shift, where=weight > 0)


def _cell_mean(values: F32, chroma_shift: tuple[int, int]) -> F32:
    """Mean over each chroma cell. Shape (..., h, w) to (..., ceil(h / 2^sy), ceil(w / 2^sx))."""
    shift_x, shift_y = chroma_shift
    high, wide = 1 << shift_y, 1 << shift_x
    cells = (0, 0, -(-values.shape[-1] >> shift_x), -(-values.shape[-2] >> shift_y))
    whole = _whole_cells(values, cells, chroma_shift)
    rows = whole[..., ::high, :].copy()
    for i in range(1, high):
        rows += whole[..., i::high, :]
    total = rows[..., ::wide].copy()
    for i in range(1, wide):
        total += rows[..., i::wide]
    return total * np.float32(1 / (high * wide))


def frame_source(graph: Graph, frame: VideoFrame) -> FilterContext:
    """An input of a filter graph for frames like this one: size, format, colours, clock."""
    return graph.add(
        "buffer",
        video_size=f"{frame.width}x{frame.height}",
        pix_fmt=frame.format.name,
        time_base=str(frame.time_base or Fraction(1, 1000)),
        colorspace=str(int(frame.colorspace)),
        range=str(int(frame.color_range)),
    )


def _copy(frame: VideoFrame) -> VideoFrame:
    """A deep copy with times, colour tags and side data (HDR metadata, captions).

    PyAV cannot clone a frame; libav's null filter hands out a second reference, which then gets
    buffers of its own.
    """
    graph = Graph()
    source = frame_source(graph, frame)
    sink = graph.add("buffersink")
    graph.link_nodes(source, graph.add("null"), sink).configure()
    source.push(frame)
    copy = sink.pull()
    assert isinstance(copy, VideoFrame)
    copy.make_writable()
    return copy
