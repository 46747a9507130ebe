"""`dub finetune` from footage to a stored identity, with a small network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_clips import NUM_FRAMES, made_clip

from dubcli.config import FinetuneConfig
from dubcli.core.errors import ConfigError, IdentityError, TrainingError
from dubcli.core.progress import Progress
from dubcli.core.reports import FinetuneReport
from dubcli.core.types import FaceObservation, Frame, References
from dubcli.face.landmarks import NUM_KEPT, mouth_open
from dubcli.identities.adapter import apply_adapter
from dubcli.identities.store import load_identity
from dubcli.models.iptalker.geometry_task import prepare_model
from dubcli.models.iptalker.network import NAMED_CONFIGS, IPTalker
from dubcli.personalize import identity_output as learned
from dubcli.personalize import run as module
from dubcli.personalize.footage.gather import Footage, FootageRequest, PersonClip
from dubcli.personalize.personal_clips import rest_of
from dubcli.personalize.run import finetune
from dubcli.personalize.run_history import WorkFolder
from dubcli.pipeline.engine import Engine
from dubcli.training.data.prepared_clip import DEFAULT_SIZE, PreparedClip
from dubcli.training.data.train_clips import derive_clip
from dubcli.weights.entry import WeightEntry

# The tiny network on crops of the size that footage has.
SIZES = replace(NAMED_CONFIGS["tiny"], height=DEFAULT_SIZE[0], width=DEFAULT_SIZE[1])
ENTRY = WeightEntry(
    name="iptalker.test", architecture="iptalker", package="x", sha256="ab" * 32, config={}
)
Learn = Callable[..., FinetuneReport]


def base_model() -> IPTalker:
    torch.manual_seed(5)
    model = IPTalker(SIZES)
    clip = made_clip(0)
    prepare_model(model, [derive_clip("c", "c", clip, rest_of([clip]))])
    return model.eval()


def made_footage(*clips: PreparedClip) -> Footage:
    first = clips[0]
    indices = np.array([0, NUM_FRAMES // 2])
    crops = np.stack([first.crop(int(i)) for i in indices])
    landmarks = first.landmarks[indices] - np.array([*first.margin[::-1], 0], np.float32)
    return Footage(
        clips=tuple(
            PersonClip(
                source=Path("anna.mp4"),
                clip=clip,
                frame_numbers=np.arange(len(clip)),
                seconds=len(clip) / 25,
            )
            for clip in clips
        ),
        references=References(
            crops=crops,
            detail_crops=crops,
            landmarks=landmarks,
            frame_indices=indices,
            mouth_open=mouth_open(landmarks),
        ),
        reference_clips=np.zeros(2, np.int64),
        embedding=np.full(128, 128**-0.5, np.float32),
        left_out={"other.mp4": "shows another person"},
        sampled=False,
        has_sound=all(clip.has_sound for clip in clips),
        facts={"seconds_used": len(first) / 25, "seconds_available": len(first) / 25},
    )


@cache
def _anna() -> PreparedClip:
    return made_clip(0)


class SeenAsDrawn:
    """Finds the drawn mouth: its dark pixels' height, on landmarks of a still face."""

    def __init__(self, max_faces: int = 1) -> None:
        self.max_faces = max_faces

    def detect(self, frame: Frame) -> list[FaceObservation]:
        marks = _anna().landmarks[frame.index % NUM_FRAMES]
        assert marks.shape == (NUM_KEPT, 3)
        box = np.array([0, 0, 100, 100], np.float32)
        return [FaceObservation(frame_index=frame.index, box=box, landmarks=marks, score=1.0)]

    def close(self) -> None: ...


class MadeEngine(Engine):
    """Holds the small network, and finds drawn mouths."""

    def resolve(self, name: str, role: str | None = "model") -> WeightEntry:
        return ENTRY

    def model(self, entry: WeightEntry, device: torch.device, identity: Any = None) -> Any:
        return base_model()

    def sync_expert(self, role: str, device: torch.device) -> None:
        return None

    @contextmanager
    def detector(self, kind: str = "onnx", max_faces: int = 6) -> Iterator[SeenAsDrawn]:
        yield SeenAsDrawn(max_faces)


@pytest.fixture
def footage() -> list[Footage]:
    """What the videos show; a test may put other footage in."""
    return [made_footage(_anna())]


@pytest.fixture
def learn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, footage: list[Footage]) -> Learn:
    """Learn anna in a folder of the test."""
    return _learner(monkeypatch, tmp_path, footage)


@pytest.fixture(scope="module")
def learned_once(tmp_path_factory: pytest.TempPathFactory) -> FinetuneReport:
    """Anna, learned as `learn` does without changes. Not to be changed: a test copies it."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("learned")
        return _learner(patch, folder, [made_footage(_anna())])()


def _learner(monkeypatch: pytest.MonkeyPatch, folder: Path, footage: list[Footage]) -> Learn:
    def gathered(request: FootageRequest, num: int, progress: Progress, **_: Any) -> Footage:
        assert request.size == footage[0].clips[0].clip.size
        return footage[0]

    monkeypatch.setattr(module, "gather_footage", gathered)
    monkeypatch.setattr(module, "CHECK_EVERY", 2)
    monkeypatch.setattr(module, "_FRAMES", 2)
    video = folder / "anna.mp4"
    video.write_bytes(b"video")

    def run(progress: Any = None, snapshots: Any = None, **changes: Any) -> FinetuneReport:
        defaults: dict[str, Any] = {
            "videos": (video,),
            "name": str(folder / "people" / "anna"),
            "consent": True,
            "steps": 4,
            "device": "cpu",
        }
        chosen = FinetuneConfig(**{**defaults, **changes})
        return finetune(chosen, progress, snapshots=snapshots, engine=MadeEngine())

    return run


def _content(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def _adapter(path: str | Path) -> dict[str, torch.Tensor]:
    return load_identity(Path(path)).adapter


def _stop_after(steps: int) -> Callable[[str, int, int], None]:
    def progress(stage: str, done: int, total: int) -> None:
        if stage == "learn" and done == steps:
            raise KeyboardInterrupt

    return progress


def test_an_identity_is_stored_with_all_that_was_learned(learned_once: FinetuneReport) -> None:
    report, path = learned_once, Path(learned_once.path)
    identity = load_identity(path)
    assert identity.base.sha256 == ENTRY.sha256
    assert identity.consent.agreed
    assert identity.consent.how == "--consent"
    assert identity.report["kept_step"] == report.kept_step
    assert report.last_step == 4
    assert [check["step"] for check in report.checks] == [0, 2, 4]
    assert report.left_out == {"other.mp4": "shows another person"}
    names = {file.name for file in path.iterdir()}
    assert {"before.png", "after.png", "log.csv"} <= names
    # Nothing is left of the work.
    assert path.name == "anna"
    assert list(path.parent.iterdir()) == [path]


def test_the_sound_half_is_frozen_but_for_its_last_layer(learned_once: FinetuneReport) -> None:
    adapter = _adapter(learned_once.path)
    changed = {name for name, delta in adapter.items() if bool(delta.any())}
    sound = {name for name in changed if name.startswith("alignment.")}
    assert sound <= {"alignment.to_coefficients.3.weight", "alignment.to_coefficients.3.bias"}


def test_the_stored_references_are_encoded_by_the_learned_model(
    learned_once: FinetuneReport,
) -> None:
    identity = load_identity(Path(learned_once.path))
    model = base_model()
    apply_adapter(model, identity, ENTRY.sha256)
    crops = torch.from_numpy(identity.references.crops).permute(0, 3, 1, 2).float() / 255
    points = torch.from_numpy(identity.references.landmarks[:, 27:129, :2].copy())
    with torch.no_grad():
        again = model.state_tensors(model.encode_references(crops, points))
    for name, stored in identity.state.items():
        assert torch.allclose(again[name], stored, atol=1e-5), name


def test_a_model_learns_from_crops_of_its_own_size(
    learn: Learn, footage: list[Footage], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = NAMED_CONFIGS["tiny"]
    clip = made_clip(0, size=(small.height, small.width))
    monkeypatch.setitem(globals(), "SIZES", small)
    monkeypatch.setitem(globals(), "_anna", lambda: clip)
    footage[0] = made_footage(clip)
    report = learn()
    assert report.last_step == 4
    stored = load_identity(Path(report.path))
    assert stored.references.crops.shape[1:] == (small.height, small.width, 3)


def test_learning_without_consent_is_refused(learn: Learn, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--consent"):
        learn(consent=False)
    assert not (tmp_path / "people").exists()


def test_a_name_in_use_is_refused_before_the_slow_part(
    learn: Learn, learned_once: FinetuneReport
) -> None:
    before = _content(Path(learned_once.path))
    with pytest.raises(ConfigError, match="exists"):
        learn(_stop_after(1), name=learned_once.path)
    assert _content(Path(learned_once.path)) == before


def test_replacing_keeps_the_old_identity_until_the_new_one_is_whole(
    learn: Learn, learned_once: FinetuneReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "people" / "anna"
    shutil.copytree(learned_once.path, path)
    before = _content(path)
    with pytest.raises(KeyboardInterrupt):
        learn(_stop_after(3), overwrite=True, seed=2)
    assert _content(path) == before
    monkeypatch.setattr(module.Loop, "advance", _not_a_number)
    with pytest.raises(TrainingError, match="nan"):
        learn(overwrite=True, seed=3)
    assert _content(path) == before


def _not_a_number(loop: Any) -> dict[str, float]:
    raise loop._fail("The loss is nan", loop.step + 1)


def test_an_interrupted_run_goes_on_to_the_same_identity(
    learn: Learn, learned_once: FinetuneReport, tmp_path: Path
) -> None:
    whole = _adapter(learned_once.path)
    again = str(tmp_path / "again")
    for stop in (3, 4):
        with pytest.raises(KeyboardInterrupt):
            learn(_stop_after(stop), name=again)
    assert not (tmp_path / "again").exists()
    report = learn(name=again)
    assert [check["step"] for check in report.checks] == [0, 2, 4]
    rebuilt = _adapter(report.path)
    assert rebuilt.keys() == whole.keys()
    assert all(torch.equal(rebuilt[name], whole[name]) for name in whole)


def test_an_unfinished_run_is_not_mixed_with_another(learn: Learn) -> None:
    with pytest.raises(KeyboardInterrupt):
        learn(_stop_after(3))
    with pytest.raises(ConfigError, match="unfinished"):
        learn(steps=2)
    assert learn(steps=2, overwrite=True).last_step == 2


def test_a_run_that_was_killed_as_it_began_is_no_other_run(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path / "anna", {"seed": 1})
    work.path.mkdir()
    assert work.find(restart=False) is None
    (work.path / ".request.json.part").write_text('{"se')
    assert work.find(restart=False) is None
    (work.path / "checks.json").write_text("{}")
    with pytest.raises(ConfigError, match="unfinished"):
        work.find(restart=False)


def test_a_damaged_unfinished_run_is_named(learn: Learn, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        learn(_stop_after(3))
    (tmp_path / "people" / ".anna.learning" / "checks.json").write_text("{")
    with pytest.raises(TrainingError, match="damaged"):
        learn()


def test_footage_that_cannot_be_learned_leaves_nothing_behind(
    learn: Learn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(request: Any, num: int, progress: Any, **_: Any) -> Footage:
        raise TrainingError("Too little footage.")

    monkeypatch.setattr(module, "gather_footage", none)
    with pytest.raises(TrainingError, match="Too little"):
        learn()
    assert not (tmp_path / "people").exists()


def test_a_time_budget_ends_the_run_and_is_told(learn: Learn) -> None:
    report = learn(minutes=1e-9, steps=50)
    assert report.last_step == 1
    assert "minutes" in report.stopped


def test_a_run_stops_when_the_lips_no_longer_follow(
    learn: Learn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.History, "has_lost_sync", property(lambda self: True))
    report = learn(steps=50)
    assert report.last_step == 2
    assert "lips" in report.stopped


def test_silent_footage_teaches_looks_and_says_so(learn: Learn, footage: list[Footage]) -> None:
    footage[0] = made_footage(made_clip(0, with_sound=False))
    report = learn()
    assert any("no sound" in note for note in report.notes)
    sound = [name for name in _adapter(report.path) if name.startswith("alignment.")]
    assert all(not bool(_adapter(report.path)[name].any()) for name in sound)


def test_the_sound_half_cannot_be_learned_from_silence(
    learn: Learn, footage: list[Footage], tmp_path: Path
) -> None:
    footage[0] = made_footage(made_clip(0, with_sound=False))
    with pytest.raises(TrainingError, match="--learn-sound"):
        learn(learn_sound=True)
    assert not (tmp_path / "people" / "anna").exists()


def test_the_sound_half_is_learned_when_asked_for(learn: Learn) -> None:
    changed = {
        name for name, delta in _adapter(learn(learn_sound=True).path).items() if bool(delta.any())
    }
    assert any(name.startswith("alignment.audio_encoder") for name in changed)


def test_little_footage_is_learned_with_a_word_of_warning(learned_once: FinetuneReport) -> None:
    assert any("Only 1.6 s" in note for note in learned_once.notes)


def test_a_full_disk_while_learning_leaves_no_identity(
    learn: Learn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **rest: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dubcli.personalize.run_history.replace_bytes", full)
    with pytest.raises(TrainingError, match="No space left"):
        learn()
    assert not (tmp_path / "people" / "anna").exists()


def test_a_full_disk_at_the_end_can_be_gone_on_from(
    learn: Learn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **rest: Any) -> None:
        raise IdentityError("The identity cannot be written: No space left on device.")

    with monkeypatch.context() as patch:
        patch.setattr(learned, "save_identity", full)
        with pytest.raises(IdentityError):
            learn()
    steps: list[int] = []
    learn(lambda stage, done, total: steps.append(done) if stage == "learn" else None)
    assert steps == []
    assert (tmp_path / "people" / "anna").is_dir()


def test_snapshots_are_identities_as_they_were_at_those_steps(learn: Learn, tmp_path: Path) -> None:
    places = {2: tmp_path / "2" / "anna", 4: tmp_path / "4" / "anna"}
    learn(snapshots=places)
    early, late = (_adapter(place) for place in places.values())
    assert json.loads((places[2] / "identity.json").read_text())["report"]["kept_step"] == 2
    assert any(not torch.equal(early[name], late[name]) for name in early)
