"""Where the samples of a pixel format lie, and the colour maths between them and RGB.

Everything here works on small regions in float32, so 10-bit material keeps its precision; libav's
8-bit converters are not used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from dubcli.core.types import F32

# Values of libav's AVColorSpace, AVColorRange, AVColorPrimaries that matter here.
_SPACE_YCGCO = 8
_RANGE_LIMITED, _RANGE_FULL = 1, 2
_PRIMARIES_BT2020 = 9
# (K_red, K_blue) of each AVColorSpace; constant-luminance and ICtCp are treated as BT.2020.
_BT601, _BT709, _BT2020 = (0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)
_LUMA_WEIGHTS = {
    1: _BT709,
    4: (0.30, 0.11),
    5: _BT601,
    6: _BT601,
    7: (0.212, 0.087),
    9: _BT2020,
    10: _BT2020,
    14: _BT2020,
}
_HD_HEIGHT = 720

_PACKED_RGB = re.compile(r"^([0a]?(?:rgb|bgr)[0a]?)(24|48|64)?(le|be)?$")
_SEMI_PLANAR = {"nv12": (1, 1), "nv21": (1, 1), "nv16": (1, 0), "nv24": (0, 0), "nv42": (0, 0)}
_PLANAR_YUV = re.compile(r"^yuv([aj]?)(444|440|422|420|411|410)p(\d*)(le|be)?$")
_SUBSAMPLING = {
    "444": (0, 0),
    "440": (0, 1),
    "422": (1, 0),
    "420": (1, 1),
    "411": (2, 0),
    "410": (2, 2),
}
_SEMI_PLANAR_DEEP = re.compile(r"^p([024])(10|12|16)(le|be)$")
_PLANAR_RGB = re.compile(r"^gbr(a?)p(\d*)(le|be)?$")
_GRAY = re.compile(r"^(gray|ya)(\d*)(le|be)?$")
_DEEPEST = 16


@dataclass(frozen=True)
class Component:
    """Where one colour component lies: sample x is element `x * step + offset` of its row."""

    plane: int
    step: int
    offset: int


@dataclass(frozen=True)
class PixelLayout:
    """How a pixel format stores its samples.

    Attributes:
        kind: `yuv`, `rgb` or `gray`.
        components: Y, U, V or R, G, B or Y; alpha is left alone.
        dtype: Of a stored sample, with its byte order.
        depth: Significant bits.
        shift: Unused low bits of a stored sample.
        chroma_shift: log2 of the chroma subsampling, x and y.
        is_jpeg: The format itself says full range.
    """

    kind: str
    components: tuple[Component, ...]
    dtype: np.dtype[np.unsignedinteger]
    depth: int
    shift: int = 0
    chroma_shift: tuple[int, int] = (0, 0)
    is_jpeg: bool = False

    @property
    def maximum(self) -> int:
        """Largest sample value."""
        return (1 << self.depth) - 1


@dataclass(frozen=True)
class ColorCoding:
    """Linear map from RGB in [0, 1] to sample values.

    Attributes:
        matrix: Rows Y, U, V (or R, G, B; or Y), columns R, G, B. Shape (C, 3), float32.
        offset: Added to each component. Shape (C,), float32.
        inverse: From `sample - offset` back to RGB. Shape (3, C), float32.
    """

    matrix: F32
    offset: F32
    inverse: F32


@lru_cache(maxsize=64)
def pixel_layout(name: str) -> PixelLayout | None:
    """The layout of a libav pixel format, or None where samples cannot be reached one by one."""
    for parse in (_planar_yuv, _semi_planar, _planar_rgb, _packed_rgb, _gray):
        layout = parse(name)
        if layout is not None and layout.depth <= _DEEPEST:
            return layout
    return None


def reachable_format(name: str) -> str:
    """The format to convert to where `pixel_layout` is None: same kind, no fewer bits.

    Raises:
        ValueError: The format has no samples in memory (a frame on a graphics card).
    """
    pixel_format = VideoFormat(name, 16, 16)
    components = pixel_format.components
    if not components:
        raise ValueError(f"{name} has no samples in memory")
    bits = max(component.bits for component in components)
    has_alpha = pixel_format.has_palette or any(component.is_alpha for component in components)
    is_rgb = pixel_format.is_rgb or pixel_format.has_palette or pixel_format.is_bayer
    if is_rgb or name.startswith("xyz"):
        if bits <= 8:
            return "rgba" if has_alpha else "rgb24"
        return "gbrap16le" if has_alpha else "gbrp16le"
    if len(components) < 3:
        return "gray" if bits <= 8 else "gray16le"
    sub = (16 // pixel_format.chroma_width(16), 16 // pixel_format.chroma_height(16))
    ratio = {(1, 1): "444", (2, 1): "422", (2, 2): "420", (4, 1): "411"}.get(sub, "444")
    depth = next((depth for depth in (8, 10, 12, 16) if bits <= depth), 16)
    if has_alpha:
        return {8: "yuva444p", 10: "yuva444p10le", 12: "yuva444p12le"}.get(depth, "yuva444p16le")
    return f"yuv{ratio}p" if depth == 8 else f"yuv{ratio if ratio != '411' else '422'}p{depth}le"


def color_coding(frame: VideoFrame, layout: PixelLayout) -> ColorCoding:
    """The frame's own RGB-to-sample map, from its colour tags.

    Untagged video is BT.601 below 720 lines and BT.709 from there (BT.2020 where the primaries
    say so), limited range; untagged RGB and gray are full range.
    """
    full_range = is_full_range(frame, layout)
    return _coding(matrix_index(frame), full_range, layout.kind, layout.depth)


def matrix_index(frame: VideoFrame) -> int:
    """The frame's AVColorSpace, or what is usual where it is not tagged."""
    space = int(frame.colorspace)
    if space in _LUMA_WEIGHTS or space == _SPACE_YCGCO:
        return space
    if int(frame.color_primaries) == _PRIMARIES_BT2020:
        return 9
    return 1 if frame.height >= _HD_HEIGHT else 5


def is_full_range(frame: VideoFrame, layout: PixelLayout) -> bool:
    """Whether samples span all code values (`pc`) instead of the studio swing (`tv`)."""
    tagged = int(frame.color_range)
    if layout.is_jpeg or layout.kind == "rgb" or tagged == _RANGE_FULL:
        return True
    return layout.kind == "gray" and tagged != _RANGE_LIMITED


@lru_cache(maxsize=32)
def _coding(space: int, full_range: bool, kind: str, depth: int) -> ColorCoding:
    maximum = (1 << depth) - 1
    if kind == "rgb":
        matrix = np.eye(3) * maximum
        offset = np.zeros(3)
    else:
        unit = 1 << (depth - 8)
        luma_scale, luma_offset = (maximum, 0) if full_range else (219 * unit, 16 * unit)
        chroma_scale = maximum if full_range else 224 * unit
        scale = np.array([luma_scale, chroma_scale, chroma_scale], dtype=np.float64)
        matrix = _luma_chroma(space) * scale[:, None]
        offset = np.array([luma_offset, 1 << (depth - 1), 1 << (depth - 1)], dtype=np.float64)
    inverse = np.linalg.inv(matrix)
    if kind == "gray":
        matrix, offset = matrix[:1], offset[:1]
        inverse = np.full((3, 1), 1 / luma_scale)
    return ColorCoding(*(part.astype(np.float32) for part in (matrix, offset, inverse)))


def _luma_chroma(space: int) -> NDArray[np.float64]:
    """R, G, B in [0, 1] to Y in [0, 1] and U, V in [-0.5, 0.5]. ITU-T H.273, table 4."""
    if space == _SPACE_YCGCO:
        return np.array([[0.25, 0.5, 0.25], [-0.25, 0.5, -0.25], [0.5, 0.0, -0.5]])
    red, blue = _LUMA_WEIGHTS[space]
    luma = np.array([red, 1 - red - blue, blue])
    return np.stack(
        [
            luma,
            (np.array([0.0, 0.0, 1.0]) - luma) / (2 * (1 - blue)),
            (np.array([1.0, 0.0, 0.0]) - luma) / (2 * (1 - red)),
        ]
    )


def _sample_type(bits: int, order: str | None) -> np.dtype[np.unsignedinteger]:
    if bits <= 8:
        return np.dtype(np.uint8)
    return np.dtype(np.uint16).newbyteorder(">" if order == "be" else "<")


def _planar_yuv(name: str) -> PixelLayout | None:
    match = _PLANAR_YUV.match(name)
    if match is None:
        return None
    depth = int(match[3] or 8)
    return PixelLayout(
        kind="yuv",
        components=tuple(Component(plane, 1, 0) for plane in range(3)),
        dtype=_sample_type(depth, match[4]),
        depth=depth,
        chroma_shift=_SUBSAMPLING[match[2]],
        is_jpeg=match[1] == "j",
    )


def _semi_planar(name: str) -> PixelLayout | None:
    deep = _SEMI_PLANAR_DEEP.match(name)
    if deep is None and name not in _SEMI_PLANAR:
        return None
    swapped = name in ("nv21", "nv42")
    components = (
        Component(0, 1, 0),
        Component(1, 2, 1 if swapped else 0),
        Component(1, 2, 0 if swapped else 1),
    )
    if deep is None:
        sub = _SEMI_PLANAR[name]
        return PixelLayout("yuv", components, np.dtype(np.uint8), 8, chroma_shift=sub)
    depth = int(deep[2])
    sub = {"0": (1, 1), "2": (1, 0), "4": (0, 0)}[deep[1]]
    dtype = _sample_type(16, deep[3])
    return PixelLayout("yuv", components, dtype, depth, shift=16 - depth, chroma_shift=sub)


def _planar_rgb(name: str) -> PixelLayout | None:
    match = _PLANAR_RGB.match(name)
    if match is None:
        return None
    depth = int(match[2] or 8)
    components = tuple(Component(plane, 1, 0) for plane in (2, 0, 1))  # stored as G, B, R
    return PixelLayout("rgb", components, _sample_type(depth, match[3]), depth)


def _packed_rgb(name: str) -> PixelLayout | None:
    match = _PACKED_RGB.match(name)
    if match is None:
        return None
    letters, bits = match[1], int(match[2] or 8 * len(match[1]))
    depth = bits // len(letters)
    if depth not in (8, 16):
        return None
    step = len(letters)
    components = tuple(Component(0, step, letters.index(letter)) for letter in "rgb")
    return PixelLayout("rgb", components, _sample_type(depth, match[3]), depth)


def _gray(name: str) -> PixelLayout | None:
    match = _GRAY.match(name)
    if match is None:
        return None
    step = 1 if match[1] == "gray" else 2
    depth = int(match[2] or 8)
    return PixelLayout("gray", (Component(0, step, 0),), _sample_type(depth, match[3]), depth)
