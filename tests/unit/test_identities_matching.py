"""Which stored identity a face is."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from made_faces import BlotchRecogniser, face_at, made_embedding, picture
from made_identities import made_identity, stored_by_an_older_version

from dubcli.core.types import F32, NUM_EMBEDDING, References
from dubcli.face.recognition import cut_face
from dubcli.identities.matching import embedding_of, matching_identities
from dubcli.identities.store import load_identity, save_identity

RECOGNISER = BlotchRecogniser()
PEOPLE = ("anna", "bert", "carl")


def _references(person: int) -> References:
    """A painted person's crops, twice as fine as the network's."""
    crop = (104, 80)
    face = face_at((39.5, 40.0), 22.0)
    fine = picture([(person, ((face + 0.5) * 2 - 0.5).astype(np.float32))], (208, 160))
    small = cv2.resize(fine, crop[::-1], interpolation=cv2.INTER_AREA)
    return References(
        crops=np.stack([np.asarray(small, np.uint8)] * 2),
        detail_crops=np.stack([fine] * 2),
        landmarks=np.stack([face] * 2),
        frame_indices=np.arange(2),
        mouth_open=np.zeros(2, np.float32),
    )


def _embedding(person: int) -> F32:
    """Of a painted person in a video."""
    face = face_at((150, 100), 44)
    return RECOGNISER.embed(cut_face(picture([(person, face)]), face)[None])[0]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for person, name in enumerate(PEOPLE):
        identity = made_identity(name, embedding=_embedding(person))
        save_identity(identity, tmp_path / "home" / name)
    return tmp_path / "home"


@pytest.mark.parametrize(("person", "name"), list(enumerate(PEOPLE)))
def test_the_person_is_found_and_nobody_else(person: int, name: str, home: Path) -> None:
    ((found, alike),) = matching_identities(_embedding(person), RECOGNISER, home)
    assert found == name
    assert alike == pytest.approx(1, abs=1e-3)


def test_strangers_are_nobody(home: Path) -> None:
    assert matching_identities(_embedding(7), RECOGNISER, home) == []


def test_the_most_similar_comes_first(home: Path) -> None:
    twin = _embedding(0) + 0.1 * made_embedding(3)
    twin = (twin / np.linalg.norm(twin)).astype(np.float32)
    save_identity(made_identity("twin", embedding=twin), home / "twin")
    for face, names in ((_embedding(0), ["anna", "twin"]), (twin, ["twin", "anna"])):
        assert [name for name, _ in matching_identities(face, RECOGNISER, home)] == names


@pytest.mark.parametrize("person", [0, 1])
def test_who_was_stored_by_an_older_version_is_found_by_the_pictures(
    person: int, tmp_path: Path
) -> None:
    """Its colours of hair and skin say nothing to the network; nothing is lost or refused."""
    path = tmp_path / PEOPLE[person]
    save_identity(made_identity(PEOPLE[person], references=_references(person)), path)
    stored_by_an_older_version(path)
    identity = load_identity(path)
    assert not identity.embedding.any()
    assert embedding_of(identity, RECOGNISER) @ _embedding(person) > 0.94
    ((name, _),) = matching_identities(_embedding(person), RECOGNISER, tmp_path)
    assert name == PEOPLE[person]
    assert matching_identities(_embedding(1 - person), RECOGNISER, tmp_path) == []


def test_damaged_identities_are_left_out(home: Path) -> None:
    (home / "bert" / "person.safetensors").write_bytes(b"x")
    (home / "carl" / "identity.json").write_bytes(b"{")
    (home / "note.txt").write_bytes(b"")
    (home / "empty").mkdir()
    found = matching_identities(_embedding(0), RECOGNISER, home)
    assert [name for name, _ in found] == ["anna"]
    assert matching_identities(_embedding(1), RECOGNISER, home) == []


def test_nothing_stored_nothing_found(tmp_path: Path, home: Path) -> None:
    assert matching_identities(_embedding(0), RECOGNISER, tmp_path / "nowhere") == []
    assert matching_identities(_embedding(0), RECOGNISER) == []
    nobody = np.zeros(NUM_EMBEDDING, np.float32)
    assert matching_identities(nobody, RECOGNISER, home) == []
