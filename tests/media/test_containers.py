"""Files of every kind in, the natural container out, and every stream of theirs kept or named."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from av.stream import Disposition
from clips import ClipSpec, make_clip, make_tone, run_ffmpeg
from joining import frames_of, join, times_of

from dubcli.core.errors import EncodeError
from dubcli.media.container.cropping import read_crop
from dubcli.media.container.formats import container_of
from dubcli.media.container.probe import probe, require_video

X264 = ("-c:v", "libx264", "-bf", "2", "-pix_fmt", "yuv420p")
AAC = ("-c:a", "aac", "-ar", "48000")
# Name, encoders, and the name and codec of the natural result.
KINDS: list[tuple[str, tuple[str, ...], str, str]] = [
    ("a.mp4", (*X264, *AAC), ".mp4", "h264"),
    ("a.m4v", (*X264, *AAC), ".m4v", "h264"),
    ("a.mov", (*X264, *AAC), ".mov", "h264"),
    ("a.mkv", (*X264, *AAC), ".mkv", "h264"),
    ("a.webm", ("-c:v", "libvpx-vp9", "-c:a", "libopus"), ".webm", "vp9"),
    ("a.avi", ("-c:v", "mpeg4", "-c:a", "libmp3lame"), ".mp4", "h264"),
    ("a.ts", (*X264, *AAC), ".mp4", "h264"),
    ("a.m2ts", (*X264, "-c:a", "ac3"), ".mp4", "h264"),
    ("a.mpg", ("-c:v", "mpeg2video", "-c:a", "mp2"), ".mp4", "h264"),
    ("a.vob", ("-c:v", "mpeg2video", "-c:a", "ac3"), ".mp4", "h264"),
    ("a.3gp", (*X264, *AAC), ".mp4", "h264"),
    ("a.flv", (*X264, "-c:a", "aac", "-ar", "44100"), ".mp4", "h264"),
    ("a.wmv", ("-c:v", "wmv2", "-c:a", "wmav2"), ".mp4", "h264"),
    ("a.ogv", ("-c:v", "libtheora", "-c:a", "libvorbis"), ".mp4", "h264"),
    ("a.mxf", ("-c:v", "mpeg2video", "-c:a", "pcm_s16le", "-ar", "48000"), ".mp4", "h264"),
    ("hevc.ts", ("-c:v", "libx265", "-x265-params", "log-level=error", *AAC), ".mp4", "hevc"),
    ("ffv1.avi", ("-c:v", "ffv1", "-c:a", "pcm_s16le"), ".mkv", "ffv1"),
    ("prores.mkv", ("-c:v", "prores_ks", "-c:a", "pcm_s16le"), ".mkv", "prores"),
    ("av1.mkv", ("-c:v", "libsvtav1", "-c:a", "libopus"), ".mkv", "av1"),
    ("av1.mp4", ("-c:v", "libsvtav1", *AAC), ".mp4", "av1"),
    ("mjpeg.mov", ("-c:v", "mjpeg", "-c:a", "pcm_s16le"), ".mov", "h264"),
]


def _clip(path: Path, *encoders: str, seconds: str = "0.6") -> Path:
    run_ffmpeg(
        *("-f", "lavfi", "-i", f"testsrc2=s=96x80:r=25:d={seconds}"),
        *("-f", "lavfi", "-i", f"sine=f=440:r=48000:d={seconds}", "-threads", "1"),
        *(*encoders, path),
    )
    return path


@pytest.mark.parametrize(("name", "encoders", "suffix", "codec"), KINDS)
def test_each_kind_has_a_natural_result(
    name: str, encoders: tuple[str, ...], suffix: str, codec: str, tmp_path: Path
) -> None:
    source = _clip(tmp_path / name, *encoders)
    result = join(source, audio_s=0.6)
    assert result.output == source.with_name(f"{source.stem}.dubbed{suffix}")
    video = require_video(probe(source))
    made = require_video(probe(result.output))
    assert (made.codec, made.pix_fmt) == (codec, video.pix_fmt.replace("yuvj", "yuvj"))
    assert len(times_of(source)) >= 14
    tolerance = Fraction(1, 1000) if suffix in (".mkv", ".webm") else 0
    pairs = zip(times_of(source), times_of(result.output), strict=True)
    assert max(abs(old - new) for old, new in pairs) <= tolerance
    says = [note for note in result.notes if note.startswith("The video is ")]
    assert says == (
        [] if codec == video.codec else [f"The video is {codec} now; it was {video.codec}."]
    )


def test_a_gif_is_taken_too(tmp_path: Path) -> None:
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=96x80:r=10:d=0.6", tmp_path / "a.gif")
    result = join(tmp_path / "a.gif")
    assert result.output.suffix == ".mp4"
    assert times_of(result.output) == times_of(tmp_path / "a.gif")


@pytest.mark.parametrize("name", ["o.avi", "o.ts", "o.mpg", "o.flv", "o.gif"])
def test_kinds_that_keep_no_times_are_refused_by_name(name: str) -> None:
    with pytest.raises(EncodeError, match=rf"{Path(name).suffix}.*\.mkv"):
        container_of(Path(name))


@pytest.mark.parametrize(
    ("profile", "pix_fmt", "name"),
    [
        ("proxy", "yuv422p10le", "Proxy"),
        ("lt", "yuv422p10le", "LT"),
        ("standard", "yuv422p10le", "Standard"),
        ("hq", "yuv422p10le", "HQ"),
        ("4444", "yuv444p10le", "4444"),
        ("4444xq", "yuv444p10le", "XQ"),
    ],
)
@pytest.mark.parametrize("suffix", [".mov", ".mkv"])
def test_prores_keeps_its_profile(
    suffix: str, profile: str, pix_fmt: str, name: str, tmp_path: Path
) -> None:
    source = _clip(
        tmp_path / f"in{suffix}", "-c:v", "prores_ks", "-profile:v", profile, "-pix_fmt", pix_fmt
    )
    video = require_video(probe(join(source, audio_s=0.6).output))
    assert (video.codec, video.profile) == ("prores", name)
    assert video.pix_fmt == require_video(probe(source)).pix_fmt


@pytest.mark.parametrize(
    ("encoder", "pix_fmt", "profile"),
    [
        ("libx264", "yuv420p10le", "High 10"),
        ("libx264", "yuv422p", "High 4:2:2"),
        ("libx264", "yuv422p10le", "High 4:2:2"),
        ("libx264", "yuv444p", "High 4:4:4 Predictive"),
        ("libx265", "yuv420p", "Main"),
        ("libx265", "yuv420p10le", "Main 10"),
        ("libx265", "yuv422p10le", "Rext"),
        ("libx265", "yuv444p12le", "Rext"),
        ("libx265", "gbrp", "Rext"),
        ("libvpx-vp9", "yuv444p", "Profile 1"),
        ("libsvtav1", "yuv420p10le", "Main"),
    ],
)
def test_families_keep_format_and_profile(
    encoder: str, pix_fmt: str, profile: str, tmp_path: Path
) -> None:
    more = ("-x265-params", "log-level=error") if encoder == "libx265" else ()
    source = _clip(tmp_path / "in.mkv", "-c:v", encoder, "-pix_fmt", pix_fmt, *more)
    before, after = (require_video(probe(path)) for path in (source, join(source).output))
    assert (after.codec, after.pix_fmt) == (before.codec, pix_fmt)
    assert before.profile == profile
    if encoder == "libx264" and pix_fmt == "yuv420p10le":
        assert after.profile == profile


def test_deep_vp9_keeps_its_bits(tmp_path: Path) -> None:
    """No encoder of VP9 here takes 10 bits; the nearest family that does is named."""
    source = _clip(tmp_path / "in.mkv", "-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p10le")
    result = join(source)
    assert require_video(probe(result.output)).pix_fmt == "yuv420p10le"
    assert "The video is av1 now; it was vp9." in result.notes


# Streams.


def _streams(path: Path) -> list[tuple[str, str]]:
    return [(stream.kind, stream.codec) for stream in probe(path).streams]


def test_sounds_of_several_codecs_are_all_kept(tmp_path: Path) -> None:
    source = _clip(tmp_path / "flat.mkv", *X264, *AAC)
    many = tmp_path / "in.mkv"
    tones = [make_tone(tmp_path / f"{number}.wav", 0.6) for number in range(5)]
    inputs = [word for tone in tones for word in ("-i", tone)]
    codecs = ("aac", "ac3", "flac", "libopus", "libmp3lame")
    maps = [word for number in range(5) for word in ("-map", f"{number + 1}:a")]
    chosen = [word for number, codec in enumerate(codecs) for word in (f"-c:a:{number}", codec)]
    languages = ("eng", "deu", "fra", "jpn", "spa")
    tags = [
        word
        for number, language in enumerate(languages)
        for word in (f"-metadata:s:a:{number}", f"language={language}")
    ]
    marks = ("-disposition:a:1", "visual_impaired+descriptions", "-disposition:a:2", "original")
    run_ffmpeg(
        "-i", source, *inputs, "-map", "0:v", *maps, "-c:v", "copy", *chosen, *tags, *marks, many
    )
    for output, kept in (("out.mkv", codecs[1:]), ("out.mp4", codecs[1:])):
        result = join(many, tmp_path / output, audio_s=0.6)
        wanted = [codec.replace("lib", "").replace("mp3lame", "mp3") for codec in kept]
        found = [codec for kind, codec in _streams(result.output) if kind == "audio"]
        assert found[1:] == wanted
        with av.open(str(result.output)) as container:
            others = container.streams.audio[1:]
            assert [item.metadata["language"] for item in others] == list(languages[1:])
            assert others[0].disposition & Disposition.visual_impaired
            if output.endswith(".mkv"):
                assert others[1].disposition & Disposition.original
            assert not any(item.disposition & Disposition.default for item in others)
        for number in range(1, 5):
            old, new = _packets(many, number), _packets(result.output, number)
            assert old[: len(new)] == new
            assert len(old) - len(new) <= 2  # what lay beyond the end of the picture


def _packets(path: Path, number: int) -> list[bytes]:
    with av.open(str(path)) as container:
        stream = container.streams.audio[number]
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


def _broadcast(path: Path) -> Path:
    """A transport stream with two sounds, picture subtitles and data, as receivers record it."""
    (path.parent / "s.srt").write_text(
        "1\n00:00:00,100 --> 00:00:00,400\nGuten Tag\n\n", encoding="utf-8"
    )
    source = _clip(path.with_name("flat.mkv"), *X264, *AAC)
    picture = "color=black@0:s=96x80:r=25:d=0.6,format=rgba"
    run_ffmpeg(
        *("-i", source, "-i", make_tone(path.with_name("b.wav"), 0.6)),
        *("-f", "lavfi", "-i", picture, "-i", path.with_name("s.srt")),
        *("-map", "0:v", "-map", "0:a", "-map", "1:a", "-c:v", "copy", "-c:a:0", "mp2"),
        *("-c:a:1", "ac3", "-metadata:s:a:0", "language=deu", "-metadata:s:a:1", "language=eng"),
        *("-muxdelay", "0.5", path),
    )
    return path


def test_a_broadcast_becomes_mkv_only_where_that_keeps_more(tmp_path: Path) -> None:
    plain = _broadcast(tmp_path / "in.ts")
    result = join(plain, audio_s=0.6)
    assert result.output.suffix == ".mp4"
    assert [codec for kind, codec in _streams(result.output) if kind == "audio"][1:] == ["ac3"]
    assert times_of(result.output) == times_of(plain)
    assert times_of(plain)[0] > 0


def test_picture_subtitles_and_data_of_a_broadcast(tmp_path: Path) -> None:
    source = tmp_path / "in.ts"
    _with_dvb(_clip(tmp_path / "flat.ts", *X264, *AAC), source)
    assert [stream.kind for stream in probe(source).streams][1:] == ["subtitle", "subtitle", "data"]
    result = join(source, audio_s=0.6)
    assert result.output.suffix == ".mkv"  # mp4 holds no such subtitles
    assert _streams(result.output)[2:] == [("subtitle", "dvb_subtitle")]
    assert ("language", "deu") in probe(result.output).streams[2].tags
    # Nobody's file takes teletext but a transport stream.
    assert sum("dropped" in note for note in result.notes) == 2
    assert times_of(result.output)[0] == pytest.approx(float(times_of(source)[0]), abs=0.001)


def _with_dvb(source: Path, target: Path) -> None:
    """The picture beside a stream of DVB subtitles, one of teletext and one of data."""
    page = b"\x20\x00\x0f\x10\x00\x01\x00\x00\xff"
    with av.open(str(source)) as old, av.open(str(target), "w", format="mpegts") as new:
        video = new.add_stream_from_template(old.streams.video[0])
        extras: list[Any] = [new.add_mux_stream(name) for name in ("dvb_subtitle", "dvb_teletext")]
        extras.append(new.add_data_stream("klv"))
        for stream in extras[:2]:
            stream.metadata["language"] = "deu"
        packets = [packet for packet in old.demux(old.streams.video[0]) if packet.size]
        for number, packet in enumerate(packets):
            at = packet.dts
            packet.stream = video
            new.mux(packet)
            for stream in extras if number in (3, 9) else ():
                extra: Any = av.Packet(page)
                extra.stream, extra.time_base = stream, Fraction(1, 90_000)
                extra.pts = extra.dts = at
                new.mux(extra)


def test_fonts_and_covers_of_matroska_are_kept(tmp_path: Path) -> None:
    source = _clip(tmp_path / "flat.mkv", *X264, *AAC)
    fonts = {"one.ttf": b"font one", "two.otf": b"font two " * 100}
    run_ffmpeg("-f", "lavfi", "-i", "color=red:s=64x64", "-frames:v", "1", tmp_path / "cover.png")
    attach: list[str | Path] = []
    for number, (name, body) in enumerate(fonts.items()):
        (tmp_path / name).write_bytes(body)
        attach += ["-attach", tmp_path / name, f"-metadata:s:t:{number}", "mimetype=font/ttf"]
    attach += ["-attach", tmp_path / "cover.png", "-metadata:s:t:2", "mimetype=image/png"]
    attach += ["-metadata:s:t:2", "filename=cover.png"]
    run_ffmpeg("-i", source, "-map", "0", "-c", "copy", *attach, tmp_path / "in.mkv")
    result = join(tmp_path / "in.mkv", audio_s=0.6)
    with av.open(str(result.output)) as container:
        held = {item.name: item.data for item in container.streams.attachments}
    assert held == fonts
    covers = [item for item in probe(result.output).streams if "attached_pic" in item.disposition]
    assert [item.codec for item in covers] == ["png"]
    assert not [note for note in result.notes if "dropped" in note]


def test_a_late_picture_and_primed_sound_of_mp4_stay_in_place(tmp_path: Path) -> None:
    """Edit lists: the video starts late, the sound's first samples are the encoder's delay."""
    flat = _clip(tmp_path / "flat.mp4", *X264, *AAC)
    source = tmp_path / "in.mp4"
    second = make_tone(tmp_path / "second.wav", 0.9)
    run_ffmpeg(
        *("-itsoffset", "0.2", "-i", flat, "-i", second, "-map", "0:v", "-map", "0:a"),
        *("-map", "1:a", "-c:v", "copy", "-c:a:0", "copy", "-c:a:1", "aac", source),
    )
    assert times_of(source)[0] == Fraction(1, 5)
    assert b"elst" in source.read_bytes()
    result = join(source, audio_s=0.6)
    assert times_of(result.output) == times_of(source)
    assert _first_sound(result.output, 1) == _first_sound(source, 1) == 0
    assert _first_sound(result.output, 0) == pytest.approx(0.2, abs=0.03)


def _first_sound(path: Path, number: int) -> float:
    with av.open(str(path)) as container:
        frame = next(container.decode(container.streams.audio[number]))
        return float((frame.pts or 0) * (frame.time_base or 0))


def test_a_cut_in_the_edit_list_stays_cut(tmp_path: Path) -> None:
    """A file cut without encoding shows less than it holds."""
    whole = _clip(tmp_path / "whole.mp4", *X264, *AAC, seconds="1.2")
    source = tmp_path / "in.mp4"
    run_ffmpeg("-ss", "0.4", "-i", whole, "-c", "copy", source)
    times = times_of(source)
    result = join(source, audio_s=0.6)
    assert times_of(result.output) == [max(Fraction(0), time - min(0, times[0])) for time in times]


def test_negative_times_are_moved_and_said(tmp_path: Path) -> None:
    early = ("-output_ts_offset", "-0.2", "-avoid_negative_ts", "disabled")
    source = _clip(tmp_path / "in.mkv", "-c:v", "mpeg4", *AAC, *early)
    times = times_of(source)
    assert times[0] < 0
    result = join(source, audio_s=0.6)
    assert [time - times[0] for time in times] == times_of(result.output)
    assert any("before 0" in note for note in result.notes)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm"])
def test_chapters_titles_and_languages_are_kept(suffix: str, tmp_path: Path) -> None:
    encoders = ("-c:v", "libvpx-vp9", "-c:a", "libopus") if suffix == ".webm" else (*X264, *AAC)
    flat = _clip(tmp_path / f"flat{suffix}", *encoders)
    (tmp_path / "m.txt").write_text(
        ";FFMETADATA1\ntitle=Ein Film\nartist=Wir\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=Eins\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=200\nEND=600\ntitle=Zwei\n",
        encoding="utf-8",
    )
    source = tmp_path / f"in{suffix}"
    run_ffmpeg(
        "-i",
        flat,
        "-i",
        tmp_path / "m.txt",
        "-map",
        "0",
        "-map_metadata",
        "1",
        "-c",
        "copy",
        "-metadata:s:v",
        "language=jpn",
        source,
    )
    result = join(source, audio_s=0.6)
    with av.open(str(source)) as old, av.open(str(result.output)) as new:
        told = [
            (item["metadata"]["title"], item["start"] * Fraction(item["time_base"] or 0))
            for container in (old, new)
            for item in container.chapters()
        ]
        assert told[:2] == told[2:]
        assert [title for title, _ in told[2:]] == ["Eins", "Zwei"]
        tags = {name.lower(): value for name, value in new.metadata.items()}
        assert (tags["title"], tags["artist"]) == ("Ein Film", "Wir")
        assert new.streams.video[0].metadata["language"] == "jpn"


@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv"])
def test_the_timecode_is_kept(suffix: str, tmp_path: Path) -> None:
    source = _clip(tmp_path / "in.mov", *X264, *AAC, "-timecode", "01:02:03:04")
    result = join(source, tmp_path / f"out{suffix}", audio_s=0.6)
    with av.open(str(result.output)) as container:
        tags = {name.lower(): value for name, value in container.streams.video[0].metadata.items()}
    assert tags["timecode"] == "01:02:03:04"
    assert not [note for note in result.notes if "dropped" in note]


def test_a_cameras_own_data_is_named_when_it_is_dropped(tmp_path: Path) -> None:
    """As cameras write them, beside a chapter track that is no loss."""
    flat = _clip(tmp_path / "flat.mp4", *X264, *AAC)
    (tmp_path / "m.txt").write_text(
        ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=600\ntitle=Eins\n"
    )
    chaptered, source = tmp_path / "chaptered.mp4", tmp_path / "in.mp4"
    run_ffmpeg(
        "-i",
        flat,
        "-i",
        tmp_path / "m.txt",
        "-map",
        "0",
        "-map_metadata",
        "1",
        "-c",
        "copy",
        chaptered,
    )
    data = chaptered.read_bytes().replace(b"tref", b"free").replace(b"chpl", b"free")
    data = data.replace(b"hdlr" + bytes(8) + b"text", b"hdlr" + bytes(8) + b"meta")
    source.write_bytes(data.replace(b"text", b"gpmd"))  # the same track as one of measurements
    assert ("data", "bin_data") in _streams(source)
    assert [note for note in join(chaptered).notes if "dropped" in note] == []
    assert sum("bin_data" in note and "dropped" in note for note in join(source).notes) == 1


# Shape.


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_what_the_codec_crops_is_not_seen(codec: str, tmp_path: Path) -> None:
    """H.264 and HEVC code whole blocks and say what to leave out: 90 x 70 lies in 96 x 80."""
    more = ("-x265-params", "log-level=error") if codec == "libx265" else ()
    source = make_clip(
        tmp_path / "in.mp4", ClipSpec(size=(90, 70), codec=codec, frames=4, options=more)
    )
    result = join(source)
    for path in (source, result.output):
        video = require_video(probe(path))
        assert (video.width, video.height, video.crop) == (90, 70, (0, 0, 0, 0))
        assert {(frame.width, frame.height) for frame in frames_of(path)} == {(90, 70)}


CROP = (4, 8, 2, 6)


def _cropped(path: Path, encoder: str) -> Path:
    flat = make_clip(path.with_name("flat.mov"), ClipSpec(size=(96, 80), frames=4))
    run_ffmpeg("-i", flat, "-c:v", encoder, path.with_name("coded.mov"))
    from dubcli.media.container.boxes import add_boxes
    from dubcli.media.container.cropping import clean_aperture

    add_boxes(path.with_name("coded.mov"), clean_aperture(CROP, 96, 80))
    run_ffmpeg("-i", path.with_name("coded.mov"), "-c", "copy", path)
    return path


@pytest.mark.parametrize(
    ("source", "encoder"),
    [("in.mov", "libx264"), ("in.mov", "prores_ks"), ("in.mp4", "libx264"), ("in.mkv", "libx264")],
)
@pytest.mark.parametrize("target", ["out.mov", "out.mp4", "out.mkv"])
def test_what_the_container_crops_stays_cropped(
    source: str, encoder: str, target: str, tmp_path: Path
) -> None:
    video = require_video(probe(_cropped(tmp_path / source, encoder)))
    assert (video.width, video.height, video.crop) == (96, 80, CROP)
    result = join(tmp_path / source, tmp_path / target)
    made = require_video(probe(result.output))
    assert (made.width, made.height, made.crop) == (96, 80, CROP)
    # A player's word for it, from another program.
    run_ffmpeg("-i", result.output, "-c:v", "ffv1", tmp_path / "seen.mkv")
    seen = require_video(probe(tmp_path / "seen.mkv"))
    assert (seen.width, seen.height) == (96 - 4 - 8, 80 - 2 - 6)


@pytest.mark.parametrize("name", ["in.mov", "in.mkv"])
def test_damage_in_a_header_is_no_crop(name: str, tmp_path: Path) -> None:
    whole = _cropped(tmp_path / name, "libx264").read_bytes()
    kind = "mov,mp4,m4a" if name == "in.mov" else "matroska,webm"
    broken = tmp_path / "broken"
    for at in range(0, len(whole), 37):
        broken.write_bytes(whole[:at] + b"\xff\x00\x41" + whole[at + 3 :])
        left, right, top, bottom = read_crop(broken, kind, 0, (96, 80))
        assert min(left, right, top, bottom) >= 0
        assert left + right < 96
        assert top + bottom < 80
    for length in (0, 1, 7, 9, 40, len(whole) // 2):
        broken.write_bytes(whole[:length])
        read_crop(broken, kind, 0, (96, 80))
