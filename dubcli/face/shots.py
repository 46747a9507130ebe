"""Where one shot ends and the next begins, and which frames are no picture of their own.

A frame starts a shot when much of it cannot be found near the same place of the frame before,
neither as it is nor with the overall brightness taken out (so flashes and fades are no cuts), and
when this is out of line with the frames just seen (so fast motion is none either). What a frame is
becomes certain only by what follows: a picture that comes back after a few frames was interrupted,
not cut; a cross-fade is known when it is over.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from dubcli.core.types import F32, U8
from dubcli.face.transitions import SPANS, Ramp, find_ramp, is_same_in_other_light, reduce
from dubcli.face.usability import Reason

# Width and height that a frame is reduced to; motion of up to `_REACH` px of these is no cut.
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
_FLASH_FRAMES = 5
# A picture this much paler than those within some frames is washed out.
_PALE, _PALE_REACH = 0.45, 12
# Spread of luma, grey levels, that pictures are brought to when brightness is not counted.
_EVEN_SPREAD = 50.0
# Mean and spread, grey levels, of a frame that shows nothing: black, or white.
_BLACK_MEAN, _WHITE_MEAN, _EMPTY_SPREAD = 32.0, 215.0, 10.0
# Least difference of the pictures that a cross-fade joins.
_LEAST_FADED = 0.06


@dataclass(frozen=True)
class Verdict:
    """What a frame is. `spoilt` is why it shows no face to be dubbed, '' where it may."""

    is_cut: bool
    spoilt: str = ""


class ShotDetector:
    """Streaming detector of cuts, cross-fades and flashes.

    It holds a few dozen thumbnails whatever the length of the video. Verdicts come in the order of
    the frames, each once, at most `LATENCY` frames late; `finish` gives those still owed.
    """

    LATENCY = SPANS[-1] + _PALE_REACH

    def __init__(self) -> None:
        # The frames seen last; the first of them is number `_first`.
        self._seen: deque[_SeenFrame] = deque(maxlen=2 * self.LATENCY)
        self._num_seen = self._num_told = 0
        # The last frame before the newest cut, and that cut's number.
        self._before_cut: _Thumbnail | None = None
        self._cut = 0
        # The last frame that showed something, while the picture is black or white.
        self._before_empty: _Thumbnail | None = None
        self._usual = _FIRST_USUAL
        self._fades: deque[_Fade] = deque()

    def update(self, image: U8) -> list[Verdict]:
        """Look at the next frame.

        Args:
            image: RGB, upright, any size. Shape (H, W, 3), uint8.

        Returns:
            Verdicts that became certain, of the oldest frames without one.
        """
        now = _SeenFrame(_Thumbnail(image))
        last = self._seen[-1] if self._seen else None
        self._seen.append(now)
        self._num_seen += 1
        if last is not None:
            now.is_cut = self._is_cut(now, last)
        self._look_for_fade()
        return self._tell(self._num_seen - self.LATENCY)

    def finish(self) -> list[Verdict]:
        """Verdicts of all frames that have none yet."""
        return self._tell(self._num_seen)

    def _is_cut(self, newest: _SeenFrame, one_before: _SeenFrame) -> bool:
        now, last = newest.picture, one_before.picture
        if now.is_empty or last.is_empty:
            return self._leave_empty(now, last)
        score = _difference(last, now)
        if not self._stands_out(score):
            self._usual = max(score, _FADING * self._usual)
            return False
        if is_same_in_other_light(one_before.reduced, newest.reduced, are_neighbours=True):
            return False
        index = self._num_seen - 1
        if self._before_cut is not None and index - self._cut <= _FLASH_FRAMES:
            before = self._before_cut
            if _difference(before, now) < _LEAST:
                self._before_cut = None
                self._interrupted(self._cut, index)
                return False
        self._before_cut, self._cut, self._usual = last, index, _FIRST_USUAL
        return True

    def _stands_out(self, score: float) -> bool:
        return score > min(_ALWAYS_CUT, max(_LEAST, _TIMES_USUAL * self._usual))

    def _leave_empty(self, now: _Thumbnail, last: _Thumbnail) -> bool:
        """A shot that comes out of black is new unless it is the one that went into it."""
        if not last.is_empty:
            self._before_empty = last
        if now.is_empty:
            return False
        before, self._before_empty = self._before_empty, None
        self._usual = _FIRST_USUAL
        return before is None or _difference(before, now) >= _LEAST

    def _interrupted(self, start: int, stop: int) -> None:
        """The shot went on behind these frames, which belong to no shot of their own."""
        for index in range(start, stop):
            seen = self._at(index)
            seen.is_cut, seen.is_flash = False, True

    def _at(self, index: int) -> _SeenFrame:
        return self._seen[index - self._num_seen + len(self._seen)]

    def _look_for_fade(self) -> None:
        """Whether a fade ended just before the newest frame; the best explanation stays."""
        newest, recent = self._num_seen - 1, list(self._seen)[-SPANS[-1] - 1 :]
        for span in SPANS:
            if span >= len(recent):
                return
            window = recent[-span - 1 :]
            ramp = find_ramp([seen.reduced for seen in window])
            if ramp is None:
                continue
            fade = _fade(window[0], window[-1], ramp, newest - span)
            if fade is None:
                continue
            rivals = [f for f in self._fades if f.start < fade.stop and fade.start < f.stop]
            if all((fade.length, -fade.off) > (f.length, -f.off) for f in rivals):
                self._fades = deque(f for f in self._fades if f not in rivals)
                self._fades.append(fade)

    def _tell(self, stop: int) -> list[Verdict]:
        verdicts: list[Verdict] = []
        while self._num_told < stop:
            verdicts.append(self._verdict(self._num_told))
            self._num_told += 1
        while self._fades and self._fades[0].stop + _FLASH_FRAMES < self._num_told:
            self._fades.popleft()
        return verdicts

    def _verdict(self, index: int) -> Verdict:
        seen = self._at(index)
        for fade in self._fades:
            if fade.start <= index < fade.stop:
                is_cut = seen.is_cut if fade.middle is None else index == fade.middle
                return Verdict(is_cut, Reason.CROSS_FADE.value)
            if fade.middle is not None and fade.start - 2 <= index < fade.stop + 2:
                return Verdict(False, self._spoilt(index))
        return Verdict(seen.is_cut, self._spoilt(index))

    def _spoilt(self, index: int) -> str:
        return Reason.FLASH.value if self._at(index).is_flash or self._is_pale(index) else ""

    def _is_pale(self, index: int) -> bool:
        """Washed out, compared with the frames around it in its shot."""
        contrasts = [self._at(index).picture.contrast]
        for other in range(index - 1, max(-1, index - _PALE_REACH - 1), -1):
            if self._at(other + 1).is_cut:
                break
            contrasts.append(self._at(other).picture.contrast)
        for other in range(index + 1, min(self._num_seen, index + _PALE_REACH + 1)):
            if self._at(other).is_cut:
                break
            contrasts.append(self._at(other).picture.contrast)
        return contrasts[0] < _PALE * float(np.median(contrasts))


@dataclass(frozen=True)
class _Fade:
    """Frames `start` to `stop`; a new shot begins at `middle` unless it leads to black or white."""

    start: int
    stop: int
    middle: int | None
    off: float

    @property
    def length(self) -> int:
        return self.stop - self.start


def _fade(one: _SeenFrame, other: _SeenFrame, ramp: Ramp, begin: int) -> _Fade | None:
    """What a ramp between two frames is; None where one is the other in another light."""
    start, stop, middle = begin + ramp.start, begin + ramp.stop, begin + ramp.middle
    # The face is lost in the half that is more black or white than picture.
    if other.picture.is_flat:
        return _Fade(middle, stop, None, ramp.off)
    if one.picture.is_flat:
        return _Fade(start, middle, None, ramp.off)
    if is_same_in_other_light(one.reduced, other.reduced):
        return None
    if _difference(one.picture, other.picture) < _LEAST_FADED:
        return None
    return _Fade(start, stop, middle, ramp.off)


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
        self.contrast = spread
        self.is_flat = spread < _EMPTY_SPREAD
        self.is_empty = self.is_flat and not _BLACK_MEAN <= mean <= _WHITE_MEAN
        # Light scales colour as it scales luma.
        centre = np.array([mean, 128, 128], np.float32)
        self.even = 128 + (self.planes - centre) * np.float32(_EVEN_SPREAD / max(spread, 4.0))
        self.histograms = [_histogram(self.planes), _histogram(self.even)]


class _SeenFrame:
    """A frame with what is thought of it so far."""

    def __init__(self, picture: _Thumbnail) -> None:
        self.picture = picture
        self.reduced = reduce(picture.planes)
        self.is_cut = self.is_flash = False


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
