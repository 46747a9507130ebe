"""Several channels as one, also where they cancel each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.error import FFmpegError

from dubcli.core.errors import DecodeError
from dubcli.core.flag_runs import true_runs
from dubcli.core.types import F32, F64
from dubcli.media.sound.placed_sound import Silence

# How much of each speaker goes into mono: voices sit in the middle, effects at the back.
_CHANNEL_WEIGHTS = {"FC": 1.0, "FL": 0.7071, "FR": 0.7071, "LFE": 0.0, "LFE2": 0.0}
_OTHER_CHANNEL_WEIGHT = 0.5
_PLANES_IN_FRAME = 8
_WINDOW_S = 0.25
_CHANGE_S = 0.02
# Channels cancel where their sum has less than this share of what the loudest alone gives to it.
_CANCELLED = 0.5
# Quieter windows than this share of the loudest one's power tell nothing.
_HEARD = 1e-4
# From so many of the heard windows on, all of the sound counts as cancelling.
_MOSTLY = 0.7
# A resampler's overshoot of full scale is clipped; what is louder was meant, and is scaled.
_OVERSHOOT = 1.1
# What no recording holds, times full scale: sums and squares of it would overflow.
_BEYOND_MEASURE = 1e12


class MonoMix:
    """Collects decoded sound as one channel at another rate.

    Beside the weighted sum of the channels the loudest one is kept, for where they cancel.

    Args:
        sample_rate: Wanted rate, Hz.

    Attributes:
        sample_rate: Wanted rate, Hz.
        peak: Largest absolute sample of any channel so far; full scale is 1.
        is_finite: No sample so far was NaN, infinite or beyond all measure.
    """

    def __init__(self, sample_rate: int) -> None:
        self.peak = 0.0
        self.is_finite = True
        self.sample_rate = sample_rate
        self._form = (0, 0)
        self._resampler: AudioResampler | None = None
        self._sums: list[F32] = []
        self._loudest: list[F32] = []
        self._power: F64 = np.zeros(0)
        self._weight = 1.0  # of the loudest channel in the sum

    def add(self, block: AudioFrame | Silence) -> None:
        """Add what comes next.

        Raises:
            DecodeError: Samples of a kind that cannot be read, or a rate that cannot be converted.
        """
        if isinstance(block, Silence):
            for count in _pieces(block.samples, block.sample_rate):
                rows = max(1, self._form[1])
                self._put(np.zeros((rows, count), np.float32), block.sample_rate)
            return
        channels = channels_of(block)
        is_number = np.abs(channels) < _BEYOND_MEASURE  # also false of NaN
        if not is_number.all():
            self.is_finite = False
            channels = np.where(is_number, channels, np.float32(0))
        self.peak = max(self.peak, float(np.abs(channels).max(initial=0.0)))
        weights = _mixing_weights(block)
        mixed = weights @ channels
        if len(channels) == 1:
            self._put(mixed[None], block.sample_rate)
        else:
            chosen = self._loudest_of(channels, weights)
            self._put(np.stack([mixed, channels[chosen]]), block.sample_rate)

    def finish(self) -> tuple[F32, list[tuple[float, float]]]:
        """All samples, in [-1, 1], shape (n,), and ranges in which the channels cancel, seconds.

        There the loudest channel stands for all.
        """
        self._collect(None)
        empty = np.zeros(0, np.float32)
        has_others = any(
            one is not other for one, other in zip(self._sums, self._loudest, strict=True)
        )
        total: F32 = np.concatenate(self._sums) if self._sums else empty
        # An hour at 16 kHz is 230 MB: no more copies of it than are needed.
        self._sums.clear()
        if not has_others:
            self._loudest.clear()
        ranges: list[tuple[float, float]] = []
        if has_others:
            loudest = np.concatenate(self._loudest)
            self._loudest.clear()
            share = self._cancelled_share(total, loudest)
            if share is not None:
                runs, rate = true_runs(share > 0.5), self.sample_rate
                ranges = [(start / rate, stop / rate) for start, stop in runs]
                total += share * (loudest - total)
        peak = max(float(total.max(initial=0.0)), -float(total.min(initial=0.0)))
        if peak > _OVERSHOOT:
            total /= np.float32(peak)
        np.clip(total, -1, 1, out=total)
        return total, ranges

    def _loudest_of(self, channels: F32, weights: F32) -> int:
        if len(self._power) != len(channels):
            self._power = np.zeros(len(channels))
        self._power += np.square(channels, dtype=np.float64).sum(axis=1) * np.square(weights)
        chosen = int(np.argmax(self._power))
        self._weight = float(weights[chosen]) or 1.0
        return chosen

    def _put(self, rows: F32, rate: int) -> None:
        if self._resampler is None or self._form != (rate, len(rows)):
            self._collect(None)
            self._form = (rate, len(rows))
            self._resampler = AudioResampler(
                format="fltp", layout=_layout(len(rows)), rate=self.sample_rate
            )
        frame = AudioFrame.from_ndarray(
            np.ascontiguousarray(rows), format="fltp", layout=_layout(len(rows))
        )
        frame.sample_rate = rate
        self._collect(frame)

    def _collect(self, frame: AudioFrame | None) -> None:
        if self._resampler is None:
            return
        try:
            parts = self._resampler.resample(frame)
        except FFmpegError as error:
            raise DecodeError(
                f"Sound of {self._form[0]} samples a second cannot be converted: {error.strerror}.",
                "Its header may be damaged; convert it first, e.g. ffmpeg -i IN -ar 48000 OUT.wav.",
            ) from error
        for part in parts:
            rows = part.to_ndarray()
            mixed = np.ascontiguousarray(rows[0])
            self._sums.append(mixed)
            self._loudest.append(mixed if len(rows) == 1 else np.ascontiguousarray(rows[1]))

    def _cancelled_share(self, total: F32, loudest: F32) -> F32 | None:
        """How much of the loudest channel is taken at each sample, in [0, 1]; None for nothing."""
        window = max(1, round(_WINDOW_S * self.sample_rate))
        edges = np.arange(0, len(total), window)
        sums, alone = (
            np.add.reduceat(np.square(one, dtype=np.float64), edges) for one in (total, loudest)
        )
        is_heard = (alone > _HEARD * alone.max()) & (alone > 0)
        cancels = is_heard & (sums < _CANCELLED * self._weight**2 * alone)
        if not cancels.any():
            return None
        if cancels.sum() > _MOSTLY * is_heard.sum():
            return np.ones(len(total), np.float32)
        share = np.repeat(cancels.astype(np.float32), window)[: len(total)]
        length = max(1, round(_CHANGE_S * self.sample_rate))
        ramp = np.full(length, 1 / length, np.float32)
        return np.clip(np.convolve(share, ramp, "same"), 0, 1).astype(np.float32)


def channels_of(frame: AudioFrame) -> F32:
    """A frame's samples, full scale 1; NaN and infinity are kept. Shape (channels, n), float32.

    Raises:
        DecodeError: Samples of a kind that cannot be read.
    """
    frame = _readable(frame)
    try:
        samples = frame.to_ndarray()
    except (ValueError, KeyError) as error:
        raise DecodeError(
            f"The sample format {frame.format.name} is not supported.",
            "Convert it first, e.g. ffmpeg -i IN OUT.wav.",
        ) from error
    if frame.format.is_packed:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype == np.uint8:
        return np.asarray((samples.astype(np.float32) - 128) / 128, np.float32)
    if samples.dtype.kind == "i":
        return samples.astype(np.float32) / np.float32(-float(np.iinfo(str(samples.dtype)).min))
    return samples.astype(np.float32)


def _readable(frame: AudioFrame) -> AudioFrame:
    """The frame with its channels interleaved where PyAV cannot read them one by one.

    It looks for the end of a list of planes that holds eight and has no end mark: from 7.1 on it
    reads past it.
    """
    if frame.format.is_packed or frame.layout.nb_channels < _PLANES_IN_FRAME:
        return frame
    (packed,) = AudioResampler(format=frame.format.packed.name).resample(frame)
    return packed


def _mixing_weights(frame: AudioFrame) -> F32:
    """Weight of each channel in mono, summing to 1. Shape (channels,), float32."""
    names = [channel.name for channel in frame.layout.channels]
    if len(names) != frame.layout.nb_channels or len(names) == 1:
        names = [""] * frame.layout.nb_channels
    weights = np.array([_CHANNEL_WEIGHTS.get(name, _OTHER_CHANNEL_WEIGHT) for name in names])
    if not weights.sum():
        weights[:] = 1
    return (weights / weights.sum()).astype(np.float32)


def _layout(rows: int) -> str:
    return "mono" if rows == 1 else "stereo"


def _pieces(samples: int, rate: int) -> Iterator[int]:
    """Lengths of a second or less that add up to so many samples."""
    while samples > 0:
        yield min(samples, rate)
        samples -= rate
