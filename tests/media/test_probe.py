from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import pytest
from clips import ClipSpec, make_clip, make_rotated_clip, make_tone, run_ffmpeg, truncate

from dubcli.core.errors import ProbeError
from dubcli.media.container.probe import probe, require_audio, require_video


def test_plain_clip(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "a.mp4", ClipSpec(audio_s=0.5)))
    video = require_video(info)
    assert (video.codec, video.width, video.height) == ("h264", 64, 48)
    assert video.frame_rate == 25
    assert video.sar == 1
    assert video.rotation_deg == 0
    assert video.pix_fmt == "yuv420p"
    assert video.num_frames_from_header == 12
    audio = require_audio(info)
    assert (audio.codec, audio.sample_rate, audio.channels) == ("aac", 48_000, 1)
    assert (info.num_video, info.num_audio, info.num_subtitles) == (1, 1, 0)
    assert info.duration_s == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("rate", ["24000/1001", "30000/1001", "60", "1", "120"])
def test_frame_rate_is_exact(tmp_path: Path, rate: str) -> None:
    info = probe(make_clip(tmp_path / "a.mp4", ClipSpec(rate=rate)))
    assert require_video(info).frame_rate == Fraction(rate)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_clockwise_as_a_player_turns(tmp_path: Path, degrees: int) -> None:
    video = require_video(probe(make_rotated_clip(tmp_path / "a.mp4", degrees)))
    assert video.rotation_deg == degrees
    assert (video.width, video.height) == (64, 48)
    assert video.display_size == ((48, 64) if degrees in (90, 270) else (64, 48))


def test_sample_aspect_ratio(tmp_path: Path) -> None:
    video = require_video(probe(make_clip(tmp_path / "a.mkv", ClipSpec(sar="4/3"))))
    assert video.sar == Fraction(4, 3)
    assert video.display_size == (85, 48)


def test_colour_tags_and_depth(tmp_path: Path) -> None:
    tags = "setparams=range=tv:colorspace=bt2020nc:color_trc=smpte2084:color_primaries=bt2020"
    spec = ClipSpec(pix_fmt="yuv420p10le", video_filter=f"format=yuv420p10le,{tags}")
    clip = make_clip(tmp_path / "a.mp4", spec)
    video = require_video(probe(clip))
    assert video.pix_fmt == "yuv420p10le"
    assert (video.color_range, video.color_space) == (1, 9)
    assert (video.color_transfer, video.color_primaries) == (16, 9)


def test_start_time_is_kept(tmp_path: Path) -> None:
    video = require_video(probe(make_clip(tmp_path / "a.mkv", ClipSpec(start_s=2.5))))
    assert video.start_pts * video.time_base == Fraction(5, 2)


def test_no_audio_and_no_video(tmp_path: Path) -> None:
    silent = probe(make_clip(tmp_path / "a.mp4"))
    assert silent.audio is None
    with pytest.raises(ProbeError, match="no audio stream"):
        require_audio(silent)
    sound = probe(make_tone(tmp_path / "a.wav"))
    with pytest.raises(ProbeError, match="no video stream"):
        require_video(sound)


def test_cover_picture_is_not_the_video(tmp_path: Path) -> None:
    cover, sound = tmp_path / "cover.png", make_tone(tmp_path / "a.wav")
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=32x32", "-frames:v", "1", cover)
    song = tmp_path / "song.m4a"
    run_ffmpeg(
        "-i", cover, "-i", sound, "-map", "0", "-map", "1", "-c:v", "copy",
        "-disposition:v:0", "attached_pic", song,
    )  # fmt: skip
    info = probe(song)
    assert info.video is None
    assert info.num_video == 0
    assert info.audio is not None


@pytest.mark.parametrize(
    "name", ["two words.mp4", "it's \"quoted\".mp4", "-leading.mp4", "a:b.mp4", "ünïcode 日.mp4",
             "new\nline.mp4", "100%d.mp4"]
)  # fmt: skip
def test_odd_names(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_clip(tmp_path / "plain.mp4").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert require_video(probe(Path(name))).width == 64


def _assert_refused(path: Path, why: str) -> None:
    with pytest.raises(ProbeError, match=why) as caught:
        probe(path)
    assert caught.value.next_step
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


def test_bad_files_are_named_with_the_reason(tmp_path: Path) -> None:
    _assert_refused(tmp_path / "missing.mp4", "does not exist")
    _assert_refused(tmp_path, "is a directory")
    empty = tmp_path / "empty.mp4"
    empty.touch()
    _assert_refused(empty, "is empty")
    for name in ("text.mp4", "text.txt", "text.ass", "text.m3u8"):
        text = tmp_path / name
        text.write_text("This is a shopping list.\nMilk\nEggs\n" * 20)
        _assert_refused(text, "not a media file|not media")
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/a.ts\n#EXT-X-ENDLIST\n")
    _assert_refused(playlist, "not a media file|not media")
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(bytes((i * i * 31 + 7 * i) % 251 for i in range(5000)))
    _assert_refused(noise, "not a media file|no video or audio")


def test_subtitles_alone_are_refused(tmp_path: Path) -> None:
    subtitles = tmp_path / "a.srt"
    subtitles.write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n")
    _assert_refused(subtitles, "no video or audio")


def test_truncated_mp4_without_its_index_is_refused(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "a.mp4")
    _assert_refused(truncate(whole, tmp_path / "cut.mp4", 0.5), "header is damaged")


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip(tmp_path / "a.mp4")
    if os.geteuid() != 0:
        clip.chmod(0)
    else:  # root may read everything

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
    _assert_refused(clip, "Permission denied")


def test_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    _assert_refused(tmp_path / "pipe", "not a regular file")
