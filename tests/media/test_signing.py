"""Signing and tagging a finished file leaves what players read as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import pytest
from clips import ClipSpec, make_clip, make_rotated_clip, make_vfr_clip, run_ffmpeg
from joining import join
from test_hdr import LIGHT, MASTERING, hdr_clip

from dubcli.media.container.boxes import sample_entry_box
from dubcli.media.container.probe import probe, require_video
from dubcli.provenance.certificate import development_key
from dubcli.provenance.credentials import read_credentials, sidecar_path, sign
from dubcli.provenance.statement import Statement
from dubcli.provenance.tag import append_packet, read_tag

STATEMENT = Statement(model="net.v1", weights_sha256=None, credentials="embedded")


def signed(path: Path, source: Path) -> Path:
    """The file with every mark that lies in it; `path` itself is tagged."""
    append_packet(path, STATEMENT)
    target = path.with_stem("signed")
    key = development_key()
    sign(path, target, statement=STATEMENT, key=key, source=source, title=path.name)
    found = read_credentials(target)
    assert found is not None
    assert found.state == "intact", found
    assert read_tag(target).statement == STATEMENT
    return target


def facts(path: Path) -> list[Any]:
    """Streams, every packet, and the decoded pictures."""
    with av.open(str(path)) as container:
        streams = [(s.type, s.time_base, s.duration, dict(s.metadata)) for s in container.streams]
        packets = [(p.stream.index, p.pts, p.dts, bytes(p)) for p in container.demux() if p.size]
    with av.open(str(path)) as container:
        shown = [
            (frame.pts, frame.rotation, frame.to_ndarray().tobytes())
            for frame in container.decode(video=0)
            if isinstance(frame, av.VideoFrame)
        ]
    return [streams, sorted(packets, key=lambda one: (one[0], one[2] or 0)), shown]


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_hdr_boxes_are_kept(suffix: str, tmp_path: Path) -> None:
    source = hdr_clip(tmp_path / "in.mp4")
    made = join(source, tmp_path / f"out{suffix}").output
    path = signed(made, source)
    video = require_video(probe(path))
    assert (video.mastering, video.light_level) == (MASTERING, LIGHT)
    for kind in (b"mdcv", b"clli", b"colr", b"hvcC"):
        assert sample_entry_box(path, kind) == sample_entry_box(made, kind)
    assert sample_entry_box(path, b"mdcv") is not None
    assert facts(path) == facts(made)


def test_turned_videos_and_uneven_times_are_kept(tmp_path: Path) -> None:
    for name, clip in (
        ("turned", make_rotated_clip(tmp_path / "turned.mp4", 90)),
        ("uneven", make_vfr_clip(tmp_path / "uneven.mp4")),
        ("delayed", make_clip(tmp_path / "late.mp4", ClipSpec(start_s=0.5, audio_s=0.4))),
    ):
        made = join(clip, tmp_path / f"out-{name}.mp4").output
        before = facts(made)
        assert facts(signed(made, clip)) == before, name


def test_a_source_that_cannot_be_read_as_credentials_is_named_alone(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4")
    made = join(clip, tmp_path / "out.mp4").output
    odd = tmp_path / "odd.mp4"
    odd.write_bytes(clip.read_bytes()[:40] + b"\xff" * 200)
    signed(made, odd)


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_a_sidecar_fits_its_file_alone(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"clip{suffix}"
    run_ffmpeg("-i", make_clip(tmp_path / "in.mp4"), "-c:v", "libvpx-vp9", path)
    content = path.read_bytes()
    key = development_key()
    target = sidecar_path(path)
    sign(path, target, statement=STATEMENT, key=key, source=path, title=path.name)
    assert path.read_bytes() == content
    found = read_credentials(path)
    assert found is not None
    assert (found.state, found.where, found.is_trusted) == ("intact", "sidecar", False)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    altered = read_credentials(path)
    assert altered is not None
    assert altered.state == "altered"
    target.write_bytes(b"nothing")
    damaged = read_credentials(path)
    assert damaged is not None
    assert damaged.state == "damaged"
