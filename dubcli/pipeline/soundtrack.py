"""The sound of a dub: which part of it is heard when, how loud, and when nobody speaks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from dubcli.audio.log_mel import SAMPLE_RATE
from dubcli.audio.speech_activity import LEAST_PAUSE_S, Range, SpeechActivity
from dubcli.config import DubConfig
from dubcli.config.option_parsing import decibels
from dubcli.core.errors import ConfigError, MediaError, ProbeError
from dubcli.core.flag_runs import true_runs
from dubcli.core.formatting import clock_time, in_time
from dubcli.core.smooth_step import smooth_step
from dubcli.core.types import F32, Bool, MediaInfo
from dubcli.face.track import fade
from dubcli.media.sound.audio_track import HIGHEST_PEAK_DB, Part, SoundEdit, read_own_sound
from dubcli.media.sound.loudness import Loudness, measure_loudness
from dubcli.media.sound.recording import Recording, read_recording
from dubcli.media.sound.waveform import is_silent
from dubcli.media.video.timeline import FrameTimes, Timeline, build_timeline
from dubcli.pipeline.part import part_timeline, place_part

# A change of loudness that is not worth encoding the sound anew.
_LEAST_GAIN_DB = 0.05
_SILENT_PEAK_DB = -70.0
# Music, laughter or noise that lasts so long is told to the user.
_LEAST_OTHER_SOUND_S = 1
# With all samples below this share of full scale, no peak between them reaches it either.
_SAFE_PEAK = 0.7
_FADE_FRAMES = 5
# Lips move for speech so long before and after it, and ease to rest over the second time, seconds.
_MOVES_AROUND_S, _EASE_S = 0.2, 0.3


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When which frame and which sound is there. Times are seconds on the video's clock.

    Attributes:
        timeline: Frames of the result.
        origin_s: Where its sound may begin: with the source's own sound or picture, whichever is
            first.
        begin_s: Where the driving audio's own start lies; before `origin_s` where it is cut.
        skip_s: How much of its beginning is cut, seconds.
        audio_s: Where its end is cut, seconds from its own start.
        pad_s: Silence after it, seconds.
        part: What is dubbed; None for all of the video.
    """

    timeline: Timeline
    origin_s: Fraction
    begin_s: Fraction
    skip_s: Fraction
    audio_s: Fraction
    pad_s: Fraction
    part: Part | None = None


@dataclass(frozen=True, kw_only=True)
class Levels:
    """How loud the parts of the sound become.

    Attributes:
        gain_db: Factor on the driving audio, dB.
        own_db: Factor on the source's own sound, dB; None where it is not mixed in.
        notes: Sentences for the user on both.
        peak_db: True peak of the driving audio before that factor, dB over full scale; None where
            it is far below.
    """

    gain_db: float = 0.0
    own_db: float | None = None
    notes: tuple[str, ...] = ()
    peak_db: float | None = None


def read_audio(audio: Path, config: DubConfig) -> Recording:
    """A driving audio, decoded, with its waveform at the features' rate.

    Raises:
        ConfigError: The offset leaves nothing of it.
        ProbeError: It has no sound, or is silent without leave.
        DecodeError: It cannot be decoded.
    """
    recording = read_recording(audio, SAMPLE_RATE, config.audio_stream)
    if is_silent(recording.waveform) and not config.allow_silence:
        raise ProbeError(
            f"'{audio}' is silent throughout.",
            "Name another recording, or add --allow-silence for a resting mouth.",
        )
    audio_s = recording.duration_s
    if -config.audio_offset_s >= audio_s:
        raise _nothing_left(audio, config, f"it lasts {float(audio_s):.2f} s")
    return recording


def on_output_clock(schedule: Schedule) -> tuple[Schedule, Fraction]:
    """The schedule on a clock on which nothing begins before 0, and how much later that is, s.

    Where the source's clock begins below 0, all of it is moved by whole ticks of the video's.
    """
    timeline = schedule.timeline
    tick_s = timeline.time_base
    first_s = min(int(timeline.pts[0]) * tick_s, schedule.origin_s)
    ticks = max(0, math.ceil(-first_s / tick_s))
    if not ticks:
        return schedule, Fraction(0)
    later_s, part = ticks * tick_s, schedule.part
    if part is not None:
        part = replace(part, begin_s=part.begin_s + later_s, end_s=part.end_s + later_s)
    moved = replace(timeline, pts=timeline.pts + ticks, end_pts=timeline.end_pts + ticks)
    return replace(
        schedule,
        timeline=moved,
        origin_s=schedule.origin_s + later_s,
        begin_s=schedule.begin_s + later_s,
        part=part,
    ), later_s


def schedule_sound(
    config: DubConfig, info: MediaInfo, audio_s: Fraction, times: FrameTimes
) -> Schedule:
    """Fit video and driving audio to each other.

    Without an offset the audio begins with the source's own sound or picture, whichever is first:
    a recording made over the source, or taken from it, then stays in step.

    Args:
        config: What the user asked for.
        info: Facts of the source.
        audio_s: Length of the driving audio, seconds.
        times: The source's frame times.

    Raises:
        ConfigError: The offset leaves nothing of the audio.
    """
    first_s = times.pts[0] * times.time_base
    origin_s = first_s
    if info.audio is not None:
        origin_s = min(first_s, info.audio.start_pts * info.audio.time_base)
    part = place_part(config, audio_s, times)
    if part is not None:
        return _schedule_part(config, info, part, audio_s, times, origin_s)
    begin_s = origin_s + config.audio_offset_s
    skip_s = max(Fraction(0), origin_s - begin_s)
    lead_s = first_s - begin_s  # how much of it comes before the first frame, below 0 for a wait
    timeline = build_timeline(times, max(Fraction(0), audio_s - lead_s), config.sync_mode)
    kept_s = min(audio_s, timeline.audio_s + lead_s)
    if kept_s <= skip_s:
        length = f"the video lasts {float(times.duration_s):.2f} s"
        why = f"{length} with --sync-mode {config.sync_mode}"
        raise _nothing_left(config.voices[0].audio, config, why)
    pad_s = Fraction(0)
    if timeline.pad_s:
        pad_s = first_s + timeline.audio_s + timeline.pad_s - (begin_s + kept_s)
    return Schedule(
        timeline=timeline,
        origin_s=origin_s,
        begin_s=begin_s,
        skip_s=skip_s,
        audio_s=kept_s,
        pad_s=pad_s,
    )


def _schedule_part(
    config: DubConfig,
    info: MediaInfo,
    part: Part,
    audio_s: Fraction,
    times: FrameTimes,
    origin_s: Fraction,
) -> Schedule:
    """As `schedule_sound` where the audio begins with a part of the video, and ends in it."""
    begin_s = part.begin_s + config.audio_offset_s
    skip_s = max(Fraction(0), part.begin_s - begin_s)
    kept_s = min(audio_s, part.end_s - begin_s)
    if kept_s <= skip_s:
        why = f"the part lasts {float(part.end_s - part.begin_s):.2f} s"
        raise _nothing_left(config.voices[0].audio, config, why)
    # Without a sound of its own around the part, the video is silent there.
    end_s = part.end_s if info.audio is not None else times.end_pts * times.time_base
    return Schedule(
        timeline=part_timeline(times, part, audio_s + begin_s - part.begin_s),
        origin_s=origin_s,
        begin_s=begin_s,
        skip_s=skip_s,
        audio_s=kept_s,
        pad_s=end_s - (begin_s + kept_s),
        part=part,
    )


def _nothing_left(audio: Path, config: DubConfig, why: str) -> ConfigError:
    return ConfigError(
        f"With --audio-offset {config.audio_offset:g} nothing of '{audio}' is heard: {why}.",
        "Use a smaller offset.",
    )


def choose_levels(
    config: DubConfig, info: MediaInfo, sound: Path, stream: str = "a:0", peak: float = 0.0
) -> Levels:
    """Measure what `--match-loudness` and `--mix-original` need to know of both sounds.

    Args:
        config: What the user asked for.
        info: Facts of the source.
        sound: The driving audio, mixed where there are several.
        stream: Which of its streams, as ffmpeg names it.
        peak: Its largest absolute sample; full scale is 1.

    Returns:
        Constant gains that no peak clips with. What cannot be done is left out and noted.

    Raises:
        MediaError: The driving audio cannot be measured.
    """
    mix_db = None if config.mix_original is None else decibels(config.mix_original)
    new: Loudness | None = None
    peak_db: float | None = None
    if peak > _SAFE_PEAK:
        new = measure_loudness(sound, stream)
        peak_db = max(new.peak, 20 * math.log10(peak))
    if not config.match_loudness and mix_db is None:
        return Levels(peak_db=peak_db)
    own, missing = _own_loudness(info)
    if own is None:
        options = [("--match-loudness", config.match_loudness), ("--mix-original", mix_db)]
        named = " and ".join(name for name, value in options if value not in (None, False))
        return Levels(notes=(f"{missing}; {named} changed nothing.",), peak_db=peak_db)
    new = new or measure_loudness(sound, stream)
    gain_db, notes = _matching_gain(new, own) if config.match_loudness else (0.0, [])
    if mix_db is not None:
        lower_db = _excess_db(new.peak + gain_db, own.peak + mix_db)
        gain_db, mix_db = gain_db - lower_db, mix_db - lower_db
        notes.append(f"The source's own sound was mixed in at {mix_db:.1f} dB.")
        if lower_db:
            notes.append(f"Both sounds were lowered by {lower_db:.1f} dB: their peaks would clip.")
    return Levels(gain_db=gain_db, own_db=mix_db, notes=tuple(notes), peak_db=peak_db)


def _own_loudness(info: MediaInfo) -> tuple[Loudness | None, str]:
    """Of the source's own sound; None, and why, where there is nothing to be heard."""
    if info.audio is None:
        return None, "The source has no sound of its own"
    try:
        own = measure_loudness(info.path, str(info.audio.index))
    except MediaError:
        return None, "The source's own sound cannot be measured"
    is_heard = own.peak > _SILENT_PEAK_DB
    return (own, "") if is_heard else (None, "The source's own sound is silent")


def _matching_gain(new: Loudness, own: Loudness) -> tuple[float, list[str]]:
    """What brings the new sound to the loudness of the source's own, as far as peaks allow."""
    if new.integrated is None or own.integrated is None:
        which = "The new audio" if new.integrated is None else "The source's own sound"
        return 0.0, [f"{which} is too quiet or short to measure; --match-loudness changed nothing."]
    wanted = own.integrated - new.integrated
    gain_db = min(wanted, max(0.0, HIGHEST_PEAK_DB - new.peak))
    if abs(wanted) < _LEAST_GAIN_DB:
        return 0.0, ["The new audio is as loud as the source's own sound already."]
    how = "louder" if wanted > 0 else "quieter"
    note = f"The new audio was made {abs(gain_db):.1f} dB {how}"
    if gain_db < wanted:
        note += f" of the {wanted:.1f} that the source's own sound is: its peaks would clip"
    else:
        note += f", to the {own.integrated:.1f} LUFS of the source's own sound"
    return (gain_db if abs(gain_db) >= _LEAST_GAIN_DB else 0.0), [f"{note}."]


def _excess_db(*peaks_db: float) -> float:
    """How far peaks that fall together would rise above full scale, dB."""
    return max(0.0, 20 * math.log10(sum(10 ** (peak / 20) for peak in peaks_db)))


def sound_notes(levels: Levels, schedule: Schedule, times: FrameTimes) -> list[str]:
    """Sentences for the user on the sound, once it is known how long the result lasts."""
    notes = list(levels.notes)
    if levels.own_db is not None and len(schedule.timeline) > len(times):
        notes.append("The source's own sound is heard once, not again where the video is extended.")
    return notes


def speech_notes(activity: SpeechActivity, audio: Path, lips_follow: str) -> list[str]:
    """Sentences for the user on sound in a recording that is no speech."""
    if lips_follow != "speech":
        return []
    if activity.ranges and not activity.is_heard:
        return [f"No speech was heard in '{audio}': the lips follow all of its sound."]
    other_s = sum((end_s - begin_s for begin_s, end_s in activity.other_sound), Fraction(0))
    if other_s < _LEAST_OTHER_SOUND_S:
        return []
    length, first = in_time(float(other_s)), clock_time(float(activity.other_sound[0][0]))
    return [
        f"For {length} of '{audio}', first at {first}, there is sound but nobody speaks: the lips "
        "rest there. With --lips-follow sound they move."
    ]


def sound_edit(config: DubConfig, info: MediaInfo, levels: Levels, schedule: Schedule) -> SoundEdit:
    """What is done to the driving audio on its way into the result.

    Args:
        config: What the user asked for.
        info: Facts of the source.
        levels: How loud its parts become.
        schedule: On the output's clock.

    Raises:
        ProbeError: The source cannot be read any more.
    """
    own, part = None, schedule.part
    is_heard = levels.own_db is not None or (part is not None and part.has_outside)
    if is_heard and info.audio is not None:
        own = read_own_sound(info.path, info.audio.index, levels.own_db, schedule.origin_s)
    return SoundEdit(
        skip_s=schedule.skip_s,
        gain_db=levels.gain_db,
        own=own,
        part=part,
        peak_db=levels.peak_db,
    )


def speech_strength(activity: SpeechActivity, schedule: Schedule, cuts: Bool) -> F32:
    """Weight of the dub at each position of the timeline: 0 while nobody speaks.

    The fades lie inside the pause, so what is said keeps the dubbed mouth throughout: five frames
    on each side, fewer in a pause too short for them.

    Args:
        activity: Of the driving audio; second 0 of its clock is its own start.
        schedule: When it is heard.
        cuts: Whether the picture jumps before this position. Shape (N,).

    Returns:
        Shape (N,), in [0, 1].
    """
    quiet = _quiet_positions(activity, schedule)
    weight = np.ones(len(quiet), np.float32)
    ticks = [*schedule.timeline.pts.tolist(), schedule.timeline.end_pts]
    for first, stop in true_runs(quiet):
        # A pause between words is long enough; what the video's ends leave of one may not be.
        is_at_end = first == 0 or stop == len(quiet)
        shown_s = (ticks[stop] - ticks[first]) * schedule.timeline.time_base
        if not is_at_end or shown_s >= LEAST_PAUSE_S:
            weight[first:stop] = _pause_weights(cuts, first, stop)
    return weight


def rest_shares(activity: SpeechActivity, schedule: Schedule) -> F32:
    """How far the mouth is at rest at each position of the timeline, 0 to 1.

    Lips begin to move before a word and end after it; beyond that they ease to rest. What a network
    asks for in a long pause is no speech. Nothing rests where no speech was heard in sound: it may
    be a song.

    Args:
        activity: Of the driving audio; second 0 of its clock is its own start.
        schedule: When it is heard.

    Returns:
        Shape (N,).
    """
    timeline = schedule.timeline
    if activity.ranges and not activity.is_heard:
        return np.zeros(len(timeline), np.float32)
    times = timeline.pts * float(timeline.time_base) - float(schedule.begin_s)
    away = np.full(len(times), np.inf)
    for begin_s, end_s in _heard_ranges(activity, schedule):
        outside = np.maximum(float(begin_s) - times, times - float(end_s))
        away = np.minimum(away, np.maximum(outside, 0))
    share = np.clip((away - _MOVES_AROUND_S) / _EASE_S, 0, 1)
    return smooth_step(share).astype(np.float32)


def _pause_weights(cuts: Bool, first: int, stop: int) -> F32:
    """Weights within a pause: falling from speech on either side, unless a cut lies between."""
    num = stop - first
    before = first > 0 and not cuts[first]
    after = stop < len(cuts) and not cuts[stop]
    length = min(_FADE_FRAMES, (num - 1) // 2 if before and after else num - 1)
    # With the speaking frame on either side, so that there is something to fade from.
    around = slice(max(0, first - 1), stop + 1)
    places = np.arange(len(cuts))[around]
    pause: Bool = (places >= first) & (places < stop)
    return 1 - fade(pause, np.cumsum(cuts[around], dtype=np.int64), length)[pause]


def _quiet_positions(activity: SpeechActivity, schedule: Schedule) -> Bool:
    """Positions of the timeline during which nobody speaks. Shape (N,)."""
    timeline = schedule.timeline
    starts = timeline.pts
    ends = np.append(starts[1:], timeline.end_pts)
    quiet = np.ones(len(timeline), np.bool_)
    for begin_s, end_s in _heard_ranges(activity, schedule):
        begin = (schedule.begin_s + begin_s) / timeline.time_base
        end = (schedule.begin_s + end_s) / timeline.time_base
        # Ticks are integers: a frame speaks if it is shown at any moment in between.
        first = int(np.searchsorted(ends, math.floor(begin), side="right"))
        last = int(np.searchsorted(starts, math.ceil(end), side="left"))
        quiet[first:last] = False
    return quiet


def _heard_ranges(activity: SpeechActivity, schedule: Schedule) -> list[Range]:
    """Speech without what is cut from the recording, seconds from its own start."""
    cut = (
        (max(begin_s, schedule.skip_s), min(end_s, schedule.audio_s))
        for begin_s, end_s in activity.ranges
    )
    return [(begin_s, end_s) for begin_s, end_s in cut if begin_s < end_s]
