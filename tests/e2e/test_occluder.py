"""The network that ships sees what lies in front of a mouth, and nothing where nothing does."""

from __future__ import annotations

from pathlib import Path

import pytest
from studio import FACE_PX, X264, dub_here, face_clip, ffmpeg, speech

from dubcli.face.detect import open_detector
from dubcli.face.landmarks import LIPS_OUTER
from dubcli.media.container.probe import probe
from dubcli.media.video.frame_reader import FrameReader
from dubcli.pipeline.analysis import analyse

NUM_FRAMES, FIRST, LAST = 40, 12, 27


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return face_clip(tmp_path_factory.mktemp("plain") / "face.mp4", frames=NUM_FRAMES)


def _behind_a_phone(plain: Path, output: Path) -> Path:
    """A dark board is held before the mouth for some frames."""
    with FrameReader(plain, probe(plain), 1) as reader, open_detector() as detector:
        (found,) = detector.detect(next(iter(reader.frames(FACE_PX))))
    lips = found.landmarks[LIPS_OUTER, :2]
    x, y = (lips.min(0) - (8, 8)).astype(int)
    wide, high = (lips.max(0) - lips.min(0) + (16, 16)).astype(int)
    box = f"drawbox=x={x}:y={y}:w={wide}:h={high}:color=0x202428:t=fill"
    ffmpeg("-i", plain, "-vf", f"{box}:enable='between(n,{FIRST},{LAST})'", *X264, output)
    return output


def test_lips_behind_a_board_are_left_alone(plain: Path, tmp_path: Path) -> None:
    source = _behind_a_phone(plain, tmp_path / "in.mp4")
    audio = speech(tmp_path / "speech.wav", 1.6)
    report = dub_here(source, audio, tmp_path / "out.mp4")
    (only,) = report.passed_through
    assert only["reason"] == "covered"
    # The network looks at every second frame.
    assert only["start_s"] == pytest.approx(FIRST / 25, abs=1 / 25)
    assert only["end_s"] == pytest.approx((LAST + 1) / 25, abs=1 / 25)


@pytest.mark.parametrize(
    "light",
    ["null", "eq=gamma_r=0.5:gamma_b=2", "eq=gamma_r=1.6:gamma_g=0.5:gamma_b=1.6", "hue=s=0"],
    ids=["white", "blue", "violet", "grey"],
)
def test_nothing_is_seen_in_front_of_an_uncovered_face(
    light: str, plain: Path, tmp_path: Path
) -> None:
    ffmpeg("-i", plain, "-vf", light, *X264, tmp_path / "lit.mp4")
    plain = tmp_path / "lit.mp4"
    with FrameReader(plain, probe(plain), 1) as reader, open_detector() as detector:
        (track,) = analyse(reader, detector, 0, lambda *_: None).tracks
    assert track.valid.all()
    assert not track.partially_occluded.any()
    assert track.occluded_share.max() < 0.01
