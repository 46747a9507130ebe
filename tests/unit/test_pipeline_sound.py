"""Where the driving audio lies against the video, how loud it becomes, where nobody speaks."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dubcli.audio.speech_activity import SpeechActivity, loud_ranges
from dubcli.config import SYNC_MODES, DubConfig
from dubcli.config.option_parsing import decibels
from dubcli.core.errors import ConfigError, FfmpegError
from dubcli.core.types import AudioStreamInfo, Bool, MediaInfo, Waveform
from dubcli.media.sound.loudness import Loudness
from dubcli.media.video.timeline import FrameTimes
from dubcli.pipeline import soundtrack as sound
from dubcli.pipeline.soundtrack import (
    Schedule,
    choose_levels,
    rest_shares,
    schedule_sound,
    speech_strength,
)

RATE = 16_000
TIMES = FrameTimes(pts=[40 * n for n in range(50)], end_pts=2000, time_base=Fraction(1, 1000))
LATE = FrameTimes(
    pts=[90_000 + 3003 * n for n in range(60)], end_pts=270_180, time_base=Fraction(1, 90_000)
)


def _config(**settings: Any) -> DubConfig:
    return DubConfig(video=Path("v.mp4"), audio=Path("a.wav"), **settings)


AUDIO = Path("a.wav")


def _info(sound_starts_s: Fraction | None = None) -> MediaInfo:
    audio = None
    if sound_starts_s is not None:
        audio = AudioStreamInfo(
            index=1,
            codec="aac",
            sample_rate=48_000,
            channels=1,
            start_pts=round(sound_starts_s * 48_000),
            time_base=Fraction(1, 48_000),
        )
    return MediaInfo(path=Path("v.mp4"), container="mp4", duration_s=None, video=None, audio=audio)


# What is given, what is meant: a float would not be exact.
@pytest.mark.parametrize("text", ["0", "0.1", "-0.1", "0.000001", "-1.7", "3600.04"])
def test_an_offset_is_the_decimal_that_was_given(text: str) -> None:
    assert _config(audio_offset=float(text)).audio_offset_s == Fraction(text)


@pytest.mark.parametrize("offset", [math.nan, math.inf, -math.inf, 1e6])
def test_an_offset_must_be_a_time(offset: float) -> None:
    with pytest.raises(ConfigError, match="offset"):
        _config(audio_offset=offset)


@pytest.mark.parametrize(
    ("text", "level"),
    [("-20dB", -20), ("-20", -20), (" -20 db ", -20), ("-0.5dB", -0.5), ("0", 0), ("-60DB", -60)],
)
def test_levels_are_read(text: str, level: float) -> None:
    assert decibels(text) == level


@pytest.mark.parametrize("text", ["", "dB", "20", "1dB", "-61", "loud", "nan", "-inf", "-20 dBFS"])
def test_other_levels_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="level"):
        _config(mix_original=text)


@pytest.mark.parametrize("mode", SYNC_MODES)
@pytest.mark.parametrize("times", [TIMES, LATE])
@pytest.mark.parametrize("own_s", [None, Fraction(0), Fraction(3, 10), Fraction(5, 2)])
@pytest.mark.parametrize("audio_s", [Fraction(1, 3), Fraction(2), Fraction(7, 2)])
@pytest.mark.parametrize("offset", ["0", "0.25", "-0.1", "1.1", "-0.3333"])
def test_an_offset_moves_the_sound_by_exactly_itself(
    mode: str, times: FrameTimes, own_s: Fraction | None, audio_s: Fraction, offset: str
) -> None:
    info, moved = _info(own_s), Fraction(offset)
    config = _config(sync_mode=mode, audio_offset=float(offset))
    schedule = schedule_sound(config, info, audio_s, times)
    unmoved = schedule_sound(_config(sync_mode=mode), info, audio_s, times)
    assert schedule.origin_s == unmoved.origin_s == unmoved.begin_s
    assert schedule.begin_s == unmoved.begin_s + moved
    assert schedule.skip_s == max(0, -moved)
    assert 0 <= schedule.skip_s < schedule.audio_s <= audio_s
    heard_from_s, heard_to_s = (
        schedule.begin_s + schedule.skip_s,
        schedule.begin_s + schedule.audio_s,
    )
    assert heard_from_s >= schedule.origin_s
    first_s = times.pts[0] * times.time_base
    end_s = first_s + times.duration_s
    whole_to_s = schedule.begin_s + audio_s
    frame_s = (times.pts[1] - times.pts[0]) * times.time_base
    shown_to_s = schedule.timeline.end_pts * times.time_base
    if mode in ("cut", "pad") and whole_to_s >= end_s + frame_s:
        assert heard_to_s == end_s, "it ends with the video"
    else:
        assert heard_to_s == whole_to_s, "none of it is lost"
    if mode == "cut":
        assert schedule.pad_s == 0
    elif whole_to_s < end_s:
        assert heard_to_s + schedule.pad_s == end_s == shown_to_s
    if mode not in ("cut", "pad"):
        assert shown_to_s > heard_to_s - frame_s


@pytest.mark.parametrize(("mode", "offset"), [("cut", "2"), ("pad", "9.5")])
def test_an_offset_beyond_the_video_is_refused(mode: str, offset: str) -> None:
    config = _config(sync_mode=mode, audio_offset=float(offset))
    with pytest.raises(ConfigError, match=r"nothing of 'a\.wav' is heard"):
        schedule_sound(config, _info(), Fraction(1), TIMES)


def test_an_offset_beyond_the_video_extends_it_where_the_mode_does() -> None:
    schedule = schedule_sound(
        _config(sync_mode="loop", audio_offset=3.0), _info(), Fraction(1), TIMES
    )
    assert schedule.timeline.duration_s == 4
    assert (schedule.begin_s, schedule.audio_s) == (3, 1)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, Loudness]:
    """What the measure says of each file."""
    told: dict[str, Loudness] = {}

    def measure(path: Path, stream: str = "a:0") -> Loudness:
        if path.name not in told:
            raise FfmpegError([], "damaged")
        assert stream == ("1" if path.name == "v.mp4" else "a:0")
        return told[path.name]

    monkeypatch.setattr(sound, "measure_loudness", measure)
    return told


@pytest.mark.parametrize(
    ("new", "own", "gain_db", "said"),
    [
        (Loudness(-30.0, -12.0), Loudness(-23.5, -3.0), 6.5, "6.5 dB louder, to the -23.5 LUFS"),
        (Loudness(-15.0, -0.1), Loudness(-23.0, -3.0), -8.0, "8.0 dB quieter"),
        (Loudness(-30.0, -4.0), Loudness(-20.0, -3.0), 3.0, "its peaks would clip"),
        (Loudness(-30.0, 0.2), Loudness(-20.0, -3.0), 0.0, "its peaks would clip"),
        (Loudness(-20.0, -4.0), Loudness(-20.0, -3.0), 0.0, "already"),
        (Loudness(None, -50.0), Loudness(-20.0, -3.0), 0.0, "The new audio is too quiet"),
        (Loudness(-20.0, -4.0), Loudness(None, -50.0), 0.0, "own sound is too quiet"),
        (Loudness(-20.0, -4.0), Loudness(None, -math.inf), 0.0, "own sound is silent"),
    ],
)
def test_loudness_is_matched_without_clipping(
    new: Loudness, own: Loudness, gain_db: float, said: str, measured: dict[str, Loudness]
) -> None:
    measured |= {"a.wav": new, "v.mp4": own}
    levels = choose_levels(_config(match_loudness=True), _info(Fraction(0)), AUDIO)
    assert levels.gain_db == pytest.approx(gain_db)
    assert levels.own_db is None
    assert said in " ".join(levels.notes)
    assert len(levels.notes) == 1


def test_a_mix_that_would_clip_is_lowered_as_a_whole(measured: dict[str, Loudness]) -> None:
    measured |= {"a.wav": Loudness(-14.0, -0.2), "v.mp4": Loudness(-20.0, -1.0)}
    levels = choose_levels(_config(mix_original="-6dB"), _info(Fraction(0)), AUDIO)
    assert levels.own_db is not None
    assert levels.own_db - levels.gain_db == pytest.approx(-6)
    peaks = [10 ** ((-0.2 + levels.gain_db) / 20), 10 ** ((-1.0 + levels.own_db) / 20)]
    assert sum(peaks) == pytest.approx(1)
    assert "lowered" in levels.notes[-1]


def test_a_mix_with_room_keeps_the_speech_as_it_is(measured: dict[str, Loudness]) -> None:
    measured |= {"a.wav": Loudness(-24.0, -6.0), "v.mp4": Loudness(-20.0, -1.0)}
    levels = choose_levels(_config(mix_original="-20"), _info(Fraction(0)), AUDIO)
    assert (levels.gain_db, levels.own_db) == (0, -20)


@pytest.mark.parametrize("has_sound", [False, True])
def test_without_sound_of_its_own_nothing_changes_and_it_is_said(
    has_sound: bool, measured: dict[str, Loudness]
) -> None:
    measured["a.wav"] = Loudness(-24.0, -6.0)  # the video's cannot be measured
    info = _info(Fraction(0) if has_sound else None)
    levels = choose_levels(_config(mix_original="-20dB", match_loudness=True), info, AUDIO)
    assert (levels.gain_db, levels.own_db) == (0, None)
    assert "--match-loudness and --mix-original changed nothing" in levels.notes[0]


def _spoken(*words_s: tuple[float, float], total_s: float) -> Waveform:
    time = np.arange(round(total_s * RATE)) / RATE
    spoken = np.zeros(len(time), np.bool_)
    for begin, end in words_s:
        spoken |= (time >= begin) & (time < end)
    samples = 0.2 * np.sin(2 * np.pi * 180 * time) * spoken
    return Waveform(samples=samples.astype(np.float32), sample_rate=RATE)


def _strength(
    waveform: Waveform, cuts: tuple[int, ...] = (), **settings: Any
) -> tuple[list[float], Schedule]:
    schedule = schedule_sound(_config(**settings), _info(), waveform.duration_s, TIMES)
    jumps: Bool = np.zeros(len(schedule.timeline), np.bool_)
    jumps[list(cuts)] = True
    activity = SpeechActivity(ranges=tuple(loud_ranges(waveform)), is_heard=False)
    return speech_strength(activity, schedule, jumps).tolist(), schedule


FALLING = [5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]


def test_the_dub_fades_inside_the_pause_and_is_whole_where_somebody_speaks() -> None:
    waveform = _spoken((0, 0.5), (1.3, 2.0), total_s=2.0)
    found, _ = _strength(waveform)
    zeros = [index for index, value in enumerate(found) if value == 0]
    assert zeros == list(range(zeros[0], zeros[-1] + 1))
    assert 5 <= len(zeros) <= 9  # 0.8 s are 20 frames, 10 of them fade
    assert found[zeros[0] - 5 : zeros[0]] == pytest.approx(FALLING)
    assert found[zeros[-1] + 1 : zeros[-1] + 6] == pytest.approx(FALLING[::-1])
    assert all(found[index] == 1 for index in [*range(13), *range(33, 50)])


def test_a_short_pause_shows_the_original_too() -> None:
    found, _ = _strength(_spoken((0, 1.0), (1.48, 2.0), total_s=2.0))
    assert min(found) == 0
    assert 1 <= found.count(0) <= 3
    steps = np.abs(np.diff(found))
    assert steps.max() <= 1 / 3


def test_a_pause_shorter_than_two_fifths_keeps_the_dub() -> None:
    found, _ = _strength(_spoken((0, 1.0), (1.3, 2.0), total_s=2.0))
    assert set(found) == {1}


def test_before_and_after_the_sound_nobody_speaks() -> None:
    found, _ = _strength(_spoken((0, 0.8), total_s=0.8), audio_offset=0.6, sync_mode="pad")
    assert found[:9] == [0] * 9
    assert found[15:35] == [1] * 20
    assert found[-9:] == [0] * 9


@pytest.mark.parametrize("tail_s", [0.08, 0.3])
def test_a_tail_that_is_too_short_does_not_pop(tail_s: float) -> None:
    found, _ = _strength(_spoken((0, 2 - tail_s), total_s=2 - tail_s), sync_mode="pad")
    assert set(found) == {1}


def test_an_offset_moves_the_pauses() -> None:
    waveform = _spoken((0, 0.5), (1.3, 2.0), total_s=2.0)
    unmoved, _ = _strength(waveform, sync_mode="pad")
    later, _ = _strength(waveform, sync_mode="pad", audio_offset=0.2)
    earlier, _ = _strength(waveform, sync_mode="pad", audio_offset=-0.2)
    assert later[10:40] == unmoved[5:35]
    assert earlier[5:35] == unmoved[10:40]


def test_a_cut_inside_a_pause_needs_no_fade() -> None:
    waveform = _spoken((0, 0.5), (1.3, 2.0), total_s=2.0)
    found, _ = _strength(waveform, cuts=(16,))
    assert found[16] == 0
    assert 0 < found[15] < 1
    cut_at_speech, _ = _strength(waveform, cuts=(13, 14))
    assert cut_at_speech[14] == 0


def test_an_extended_video_is_judged_by_the_sound_not_by_the_frame() -> None:
    waveform = _spoken((0, 2.0), (3.0, 4.0), total_s=4.0)
    found, schedule = _strength(waveform, sync_mode="loop")
    assert schedule.timeline.source_index[60] == 10
    assert found[10] == 1
    assert found[60] == 0


def test_silence_throughout_keeps_every_frame() -> None:
    found, _ = _strength(_spoken(total_s=2.0))
    assert set(found) == {0}


def _rest(*words_s: tuple[float, float], is_heard: bool = True, **settings: Any) -> list[float]:
    """Of the 50 frames of 2 s that the recording lasts."""
    schedule = schedule_sound(_config(**settings), _info(), Fraction(2), TIMES)
    ranges = tuple((Fraction(str(begin)), Fraction(str(end))) for begin, end in words_s)
    return rest_shares(SpeechActivity(ranges=ranges, is_heard=is_heard), schedule).tolist()


def test_mouths_ease_to_rest_in_pauses_away_from_words() -> None:
    rest = _rest((0, 0.4), (1.6, 2.0))
    assert rest[:15] == [0] * 15  # to 0.2 s after the first word
    assert rest[23:28] == [1] * 5  # from 0.5 s after it to 0.5 s before the next
    assert rest[36:] == [0] * 14
    assert rest[15:23] == sorted(rest[15:23])
    assert max(np.abs(np.diff(rest))) < 0.25


def test_mouths_do_not_rest_in_pauses_between_two_words() -> None:
    assert set(_rest((0, 0.8), (1.2, 2.0))) == {0}


def test_mouths_rest_where_a_recording_is_cut() -> None:
    assert _rest((0, 0.4), audio_offset=-1.0, sync_mode="pad") == [1] * 50


def test_silence_is_all_rest_and_a_song_has_none() -> None:
    assert _rest(is_heard=False) == [1] * 50
    assert _rest((0, 0.4), is_heard=False) == [0] * 50
