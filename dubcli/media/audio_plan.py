"""How the driving audio gets into the result: copied, or encoded with exact sample counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from av.error import FFmpegError

from dubcli.errors import DecodeError, ProbeError
from dubcli.media.containers import LOSSLESS_AUDIO, Container
from dubcli.media.probe import open_media

# Differences that come from rounding a duration elsewhere; nobody means to cut so little.
_TOLERANCE_S = Fraction(1, 1000)
_AAC_RATES = (
    *(96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000),
    7350,
)
_OPUS_RATE = 48000
_OPUS_LAYOUTS = "mono|stereo|3.0|quad|5.0|5.1|6.1|7.1"


@dataclass(frozen=True, kw_only=True)
class DrivingAudio:
    """Facts of the driving audio, by decoding it.

    Attributes:
        codec: libav's name of the codec.
        sample_rate: Hz.
        channels: Number of channels.
        num_samples: Samples per channel.
        first_s: Time of the first sample on the file's own clock, s.
    """

    codec: str
    sample_rate: int
    channels: int
    num_samples: int
    first_s: Fraction

    @property
    def duration_s(self) -> Fraction:
        """Length in s."""
        return Fraction(self.num_samples, self.sample_rate)


@dataclass(frozen=True, kw_only=True)
class AudioPlan:
    """What ffmpeg does with the driving audio.

    Attributes:
        encoder: `copy` or an audio encoder.
        sample_rate: Of the result, Hz.
        bit_rate: bit/s; None for the encoder's own.
        filters: Name and settings of each filter, in order; none for a copy.
        delay_s: Added to the file's own clock when copying, s.
        end_s: Where it ends on the output's clock, s.
    """

    encoder: str
    sample_rate: int
    bit_rate: int | None = None
    filters: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    delay_s: Fraction = Fraction(0)
    end_s: Fraction = Fraction(0)


def read_driving_audio(path: Path) -> DrivingAudio:
    """Decode a file's audio and count its samples: headers are often wrong by a frame or more.

    Raises:
        ProbeError: The file cannot be read or has no audio.
        DecodeError: The audio is damaged or empty.
    """
    with open_media(path) as container:
        if not container.streams.audio:
            raise ProbeError(f"'{path}' has no audio stream.", "Give a file with sound.")
        stream = container.streams.audio[0]
        num_samples, first_s = 0, Fraction(0)
        try:
            for frame in container.decode(stream):
                if num_samples == 0 and frame.pts is not None and frame.time_base is not None:
                    first_s = frame.pts * frame.time_base
                num_samples += frame.samples
        except (FFmpegError, ValueError) as error:
            raise DecodeError(
                f"The audio of '{path}' is damaged.", "Convert it to .wav and check it."
            ) from error
        if num_samples == 0:
            raise DecodeError(f"The audio of '{path}' is empty.", "Give a file with sound.")
        return DrivingAudio(
            codec=stream.codec_context.codec.canonical_name,
            sample_rate=stream.codec_context.sample_rate,
            channels=stream.codec_context.channels,
            num_samples=num_samples,
            first_s=first_s,
        )


def plan_audio(
    audio: DrivingAudio,
    container: Container,
    audio_s: Fraction,
    pad_s: Fraction,
    start_s: Fraction,
) -> tuple[AudioPlan, list[str]]:
    """Decide between copy and encode, and where to cut, pad and start.

    Args:
        audio: The driving audio.
        container: The result's.
        audio_s: How much of it is used, s.
        pad_s: Silence after it, s.
        start_s: Time of its first sample on the output's clock, s.

    Returns:
        The plan, and notes on what is not kept.
    """
    wanted_s = audio_s + pad_s
    is_whole = abs(wanted_s - audio.duration_s) <= _TOLERANCE_S
    if is_whole and audio.codec in container.exact_audio:
        return AudioPlan(
            encoder="copy",
            sample_rate=audio.sample_rate,
            delay_s=start_s - audio.first_s,
            end_s=start_s + audio.duration_s,
        ), []
    is_lossless = audio.codec in LOSSLESS_AUDIO
    encoder = container.lossless_encoder if is_lossless else container.lossy_encoder
    rate = _encoder_rate(encoder, audio.sample_rate)
    notes = []
    if rate != audio.sample_rate:
        notes.append(f"Audio resampled from {audio.sample_rate} to {rate} Hz: {encoder} needs it.")
    return AudioPlan(
        encoder=encoder,
        sample_rate=rate,
        bit_rate=_bit_rate(encoder, rate, audio.channels),
        filters=_filters(audio, encoder, rate, (audio_s, wanted_s, start_s)),
        end_s=start_s + max(wanted_s, Fraction(0)),
    ), notes


def _filters(
    audio: DrivingAudio,
    encoder: str,
    rate: int,
    times: tuple[Fraction, Fraction, Fraction],
) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    audio_s, wanted_s, start_s = times
    filters: list[tuple[str, Mapping[str, Any]]] = []
    if rate != audio.sample_rate:
        filters.append(("aresample", {"sample_rate": rate}))
    if encoder == "libopus":
        filters.append(("aformat", {"channel_layouts": _OPUS_LAYOUTS}))
    if audio.duration_s - audio_s > _TOLERANCE_S:
        filters.append(("atrim", {"end_sample": round(audio_s * rate)}))
    if wanted_s - min(audio.duration_s, audio_s) > _TOLERANCE_S:
        filters.append(("apad", {"whole_len": round(wanted_s * rate)}))
    # Samples counted, not times taken over: the input's clock may have gaps and a start of its own.
    filters.append(("asetpts", {"expr": f"(N+{round(start_s * rate)})/SR/TB"}))
    return tuple(filters)


def _encoder_rate(encoder: str, rate: int) -> int:
    if encoder == "libopus":
        return _OPUS_RATE
    if encoder == "aac" and rate not in _AAC_RATES:
        return min((allowed for allowed in _AAC_RATES if allowed >= rate), default=96000)
    return rate


def _bit_rate(encoder: str, rate: int, channels: int) -> int | None:
    if encoder == "aac":
        wanted = {1: 192_000, 2: 256_000}.get(channels, 96_000 * channels)
        return min(wanted, 5 * rate * channels)  # the format ends at 6 bits a sample
    if encoder == "libopus":
        return {1: 128_000, 2: 192_000}.get(channels, 80_000 * channels)
    return None
