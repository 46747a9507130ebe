"""The frames that a window is made of, and what each shows around a face."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from dubcli.composite.paste import Box
from dubcli.core.types import F64, U8
from dubcli.face.pose import compose
from dubcli.media.video.native_frame import NativeFrame


@dataclass(frozen=True, kw_only=True)
class FrameView:
    """The part of a coded frame around the face, made RGB once for crop and paste.

    Attributes:
        native: The frame.
        index: Its number in the source.
        to_crop: Coded px to crop px. Shape (2, 3).
        x: Left edge of the part, coded px.
        y: Top edge of the part, coded px.
        rgb: Shape (h, w, 3), uint8.
    """

    native: NativeFrame
    index: int
    to_crop: F64
    x: int
    y: int
    rgb: U8

    @property
    def part_to_crop(self) -> F64:
        """Px of `rgb` to crop px. Shape (2, 3)."""
        return compose(self.to_crop, np.array([[1.0, 0, self.x], [0, 1.0, self.y]]))

    def part(self, box: Box) -> U8:
        """What the frame shows in a box: of this part, unless some mask reaches out of it."""
        x, y, width, height = box
        left, top = x - self.x, y - self.y
        inside = self.rgb[max(0, top) : top + height, max(0, left) : left + width]
        if inside.shape[:2] == (height, width):
            return inside
        return self.native.rgb_region(*box)


class HeldFrames:
    """The frames around a window, of a stream that is read once.

    Args:
        source: Frames in order.
        start: Position of the first one.
        end: Position after the last one.
    """

    def __init__(self, source: Iterator[NativeFrame], start: int, end: int) -> None:
        self._source, self.start, self._end = source, start, end
        self._frames: deque[NativeFrame] = deque()
        self._views: dict[int, FrameView] = {}
        self._crops: dict[int, U8] = {}

    @property
    def stop(self) -> int:
        """Position after the last frame that is held."""
        return self.start + len(self._frames)

    def read_until(self, stop: int) -> None:
        """Hold all frames before a position."""
        while self.stop < min(stop, self._end):
            native = next(self._source, None)
            if native is None:
                return
            self._frames.append(native)

    def drop_before(self, position: int) -> None:
        """Let go of what no later window needs."""
        while self._frames and self.start < position:
            self._frames.popleft()
            self._views.pop(self.start, None)
            self._crops.pop(self.start, None)
            self.start += 1

    def frame(self, position: int) -> NativeFrame:
        """The frame at a position."""
        return self._frames[position - self.start]

    def frames(self, start: int, stop: int) -> list[NativeFrame]:
        """The frames of a range that are held."""
        return [self.frame(position) for position in range(start, min(stop, self.stop))]

    def view(self, position: int, look: Callable[[NativeFrame, int], FrameView]) -> FrameView:
        """The face's surroundings at a position."""
        if position not in self._views:
            self._views[position] = look(self.frame(position), position)
        return self._views[position]

    def crop(self, position: int, cut: Callable[[FrameView], U8]) -> U8:
        """The aligned crop at a position, whose surroundings are known."""
        if position not in self._crops:
            self._crops[position] = cut(self._views[position])
        return self._crops[position]
