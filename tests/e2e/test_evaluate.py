"""`dub evaluate` on two short clips of the bundled face, and on what is wrong with them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from studio import DEMO, DEMO_SPEECH, FACE_PX, X264, ffmpeg
from torch import Tensor, nn
from torch.nn import functional
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.config import EvaluateConfig
from dubcli.core.errors import EncodeError, WeightsError
from dubcli.core.types import References
from dubcli.evaluation.clips import EvalClip
from dubcli.evaluation.published_networks import NetworkFile, PerceptualScorer, faces_at_rate
from dubcli.evaluation.run import evaluate
from dubcli.evaluation.source import CROP_SIZE, analyse_source
from dubcli.face.landmarks import NUM_KEPT, NUM_SPEAKING
from dubcli.identities.identity import Base, Consent, Identity
from dubcli.identities.store import save_identity
from dubcli.metrics.inception import NUM_FEATURES
from dubcli.metrics.lpips import Lpips

NUM_FRAMES = 30
BASELINES = "best-reference,audio-reference,ground-truth"


def _invoke(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def _talking_clip(path: Path, start_s: float, filters: str = "null") -> Path:
    """The bundled face with a part of the bundled speech as its sound."""
    ffmpeg(
        *("-i", DEMO, "-ss", str(start_s), "-i", DEMO_SPEECH, "-map", "0:v", "-map", "1:a"),
        *("-vf", f"scale={FACE_PX}:{FACE_PX},{filters}", "-frames:v", str(NUM_FRAMES)),
        *(*X264, "-pix_fmt", "yuv420p", "-c:a", "aac", "-shortest", path),
    )
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    _talking_clip(folder / "one.mp4", 0.0)
    _talking_clip(folder / "two.mp4", 0.8, "hflip")
    speech = folder / "speech"
    speech.mkdir()
    ffmpeg("-ss", "1.5", "-i", DEMO_SPEECH, "-t", "1", speech / "foreign.wav")
    return folder


@pytest.fixture(scope="module")
def scored(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Everything, with the model that needs no weights; beside it a file that is no video."""
    output = tmp_path_factory.mktemp("scores") / "run"
    listed = clips / "list.csv"
    with listed.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "identity"])
        writer.writerows([["one.mp4", "anna"], ["two.mp4", "ben"], ["broken.mp4", "eve"]])
    (clips / "broken.mp4").write_text("no video")
    result = _invoke(
        *(listed, "-o", output, "--speech", clips / "speech", "--models", "passthrough"),
        *("--baselines", BASELINES, "--device", "cpu", "--threads", "1", "--json"),
    )
    assert result.exit_code == 0, result.output
    return output, result


def test_a_broken_clip_is_named_and_the_others_are_scored(scored: tuple[Path, Any]) -> None:
    content = json.loads(scored[1].stdout)
    assert list(content["failures"]) == ["broken"]
    assert "broken was not scored" in scored[1].stderr
    assert {clip["clip"] for clip in content["clips"]} == {"one", "two"}


def test_untouched_footage_scores_as_it_must(scored: tuple[Path, Any]) -> None:
    means = json.loads(scored[1].stdout)["means"]
    same = {key: value["mean"] for key, value in means["reconstruction"]["passthrough"].items()}
    assert same["r"] > 0.9
    assert same["lmd"] < 0.02
    assert same["psnr_mouth"] > 30
    assert same["ssim_mouth"] > 0.9
    assert same["csim"] > 0.97
    assert means["reconstruction"]["ground-truth"]["csim"]["mean"] == pytest.approx(1, abs=1e-4)
    assert same["flicker"] == pytest.approx(1, abs=0.3)
    assert same["seam"] == pytest.approx(1, abs=0.1)
    # Finding the face alone takes longer than decoding and encoding the clip again.
    assert same["cpu_per_frame"] > 0
    assert same["weights_size"] == 0
    harm = ("changed_samples", "changed_times", "lost_streams", "changed_audio")
    assert [same[key] for key in harm] == [0, 0, 0, 0]
    for run in ("cross-speech", "cross-clip"):
        assert means[run]["passthrough"]["leakage_r"]["mean"] > 0.9
        assert means[run]["untouched"]["leakage_r"]["mean"] == 1
    assert means["silence"]["passthrough"]["silence_motion_source"]["mean"] > 0.7


def test_the_oracle_beats_the_nearest_sound(scored: tuple[Path, Any]) -> None:
    means = json.loads(scored[1].stdout)["means"]["reconstruction"]
    oracle, heard = means["best-reference"], means["audio-reference"]
    assert oracle["psnr_mouth"]["mean"] > heard["psnr_mouth"]["mean"]
    assert oracle["lmd"]["mean"] < heard["lmd"]["mean"]
    assert means["ground-truth"]["r"]["mean"] == 1


def test_tables_plots_and_sheets_are_there_and_no_dub_is_kept(scored: tuple[Path, Any]) -> None:
    output, result = scored
    text = (output / "scores.md").read_text()
    assert all(f"## {run}" in text for run in ("Reconstruction", "Cross-clip", "Silence"))
    assert json.loads((output / "scores.json").read_text()) == json.loads(result.stdout)
    assert {path.name for path in (output / "plots").iterdir()} == {"one.png", "two.png"}
    assert (output / "sheets/one.reconstruction.passthrough.jpg").stat().st_size > 1000
    assert not list(output.rglob("*.mp4")) + list(output.rglob("*.mov")) + list(output.rglob(".*"))


def test_a_second_run_scores_nothing_again(
    scored: tuple[Path, Any], clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, first = scored

    monkeypatch.setattr("dubcli.evaluation.run.dub", _never)
    monkeypatch.setattr("dubcli.evaluation.run.write_pasted", _never)
    again = _invoke(
        *(clips / "list.csv", "-o", output, "--speech", clips / "speech"),
        *("--models", "passthrough", "--baselines", BASELINES),
        *("--device", "cpu", "--threads", "1", "--json"),
    )
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout) == json.loads(first.stdout)


def test_results_are_kept_on_demand(clips: Path, tmp_path: Path) -> None:
    result = _invoke(
        *(clips, "-o", tmp_path / "run", "--limit", "2", "--settings", "silence", "--keep"),
        *("--models", "passthrough", "--baselines", "", "--device", "cpu", "--threads", "1"),
    )
    assert result.exit_code == 0, result.output
    assert "motion against the source's" in " ".join(result.stdout.split())
    assert [path.name for path in (tmp_path / "run/results").iterdir()] == [
        "one.silence.passthrough.mp4"
    ]


def test_a_set_without_one_usable_clip_fails(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/text.mp4").write_text("no video")
    result = _invoke(tmp_path / "clips", "-o", tmp_path / "run", "--models", "passthrough")
    assert result.exit_code == 3
    assert "No clip of" in result.stderr
    assert "text.mp4" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["clips", "--models", "wav2lip"], 2, "Unknown model 'wav2lip'"),
        (["clips", "--settings", "humming"], 2, "Unknown setting 'humming'"),
        (["clips", "--baselines", "magic"], 2, "Unknown baseline 'magic'"),
        (["nowhere"], 2, "neither a folder nor a file"),
        (["bad.csv"], 2, "no column 'clip'"),
        (["clips", "--speech", "clips"], 2, "holds no recording"),
        (["clips", "--weights", "nowhere"], 2, "is no folder"),
        (["clips", "--identities", "nobody"], 4, "There is no identity 'nobody'"),
        (["clips", "--identities", "clips"], 2, "is no identity and holds none for any clip"),
        (["clips", "--device", "cuda:77"], 6, "not available"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], code: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/a.mp4").write_text("unread")
    (tmp_path / "bad.csv").write_text("file\na.mp4\n")
    result = _invoke(*arguments, "-o", "run")
    assert result.exit_code == code, result.output
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_full_disk_stops_at_once_and_keeps_what_was_scored(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **keywords: Any) -> Any:
        raise EncodeError("cannot write: No space left on device")

    monkeypatch.setattr("dubcli.evaluation.run.dub", full)
    monkeypatch.setattr(
        "dubcli.evaluation.results.shutil.disk_usage", lambda path: type("Usage", (), {"free": 0})
    )
    config = EvaluateConfig(
        clips=clips,
        output=tmp_path / "run",
        limit=1,
        settings="silence",
        models="passthrough",
        baselines="audio-reference",
        device="cpu",
    )
    with pytest.raises(EncodeError, match="is full"):
        evaluate(config)
    assert not list((tmp_path / "run").rglob("*.mp4"))


def test_networks_whose_files_are_there_are_asked(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "nets"
    folder.mkdir()
    net = Lpips("alex")
    heads = [net.state_dict()[f"heads.{number}.weight"].abs() for number in range(5)]
    torch.save(
        {f"lin{number}.model.1.weight": head for number, head in enumerate(heads)},
        folder / "heads.pth",
    )
    trunk = {f"features.{key}": value for key, value in net.features.state_dict().items()}
    torch.save(trunk, folder / "trunk.pth")
    made = (NetworkFile("trunk.pth"), NetworkFile("heads.pth"))
    monkeypatch.setattr("dubcli.evaluation.published_networks.WEIGHTS", {"lpips_alex": made})
    scorer = PerceptualScorer(folder, torch.device("cpu"))
    assert set(scorer.files) == {"trunk.pth", "heads.pth"}
    assert not scorer.missing
    path = clips / "one.mp4"
    source = analyse_source(EvalClip(path=path, name="one", identity="one", audio=path))
    assert scorer.score(source, path, path, fidelity=True) == {"lpips_alex": 0}
    mirrored = scorer.score(source, clips / "two.mp4", path, fidelity=True)
    assert mirrored["lpips_alex"] > 0.001
    assert scorer.score(source, path, path, fidelity=False) == {}
    assert faces_at_rate(source, path).shape == (NUM_FRAMES, 224, 224, 3)


def test_fid_is_taken_over_the_set_and_goes_on_from_stored_items(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Colours(nn.Module):
        def load(self, state: dict[str, Tensor]) -> None:
            assert state == {}

        def forward(self, pictures: Tensor) -> Tensor:
            colours = functional.adaptive_avg_pool2d(pictures, 1).flatten(1)
            return functional.pad(colours, (0, NUM_FEATURES - 3))

    torch.save({}, tmp_path / "net.pth")
    made = {"inception": (NetworkFile("net.pth"),)}
    monkeypatch.setattr("dubcli.evaluation.published_networks.WEIGHTS", made)
    monkeypatch.setattr("dubcli.evaluation.published_networks.Inception", Colours)
    listed = tmp_path / "list.csv"
    listed.write_text(f"clip\n{clips / 'one.mp4'}\n")
    config = EvaluateConfig(
        clips=listed,
        output=tmp_path / "run",
        settings="silence",
        models="passthrough",
        baselines="",
        device="cpu",
        weights=tmp_path,
    )
    found = evaluate(config).estimate("silence", "passthrough", "fid")
    # Every fifth of the last 18 frames.
    assert found.frames == 4
    assert 0 <= found.mean < 0.01
    monkeypatch.setattr("dubcli.evaluation.run.dub", _never)
    again = evaluate(config).estimate("silence", "passthrough", "fid")
    assert (again.mean, again.frames) == (found.mean, found.frames)


def test_a_clip_without_a_face_drives_nobody_and_the_next_one_does(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=256x256:rate=25:duration=1.2", "-i", DEMO_SPEECH),
        *(*X264, "-pix_fmt", "yuv420p", "-c:a", "aac", "-shortest", tmp_path / "blank.mp4"),
    )
    listed = tmp_path / "list.csv"
    ones = [clips / "one.mp4", tmp_path / "blank.mp4", clips / "two.mp4"]
    listed.write_text("clip,identity\n" + "".join(f"{p},{p.stem}\n" for p in ones))
    config = EvaluateConfig(
        clips=listed,
        output=tmp_path / "run",
        settings="cross",
        models="passthrough",
        baselines="",
        device="cpu",
    )
    result = evaluate(config)
    assert [what.split("-")[-1] for what in result.failures] == ["blank"]
    drivers = {Path(item.clip).name.split("-")[-1]: item.facts["driver"] for item in result.items}
    assert drivers == {"one": str(clips / "two.mp4"), "two": str(clips / "one.mp4")}
    monkeypatch.setattr("dubcli.evaluation.run.dub", _never)
    assert evaluate(config).items == result.items


def _save_identity(path: Path) -> None:
    """A person learned on the model that needs no weights: nothing is added to it."""
    picture = np.full((1, *CROP_SIZE, 3), 90, np.uint8)
    references = References(
        crops=picture,
        detail_crops=picture,
        landmarks=np.full((1, NUM_KEPT, 3), 80, np.float32),
        frame_indices=np.zeros(1, np.int64),
        mouth_open=np.zeros(1, np.float32),
    )
    identity = Identity(
        name=path.name,
        architecture="passthrough",
        base=Base(name="passthrough", sha256=None),
        adapter={},
        references=references,
        state={},
        neutral=np.zeros((NUM_SPEAKING, 3), np.float32),
        embedding=np.full(128, 128**-0.5, np.float32),
        mouth={},
        report={},
        consent=Consent(agreed=True, date="2026-01-01", how="--consent"),
        created="2026-01-01",
        version="0",
    )
    save_identity(identity, path)


def test_each_clip_is_dubbed_with_its_own_identity_and_half_of_it_is_scored(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "list.csv"
    listed.write_text("clip\none.mp4\ntwo.mp4\n")
    for name in ("one.mp4", "two.mp4"):
        (tmp_path / name).symlink_to(clips / name)
    _save_identity(tmp_path / "learned/200/one")
    settings: dict[str, Any] = {
        "clips": listed,
        "output": tmp_path / "run",
        "settings": "reconstruction",
        "models": "",
        "identities": "learned/200",
        "baselines": "",
        "device": "cpu",
        "threads": 1,
    }
    config = EvaluateConfig(**settings, half=True)
    result = evaluate(config)
    (item,) = result.items
    assert (item.clip, item.system) == ("one", "200")
    assert item.facts["identity"] == "learned/200/one"
    known = np.isfinite(item.output)
    assert not known[: NUM_FRAMES // 2].any()
    assert known[NUM_FRAMES // 2]
    assert item.scores["psnr_mouth"] > 30
    assert item.scores["changed_samples"] == 0
    assert list(result.failures) == ["two, 200"]
    assert "first 50 %" in (tmp_path / "run/scores.md").read_text()
    monkeypatch.setattr("dubcli.evaluation.run.dub", _never)
    assert evaluate(config).items == result.items
    with pytest.raises(AssertionError, match="made again"):
        evaluate(EvaluateConfig(**settings))


def test_two_runs_share_a_folder_and_a_last_one_makes_the_tables(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = clips / "pair.csv"
    listed.write_text("clip\none.mp4\ntwo.mp4\n")
    config = EvaluateConfig(
        clips=listed,
        output=tmp_path / "run",
        settings="silence",
        models="passthrough",
        baselines="",
        device="cpu",
        threads=1,
    )
    for name in ("two", "one"):
        assert [item.clip for item in evaluate(config, only=[name]).items] == [name]
    assert not (tmp_path / "run/scores.md").exists()
    monkeypatch.setattr("dubcli.evaluation.run.dub", _never)
    assert [item.clip for item in evaluate(config).items] == ["one", "two"]
    assert (tmp_path / "run/scores.md").is_file()


def _never(*arguments: Any, **keywords: Any) -> Any:
    raise AssertionError("a scored result was made again")


def test_weights_of_something_else_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"layer": torch.zeros(2)}, tmp_path / "net.model")
    (tmp_path / "text.model").write_text("no weights")
    for name, said in (("net.model", "not the weights of SyncNet"), ("text.model", "no weights")):
        monkeypatch.setattr(
            "dubcli.evaluation.published_networks.WEIGHTS", {"syncnet": (NetworkFile(name),)}
        )
        with pytest.raises(WeightsError, match=said):
            PerceptualScorer(tmp_path, torch.device("cpu"))
