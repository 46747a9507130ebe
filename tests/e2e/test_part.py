"""`--start` and `--end`: a part is dubbed, and around it nothing changes."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from studio import (
    DEMO_SPEECH,
    X264,
    dub_here,
    face_clip,
    ffmpeg,
    packets,
    pairs_of,
    same_samples,
    sound,
    speech,
    times,
)
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.config import DubConfig
from dubcli.core.reports import DubReport
from dubcli.core.types import FaceObservation, Frame
from dubcli.media.container.probe import probe
from dubcli.media.video.frame_reader import FrameReader
from dubcli.pipeline.analysis import analyse
from dubcli.pipeline.run import dub

FRAMES, RATE = 50, 24_000
FADE = round(0.015 * RATE)


def _spoken_clip(path: Path, *options: str, delay_s: float = 0.0, volume_db: float = -6) -> Path:
    """A face, 2 s, with sound of its own."""
    inputs = ("-itsoffset", str(delay_s), "-i", DEMO_SPEECH)
    streams = ("-map", "0:v", "-map", "1:a", "-af", f"volume={volume_db}dB", "-t", "2")
    codec = ("-c:a", "flac") if path.suffix == ".mkv" else ("-c:a", "aac")
    more = (*X264, *streams, *codec, *options)
    return face_clip(path, "scale=240:240", *more, frames=FRAMES, inputs=inputs)


def _buzz(path: Path, seconds: float, rate: int = RATE) -> Path:
    wave = f"aevalsrc=exprs='0.2*sin(2*PI*180*t)':s={rate}:d={seconds}"
    ffmpeg("-f", "lavfi", "-i", wave, path)
    return path


def _changed(source: Path, output: Path) -> list[int]:
    return [n for n, a, b in pairs_of(source, output) if not same_samples(a.frame, b.frame)]


def _lengths(report: DubReport) -> list[str]:
    """What is told of the sound's length."""
    return [warning for warning in report.warnings if "audio" in warning]


def _ramp(length: int) -> NDArray[np.float64]:
    """1 to 0."""
    return 1 - np.arange(length) / length


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _spoken_clip(tmp_path_factory.mktemp("part") / "in.mkv")


def test_outside_the_part_picture_and_sound_are_the_sources_own(clip: Path, tmp_path: Path) -> None:
    output, audio = tmp_path / "out.mkv", _buzz(tmp_path / "a.wav", 0.8)
    report = dub_here(clip, audio, output, lossless=True, start="0.4", end="0:01.2")
    assert times(output) == times(clip)
    assert _changed(clip, output) == list(range(10, 30))
    assert report.frames_passed_through == {"outside": 30}
    assert report.frames_dubbed == 20
    assert _lengths(report) == []
    (own, _), (new, _), (heard, rate) = sound(clip), sound(audio), sound(output)
    assert rate == RATE
    assert heard.shape == own.shape
    begin, end = round(0.4 * RATE), round(1.2 * RATE)
    assert heard[:, :begin] == pytest.approx(own[:, :begin], abs=1e-4)
    assert heard[:, end:] == pytest.approx(own[:, end:], abs=1e-4)
    inside = slice(begin + FADE, end - FADE)
    assert heard[:, inside] == pytest.approx(new[:, FADE:-FADE], abs=1e-4)
    fall = _ramp(FADE)
    first, last = slice(begin, begin + FADE), slice(end - FADE, end)
    over = own[:, first] * fall + new[:, :FADE] * (1 - fall)
    assert heard[:, first] == pytest.approx(over, abs=2e-4)
    over = own[:, last] * (1 - fall) + new[:, -FADE:] * fall
    assert heard[:, last] == pytest.approx(over, abs=2e-4)


def test_the_dub_fades_in_and_out_inside_the_part(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights: list[float] = []
    from dubcli.pipeline import renderer as render

    real = render.place_patch

    def noting(*arguments: Any) -> Any:
        weights.append(arguments[-1])
        return real(*arguments)

    monkeypatch.setattr(render, "place_patch", noting)
    audio = _buzz(tmp_path / "a.wav", 0.8)
    dub_here(clip, audio, tmp_path / "out.mkv", start="0.4", end="1.2")
    rising = [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6]
    assert weights == pytest.approx([*rising, *[1] * 10, *rising[::-1]])


@pytest.mark.parametrize(
    ("seconds", "settings", "frames", "said"),
    [
        (0.6, {"start": "0.4"}, (10, 25), None),
        (0.6, {"start": "1.6"}, (40, 50), "longer; its last 0.20 s"),
        (0.6, {"start": "0.4", "end": "0.8"}, (10, 20), "longer; its last 0.20 s"),
        (0.6, {"start": "0.4", "end": "1.4"}, (10, 35), "shorter; 0.40 s of silence"),
        (0.6, {"end": "0.6"}, (0, 15), None),
        (0.6, {"start": "0", "end": "9"}, (0, 50), "shorter; 1.40 s of silence"),
        (0.6, {"start": "0.4", "audio_offset": 0.2}, (10, 30), None),
        (0.6, {"start": "0.4", "audio_offset": -0.2}, (10, 20), None),
    ],
)
def test_where_a_part_ends_and_what_is_heard_in_it(
    seconds: float,
    settings: dict[str, Any],
    frames: tuple[int, int],
    said: str | None,
    clip: Path,
    tmp_path: Path,
) -> None:
    output, audio = tmp_path / "out.mkv", _buzz(tmp_path / "a.wav", seconds)
    report = dub_here(clip, audio, output, lossless=True, **settings)
    assert times(output) == times(clip)
    assert _changed(clip, output) == list(range(*frames))
    assert report.sync_mode == "pad"
    told = _lengths(report)
    assert len(told) == (said is not None)
    assert said is None or said in told[0]
    (own, _), (new, _), (heard, _) = sound(clip), sound(audio), sound(output)
    begin, end = (round(frame / 25 * RATE) for frame in frames)
    wanted = np.zeros(own.shape[1])
    offset = round(settings.get("audio_offset", 0.0) * RATE)
    part = new[0, max(0, -offset) :][: end - begin - max(0, offset)]
    wanted[begin + max(0, offset) :][: len(part)] = part
    wanted[:begin], wanted[end:] = own[0, :begin], own[0, end:]
    sure = np.ones(len(wanted), bool)
    if begin:
        sure[begin : begin + FADE] = False
    if frames[1] < FRAMES:
        sure[end - FADE : end] = False
    assert heard.shape == own.shape
    assert heard[0, sure] == pytest.approx(wanted[sure], abs=1e-4)


def test_without_a_sound_of_its_own_the_rest_is_silent(tmp_path: Path) -> None:
    source, output = face_clip(tmp_path / "in.mkv", frames=FRAMES), tmp_path / "out.mkv"
    audio = _buzz(tmp_path / "a.wav", 0.8)
    dub_here(source, audio, output, lossless=True, start="0.4")
    assert _changed(source, output) == list(range(10, 30))
    heard, _ = sound(output)
    new, _ = sound(audio)
    begin = round(0.4 * RATE)
    # The track begins with the part.
    assert heard.shape[1] == round(2 * RATE) - begin
    num = new.shape[1]
    assert heard[:, FADE : num - FADE] == pytest.approx(new[:, FADE:-FADE], abs=1e-4)
    assert not heard[:, num:].any()


def test_the_own_sound_also_below_the_part(clip: Path, tmp_path: Path) -> None:
    output, audio = tmp_path / "out.mkv", _buzz(tmp_path / "a.wav", 0.6)
    report = dub_here(clip, audio, output, start="0.4", end="1.2", mix_original="-12dB")
    assert report.original_mixed_db == -12
    (own, _), (new, _), (heard, _) = sound(clip), sound(audio), sound(output)
    begin, end = round(0.4 * RATE), round(1.2 * RATE)
    gain = np.full(own.shape[1], 1.0)
    gain[begin:end] = 10 ** (-12 / 20)
    fall = _ramp(FADE)
    gain[begin : begin + FADE] += (1 - gain[begin]) * fall
    gain[end - FADE : end] += (1 - gain[begin + FADE]) * (1 - fall)
    wanted = own[0] * gain
    wanted[begin : begin + new.shape[1]] += new[0] * np.minimum(1, np.arange(new.shape[1]) / FADE)
    assert heard[0] == pytest.approx(wanted, abs=3e-4)


def test_louder_in_the_part_alone(clip: Path, tmp_path: Path) -> None:
    output, audio = tmp_path / "out.mkv", tmp_path / "a.wav"
    speech(audio, 0.8, "-af", "volume=-16dB")
    report = dub_here(clip, audio, output, start="0.4", match_loudness=True)
    assert report.audio_gain_db > 3
    (own, _), (new, _), (heard, _) = sound(clip), sound(audio), sound(output)
    begin, end = round(0.4 * RATE), round(0.4 * RATE) + new.shape[1]
    assert heard[:, :begin] == pytest.approx(own[:, :begin], abs=1e-4)
    assert heard[:, end:] == pytest.approx(own[:, end:], abs=1e-4)
    louder = new * 10 ** (report.audio_gain_db / 20)
    inside = slice(FADE, new.shape[1] - FADE)
    assert heard[:, begin:end][:, inside] == pytest.approx(louder[:, inside], abs=1e-3)


def test_silent_frames_of_the_part_keep_their_pixels_too(clip: Path, tmp_path: Path) -> None:
    output, audio = tmp_path / "out.mkv", _buzz(tmp_path / "a.wav", 0.4)
    report = dub_here(
        clip, audio, output, lossless=True, start="0.2", end="1.6", keep_silent_frames=True
    )
    changed = _changed(clip, output)
    assert changed[0] == 5
    assert changed[-1] < 25
    passed = report.frames_passed_through
    assert passed["outside"] == 15
    assert passed["silence"] == 35 - len(changed)
    assert not any("More than half" in warning for warning in report.warnings)


def test_a_late_first_frame_counts_as_0_and_uneven_times_stay(tmp_path: Path) -> None:
    """Picture from 0.2 s on, own sound from 0, frames 7 and 20 missing."""
    source, output = tmp_path / "in.mkv", tmp_path / "out.mkv"
    drop = "select='not(eq(n,7)+eq(n,20))',scale=240:240"
    face = face_clip(tmp_path / "face.mkv", drop, "-fps_mode", "passthrough", frames=FRAMES - 2)
    ffmpeg("-i", DEMO_SPEECH, "-t", "2.2", tmp_path / "own.wav")
    both = ("-itsoffset", "0.2", "-i", face, "-i", tmp_path / "own.wav")
    ffmpeg(*both, "-c:v", "copy", "-c:a", "flac", source)
    audio = _buzz(tmp_path / "a.wav", 0.6)
    dub_here(source, audio, output, lossless=True, start="0.4", end="1")
    shown = times(source)
    assert shown[0] == Fraction(1, 5)
    assert times(output) == shown
    inside = [n for n, at in enumerate(shown) if Fraction(3, 5) <= at < Fraction(6, 5)]
    assert _changed(source, output) == inside
    (own, _), (new, _), (heard, _) = sound(source), sound(audio), sound(output)
    begin, end = round(0.6 * RATE), round(1.2 * RATE)
    assert heard.shape == own.shape
    assert heard[:, :begin] == pytest.approx(own[:, :begin], abs=1e-4)
    assert heard[:, end:] == pytest.approx(own[:, end:], abs=1e-4)
    middle = slice(begin + FADE, end - FADE)
    assert heard[:, middle] == pytest.approx(new[:, FADE:-FADE], abs=1e-4)


def test_two_voices_of_other_forms_in_a_part_of_a_turned_video(tmp_path: Path) -> None:
    source, output = tmp_path / "in.mp4", tmp_path / "out.mp4"
    wide = "split[a][b];[a]scale=240:240[l];[b]hflip,scale=180:180,pad=180:240[r];[l][r]hstack"
    flat = face_clip(tmp_path / "flat.mp4", f"{wide},transpose=2", frames=FRAMES)
    sound_of = speech(tmp_path / "own.wav", 2.0, "-ac", "2", "-ar", "48000")
    turn = ("-display_rotation", "-90", "-i", flat, "-i", sound_of)
    ffmpeg(*turn, "-c:v", "copy", "-c:a", "aac", "-map", "0:v", "-map", "1:a", source)
    video = probe(source).video
    assert video is not None
    assert video.rotation_deg == 90
    _buzz(tmp_path / "a.wav", 0.6, 16_000)
    _buzz(tmp_path / "b.wav", 0.4, 22_050)
    words = ("--audio", "left=a.wav", "--audio", "right=b.wav", "--start", "0.4", "--json")
    options = ("--model", "passthrough", "--device", "cpu", "--crf", "0", "-o", "out.mp4")
    done = CliRunner().invoke(app, ["in.mp4", *words, *options])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["frames"] == FRAMES
    assert report["frames_passed_through"] == {"outside": FRAMES - 15}
    assert [speaker["frames_dubbed"] for speaker in report["speakers"]] == [15, 15]
    heard, rate = sound(output)
    assert (heard.shape[0], rate) == (2, 48_000)
    own, _ = sound(source)
    num = round(0.3 * rate)
    assert np.corrcoef(heard[0, :num], own[0, :num])[0, 1] > 0.95


def test_other_tracks_are_not_cut(tmp_path: Path) -> None:
    """A second track and an own sound that outlast the picture."""
    source, output = tmp_path / "in.mkv", tmp_path / "out.mkv"
    face = face_clip(tmp_path / "face.mkv", frames=FRAMES)
    long = speech(tmp_path / "long.wav", 3.0)
    streams = ("-map", "0", "-map", "1", "-map", "1", "-c:v", "copy", "-c:a", "flac")
    ffmpeg("-i", face, "-i", long, *streams, source)
    dub_here(source, _buzz(tmp_path / "a.wav", 0.6), output, start="0.4")
    assert packets(output, "audio", 1) == packets(source, "audio", 1)
    (own, _), (heard, _) = sound(source), sound(output)
    assert heard.shape == own.shape
    assert heard[:, RATE:] == pytest.approx(own[:, RATE:], abs=1e-4)


def test_faces_are_looked_for_in_the_part_alone(clip: Path) -> None:
    class Noting:
        def __init__(self) -> None:
            self.seen: list[int] = []

        def detect(self, frame: Frame) -> list[FaceObservation]:
            self.seen.append(frame.index)
            return []

        def close(self) -> None:
            pass

    detector, info = Noting(), probe(clip)
    assert info.video is not None
    tick_s = info.video.time_base
    part = (Fraction(2, 5) / tick_s, Fraction(3, 5) / tick_s)
    with FrameReader(clip, info) as reader:
        found = analyse(reader, detector, FRAMES, lambda *_: None, part=part)
    assert detector.seen == [10, 11, 12, 13, 14]
    assert len(found.times) == FRAMES


def test_an_interrupted_part_goes_on_to_the_same_packets(clip: Path, tmp_path: Path) -> None:
    audio = _buzz(tmp_path / "a.wav", 0.8)

    def run(output: Path, stop: int | None = None) -> list[bytes]:
        def tell(stage: str, done: int, total: int) -> None:
            if (stage, done) == ("dub", stop):
                raise KeyboardInterrupt

        config = DubConfig(
            video=clip, audio=audio, output=output, model="passthrough", start="0.4", end="1.4"
        )
        dub(config, tell, segment_frames=16)
        return packets(output, "video") + packets(output, "audio")

    whole = run(tmp_path / "whole.mkv")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out.mkv", 30)
    assert run(tmp_path / "out.mkv") == whole


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--start", "soon"), "A time of 'soon'"),
        (("--start", "-1"), "A time of '-1'"),
        (("--end", "1:75"), "A time of '1:75'"),
        (("--end", "nan"), "A time of 'nan'"),
        (("--start", "2", "--end", "2"), "not after its start"),
        (("--end", "0"), "not after its start"),
        (("--start", "2"), "after the end of the video, which lasts 2.00 s"),
        (("--start", "1:00:00"), "after the end of the video"),
        (("--start", "0.41", "--end", "0.43"), "No frame is first shown"),
        (("--start", "0.4", "--sync-mode", "loop"), "does not go with --start"),
        (("--start", "0.4", "--end", "1", "--audio-offset", "0.7"), "nothing of"),
    ],
)
def test_bad_parts_are_one_line_and_leave_nothing(
    words: tuple[str, ...], said: str, clip: Path, tmp_path: Path
) -> None:
    _buzz(tmp_path / "a.wav", 0.6)
    model = ("--model", "passthrough", "--device", "cpu", "--quiet", "-o", "out.mkv")
    done = CliRunner().invoke(app, [str(clip), "--audio", "a.wav", *model, *words])
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"a.wav", "dub-home"}


def test_a_part_without_a_face_says_so(tmp_path: Path) -> None:
    """The face is covered in the second half; the first half is no help."""
    source = tmp_path / "in.mkv"
    hide = "scale=240:240,drawbox=c=gray:t=fill:enable='gte(n,25)'"
    face_clip(source, hide, frames=FRAMES)
    _buzz(tmp_path / "a.wav", 0.6)
    words = ("--audio", "a.wav", "--start", "1.2", "--model", "passthrough", "--quiet")
    done = CliRunner().invoke(app, ["in.mkv", *words])
    assert done.exit_code == 5, done.output
    assert "between --start and --end" in done.stderr
