"""Something in front of the mouth: its pixels stay, and hidden lips are left alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from studio import (
    FACE_PX,
    X264,
    Planes,
    dub_here,
    face_clip,
    ffmpeg,
    pairs_of,
    same_samples,
    samples,
    speech,
)

from dubcli.core.errors import NoFaceError
from dubcli.core.types import F32, U8, FramePatch
from dubcli.face.detect import open_detector
from dubcli.face.landmarks import CHIN, LIPS_OUTER
from dubcli.media.container.probe import probe
from dubcli.media.video.frame_reader import FrameReader
from dubcli.media.video.native_frame import NativeFrame
from dubcli.pipeline.analysis import analyse
from dubcli.pipeline.passed_ranges import passed_ranges

NUM_FRAMES = 44
FIRST, LAST = 15, 27
RANGE = range(FIRST, LAST + 1)


def red_is_in_front(crops: U8) -> F32:
    """What the network would say of a pure red thing."""
    values = crops.astype(np.float32)
    return ((values[..., 0] > 180) & (values[..., 1:].max(-1) < 70)).astype(np.float32)


@pytest.fixture(autouse=True)
def _red_is_in_front(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("analysis", "engine"):
        monkeypatch.setattr(f"dubcli.pipeline.{module}.load_segmenter", lambda *_: red_is_in_front)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return face_clip(tmp_path_factory.mktemp("plain") / "face.mp4", frames=NUM_FRAMES)


@pytest.fixture(scope="module")
def points(plain: Path) -> F32:
    """Where the face is in the first frame, px. Shape (K, 2)."""
    with FrameReader(plain, probe(plain), 1) as reader, open_detector() as detector:
        (found,) = detector.detect(next(iter(reader.frames(FACE_PX))))
    return found.landmarks[:, :2]


def with_red(plain: Path, output: Path, size: tuple[int, int], x: str, y: str, when: str) -> Path:
    """A red box (width, height) before the clip; x and y are ffmpeg expressions of n."""
    red = ("-f", "lavfi", "-i", f"color=red:s={size[0]}x{size[1]}:r=25")
    graph = f"[0:v][1:v]overlay=x='{x}':y='{y}':enable='{when}':shortest=1:format=yuv420"
    options = ("-filter_complex", graph, "-frames:v", str(NUM_FRAMES), "-pix_fmt", "yuv420p")
    ffmpeg("-i", plain, *red, *options, *X264, output)
    return output


def over_the_lips(plain: Path, points: F32, output: Path, when: str) -> Path:
    """A box that covers the lips, as a hand does that comes and goes."""
    low, high = points[LIPS_OUTER].min(0) - 6, points[LIPS_OUTER].max(0) + 6
    width, height = (int(side) // 2 * 2 for side in high - low)
    return with_red(plain, output, (width, height), str(int(low[0])), str(int(low[1])), when)


def red_pixels(planes: Planes) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Samples well inside the red, in luma and in chroma."""
    chroma = (planes[2] > 200) & (planes[1] < 120)
    inner = chroma.copy()
    inner[1:-1, 1:-1] = (
        chroma[1:-1, 1:-1] & chroma[:-2, 1:-1] & chroma[2:, 1:-1] & chroma[1:-1, :-2]
    ) & chroma[1:-1, 2:]
    return inner.repeat(2, 0).repeat(2, 1), inner


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    """The largest blend weight of each source frame that is pasted."""
    seen: dict[int, float] = {}
    blend = NativeFrame.blend

    def noting(self: NativeFrame, patch: FramePatch) -> NativeFrame:
        seen[self.index] = float(patch.alpha.max(initial=0))
        return blend(self, patch)

    monkeypatch.setattr(NativeFrame, "blend", noting)
    return seen


def changed(source: Path, output: Path) -> Iterator[bool]:
    for _, before, after in pairs_of(source, output):
        yield not same_samples(before.frame, after.frame)


def test_hidden_lips_pass_through_as_one_range_without_a_pop(
    plain: Path, points: F32, weights: dict[int, float], tmp_path: Path
) -> None:
    when = f"between(n,{FIRST},{LAST})*not(eq(n,{FIRST + 5}))"  # it trembles once
    source = over_the_lips(plain, points, tmp_path / "in.mp4", when)
    output = tmp_path / "out.mkv"
    audio = speech(tmp_path / "speech.wav", 1.7)
    report = dub_here(source, audio, output, lossless=True)
    assert report.frames == NUM_FRAMES
    assert report.frames_passed_through == {"covered": len(RANGE)}
    assert report.passed_through == [
        {"start_s": 0.6, "end_s": 1.12, "frames": len(RANGE), "reason": "covered"}
    ]
    is_changed = list(changed(source, output))
    assert [number for number, flag in enumerate(is_changed) if not flag] == list(RANGE)
    strength = np.array([weights.get(number, 0.0) for number in range(NUM_FRAMES)])
    assert strength[0] == pytest.approx(1)
    assert np.abs(np.diff(strength)).max() <= 1 / 6 + 1e-3


def test_ranges_of_a_video_are_told_with_their_reason(
    plain: Path, points: F32, tmp_path: Path
) -> None:
    source = over_the_lips(plain, points, tmp_path / "in.mp4", f"between(n,{FIRST},{LAST})")
    with FrameReader(source, probe(source), 1) as reader, open_detector() as detector:
        found = analyse(reader, detector, 0, lambda *_: None)
    times = found.times
    (only,) = passed_ranges(found.tracks[0].reasons, times.pts, times.end_pts, times.time_base)
    told = only.as_json()
    assert (told["reason"], told["frames"]) == ("covered", len(RANGE))
    assert told["end_s"] - told["start_s"] == pytest.approx(len(RANGE) / 25, abs=2e-3)


def test_a_thing_beside_the_lips_keeps_its_pixels_while_the_mouth_is_dubbed(
    plain: Path, points: F32, tmp_path: Path
) -> None:
    """A box that wanders over the chin, below the lips."""
    below = points[LIPS_OUTER, 1].max() + 10
    left = points[CHIN, 0] - 30
    source = with_red(
        plain, tmp_path / "in.mp4", (24, 60), f"{left:.0f}+n", f"{below:.0f}", "gte(n,10)"
    )
    output = tmp_path / "out.mkv"
    report = dub_here(source, speech(tmp_path / "speech.wav", 1.7), output, lossless=True)
    assert report.frames_dubbed == NUM_FRAMES
    for number, before, after in pairs_of(source, output):
        old, new = samples(before.frame), samples(after.frame)
        luma, chroma = red_pixels(old)
        assert luma.any() == (number >= 10)
        masks = (luma[: old[0].shape[0], : old[0].shape[1]], chroma, chroma)
        for plane, mask in zip(range(3), masks, strict=True):
            assert np.array_equal(old[plane][mask], new[plane][mask]), f"{number}, plane {plane}"
        assert not np.array_equal(old[0], new[0])


def test_without_the_network_the_thing_would_be_painted_over(
    plain: Path, points: F32, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the test above protects from."""
    nothing: Any = None
    monkeypatch.setattr("dubcli.pipeline.engine.load_segmenter", lambda manifest: nothing)
    below, left = points[LIPS_OUTER, 1].max() + 10, points[CHIN, 0] - 30
    source = with_red(plain, tmp_path / "in.mp4", (24, 60), f"{left:.0f}+n", f"{below:.0f}", "1")
    output = tmp_path / "out.mkv"
    dub_here(source, speech(tmp_path / "speech.wav", 1.7), output, lossless=True)
    touched = 0
    for _, before, after in pairs_of(source, output):
        old, new = samples(before.frame)[0], samples(after.frame)[0]
        mask = red_pixels(samples(before.frame))[0][: old.shape[0], : old.shape[1]]
        touched += int((old[mask] != new[mask]).sum())
    assert touched


def test_who_wears_a_mask_throughout_is_told(plain: Path, points: F32, tmp_path: Path) -> None:
    source = over_the_lips(plain, points, tmp_path / "in.mp4", "1")
    audio = speech(tmp_path / "speech.wav", 1.0)
    with pytest.raises(NoFaceError, match="mask"):
        dub_here(source, audio, tmp_path / "out.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "speech.wav"]
