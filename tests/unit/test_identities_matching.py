"""Which stored identity a face looks like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_faces import face_at, picture
from made_identities import made_identity

from dubcli.core.types import F32
from dubcli.face.face_descriptor import describe
from dubcli.identities.matching import resembling
from dubcli.identities.store import save_identity


def _looks(person: int, num: int = 4) -> F32:
    """One painted person at several places and sizes."""
    faces = [face_at((150 + 9 * i, 100 - 4 * i), 40 + 2 * i) for i in range(num)]
    return np.stack([describe(picture([(person, face)]), face) for face in faces])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for person, name in enumerate(("anna", "bert", "carl")):
        save_identity(made_identity(name, looks=_looks(person)), tmp_path / "home" / name)
    return tmp_path / "home"


@pytest.mark.parametrize(("person", "name"), [(0, "anna"), (1, "bert"), (2, "carl")])
def test_the_person_is_found_and_nobody_else(person: int, name: str, home: Path) -> None:
    found = resembling(_looks(person)[1:], home)
    assert [one for one, _ in found] == [name]
    assert 0.8 <= found[0][1] <= 1
    assert resembling(_looks(person)[0], home)[0][0] == name


def test_strangers_resemble_nobody(home: Path) -> None:
    assert resembling(_looks(7), home) == []


def test_the_likest_comes_first(home: Path) -> None:
    shifted = _looks(0).copy()
    shifted[:, 128:] += np.float32(0.05)
    save_identity(made_identity("twin", looks=shifted), home / "twin")
    assert [name for name, _ in resembling(_looks(0), home)] == ["anna", "twin"]
    assert [name for name, _ in resembling(shifted, home)] == ["twin", "anna"]


def test_damaged_identities_are_left_out(home: Path) -> None:
    (home / "bert" / "person.safetensors").write_bytes(b"x")
    (home / "carl" / "identity.json").write_bytes(b"{")
    (home / "note.txt").write_bytes(b"")
    (home / "empty").mkdir()
    assert [name for name, _ in resembling(_looks(0), home)] == ["anna"]
    assert resembling(_looks(1), home) == []


def test_nothing_stored_nothing_found(tmp_path: Path, home: Path) -> None:
    assert resembling(_looks(0), tmp_path / "nowhere") == []
    assert resembling(_looks(0)) == []
    assert resembling(np.zeros((0, 176), np.float32), home) == []
    assert resembling(np.zeros((2, 9), np.float32), home) == []
