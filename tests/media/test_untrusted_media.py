"""A file leads nowhere but to itself: no other file, no network, and no more memory than it may."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from clips import make_clip

from dubcli.core.errors import ProbeError
from dubcli.media.container.probe import probe
from dubcli.pipeline.picture_file import read_picture

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{}\n#EXT-X-ENDLIST\n"
DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT5S"><Period><AdaptationSet><Representation id="1" bandwidth="1" '
    'mimeType="video/mp4"><BaseURL>{}</BaseURL><SegmentBase/></Representation></AdaptationSet>'
    "</Period></MPD>"
)
LISTS = {"hls": HLS, "concat": "ffconcat version 1.0\nfile {}\n", "dash": DASH}
PROBE = "import sys; from dubcli.media.container.probe import probe; probe(sys.argv[1])"


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".mpd"])
def test_a_playlist_opens_no_other_file(tmp_path: Path, kind: str, suffix: str) -> None:
    """The other file is a pipe: whoever opens it waits there, and the process does not end."""
    os.mkfifo(tmp_path / "other.ts")
    path = _write(tmp_path / f"list{suffix}", LISTS[kind].format("other.ts"))
    code = PROBE.replace("sys.argv[1]", "__import__('pathlib').Path(sys.argv[1])")
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, timeout=60, check=False
    )
    assert "is a text file or a playlist, not media" in done.stderr


@pytest.mark.parametrize("kind", LISTS)
def test_a_playlist_reaches_no_network(tmp_path: Path, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        with pytest.raises(ProbeError, match="playlist"):
            probe(_write(tmp_path / "list.mp4", LISTS[kind].format(address)))
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_session_description_opens_no_port(tmp_path: Path) -> None:
    text = (
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    )
    with pytest.raises(ProbeError, match="playlist"):
        probe(_write(tmp_path / "call.mp4", text + "a=rtpmap:96 H264/90000\n"))


def test_a_picture_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(_grey_png(12_000))
    with pytest.raises(ProbeError, match="too large"):
        read_picture(path, "Name another.")
    path.write_bytes(_grey_png(120))
    assert read_picture(path, "").shape == (120, 120, 3)


def _grey_png(side: int) -> bytes:
    packer = zlib.compressobj()
    rows = b"".join(packer.compress(bytes(1 + side)) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_media_is_read_as_before(tmp_path: Path) -> None:
    assert probe(make_clip(tmp_path / "a.mkv")).video is not None
