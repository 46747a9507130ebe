"""A model that judges its own mouths says so in the report, also of a source of under a second."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_clips import made_clip, write_set
from studio import dub_here, face_clip, pictures, speech

from dubcli.config import TrainConfig
from dubcli.training.run import train


@pytest.fixture(scope="module")
def untaught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of g4g that has hardly learned."""
    folder = tmp_path_factory.mktemp("untaught")
    data = write_set(folder / "set", {"anna": made_clip(0), "ben": made_clip(1)}, {})
    return train(
        TrainConfig(
            model="g4g", data=data, output=folder / "run", preset="tiny", stage="blend", steps=1,
            batch_clips=1, frames_per_clip=2, device="cpu",
        )
    )  # fmt: skip


@pytest.mark.parametrize("frames", [3, 16])
def test_the_report_has_the_models_opinion_of_each_range(
    untaught: Path, tmp_path: Path, frames: int
) -> None:
    source = face_clip(tmp_path / "in.mp4", frames=frames)
    output = tmp_path / "out.mkv"
    report = dub_here(
        source, speech(tmp_path / "speech.wav", frames / 25), output, model=str(untaught)
    )
    rows = {row["figure"]: row for row in report.model_ranges}
    assert set(rows) == {"alignment", "alignment_rank"}
    share, rank = (rows[name] for name in ("alignment", "alignment_rank"))
    assert 0 < share["mean"] < 1  # pyright: ignore[reportOperatorIssue]
    # One shift on either side.
    assert 1 <= rank["mean"] <= 3  # pyright: ignore[reportOperatorIssue]
    assert share["is_low"] == (share["mean"] < 0.12)  # pyright: ignore[reportOperatorIssue]
    assert "is_low" not in rank
    assert (share["start_s"], share["end_s"]) == (0, pytest.approx(frames / 25, abs=0.01))
    (facts,) = report.model_facts.values()
    assert facts["references"] == 2
    assert len(list(pictures(output))) == frames
