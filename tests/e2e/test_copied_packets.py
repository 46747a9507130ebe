"""Groups of pictures without a dubbed frame: their packets are the source's, bit for bit."""

from __future__ import annotations

import base64
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from browser import chromium, open_browser
from libde265_decoder import find_libde265, libde265_digests
from studio import dub_here, face_clip, ffmpeg, pictures, same_samples, samples, speech, times

from dubcli.config import DubConfig, PlanConfig
from dubcli.core.reports import DubReport
from dubcli.media.container.ffmpeg import ffmpeg_binary
from dubcli.pipeline.run import dub
from dubcli.preview import estimate
from dubcli.preview.plan_report import make_plan

GROUP, FRAMES = 20, 100
PART = range(44, 56)  # within the third group of five
GROUPS = ("-g", str(GROUP), "-keyint_min", str(GROUP), "-sc_threshold", "0", "-threads", "1")
X264 = ("-c:v", "libx264", "-preset", "fast", "-crf", "20", *GROUPS)
X265 = ("-c:v", "libx265", "-preset", "superfast", "-pix_fmt", "yuv420p")
_CLOSED = f"log-level=none:keyint={GROUP}:min-keyint={GROUP}:scenecut=0:open-gop=0"
# By kind: file name, filters, options.
SOURCES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "reordered": ("in.mp4", "scale=240:240", ("-bf", "3")),
    "in order": ("in.mov", "scale=240:240", ("-profile:v", "baseline")),
    "one deep": ("in.mp4", "scale=240:240", ("-profile:v", "main", "-x264-params", "b-pyramid=0")),
    "uneven times": ("in.mkv", "scale=240:240,setpts=PTS+gte(N\\,50)*0.3/TB", ()),
    "10 bits, 4:2:2": ("in.mov", "scale=240:240", ("-pix_fmt", "yuv422p10le")),
    "wide pixels, cropped": ("in.mp4", "scale=250:234,setsar=4/3", ()),
    "told colours": (
        "in.mp4",
        "scale=240:240",
        ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"),
    ),
    "hevc": ("in.mp4", "scale=240:240", (*X265, "-x265-params", f"{_CLOSED}:bframes=4:ref=4")),
    "hevc, in order": ("in.mkv", "scale=240:240", (*X265, "-x265-params", f"{_CLOSED}:bframes=0")),
    "hevc, 10 bits, cropped": (
        "in.mov",
        "scale=250:234,setsar=4/3",
        (*X265, "-pix_fmt", "yuv420p10le", "-x265-params", f"{_CLOSED}:b-pyramid=0:slices=3"),
    ),
}
# The greatest and the mean difference of a sample between two videos at a frame.
_PAGE = """<!doctype html><canvas id="c" width="240" height="240"></canvas><script>
const load = (words) => {
  const bytes = Uint8Array.from(atob(words), (letter) => letter.charCodeAt(0));
  const video = document.createElement("video");
  video.muted = true;
  video.src = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
  return video;
};
const videos = [load("%s"), load("%s")];
const shown = (video, second) => new Promise((done, fail) => {
  video.onerror = () => fail(new Error(video.error.message));
  video.onseeked = async () => {
    while (video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) {
      await new Promise(requestAnimationFrame);
    }
    const pen = document.getElementById("c").getContext("2d", { willReadFrequently: true });
    pen.drawImage(video, 0, 0);
    done(pen.getImageData(0, 0, 240, 240).data);
  };
  video.currentTime = second;
});
const differences = async (number) => {
  const [own, made] = await Promise.all(
    videos.map((video) => shown(video, (number + 0.5) / 25)));
  const each = Array.from(own, (value, place) => Math.abs(value - made[place]));
  const most = each.reduce((largest, value) => Math.max(largest, value), 0);
  return [most, each.reduce((sum, value) => sum + value, 0) / each.length];
};
</script>"""
Packet = tuple[Fraction, bytes]


def _clip(path: Path, filters: str = "scale=240:240", *options: str) -> Path:
    return face_clip(path, filters, *X264, *options, frames=FRAMES)


def _packets(path: Path) -> list[Packet]:
    """When each is shown, seconds, and its bytes, in order of presentation."""
    with av.open(str(path)) as container:
        found = [packet for packet in container.demux(video=0) if packet.size]
        base = Fraction(container.streams.video[0].time_base or 0)
        return sorted(((packet.pts or 0) * base, bytes(packet)) for packet in found)


def _part(**changes: Any) -> dict[str, Any]:
    part = {"start": str(PART.start / 25), "end": str(PART.stop / 25)}
    return {**part, **changes}


def _same(source: Path, result: Path) -> list[bool]:
    """Which packets are the source's."""
    both = zip(_packets(source), _packets(result), strict=True)
    return [before == after for before, after in both]


def _shown_by_another(path: Path) -> list[str]:
    """Digests of the frames that another decoder than libav's own shows: OpenH264 or libde265."""
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        codec, pix_fmt = context.codec.canonical_name, context.pix_fmt
    if codec == "h264":
        if pix_fmt != "yuv420p":
            pytest.skip("libopenh264 decodes 8 bits of 4:2:0 alone")
        return _openh264(path)
    library = find_libde265()
    if library is None:
        pytest.skip("libde265, a second decoder of H.265, is not installed")
    return libde265_digests(library, path)


def _openh264(path: Path) -> list[str]:
    words = ["-c:v", "libopenh264", "-i", path, "-map", "0:v:0", "-fps_mode", "passthrough"]
    argv = [ffmpeg_binary(), "-nostdin", "-loglevel", "error", *words, "-f", "framemd5", "-"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    if "Unknown decoder" in done.stderr:
        pytest.skip("this ffmpeg has no second H.264 decoder, libopenh264")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith("#")]
    return [line.split(",")[-1] for line in lines]


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speech(tmp_path_factory.mktemp("voice") / "a.wav", 0.5)


@pytest.fixture(scope="module", params=SOURCES)
def dubbed(
    request: pytest.FixtureRequest, voice: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, DubReport]:
    """Source, result and report."""
    name, filters, options = SOURCES[request.param]
    folder = tmp_path_factory.mktemp("copied")
    source = _clip(folder / name, filters, *options)
    output = folder / f"out{source.suffix}"
    return source, output, dub_here(source, voice, output, **_part())


Dubbed = tuple[Path, Path, DubReport]


def test_packets_of_untouched_groups_are_the_sources_bit_for_bit(dubbed: Dubbed) -> None:
    source, output, report = dubbed
    assert report.encoded_whole_because is None
    assert report.copied_packets == FRAMES - GROUP
    (encoded,) = report.encoded_ranges
    assert encoded["frames"] == GROUP
    shown = times(source)
    assert encoded["start_s"] == pytest.approx(float(shown[40]), abs=1e-3)
    assert encoded["end_s"] == pytest.approx(float(shown[60]), abs=1e-3)
    is_same = _same(source, output)
    assert [n for n, same in enumerate(is_same) if not same] == list(range(40, 60))


def test_every_frame_is_shown_at_its_time_and_copied_ones_decode_to_the_same(
    dubbed: Dubbed,
) -> None:
    source, output, _ = dubbed
    before, after = pictures(source), pictures(output)
    assert [one.time_s for one in after] == [one.time_s for one in before]
    for number, (own, made) in enumerate(zip(before, after, strict=True)):
        assert made.frame.format.name == own.frame.format.name
        is_copied = not 40 <= number < 60
        assert not is_copied or same_samples(own.frame, made.frame), number
        # Frames around the part in its group: as near as the encoder leaves them.
        if not is_copied and number not in PART:
            for mine, theirs in zip(samples(own.frame), samples(made.frame), strict=True):
                peak = 255 << (8 if "10" in own.frame.format.name else 0) // 4
                assert np.mean((mine - theirs) ** 2) < (peak / 60) ** 2, number


def test_a_second_decoder_shows_the_same_pictures(dubbed: Dubbed) -> None:
    source, output, _ = dubbed
    before, after = _shown_by_another(source), _shown_by_another(output)
    assert len(after) == len(before) == FRAMES
    differ = {n for n, (own, made) in enumerate(zip(before, after, strict=True)) if own != made}
    assert differ <= set(range(40, 60))


def test_a_browser_shows_copied_frames_as_the_source_has_them(voice: Path, tmp_path: Path) -> None:
    """With a reader of mp4 files of its own, seeking to and fro over the borders."""
    chromium()
    source, output = _clip(tmp_path / "in.mp4", "scale=240:240", "-bf", "3"), tmp_path / "out.mp4"
    assert dub_here(source, voice, output, **_part()).copied_packets == FRAMES - GROUP
    words = [base64.b64encode(path.read_bytes()).decode() for path in (source, output)]
    page_path = tmp_path / "page.html"
    page_path.write_text(_PAGE % tuple(words), encoding="utf-8")
    with open_browser(tmp_path / "profile") as page:
        page.open(page_path)
        for number in (39, 60, 99, 0, 61, 19, 80):
            assert page.eval(f"differences({number})") == [0, 0], number
        for number in (40, 59):
            assert page.eval(f"differences({number})")[1] < 4, number  # as the encoder leaves it
        assert page.problems == []


def test_the_streams_facts_are_the_sources(dubbed: Dubbed) -> None:
    source, output, _ = dubbed

    def facts(path: Path) -> tuple[Any, ...]:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            own = stream.codec_context
            colours = (own.colorspace, own.color_range, own.color_trc, own.color_primaries)
            # The remux writes the picture's aspect with three digits or so.
            aspect = round(float(stream.sample_aspect_ratio or 1), 2)
            return (own.width, own.height, own.pix_fmt, own.profile, aspect, *colours)

    assert facts(output) == facts(source)


def test_an_interrupted_run_goes_on_to_the_same_bytes(voice: Path, tmp_path: Path) -> None:
    """Two parts that are encoded, each in several segments, between parts that are copied."""
    source = _clip(tmp_path / "in.mp4")
    words = speech(tmp_path / "words.wav", 2.0)
    silent: dict[str, Any] = {"keep_silent_frames": True}

    def run(output: Path, stop: int | None = None) -> tuple[bytes, DubReport]:
        def tell(stage: str, done: int, total: int) -> None:
            if (stage, done) == ("dub", stop):
                raise KeyboardInterrupt

        config = DubConfig(
            video=source,
            audio=words,
            output=output,
            model="passthrough",
            sync_mode="pad",
            no_mark=True,
            **silent,
        )
        report = dub(config, tell, segment_frames=16)
        return output.read_bytes(), report

    whole, report = run(tmp_path / "whole.mp4")
    assert report.copied_packets
    last = report.encoded_ranges[-1]
    stop = round(25 * last["end_s"]) - 1
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out.mp4", stop)
    again, told = run(tmp_path / "out.mp4")
    assert again == whole
    assert told.copied_packets == report.copied_packets
    assert any("interrupted run" in warning for warning in told.warnings)


def test_a_film_without_any_dubbed_frame_is_copied_whole(tmp_path: Path) -> None:
    source, output = _clip(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=16000:d=4", tmp_path / "nothing.wav")
    settings = {"allow_silence": True, "keep_silent_frames": True}
    report = dub_here(source, tmp_path / "nothing.wav", output, **settings)
    assert (report.frames_dubbed, report.copied_packets) == (0, FRAMES)
    assert report.encoded_ranges == []
    assert all(_same(source, output))


def test_the_last_group_is_encoded_where_the_result_ends_within_it(tmp_path: Path) -> None:
    source, output = _clip(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=16000:d=2.8", tmp_path / "nothing.wav")
    silent = {"allow_silence": True, "keep_silent_frames": True}
    settings: dict[str, Any] = {**silent, "sync_mode": "cut"}
    report = dub_here(source, tmp_path / "nothing.wav", output, **settings)
    assert report.copied_packets == 60
    assert [one["frames"] for one in report.encoded_ranges] == [report.frames - 60]
    assert times(output) == times(source)[: report.frames]


def test_where_all_is_dubbed_nothing_changes_by_what_could_be_copied(
    voice: Path, tmp_path: Path
) -> None:
    """The usual case: a result that `--reencode` would write, byte for byte."""
    source = _clip(tmp_path / "in.mp4")
    made: list[bytes] = []
    for number, reencode in enumerate((False, True)):
        output = tmp_path / f"out{number}" / "out.mp4"
        output.parent.mkdir()
        report = dub_here(source, voice, output, sync_mode="pad", reencode=reencode, no_mark=True)
        assert (report.frames_dubbed, report.copied_packets) == (FRAMES, 0)
        made.append(output.read_bytes())
    assert made[0] == made[1]


def test_the_plan_tells_what_the_dub_copies(voice: Path, tmp_path: Path) -> None:
    source = _clip(tmp_path / "in.mp4")
    settings = {"model": "passthrough", "device": "cpu", "picture": False, **_part()}
    for reencode, copied in ((False, FRAMES - GROUP), (True, 0)):
        config = PlanConfig(video=source, audio=voice, reencode=reencode, **settings)
        result = make_plan(config).result
        assert result is not None
        assert result.frames_copied == copied
        assert ("--reencode" in (result.encoded_whole_because or "")) == reencode


def test_a_trial_is_made_only_where_much_is_encoded(
    voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "LEAST_FRAMES", FRAMES)
    source = _clip(tmp_path / "in.mp4")
    for reencode in (False, True):
        output = tmp_path / f"{reencode}.mp4"
        report = dub_here(source, voice, output, **_part(reencode=reencode))
        assert ("trial" in report.seconds) == reencode


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"reencode": True}, "--reencode"),
        ({"crf": 0}, "lossless"),
        ({"visible_mark": True}, "visible mark"),
        ({"deinterlace": True}, "--deinterlace"),
        ({"lossless": True}, "lossless"),
        ({"start": None, "end": None, "sync_mode": "pad"}, "no whole group"),
    ],
)
def test_options_that_change_every_frame_encode_all(
    settings: dict[str, Any], said: str, voice: Path, tmp_path: Path
) -> None:
    source, output = _clip(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    report = dub_here(source, voice, output, **_part(**settings))
    assert report.copied_packets == 0
    assert said in (report.encoded_whole_because or "")
    assert [one["frames"] for one in report.encoded_ranges] == [FRAMES]
    assert times(output) == times(source)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("in.ts", (), "Annex B"),
        ("in.mp4", ("-x264-params", "open-gop=1:bframes=3"), "no whole group"),
        ("in.mp4", ("-x264-params", "fake-interlaced=1"), "fields"),
        ("in.mp4", ("-pix_fmt", "yuv444p"), "4:4:4"),
        ("in.mkv", ("-bsf:v", "dump_extra"), "parameter sets of their own"),
        ("in.mp4", (*X265, "-x265-params", f"{_CLOSED}:open-gop=1"), "no whole group"),
        ("in.mp4", (*X265, "-x265-params", f"{_CLOSED}:repeat-headers=1"), "of their own"),
        ("in.mkv", ("-c:v", "libvpx-vp9", "-deadline", "realtime"), "packets of vp9"),
    ],
)
def test_sources_that_cannot_be_spliced_exactly_are_encoded_whole(
    name: str, options: tuple[str, ...], said: str, voice: Path, tmp_path: Path
) -> None:
    source, output = _clip(tmp_path / name, "scale=240:240", *options), tmp_path / "out.mp4"
    report = dub_here(source, voice, output, **_part())
    assert report.copied_packets == 0
    assert said in (report.encoded_whole_because or "")
    assert len(times(output)) == FRAMES
