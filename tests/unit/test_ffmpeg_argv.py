from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from dubcli.core.errors import EncodeError, FfmpegError, MediaError
from dubcli.core.types import MediaInfo, VideoStreamInfo
from dubcli.media.container import ffmpeg as program
from dubcli.media.container.ffmpeg import build_argv, ffmpeg_binary, file_url, graph, run
from dubcli.media.container.formats import (
    CONTAINERS,
    container_of,
    default_output,
    encoder_candidates,
)
from dubcli.media.container.remux import (
    EncodedPicture,
    RemuxJob,
    SourceStream,
    StreamCopy,
    build_remux_argv,
)
from dubcli.media.sound.audio_track import AudioArrangement, DrivingAudio, arrange_audio

QUIET = ["-hide_banner", "-nostdin", "-loglevel", "error", "-y"]
SECOND = Fraction(1)


def _video(**changes: Any) -> VideoStreamInfo:
    facts: dict[str, Any] = {
        "index": 0,
        "codec": "h264",
        "width": 64,
        "height": 48,
        "frame_rate": Fraction(25),
        "time_base": Fraction(1, 12800),
        "start_pts": 0,
        "num_frames_from_header": None,
        "sar": Fraction(1),
        "rotation_deg": 0,
        "pix_fmt": "yuv420p",
        "color_space": 2,
        "color_range": 0,
        "color_transfer": 2,
        "color_primaries": 2,
    }
    return VideoStreamInfo(**facts | changes)


def _info(name: str = "in.mp4", **changes: Any) -> MediaInfo:
    return MediaInfo(
        path=Path(name), container="x", duration_s=None, video=_video(**changes), audio=None
    )


def _job(**changes: Any) -> RemuxJob:
    facts: dict[str, Any] = {
        "picture_path": Path("p.mov"),
        "picture": EncodedPicture(
            codec="h264", time_base=Fraction(1, 12800), end_s=SECOND, width=64, height=48
        ),
        "audio_path": Path("a.wav"),
        "audio": AudioArrangement(encoder="copy", sample_rate=48_000, index=2),
        "source": _info(),
        "source_path": Path("in.mp4"),
        "video_tags": (),
        "others": (),
        "cut_s": None,
        "shift_s": Fraction(0),
        "container": CONTAINERS[".mkv"],
        "metadata": {},
    }
    return RemuxJob(**facts | changes)


TAGS = [
    *("-map_metadata", "2", "-map_chapters", "2", "-metadata", "major_brand="),
    *("-metadata", "minor_version=", "-metadata", "compatible_brands="),
]


def test_names_cannot_become_options_protocols_or_patterns() -> None:
    for name in ("-y.mp4", "a:b.mp4", "pipe:1", "100%d.mp4", 'it\'s "so".mp4', "a\nb.mp4", "é.mp4"):
        stream = graph.output(graph.input(file_url(Path(name)))["v:0"], file_url(Path("-o.mkv")))
        assert build_argv("ffmpeg", stream) == [
            *("ffmpeg", *QUIET, "-i", f"file:{name}", "-map", "0:v:0", "file:-o.mkv")
        ]


def test_remux_command_of_a_plain_copy() -> None:
    assert build_remux_argv(_job(), "ffmpeg", Path("out.mkv")) == [
        *("ffmpeg", *QUIET, "-i", "file:p.mov", "-i", "file:a.wav", "-i", "file:in.mp4"),
        *("-map", "0:v:0", "-map", "1:2", "-map", "2:t:9999?"),
        *("-f", "matroska", "-c:0", "copy", "-c:1", "copy", "-copyts", "-disposition:1", "default"),
        *TAGS,
        "file:out.mkv",
    ]


def test_remux_command_of_a_rotated_mp4_with_encoded_late_audio_and_more_streams() -> None:
    arranged = AudioArrangement(
        encoder="aac",
        sample_rate=44_100,
        index=2,
        bit_rate=256_000,
        filters=(("atrim", {"end_sample": 9}), ("asetpts", {"expr": "(N+5)/SR/TB"})),
    )
    job = _job(
        audio=arranged,
        source=_info(rotation_deg=90, sar=Fraction(4, 3)),
        video_tags=(("language", "deu"), ("BPS-eng", "77"), ("encoder", "old")),
        others=(
            StreamCopy(
                stream=SourceStream(
                    index=3, kind="audio", codec="aac", disposition=("default", "comment")
                )
            ),
            StreamCopy(
                stream=SourceStream(index=4, kind="subtitle", codec="subrip"), encoder="mov_text"
            ),
        ),
        cut_s=Fraction(3, 2),
        container=CONTAINERS[".mp4"],
        metadata={"comment": "made of 'x' = y"},
    )
    assert build_remux_argv(job, "ffmpeg", Path("out.mp4")) == [
        *("ffmpeg", *QUIET, "-display_rotation", "-90", "-i", "file:p.mov", "-i", "file:a.wav"),
        *("-i", "file:in.mp4", "-filter_complex"),
        "[1:2]atrim=end_sample=9[s0];[s0]asetpts=expr=(N+5)/SR/TB[s1]",
        *("-map", "0:v:0", "-map", "[s1]", "-map", "2:3", "-map", "2:4", "-map", "2:t:9999?"),
        *(
            "-f",
            "mp4",
            "-aac_pns:1",
            "0",
            "-b:1",
            "256000",
            "-c:0",
            "copy",
            "-c:1",
            "aac",
            "-c:2",
            "copy",
        ),
        *("-c:3", "mov_text", "-copyts", "-disposition:1", "default", "-disposition:2", "comment"),
        *("-disposition:3", "0", "-movflags", "+faststart"),
        *("-movie_timescale", "5644800", "-t", "1.500000", "-video_track_timescale", "12800"),
        *TAGS,
        *("-metadata", "comment=made of 'x' = y", "-metadata:s:0", "language=deu"),
        "file:out.mp4",
    ]


def test_copied_audio_is_moved_to_its_start() -> None:
    audio = AudioArrangement(encoder="copy", sample_rate=44_100, delay_s=Fraction(1, 3))
    argv = build_remux_argv(_job(audio=audio), "ffmpeg", Path("o.mkv"))
    place = argv.index("-itsoffset")
    assert argv[place : place + 4] == ["-itsoffset", "0.333333", "-i", "file:a.wav"]


def test_the_source_is_moved_where_the_clock_begins_below_zero() -> None:
    argv = build_remux_argv(_job(shift_s=Fraction(5, 4)), "ffmpeg", Path("o.mkv"))
    place = argv.index("-itsoffset")
    assert argv[place : place + 4] == ["-itsoffset", "1.250000", "-i", "file:in.mp4"]


def test_the_dubbed_video_may_lend_its_own_sound() -> None:
    argv = build_remux_argv(_job(audio_path=Path("in.mp4")), "ffmpeg", Path("o.mkv"))
    index = argv[argv.index("-map_metadata") + 1]
    inputs = [argv[place + 1] for place, word in enumerate(argv) if word == "-i"]
    assert inputs[int(index)] == "file:in.mp4"


def _audio(codec: str = "pcm_s16le", rate: int = 48_000, **changes: Any) -> DrivingAudio:
    facts: dict[str, Any] = {
        "codec": codec,
        "sample_rate": rate,
        "channels": 2,
        "num_samples": rate,
        "first_s": Fraction(0),
    }
    return DrivingAudio(**facts | changes)


@pytest.mark.parametrize(
    ("suffix", "codec", "encoder"),
    [
        (".mp4", "aac", "copy"),
        (".mp4", "pcm_s16le", "aac"),
        (".mp4", "flac", "aac"),
        (".mp4", "mp3", "aac"),  # copied, its decoder delay would come out as sound
        (".mov", "pcm_s24le", "copy"),
        (".mkv", "flac", "copy"),
        (".mkv", "alac", "copy"),
        (".mkv", "pcm_s16be", "flac"),
        (".mkv", "mp3", "aac"),
        (".webm", "opus", "copy"),
        (".webm", "pcm_s16le", "libopus"),
    ],
)
def test_audio_is_copied_only_where_every_sample_survives(
    suffix: str, codec: str, encoder: str
) -> None:
    arranged, _ = arrange_audio(_audio(codec), CONTAINERS[suffix], SECOND, Fraction(0), Fraction(0))
    assert arranged.encoder == encoder


def test_cut_and_pad_count_samples() -> None:
    container = CONTAINERS[".mkv"]
    cut, _ = arrange_audio(_audio(), container, Fraction(1, 3), Fraction(0), Fraction(0))
    assert [*cut.filters] == [
        ("atrim", {"end_sample": 16_000}),
        ("asetpts", {"expr": "(N+0)/SR/TB"}),
    ]
    padded, _ = arrange_audio(_audio(), container, SECOND, Fraction(1, 2), Fraction(1, 4))
    assert [*padded.filters] == [
        ("apad", {"whole_len": 72_000}),
        ("asetpts", {"expr": "(N+12000)/SR/TB"}),
    ]
    assert padded.end_s == Fraction(7, 4)


def test_a_rounded_duration_costs_no_sample() -> None:
    almost = SECOND - Fraction(1, 16_000)
    arranged, _ = arrange_audio(
        _audio("flac"), CONTAINERS[".mkv"], almost, Fraction(0), Fraction(0)
    )
    assert arranged.encoder == "copy"
    arranged, _ = arrange_audio(
        _audio("flac"), CONTAINERS[".mp4"], almost, Fraction(0), Fraction(0)
    )
    assert not [name for name, _ in arranged.filters if name == "atrim"]


@pytest.mark.parametrize(
    ("rate", "channels", "bit_rate"),
    [(48_000, 2, 256_000), (44_100, 1, 192_000), (48_000, 6, 576_000), (8_000, 1, 40_000)],
)
def test_aac_keeps_rate_and_channels_at_a_rate_the_format_allows(
    rate: int, channels: int, bit_rate: int
) -> None:
    audio = _audio(rate=rate, channels=channels)
    arranged, notes = arrange_audio(audio, CONTAINERS[".mp4"], SECOND, Fraction(0), Fraction(0))
    assert (arranged.sample_rate, arranged.bit_rate, notes) == (rate, bit_rate, [])


def test_a_rate_that_aac_lacks_is_resampled_and_said() -> None:
    arranged, notes = arrange_audio(
        _audio(rate=192_000), CONTAINERS[".mp4"], SECOND, Fraction(0), Fraction(0)
    )
    assert arranged.sample_rate == 96_000
    assert arranged.filters[0] == ("aresample", {"sample_rate": 96_000})
    assert "192000" in notes[0]


@pytest.mark.parametrize(
    ("name", "codec", "result"),
    [
        ("a.mp4", "h264", "a.dubbed.mp4"),
        ("a.MOV", "prores", "a.dubbed.MOV"),
        ("a.mov", "h264", "a.dubbed.mov"),
        ("a b.c.mkv", "hevc", "a b.c.dubbed.mkv"),
        ("a.webm", "vp9", "a.dubbed.webm"),
        ("a.mpg", "mpeg1video", "a.dubbed.mp4"),
        ("a.ts", "h264", "a.dubbed.mp4"),
        ("a.avi", "mpeg4", "a.dubbed.mp4"),
        ("a.avi", "ffv1", "a.dubbed.mkv"),
        ("noext", "h264", "noext.dubbed.mp4"),
        ("-a'b.mp4", "h264", "-a'b.dubbed.mp4"),
    ],
)
def test_default_name_stays_beside_the_video(name: str, codec: str, result: str) -> None:
    assert default_output(Path("d", name), _info(codec=codec)) == Path("d", result)


def test_codec_family_is_kept_where_the_container_can_hold_it() -> None:
    assert encoder_candidates("hevc", CONTAINERS[".mp4"])[0] == "libx265"
    assert encoder_candidates("mpeg1video", CONTAINERS[".mp4"])[0] == "libx264"
    assert encoder_candidates("vp8", CONTAINERS[".webm"])[0] == "libvpx"
    assert encoder_candidates("h264", CONTAINERS[".webm"])[0] == "libvpx-vp9"
    assert encoder_candidates("prores", CONTAINERS[".mp4"])[0] == "libx264"


def test_a_container_that_loses_times_is_refused_with_names_that_work() -> None:
    with pytest.raises(EncodeError, match=r"\.avi.*\.mp4.*\.mkv"):
        container_of(Path("out.avi"))


def _fake_ffmpeg(folder: Path, version: str) -> Path:
    binary = folder / "ffmpeg"
    binary.write_text(f"#!{sys.executable}\nprint('ffmpeg version {version} Copyright')\n")
    binary.chmod(0o755)
    return binary


@pytest.mark.parametrize(
    ("version", "is_taken"),
    [("4.4.2-0ubuntu1", False), ("6.0", True), ("n7.1-static", True), ("N-118-gabc", True)],
)
def test_path_ffmpeg_is_taken_when_new_enough(
    version: str, is_taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = _fake_ffmpeg(tmp_path, version)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (ffmpeg_binary() == str(binary)) is is_taken


def test_no_ffmpeg_at_all_names_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import imageio_ffmpeg

    def missing() -> str:
        raise RuntimeError("none")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", missing)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MediaError, match="Install ffmpeg"):
        ffmpeg_binary()


def test_a_failure_carries_the_command_and_the_last_line() -> None:
    argv = [sys.executable, "-c", "import sys; sys.exit('first\\nbad input')"]
    with pytest.raises(FfmpegError, match="bad input") as caught:
        run(argv)
    assert caught.value.argv == argv


def test_a_full_disk_is_told_as_such() -> None:
    text = os.strerror(28)
    with pytest.raises(EncodeError, match="disk is full"):
        run([sys.executable, "-c", f"import sys; sys.exit({text!r})"])


def test_a_program_that_cannot_start_is_a_media_error() -> None:
    with pytest.raises(MediaError, match="cannot be started"):
        run(["/nonexistent/ffmpeg"])


def test_nothing_waits_for_the_keyboard() -> None:
    assert run([sys.executable, "-c", "import sys; print(len(sys.stdin.read()))"]) == b"0\n"


@pytest.mark.parametrize("moment", ["submitted", "started"])
def test_an_interrupt_before_the_child_is_held_kills_it_too(
    moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interrupt comes as soon as the start was asked for, or once the start was waited for."""
    children: list[Any] = []
    real = subprocess.Popen

    def noting(*arguments: Any, **options: Any) -> Any:
        children.append(real(*arguments, **options))
        return children[-1]

    class Interrupting(ThreadPoolExecutor):
        def submit(self, *arguments: Any, **options: Any) -> Any:
            future = super().submit(*arguments, **options)
            if moment == "started":
                future.result()
            raise KeyboardInterrupt

    monkeypatch.setattr(program.subprocess, "Popen", noting)
    monkeypatch.setattr(program, "ThreadPoolExecutor", Interrupting)
    with pytest.raises(KeyboardInterrupt):
        run([sys.executable, "-c", "import signal; signal.pause()"])
    assert [child.returncode is not None for child in children] == [True]


def test_an_interrupt_kills_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[subprocess.Popen[bytes]] = []

    class Interrupted(subprocess.Popen[bytes]):
        def communicate(self, *args: Any, **kwargs: Any) -> Any:
            children.append(self)
            raise KeyboardInterrupt

    monkeypatch.setattr(program.subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run([sys.executable, "-c", "import sys, time; time.sleep(600)"])
    assert children[0].returncode == -signal.SIGKILL
