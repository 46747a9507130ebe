"""Identities among the systems: which is meant, what is refused, who dubs which clip."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_identities import made_identity, rewrite

from dubcli.config import EvaluateConfig
from dubcli.core.errors import ConfigError, IdentityError, IncompatibleAdapterError
from dubcli.evaluation.clips import EvalClip
from dubcli.evaluation.identity_systems import find_identities
from dubcli.evaluation.tasks import list_tasks
from dubcli.identities.identity import Base, Identity
from dubcli.identities.store import identities_home, save_identity

TAKEN = ("iptalker.v2", "untouched", "passthrough")
CLIPS = [
    EvalClip(path=Path(f"{name}.mp4"), name=name, identity=name, audio=Path(f"{name}.wav"))
    for name in ("one", "two")
]


def _config(identities: str, settings: str = EvaluateConfig.settings) -> EvaluateConfig:
    return EvaluateConfig(
        clips=Path("clips"), output=Path("out"), identities=identities, settings=settings
    )


def _identity(name: str = "anna", seed: int = 0) -> Identity:
    """On a base that every installation has: the model without weights."""
    base = Base(name="passthrough", sha256=None)
    return made_identity(name, seed, base=base, architecture="passthrough", state={})


def test_a_name_a_path_and_a_folder_are_systems_called_like_their_directories(
    tmp_path: Path,
) -> None:
    save_identity(_identity("anna"), identities_home() / "anna")
    save_identity(_identity("ben"), tmp_path / "deep/ben")
    save_identity(_identity("one", 1), tmp_path / "200/one")
    save_identity(_identity("two", 2), tmp_path / "200/two")
    # A folder of this name does not hide the identity.
    (tmp_path / "anna").mkdir()
    named, by_path, folder = find_identities(_config("anna, deep/ben, 200"), CLIPS, TAKEN)
    assert [system.name for system in (named, by_path, folder)] == ["anna", "ben", "200"]
    assert [system.is_folder for system in (named, by_path, folder)] == [False, False, True]
    assert named.of_clip["one"] == named.of_clip["two"]
    assert folder.of_clip["one"].path == Path("200/one")
    assert folder.of_clip["one"].adapter_sha256 != folder.of_clip["two"].adapter_sha256
    assert folder.lacking == ()


def test_clips_without_an_identity_of_their_own_are_told_and_not_dubbed(tmp_path: Path) -> None:
    save_identity(_identity("two"), tmp_path / "200/two")
    (system,) = find_identities(_config("200"), CLIPS, TAKEN)
    assert system.lacking == ("one",)
    config = _config("200", settings="silence")
    tasks = list(list_tasks(config, CLIPS, [], ["iptalker.v2"], [system]))
    assert [(task.clip.name, task.system) for task in tasks] == [
        ("one", "iptalker.v2"),
        ("two", "iptalker.v2"),
        ("two", "200"),
    ]
    assert [task.identity for task in tasks] == [None, None, system.of_clip["two"]]


def test_every_setting_is_dubbed_with_the_identity_and_no_baseline_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dubcli.evaluation.tasks.has_sound", lambda clip: True)
    save_identity(_identity(), tmp_path / "anna")
    (anna,) = find_identities(_config("./anna"), CLIPS, TAKEN)
    tasks = list_tasks(_config("./anna"), CLIPS[:2], [Path("a.wav")], ["iptalker.v2"], [anna])
    first = [(task.run, task.system) for task in tasks if task.clip is CLIPS[0]]
    by_run = {run: [s for r, s in first if r == run] for run, _ in first}
    assert by_run == {
        "reconstruction": [
            "iptalker.v2",
            "anna",
            "passthrough",
            "best-reference",
            "audio-reference",
            "ground-truth",
        ],
        "cross-clip": ["iptalker.v2", "anna", "audio-reference", "untouched"],
        "silence": ["iptalker.v2", "anna", "audio-reference"],
    }


def test_another_adapter_or_other_references_make_scores_void(tmp_path: Path) -> None:
    def digest(identity: Identity) -> str:
        save_identity(identity, tmp_path / "anna", {"log.csv": b"x"}, replace=True)
        return find_identities(_config("./anna"), CLIPS, TAKEN)[0].of_clip["one"].sha256

    first = digest(_identity())
    assert digest(_identity()) == first
    assert digest(made_identity(base=Base(name="passthrough", sha256=None), seed=1)) != first
    other = made_identity(base=Base(name="passthrough", sha256=None), adapter={}, state={})
    assert digest(other) != first


def test_a_missing_identity_names_one_that_is_meant(tmp_path: Path) -> None:
    save_identity(_identity("anna"), identities_home() / "anna")
    with pytest.raises(IdentityError, match=r"no identity 'ana'.*Did you mean 'anna'"):
        find_identities(_config("ana"), CLIPS, TAKEN)


def test_a_damaged_one_is_refused_also_in_a_folder(tmp_path: Path) -> None:
    save_identity(_identity("one"), tmp_path / "200/one")
    (tmp_path / "200/one/adapter.safetensors").write_bytes(b"half")
    with pytest.raises(IdentityError, match="damaged"):
        find_identities(_config("200"), CLIPS, TAKEN)


def test_an_identity_of_other_weights_is_refused(tmp_path: Path) -> None:
    save_identity(_identity(), tmp_path / "anna")
    rewrite(tmp_path / "anna", base={"name": "iptalker.v2", "sha256": "00" * 32})
    with pytest.raises(IncompatibleAdapterError, match=r"learned on iptalker\.v2.*Learn it again"):
        find_identities(_config("./anna"), CLIPS, TAKEN)


def test_a_folder_without_an_identity_for_any_clip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.d").mkdir()
    with pytest.raises(ConfigError, match=r"is no identity and holds none.*such as 'one'"):
        find_identities(_config("empty.d"), CLIPS, TAKEN)


@pytest.mark.parametrize("name", ["untouched", "anna"])
def test_systems_of_one_name_are_refused(tmp_path: Path, name: str) -> None:
    save_identity(_identity("anna"), identities_home() / "anna")
    save_identity(_identity(name), tmp_path / name)
    with pytest.raises(ConfigError, match=f"Two systems are called '{name}'"):
        find_identities(_config(f"anna,./{name}"), CLIPS, TAKEN)
