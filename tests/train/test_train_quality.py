"""Pictures of low quality are left out of a training set, and the index tells which and why."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_clips import made_clip, write_set
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.core.errors import TrainingError
from dubcli.core.types import U8
from dubcli.training.data.picture_quality import clip_quality, face_detail
from dubcli.training.data.prepared_clip import (
    PreparedClip,
    encode_picture,
    ranges_as_text,
    ranges_from_text,
)
from dubcli.training.data.train_clips import load_clips

Change = Callable[[U8], U8]


def _changed(clip: PreparedClip, frames: range, change: Change) -> PreparedClip:
    pictures = [clip.picture(index) for index in range(len(clip))]
    jpeg = [encode_picture(change(x) if i in frames else x) for i, x in enumerate(pictures)]
    ends = np.cumsum([len(data) for data in jpeg])
    return replace(clip, jpeg=np.concatenate(jpeg), jpeg_ends=ends)


def _blurred(picture: U8) -> U8:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 3.0), np.uint8)


def _detail(clip: PreparedClip, change: Change = lambda picture: picture) -> float:
    rows, columns = clip.margin
    crop = change(clip.picture(3))[rows:-rows, columns:-columns]
    return face_detail(crop, clip.crop_points(np.array([3]))[0])


def test_detail_falls_with_blur_and_not_with_light_or_contrast() -> None:
    clip = made_clip(0)
    sharp = _detail(clip)
    blurs = [
        _detail(clip, lambda x, s=sigma: np.asarray(cv2.GaussianBlur(x, (0, 0), s), np.uint8))
        for sigma in (1.0, 2.0, 4.0)
    ]
    assert sharp > 1.5 * blurs[0] > 1.5 * blurs[1] > 1.5 * blurs[2]
    darker = _detail(clip, lambda x: np.asarray(x * 0.6 + 20, np.uint8))
    assert darker == pytest.approx(sharp, rel=0.1)


def test_detail_does_not_depend_on_the_size_of_the_crops() -> None:
    small, large = (_detail(made_clip(0, size=size)) for size in ((208, 160), (416, 320)))
    assert large == pytest.approx(small, rel=0.25)


def test_a_face_that_was_enlarged_shows_less_detail() -> None:
    def enlarged(picture: U8) -> U8:
        height, width = picture.shape[:2]
        small = cv2.resize(picture, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
        large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
        return np.asarray(large, np.uint8)

    clip = made_clip(0)
    assert _detail(clip, enlarged) < 0.6 * _detail(clip)


def test_a_poor_clip_is_low_and_a_poor_run_is_a_range() -> None:
    clip = made_clip(0)
    least = _detail(clip) / 2
    assert clip_quality(_changed(clip, range(40), _blurred), least).is_low
    quality = clip_quality(_changed(clip, range(20, 34), _blurred), least)
    assert not quality.is_low
    ((first, end),) = quality.ranges
    assert abs(first - 20) <= 1
    assert abs(end - 34) <= 1


def test_a_blink_of_blur_is_no_range_and_nothing_is_poor_without_a_bound() -> None:
    clip = _changed(made_clip(0), range(10, 13), _blurred)
    assert clip_quality(clip, _detail(made_clip(0)) / 2).ranges == ()
    poor = _changed(clip, range(40), _blurred)
    assert not clip_quality(poor, 0.0).is_low
    assert clip_quality(poor, 0.0).ranges == ()


def test_ranges_are_read_as_they_were_written() -> None:
    ranges = ((0, 9), (20, 34))
    assert ranges_as_text(ranges) == "0-8 20-33"
    assert ranges_from_text(ranges_as_text(ranges)) == ranges
    assert ranges_from_text("") == ()


def _with_column(folder: Path, value: str) -> None:
    index = folder / "index.csv"
    with index.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with index.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0], "low_quality"])
        writer.writeheader()
        writer.writerows({**row, "low_quality": value} for row in rows)


def test_frames_of_low_quality_are_not_learned_from(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", {"anna": made_clip(0)}, {})
    (whole,) = load_clips(folder)
    assert len(whole.frames) == 40
    _with_column(folder, "0-4 30-39")
    (clip,) = load_clips(folder)
    assert clip.frames.tolist() == list(range(5, 30))
    _with_column(folder, "nonsense")
    with pytest.raises(TrainingError, match="low quality of clip 'anna'"):
        load_clips(folder)


def _prepare(clips: Path, output: Path, *words: str) -> dict[str, str]:
    done = CliRunner().invoke(app, ["prepare", str(clips), "-o", str(output), *words])
    assert done.exit_code in (0, 7), done.output
    with (output / "index.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    return row


def test_the_index_tells_what_was_dropped_and_a_lower_bound_takes_it_again(tmp_path: Path) -> None:
    clips, output = tmp_path / "clips", tmp_path / "set"
    clips.mkdir()
    (clips / "demo.mp4").write_bytes((files("dubcli") / "assets" / "demo.mp4").read_bytes())
    row = _prepare(clips, output, "--min-quality", "0.9")
    quality = float(row["quality"])
    assert row["dropped"] == f"low quality: {quality:.3f}, less than 0.9"
    made = (output / "demo.npz").stat().st_mtime_ns
    row = _prepare(clips, output, "-y")
    assert (row["dropped"], row["quality"]) == ("", f"{quality:.3f}")
    assert (output / "demo.npz").stat().st_mtime_ns == made
    assert len(load_clips(output)) == 1


def test_a_quality_that_cannot_be_is_refused(tmp_path: Path) -> None:
    words = ["prepare", str(tmp_path), "-o", str(tmp_path / "set"), "--min-quality", "1.5"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "0 to keep all" in result.stderr
