"""Identities are kept bit for bit, proven when read, and never lost to a failed write."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_identities import everything_in, made_identity, rewrite

from dubcli.core.errors import ConfigError, IdentityError
from dubcli.identities import store
from dubcli.identities.identity import Identity
from dubcli.identities.store import (
    check_name,
    identities_home,
    list_identities,
    load_identity,
    locate,
    remove_identity,
    require_free,
    save_identity,
)
from dubcli.identities.work_folder import remove_leftovers, work_folder

EXTRAS = {"before.png": b"before", "log.csv": b"step,loss\n"}


def _is_same(one: Identity, other: Identity) -> bool:
    arrays = ("adapter", "references", "state", "neutral", "embedding")
    for key in ("adapter", "state"):
        ours, theirs = getattr(one, key), getattr(other, key)
        if ours.keys() != theirs.keys():
            return False
        if not all(
            ours[name].dtype == theirs[name].dtype and torch.equal(ours[name], theirs[name])
            for name in ours
        ):
            return False
    pairs = [(one.neutral, other.neutral), (one.embedding, other.embedding)]
    pairs += [(getattr(one.references, k), v) for k, v in vars(other.references).items()]
    if not all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs):
        return False
    rest = [{k: v for k, v in vars(item).items() if k not in arrays} for item in (one, other)]
    return rest[0] == rest[1]


@pytest.fixture
def anna(tmp_path: Path) -> Path:
    path = tmp_path / "people" / "anna"
    save_identity(made_identity(), path, EXTRAS)
    return path


def test_what_is_saved_is_loaded_bit_for_bit(anna: Path) -> None:
    assert _is_same(load_identity(anna), made_identity())
    assert not _is_same(load_identity(anna), made_identity(seed=1))
    files = everything_in(anna)
    assert set(files) == {
        *("identity.json", "adapter.safetensors", "person.safetensors", "before.png", "log.csv"),
        *(f"references/{name}.png" for name in ("0", "0.crop", "1", "1.crop")),
    }
    assert files["log.csv"] == EXTRAS["log.csv"]
    assert [place.name for place in anna.parent.iterdir()] == ["anna"]


def test_saving_twice_writes_the_same_bytes(anna: Path, tmp_path: Path) -> None:
    save_identity(load_identity(anna), tmp_path / "again", EXTRAS)
    assert everything_in(tmp_path / "again") == everything_in(anna)


def test_names_and_values_of_any_language_survive(tmp_path: Path) -> None:
    report = {"files": ("Zoë's\nclip.mp4",), "kept_step": np.int64(3), "loss": np.float32(0.5)}
    save_identity(made_identity(name="Анна_2", report=report), tmp_path / "x")
    found = load_identity(tmp_path / "x")
    assert found.name == "Анна_2"
    assert found.report == {"files": ["Zoë's\nclip.mp4"], "kept_step": 3, "loss": 0.5}


def test_a_measure_that_was_not_taken_is_none_but_a_mouth_must_be_measured(tmp_path: Path) -> None:
    report = {"psnr": float("nan"), "steps": [float("inf"), 1.0], "lpips": np.float64("nan")}
    save_identity(made_identity(report=report), tmp_path / "x")
    assert load_identity(tmp_path / "x").report == {
        "psnr": None,
        "steps": [None, 1.0],
        "lpips": None,
    }
    with pytest.raises(IdentityError, match="NaN"):
        save_identity(made_identity(mouth={"opening": float("nan")}), tmp_path / "y")
    assert not (tmp_path / "y").exists()


def test_a_model_without_weights_can_have_an_identity(tmp_path: Path) -> None:
    base = replace(made_identity().base, name="passthrough", sha256=None)
    save_identity(made_identity(base=base, adapter={}, state={}), tmp_path / "x")
    found = load_identity(tmp_path / "x")
    assert (found.base.sha256, found.adapter, found.state) == (None, {}, {})


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_only_the_owner_can_look_into_an_identity(anna: Path) -> None:
    assert stat.S_IMODE(anna.stat().st_mode) == 0o700


def test_numbers_that_are_not_finite_are_not_stored(tmp_path: Path) -> None:
    adapter = {"decoder.out.bias": torch.tensor([float("nan")]).half()}
    neutral = np.full_like(made_identity().neutral, np.inf)
    both: list[dict[str, Any]] = [{"adapter": adapter}, {"neutral": neutral}]
    for changes in both:
        with pytest.raises(IdentityError, match="'anna' is not finite"):
            save_identity(made_identity(**changes), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_an_adapter_is_at_most_ten_megabytes(tmp_path: Path) -> None:
    big = {"decoder": torch.zeros(5_000_001, dtype=torch.float16)}
    with pytest.raises(IdentityError, match=r"10\.0 MB, at most 10"):
        save_identity(made_identity(adapter=big), tmp_path / "x")
    save_identity(made_identity(adapter={"decoder": big["decoder"][:4_990_000]}), tmp_path / "x")


@pytest.mark.parametrize("name", ["../x.csv", "identity.json", "run.sh", "a/b.png", ".png"])
def test_extras_lie_flat_under_plain_names(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot lie in an identity"):
        save_identity(made_identity(), tmp_path / "x", {name: b""})


FILES = [
    *("identity.json", "adapter.safetensors", "person.safetensors", "log.csv"),
    *("references/0.png", "references/1.crop.png"),
]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing", "empty", "folder"])
def test_damage_is_named_by_its_file(name: str, damage: str, anna: Path) -> None:
    file = anna / name
    content = bytearray(file.read_bytes())
    # A digit of a number: the file is well-formed with it.
    place = content.index(b"0.125") + 2 if name == "identity.json" else len(content) // 2
    if damage == "flipped":
        content[place] ^= 1
        file.write_bytes(content)
    elif damage == "truncated":
        file.write_bytes(content[:place])
    elif damage == "empty":
        file.write_bytes(b"")
    else:
        file.unlink()
        if damage == "folder":
            file.mkdir()
    with pytest.raises(IdentityError, match=r"anna is damaged: ") as caught:
        load_identity(anna)
    assert name in caught.value.cause
    assert "dub finetune" in caught.value.next_step
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("text", ["[]", "null", "7", '"x"', "{}", "\ufeff{", "[" * 100_000])
def test_a_description_that_is_none_is_damage(text: str, anna: Path) -> None:
    (anna / "identity.json").write_text(text, encoding="utf-8")
    with pytest.raises(IdentityError, match=r"damaged: identity\.json cannot be read"):
        load_identity(anna)


@pytest.mark.parametrize("number", [0, 3, "1", None])
def test_another_format_is_not_guessed_at(number: Any, anna: Path) -> None:
    rewrite(anna, format=number)
    with pytest.raises(
        IdentityError, match=r"has format .*, this version reads 2 and older.*Upgrade"
    ):
        load_identity(anna)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": 7},
        {"base": {"name": "iptalker.v2"}},
        {"base": []},
        {"consent": None},
        {"mouth": {"opening": "wide"}},
        {"mouth": []},
        {"report": 3},
        {"created": None},
        {"files": []},
        {"files": {}},
    ],
)
def test_a_description_with_gaps_is_damage(changes: dict[str, Any], anna: Path) -> None:
    rewrite(anna, **changes)
    with pytest.raises(IdentityError, match=r"damaged: identity\.json"):
        load_identity(anna)


@pytest.mark.parametrize(
    "name",
    ["../secret.txt", "/etc/passwd", "references/../../x.png", "references/7.png", "a\\b.png", ""],
)
def test_a_description_cannot_point_outside(name: str, anna: Path) -> None:
    files = {name: "0" * 64}
    for file in ("adapter.safetensors", "person.safetensors"):
        files[file] = "0" * 64
    (anna.parent / "secret.txt").write_bytes(b"secret")
    rewrite(anna, files=files)
    with pytest.raises(IdentityError, match=r"damaged: identity\.json"):
        load_identity(anna)


def _save_with(path: Path, **files: bytes) -> None:
    """An identity whose digests are right but whose files are not what they should be."""
    import hashlib
    import json

    save_identity(made_identity(), path)
    listed = json.loads((path / "identity.json").read_text(encoding="utf-8"))["files"]
    for key, content in files.items():
        name = {"adapter": "adapter.safetensors", "person": "person.safetensors"}.get(
            key, "references/0.png"
        )
        (path / name).write_bytes(content)
        listed[name] = hashlib.sha256(content).hexdigest()
    rewrite(path, files=listed)


def test_files_with_right_digests_and_wrong_contents_are_damage(tmp_path: Path) -> None:
    import cv2
    from safetensors.torch import load, save

    save_identity(made_identity(), tmp_path / "whole")
    person = load((tmp_path / "whole" / "person.safetensors").read_bytes())
    small = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()
    grey = cv2.imencode(".png", np.zeros((312, 240), np.uint8))[1].tobytes()
    huge = small[:16] + (100_000).to_bytes(4, "big") * 2 + small[24:]
    nan = torch.full((3,), float("nan"))
    wrong: list[tuple[str, bytes, str]] = [
        ("adapter", b"no tensors", "adapter.safetensors is no safetensors file"),
        ("adapter", save({"x": nan}), "adapter.safetensors holds numbers that are not finite"),
        ("person", save({"x": nan[:0]}), "person.safetensors lacks"),
        ("person", save({**person, "neutral": torch.zeros(4, 3)}), r"neutral has the shape"),
        ("person", save({**person, "mouth_open": torch.zeros(9)}), r"mouth_open has the shape"),
        ("person", save({**person, "embedding": torch.zeros(9)}), r"embedding has the shape"),
        ("picture", b"no picture", r"references/0\.png is no picture"),
        ("picture", grey, r"references/0\.png is no picture"),
        ("picture", huge, r"references/0\.png is no picture"),
        ("picture", small, "its references differ in size"),
    ]
    for index, (file, content, message) in enumerate(wrong):
        path = tmp_path / str(index)
        _save_with(path, **{file: content})
        with pytest.raises(IdentityError, match=message):
            load_identity(path)


def test_a_missing_identity_gets_the_close_names(anna: Path) -> None:
    with pytest.raises(IdentityError, match=r"no identity 'ana'.*mean 'anna'.*identities list"):
        load_identity(anna.with_name("ana"))
    with pytest.raises(IdentityError, match=r"no identity 'xyz'.*\. See: dub identities list"):
        load_identity(anna.with_name("xyz"))
    with pytest.raises(IdentityError, match=r"no identity 'x'"):
        load_identity(Path("nowhere/at/all/x"))


def test_an_exported_file_must_be_imported_first(tmp_path: Path) -> None:
    (tmp_path / "anna.dubid").write_bytes(b"")
    with pytest.raises(IdentityError, match=r"is a file.*dub identities import .*anna\.dubid"):
        load_identity(locate("anna.dubid"))


# A place that is taken ---------------------------------------------------------------------------


def test_a_name_in_use_is_refused_unless_it_is_to_be_replaced(anna: Path) -> None:
    before = everything_in(anna.parent)
    with pytest.raises(ConfigError, match=r"'anna' exists already.*-y"):
        save_identity(made_identity(seed=1), anna)
    assert everything_in(anna.parent) == before
    save_identity(made_identity(seed=1), anna, replace=True)
    assert _is_same(load_identity(anna), made_identity(seed=1))
    assert not (anna / "log.csv").exists()
    assert [place.name for place in anna.parent.iterdir()] == ["anna"]


@pytest.mark.parametrize(
    "kind", ["file", "folder", "full folder", "other program's", "foreign file", "link"]
)
def test_only_an_identity_is_ever_replaced_or_removed(
    kind: str, anna: Path, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    if kind == "file":
        place.write_bytes(b"precious")
    elif kind == "link":
        place.symlink_to(anna)
    elif kind == "foreign file":
        save_identity(made_identity(), place)
        (place / "thesis.docx").write_bytes(b"precious")
    else:
        place.mkdir()
        if kind == "other program's":
            (place / "identity.json").write_bytes(b"{}")
            (place / "notes.txt").write_bytes(b"precious")
        elif kind == "full folder":
            (place / "identity.txt").write_bytes(b"precious")
    before = everything_in(tmp_path)
    with pytest.raises(ConfigError, match="no identity"):
        save_identity(made_identity(), place, replace=True)
    with pytest.raises(IdentityError, match="no identity"):
        remove_identity(place)
    assert everything_in(tmp_path) == before
    assert os.path.lexists(place)


@pytest.mark.parametrize("fails_at", range(10))
def test_a_full_disk_leaves_the_old_identity_whole(
    fails_at: int, anna: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, write = everything_in(anna.parent), Path.write_bytes
    written: list[str] = []

    def fail(self: Path, content: bytes) -> int:
        written.append(self.name)
        if len(written) > fails_at:
            write(self, content[:3])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", fail)
    if fails_at == 9:
        save_identity(made_identity(seed=1), anna, EXTRAS, replace=True)
        return
    with pytest.raises(IdentityError, match=r"No space left.*the old one is untouched") as caught:
        save_identity(made_identity(seed=1), anna, EXTRAS, replace=True)
    assert "\n" not in str(caught.value)
    assert everything_in(anna.parent) == before


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_a_swap_that_fails_midway_brings_the_old_identity_back(
    error: BaseException, anna: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, rename = everything_in(anna.parent), Path.rename
    monkeypatch.setattr("dubcli.core.atomic_io.exchange", lambda one, other: False)

    def fail(self: Path, target: Path) -> Path:
        if self.suffix == ".part":
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    expected = IdentityError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        save_identity(made_identity(seed=1), anna, replace=True)
    assert everything_in(anna.parent) == before


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(IdentityError, match=r"'anna' cannot be written to .*/file: File exists"):
        save_identity(made_identity(), tmp_path / "file" / "anna")


# Names and places --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["anna", "Anna-Lena_2", "7", "Zoë", "Анна", "李雷", "हिन्दी", "a" * 100]
)
def test_names_of_people_are_names(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "a b", "-y", "_a", ".a", "a.b", "a/b", "a\\b", "..", "a\n", "a\0", "con", "NUL"),
        *("a" * 101, "ё" * 51, "a:b", "~", "a*", "😀", "\ud800"),
    ],
)
def test_what_cannot_name_a_directory_everywhere_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name"):
        check_name(name)


def test_a_name_lives_in_the_home_and_a_path_where_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate("anna", home) == home / "anna"
    assert locate("Zoe\u0308", home) == home / "Zo\u00eb"
    assert locate("./anna", home) == Path("anna")
    assert locate(Path("/data/anna dir"), home) == Path("/data/anna dir")
    assert locate("~/anna", home) == tmp_path / "anna"
    with pytest.raises(ConfigError):
        locate("a b", home)
    with pytest.raises(ConfigError):
        locate("", home)
    save_identity(made_identity(), Path("anna"))
    assert locate("anna", home) == Path("anna")
    save_identity(made_identity(), home / "anna")
    assert locate("anna", home) == home / "anna"


def test_the_home_is_the_users_or_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUB_HOME", str(tmp_path / "chosen"))
    assert identities_home() == tmp_path / "chosen" / "identities"
    assert locate("anna") == tmp_path / "chosen" / "identities" / "anna"
    monkeypatch.delenv("DUB_HOME")
    assert identities_home().is_absolute()
    assert identities_home().parts[-2:] == ("dubcli", "identities")


# List and remove ---------------------------------------------------------------------------------


def test_the_list_holds_damaged_ones_with_the_reason(tmp_path: Path) -> None:
    assert list_identities(tmp_path) == []
    for name in ("carl", "anna", "bert"):
        save_identity(made_identity(name), tmp_path / name)
    (tmp_path / "bert" / "adapter.safetensors").unlink()
    (tmp_path / ".anna.x.part").mkdir()
    (tmp_path / "note.txt").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    entries = {entry.name: entry for entry in list_identities(tmp_path)}
    assert list(entries) == ["anna", "bert", "carl", "empty"]
    assert "adapter.safetensors is missing" in entries["bert"].problem
    assert "identity.json is missing" in entries["empty"].problem
    assert entries["bert"].description is None
    found = entries["anna"].description
    assert found is not None
    assert (found.name, found.base.name, found.consent.agreed) == ("anna", "iptalker.tiny", True)
    assert entries["anna"].problem == ""
    sizes = [len(content) for content in everything_in(tmp_path / "anna").values()]
    assert entries["anna"].num_bytes == sum(sizes)


def test_a_home_that_does_not_exist_is_an_empty_list(tmp_path: Path) -> None:
    assert list_identities(tmp_path / "nowhere") == []


@pytest.mark.parametrize("missing", ["nothing", "identity.json", "adapter.safetensors"])
def test_removing_leaves_nothing_behind_even_of_a_damaged_one(missing: str, anna: Path) -> None:
    (anna / missing).unlink(missing_ok=True)
    (anna / ".DS_Store").write_bytes(b"")
    other = anna.with_name("other")
    save_identity(made_identity(), other)
    remove_identity(anna)
    assert [place.name for place in anna.parent.iterdir()] == ["other"]
    with pytest.raises(IdentityError, match="no identity 'anna'"):
        remove_identity(anna)
    assert load_identity(other).name == "anna"


def test_a_removal_that_is_not_allowed_keeps_all(
    anna: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything_in(anna.parent)

    def fail(self: Path, target: Path) -> Path:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(IdentityError, match="anna cannot be removed: Permission denied"):
        remove_identity(anna)
    assert everything_in(anna.parent) == before


def test_what_cannot_be_read_is_one_line(anna: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(IdentityError, match="cannot be read: Permission denied"):
        load_identity(anna)
    assert "Permission denied" in list_identities(anna.parent)[0].problem


# Stopped processes -------------------------------------------------------------------------------


def test_what_a_killed_process_has_left_goes_with_the_next_write(anna: Path) -> None:
    for suffix in ("part", "old"):
        shutil.copytree(anna, anna.with_name(f".anna.abcd_123.{suffix}"))
    other = anna.with_name(".annabel.abcd_123.part")
    other.mkdir()
    save_identity(made_identity(seed=1), anna, replace=True)
    assert {place.name for place in anna.parent.iterdir()} == {"anna", other.name}


@pytest.mark.skipif(os.name == "nt", reason="folders cannot be held there, and nothing is swept")
def test_what_a_running_process_works_in_stays(anna: Path) -> None:
    with work_folder(anna) as held:
        save_identity(made_identity(seed=1), anna, replace=True)
        assert held.is_dir()
    assert not held.exists()


def test_the_only_copy_is_never_swept_and_named(anna: Path) -> None:
    kept = anna.with_name(".anna.abcd_123.old")
    anna.rename(kept)
    remove_leftovers(anna)
    with pytest.raises(IdentityError, match=r"broken off.*mv '.*\.anna\.abcd_123\.old'"):
        load_identity(anna)
    kept.rename(anna)
    assert _is_same(load_identity(anna), made_identity())


def test_a_reader_gets_one_whole_identity_while_it_is_replaced(
    anna: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, is_replaced = Path.read_bytes, False

    def replace_first(self: Path) -> bytes:
        nonlocal is_replaced
        if self.name == "person.safetensors" and not is_replaced:
            is_replaced = True
            save_identity(made_identity(seed=1), anna, EXTRAS, replace=True)
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", replace_first)
    assert _is_same(load_identity(anna), made_identity(seed=1))


def test_two_that_make_one_identity_at_once_one_of_which_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, asked = tmp_path / "anna", 0

    def asks(place: Path, *, replace: bool) -> None:
        nonlocal asked
        asked += 1
        require_free(place, replace=replace)
        if asked == 2:  # between the last look and the rename
            save_identity(made_identity(seed=1), tmp_path / "first")
            (tmp_path / "first").rename(path)

    monkeypatch.setattr(store, "require_free", asks)
    with pytest.raises(ConfigError, match="exists already"):
        save_identity(made_identity(), path)
    assert _is_same(load_identity(path), made_identity(seed=1))
    assert [place.name for place in tmp_path.iterdir()] == ["anna"]
