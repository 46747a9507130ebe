"""How the driving audio gets into the result: copied, or encoded with exact sample counts.

It is copied when nothing about it changes. Cut, padded, louder, or mixed with the source's own
sound, it is decoded and encoded once, by counting samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from av.audio.codeccontext import AudioCodecContext
from av.audio.layout import AudioLayout

from dubcli.media.container.formats import LOSSLESS_AUDIO, Container
from dubcli.media.container.probe import open_media

# EBU R128's highest true peak, dB over full scale: lossy codecs overshoot by less than this leaves.
HIGHEST_PEAK_DB = -1.0
# Differences that come from rounding a duration elsewhere; nobody means to cut so little.
_TOLERANCE_S = Fraction(1, 1000)
_AAC_RATES = (
    *(96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000),
    7350,
)
_OPUS_RATE = 48000
# How long the sounds of a part and of what lies around it take to change over.
_FADE_S = Fraction(15, 1000)
# By the number of channels: what Opus and FLAC hold, and what libav takes unnamed channels for.
_USUAL_LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")
_GUESSED_LAYOUTS = ("mono", "stereo", "2.1", "4.0", "5.0", "5.1", "6.1", "7.1")
# What every ffmpeg's AAC encoder holds without moving a channel; the side speakers of 5.0 and 5.1
# are its back ones.
_AAC_LAYOUTS = ("mono", "stereo", "3.0", "4.0", "5.0", "5.0(side)", "5.1", "5.1(side)")
_MOST_CHANNELS = 8


@dataclass(frozen=True, kw_only=True)
class DrivingAudio:
    """Facts of the driving audio, by decoding it.

    Attributes:
        codec: libav's name of the codec.
        sample_rate: Hz.
        channels: Number of channels.
        num_samples: Samples per channel.
        first_s: Time of the first sample on the file's own clock, s.
        layout: libav's name of its channels' places, empty where it has none.
        index: Of the stream in its file.
        is_repaired: The file was written anew; `codec` is still the recording's own.
    """

    codec: str
    sample_rate: int
    channels: int
    num_samples: int
    first_s: Fraction
    layout: str = ""
    index: int = 0
    is_repaired: bool = False

    @property
    def duration_s(self) -> Fraction:
        """Length in s."""
        return Fraction(self.num_samples, self.sample_rate)


@dataclass(frozen=True, kw_only=True)
class Part:
    """From when to when a video is dubbed.

    Attributes:
        begin_s: Its start on the video's clock, s.
        end_s: Its end on that clock, s.
        has_before: Frames come before it, so the source's own sound is heard up to it.
        has_after: Frames come after it, so that sound is heard from there on.
    """

    begin_s: Fraction
    end_s: Fraction
    has_before: bool
    has_after: bool

    @property
    def has_outside(self) -> bool:
        """Some frames do not belong to it."""
        return self.has_before or self.has_after


@dataclass(frozen=True, kw_only=True)
class OwnSound:
    """The source's own sound, mixed below the new one, or heard where that is not.

    Attributes:
        index: Its stream in the source.
        sample_rate: Hz.
        channels: Number of channels.
        layout: libav's name of their places, empty where it has none.
        gain_db: Factor on it below the new audio, dB; None where it is not heard there.
        begin_s: Where the mix begins on the video's clock, s; not after the new audio.
    """

    index: int
    sample_rate: int
    channels: int
    layout: str
    gain_db: float | None
    begin_s: Fraction


@dataclass(frozen=True, kw_only=True)
class SoundEdit:
    """What is done to the driving audio besides cutting and padding its end.

    Attributes:
        skip_s: How much of its beginning is left out, s.
        gain_db: Factor on it, dB.
        own: What is mixed below it, and heard outside `part`.
        part: Where it is heard; None for all of the video.
        peak_db: Its true peak before that factor, dB over full scale; None where it is far below.
    """

    skip_s: Fraction = Fraction(0)
    gain_db: float = 0.0
    own: OwnSound | None = None
    part: Part | None = None
    peak_db: float | None = None


Filters = tuple[tuple[str, Mapping[str, Any]], ...]


@dataclass(frozen=True, kw_only=True)
class AudioArrangement:
    """What ffmpeg does with the driving audio.

    Attributes:
        encoder: `copy` or an audio encoder.
        index: Of the driving audio's stream in its file.
        sample_rate: Of the result, Hz.
        bit_rate: bit/s; None for the encoder's own.
        channels: Number of them when it is encoded.
        filters: Name and settings of each filter, in order; none for a copy.
        delay_s: Added to the file's own clock when copying, s.
        end_s: Where it ends on the output's clock, s.
        own_index: The source's stream that is mixed below it; None without one.
        own_filters: Filters of that stream before the two are added.
        own_layers: Filters of each of its copies that are added then; none for itself alone.
        own_goes_on: It is heard to its own end, not only to the driving audio's.
        lowered_db: How much quieter the driving audio is made so that no peak clips, dB.
    """

    encoder: str
    sample_rate: int
    index: int = 0
    bit_rate: int | None = None
    channels: int | None = None
    filters: Filters = ()
    delay_s: Fraction = Fraction(0)
    end_s: Fraction = Fraction(0)
    own_index: int | None = None
    own_filters: Filters = ()
    own_layers: tuple[Filters, ...] = ()
    own_goes_on: bool = False
    lowered_db: float = 0.0


def read_own_sound(path: Path, index: int, gain_db: float | None, begin_s: Fraction) -> OwnSound:
    """Look at the header of a source's own sound that is to be heard with the new one.

    Args:
        path: The source.
        index: Of the stream.
        gain_db: Factor on it below the new audio, dB; None where it is not heard there.
        begin_s: Where the mix begins on the video's clock, s.

    Raises:
        ProbeError: The file cannot be read.
    """
    with open_media(path) as container:
        context = container.streams[index].codec_context
        assert isinstance(context, AudioCodecContext)
        return OwnSound(
            index=index,
            sample_rate=context.sample_rate,
            channels=context.channels,
            layout=context.layout.name,
            gain_db=gain_db,
            begin_s=begin_s,
        )


def arrange_audio(
    audio: DrivingAudio,
    container: Container,
    audio_s: Fraction,
    pad_s: Fraction,
    start_s: Fraction,
    edit: SoundEdit | None = None,
) -> tuple[AudioArrangement, list[str]]:
    """Decide between copy and encode, and where to cut, pad and start.

    Args:
        audio: The driving audio.
        container: The result's.
        audio_s: Where it is cut, s from its own start.
        pad_s: Silence after it, s.
        start_s: Time on the output's clock of its first sample that is used, s.
        edit: What else is done to it; nothing by default.

    Returns:
        What is done to the sound, and notes on what is not kept.
    """
    edit = edit or SoundEdit()
    wanted_s = audio_s - edit.skip_s + pad_s
    is_whole = abs(wanted_s - audio.duration_s) <= _TOLERANCE_S and not edit.skip_s
    is_edited = edit.gain_db != 0 or edit.own is not None or audio.is_repaired
    if is_whole and not is_edited and audio.codec in container.exact_audio:
        return AudioArrangement(
            encoder="copy",
            index=audio.index,
            sample_rate=audio.sample_rate,
            delay_s=start_s - audio.first_s,
            end_s=start_s + audio.duration_s,
        ), []
    lowered_db = _excess_db(edit)
    edit = replace(edit, gain_db=edit.gain_db - lowered_db)
    own, part = edit.own, edit.part
    form, notes = _form(audio, container, own)
    if lowered_db:
        notes.append(
            f"The audio was made {lowered_db:.1f} dB quieter: its peaks are above full scale."
        )
    channels = AudioLayout(form.layout).nb_channels
    return AudioArrangement(
        encoder=form.encoder,
        index=audio.index,
        sample_rate=form.rate,
        bit_rate=_bit_rate(form.encoder, form.rate, channels),
        channels=channels,
        filters=_filters(audio, form, edit, (audio_s, wanted_s, start_s)),
        end_s=start_s + max(wanted_s, Fraction(0)),
        own_index=None if own is None else own.index,
        own_filters=() if own is None else _own_filters(own, form, part),
        own_layers=() if own is None or part is None else _own_layers(own, part, form.rate),
        own_goes_on=own is not None and part is not None and part.has_after,
        lowered_db=lowered_db,
    ), notes


def _excess_db(edit: SoundEdit) -> float:
    """How much quieter sound that is encoded must be for its peaks to survive, dB."""
    if edit.peak_db is None or edit.peak_db + edit.gain_db <= 0:
        return 0.0
    return edit.peak_db + edit.gain_db - HIGHEST_PEAK_DB


@dataclass(frozen=True)
class _Form:
    """How the sound is encoded. `layout` is one that `encoder` holds, unless that is AAC's."""

    encoder: str
    rate: int
    layout: str


def _form(
    audio: DrivingAudio, container: Container, own: OwnSound | None
) -> tuple[_Form, list[str]]:
    """Encoder, rate and channels of the result, and notes on what these change."""
    rate, layout = audio.sample_rate, known_layout(audio.layout, audio.channels)
    notes: list[str] = []
    if own is not None and (own.sample_rate > rate or own.channels > audio.channels):
        rate = max(rate, own.sample_rate)
        if own.channels > audio.channels:
            layout = known_layout(own.layout, own.channels)
        notes.append(f"The sound is {rate} Hz {layout}, as the source's own.")
    is_lossless = audio.codec in LOSSLESS_AUDIO
    encoder = container.lossless_encoder if is_lossless else container.lossy_encoder
    if encoder == "aac" and layout not in _AAC_LAYOUTS:
        encoder = container.layout_encoder
        notes.append(f"The sound is {encoder}, not AAC, which has no {layout}.")
    count = AudioLayout(layout).nb_channels
    if encoder == "libopus" or (encoder == "flac" and count > _MOST_CHANNELS):
        held = _USUAL_LAYOUTS[min(count, _MOST_CHANNELS) - 1]
        if layout not in (held, f"{held}(side)", f"{held}(back)"):
            notes.append(f"The channels were changed from {layout} to {held}: {encoder} needs it.")
        layout = held
    allowed = _encoder_rate(encoder, rate)
    if allowed != rate:
        notes.append(f"Audio resampled from {rate} to {allowed} Hz: {encoder} needs it.")
    return _Form(encoder, allowed, layout), notes


def known_layout(name: str, channels: int) -> str:
    """A layout by its name; the usual one of so many channels where their places are unknown."""
    guessed = _GUESSED_LAYOUTS[min(channels, _MOST_CHANNELS) - 1]
    try:
        layout = AudioLayout(name)
    except ValueError:
        return guessed
    return guessed if any(place.name == "NONE" for place in layout.channels) else layout.name


def _filters(
    audio: DrivingAudio, form: _Form, edit: SoundEdit, times: tuple[Fraction, Fraction, Fraction]
) -> Filters:
    audio_s, wanted_s, start_s = times
    rate, own = form.rate, edit.own
    filters: list[tuple[str, Mapping[str, Any]]] = []
    if rate != audio.sample_rate:
        filters.append(("aresample", {"sample_rate": rate}))
    filters += channel_filters(audio.layout, audio.channels, form.layout)
    filters += _gain(edit.gain_db)
    trim: dict[str, Any] = {}
    if edit.skip_s:
        trim["start_sample"] = round(edit.skip_s * rate)
    if audio.duration_s - audio_s > _TOLERANCE_S:
        trim["end_sample"] = round(audio_s * rate)
    filters += [("atrim", trim)] if trim else []
    before_s = Fraction(0) if own is None else start_s - own.begin_s
    if before_s:
        # `adelay` reads the first time that it is given, so the cut's must be gone.
        filters.append(("asetpts", {"expr": "N/SR/TB"}))
        filters.append(("adelay", {"delays": f"{round(before_s * rate)}S", "all": 1}))
    if edit.part is not None:
        filters.append(("asetpts", {"expr": "N/SR/TB"}))
        filters += _inside(edit.part, start_s - before_s, rate)
    given_s = min(audio.duration_s, audio_s) - edit.skip_s
    if wanted_s - given_s > _TOLERANCE_S:
        filters.append(("apad", {"whole_len": round((before_s + wanted_s) * rate)}))
    filters.append(_clock(start_s - before_s, rate))
    return tuple(filters)


def _own_filters(own: OwnSound, form: _Form, part: Part | None) -> Filters:
    """Bring the source's own sound to the mix's start, rate and channels.

    Its times are kept: it is filled or cut up to where the mix begins, and gaps in it are filled.
    """
    first = round(own.begin_s * form.rate)
    align = {"sample_rate": form.rate, "async": 1, "first_pts": first}
    filters = [("aresample", align), *channel_filters(own.layout, own.channels, form.layout)]
    if part is not None:  # `_own_layers` does the rest
        return (*filters, ("asetpts", {"expr": "N/SR/TB"}))
    return (*filters, *_gain(own.gain_db or 0.0), _clock(own.begin_s, form.rate))


def _own_layers(own: OwnSound, part: Part, rate: int) -> tuple[Filters, ...]:
    """The source's own sound before, after and below a part; together they never jump."""
    begin, end, fade = _borders(part, own.begin_s, rate)
    clock = _clock(own.begin_s, rate)
    layers: list[Filters] = []
    if part.has_before:
        layers.append((_fade("out", begin, fade), clock))
    if part.has_after:
        layers.append((_fade("in", end - fade, fade), clock))
    if own.gain_db is not None:
        layers.append((*_inside(part, own.begin_s, rate), *_gain(own.gain_db), clock))
    return tuple(layers)


def _inside(part: Part, first_s: Fraction, rate: int) -> Filters:
    """Silence what lies outside a part; the fades lie inside. The clock begins at `first_s`."""
    begin, end, fade = _borders(part, first_s, rate)
    fades: list[tuple[str, Mapping[str, Any]]] = []
    if part.has_before and begin >= 0:
        fades.append(_fade("in", begin, fade))
    if part.has_after:
        fades.append(_fade("out", end - fade, fade))
    return tuple(fades)


def _borders(part: Part, first_s: Fraction, rate: int) -> tuple[int, int, int]:
    """First sample of a part, first one after it, and how long a fade is, samples."""
    begin, end = (round((time_s - first_s) * rate) for time_s in (part.begin_s, part.end_s))
    return begin, end, max(1, min(round(_FADE_S * rate), (end - begin) // 2))


def _fade(kind: str, first: int, length: int) -> tuple[str, Mapping[str, Any]]:
    return "afade", {"type": kind, "start_sample": first, "nb_samples": length}


def _clock(start_s: Fraction, rate: int) -> tuple[str, Mapping[str, Any]]:
    # Samples counted, not times taken over: the input's clock may have gaps and a start of its own.
    return "asetpts", {"expr": f"(N+{round(start_s * rate)})/SR/TB"}


def _gain(gain_db: float) -> list[tuple[str, Mapping[str, Any]]]:
    settings = {"volume": f"{gain_db:.3f}dB", "precision": "double"}
    return [("volume", settings)] if gain_db else []


def channel_filters(name: str, channels: int, layout: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Filters from one channel layout to another, each channel as loud as before.

    Args:
        name: libav's name of the layout that there is; empty where it has none.
        channels: How many it has.
        layout: Name of the wanted one.
    """
    if known_layout(name, channels) == layout:
        return []
    places = [place.name for place in AudioLayout(layout).channels]
    if channels == 1:
        # A voice is heard from where the voices are; libav would make it 3 dB quieter.
        to = ["FC"] if "FC" in places else places[:2]
        words = "|".join([layout, *(f"{place}=c0" for place in to)])
        return [("pan", {"args": words})]
    return [("aformat", {"channel_layouts": layout})]


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
