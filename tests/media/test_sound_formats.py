"""Driving audio of any rate and layout, louder, cut, or mixed with the source's own sound."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import ClipSpec, make_clip, run_ffmpeg

from dubcli.core.errors import FfmpegError
from dubcli.media.container.probe import probe
from dubcli.media.container.remux import remux
from dubcli.media.sound.audio_track import SoundEdit, read_own_sound
from dubcli.media.sound.loudness import measure_loudness
from dubcli.media.sound.waveform import read_waveform
from dubcli.media.video.frame_writer import EncodeOptions, FrameWriter

SECONDS = Fraction(9, 10)
LAYOUTS = {
    **{1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"},
    **{-4: "4.0", -6: "5.1(side)"},
}
Sound = tuple[np.ndarray, int, Fraction]


def _tones(path: Path, rate: int, layout: str, *options: str) -> Path:
    """A tone of its own pitch and level on each channel: swapped or lost channels show."""
    names = [place.name for place in av.AudioLayout(layout).channels]
    tones = "|".join(
        f"{0.08 + 0.02 * n}*sin(2*PI*{90 if 'LFE' in name else 200 + 60 * n}*t)"
        for n, name in enumerate(names)
    )
    source = f"aevalsrc=exprs={tones}:c={layout}:s={rate}:d={float(SECONDS)}"
    run_ffmpeg("-f", "lavfi", "-i", source, *options, path)
    return path


def _sound(path: Path, number: int = 0) -> Sound:
    """Samples (C, n) float32, rate, time of the first one."""
    blocks, start, rate = [], Fraction(0), 0
    with av.open(str(path.absolute())) as container:
        # Interleaved: PyAV cannot read eight planes.
        resampler = av.AudioResampler("flt")
        for frame in container.decode(container.streams.audio[number]):
            if not blocks:
                start, rate = Fraction(frame.pts or 0) * (frame.time_base or 0), frame.sample_rate
            width = frame.layout.nb_channels
            for block in resampler.resample(frame):
                blocks.append(block.to_ndarray().reshape(-1, width).T)
    return np.concatenate(blocks, axis=1), rate, start


def _codec(path: Path) -> str:
    with av.open(str(path)) as container:
        return container.streams.audio[0].codec_context.codec.canonical_name


def _join(video: Path, audio: Path, output: Path, **changes: Any) -> list[str]:
    info = probe(video)
    assert info.video is not None
    picture = Path("picture.bin")
    options = EncodeOptions(output=output, crf=30)
    with (
        FrameWriter(picture, info.video, options) as writer,
        av.open(str(video.absolute())) as container,
    ):
        for frame in container.decode(video=0):
            assert frame.pts is not None
            writer.write(frame, frame.pts)
    settings: dict[str, Any] = {"audio_s": SECONDS, "pad_s": Fraction(0), "start_s": Fraction(0)}
    made = remux(
        picture=picture,
        source_info=info,
        audio=audio,
        output=output,
        **settings | changes,
    )
    return list(made.notes)


def _video(name: str = "v.mkv", **spec: Any) -> Path:
    return make_clip(Path(name).absolute(), ClipSpec(frames=23, **spec))


@pytest.mark.parametrize("channels", LAYOUTS)
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_channels_from_mono_to_seven_one(suffix: str, channels: int) -> None:
    layout = LAYOUTS[channels]
    given, _, _ = _sound(_tones(Path("a.wav"), 48_000, layout))
    output = Path(f"out{suffix}")
    # Half is left out, so that nothing can be copied.
    notes = _join(_video(), Path("a.wav"), output, audio_s=SECONDS / 2)
    found, rate, _ = _sound(output)
    assert rate == 48_000
    assert found.shape[0] == given.shape[0]
    told = " ".join(note for note in notes if "Frame times" not in note)
    if suffix == ".webm" and layout in ("2.1", "4.0"):
        assert f"changed from {layout}" in told
        return
    exotic = layout in ("2.1", "quad", "6.1", "7.1") and suffix in (".mp4", ".mov")
    assert (f"not AAC, which has no {layout}" in told) == exotic
    num = round(SECONDS / 2 * rate)
    middle = slice(num // 4, 3 * num // 4)
    wanted, heard = given[:, middle], found[:, middle]
    if suffix == ".mkv" or exotic:
        assert np.abs(heard - wanted).max() < 2e-4
        return
    likeness = np.corrcoef(wanted, heard)[: len(wanted), len(wanted) :]
    assert np.diag(likeness).min() > 0.98, "each channel is where it was"
    assert heard.std(1) == pytest.approx(wanted.std(1), rel=0.1)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 88_200, 96_000, 192_000])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_rates_from_8_to_192_khz(suffix: str, rate: int) -> None:
    given, _, _ = _sound(_tones(Path("a.wav"), rate, "stereo"))
    output = Path(f"out{suffix}")
    notes = _join(_video(), Path("a.wav"), output)
    found, found_rate, start = _sound(output)
    kept = rate
    if suffix == ".webm":
        kept = 48_000
    elif suffix == ".mp4":
        kept = min(rate, 96_000)
    assert (found_rate, start) == (kept, 0)
    assert any(f"resampled from {rate} to {kept}" in note for note in notes) == (kept != rate)
    assert found.shape[1] / kept == pytest.approx(given.shape[1] / rate, abs=1024 / kept + 0.02)
    # Each channel's tone has the level it had.
    half = found[:, : found.shape[1] // 2]
    wanted = given[:, : given.shape[1] // 2]
    assert half.std(1) == pytest.approx(wanted.std(1), rel=0.03)


@pytest.mark.parametrize(
    ("codec", "suffix", "rate", "layout"),
    [("pcm_s24le", ".wav", 192_000, "7.1"), ("flac", ".flac", 192_000, "7.1")],
)
def test_what_matroska_holds_is_copied(codec: str, suffix: str, rate: int, layout: str) -> None:
    audio = _tones(Path(f"a{suffix}"), rate, layout, "-c:a", codec)
    notes = _join(_video(), audio, Path("out.mkv"))
    assert _codec(Path("out.mkv")) == codec
    assert np.array_equal(_sound(Path("out.mkv"))[0], _sound(audio)[0])
    assert not [note for note in notes if "Frame times" not in note]


def test_the_beginning_is_cut_to_the_sample() -> None:
    given, rate, _ = _sound(_tones(Path("a.wav"), 44_100, "stereo"))
    skip = Fraction(1234, rate)
    edit = SoundEdit(skip_s=skip)
    _join(_video(), Path("a.wav"), Path("out.mkv"), pad_s=Fraction(1, 10), edit=edit)
    found, _, start = _sound(Path("out.mkv"))
    kept = given.shape[1] - 1234
    assert start == 0
    assert np.array_equal(found[:, :kept], given[:, 1234:])
    assert found.shape[1] == kept + 4410
    assert not found[:, kept:].any()


@pytest.mark.parametrize("gain_db", [-7.3, 4.1])
def test_a_gain_is_what_numpy_measures(gain_db: float) -> None:
    given, _, _ = _sound(_tones(Path("a.wav"), 48_000, "stereo"))
    _join(_video(), Path("a.wav"), Path("out.mkv"), edit=SoundEdit(gain_db=gain_db))
    found, _, _ = _sound(Path("out.mkv"))
    assert found == pytest.approx(given * 10 ** (gain_db / 20), abs=1e-5)


@pytest.mark.parametrize("channels", [1, 2])
def test_loudness_is_the_standards(channels: int) -> None:
    """EBU Tech 3341, case 1: a stereo sine of 1 kHz at -23 dBFS is -23 LUFS; mono plays so too."""
    tones = "|".join(["0.070795*sin(2*PI*1000*t)"] * channels)
    sine = f"aevalsrc=exprs={tones}:s=48000:d=3"
    run_ffmpeg("-f", "lavfi", "-i", sine, Path("a.wav"))
    found = measure_loudness(Path("a.wav"))
    assert found.integrated == pytest.approx(-23, abs=0.2)
    assert found.peak == pytest.approx(-23, abs=0.3)


def test_silence_and_blinks_have_no_loudness() -> None:
    run_ffmpeg("-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono:d=1", Path("silent.wav"))
    assert measure_loudness(Path("silent.wav")).integrated is None
    assert measure_loudness(Path("silent.wav")).peak == -np.inf
    run_ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", Path("short.wav"))
    assert measure_loudness(Path("short.wav")).integrated is None
    Path("text.wav").write_text("no sound at all")
    with pytest.raises(FfmpegError):
        measure_loudness(Path("text.wav"))


def _levels_at(sound: Sound, hz: list[float], part_s: tuple[float, float]) -> np.ndarray:
    """Amplitude of tones in a part of each channel (C, len(hz)); whole periods are looked at."""
    samples, rate, start = sound
    first, last = (round((second - float(start)) * rate) for second in part_s)
    block = samples[:, first:last]
    turn = np.exp(-2j * np.pi * np.outer(np.arange(first, last) / rate, hz))
    return np.abs(block @ turn) * 2 / (last - first)


def _mix(video: Path, audio: Path, gain_db: float, begin_s: Fraction, **changes: Any) -> Sound:
    info = probe(video)
    assert info.audio is not None
    own = read_own_sound(video, info.audio.index, gain_db, begin_s)
    _join(video, audio, Path("out.mkv"), edit=SoundEdit(own=own), **changes)
    return _sound(Path("out.mkv"))


def _tone(path: Path, hz: int, rate: int, layout: str, seconds: float = 0.9) -> Path:
    channels = "|".join([f"0.25*sin(2*PI*{hz}*t)"] * av.AudioLayout(layout).nb_channels)
    run_ffmpeg(
        *("-f", "lavfi", "-i", f"aevalsrc=exprs={channels}:c={layout}:s={rate}:d={seconds}"), path
    )
    return path


def _with_sound(layout: str, rate: int, delay_s: float = 0.0, seconds: float = 0.9) -> Path:
    """A clip whose own sound is a tone of 600 Hz that begins after `delay_s`."""
    bare, own = _video("bare.mkv"), _tone(Path("own.wav"), 600, rate, layout, seconds)
    delay = ("-itsoffset", str(delay_s))
    run_ffmpeg("-i", bare, *delay, "-i", own, "-c:v", "copy", "-c:a", "pcm_s16le", Path("v.mkv"))
    return Path("v.mkv").absolute()


@pytest.mark.parametrize(
    ("new", "own"),
    [
        ((48_000, "stereo"), (48_000, "stereo")),
        ((16_000, "mono"), (48_000, "stereo")),
        ((48_000, "stereo"), (22_050, "mono")),
        ((24_000, "mono"), (48_000, "5.1")),
        ((96_000, "5.1"), (48_000, "stereo")),
    ],
)
def test_a_mix_has_both_at_their_levels(new: tuple[int, str], own: tuple[int, str]) -> None:
    video = _with_sound(own[1], own[0])
    audio = _tone(Path("a.wav"), 300, *new)
    sound = _mix(video, audio, -20, Fraction(0))
    levels = _levels_at(sound, [300, 600], (0.2, 0.8))
    wide = max(av.AudioLayout(name).nb_channels for name in (new[1], own[1]))
    assert (sound[1], sound[0].shape[0]) == (max(new[0], own[0]), wide)
    places = [place.name for place in av.AudioLayout("5.1" if wide == 6 else "stereo").channels]
    for number, place in enumerate(places):
        for column, (layout, level) in enumerate(((new[1], 0.25), (own[1], 0.025))):
            held = [spot.name for spot in av.AudioLayout(layout).channels]
            # A single voice comes from the middle: from both sides where there is no middle.
            is_there = place in held or (layout == "mono" and wide == 2)
            if layout == "mono" and wide == 6:
                is_there = place == "FC"
            if place != "LFE":
                wanted = level if is_there else 0
                assert levels[number, column] == pytest.approx(wanted, abs=level * 0.02)


def test_each_part_of_a_mix_is_at_its_time() -> None:
    """Own sound from 0.2 to 0.5 s, new sound from 0.6 s on, silence between and after."""
    video = _with_sound("mono", 48_000, 0.2, 0.3)
    audio = _tone(Path("a.wav"), 300, 48_000, "mono", 0.2)
    times = {"audio_s": Fraction(1, 5), "audio_start_s": Fraction(3, 5), "pad_s": Fraction(1, 10)}
    found, rate, start = _mix(video, audio, -6, Fraction(0), **times)
    assert start == 0
    assert found.shape[1] == round(0.9 * rate)
    loud = np.abs(found[0]) > 1e-3
    edges = np.flatnonzero(np.diff(loud.astype(int)))
    spans = [(0.2, 0.5), (0.6, 0.8)]
    for begin, end in spans:
        inside = edges[(edges >= (begin - 0.003) * rate) & (edges <= (end + 0.003) * rate)]
        assert abs(inside[0] / rate - begin) < 0.002
        assert abs(inside[-1] / rate - end) < 0.002
    outside = [(0, 0.195), (0.505, 0.595), (0.805, 0.9)]
    assert not any(loud[round(a * rate) : round(b * rate)].any() for a, b in outside)
    levels = _levels_at((found, rate, start), [600], (0.25, 0.45))
    assert levels[0, 0] == pytest.approx(0.25 * 10 ** (-6 / 20), rel=0.02)


def test_a_mix_may_begin_before_the_first_frame() -> None:
    """What a late picture's own sound says before it belongs to the mix."""
    video = _with_sound("mono", 48_000)
    audio = _tone(Path("a.wav"), 300, 48_000, "mono", 0.5)
    times = {"audio_s": Fraction(1, 2), "audio_start_s": Fraction(1, 10), "pad_s": Fraction(0)}
    sound = _mix(video, audio, 0, Fraction(-1, 20), **times, start_s=Fraction(0))
    first = np.flatnonzero(np.abs(sound[0][0]) > 1e-3)[0] / sound[1]
    assert first == pytest.approx(0.05, abs=0.002), "samples count from the mix's begin"


@pytest.mark.parametrize(("layout", "codec"), [("7.1", "libopus"), ("7.1(wide)", "aac")])
def test_eight_channels_are_heard(layout: str, codec: str) -> None:
    """Decoders of these give a plane for each channel."""
    audio = _tones(Path("a.mka"), 48_000, layout, "-c:a", codec)
    waveform = read_waveform(audio)
    assert waveform.duration_s == pytest.approx(float(SECONDS), abs=0.03)
    spectrum = np.abs(np.fft.rfft(waveform.samples[:8000]))
    assert spectrum.argmax() * 2 == pytest.approx(320, abs=2), "the middle speaker is the loudest"
