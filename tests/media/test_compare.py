"""`dub compare`: one video of several, in step, however much they differ."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from clips import ClipSpec, make_clip, run_ffmpeg
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.compare import labels
from dubcli.compare.labels import label_picture, latin, one_line
from dubcli.core.types import U8
from dubcli.media.container.probe import probe


def _grey_steps(path: Path, rate: str, frames: int, start_s: float = 0, *more: str | Path) -> Path:
    """A clip whose grey level tells the time: 40 a second and 20."""
    level = "20+40*floor(T)"
    source = f"color=black:s=64x48:r={rate},geq=lum='{level}':cb=128:cr=128"
    words: list[str | Path] = ["-f", "lavfi", "-i", source, *more, "-frames:v", str(frames)]
    words += ["-output_ts_offset", str(start_s)] if start_s else []
    run_ffmpeg(*words, "-c:v", "libx264", "-qp", "4", "-bf", "0", path)
    return path


def _frames(path: Path) -> list[U8]:
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return [np.asarray(frame.to_ndarray(format="gray"), np.uint8) for frame in frames]


def _compare(*words: str | Path) -> Any:
    return CliRunner().invoke(app, ["compare", *map(str, words)])


def test_times_count_from_each_first_frame_whatever_the_rate(tmp_path: Path) -> None:
    slow = _grey_steps(tmp_path / "slow.mp4", "10", 40)
    fast = _grey_steps(tmp_path / "fast.mp4", "25", 75, 7.5)
    run = _compare(slow, fast, "-o", "out.mp4", "--height", "96", "--sound", "none", "--json")
    assert run.exit_code == 0, run.stderr
    report = json.loads(run.stdout)
    assert (report["frame_rate"], report["width"], report["height"]) == (25, 256, 96)
    assert any("frames a second differ" in note for note in report["notes"])
    assert any(note.startswith("B ends at 0:03.0") for note in report["notes"])
    shown = _frames(Path("out.mp4"))
    assert len(shown) == 100
    for number, frame in enumerate(shown):
        left, right = (float(np.median(half[48:])) for half in np.split(frame, 2, 1))
        assert abs(left - right) < 3 or number >= 75, number
        level = 20 + 40 * min(number // 25, 2 if number >= 75 else 3)
        # The last frame of the shorter one stays.
        assert abs(right - (level - 16) * 255 / 219) < 8 or number % 25 == 0, number


def test_a_wipe_shows_the_first_left_and_the_second_right(tmp_path: Path) -> None:
    for name, colour in (("white", "white"), ("black", "black")):
        source = f"color={colour}:s=64x48:r=25"
        run_ffmpeg("-f", "lavfi", "-i", source, "-frames:v", "80", tmp_path / f"{name}.mp4")
    words = ("white.mp4", "black.mp4", "--layout", "wipe", "--height", "64", "-o", "wipe.mp4")
    run = _compare(*words, "--sound", "none")
    assert run.exit_code == 0, run.stderr
    shares = [float((frame[30:] > 128).mean()) for frame in _frames(Path("wipe.mp4"))]
    assert shares[0] > 0.8
    assert shares[75] < 0.2
    assert all(np.all(np.diff(frame[40].astype(int)) <= 40) for frame in _frames(Path("wipe.mp4")))


@pytest.mark.parametrize(("letter", "rate"), [("A", 440), ("2", 880)])
def test_the_sound_of_choice_is_heard(letter: str, rate: int, tmp_path: Path) -> None:
    for name, hertz in (("one", 440), ("two", 880)):
        tone = ("-f", "lavfi", "-i", f"sine=f={hertz}:r=48000:d=1.2")
        _grey_steps(tmp_path / f"{name}.mkv", "25", 30, 3, *tone)
    run = _compare("one.mkv", "two.mkv", "--sound", letter, "--height", "64")
    assert run.exit_code == 0, run.stderr
    with av.open("compare.mp4") as container:
        sound = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    spectrum = np.abs(np.fft.rfft(sound[4800:43200]))
    assert abs(spectrum.argmax() * 48000 / 38400 - rate) < 5


def test_videos_without_sound_make_a_silent_one_and_say_so(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4")
    run = _compare(clip, clip, "-o", "out.webm", "--height", "64")
    assert run.exit_code == 0, run.stderr
    assert "B has no sound" in run.stderr
    info = probe(Path("out.webm"))
    assert info.audio is None
    assert info.video is not None
    assert info.video.codec == "vp9"


def test_a_sheet_shows_every_video_in_a_row(tmp_path: Path) -> None:
    clip = _grey_steps(tmp_path / "a.mp4", "25", 75)
    short = _grey_steps(tmp_path / "b.mp4", "25", 30)
    words = (clip, short, "--sheet", "sheet.png", "--sound", "none", "--height", "64")
    run = _compare(*words)
    assert run.exit_code == 0, run.stderr
    sheet = cv2.imread("sheet.png")
    assert sheet is not None
    assert sheet.shape == (3 * 28 + 2 * 240, 6 * 320, 3)
    centres = [int(sheet[28 + 28 + 120, 320 * n + 160, 0]) for n in range(6)]
    assert centres == sorted(centres)
    assert centres[-1] > centres[0] + 60
    below = [int(sheet[28 + 28 + 268 + 120, 320 * n + 160, 0]) for n in range(6)]
    assert len(set(below[2:])) == 1


@pytest.mark.parametrize(
    "text",
    ["Ünïcode Имя 名前 اسم", "a:b'c\\d%{pts}%%[x];,=", "\x1b[31mred\x07\u202e", "", "x" * 300],
)
def test_any_label_can_be_drawn(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for by_ffmpeg in (labels._by_ffmpeg, lambda *_: None):
        monkeypatch.setattr(labels, "_by_ffmpeg", by_ffmpeg)
        picture = label_picture(text, 24, 300)
        assert picture.shape[0] == 24
        assert picture.shape[1] <= 300
        assert picture.shape[1] % 2 == 0


def test_labels_are_one_line_of_letters() -> None:
    assert one_line("a\x1b[2J\nb\u202ec") == "a[2J bc"
    assert latin("Ünï 名") == "Uni ?"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("a.mp4",), "1 video"),
        (("a.mp4", "b.mp4", "--sound", "C"), "No video 'C'"),
        (("a.mp4", "b.mp4", "c.mp4", "--layout", "wipe"), "two videos"),
        (("a.mp4", "b.mp4", "--label", "x"), "1 labels"),
        (("a.mp4", "b.mp4", "-o", "out.avi"), "cannot be written to"),
        (("a.mp4", "b.mp4", "-o", "a.mp4"), "one of the videos"),
        (("a.mp4", "b.mp4", "-o", "there.mp4"), "exists already"),
        (("a.mp4", "b.mp4", "-o", "no/out.mp4"), "does not exist"),
        (("a.mp4", "missing.mp4"), "does not exist"),
        (("a.mp4", "text.mp4"), "text.mp4"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(words: tuple[str, ...], said: str) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        make_clip(Path(name), ClipSpec(frames=2))
    Path("there.mp4").write_text("kept")
    Path("text.mp4").write_text("no video")
    before = sorted(Path().iterdir())
    run = _compare(*words)
    assert run.exit_code in (2, 3)
    assert said in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert sorted(Path().iterdir()) == before
    assert Path("there.mp4").read_text() == "kept"


def test_a_label_or_name_is_no_filter_and_no_option(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "-vf 'x';[0] %d.mp4", ClipSpec(frames=3))
    run = _compare("--sound", "none", "--height", "64", "--", str(clip), str(clip))
    assert run.exit_code == 0, run.stderr
    video = probe(Path("compare.mp4")).video
    assert video is not None
    assert video.frame_rate == Fraction(25)
