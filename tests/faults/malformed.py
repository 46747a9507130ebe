"""Named bad and extreme inputs, each made by a few lines from a tiny valid file.

A case makes one file and says which role it plays, how a run with it may end, and what the one line
of an error must name. `MALFORMED` are bytes that no program should have written, `EXTREME` files
that are valid and far from the usual.
"""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bytes_of import box_payload, noisy, patched, replaced, without, write, zeroed
from tiny import ffmpeg

Make = Callable[[Path, Path], Path]

OK, MEDIA, FACE = frozenset({0}), frozenset({3}), frozenset({5})
# Damage may hit the picture of the face, the container, or nothing that matters.
ANY = frozenset({0, 3, 5})


@dataclass(frozen=True)
class Case:
    """One bad input.

    Attributes:
        name: What it is.
        make: Writes it, from a folder of tiny files into a folder; returns its path.
        codes: How a run may end.
        named: What an error must say.
        options: Further options of the run.
        is_audio: It is given as the audio; else as the video.
        output: Name of the result.
    """

    name: str
    make: Make
    codes: frozenset[int]
    named: str = ""
    options: tuple[str, ...] = ()
    is_audio: bool = False
    output: str = "out.mp4"


def of_bytes(name: str, data: bytes) -> Make:
    return lambda tiny, folder: write(folder / name, data)


def edited(source: str, edit: Callable[[bytes], bytes], name: str | None = None) -> Make:
    return lambda tiny, folder: write(folder / (name or source), edit((tiny / source).read_bytes()))


def with_field(source: str, field: str, *values: int | bytes) -> Make:
    return edited(source, lambda data: patched(data, field, *values))


def cut(source: str, share: float) -> Make:
    return edited(source, lambda data: data[: int(len(data) * share)])


def encoded(name: str, *options: str, source: str = "face.mp4") -> Make:
    def make(tiny: Path, folder: Path) -> Path:
        ffmpeg("-i", tiny / source, *options, folder / name)
        return folder / name

    return make


def _drawn(name: str, source: str, *options: str) -> Make:
    def make(tiny: Path, folder: Path) -> Path:
        ffmpeg("-f", "lavfi", "-i", source, *options, folder / name)
        return folder / name

    return make


def _noise_payload(data: bytes) -> bytes:
    begin, end = box_payload(data, b"mdat")
    return data[:begin] + random.Random(2).randbytes(end - begin) + data[end:]


def _no_payload(data: bytes) -> bytes:
    begin, end = box_payload(data, b"mdat")
    return data[:begin] + bytes(end - begin) + data[end:]


def _without_box(name: bytes) -> Callable[[bytes], bytes]:
    return lambda data: replaced(data, name, b"none")


def fifo(tiny: Path, folder: Path) -> Path:
    os.mkfifo(folder / "pipe.mp4")
    return folder / "pipe.mp4"


def _socket(tiny: Path, folder: Path) -> Path:
    # A socket's address must be short, so it is made where it lies.
    here = os.open(".", os.O_RDONLY)
    os.chdir(folder)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("socket.mp4")
    finally:
        os.fchdir(here)
        os.close(here)
    return folder / "socket.mp4"


def _loop(tiny: Path, folder: Path) -> Path:
    (folder / "loop.mp4").symlink_to("loop.mp4")
    return folder / "loop.mp4"


def _dangling(tiny: Path, folder: Path) -> Path:
    (folder / "gone.mp4").symlink_to("absent.mp4")
    return folder / "gone.mp4"


def directory(tiny: Path, folder: Path) -> Path:
    (folder / "clips.mp4").mkdir()
    return folder / "clips.mp4"


def _late_half(data: bytes) -> bytes:
    """Half of the frames an hour later: the lengths of frames get a second run."""
    begin, end = box_payload(data, b"stts")
    assert end - begin == 16, "one run of lengths"
    (clock,) = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)
    step = clock // 25
    table = struct.pack(">IIIIIIII", 0, 3, 6, step, 1, clock * 3600, 5, step)
    grown = data[: begin - 8] + struct.pack(">I", len(table) + 8) + b"stts" + table + data[end:]
    for name in (b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        place = grown.index(name) - 4
        (size,) = struct.unpack_from(">I", grown, place)
        grown = grown[:place] + struct.pack(">I", size + len(table) + 8 - 24) + grown[place + 4 :]
    return grown


def _files() -> list[Case]:
    """What is no file, or no media file at all."""
    text = b"Dear reader, this is no video.\n" * 40
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/hostname\n#EXT-X-ENDLIST\n"
    sdp = (
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5000 RTP/AVP 96\n"
    )
    return [
        Case("no bytes", of_bytes("v.mp4", b""), MEDIA, "is empty"),
        Case("one byte", of_bytes("v.mp4", b"\x00"), MEDIA, "v.mp4"),
        Case("zeros", of_bytes("v.mp4", bytes(65536)), MEDIA, "v.mp4"),
        Case("random bytes", of_bytes("v.mp4", random.Random(3).randbytes(65536)), MEDIA, "v.mp4"),
        Case("text as mp4", of_bytes("v.mp4", text), MEDIA, "v.mp4"),
        Case("json as mkv", of_bytes("v.mkv", b'{"frames": [1, 2]}\n' * 99), MEDIA, "v.mkv"),
        Case("html as webm", of_bytes("v.webm", b"<html>404</html>\n" * 99), MEDIA, "v.webm"),
        Case(
            "subtitles",
            of_bytes("v.srt", b"1\n00:00:00,000 --> 00:00:01,000\nHi\n\n"),
            MEDIA,
            "v.srt",
        ),
        Case("playlist", of_bytes("v.m3u8", playlist), MEDIA, "v.m3u8"),
        Case("playlist as mp4", of_bytes("v.mp4", playlist), MEDIA, "v.mp4"),
        Case(
            "list of files",
            of_bytes("v.mp4", b"ffconcat version 1.0\nfile /etc/hostname\n"),
            MEDIA,
            "v.mp4",
        ),
        Case("session description", of_bytes("v.sdp", sdp), MEDIA, "v.sdp"),
        Case("archive", of_bytes("v.mp4", b"PK\x03\x04" + bytes(2000)), MEDIA, "v.mp4"),
        Case("program", of_bytes("v.mp4", b"\x7fELF\x02\x01\x01" + bytes(2000)), MEDIA, "v.mp4"),
        Case("folder", directory, MEDIA, "is a directory"),
        Case("pipe", fifo, MEDIA, "not a regular file"),
        Case("socket", _socket, MEDIA, "socket.mp4"),
        Case("link to itself", _loop, MEDIA, "loop.mp4"),
        Case("link to nothing", _dangling, MEDIA, "does not exist"),
        Case("device", lambda tiny, folder: Path(os.devnull), MEDIA, "not a regular file"),
        Case(
            "name too long",
            lambda tiny, folder: folder / ("x" * 300 + ".mp4"),
            MEDIA,
            "cannot be read",
        ),
        Case(
            "audio as video",
            lambda tiny, folder: write(folder / "v.wav", (tiny / "speech.wav").read_bytes()),
            MEDIA,
            "no video stream",
        ),
        Case("song with a cover", _covered_song, MEDIA, "no video stream"),
    ]


def _covered_song(tiny: Path, folder: Path) -> Path:
    picture, song = folder.parent / "cover.png", folder / "song.mp3"
    ffmpeg("-i", tiny / "face.mp4", "-frames:v", "1", picture)
    maps = ("-map", "0", "-map", "1", "-c:a", "copy", "-disposition:v", "attached_pic")
    ffmpeg("-i", tiny / "speech.mp3", "-i", picture, *maps, song)
    return song


def _containers() -> list[Case]:
    """Damaged containers."""
    huge = (0xFFFF0000, 0xFFFF0000)
    return [
        Case("mp4 head only", edited("face.mp4", lambda data: data[:32]), MEDIA, "face.mp4"),
        Case("mp4 without its end", cut("face.mp4", 0.5), MEDIA, "face.mp4"),
        Case("mp4 index first, half", cut("start.mp4", 0.5), ANY),
        Case("mp4 index first, no data", cut("start.mp4", 0.12), MEDIA),
        Case("mp4 in parts, half", cut("parts.mp4", 0.5), OK),
        Case("mkv half", cut("face.mkv", 0.5), OK),
        Case("webm half", cut("face.webm", 0.5), OK),
        Case("avi half", cut("face.avi", 0.5), OK),
        Case("mpg half", cut("face.mpg", 0.5), OK),
        Case("mov half", cut("face.mov", 0.5), MEDIA),
        Case("ts from the middle", edited("face.ts", lambda data: data[188 * 30 + 77 :]), ANY),
        Case("ts with a hole", edited("face.ts", lambda data: without(data, 0.4, 0.6)), OK),
        Case("mkv head only", edited("face.mkv", lambda data: data[:300]), MEDIA),
        Case("mkv with a hole", edited("face.mkv", lambda data: without(data, 0.4, 0.5)), OK),
        Case(
            "webm with noise",
            edited("face.webm", lambda data: noisy(data, 0.3, 0.9, every=97)),
            ANY,
        ),
        Case("mp4 twice in one file", edited("face.mp4", lambda data: data * 2), OK),
        Case("mp4 after garbage", edited("face.mp4", lambda data: bytes(997) + data), ANY),
        Case("mp4 no index", edited("face.mp4", _without_box(b"moov")), MEDIA),
        Case("mp4 no sample table", edited("face.mp4", _without_box(b"stbl")), MEDIA),
        Case("mp4 no codec setup", edited("face.mp4", _without_box(b"avcC")), MEDIA),
        Case("mp4 samples of zeros", edited("mute.mp4", _no_payload), MEDIA, "mute.mp4"),
        Case("mp4 samples of noise", edited("mute.mp4", _noise_payload), MEDIA, "mute.mp4"),
        Case("mp4 unknown codec", with_field("mute.mp4", "mp4 codec", b"zzzz"), ANY),
        Case("mp4 encrypted", with_field("mute.mp4", "mp4 codec", b"encv"), ANY),
        Case("mp4 clock 0", with_field("face.mp4", "mp4 track clock", 0), ANY),
        Case("mp4 clock 1 Hz", with_field("face.mp4", "mp4 track clock", 1), ANY),
        Case(
            "mp4 clock 4 GHz",
            with_field("mute.mp4", "mp4 track clock", 0xFFFFFFFF),
            MEDIA,
            "mute.mp4",
        ),
        Case(
            "mp4 clock 2 GHz",
            with_field("mute.mp4", "mp4 track clock", 0x7FFFFFFF),
            MEDIA,
            "timestamps",
        ),
        Case("mp4 movie clock 0", with_field("face.mp4", "mp4 movie clock", 0), ANY),
        Case("mp4 frame length 0", with_field("mute.mp4", "mp4 frame length", 0), ANY),
        Case("mp4 frame length 1 tick", with_field("mute.mp4", "mp4 frame length", 1), ANY),
        Case("mp4 frame length 2^31", with_field("mute.mp4", "mp4 frame length", 0x7FFFFFFF), ANY),
        Case("mp4 2^32 frames", with_field("mute.mp4", "mp4 frame count", 0xFFFFFFFF), ANY),
        Case(
            "mp4 2^32 runs of lengths",
            with_field("mute.mp4", "mp4 runs of lengths", 0xFFFFFFFF),
            ANY,
        ),
        Case("mp4 2^32 sample sizes", with_field("mute.mp4", "mp4 sample sizes", 0xFFFFFFFF), ANY),
        Case("mp4 sample of 2 GB", with_field("mute.mp4", "mp4 sample size", 0x7FFFFFFF), ANY),
        Case(
            "mp4 data beyond the end", with_field("mute.mp4", "mp4 chunk place", 0x7FFFFFFF), MEDIA
        ),
        Case("mp4 shown 65535 x 65535", with_field("mute.mp4", "mp4 shown size", *huge), ANY),
        Case("mp4 coded 65535 x 65535", with_field("mute.mp4", "mp4 coded size", 65535, 65535), OK),
        Case("mp4 broken codec setup", with_field("mute.mp4", "mp4 codec setup", b"\xff" * 8), ANY),
        Case(
            "mp4 edit from the far future",
            with_field("mute.mp4", "mp4 edit start", 0x7FFFFFFF),
            ANY,
        ),
        Case("mp4 empty edit", with_field("mute.mp4", "mp4 edit length", 0), ANY),
        Case(
            "mp4 pause of an hour",
            edited("mute.mp4", _late_half),
            OK,
            options=("--sync-mode", "cut"),
        ),
        Case(
            "avi 65535 x 65535", with_field("raw.avi", "avi size", 65535, 65535), MEDIA, "raw.avi"
        ),
        Case("avi 0 x 0", with_field("face.avi", "avi size", 0, 0), ANY),
        Case("avi negative size", with_field("raw.avi", "avi size", -160, -160), ANY),
        Case("avi rate 0", with_field("face.avi", "avi rate", 0, 0), ANY),
        Case(
            "avi a billion frames a second",
            with_field("face.avi", "avi rate", 1, 1_000_000_000),
            MEDIA,
            "timestamps",
        ),
        Case("avi one frame a year", with_field("face.avi", "avi rate", 31_536_000, 1), ANY),
        Case("avi unknown codec", with_field("face.avi", "avi codec", b"zzzz"), MEDIA),
        Case(
            "mkv width 0",
            edited("face.mkv", lambda data: replaced(data, b"\xb0\x81\xa0", b"\xb0\x81\x00")),
            ANY,
        ),
        Case(
            "mp4 frames zeroed midway",
            edited("mute.mp4", lambda data: zeroed(data, 0.4, 0.7)),
            ANY,
        ),
        Case("mp4 named avi", edited("face.mp4", bytes, name="face.avi"), OK),
        Case(
            "wav named mp4",
            edited("speech.wav", bytes, name="speech.mp4"),
            MEDIA,
            "no video stream",
        ),
    ]


def _pictures() -> list[Case]:
    """Valid pictures far from the usual."""
    raw = ("-c:v", "ffv1", "-an")
    h264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-an")
    wide = "testsrc2=s=7680x4320:r=25"
    return [
        Case(
            "no face",
            _drawn("v.mp4", "testsrc2=s=160x120:r=25", "-frames:v", "12", *h264),
            FACE,
            "face",
        ),
        Case(
            "black",
            _drawn("v.mp4", "color=black:s=160x120:r=25", "-frames:v", "12", *h264),
            FACE,
            "face",
        ),
        Case(
            "noise",
            _drawn(
                "v.mp4",
                "nullsrc=s=160x120:r=25,geq=random(1)*255:128:128",
                "-frames:v",
                "12",
                *h264,
            ),
            FACE,
            "face",
        ),
        Case("8K", _drawn("v.mp4", wide, "-frames:v", "3", *h264), FACE, "face"),
        Case("2 x 2 px", _drawn("v.mkv", "testsrc2=s=2x2:r=25", "-frames:v", "12", *raw), FACE),
        Case(
            "1 x 1 px",
            _drawn("v.mkv", "testsrc2=s=2x2:r=25,format=yuv444p,crop=1:1", "-frames:v", "12", *raw),
            FACE,
        ),
        Case(
            "16384 x 16 px",
            _drawn("v.mkv", "color=red:s=16384x16:r=25", "-frames:v", "3", *raw),
            FACE,
        ),
        Case("face of 16 px", encoded("v.mkv", "-vf", "scale=16:16", *raw), FACE, "face"),
        Case(
            "odd size",
            encoded(
                "v.mp4",
                "-vf",
                "scale=121:123",
                "-c:v",
                "libx264",
                "-qp",
                "8",
                "-pix_fmt",
                "yuv444p",
            ),
            OK,
        ),
        Case("pixels 100 : 1", encoded("v.mkv", "-vf", "setsar=100", *raw), ANY),
        Case("one frame", encoded("v.mp4", "-frames:v", "1", *h264), OK),
        Case(
            "face in one frame",
            encoded("v.mp4", "-vf", "drawbox=enable='gt(n,0)':t=fill", *h264),
            ANY,
        ),
        Case("a frame a second", encoded("v.mp4", "-vf", "setpts=N/TB", *h264), OK),
        Case(
            "240 frames a second",
            encoded("v.mkv", "-vf", "setpts=N/(240*TB)", "-r", "240", *raw),
            OK,
        ),
        Case(
            "10 hours late",
            encoded("v.mkv", "-output_ts_offset", "36000", *h264),
            OK,
            output="out.mkv",
        ),
        Case("times below 0", encoded("v.mp4", "-output_ts_offset", "-0.2", *h264), OK),
        Case(
            "times that repeat",
            encoded(
                "v.avi", "-vf", "setpts=floor(N/4)*4/(25*TB)", "-fps_mode", "passthrough", *h264
            ),
            OK,
        ),
        Case(
            "interlaced", encoded("v.mp4", "-vf", "interlace", "-flags", "+ildct+ilme", *h264), ANY
        ),
        Case("half turned", _turned, OK),
        Case("10 bits grey", encoded("v.mkv", "-pix_fmt", "gray10le", *raw), OK),
        Case("with alpha", encoded("v.mkv", "-pix_fmt", "yuva444p", *raw), OK),
        Case("moving gif", encoded("v.gif"), OK),
        Case("photo", encoded("v.jpg", "-frames:v", "1"), ANY),
        Case("photo as mp4", _photo, ANY),
        Case("two pictures sizes", _two_sizes, ANY, output="out.mkv"),
        Case(
            "two videos",
            encoded("v.mkv", "-map", "0:v", "-map", "0:v", *raw),
            OK,
            output="out.mkv",
        ),
    ]


def _turned(tiny: Path, folder: Path) -> Path:
    ffmpeg("-display_rotation", "45", "-i", tiny / "mute.mp4", "-c", "copy", folder / "v.mp4")
    return folder / "v.mp4"


def _photo(tiny: Path, folder: Path) -> Path:
    picture = encoded("v.jpg", "-frames:v", "1")(tiny, folder.parent)
    return write(folder / "v.mp4", picture.read_bytes())


def _two_sizes(tiny: Path, folder: Path) -> Path:
    small = folder.parent / "small.ts"
    ffmpeg("-i", tiny / "face.ts", "-vf", "scale=96:96", "-c:v", "libx264", "-an", small)
    return write(folder / "v.ts", (tiny / "face.ts").read_bytes() + small.read_bytes())


MALFORMED = [*_files(), *_containers()]
EXTREME = _pictures()
