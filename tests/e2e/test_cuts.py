"""Edited material: hard cuts, cross-fades, flashes, and a beginning out of black."""

from __future__ import annotations

from pathlib import Path

import pytest
from studio import DEMO, FACE_PX, X264, dub_here, ffmpeg, pairs_of, same_samples, speech, times

from dubcli.core.reports import DubReport

# Two scenes of the bundled face: as it is, and mirrored and larger.
PLAIN = f"scale={FACE_PX}:{FACE_PX}"
OTHER = f"hflip,scale={FACE_PX * 5 // 4}:{FACE_PX * 5 // 4},crop={FACE_PX}:{FACE_PX}"
SHAPE = "setsar=1,format=yuv420p,settb=1/25"
WHITE = "lutyuv=y=235:u=128:v=128"


def edited(path: Path, graph: str) -> Path:
    """A lossless clip of the demo's two scenes, [a] and [b], put together by a filter graph."""
    scenes = f"[0:v]{PLAIN},{SHAPE}[a];[0:v]{OTHER},{SHAPE}[b];{graph}"
    ffmpeg("-i", DEMO, "-filter_complex", scenes, "-map", "[out]", "-r", "25", *X264, path)
    return path


def changed(source: Path, folder: Path) -> tuple[DubReport, list[bool]]:
    """Dub without loss; which frames differ from the source's."""
    output = folder / "out.mkv"
    report = dub_here(source, speech(folder / "speech.wav", 1.5), output, lossless=True)
    pairs = pairs_of(source, output)
    differ = [not same_samples(before.frame, after.frame) for _, before, after in pairs]
    assert times(output) == times(source)
    assert report.frames == len(differ)
    assert report.frames_dubbed == sum(differ)
    return report, differ


def test_a_hard_cut_is_dubbed_on_both_sides_up_to_the_cut(tmp_path: Path) -> None:
    cut = "[a]trim=end_frame=14[c];[b]trim=end_frame=12[d];[c][d]concat=n=2:v=1[out]"
    report, differ = changed(edited(tmp_path / "in.mp4", cut), tmp_path)
    assert report.shots == 2
    assert differ == [True] * 26


def test_a_cross_fade_passes_through_and_both_sides_are_dubbed(tmp_path: Path) -> None:
    """Frames 18 to 29 are mixtures."""
    fade = (
        "[a]trim=end_frame=32[c];[b]trim=start_frame=30:end_frame=62,setpts=PTS-STARTPTS[d];"
        "[c][d]xfade=transition=fade:duration=0.52:offset=0.68[out]"
    )
    report, differ = changed(edited(tmp_path / "in.mp4", fade), tmp_path)
    assert report.shots == 2
    assert not any(differ[18:30])
    assert all(differ[:16])
    assert all(differ[32:])
    assert set(report.frames_passed_through) == {"cross_fade"}
    assert 12 <= report.frames_passed_through["cross_fade"] <= 16


@pytest.mark.parametrize("length", [1, 3])
def test_a_flash_is_no_cut_and_its_frames_pass_through(length: int, tmp_path: Path) -> None:
    last = 12 + length - 1
    flash = f"[a]trim=end_frame=28,{WHITE}:enable='between(n,12,{last})'[out];[b]nullsink"
    report, differ = changed(edited(tmp_path / "in.mp4", flash), tmp_path)
    assert report.shots == 1
    assert report.frames_passed_through == {"flash": length}
    assert differ == [True] * 12 + [False] * length + [True] * (16 - length)


def test_a_beginning_out_of_black_is_dubbed_once_the_face_is_there(tmp_path: Path) -> None:
    black = (
        "[a]trim=end_frame=40,tpad=start=4:color=black,fade=t=in:start_frame=3:nb_frames=12[out];"
        "[b]nullsink"
    )
    report, differ = changed(edited(tmp_path / "in.mp4", black), tmp_path)
    assert not any(differ[:8])
    assert all(differ[18:])
    assert report.frames == 44
