"""One person's footage out of several videos: the right frames, and a reason for the others."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_clips import same_clip
from studio import OTHER_PERSON

import dubcli
from dubcli.audio.log_mel import SAMPLE_RATE, log_mel
from dubcli.audio.speech_encoder import SpeechEncoder
from dubcli.audio.windows import frame_steps
from dubcli.core.errors import ConfigError, NoFaceError, ProbeError, TrainingError
from dubcli.media.container.ffmpeg import ffmpeg_binary
from dubcli.media.container.probe import probe
from dubcli.media.sound.waveform import read_waveform
from dubcli.media.video.frame_reader import frame_times
from dubcli.personalize.footage.footage_analysis import FootagePart, open_videos
from dubcli.personalize.footage.footage_sound import hear_parts
from dubcli.personalize.footage.gather import Footage, FootageRequest, gather_footage
from dubcli.pipeline.analysis import Analysis
from dubcli.training.data.prepare import ClipForm, SourceClip, prepare_clip
from dubcli.training.data.sound_variants import NUM_VERSIONS
from dubcli.weights.resolve import part_path

DEMO = Path(dubcli.__file__).parent / "assets" / "demo.mp4"
ANNA = "scale=160:160"
# The same face bent, in other colours: somebody else.
BEN = f"scale=160:160,{OTHER_PERSON},hflip,hue=h=150:s=2"


def _ffmpeg(*words: str | Path) -> None:
    argv = [ffmpeg_binary(), "-nostdin", "-loglevel", "error", "-y", *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{argv}\n{done.stderr}"


def _clip(path: Path, filters: str, frames: int, *options: str, loops: int = 0) -> Path:
    """The demo's face, seen through filters, without sound unless the options say otherwise."""
    own = options or ("-an",)
    if path.suffix == ".avi":
        own = (*own, "-bf", "2")
    else:
        own = (*own, "-preset", "ultrafast", "-g", "25")
    source = ("-stream_loop", str(loops), "-i", DEMO, "-vf", filters, "-frames:v", str(frames))
    _ffmpeg(*source, "-c:v", "libx264", "-qp", "10", "-threads", "1", *own, path)
    return path


def _noisy(path: Path, filters: str, frames: int, loud: str) -> Path:
    """The demo's face over and over, with noise that does not repeat."""
    noise = f"anoisesrc=r=16000:d={frames / 25}:seed=3,{loud}"
    _ffmpeg(
        *("-stream_loop", "-1", "-i", DEMO, "-f", "lavfi", "-i", noise, "-map", "0:v"),
        *("-map", "1:a", "-vf", filters, "-frames:v", str(frames), "-preset", "ultrafast"),
        *("-g", "25", path),
    )
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of one person, one of somebody else, and files that help nobody."""
    here = tmp_path_factory.mktemp("videos")
    _clip(here / "anna.mp4", ANNA, 70)
    _clip(here / "anna at dusk.mkv", f"{ANNA},eq=gamma=0.7", 60)
    _clip(here / "ben.mp4", BEN, 110)
    _clip(here / "short.mp4", ANNA, 12)
    (here / "notes.mp4").write_text("This is no video.\n")
    shutil.copy(here / "anna.mp4", here / "copy.mp4")
    _ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x160:r=25:d=1", here / "wall.mp4")
    small = f"scale=120:120,{OTHER_PERSON},hflip,hue=h=150:s=2,pad=160:160:20:20:gray"
    beside = f"[0]{ANNA}[a];[1]{small}[b];[a][b]"
    _ffmpeg(
        *("-i", DEMO, "-i", DEMO, "-filter_complex", f"{beside}hstack", "-frames:v", "110"),
        *("-an", "-c:v", "libx264", "-preset", "ultrafast", "-qp", "10", here / "both.mp4"),
    )
    return here


def _gather(*videos: Path, num_references: int = 4, **settings: Any) -> Footage:
    request = FootageRequest(videos=videos, threads=1, **settings)
    return gather_footage(request, num_references)


def test_the_person_of_whom_there_is_most_is_found_in_several_files(folder: Path) -> None:
    names = ("notes.mp4", "anna.mp4", "ben.mp4", "anna.mp4", "short.mp4", "anna at dusk.mkv")
    stages: list[tuple[str, int, int]] = []
    request = FootageRequest(
        videos=tuple(folder / name for name in (*names, "copy.mp4", "wall.mp4", "none.mp4")),
        threads=1,
    )
    found = gather_footage(request, 4, lambda *step: stages.append(step))

    assert [clip.source.name for clip in found.clips] == ["anna.mp4", "anna at dusk.mkv"]
    assert [len(clip.clip) for clip in found.clips] == [70, 60]
    for clip in found.clips:
        assert clip.frame_numbers.tolist() == list(range(len(clip.clip)))
        assert clip.clip.valid.all()
    assert [clip.seconds for clip in found.clips] == pytest.approx([2.8, 2.4])
    assert not found.sampled

    why = {Path(name).name: reason for name, reason in found.left_out.items()}
    assert why.pop("copy.mp4").endswith("anna.mp4'")
    assert why.pop("notes.mp4").startswith("cannot be read: ")
    assert why.pop("none.mp4").startswith("cannot be read: ")
    assert why == {
        "ben.mp4": "shows another person",
        "short.mp4": "only 12 usable frames",
        "wall.mp4": "no face",
    }
    assert found.facts["frames"] == 130
    assert found.facts["seconds_used"] == pytest.approx(5.2)
    assert found.facts["faces_seen"] == 2
    assert 50 < found.facts["face_height_px"] < 100

    assert not found.has_sound
    assert set(found.facts["without_sound"].values()) == {"no sound"}
    assert len(found.references) == len(found.reference_clips) == 4
    for index, clip in zip(found.references.frame_indices, found.reference_clips, strict=True):
        assert index in found.clips[clip].frame_numbers
    assert np.linalg.norm(found.embedding) == pytest.approx(1)
    for stage in ("analyse", "crops", "hear"):
        done, total = [step[1:] for step in stages if step[0] == stage][-1]
        assert done == total > 0


def test_a_reference_shows_the_frame_that_it_names(folder: Path) -> None:
    found = _gather(folder / "anna.mp4", folder / "anna at dusk.mkv", num_references=3)
    for crop, index, number in zip(
        found.references.crops, found.references.frame_indices, found.reference_clips, strict=True
    ):
        clip = found.clips[number].clip
        inside = [clip.picture(frame)[26:-26, 20:-20].astype(int) for frame in range(len(clip))]
        apart = [np.abs(picture - crop).mean() for picture in inside]
        assert int(np.argmin(apart)) == index
        assert min(apart) < 3


@pytest.mark.parametrize("size", [(208, 160), (416, 320)])
def test_one_file_gives_what_dub_prepare_gives(size: tuple[int, int]) -> None:
    found = _gather(DEMO, size=size)
    source = SourceClip(path=DEMO, clip_id=DEMO.name, identity="anna", has_own_audio=True)
    assert found.has_sound
    assert found.left_out == {}
    clip = found.clips[0].clip
    assert (clip.size, found.references.crops.shape[1:3]) == (size, size)
    assert same_clip(clip, prepare_clip(source, ClipForm(size=size)))


def test_face_chooses_among_the_faces_of_the_first_video(folder: Path) -> None:
    both = folder / "both.mp4"
    large, small = _gather(both, face=1), _gather(both, folder / "ben.mp4", face=2)
    assert list(large.left_out) == [f"{both}, face 2"]
    assert list(small.left_out) == [f"{both}, face 1"]
    assert set((large.left_out | small.left_out).values()) == {"shows another person"}
    assert [clip.source.name for clip in small.clips] == ["both.mp4", "ben.mp4"]
    assert large.facts["face_height_px"] > small.facts["face_height_px"]
    # Skin is redder than blue in the one and bluer in the other.
    red, _, blue = large.clips[0].clip.picture(0)[80:140, 60:140].mean((0, 1))
    assert red > blue + 20
    for clip in small.clips:
        red, _, blue = clip.clip.picture(0)[80:140, 60:140].mean((0, 1))
        assert blue > red + 20
    with pytest.raises(ConfigError, match="Face 3 does not exist"):
        _gather(both, face=3)
    with pytest.raises(ProbeError, match=r"notes\.mp4"):
        _gather(folder / "notes.mp4", both, face=1)
    with pytest.raises(NoFaceError):
        _gather(folder / "wall.mp4", both, face=1)


def test_of_the_second_half_nothing_is_seen_or_heard(tmp_path: Path) -> None:
    """Two files agree in the first half alone: what is learned of them is the same."""
    halves = {
        "first.mkv": (ANNA, "volume=1"),
        "same.mkv": (ANNA, "volume=1"),
        "other.mkv": (BEN, "volume=0.1"),
    }
    for name, (look, loud) in halves.items():
        sound = ("-c:a", "pcm_s16le", "-af", loud, "-t", "4.2")
        _ffmpeg("-i", DEMO, "-vf", look, "-c:v", "ffv1", "-g", "1", *sound, tmp_path / name)
    for name, second in (("one.mkv", "same.mkv"), ("two.mkv", "other.mkv")):
        listing = tmp_path / "list.txt"
        listing.write_text(f"file 'first.mkv'\nfile '{second}'\n")
        target = tmp_path / name
        _ffmpeg("-f", "concat", "-i", listing, "-c", "copy", target)
        assert len(frame_times(target, probe(target))) == 210
    founds = []
    for name in ("one.mkv", "two.mkv"):
        (tmp_path / name).rename(tmp_path / "video.mkv")
        founds.append(_gather(tmp_path / "video.mkv", half=True))
        (tmp_path / "video.mkv").rename(tmp_path / name)
    one, two = founds
    assert one.clips[0].frame_numbers.tolist() == list(range(105))
    assert one.has_sound
    assert 80 * 4.1 < one.clips[0].clip.heard.shape[1] <= 80 * 4.2 + 1
    assert same_clip(one.clips[0].clip, two.clips[0].clip)
    assert np.array_equal(one.embedding, two.embedding)
    for item in fields(type(one.references)):
        assert np.array_equal(
            getattr(one.references, item.name), getattr(two.references, item.name)
        )
    assert one.facts == two.facts
    assert one.facts["faces_seen"] == 1
    assert one.left_out == two.left_out == {}


def test_of_a_long_video_stretches_are_used(tmp_path: Path) -> None:
    # Noise that is never as loud as before: the place of a sound can be told.
    loud = "volume='0.3+0.3*sin(0.3*t*t)':eval=frame"
    video = _noisy(tmp_path / "long.mp4", ANNA, 1000, loud)
    found = _gather(video, limit_s=12.0)
    assert found.sampled
    assert found.has_sound
    assert found.left_out == {}
    assert 10 < found.facts["seconds_used"] <= 12.3
    assert found.facts["seconds_available"] == pytest.approx(40, abs=0.1)
    assert len(found.clips) == 2
    whole = log_mel(read_waveform(video, SAMPLE_RATE))
    times = frame_times(video, probe(video))
    for clip, (low, high) in zip(found.clips, ((0, 500), (500, 1000)), strict=True):
        numbers = clip.frame_numbers
        assert low < numbers[0] < numbers[-1] < high
        assert np.array_equal(np.diff(numbers), np.ones(len(numbers) - 1))
        assert clip.clip.num_versions == NUM_VERSIONS
        # Sound of the very frames, and a second more on both sides.
        assert abs(int(clip.clip.steps[0]) - 80) <= 2
        assert 75 <= clip.clip.heard.shape[1] - clip.clip.steps[-1] <= 85
        pts = [times.pts[number] for number in numbers]
        there = whole.values[frame_steps(pts, times.time_base, whole, whole.start_s * 0)]
        here = clip.clip.sound("mel").version(0)[clip.clip.steps].astype(np.float32)
        assert np.corrcoef(there.mean(1), here.mean(1))[0, 1] > 0.95
    assert set(found.reference_clips.tolist()) <= {0, 1}
    for index, number in zip(found.references.frame_indices, found.reference_clips, strict=True):
        assert index in found.clips[number].frame_numbers


def test_a_stretch_at_the_end_of_a_half_hears_nothing_of_the_other(tmp_path: Path) -> None:
    video = _noisy(tmp_path / "talk.mp4", "scale=64:64", 250, "volume=0.3")
    parts: list[FootagePart] = []
    for half in (True, False):
        (opened,) = open_videos([video], {}, half=half, threads=1, needs_first=False)
        assert opened.stop == (125 if half else 250)
        with opened.open(range(75, 125)) as reader:
            numbers = np.array([native.index + 75 for native in reader.native_frames()])
            found = Analysis(times=reader.times, tracks=[], num_corrupt=0)
        parts.append(
            FootagePart(
                video=opened, frames=range(75, 125), found=found, numbers=numbers, appearances=[]
            )
        )
    lengths: list[int] = []
    recognisers = {"speech": SpeechEncoder(part_path("speech-encoder"))}
    for part in parts:
        ((steps, heard),), without = hear_parts(
            [part], recognisers, whole=False, progress=lambda *step: None
        )
        assert without == {}
        assert abs(int(steps[0]) - 80) <= 2
        lengths.append(heard.heard.shape[1])
    # A second before the stretch, two of it, and a second after it unless that is the other half.
    assert lengths == pytest.approx([240, 320], abs=2)


def test_more_stretches_are_looked_at_where_the_person_is_rare(tmp_path: Path) -> None:
    """Nobody is there in the middle of each third, where the first stretches lie."""
    hidden = "drawbox=c=gray:t=fill:enable='between(mod(t,10),2,8)'"
    video = _clip(tmp_path / "rare.mp4", f"{ANNA},{hidden}", 750, loops=5)
    found = _gather(video, limit_s=18.0)
    assert found.facts["seconds_used"] >= 4
    seen_s = np.concatenate([clip.frame_numbers[clip.clip.valid] for clip in found.clips]) / 25 % 10
    assert ((seen_s < 2.2) | (seen_s > 7.8)).all()
    assert any("parts" in name for name in found.left_out)


def test_of_a_file_without_times_the_beginning_is_used(tmp_path: Path) -> None:
    video = _clip(tmp_path / "old.avi", ANNA, 250, loops=2)
    found = _gather(video, limit_s=5.0)
    assert found.sampled
    (clip,) = found.clips
    assert clip.frame_numbers.tolist() == list(range(len(clip.clip)))
    assert 4.8 < clip.seconds <= 5
    assert found.left_out == {f"{video}, after 5 s": "the file's timestamps do not lead there"}


def test_silence_is_no_sound(tmp_path: Path) -> None:
    video = _clip(tmp_path / "mute.mp4", ANNA, 105, "-af", "volume=0")
    found = _gather(video)
    assert not found.has_sound
    assert not found.clips[0].clip.has_sound
    assert found.facts["without_sound"] == {str(video): "silent throughout"}


def test_too_little_footage_says_how_much_there_is_and_is_needed(folder: Path) -> None:
    with pytest.raises(TrainingError, match=r"2\.8 s of a usable face, 4 s are needed") as raised:
        _gather(folder / "anna.mp4")
    assert raised.value.next_step
    with pytest.raises(TrainingError, match=r"0\.0 s"):
        _gather(folder / "short.mp4")
    with pytest.raises(TrainingError, match=r"0\.0 s of a usable face, 1 s are needed"):
        _gather(folder / "short.mp4", half=True)


def test_videos_without_a_face_or_that_cannot_be_read_are_refused(folder: Path) -> None:
    with pytest.raises(NoFaceError):
        _gather(folder / "wall.mp4")
    with pytest.raises(ProbeError, match=r"notes\.mp4"):
        _gather(folder / "notes.mp4", folder / "none.mp4")
    with pytest.raises(NoFaceError):
        _gather(folder / "notes.mp4", folder / "wall.mp4")


@pytest.mark.parametrize("wrong", [{"videos": ()}, {"face": -1}, {"limit_s": 1.0}])
def test_requests_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    good = FootageRequest(videos=(DEMO,))
    with pytest.raises(ConfigError):
        replace(good, **wrong)
