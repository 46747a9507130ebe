"""The person of another video: the same one, or is another one warned about?"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from made_faces import made_embedding

from dubcli.core.types import F32, FaceTrack
from dubcli.models.api import Subject
from dubcli.pipeline.second_subject import SecondPerson, person_remarks


def _track(embedding: F32) -> FaceTrack:
    stand_in: Any = SimpleNamespace(embedding=embedding)
    return cast(FaceTrack, stand_in)


def _person(embedding: F32) -> SecondPerson:
    return SecondPerson(
        path=Path("videos/style.mp4"), subject=cast(Subject, None), embedding=embedding
    )


def test_the_same_person_is_not_remarked_on() -> None:
    assert person_remarks(_track(made_embedding(1)), {"motion": _person(made_embedding(1))}) == []


def test_another_person_is_named_in_one_line_once() -> None:
    other = _person(made_embedding(2))
    (told,) = person_remarks(_track(made_embedding(1)), {"motion": other, "render": other})
    assert told.startswith("The face of 'style.mp4' does not look like")
    assert "\n" not in told


def test_of_faces_that_nobody_recognised_nothing_is_said() -> None:
    nothing = np.zeros_like(made_embedding(1))
    assert person_remarks(_track(nothing), {"render": _person(made_embedding(2))}) == []
    assert person_remarks(_track(made_embedding(2)), {"render": _person(nothing)}) == []
