from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from clips import ClipSpec, make_clip, make_rotated_clip, make_vfr_clip, run_ffmpeg

from dubcli.core.errors import DecodeError, EncodeError, FfmpegError, ProbeError
from dubcli.media.container import remux as remux_module
from dubcli.media.container.probe import probe
from dubcli.media.container.remux import default_output, remux
from dubcli.media.sound.recording import read_recording
from dubcli.media.video.frame_writer import EncodeOptions, FrameWriter

AAC_FRAME = 1024
SPEECH_S = 1.1


@dataclass
class Dubbed:
    output: Path
    notes: list[str]


def _speech(path: Path, rate: int = 48_000, channels: int = 2, codec: str | None = None) -> Path:
    """Noise of speech's bandwidth that never repeats, so that a shift by one sample shows."""
    noise = f"anoisesrc=r={rate}:d={SPEECH_S}:a=0.4:seed=5,lowpass=f={rate // 8}"
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
    copies = ["-af", "pan=" + layout + "".join(f"|c{n}=c0" for n in range(channels))]
    run_ffmpeg(
        *("-f", "lavfi", "-i", noise, *copies),
        *(("-c:a", codec, "-b:a", "256k") if codec else ()),
        path,
    )
    return path


def _encode(video: Path, picture: Path, output: Path, lossless: bool = False) -> None:
    info = probe(video)
    assert info.video is not None
    options = EncodeOptions(output=output, crf=24, lossless=lossless)
    with (
        FrameWriter(picture, info.video, options) as writer,
        av.open(str(video.absolute())) as container,
    ):
        for frame in container.decode(container.streams[info.video.index]):
            assert isinstance(frame, av.VideoFrame)
            assert frame.pts is not None
            writer.write(frame, frame.pts)


def _dub(video: Path, audio: Path, output: Path | None = None, **changes: Any) -> Dubbed:
    info = probe(video)
    assert info.video is not None
    output = output or default_output(video, info)
    picture = output.with_name("picture.bin")
    _encode(video, picture, output)
    samples, rate, _ = _sound(audio)
    settings: dict[str, Any] = {
        "audio_s": Fraction(samples.shape[1], rate),
        "pad_s": Fraction(0),
        "start_s": info.video.start_pts * info.video.time_base,
    }
    made = remux(
        picture=picture,
        source_info=info,
        audio=audio,
        output=output,
        **settings | changes,
    )
    picture.unlink()
    return Dubbed(output, list(made.notes))


def _times(path: Path) -> list[Fraction]:
    with av.open(str(path.absolute())) as container:
        frames = container.decode(container.streams.video[0])
        return [Fraction(frame.pts or 0) * (frame.time_base or 0) for frame in frames]


def _sound(path: Path, number: int = 0) -> tuple[np.ndarray, int, Fraction]:
    """Samples (C, n) float32, rate, time of the first one."""
    blocks, start, rate = [], Fraction(0), 0
    with av.open(str(path.absolute())) as container:
        resampler = av.AudioResampler("fltp")
        for frame in container.decode(container.streams.audio[number]):
            if not blocks:
                start, rate = Fraction(frame.pts or 0) * (frame.time_base or 0), frame.sample_rate
            blocks += [block.to_ndarray() for block in resampler.resample(frame)]
    return np.concatenate(blocks, axis=1), rate, start


def _signal_to_noise_db(truth: np.ndarray, found: np.ndarray) -> float:
    error = truth - found[:, : truth.shape[1]]
    return float(10 * np.log10(np.mean(truth**2) / max(1e-12, np.mean(error**2))))


def _streams(path: Path) -> list[tuple[str, str]]:
    with av.open(str(path)) as container:
        return [
            (item.type, item.codec_context.codec.canonical_name if item.codec_context else "")
            for item in container.streams
        ]


def _plain(name: str, **spec: Any) -> Path:
    return make_clip(Path(name).absolute(), ClipSpec(**spec))


VIDEOS = {
    "vfr.mp4": lambda name: make_vfr_clip(Path(name)),
    "vfr.mkv": lambda name: make_vfr_clip(Path(name)),
    "ntsc-b.mp4": lambda name: _plain(name, rate="30000/1001", options=("-bf", "3")),
    "60.mp4": lambda name: _plain(name, rate="60"),
    "film.mov": lambda name: _plain(name, rate="24000/1001", options=("-bf", "2")),
    "late.mp4": lambda name: _plain(name, start_s=0.533),
    "late.mkv": lambda name: _plain(name, start_s=0.533, options=("-bf", "2")),
    "ps.mpg": lambda name: _plain(name, codec="mpeg1video"),
    "ts.ts": lambda name: _plain(name, options=("-bf", "2")),
    "old.avi": lambda name: _plain(name, codec="mpeg4", rate="30000/1001"),
    "hevc.mp4": lambda name: _plain(
        name, size=(96, 80), codec="libx265", options=("-x265-params", "log-level=error")
    ),
    "vp9.webm": lambda name: _plain(name, codec="libvpx-vp9", options=("-cpu-used", "8")),
    "ffv1.mkv": lambda name: _plain(name, codec="ffv1"),
}


@pytest.mark.parametrize("name", VIDEOS)
def test_every_frame_time_is_the_sources(name: str) -> None:
    video = VIDEOS[name](name)
    result = _dub(video, _speech(Path("a.wav")))
    assert _times(result.output) == _times(video)
    assert len(_times(video)) >= 12


@pytest.mark.parametrize(
    ("rate", "channels"), [(8_000, 1), (44_100, 2), (48_000, 2), (48_000, 6), (16_000, 1)]
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_new_audio_keeps_rate_channels_place_and_every_sample(
    suffix: str, rate: int, channels: int
) -> None:
    video = _plain(f"v{suffix}", audio_s=0.5, audio_rate=22_050)
    truth, _, _ = _sound(_speech(Path("a.wav"), rate, channels))
    found, found_rate, start = _sound(_dub(video, Path("a.wav")).output)
    assert (found_rate, found.shape[0], start) == (rate, channels, 0)
    # AAC fills its last frame; the container says where the sound ends.
    extra = found.shape[1] - truth.shape[1]
    assert 0 <= extra < (AAC_FRAME if suffix == ".mp4" else 1)
    fullband = slice(0, 3)  # the effects channel of 5.1 holds bass only
    assert _signal_to_noise_db(truth[fullband], found[fullband]) > (15 if suffix == ".mp4" else 90)
    if extra:
        assert np.abs(found[:, -extra // 2 :]).max() < 0.05


def test_the_mp4_says_exactly_how_long_the_audio_is() -> None:
    video = _plain("v.mp4")
    truth, rate, _ = _sound(_speech(Path("a.wav"), 44_100))
    with av.open(str(_dub(video, Path("a.wav")).output)) as container:
        stream = container.streams.audio[0]
        assert stream.duration is not None
        assert stream.time_base is not None
        # The encoder's 1024 samples of delay may be counted; the edit list hides them.
        length = stream.duration * stream.time_base * rate
    assert length - truth.shape[1] in (0, AAC_FRAME)


@pytest.mark.parametrize(
    ("audio", "codec", "video", "found_codec"),
    [
        ("a.m4a", "aac", "v.mp4", "aac"),
        ("a.m4a", "aac", "v.mkv", "aac"),
        ("a.flac", None, "v.mkv", "flac"),
        ("a.m4a", "alac", "v.mp4", "alac"),
        ("a.ac3", "ac3", "v.mp4", "ac3"),
        ("a.wav", None, "v.mov", "pcm_s16le"),
        ("a.opus", "libopus", "v.mkv", "opus"),
    ],
)
def test_audio_that_fits_is_copied_sample_by_sample(
    audio: str, codec: str | None, video: str, found_codec: str
) -> None:
    truth, _, _ = _sound(_speech(Path(audio), codec=codec))
    result = _dub(_plain(video), Path(audio))
    found, _, start = _sound(result.output)
    assert _streams(result.output)[1] == ("audio", found_codec)
    assert start == 0
    # Matroska also cuts what the encoder had added to fill its last frame.
    assert 0 <= truth.shape[1] - found.shape[1] < AAC_FRAME
    assert found.shape[1] >= round(SPEECH_S * 48_000)
    assert np.array_equal(truth[:, : found.shape[1]], found)


@pytest.mark.parametrize(("audio", "codec"), [("a.mp3", "libmp3lame"), ("a.ogg", "libvorbis")])
@pytest.mark.parametrize("video", ["v.mp4", "v.mkv"])
def test_audio_with_hidden_delay_is_not_shifted(video: str, audio: str, codec: str) -> None:
    truth, _, _ = _sound(_speech(Path(audio), codec=codec))
    found, _, start = _sound(_dub(_plain(video), Path(audio)).output)
    assert abs(start) < Fraction(1, 1000)
    assert found.shape[1] >= truth.shape[1]
    assert _signal_to_noise_db(truth, found) > 15


def test_late_video_and_audio_start_together() -> None:
    video = _plain("v.mkv", start_s=0.533)
    truth, rate, _ = _sound(_speech(Path("a.wav")))
    found, _, start = _sound(_dub(video, Path("a.wav")).output)
    assert abs(start - _times(video)[0]) < Fraction(1, rate)
    assert np.array_equal(truth, found)


def test_late_mp4_shows_each_sample_at_its_time() -> None:
    video = _plain("v.mp4", start_s=0.533)
    truth, rate, _ = _sound(_speech(Path("a.wav")))
    found, _, start = _sound(_dub(video, Path("a.wav")).output)
    skip = round((_times(video)[0] - start) * rate)
    assert 0 <= skip <= AAC_FRAME
    assert _signal_to_noise_db(truth, found[:, skip:]) > 15


def test_audio_may_start_before_the_first_frame() -> None:
    video = _plain("v.mp4", start_s=0.2)
    truth, _, _ = _sound(_speech(Path("a.wav")))
    result = _dub(video, Path("a.wav"), audio_start_s=Fraction(0))
    found, _, start = _sound(result.output)
    assert start == 0
    assert _signal_to_noise_db(truth, found) > 15
    assert _times(result.output) == _times(video)


def test_cut_and_padding_are_exact_to_the_sample() -> None:
    video = _plain("v.mkv")
    truth, _, _ = _sound(_speech(Path("a.wav"), 44_100))
    cut, _, _ = _sound(_dub(video, Path("a.wav"), audio_s=Fraction(1, 3)).output)
    assert np.array_equal(cut, truth[:, : 44_100 // 3])
    padded, _, _ = _sound(_dub(video, Path("a.wav"), pad_s=Fraction(1, 2)).output)
    assert padded.shape[1] == truth.shape[1] + 22_050
    assert np.array_equal(padded[:, : truth.shape[1]], truth)
    assert not padded[:, truth.shape[1] :].any()


def _many_streams(path: Path) -> Path:
    """Video, German and French sound, two subtitles, chapters, tags; a font in Matroska."""
    Path("s.srt").write_text("1\n00:00:00,100 --> 00:00:00,400\nGuten Tag\n\n", encoding="utf-8")
    Path("m.txt").write_text(
        ";FFMETADATA1\ntitle=The 'film' = \"ü\"\nartist=A; B\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=One\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=200\nEND=480\ntitle=Two\n",
        encoding="utf-8",
    )
    flat = _plain("flat.mkv", options=("-bf", "2"))
    arguments: list[str | Path] = ["-i", flat]
    for pitch in (300, 900):
        arguments += ["-f", "lavfi", "-i", f"sine=f={pitch}:r=32000:d=0.48"]
    arguments += ["-i", Path("s.srt"), "-i", Path("m.txt"), "-map", "0:v", "-map", "1:a"]
    arguments += ["-map", "2:a", "-map", "3:s", "-map", "3:s", "-map_metadata", "4"]
    arguments += ["-c:v", "copy", "-c:a", "aac", "-c:s"]
    arguments += ["mov_text" if path.suffix == ".mp4" else "srt"]
    for stream, tag in (("v:0", "jpn"), ("a:0", "deu"), ("a:1", "fra"), ("s:0", "deu")):
        arguments += [f"-metadata:s:{stream}", f"language={tag}"]
    arguments += ["-metadata:s:a:1", "title=Comments", "-disposition:a:1", "comment"]
    if path.suffix == ".mkv":
        Path("font.ttf").write_bytes(b"not really a font")
        arguments += ["-attach", Path("font.ttf"), "-metadata:s:t", "mimetype=font/ttf"]
    run_ffmpeg(*arguments, path)
    return path


def _chapters(path: Path) -> list[tuple[Fraction, Fraction, str]]:
    found = []
    with av.open(str(path)) as container:
        for item in container.chapters():
            tick = Fraction(item["time_base"] or 0)
            found.append((item["start"] * tick, item["end"] * tick, item["metadata"]["title"]))
    return found


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_other_streams_chapters_and_tags_are_kept(suffix: str) -> None:
    video = _many_streams(Path(f"many{suffix}"))
    result = _dub(video, _speech(Path("a.wav")))
    kinds = [kind for kind, _ in _streams(result.output)]
    expected = ["video", "audio", "audio", "subtitle", "subtitle"]
    assert kinds[:5] == expected
    assert ("attachment" in kinds) is (suffix == ".mkv")
    assert not [note for note in result.notes if "dropped" in note]
    assert _chapters(result.output) == _chapters(video)
    with av.open(str(result.output)) as container:
        tags = {name.lower(): value for name, value in container.metadata.items()}
        assert (tags["title"], tags["artist"]) == ("The 'film' = \"ü\"", "A; B")
        new, other = container.streams.audio
        assert container.streams.video[0].metadata["language"] == "jpn"
        assert other.metadata["language"] == "fra"
        assert new.metadata.get("language") != "deu"
        assert new.disposition & Disposition.default
        assert not other.disposition & Disposition.default
        assert container.streams.subtitles[0].metadata["language"] == "deu"
        if suffix == ".mkv":
            assert other.disposition & Disposition.comment
            assert other.metadata["title"] == "Comments"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_copied_second_sound_is_the_very_same(suffix: str) -> None:
    video = _many_streams(Path(f"many{suffix}"))
    truth, _, _ = _sound(video, 1)
    found, _, _ = _sound(_dub(video, _speech(Path("a.wav"))).output, 1)
    length = min(truth.shape[1], found.shape[1])
    assert length >= round(0.48 * 32_000)
    assert np.array_equal(truth[:, :length], found[:, :length])


@pytest.mark.parametrize(
    ("source", "target"), [(".mkv", ".mp4"), (".mp4", ".mkv"), (".mp4", ".webm")]
)
def test_what_the_new_container_cannot_hold_is_converted_or_said(source: str, target: str) -> None:
    video = _many_streams(Path(f"many{source}"))
    result = _dub(video, _speech(Path("a.wav")), Path(f"out{target}").absolute())
    # The chapters of an mp4 are a data stream too.
    kinds = [kind for kind, _ in _streams(result.output) if kind != "data"]
    assert kinds == ["video", "audio", "audio", "subtitle", "subtitle"]
    notes = " ".join(result.notes)
    assert "subtitle" in notes
    assert "converted" in notes
    assert ("attachment" in notes) is (source == ".mkv")
    with av.open(str(result.output)) as container:
        subtitles = [p for p in container.demux(container.streams.subtitles[0]) if p.size > 2]
        assert b"Guten Tag" in bytes(subtitles[0])
        start = Fraction(subtitles[0].pts or 0) * (subtitles[0].time_base or 0)
        assert abs(start - Fraction(1, 10)) < Fraction(1, 500)


@pytest.mark.parametrize(
    ("suffix", "clockwise"),
    [(".mp4", 90), (".mp4", 180), (".mov", 270), (".mkv", 90), (".mkv", 270)],
)
def test_rotation_is_kept(suffix: str, clockwise: int) -> None:
    video = make_rotated_clip(Path(f"turned{suffix}").absolute(), clockwise)
    result = _dub(video, _speech(Path("a.wav")))
    before, after = probe(video).video, probe(result.output).video
    assert before is not None
    assert after is not None
    assert (after.rotation_deg, after.display_size) == (clockwise, before.display_size)


@pytest.mark.parametrize(
    ("name", "sar"),
    [
        ("sar.mp4", "16/11"),
        ("fine.mp4", "5143/5144"),
        ("fine.mov", "5143/5144"),
        ("sar.mkv", "16/11"),
        ("sar-ffv1.mkv", "16/11"),
        ("sar.webm", "16/11"),
    ],
)
def test_pixel_shape_is_kept(name: str, sar: str) -> None:
    codec = {"sar-ffv1.mkv": "ffv1", "sar.webm": "libvpx-vp9"}.get(name, "libx264")
    video = _plain(name, sar=sar, codec=codec)
    before, after = probe(video).video, probe(_dub(video, _speech(Path("a.wav"))).output).video
    assert before is not None
    assert after is not None
    assert after.sar == before.sar
    assert abs(after.sar - Fraction(sar)) < Fraction(1, 100)


def test_colours_are_kept() -> None:
    tags = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709")
    video = _plain("c.mp4", options=(*tags, "-color_range", "tv"))
    before, after = probe(video).video, probe(_dub(video, _speech(Path("a.wav"))).output).video
    assert before is not None
    assert after is not None
    for name in ("color_space", "color_range", "color_transfer", "color_primaries", "pix_fmt"):
        assert getattr(after, name) == getattr(before, name)


@pytest.mark.parametrize(
    "name", ["-in 'a' \"b\".mp4", "two\nlines.mp4", "füße %d 100%.mp4", "a:b.mp4", "x;y|z&.mkv"]
)
def test_any_name_works_from_the_current_folder(name: str) -> None:
    make_clip(Path("plain" + Path(name).suffix)).rename(name)
    audio = "-" + name.rsplit(".", 1)[0] + ".wav"
    _speech(Path("a.wav")).rename(audio)
    result = _dub(Path(name), Path(audio))
    assert result.output == Path(Path(name).stem + ".dubbed" + Path(name).suffix)
    assert _times(result.output) == _times(Path(name))


def test_new_tags_are_written_beside_the_old() -> None:
    video = _many_streams(Path("many.mp4"))
    metadata = {"comment": "made 'so' = yes; \n ü", "title": "New"}
    with av.open(str(_dub(video, _speech(Path("a.wav")), metadata=metadata).output)) as container:
        assert container.metadata["comment"] == metadata["comment"]
        assert container.metadata["title"] == "New"
        assert container.metadata["artist"] == "A; B"


def test_streams_of_the_source_end_with_the_shorter_result() -> None:
    video = _many_streams(Path("many.mkv"))
    longer = Path("long.mkv")
    run_ffmpeg(
        *("-i", video, "-f", "lavfi", "-i", "sine=d=5", "-map", "0:v", "-map", "0:a:0"),
        *("-map", "1:a", "-c:v", "copy", "-c:a", "aac", longer),
    )
    result = _dub(longer, _speech(Path("a.wav")), audio_s=Fraction(1, 2))
    assert _times(result.output) == _times(longer)
    with av.open(str(result.output)) as container:
        assert container.duration is not None
        assert container.duration < 800_000


def test_the_reason_for_another_container_is_said() -> None:
    result = _dub(_plain("ps.mpg", codec="mpeg1video"), _speech(Path("a.wav")))
    assert result.output.name == "ps.dubbed.mp4"
    assert any(".mp4 instead of .mpg" in note for note in result.notes)


def test_mp4_starts_playing_before_it_is_loaded() -> None:
    data = _dub(_plain("v.mp4"), _speech(Path("a.wav"))).output.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_hevc_is_tagged_for_quicktime() -> None:
    video = VIDEOS["hevc.mp4"]("hevc.mp4")
    data = _dub(video, _speech(Path("a.wav"))).output.read_bytes()
    assert b"hvc1" in data
    assert b"hev1" not in data


def _names(folder: Path) -> set[str]:
    return {item.name for item in folder.iterdir()}


@pytest.mark.parametrize("error", [KeyboardInterrupt, FfmpegError(["ffmpeg"], "boom")])
def test_nothing_is_left_when_it_breaks(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, audio = _plain("v.mp4"), _speech(Path("a.wav"))
    before = _names(tmp_path)

    def broken(argv: list[str]) -> bytes:
        Path(argv[-1].removeprefix("file:")).write_bytes(b"half")
        raise error

    monkeypatch.setattr(remux_module, "run", broken)
    with pytest.raises((KeyboardInterrupt, FfmpegError)):
        _dub(video, audio)
    assert _names(tmp_path) - before == {"picture.bin"}


def test_an_existing_result_survives_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, audio = _plain("v.mp4"), _speech(Path("a.wav"))
    old = tmp_path / "v.dubbed.mp4"
    old.write_text("the old result")
    monkeypatch.setattr(remux_module, "ffmpeg_binary", lambda: "/nonexistent/ffmpeg")
    with pytest.raises(Exception, match="cannot be started"):
        _dub(video, audio)
    assert old.read_text() == "the old result"
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert _times(_dub(video, audio).output) == _times(video)


@pytest.mark.parametrize("folder", ["missing", "file"])
def test_a_folder_that_is_none_names_the_next_step(folder: str) -> None:
    video, audio = _plain("v.mp4"), _speech(Path("a.wav"))
    Path("file").write_text("not a folder")
    picture = Path("picture.bin")
    _encode(video, picture, Path("o.mp4"))
    with pytest.raises(EncodeError, match="does not exist"):
        remux(
            picture=picture,
            source_info=probe(video),
            audio=audio,
            audio_s=Fraction(1),
            pad_s=Fraction(0),
            output=Path(folder) / "o.mp4",
            start_s=Fraction(0),
        )


def test_a_folder_without_rights_names_the_next_step(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    video, audio = _plain("v.mp4"), _speech(Path("a.wav"))
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    _encode(video, Path("picture.bin"), Path("o.mp4"))
    with pytest.raises(EncodeError, match="cannot be written"):
        remux(
            picture=Path("picture.bin"),
            source_info=probe(video),
            audio=audio,
            audio_s=Fraction(1),
            pad_s=Fraction(0),
            output=locked / "o.mp4",
            start_s=Fraction(0),
        )


def test_audio_without_sound_or_file_names_the_cause() -> None:
    video = _plain("v.mp4")
    silent = _plain("silent.mp4")
    with pytest.raises(ProbeError, match=r"silent\.mp4"):
        read_recording(silent)
    with pytest.raises(ProbeError, match="nothing"):
        read_recording(Path("nothing.wav"))
    run_ffmpeg("-f", "lavfi", "-i", "sine", "-t", "0", Path("empty.wav"))
    with pytest.raises((DecodeError, ProbeError), match=r"empty\.wav"):
        read_recording(Path("empty.wav"))
    assert video.exists()
