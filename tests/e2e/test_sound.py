"""The result carries the driving audio, whole and in place, and what else the source held."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from studio import (
    DEMO,
    DEMO_SPEECH,
    FACE_PX,
    NUM_FRAMES,
    X264,
    dub_here,
    face_clip,
    ffmpeg,
    packets,
    sound,
    speech,
    times,
)

from dubcli.media.container.probe import probe

VIDEO_S = Fraction(NUM_FRAMES, 25)
MOST_AAC_ERROR = 0.06  # of the signal's own RMS, at the product's bit rate


@pytest.mark.parametrize(
    ("mode", "seconds"), [("bounce", 1.1), ("cut", 0.4), ("cut", 1.1), ("pad", 0.4), ("pad", 0.64)]
)
def test_every_driving_sample_is_in_a_matroska_result(
    mode: str, seconds: float, tmp_path: Path
) -> None:
    source, output = face_clip(tmp_path / "in.mkv"), tmp_path / "out.mkv"
    audio = speech(tmp_path / "speech.wav", seconds)
    dub_here(source, audio, output, sync_mode=mode)
    given, rate = sound(audio)
    heard, heard_rate = sound(output)
    ends_with_video = mode in ("cut", "pad") and seconds > VIDEO_S
    expected = given[:, : round(VIDEO_S * rate)] if ends_with_video else given
    assert heard_rate == rate
    assert np.array_equal(heard[:, : expected.shape[1]], expected)
    rest = heard[:, expected.shape[1] :]
    wanted = round(VIDEO_S * rate) - expected.shape[1] if mode != "cut" else 0
    assert rest.shape[1] == max(0, wanted)
    assert not rest.any()


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (96_000, 1)])
def test_rate_and_channels_are_the_recordings(rate: int, channels: int, tmp_path: Path) -> None:
    source, output = face_clip(tmp_path / "in.mkv"), tmp_path / "out.mkv"
    audio = speech(tmp_path / "s.wav", 0.64, "-ar", str(rate), "-ac", str(channels))
    dub_here(source, audio, output)
    assert np.array_equal(sound(output)[0], sound(audio)[0])
    assert sound(output)[1] == rate


def test_an_aac_recording_is_copied_into_mp4(tmp_path: Path) -> None:
    source, output = face_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    audio = speech(tmp_path / "speech.m4a", 0.9, "-c:a", "aac")
    dub_here(source, audio, output, sync_mode="bounce")
    assert packets(output, "audio") == packets(audio, "audio")
    assert np.array_equal(sound(output)[0], sound(audio)[0])


def test_a_wave_file_in_mp4_is_encoded_in_place_to_its_last_sample(tmp_path: Path) -> None:
    source, output = face_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    audio = speech(tmp_path / "speech.wav", 0.9)
    dub_here(source, audio, output, sync_mode="loop")
    given, rate = sound(audio)
    heard, heard_rate = sound(output)
    assert heard_rate == rate
    assert given.shape[1] <= heard.shape[1] < given.shape[1] + 1024
    heard = heard[:, : given.shape[1]]
    for part in (
        slice(None),
        slice(-rate // 10, None),
    ):  # all of it, and its last tenth of a second
        error = np.sqrt(((heard - given)[:, part] ** 2).mean())
        assert error <= MOST_AAC_ERROR * np.sqrt((given[:, part] ** 2).mean())


def test_a_video_may_lend_its_sound(tmp_path: Path) -> None:
    source, output = face_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    other = tmp_path / "other.mp4"
    ffmpeg("-i", DEMO, "-t", "0.6", "-vf", "scale=64:64", *X264, "-c:a", "aac", other)
    report = dub_here(source, other, output)
    assert report.frames == NUM_FRAMES
    given, heard = sound(other)[0], sound(output)[0]
    assert np.corrcoef(given[0], heard[0, : given.shape[1]])[0, 1] > 0.99


def test_sound_begins_with_a_video_that_starts_late(tmp_path: Path) -> None:
    source = face_clip(
        tmp_path / "in.mkv", f"scale={FACE_PX}:{FACE_PX}", "-output_ts_offset", "1.5"
    )
    audio, output = speech(tmp_path / "speech.wav", 0.64), tmp_path / "out.mkv"
    dub_here(source, audio, output)
    with av.open(str(output)) as container:
        first = next(container.decode(audio=0))
        assert first.pts is not None
        assert first.time_base is not None
        assert first.pts * first.time_base == times(output)[0] == times(source)[0]


def test_sound_begins_with_the_sources_own_when_that_is_first(tmp_path: Path) -> None:
    """A recording made over the source stays in step: picture from 0.2 s on, sound from 0."""
    source, output = tmp_path / "in.mkv", tmp_path / "out.mkv"
    face = face_clip(tmp_path / "face.mkv")
    audio = speech(tmp_path / "speech.wav", 0.84)
    ffmpeg("-itsoffset", "0.2", "-i", face, "-i", audio, "-c:v", "copy", "-c:a", "flac", source)
    report = dub_here(source, audio, output, sync_mode="cut")
    assert times(output) == times(source)
    assert times(output)[0] == Fraction(1, 5)
    assert report.frames == NUM_FRAMES
    assert np.array_equal(sound(output)[0], sound(audio)[0])
    with av.open(str(output)) as container:
        assert next(container.decode(audio=0)).pts == 0


@pytest.fixture(scope="module")
def rich_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip with two sounds, subtitles, two chapters and tags."""
    folder = tmp_path_factory.mktemp("rich")
    words = "1\n00:00:00,100 --> 00:00:00,500\nOriginal words\n"
    (folder / "words.srt").write_text(words, encoding="utf-8")
    chapters = ";FFMETADATA1\ntitle=A talk\nartist=Somebody\n" + "".join(
        f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={start}\nEND={start + 320}\ntitle={title}\n"
        for start, title in ((0, "First"), (320, "Second"))
    )
    (folder / "tags.txt").write_text(chapters, encoding="utf-8")
    tone = ("-f", "lavfi", "-i", "sine=f=330:r=48000:d=0.64")
    inputs = ("-i", DEMO_SPEECH, *tone, "-i", folder / "words.srt", "-i", folder / "tags.txt")
    streams = ("-map", "0:v", "-map", "1:a", "-map", "2:a", "-map", "3:s", "-map_metadata", "4")
    codecs = ("-c:a", "aac", "-c:s", "srt", "-metadata:s:a:1", "language=fra", "-t", "0.64")
    clip = folder / "in.mkv"
    scale = f"scale={FACE_PX}:{FACE_PX}"
    return face_clip(clip, scale, *X264, *streams, *codecs, inputs=inputs)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_other_sounds_subtitles_chapters_and_tags_stay(
    suffix: str, rich_clip: Path, tmp_path: Path
) -> None:
    output, audio = tmp_path / f"out{suffix}", speech(tmp_path / "speech.wav", 0.64)
    dub_here(rich_clip, audio, output)
    info = probe(output)
    assert (info.num_video, info.num_audio, info.num_subtitles) == (1, 2, 1)
    assert packets(output, "audio", 1) == packets(rich_clip, "audio", 1)
    assert packets(output, "audio", 0) != packets(rich_clip, "audio", 0)
    assert any(b"Original words" in data for data in packets(output, "subtitles"))
    with av.open(str(output)) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
        assert (tags["title"], tags["artist"]) == ("A talk", "Somebody")
        assert "dubbed by dub" in tags["comment"]
        assert container.streams.audio[1].language == "fra"
        found = [
            (chapter["metadata"]["title"], chapter["start"] * (chapter["time_base"] or 0))
            for chapter in container.chapters()
        ]
    assert found == [("First", 0), ("Second", Fraction(8, 25))]
