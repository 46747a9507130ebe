"""Job lists as people and programs write them."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dubcli.batches.batch_row import make_row, options_in
from dubcli.batches.job_list import WrittenRow, read_jobs
from dubcli.config import BatchConfig, EvaluateConfig, FinetuneConfig, PlanConfig, Voice
from dubcli.core.errors import ConfigError

PLAIN = "command,video,audio,crf\ndub,a.mp4,a.wav,18\nplan,b.mp4,,\n"


def _written(content: bytes, name: str = "jobs.csv") -> list[WrittenRow]:
    Path(name).write_bytes(content)
    return read_jobs(BatchConfig(jobs=Path(name)))


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.replace(",", ";").encode(),
        PLAIN.replace(",", "\t").encode(),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.replace("a.mp4", '"a.mp4"').encode(),
        PLAIN.replace("\nplan", "\n\n,,,\nplan").encode(),
        PLAIN.replace("crf", "--CRF").encode(),
    ],
    ids=["plain", "bom", "utf-16", "semicolons", "tabs", "crlf", "cr", "quotes", "empty", "dashes"],
)
def test_a_csv_is_read_however_it_was_saved(content: bytes) -> None:
    first, second = _written(content)
    assert first.cells == {"command": "dub", "video": "a.mp4", "audio": "a.wav", "crf": "18"}
    assert (second.number, second.cells) == (2, {"command": "plan", "video": "b.mp4"})


def test_quotes_hold_separators_and_line_ends() -> None:
    (row,) = _written(b'video,output\r\n"a, ""b"";\nc.mp4",=SUM(1).mp4\r\n')
    assert row.cells == {"video": 'a, "b";\nc.mp4', "output": "=SUM(1).mp4"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no rows"),
        (b"video,audio\n", "has no rows"),
        (b'video\n"a.mp4\n', "is no CSV"),
        (b"video,video\na,b\n", "two columns 'video'"),
        (b"video\n\xff\xfa\n", "no UTF-8"),
    ],
)
def test_what_is_no_list_is_refused_as_a_whole(content: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _written(content)


def test_a_list_that_is_not_there_is_one_line() -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_jobs(BatchConfig(jobs=Path("none.csv")))


def test_json_lines_keep_their_types_and_bad_lines_their_numbers() -> None:
    content = b'{"video": "a.mp4", "crf": 18, "start": null}\n[]\n{"video"\n{"crf": 1, "--crf": 2}'
    good, *bad = _written(content, "jobs.jsonl")
    assert good.cells == {"video": "a.mp4", "crf": 18}
    assert [(one.number, one.error.split(":")[0]) for one in bad] == [
        (2, "It is no JSON object."),
        (3, "It is no JSON"),
        (4, "It sets one option twice."),
    ]


@pytest.mark.parametrize("content", [PLAIN, '{"command": "dub", "video": "a.mp4"}\n'])
def test_standard_input_is_either(content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = SimpleNamespace(buffer=io.BytesIO(content.encode()))
    monkeypatch.setattr(sys, "stdin", stream)
    rows = read_jobs(BatchConfig(jobs=Path("-")))
    assert rows[0].cells["video"] == "a.mp4"


def test_folders_are_paired_by_name() -> None:
    for name in ("v/a.mp4", "v/sub/b.mkv", "v/c.mp4", "v/d.mp4"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    for name in ("s/a.wav", "s/sub/b.mp3", "s/d.wav", "s/d.mp3"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    rows = read_jobs(BatchConfig(jobs=Path("v"), audio=Path("s")))
    told = {str(row.cells["video"]): row.error or row.cells["audio"] for row in rows}
    assert told["v/a.mp4"] == ["s/a.wav"]
    assert told["v/sub/b.mkv"] == ["s/sub/b.mp3"]
    assert "no recording" in told["v/c.mp4"]
    assert "several recordings" in told["v/d.mp4"]
    steps = {str(row.cells["video"]): row.next_step for row in rows if row.error}
    assert "folder of recordings" in steps["v/c.mp4"]
    assert "all but one" in steps["v/d.mp4"]


@pytest.mark.parametrize("jobs", ["v", "jobs.csv"])
def test_a_folder_of_recordings_goes_with_one_of_videos(jobs: str) -> None:
    Path("v").mkdir()
    Path("jobs.csv").write_text(PLAIN)
    audio = None if jobs == "v" else Path("v")
    with pytest.raises(ConfigError, match="folder of videos"):
        read_jobs(BatchConfig(jobs=Path(jobs), audio=audio))


def _made(
    cells: dict[str, object], given: dict[str, str] | None = None, *, is_text: bool = True
) -> object:
    return make_row(WrittenRow(number=1, cells=cells, is_text=is_text), {}, given or {}).config


def test_cells_become_what_the_command_line_would_make_of_them() -> None:
    dub = _made(
        {"video": "a.mp4", "audio": "1=a.wav | left=b.wav", "crf": "7", "articulation": "1.5"}
    )
    assert isinstance(dub, PlanConfig) is False
    assert getattr(dub, "audio") == (Voice(1, Path("a.wav")), Voice("left", Path("b.wav")))  # noqa: B009
    assert getattr(dub, "model_options") == {"articulation": 1.5}  # noqa: B009
    learn = _made(
        {"command": "finetune", "videos": "a.mp4|b.mp4", "name": "anna", "consent": "yes"}
    )
    assert learn == FinetuneConfig(videos=(Path("a.mp4"), Path("b.mp4")), name="anna", consent=True)
    scores = _made({"command": "evaluate", "clips": "clips", "output": "scores", "limit": "3"})
    assert scores == EvaluateConfig(clips=Path("clips"), output=Path("scores"), limit=3)
    plan = _made({"command": "plan", "video": "a.mp4", "picture": False}, is_text=False)
    assert plan == PlanConfig(video=Path("a.mp4"), picture=False)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"video": "a", "audio": "b", "crff": "3"}, "Unknown column 'crff' for dub.*'crf'"),
        ({"video": "a", "audio": "b", "quiet": "1"}, "Unknown column 'quiet'"),
        ({"video": "a", "audio": "b", "copy_untouched": "1"}, "copied by default; --reencode"),
        ({"video": "a", "audio": "b", "crf": "high"}, "'crf' is 'high', not a whole number"),
        ({"video": "a", "audio": "b", "crf": "99"}, "CRF 99 is out of range"),
        ({"video": "a", "audio": "b", "sync_mode": "lop"}, "Did you mean 'loop'"),
        ({"video": "a"}, "A row of dub needs 'audio'"),
        ({"command": "dubb", "video": "a"}, "Did you mean 'dub'"),
        ({"command": "train", "video": "a"}, "Unknown command 'train'"),
        ({"command": "finetune", "name": "x"}, "needs 'videos'"),
        ({"video": "a", "audio": "b", "output": "c\0d"}, "'output' holds a zero byte"),
        ({"video": "a\0", "audio": "b"}, "'video' holds a zero byte"),
    ],
)
def test_mistakes_of_a_row_are_told_as_on_the_command_line(
    cells: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        _made(cells)


def test_set_holds_where_a_row_says_nothing() -> None:
    given = options_in(("crf=3", "sync-mode=pad"))
    own = _made({"video": "a", "audio": "b", "crf": "4"}, given)
    assert (getattr(own, "crf"), getattr(own, "sync_mode")) == (4, "pad")  # noqa: B009
    learn = _made({"command": "finetune", "videos": "a", "name": "x"}, given)
    assert isinstance(learn, FinetuneConfig)
    with pytest.raises(ConfigError, match="Did you mean 'crf'"):
        options_in(("crff=3",))


@pytest.mark.parametrize(
    "settings",
    [
        {"workers": -1},
        {"retries": -1},
        {"devices": ","},
        {"devices": "cpu,tpu"},
        *({"shard": word} for word in ("0/3", "4/3", "1", "a/b", "-1/2")),
        {"set": ("crf",)},
    ],
)
def test_options_that_mean_nothing_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        BatchConfig(jobs=Path("jobs.csv"), **settings)  # pyright: ignore[reportArgumentType]
