"""Several people in one run: each says their own recording and nobody else's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studio import (
    FACE_PX,
    OTHER_PERSON,
    dub_here,
    face_clip,
    ffmpeg,
    packets,
    pairs_of,
    pictures,
    samples,
    sound,
    speech,
)
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.config import DubConfig, Voice
from dubcli.core.types import FramePatch
from dubcli.media.video.native_frame import NativeFrame
from dubcli.pipeline import renderer as render
from dubcli.pipeline.run import dub

SMALL_PX = FACE_PX * 3 // 4
FRAMES, SHOT = 12, 10
RATE = 24_000


def _recording(
    path: Path, hz: int, seconds: float, *, rate: int = RATE, level: float = 0.2
) -> Path:
    wave = f"aevalsrc=exprs='{level}*sin(2*PI*{hz}*t)':s={rate}:d={seconds}"
    ffmpeg("-f", "lavfi", "-i", wave, path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people side by side, and the same two in alternating shots; what they are to say."""
    folder = tmp_path_factory.mktemp("several")
    small = f"scale={SMALL_PX}:{SMALL_PX},{OTHER_PERSON},hflip,pad={FACE_PX}:{FACE_PX}"
    beside = f"split[a][b];[a]scale={FACE_PX}:{FACE_PX}[l];[b]{small}[r];[l][r]hstack"
    face_clip(folder / "both.mkv", beside, frames=FRAMES)
    shots = [
        f"[{n}]trim=start_frame={n * SHOT}:end_frame={(n + 1) * SHOT},setpts=PTS-STARTPTS,"
        + (small if n % 2 else f"scale={FACE_PX}:{FACE_PX}")
        + f"[s{n}]"
        for n in range(4)
    ]
    turns = ";".join(["split=4[0][1][2][3]", *shots, "[s0][s1][s2][s3]concat=n=4,setpts=N/25/TB"])
    face_clip(folder / "turns.mkv", turns, frames=4 * SHOT)
    for name, side, left in (("anna.png", FACE_PX, 0), ("ben.png", SMALL_PX, FACE_PX)):
        cut = f"crop={side}:{side}:{left}:0"
        ffmpeg("-i", folder / "both.mkv", "-vf", cut, "-frames:v", "1", folder / name)
    _recording(folder / "a.wav", 200, 0.48)
    _recording(folder / "b.wav", 333, 0.32)
    speech(folder / "speech.wav", 0.48)
    speech(folder / "late.wav", 0.48, "-af", "adelay=200")
    return folder


def _both(folder: Path, left: str = "a.wav", right: str = "b.wav") -> tuple[Voice, ...]:
    return Voice("left", folder / left), Voice("right", folder / right)


def _halves(path: Path) -> list[list[np.ndarray]]:
    """Luma of the left and of the right half of each frame."""
    planes = [samples(shown.frame)[0] for shown in pictures(path)]
    half = planes[0].shape[1] // 2
    return [[plane[:, :half], plane[:, half:]] for plane in planes]


def _moved(source: Path, output: Path) -> set[tuple[bool, bool]]:
    """Which halves changed, over all frames."""
    found: set[tuple[bool, bool]] = set()
    for old, new in zip(_halves(source), _halves(output), strict=True):
        left, right = (bool((a != b).any()) for a, b in zip(old, new, strict=True))
        found.add((left, right))
    return found


def test_each_voice_moves_its_own_face_as_if_it_were_alone(folder: Path, tmp_path: Path) -> None:
    """With the model that ships: what it draws depends on the sound."""
    source = folder / "both.mkv"

    def run(name: str, audio: Any, **settings: Any) -> list[list[np.ndarray]]:
        output = tmp_path / f"{name}.mkv"
        dub_here(source, audio, output, lossless=True, model="iptalker", **settings)
        return _halves(output)

    together = run("together", _both(folder, "speech.wav", "late.wav"))
    left = run("left", folder / "speech.wav", face="left")
    right = run("right", folder / "late.wav", face="right")
    swapped = run("swapped", _both(folder, "late.wav", "speech.wav"))
    untouched = _halves(source)
    for n in range(FRAMES):
        assert np.array_equal(left[n][1], untouched[n][1])
        assert np.array_equal(right[n][0], untouched[n][0])
        assert np.array_equal(together[n][0], left[n][0])
        assert np.array_equal(together[n][1], right[n][1])
    for half in (0, 1):
        assert any((together[n][half] != untouched[n][half]).any() for n in range(FRAMES))
        assert any((together[n][half] != swapped[n][half]).any() for n in range(FRAMES))


@pytest.mark.parametrize(
    "faces", [("1", "2"), ("2", "1"), ("right", "left"), ("anna.png", "ben.png"), ("1", "ben.png")]
)
def test_whoever_is_meant_is_found_and_reported(
    faces: tuple[str, str], folder: Path, tmp_path: Path
) -> None:
    numbers = {"1": 1, "2": 2, "left": 1, "right": 2, "anna.png": 1, "ben.png": 2}
    words: list[str] = []
    for face, name in zip(faces, ("a.wav", "b.wav"), strict=True):
        who = str(folder / face) if "." in face else face
        words += ["--audio", f"{who}={folder / name}"]
    options = ("--model", "passthrough", "--device", "cpu", "-o", "out.mkv", "--json")
    done = CliRunner().invoke(app, [str(folder / "both.mkv"), *words, *options])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    told = [(s["face"], Path(s["audio"]).name, s["frames_dubbed"]) for s in report["speakers"]]
    assert told == [(numbers[faces[0]], "a.wav", FRAMES), (numbers[faces[1]], "b.wav", FRAMES)]
    assert all(s["references"] and s["reason"] for s in report["speakers"])
    assert report["face"] == numbers[faces[0]]
    assert report["faces"] == 2
    for face in faces:
        assert f"dub: face {numbers[face]} of 2: " in done.stderr


def test_a_small_face_beside_a_large_one_has_a_number_and_a_voice(
    folder: Path, tmp_path: Path
) -> None:
    """The far detector sees it where the near one sees the other alone."""
    large, small = 2 * FACE_PX, FACE_PX * 3 // 5
    corner = f"scale={small}:{small},{OTHER_PERSON},pad={large}:{large}:ow-iw:oh-ih:gray"
    beside = f"split[a][b];[a]scale={large}:{large}[l];[b]{corner}[r];[l][r]hstack"
    video = face_clip(tmp_path / "corner.mkv", beside, frames=FRAMES)
    voices = (Voice("1", folder / "speech.wav"), Voice("2", folder / "late.wav"))
    output = tmp_path / "out.mkv"
    report = dub_here(video, voices, output, lossless=True, model="iptalker")
    assert report.faces == 2
    assert [(one.face, one.frames_dubbed) for one in report.speakers] == [
        (1, FRAMES),
        (2, FRAMES),
    ]
    assert (True, True) in _moved(video, output)
    alone = tmp_path / "alone.mkv"
    dub_here(video, folder / "late.wav", alone, lossless=True, model="iptalker", face="2")
    assert _moved(video, alone) <= {(False, True), (False, False)}
    assert (False, True) in _moved(video, alone)


def test_the_sound_is_the_sum_of_all_recordings(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    report = dub_here(folder / "both.mkv", _both(folder), output)
    (one, _), (two, _), (heard, rate) = (
        sound(folder / "a.wav"),
        sound(folder / "b.wav"),
        sound(output),
    )
    assert rate == RATE
    wanted = one.copy()
    wanted[:, : two.shape[1]] += two
    assert heard.shape == wanted.shape
    assert heard == pytest.approx(wanted, abs=1e-5)
    assert not any("clip" in warning for warning in report.warnings)


def test_recordings_that_would_clip_together_are_lowered_and_it_is_said(
    folder: Path, tmp_path: Path
) -> None:
    voices = (
        Voice("left", _recording(tmp_path / "a.wav", 200, 0.48, level=0.9)),
        Voice("right", _recording(tmp_path / "b.wav", 333, 0.3, level=0.8, rate=48_000)),
    )
    output = tmp_path / "out.mkv"
    report = dub_here(folder / "both.mkv", voices, output)
    assert any("together they would clip" in warning for warning in report.warnings)
    heard, rate = sound(output)
    assert rate == 48_000
    assert 0.8 < np.abs(heard).max() < 0.95


def test_two_people_in_turns_are_two_faces_in_their_own_shots(folder: Path, tmp_path: Path) -> None:
    source = folder / "turns.mkv"
    voices = (Voice(1, folder / "a.wav"), Voice(2, folder / "b.wav"))
    output = tmp_path / "both.mkv"
    report = dub_here(source, voices, output, lossless=True)
    assert (report.faces, report.shots) == (2, 4)
    assert [speaker.frames_dubbed for speaker in report.speakers] == [2 * SHOT, 2 * SHOT]
    own = [n // SHOT % 2 for n in range(4 * SHOT)]
    for person, speaker in enumerate(report.speakers):
        assert {own[frame] for frame in speaker.references} == {person}
    assert report.frames_passed_through == {}
    for number in (1, 2):
        alone = tmp_path / f"{number}.mkv"
        told = dub_here(source, folder / "a.wav", alone, lossless=True, face=number)
        assert told.frames_passed_through == {"no_face": 2 * SHOT}
        for n, before, after in pairs_of(source, alone):
            same = np.array_equal(samples(before.frame)[0], samples(after.frame)[0])
            assert same == (own[n] != number - 1)


def test_faces_whose_surroundings_overlap_both_survive(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second face's crop holds what was already dubbed for the first."""
    near = FACE_PX * 5 // 12
    small = f"scale={SMALL_PX}:{SMALL_PX},{OTHER_PERSON},hflip,crop={SMALL_PX // 2}:{SMALL_PX}"
    chain = (
        f"split[a][b];[a]scale={FACE_PX}:{FACE_PX},crop={FACE_PX // 2 + 20}:{FACE_PX}:"
        f"{FACE_PX // 4 - 10}:0[l];[b]{small},pad={near}:{FACE_PX}:0:(oh-ih)/2[r];[l][r]hstack"
    )
    source = face_clip(tmp_path / "near.mkv", chain, frames=FRAMES)
    seen: dict[int, list[FramePatch]] = {}
    blend = NativeFrame.blend

    def noting(self: NativeFrame, patch: FramePatch) -> NativeFrame:
        seen.setdefault(self.index, []).append(patch)
        return blend(self, patch)

    monkeypatch.setattr(render.NativeFrame, "blend", noting)
    output = tmp_path / "out.mkv"
    report = dub_here(source, _both(folder), output, lossless=True)
    assert [speaker.frames_dubbed for speaker in report.speakers] == [FRAMES, FRAMES]
    assert all(len(patches) == 2 for patches in seen.values())
    for n, before, after in pairs_of(source, output):
        change = np.abs(samples(after.frame)[0] - samples(before.frame)[0])
        for patch in seen[n]:
            height, width = patch.alpha.shape
            inside = change[patch.y : patch.y + height, patch.x : patch.x + width]
            assert inside[patch.alpha > 0.9].any()
        # The model gives back what it sees, so both faces look as before.
        assert change.mean() < 2


def test_pauses_of_one_voice_leave_that_face_alone(folder: Path, tmp_path: Path) -> None:
    """With --keep-silent-frames each face follows its own pauses."""
    source, output = folder / "turns.mkv", tmp_path / "out.mkv"
    voices = (
        Voice(1, _recording(tmp_path / "a.wav", 180, 0.4)),
        Voice(2, _recording(tmp_path / "b.wav", 180, 1.6)),
    )
    report = dub_here(source, voices, output, lossless=True, keep_silent_frames=True)
    first, second = (speaker.frames_dubbed for speaker in report.speakers)
    assert first == SHOT  # its second shot comes when it has stopped
    assert second == 2 * SHOT
    assert report.frames_passed_through == {"silence": SHOT}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["1=a.wav", "3=b.wav"], 2, "Face 3 does not exist: the video shows 2"),
        (["1=a.wav", "left=b.wav"], 2, "'1' and 'left' are both face 1"),
        (["2=a.wav", "2=b.wav"], 2, "'2' and '2' are both face 2"),
        (["a.wav", "b.wav"], 2, "--audio 'a.wav' does not say whose it is"),
        (["1=a.wav", "b.wav"], 2, "--audio 'b.wav' does not say whose it is"),
        (["auto=a.wav", "1=b.wav"], 2, "needs a face of its own"),
        (["0=a.wav", "1=b.wav"], 2, "Faces count from 1"),
        (["nobody=a.wav", "1=b.wav"], 2, "Unknown face 'nobody'"),
        (["1=a.wav", "2=missing.wav"], 3, "missing.wav"),
        (["1=a.wav", "2=silent.wav"], 3, "'silent.wav' is silent throughout"),
        (["1=a.wav", "missing.png=b.wav"], 3, "missing.png"),
        (["1=a.wav", "2=b.wav", "--face", "2"], 2, "--face does not go with"),
        (["1=a.wav", "2=b.wav", "--identity", "anna"], 2, "--identity does not go with"),
        (["1=a.wav", "2=b.wav", "--finetune"], 2, "--finetune does not go with"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    words: list[str], code: int, said: str, folder: Path, tmp_path: Path
) -> None:
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    _recording(tmp_path / "silent.wav", 200, 0.4, level=0)
    there = {path.name for path in tmp_path.iterdir()}
    voices = [part for word in words[:2] for part in ("--audio", word)]
    options = ("--model", "passthrough", "--device", "cpu", "--quiet", "-o", "out.mkv")
    done = CliRunner().invoke(app, [str(folder / "both.mkv"), *voices, *words[2:], *options])
    assert done.exit_code == code, done.output
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} - {"dub-home"} == there


def test_a_silent_voice_rests_where_it_is_allowed(folder: Path, tmp_path: Path) -> None:
    silent = _recording(tmp_path / "silent.wav", 200, 0.48, level=0)
    voices = (Voice(1, folder / "a.wav"), Voice(2, silent))
    source, output = folder / "both.mkv", tmp_path / "out.mkv"
    report = dub_here(source, voices, output, allow_silence=True)
    assert [speaker.frames_dubbed for speaker in report.speakers] == [FRAMES, FRAMES]
    assert sound(output)[0] == pytest.approx(sound(folder / "a.wav")[0], abs=1e-5)


def test_a_file_whose_name_looks_like_a_voice_is_that_file(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "1=a.wav").write_bytes((folder / "a.wav").read_bytes())
    options = ("--model", "passthrough", "--device", "cpu", "-o", "out.mkv", "--json")
    done = CliRunner().invoke(app, [str(folder / "both.mkv"), "--audio", "1=a.wav", *options])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["config"]["audio"] == "1=a.wav"


def test_one_voice_with_a_face_is_that_face_alone(folder: Path, tmp_path: Path) -> None:
    source, output = folder / "both.mkv", tmp_path / "out.mkv"
    dub_here(source, (Voice("right", folder / "a.wav"),), output, lossless=True)
    assert _moved(source, output) == {(False, True)}
    assert packets(output, "audio") == packets(folder / "a.wav", "audio")


def test_an_interrupted_run_of_two_voices_goes_on_to_the_same_packets(
    folder: Path, tmp_path: Path
) -> None:
    def run(output: Path, stop: int | None = None) -> list[bytes]:
        def tell(stage: str, done: int, total: int) -> None:
            if (stage, done) == ("dub", stop):
                raise KeyboardInterrupt

        config = DubConfig(
            video=folder / "turns.mkv",
            audio=(Voice(1, folder / "a.wav"), Voice(2, folder / "b.wav")),
            output=output,
            model="passthrough",
            sync_mode="pad",
        )
        dub(config, tell, segment_frames=SHOT)
        return packets(output, "video") + packets(output, "audio")

    whole = run(tmp_path / "whole.mkv")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out.mkv", 25)
    assert (tmp_path / "out.mkv.dubjob").is_dir()
    assert run(tmp_path / "out.mkv") == whole
    assert not (tmp_path / "out.mkv.dubjob").exists()
