"""What marks say as metadata, and how it is read back."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import av
import pytest

from dubcli.provenance.statement import SOURCE_TYPE, Statement, model_label, statement_of
from dubcli.provenance.tag import MATROSKA_TAG, append_packet, comment_of, file_tags, read_tag

STATEMENT = Statement(model="net.v1 <&>", weights_sha256="ab" * 32, visible=True)


def _clip(path: Path, **tags: str) -> Path:
    with av.open(str(path), "w") as container:
        container.metadata.update(tags)
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 16
        container.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        container.mux(stream.encode(None))
    return path


def test_a_statement_comes_back() -> None:
    assert statement_of(STATEMENT.as_json()) == STATEMENT
    assert json.loads(STATEMENT.as_json())["digital_source_type"] == SOURCE_TYPE


@pytest.mark.parametrize("change", [{"tool": "other"}, {"model": 1}, {"credentials": "there"}])
def test_what_another_program_wrote_is_no_statement(change: dict[str, object]) -> None:
    facts = json.loads(STATEMENT.as_json()) | change
    assert statement_of(json.dumps(facts)) is None
    assert statement_of("[1]") is None
    assert statement_of("{") is None
    assert statement_of("[" * 100_000) is None


def test_the_sources_comment_is_kept_once() -> None:
    tags = file_tags(STATEMENT, "Made at home.\nFor Anna.", is_matroska=False)
    assert tags == {"comment": f"{STATEMENT.sentence}\nMade at home.\nFor Anna."}
    again = file_tags(STATEMENT, tags["comment"], is_matroska=True)
    assert again["comment"] == tags["comment"]
    assert statement_of(again[MATROSKA_TAG]) == STATEMENT


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_packet_behind_the_file_moves_nothing(suffix: str, tmp_path: Path) -> None:
    path = _clip(tmp_path / f"clip{suffix}", comment=STATEMENT.sentence)
    before = path.read_bytes()
    append_packet(path, STATEMENT)
    assert path.read_bytes()[: len(before)] == before
    tag = read_tag(path)
    assert (tag.comment, tag.statement) == (STATEMENT.sentence, STATEMENT)
    assert tag.is_there


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_matroska_holds_the_statement_as_a_tag(suffix: str, tmp_path: Path) -> None:
    tags = file_tags(STATEMENT, "", is_matroska=True)
    with av.open(str(tmp_path / f"clip{suffix}"), "w") as container:
        container.metadata.update(tags)
        stream = container.add_stream("libvpx-vp9", rate=25)
        stream.width = stream.height = 16
        container.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        container.mux(stream.encode(None))
    assert read_tag(tmp_path / f"clip{suffix}").statement == STATEMENT
    assert comment_of(tmp_path / f"clip{suffix}") == STATEMENT.sentence


def test_a_file_without_a_mark_has_none(tmp_path: Path) -> None:
    tag = read_tag(_clip(tmp_path / "clip.mp4", comment="Made at home."))
    assert (tag.comment, tag.statement, tag.is_there) == ("Made at home.", None, False)


@pytest.mark.parametrize(
    "packet",
    [
        b"<x:xmpmeta",
        b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        b"<a xmlns:d='urn:dubcli:mark:1'><d:mark>no JSON</d:mark></a>",
        b"\x00\xff",
    ],
)
def test_damaged_packets_are_no_statement(packet: bytes, tmp_path: Path) -> None:
    path = _clip(tmp_path / "clip.mp4")
    key = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", 24 + len(packet), b"uuid") + key + packet)
        file.write(struct.pack(">I4s", 3, b"free"))  # a size that is none
    assert read_tag(path).statement is None


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("iptalker.v2", "iptalker.v2"),
        ("hf:org/repo@abc", "hf:org/repo@abc"),
        ("/home/anna/secret/run3", "run3"),
        ("./runs/mine.safetensors", "mine.safetensors"),
        ("/runs/\udcffmine", "?mine"),
    ],
)
def test_folders_of_the_users_own_checkpoints_stay_private(name: str, label: str) -> None:
    assert model_label(name) == label
