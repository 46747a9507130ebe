"""Recordings of several people become one: a plain sum, as long as the longest."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from clips import run_ffmpeg

from dubcli.core.errors import MediaError
from dubcli.media.sound.mix import mix_recordings

Sound = tuple[np.ndarray, int]


def _tone(
    name: str, hz: int, level: float, *, rate: int = 48_000, layout: str = "mono", s: float = 1.0
) -> Path:
    path = Path(name)
    waves = "|".join([f"{level}*sin(2*PI*{hz}*t)"] * av.AudioLayout(layout).nb_channels)
    codec = ("-c:a", "pcm_f32le") if path.suffix == ".wav" else ()
    source = f"aevalsrc=exprs={waves}:c={layout}:s={rate}:d={s}"
    run_ffmpeg("-f", "lavfi", "-i", source, *codec, path)
    return path


def _sound(path: Path) -> Sound:
    blocks: list[np.ndarray] = []
    with av.open(str(path.absolute())) as container:
        rate = container.streams.audio[0].sample_rate
        resampler = av.AudioResampler("flt")
        for frame in container.decode(audio=0):
            width = frame.layout.nb_channels
            for block in resampler.resample(frame):
                blocks.append(block.to_ndarray().reshape(-1, width).T)
    return np.concatenate(blocks, axis=1), rate


def _mix(*paths: Path) -> tuple[float, np.ndarray, int]:
    lowered = mix_recordings(paths, Path("mix.flac"), Path("mix.mka"))
    assert not Path("mix.mka").exists()
    return (lowered, *_sound(Path("mix.flac")))


def test_the_sum_lasts_as_long_as_the_longest_and_neither_is_made_quieter() -> None:
    one, two = _tone("a.wav", 200, 0.3), _tone("b.wav", 333, 0.2, s=0.4)
    three = _tone("c.wav", 555, 0.1, s=1.3)
    lowered, heard, rate = _mix(one, two, three)
    assert lowered == 0
    assert rate == 48_000
    wanted = np.zeros((1, round(1.3 * rate)))
    for path in (one, two, three):
        part, _ = _sound(path)
        wanted[:, : part.shape[1]] += part
    assert heard.shape == wanted.shape
    assert heard == pytest.approx(wanted, abs=2e-7)  # 24 bit


def test_the_highest_rate_and_the_most_channels_are_taken() -> None:
    paths = [
        _tone("a.wav", 200, 0.3, rate=16_000),
        _tone("b.wav", 300, 0.2, rate=44_100, layout="stereo"),
        _tone("c.flac", 400, 0.1, rate=8_000),
    ]
    _, heard, rate = _mix(*paths)
    assert rate == 44_100
    assert heard.shape == (2, 44_100)
    part = heard[:, 4410:-4410]
    time = np.arange(4410, 4410 + part.shape[1]) / rate
    for hz, level in ((200, 0.3), (300, 0.2), (400, 0.1)):
        found = np.abs(part @ np.exp(-2j * np.pi * hz * time)) * 2 / part.shape[1]
        assert found == pytest.approx([level, level], rel=0.02)


def test_a_sum_that_would_clip_is_lowered_as_a_whole_and_says_by_how_much() -> None:
    one, two = _tone("a.wav", 200, 0.9), _tone("b.wav", 333, 0.8)
    lowered, heard, _ = _mix(one, two)
    both = _sound(one)[0] + _sound(two)[0]
    assert np.abs(both).max() > 1.6
    assert lowered > 4
    assert heard == pytest.approx(both * 10 ** (-lowered / 20), abs=1e-5)
    assert 0.85 < np.abs(heard).max() < 0.9  # -1 dBTP


def test_a_late_start_in_a_file_does_not_count() -> None:
    """All recordings begin with their first sample."""
    one, two = _tone("a.wav", 200, 0.3), _tone("b.wav", 333, 0.2)
    run_ffmpeg("-itsoffset", "0.5", "-i", two, "-c", "copy", "late.mka")
    _, heard, _ = _mix(one, Path("late.mka"))
    assert heard == pytest.approx(_sound(one)[0] + _sound(two)[0], abs=2e-7)


def test_one_recording_for_two_people_is_heard_twice() -> None:
    one = _tone("a.wav", 200, 0.3)
    _, heard, _ = _mix(one, one)
    assert heard == pytest.approx(2 * _sound(one)[0], abs=2e-7)


def test_a_failure_leaves_no_intermediate_file() -> None:
    one = _tone("a.wav", 200, 0.3)
    with pytest.raises(MediaError):
        mix_recordings([one, Path("missing.wav")], Path("mix.flac"), Path("mix.mka"))
    assert not Path("mix.mka").exists()
    assert not Path("mix.flac").exists()
