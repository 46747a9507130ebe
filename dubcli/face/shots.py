"""Where one shot ends and the next begins, decided frame by frame.

A frame starts a shot when much of it cannot be found near the same place of the frame before,
neither as it is nor with the overall brightness taken out (so flashes and fades are no cuts), and
when this is out of line with the frames just seen (so fast motion is none either).
"""

from __future__ import annotations

import cv2
import numpy as np

from dubcli.types import F32, U8

# Width and height that a frame is reduced to; motion is told from cuts within `_REACH` of these.
_SIZE = (48, 32)
_REACH = 2
_BINS = 16
# Scores run from 0 (same picture) to about 1 (nothing in common).
_ALWAYS_CUT = 0.5
_LEAST = 0.07
_TIMES_USUAL = 4.0
# What motion may score before anything was seen, and how much of its peak stays each frame.
_FIRST_USUAL = 0.015
_FADING = 0.93
# For how many frames a flash may last.
_FLASH_FRAMES = 3
# Spread of luma, grey levels, that pictures are brought to when brightness is not counted.
_EVEN_SPREAD = 50.0
# Mean and spread, grey levels, under which a frame shows nothing.
_BLACK_MEAN, _BLACK_SPREAD = 32.0, 10.0


class ShotDetector:
    """Streaming cut detector; holds a few thumbnails whatever the length of the video."""

    def __init__(self) -> None:
        self._last: _Thumbnail | None = None
        # The last frame before the newest cut, and how many frames ago that cut was.
        self._before_cut: _Thumbnail | None = None
        self._since_cut = 0
        # The last frame that showed something, while the picture is black.
        self._before_black: _Thumbnail | None = None
        self._usual = _FIRST_USUAL

    def update(self, image: U8) -> bool:
        """Look at the next frame.

        Args:
            image: RGB, upright, any size. Shape (H, W, 3), uint8.

        Returns:
            True when this frame starts a new shot; False for the first frame of all.
        """
        now, last = _Thumbnail(image), self._last
        self._last = now
        if last is None:
            return False
        self._since_cut += 1
        if now.is_black or last.is_black:
            return self._leave_black(now, last)
        score = _difference(last, now)
        if not self._stands_out(score):
            self._usual = max(score, _FADING * self._usual)
            return False
        if self._before_cut is not None and self._since_cut <= _FLASH_FRAMES:
            before = self._before_cut
            self._before_cut = None
            if _difference(before, now) < _LEAST:
                return False
        self._before_cut, self._since_cut, self._usual = last, 0, _FIRST_USUAL
        return True

    def _stands_out(self, score: float) -> bool:
        return score > min(_ALWAYS_CUT, max(_LEAST, _TIMES_USUAL * self._usual))

    def _leave_black(self, now: _Thumbnail, last: _Thumbnail) -> bool:
        """A shot that comes out of black is new unless it is the one that went into it."""
        if not last.is_black:
            self._before_black = last
        if now.is_black:
            return False
        before, self._before_black = self._before_black, None
        self._usual = _FIRST_USUAL
        return before is None or _difference(before, now) >= _LEAST


class _Thumbnail:
    """What is remembered of a frame."""

    def __init__(self, image: U8) -> None:
        # Area averaging is fast by whole factors only.
        finer = cv2.resize(image, (4 * _SIZE[0], 4 * _SIZE[1]), interpolation=cv2.INTER_LINEAR)
        small = cv2.resize(finer, _SIZE, interpolation=cv2.INTER_AREA)
        colour = cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb)
        self.planes = cv2.GaussianBlur(colour, (0, 0), 0.7).astype(np.float32)
        luma = self.planes[..., 0]
        mean, spread = float(luma.mean()), float(luma.std())
        self.is_black = mean < _BLACK_MEAN and spread < _BLACK_SPREAD
        # Light scales colour as it scales luma.
        centre = np.array([mean, 128, 128], np.float32)
        self.even = 128 + (self.planes - centre) * np.float32(_EVEN_SPREAD / max(spread, 4.0))
        self.histograms = [_histogram(self.planes), _histogram(self.even)]


def _histogram(planes: F32) -> F32:
    """Share of each luma and chroma level, smoothed. Shape (3, bins)."""
    # Chroma varies little in most pictures: its levels are spread around grey.
    spread = (planes - 128) * np.array([1, 3, 3], np.float32) + 128
    levels = np.clip(spread * (_BINS / 256), 0, _BINS - 1).astype(np.int64)
    offsets = np.arange(3) * _BINS
    counts = np.bincount((levels + offsets).ravel(), minlength=3 * _BINS).reshape(3, _BINS)
    shares = counts.astype(np.float32) / (_SIZE[0] * _SIZE[1])
    smooth = cv2.blur(shares, (3, 1), borderType=cv2.BORDER_REPLICATE)
    return smooth.astype(np.float32, copy=False)


def _difference(one: _Thumbnail, other: _Thumbnail) -> float:
    """How little two frames have in common, 0 to about 1, brightness counted or not."""
    scores: list[float] = []
    for index, (a, b) in enumerate(((one.planes, other.planes), (one.even, other.even))):
        unlike = 0.5 * (_unexplained(a, b) + _unexplained(b, a))
        bins = np.abs(one.histograms[index] - other.histograms[index]).sum(1) / 2
        scores.append(0.65 * unlike + 0.35 * float(bins.mean()))
    return min(scores)


def _unexplained(planes: F32, by: F32) -> float:
    """How far `planes` leaves the range of values that `by` holds nearby, 0 to 1."""
    kernel = np.ones((2 * _REACH + 1, 2 * _REACH + 1), np.uint8)
    outside = np.maximum(planes - cv2.dilate(by, kernel), cv2.erode(by, kernel) - planes)
    weights = np.array([1.0, 2.0, 2.0], np.float32)
    return float(np.tanh((np.maximum(outside, 0) * weights).sum(-1) / 40).mean())
