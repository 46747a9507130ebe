"""A real dub of files that are more than plain H.264: what they had, the result has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from studio import (
    FACE_PX,
    NUM_FRAMES,
    dub_here,
    face_clip,
    ffmpeg,
    on_plane,
    pairs_of,
    recorded_supports,
    samples,
    speech,
)

from dubcli.config import DubConfig
from dubcli.core.errors import ProbeError
from dubcli.media.container.probe import probe, require_video
from dubcli.media.video.native_frame import NativeFrame
from dubcli.pipeline.run import dub

SCALE = f"scale={FACE_PX}:{FACE_PX}"
HDR_TAGS = "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc:range=tv"
MASTERING = (8500, 39850, 6550, 2300, 35400, 14600, 15635, 16450, 10_000_000, 50)
X265_HDR = (
    "log-level=error:hdr10=1:max-cll=1000,400:master-display=G(8500,39850)B(6550,2300)"
    "R(35400,14600)WP(15635,16450)L(10000000,50)"
)


def hdr_clip(path: Path) -> Path:
    options = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", X265_HDR)
    return face_clip(
        path, f"{SCALE},format=yuv420p10le,{HDR_TAGS}", *options, "-pix_fmt", "yuv420p10le"
    )


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_hdr10_is_dubbed_in_its_own_transfer_with_its_metadata(suffix: str, tmp_path: Path) -> None:
    source, output = hdr_clip(tmp_path / f"in{suffix}"), tmp_path / f"out{suffix}"
    report = dub_here(source, speech(tmp_path / "speech.wav", 0.6), output)
    assert report.frames_dubbed == NUM_FRAMES
    before, after = (require_video(probe(path)) for path in (source, output))
    for name in (
        *("codec", "profile", "pix_fmt", "color_primaries", "color_transfer", "color_space"),
        *("color_range", "mastering", "light_level"),
    ):
        assert getattr(after, name) == getattr(before, name), name
    assert (before.mastering, before.light_level) == (MASTERING, (1000, 400))
    assert not [text for text in report.warnings if "metadata" in text or "format" in text]


def test_ten_bits_outside_the_paste_are_the_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[int, Any] = {}
    monkeypatch.setattr(NativeFrame, "blend", recorded_supports(NativeFrame.blend, seen))
    source, output = hdr_clip(tmp_path / "in.mkv"), tmp_path / "out.mkv"
    dub_here(source, speech(tmp_path / "speech.wav", 0.6), output, lossless=True)
    for number, before, after in pairs_of(source, output):
        pairs = zip(samples(before.frame), samples(after.frame), strict=True)
        for old, new in pairs:
            inside = on_plane(seen[number], old.shape)
            assert np.array_equal(old[~inside], new[~inside])
            assert new.max() > 255


def test_transparent_video_stays_transparent(tmp_path: Path) -> None:
    options = ("-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le")
    alpha = "format=yuva444p10le,colorchannelmixer=aa=0.5"
    source = face_clip(tmp_path / "in.mov", f"{SCALE},{alpha}", *options)
    report = dub_here(source, speech(tmp_path / "speech.wav", 0.6), tmp_path / "out.mov")
    assert report.frames_dubbed == NUM_FRAMES
    for _, before, after in pairs_of(source, tmp_path / "out.mov"):
        assert after.frame.format.name == before.frame.format.name == "yuva444p12le"
        old, new = samples(before.frame)[3], samples(after.frame)[3]
        assert np.array_equal(old, new)
        assert abs(int(old[100, 100]) - 2048) < 20


def test_a_transport_stream_becomes_a_natural_file_with_all_its_sound(tmp_path: Path) -> None:
    flat = face_clip(tmp_path / "flat.mp4", SCALE)
    source = tmp_path / "in.ts"
    tones = [f"sine=f={pitch}:r=48000:d=0.64" for pitch in (300, 500)]
    ffmpeg(
        *("-i", flat, "-f", "lavfi", "-i", tones[0], "-f", "lavfi", "-i", tones[1]),
        *("-map", "0", "-map", "1", "-map", "2", "-c:v", "copy", "-c:a:0", "mp2"),
        *("-c:a:1", "ac3", "-metadata:s:a:1", "language=deu", source),
    )
    audio = speech(tmp_path / "speech.wav", 0.6)
    settings: dict[str, Any] = {"model": "passthrough", "device": "cpu", "sync_mode": "pad"}
    report = dub(DubConfig(video=source, audio=audio, **settings))
    output = tmp_path / "in.dubbed.mp4"
    assert Path(report.output) == output
    with av.open(str(output)) as container:
        codecs = [item.codec_context.codec.canonical_name for item in container.streams]
        assert codecs == ["h264", "aac", "ac3"]
        assert container.streams.audio[1].metadata["language"] == "deu"
    times = [[shown.time_s for shown in pair[1:]] for pair in pairs_of(source, output)]
    assert all(old == new for old, new in times)
    assert len(times) == NUM_FRAMES


def interlaced_clip(path: Path) -> Path:
    """The bundled face, two moments in each frame."""
    weave = f"{SCALE},fps=50,tinterlace=interleave_top,setfield=tff"
    return face_clip(path, weave, "-c:v", "libx264", "-flags", "+ildct+ilme", "-qp", "8")


def test_interlaced_video_is_refused_with_the_flag(tmp_path: Path) -> None:
    source = interlaced_clip(tmp_path / "in.mp4")
    with pytest.raises(ProbeError, match=r"interlaced.*--deinterlace"):
        dub_here(source, speech(tmp_path / "speech.wav", 0.6), tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_interlaced_video_is_dubbed_progressive(tmp_path: Path) -> None:
    source, output = interlaced_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    audio = speech(tmp_path / "speech.wav", 0.6)
    report = dub_here(source, audio, output, deinterlace=True)
    assert report.frames == report.frames_dubbed == NUM_FRAMES
    assert any("made progressive" in text for text in report.warnings)
    assert not require_video(probe(output)).is_interlaced
    for _, before, after in pairs_of(source, output):
        assert after.time_s == before.time_s
        assert not after.frame.interlaced_frame
