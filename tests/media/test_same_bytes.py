"""The same frames become the same bytes, whatever memory held before."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from studio import face_clip

# Encodes a file's frames anew and prints the digest of the packets.
PROGRAM = """
import hashlib, sys
from pathlib import Path
import av
from dubcli.media.container.probe import probe, require_video
from dubcli.media.video.frame_reader import FrameReader
from dubcli.media.video.frame_writer import EncodeOptions, FrameWriter

source, target = map(Path, sys.argv[1:])
info = probe(source)
options = EncodeOptions(output=target, threads=1)
with FrameReader(source, info, 1) as reader:
    with FrameWriter(target, require_video(info), options) as writer:
        for native in reader.native_frames():
            writer.write(native.frame, native.pts)
with av.open(str(target)) as container:
    packets = b"".join(bytes(packet) for packet in container.demux(video=0) if packet.size)
print(hashlib.sha256(packets).hexdigest())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="fills memory by glibc's own means")
def test_an_encode_depends_on_no_memory_that_nobody_wrote(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    face_clip(source)
    digests = set[str]()
    for number, filling in enumerate(("1", "85", "255")):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(source), str(tmp_path / f"{number}.mov")],
            env={**os.environ, "MALLOC_PERTURB_": filling},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(done.stdout.strip())
    assert len(digests) == 1
