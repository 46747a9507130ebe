"""Bad input through the real command: one line, the documented code, nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

import dubcli
from dubcli.cli.app import app
from dubcli.media.container.ffmpeg import ffmpeg_binary

PACKAGE = Path(dubcli.__file__).parent
FACE_SIZE = "320:-2"
NUM_FRAMES = 12
TIMEOUT_S = 300


def _ffmpeg(*arguments: str | Path) -> None:
    words = [f"file:{word}" if isinstance(word, Path) else word for word in arguments]
    argv = [ffmpeg_binary(), "-nostdin", "-loglevel", "error", "-y", *words]
    subprocess.run(argv, check=True, timeout=TIMEOUT_S)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a face, a picture without one, speech and silence; all half a second long."""
    folder = tmp_path_factory.mktemp("media")
    video = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
    short = ("-vf", f"scale={FACE_SIZE}", "-frames:v", str(NUM_FRAMES), "-an", *video)
    _ffmpeg("-i", PACKAGE / "assets" / "demo.mp4", *short, folder / "face.mp4")
    bars = ("-f", "lavfi", "-i", "testsrc2=s=160x120:r=25", "-frames:v", str(NUM_FRAMES))
    _ffmpeg(*bars, *video, folder / "bars.mp4")
    speech = PACKAGE / "assets" / "demo_speech.wav"
    _ffmpeg("-i", speech, "-t", "0.48", folder / "speech.wav")
    _ffmpeg("-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono", "-t", "0.48", folder / "silent.wav")
    _ffmpeg("-i", speech, "-t", "0", folder / "empty.wav")
    (folder / "text.mp4").write_text("Dear reader, this is no video.\n" * 40, encoding="utf-8")
    content = (folder / "face.mp4").read_bytes()
    (folder / "truncated.mp4").write_bytes(content[: len(content) // 2])
    (folder / "nothing.mp4").touch()
    return folder


@dataclass(frozen=True)
class Done:
    """How a run of the command ended."""

    code: int
    stdout: str
    stderr: str


class Kitchen:
    """One test's copies of the clips, and the command run beside them.

    `run` starts a process of its own; `fails` does so only where asked to, because each process
    loads torch anew: one for every exit code, and those in which native code might speak.
    """

    def __init__(self, media: Path, folder: Path) -> None:
        self.media = media
        self.folder = folder

    def copy(self, name: str, as_name: str | None = None) -> str:
        target = self.folder / (as_name or name)
        shutil.copy(self.media / name, target)
        return target.name

    def run(self, *arguments: str, model: str = "passthrough", site: Path | None = None) -> Done:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if site is not None:
            environment["PYTHONPATH"] = str(site)
        done = subprocess.run(
            [sys.executable, "-m", "dubcli", *_options(model), *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def run_here(self, *arguments: str, model: str = "passthrough") -> Done:
        done = CliRunner().invoke(app, [*_options(model), *arguments])
        return Done(done.exit_code, done.stdout, done.stderr)

    def fails(
        self,
        code: int,
        *arguments: str,
        named: str,
        process: bool = False,
        model: str = "passthrough",
        site: Path | None = None,
    ) -> None:
        """Run and assert the code, the one line with what is wrong, and an unchanged folder."""
        before = self.contents()
        words = ("--quiet", *arguments)
        if process or site is not None:
            done = self.run(*words, model=model, site=site)
        else:
            done = self.run_here(*words, model=model)
        assert done.code == code, done.stderr
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("dub: ")
        assert named in lines[0]
        assert done.stdout == ""
        assert self.contents() == before

    def contents(self) -> dict[str, bytes]:
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}


def _options(model: str) -> list[str]:
    return ["--model", model, "--device", "cpu"]


@pytest.fixture
def kitchen(media: Path, tmp_path: Path) -> Kitchen:
    return Kitchen(media, tmp_path)


def test_missing_video(kitchen: Kitchen) -> None:
    kitchen.copy("speech.wav")
    kitchen.fails(3, "lost.mp4", "--audio", "speech.wav", named="lost.mp4", process=True)


def test_missing_audio(kitchen: Kitchen) -> None:
    kitchen.copy("face.mp4")
    kitchen.fails(3, "face.mp4", "--audio", "lost.wav", named="lost.wav")


def test_directory(kitchen: Kitchen) -> None:
    kitchen.copy("speech.wav")
    (kitchen.folder / "clips").mkdir()
    kitchen.fails(3, "clips", "--audio", "speech.wav", named="clips")


@pytest.mark.parametrize("name", ["text.mp4", "truncated.mp4", "nothing.mp4"])
def test_no_real_video(name: str, kitchen: Kitchen) -> None:
    kitchen.copy("speech.wav")
    kitchen.fails(3, kitchen.copy(name), "--audio", "speech.wav", named=name)


def test_video_without_a_face(kitchen: Kitchen) -> None:
    kitchen.copy("speech.wav")
    kitchen.fails(5, kitchen.copy("bars.mp4"), "--audio", "speech.wav", named="face", process=True)


@pytest.mark.parametrize("name", ["bars.mp4", "empty.wav", "silent.wav", "text.mp4"])
def test_no_real_audio(name: str, kitchen: Kitchen) -> None:
    kitchen.copy("face.mp4")
    kitchen.fails(3, "face.mp4", "--audio", kitchen.copy(name), named=name)


def test_the_silent_audio_error_names_the_option_that_allows_it(kitchen: Kitchen) -> None:
    kitchen.copy("face.mp4")
    kitchen.copy("silent.wav")
    kitchen.fails(3, "face.mp4", "--audio", "silent.wav", named="--allow-silence")


@pytest.mark.parametrize("output", ["nowhere/out.mp4", "speech.wav/out.mp4", "folder"])
def test_unwritable_output(output: str, kitchen: Kitchen) -> None:
    kitchen.copy("face.mp4")
    kitchen.copy("speech.wav")
    (kitchen.folder / "folder").mkdir()
    kitchen.fails(3, "face.mp4", "--audio", "speech.wav", "-o", output, named=output.split("/")[0])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_read_only_folder(kitchen: Kitchen) -> None:
    kitchen.copy("face.mp4")
    kitchen.copy("speech.wav")
    locked = kitchen.folder / "locked"
    locked.mkdir(mode=0o500)
    kitchen.fails(3, "face.mp4", "--audio", "speech.wav", "-o", "locked/out.mp4", named="locked")


def test_existing_output_stays_without_the_flag(kitchen: Kitchen) -> None:
    kitchen.copy("face.mp4")
    kitchen.copy("speech.wav")
    (kitchen.folder / "out.mp4").write_text("mine", encoding="utf-8")
    kitchen.fails(2, "face.mp4", "--audio", "speech.wav", "-o", "out.mp4", named="-y", process=True)


@pytest.mark.parametrize("output", ["face.mp4", "./face.mp4", "link.mp4", "speech.wav"])
def test_output_equal_to_an_input_is_refused_even_with_the_flag(
    output: str, kitchen: Kitchen
) -> None:
    kitchen.copy("face.mp4")
    kitchen.copy("speech.wav")
    (kitchen.folder / "link.mp4").symlink_to("face.mp4")
    kitchen.fails(2, "face.mp4", "--audio", "speech.wav", "-y", "-o", output, named="output")


def test_unknown_model(kitchen: Kitchen) -> None:
    kitchen.copy("face.mp4")
    kitchen.copy("speech.wav")
    kitchen.fails(
        2, "face.mp4", "--audio", "speech.wav", model="pasthrough", named="Did you mean 'passthrou"
    )


def test_unknown_face(kitchen: Kitchen) -> None:
    kitchen.copy("face.mp4")
    kitchen.copy("speech.wav")
    kitchen.fails(2, "face.mp4", "--audio", "speech.wav", "--face", "9", named="9", process=True)


@pytest.mark.parametrize(("picture", "code"), [("absent.png", 3), ("text.mp4", 3), ("wall.png", 5)])
def test_unusable_picture_of_a_face(picture: str, code: int, kitchen: Kitchen) -> None:
    for name in ("face.mp4", "speech.wav", "text.mp4"):
        kitchen.copy(name)
    _ffmpeg(
        "-f", "lavfi", "-i", "color=gray:s=160x120", "-frames:v", "1", kitchen.folder / "wall.png"
    )
    kitchen.fails(code, "face.mp4", "--audio", "speech.wav", "--face", picture, named=picture)


def test_absent_device(kitchen: Kitchen) -> None:
    kitchen.copy("face.mp4")
    kitchen.copy("speech.wav")
    kitchen.fails(
        6, "face.mp4", "--audio", "speech.wav", "--device", "cuda:63", named="cuda", process=True
    )


def test_corrupted_weights(kitchen: Kitchen, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A copy of the package whose weight file lost its end, as after a broken copy."""
    site = tmp_path_factory.mktemp("site")
    ignored = shutil.ignore_patterns("assets", "__pycache__")
    shutil.copytree(PACKAGE, site / "dubcli", ignore=ignored)
    (site / "dubcli" / "net.safetensors").write_bytes(b"half a file")
    entry = {
        "architecture": "iptalker",
        "package": "net.safetensors",
        "sha256": "0" * 64,
        "bytes": 22,
        "config": {},
        "license": "none",
        "source": "a test",
    }
    manifest = {"format": 2, "default": {}, "weights": {"iptalker.broken": entry}}
    path = site / "dubcli" / "weights_manifest.json"
    path.write_text(json.dumps(manifest), encoding="utf-8")
    kitchen.copy("face.mp4")
    kitchen.copy("speech.wav")
    kitchen.fails(
        4,
        *("face.mp4", "--audio", "speech.wav"),
        model="iptalker.broken",
        site=site,
        named="net.safetensors",
    )


def test_any_name_works_and_the_result_lies_beside_the_video(kitchen: Kitchen) -> None:
    video = kitchen.copy("face.mp4", '-it\'s "a" video ü.mp4')
    audio = kitchen.copy("speech.wav", "new 'speech'.wav")
    done = kitchen.run("--json", "--audio", audio, "--", video)
    assert done.code == 0, done.stderr
    report = json.loads(done.stdout)
    output = kitchen.folder / '-it\'s "a" video ü.dubbed.mp4'
    assert output.is_file()
    beside = json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))
    assert beside == report
    assert report["frames"] == NUM_FRAMES
    assert report["frames_dubbed"] + sum(report["frames_passed_through"].values()) == NUM_FRAMES
    assert report["model"].startswith("passthrough")
    assert report["weights_sha256"] is None
    assert all(seconds >= 0 for seconds in report["seconds"].values())


def test_silence_may_be_allowed(kitchen: Kitchen) -> None:
    kitchen.copy("face.mp4")
    kitchen.copy("silent.wav")
    done = kitchen.run_here("face.mp4", "--audio", "silent.wav", "--allow-silence", "-o", "out.mp4")
    assert done.code == 0, done.stderr
    assert (kitchen.folder / "out.mp4").is_file()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_nothing_behind(
    number: signal.Signals, code: int, kitchen: Kitchen
) -> None:
    video = shutil.copy(PACKAGE / "assets" / "demo.mp4", kitchen.folder / "clip.mp4")
    audio = PACKAGE / "assets" / "demo_speech.wav"
    before = kitchen.contents()
    argv = [
        sys.executable,
        "-m",
        "dubcli",
        str(video),
        "--audio",
        str(audio),
        *_options("passthrough"),
    ]
    with subprocess.Popen(argv, cwd=kitchen.folder, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "analyse" in process.stderr.readline()  # the first pass is done, the second runs
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait(TIMEOUT_S) == code, rest
    assert rest == "dub: interrupted; nothing was written.\n"
    assert kitchen.contents() == before
    assert sorted(path.name for path in kitchen.folder.iterdir()) == ["clip.mp4"]


@pytest.mark.parametrize(
    "words",
    [
        ("https://example.org/v.mp4", "--audio", "speech.wav"),
        ("face.mp4", "--audio", "https://example.org/v.mp4"),
        ("face.mp4", "--audio", "speech.wav", "-o", "https://example.org/v.mp4"),
        ("plan", "https://example.org/v.mp4"),
        ("inspect", "https://example.org/v.mp4"),
    ],
)
def test_an_address_is_no_file(
    kitchen: Kitchen, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("face.mp4", "speech.wav"):
        kitchen.copy(name)
    monkeypatch.chdir(kitchen.folder)
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 3
    assert len(done.stderr.splitlines()) == 1
    assert "https://example.org/v.mp4" in done.stderr


@pytest.mark.parametrize("place", ["video", "audio", "output"])
def test_a_dash_is_no_file(kitchen: Kitchen, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"video": kitchen.copy("face.mp4"), "audio": kitchen.copy("speech.wav")}
    names = {**names, "output": "out.mp4", place: "-"}
    monkeypatch.chdir(kitchen.folder)
    words = (names["video"], "--audio", names["audio"], "-o", names["output"])
    kitchen.fails(3, *words, named="standard")


@pytest.mark.parametrize("letter", ["n", "ü"])
def test_a_name_of_250_bytes_is_dubbed_and_its_result_has_a_name_that_fits(
    kitchen: Kitchen, letter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = letter * (246 // len(letter.encode())) + ".mp4"
    kitchen.copy("face.mp4", name)
    kitchen.copy("speech.wav")
    monkeypatch.chdir(kitchen.folder)
    assert kitchen.run_here(name, "--audio", "speech.wav").code == 0
    made = sorted(path.suffix for path in kitchen.folder.iterdir() if ".dubbed." in path.name)
    assert made == [".json", ".mp4"]
    assert len(list(kitchen.folder.iterdir())) == 4


def test_an_output_whose_report_would_have_too_long_a_name_is_refused(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("face.mp4", "speech.wav"):
        kitchen.copy(name)
    monkeypatch.chdir(kitchen.folder)
    words = ("face.mp4", "--audio", "speech.wav", "-o", "n" * 251 + ".mp4")
    kitchen.fails(3, *words, named="256 bytes")


@pytest.mark.parametrize(
    ("crop", "named"),
    [("crop=iw:ih*0.56:0:0", "picture's edge"), ("crop=iw*0.5:ih:iw*0.5:0", "picture's edge")],
)
def test_a_face_that_the_picture_cuts_off_is_told_in_words(
    kitchen: Kitchen, crop: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kitchen.copy("speech.wav")
    _ffmpeg("-i", kitchen.media / "face.mp4", "-vf", crop, "-an", kitchen.folder / "cut.mp4")
    monkeypatch.chdir(kitchen.folder)
    kitchen.fails(5, "cut.mp4", "--audio", "speech.wav", named=named)


def test_an_animated_webp_says_how_to_convert_it(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    kitchen.copy("speech.wav")
    moving = ("-i", kitchen.media / "face.mp4", "-c:v", "libwebp_anim", "-frames:v", "4")
    _ffmpeg(*moving, kitchen.folder / "moving.webp")
    monkeypatch.chdir(kitchen.folder)
    kitchen.fails(3, "moving.webp", "--audio", "speech.wav", named="animated WebP")
