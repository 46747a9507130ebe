"""What a lossless result shows: the source's own samples outside the paste, a good copy inside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studio import (
    FACE_PX,
    NUM_FRAMES,
    X264,
    dub_here,
    face_clip,
    ffmpeg,
    on_plane,
    pairs_of,
    recorded_supports,
    same_samples,
    samples,
    speech,
)

from dubcli.media.container.probe import probe, require_video
from dubcli.media.video.native_frame import NativeFrame
from dubcli.models.passthrough.network import Passthrough

SCALE = f"scale={FACE_PX}:{FACE_PX}"
LEAST_PSNR_DB = 36.0


@pytest.fixture
def supports(monkeypatch: pytest.MonkeyPatch) -> dict[int, Any]:
    """Per source frame: the pixels that the paste may change."""
    seen: dict[int, Any] = {}
    monkeypatch.setattr(NativeFrame, "blend", recorded_supports(NativeFrame.blend, seen))
    return seen


def turned_clip(path: Path) -> Path:
    flat = face_clip(path.with_name("flat.mp4"), f"{SCALE},transpose=2")
    ffmpeg("-display_rotation", "-90", "-i", flat, "-c", "copy", path)
    return path


def clip(kind: str, folder: Path) -> Path:
    if kind == "turned 90":
        return turned_clip(folder / "in.mp4")
    if kind == "wide pixels":
        return face_clip(folder / "in.mp4", f"scale={FACE_PX * 3 // 4}:{FACE_PX},setsar=4/3")
    return face_clip(folder / "in.mp4", SCALE, *X264, "-pix_fmt", kind)


@pytest.mark.parametrize(
    "kind", ["yuv420p", "yuv422p10le", "yuv444p", "yuvj420p", "turned 90", "wide pixels"]
)
def test_samples_outside_the_paste_are_the_sources_and_inside_it_close(
    kind: str, supports: dict[int, Any], tmp_path: Path
) -> None:
    source, output = clip(kind, tmp_path), tmp_path / "out.mkv"
    dub_here(source, speech(tmp_path / "speech.wav", 0.6), output, lossless=True)
    peak = (1 << (10 if "10" in require_video(probe(source)).pix_fmt else 8)) - 1
    errors, num_changed = [], 0
    for number, before, after in pairs_of(source, output):
        # Lossless files tell full range by a tag, not by libav's old "j" formats.
        assert after.frame.format.name == before.frame.format.name.replace("yuvj", "yuv")
        assert after.frame.color_range == before.frame.color_range
        pairs = zip(samples(before.frame), samples(after.frame), strict=True)
        for plane, (old, new) in enumerate(pairs):
            inside = on_plane(supports[number], old.shape)
            assert inside.any()
            assert not inside.all()
            assert np.array_equal(old[~inside], new[~inside]), f"frame {number}, plane {plane}"
            errors.append(((old - new)[inside] ** 2).mean())
            num_changed += int((old != new).sum())
    assert len(supports) == NUM_FRAMES
    assert num_changed
    assert 10 * np.log10(peak**2 / np.mean(errors)) >= LEAST_PSNR_DB


def test_the_paste_stays_below_the_eyes(supports: dict[int, Any], tmp_path: Path) -> None:
    source = face_clip(tmp_path / "in.mp4")
    dub_here(source, speech(tmp_path / "speech.wav", 0.6), tmp_path / "out.mkv", lossless=True)
    for support in supports.values():
        rows, columns = np.flatnonzero(support.any(1)), np.flatnonzero(support.any(0))
        assert rows[0] > FACE_PX * 0.2  # the bundled face is upright and in the middle
        assert (columns[-1] - columns[0]) < FACE_PX * 0.6


def test_a_model_that_asks_for_it_is_pasted_over_the_whole_face(
    supports: dict[int, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """IPTalker's section III-D; still no sample outside the paste changes."""
    source, output = face_clip(tmp_path / "in.mp4"), tmp_path / "out.mkv"
    audio = speech(tmp_path / "speech.wav", 0.6)
    dub_here(source, audio, tmp_path / "lower.mkv", lossless=True)
    lower = {number: np.flatnonzero(x.any(1))[0] for number, x in supports.items()}
    supports.clear()
    whole = replace(Passthrough().spec, paste="face")
    monkeypatch.setattr(Passthrough, "spec", whole)
    dub_here(source, audio, output, lossless=True)
    for number, support in supports.items():
        # From the brows, not from below the nose tip.
        assert np.flatnonzero(support.any(1))[0] < lower[number] - 0.2 * FACE_PX
    for number, before, after in pairs_of(source, output):
        for old, new in zip(samples(before.frame), samples(after.frame), strict=True):
            outside = ~on_plane(supports[number], old.shape)
            assert outside.any()
            assert np.array_equal(old[outside], new[outside])


def test_frames_without_a_face_pass_through_untouched(tmp_path: Path) -> None:
    """Ten frames of colour bars between two stretches of the clip."""
    source, output = tmp_path / "in.mp4", tmp_path / "out.mkv"
    bars = ("-f", "lavfi", "-i", f"smptebars=s={FACE_PX}x{FACE_PX}:r=25:d=0.4")
    graph = (
        f"[0:v]{SCALE},trim=end_frame=12,setsar=1,format=yuv420p[a];"
        "[1:v]setsar=1,format=yuv420p[b];"
        f"[2:v]{SCALE},trim=start_frame=40:end_frame=52,setpts=PTS-STARTPTS,setsar=1,"
        "format=yuv420p[c];[a][b][c]concat=n=3:v=1"
    )
    demo = face_clip(tmp_path / "face.mp4", SCALE, frames=52)
    ffmpeg("-i", demo, *bars, "-i", demo, "-filter_complex", graph, "-r", "25", *X264, source)
    report = dub_here(source, speech(tmp_path / "speech.wav", 1.3), output, lossless=True)
    assert report.frames == 34
    assert report.frames_passed_through == {"no_face": 10}
    assert report.frames_dubbed == 24
    assert report.shots == 3
    same = [
        same_samples(before.frame, after.frame) for _, before, after in pairs_of(source, output)
    ]
    assert same == [False] * 12 + [True] * 10 + [False] * 12


def test_a_mostly_empty_video_says_so(tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    bars = ("-f", "lavfi", "-i", f"smptebars=s={FACE_PX}x{FACE_PX}:r=25:d=0.8")
    graph = (
        f"[0:v]{SCALE},trim=end_frame=6,setsar=1,format=yuv420p[a];"
        "[1:v]setsar=1,format=yuv420p[b];[a][b]concat=n=2:v=1"
    )
    demo = face_clip(tmp_path / "face.mp4", SCALE, frames=6)
    ffmpeg("-i", demo, *bars, "-filter_complex", graph, "-r", "25", *X264, source)
    report = dub_here(source, speech(tmp_path / "speech.wav", 1.0), tmp_path / "out.mp4")
    assert report.frames_dubbed == 6
    assert report.frames_passed_through == {"no_face": 20}
    assert any("More than half" in warning for warning in report.warnings)


@pytest.mark.parametrize("face", [1, 2])
def test_only_the_chosen_one_of_two_faces_changes(face: int, tmp_path: Path) -> None:
    """The clip beside a smaller mirror image of itself: the larger face is number 1."""
    small = FACE_PX * 3 // 4
    graph = (
        f"[0:v]{SCALE},split[a][b];[b]hflip,scale={small}:{small},"
        f"pad={FACE_PX}:{FACE_PX}:0:{FACE_PX - small}[c];[a][c]hstack"
    )
    source, output = tmp_path / "in.mp4", tmp_path / "out.mkv"
    demo = face_clip(tmp_path / "face.mp4", SCALE)
    ffmpeg("-i", demo, "-filter_complex", graph, "-pix_fmt", "yuv420p", *X264, source)
    audio = speech(tmp_path / "speech.wav", 0.6)
    report = dub_here(source, audio, output, lossless=True, face=face)
    assert report.faces == 2
    assert report.frames_dubbed == NUM_FRAMES
    for _, before, after in pairs_of(source, output):
        old, new = samples(before.frame)[0], samples(after.frame)[0]
        changed = [bool((old[:, part] != new[:, part]).any()) for part in _halves(FACE_PX)]
        assert changed == [face == 1, face == 2]


def _halves(width: int) -> tuple[slice, slice]:
    return slice(0, width), slice(width, 2 * width)
