"""A face beside a smaller one of somebody else: which of the two is dubbed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from studio import (
    FACE_PX,
    OTHER_PERSON,
    X264,
    dub_here,
    face_clip,
    ffmpeg,
    pairs_of,
    samples,
    speech,
)
from typer.testing import CliRunner

from dubcli.cli.app import app

SMALL_PX = FACE_PX * 3 // 4
# Only the smaller face moves; 3.2 seconds, for the expert is not sure of less than about 2.6.
FROZEN = "trim=end_frame=1,loop=loop=-1:size=1:start=0,setpts=N/25/TB"
LONG, SHORT = 80, 10


def _beside(path: Path, larger: str, frames: int, *options: str) -> Path:
    """Two faces, the larger one on the left; `larger` is what is done to it."""
    chain = (
        f"split[a][b];[a]scale={FACE_PX}:{FACE_PX},{larger}[l];"
        f"[b]hflip,scale={SMALL_PX}:{SMALL_PX},pad={FACE_PX}:{FACE_PX}:0:{FACE_PX - SMALL_PX}[r];"
        "[l][r]hstack"
    )
    return face_clip(path, chain, *options, frames=frames)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two speaking faces, and one of the two frozen, with and without the bundled sound."""
    folder = tmp_path_factory.mktemp("two")
    _beside(folder / "both.mkv", OTHER_PERSON, SHORT)
    sound = ("-map", "0:v", "-map", "0:a", "-c:a", "flac", *X264)
    _beside(folder / "frozen.mkv", FROZEN, LONG, *sound)
    ffmpeg("-i", folder / "frozen.mkv", "-c", "copy", "-an", folder / "mute.mkv")
    for name, side, left in (("large.jpg", FACE_PX, 0), ("small.png", SMALL_PX, FACE_PX)):
        cut = f"crop={side}:{side}:{left}:{FACE_PX - side}"
        ffmpeg("-i", folder / "both.mkv", "-vf", cut, "-frames:v", "1", folder / name)
    speech(folder / "new.wav", 0.4)
    return folder


def _dub(folder: Path, tmp_path: Path, *words: str) -> tuple[dict[str, Any], str]:
    where = ("--audio", str(folder / "new.wav"), "-o", str(tmp_path / "out.mkv"))
    done = CliRunner().invoke(app, [*words, *where, "--model", "passthrough", "--device", "cpu"])
    assert done.exit_code == 0, done.stderr
    return json.loads((tmp_path / "out.json").read_text(encoding="utf-8")), done.stderr


def test_the_speaker_is_found_by_the_videos_own_sound(folder: Path, tmp_path: Path) -> None:
    report, told = _dub(folder, tmp_path, str(folder / "frozen.mkv"))
    assert report["face"] == 2
    assert report["face_reason"].startswith("its lips follow the video's own sound (")
    assert f"dub: face 2 of 2: {report['face_reason']}\n" in told


def test_without_own_sound_the_largest_is_dubbed(folder: Path, tmp_path: Path) -> None:
    report, told = _dub(folder, tmp_path, str(folder / "both.mkv"))
    assert (report["face"], report["face_reason"]) == (1, "the largest of 2")
    assert "dub: face 1 of 2: the largest of 2\n" in told


def test_lips_that_move_come_before_a_larger_face_that_is_still(
    folder: Path, tmp_path: Path
) -> None:
    report, told = _dub(folder, tmp_path, str(folder / "mute.mkv"))
    reason = "the largest whose lips move; face 1 is larger and still"
    assert (report["face"], report["face_reason"]) == (2, reason)
    assert f"dub: face 2 of 2: {reason}\n" in told


@pytest.mark.parametrize(
    ("face", "number", "reason"),
    [
        ("left", 1, "leftmost"),
        ("right", 2, "rightmost"),
        ("large.jpg", 1, "most like large.jpg"),
        ("small.png", 2, "most like small.png"),
    ],
)
def test_the_face_that_was_asked_for_changes_alone(
    face: str, number: int, reason: str, folder: Path, tmp_path: Path
) -> None:
    chosen = str(folder / face) if "." in face else face
    source, output = folder / "both.mkv", tmp_path / "out.mkv"
    report = dub_here(source, folder / "new.wav", output, lossless=True, face=chosen)
    assert report.face == number
    assert report.face_reason.startswith(reason)
    for _, before, after in pairs_of(source, output):
        old, new = samples(before.frame)[0], samples(after.frame)[0]
        changed = [
            bool((old[:, part] != new[:, part]).any())
            for part in (slice(0, FACE_PX), slice(FACE_PX, 2 * FACE_PX))
        ]
        assert changed == [number == 1, number == 2]


def test_a_single_face_is_not_announced(folder: Path, tmp_path: Path) -> None:
    alone = face_clip(tmp_path / "alone.mkv", frames=SHORT)
    report, told = _dub(folder, tmp_path, str(alone))
    assert (report["face"], report["face_reason"]) == (1, "the only face")
    assert "the only face" not in told
