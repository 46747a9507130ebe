"""Marks of real results: put by default, read back, whole, and harmless to the streams."""

from __future__ import annotations

import json
import struct
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from made_certificates import SIGNER, make_files
from studio import (
    DEMO_SPEECH,
    FACE_PX,
    X264,
    dub_here,
    face_clip,
    ffmpeg,
    pairs_of,
    pictures,
    same_samples,
    samples,
    speech,
)
from typer.testing import CliRunner

from dubcli.cli.app import app
from dubcli.core.errors import ConfigError, EncodeError
from dubcli.provenance import credentials
from dubcli.provenance.mark_choice import LAW

OWN_COMMENT = "Recorded at home."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of each container with further sound, subtitles, chapters, tags; Matroska a file."""
    folder = tmp_path_factory.mktemp("marks")
    speech(folder / "speech.wav", 0.6)
    (folder / "words.srt").write_text(
        "1\n00:00:00,100 --> 00:00:00,400\nWords\n\n", encoding="utf-8"
    )
    (folder / "about.txt").write_text(
        f";FFMETADATA1\ntitle=A talk\ncomment={OWN_COMMENT}\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=300\ntitle=One\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=300\nEND=640\ntitle=Two\n",
        encoding="utf-8",
    )
    (folder / "font.ttf").write_bytes(b"not really a font")
    for suffix, words in ((".mp4", "mov_text"), (".mov", "mov_text"), (".mkv", "srt")):
        inputs = ("-i", DEMO_SPEECH, "-i", DEMO_SPEECH, "-i", folder / "words.srt")
        inputs += ("-i", folder / "about.txt")
        maps = ("-map", "0:v", "-map", "1:a", "-map", "2:a", "-map", "3:s", "-map_metadata", "4")
        codecs = ("-c:a", "aac", "-c:s", words, "-t", "0.64")
        attached: tuple[str | Path, ...] = ()
        if suffix == ".mkv":
            attached = ("-attach", folder / "font.ttf", "-metadata:s:t", "mimetype=font/ttf")
        ffmpeg(
            *("-i", face_clip(folder / "flat.mp4"), *inputs, *maps, *X264, *codecs, *attached),
            folder / f"in{suffix}",
        )
    return folder


def inspect(path: Path, *more: str) -> tuple[int, dict[str, Any]]:
    """Exit code and findings of the real command."""
    done = CliRunner().invoke(app, ["inspect", str(path), "--json", *more])
    return done.exit_code, json.loads(done.stdout)


def streams_of(path: Path) -> list[Any]:
    """Every packet of every stream with its times, and what is told of the streams."""
    with av.open(str(path)) as container:
        about = [
            (
                s.type,
                s.codec_context and s.codec_context.name,
                s.time_base,
                s.start_time,
                s.duration,
            )
            for s in container.streams
        ]
        chapters = [(c["start"], c["end"], c["metadata"]) for c in container.chapters()]
        found = [
            (p.stream.index, p.pts, p.dts, p.duration, p.is_keyframe, bytes(p))
            for p in container.demux()
            if p.size
        ]
    return [about, chapters, sorted(found, key=lambda packet: (packet[0], packet[2] or 0))]


def outer_boxes(path: Path) -> list[str]:
    found, at = [], 0
    data = path.read_bytes()
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        found.append(kind.decode())
        at += size
    return found


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_a_marked_file_holds_the_same_streams(suffix: str, folder: Path, tmp_path: Path) -> None:
    video, audio = folder / f"in{suffix}", folder / "speech.wav"
    marked, bare = tmp_path / f"marked{suffix}", tmp_path / f"bare{suffix}"
    report = dub_here(video, audio, marked)
    assert [mark.kind for mark in report.marks] == ["tag", "content-credentials"]
    assert LAW not in report.warnings
    unmarked = dub_here(video, audio, bare, no_mark=True)
    assert unmarked.marks == []
    assert unmarked.warnings[-1] == LAW
    assert streams_of(marked) == streams_of(bare)
    with av.open(str(marked)) as one, av.open(str(bare)) as other:
        tags, own = dict(one.metadata), dict(other.metadata)
        assert own.get("comment", own.get("COMMENT")) == OWN_COMMENT
        changed = {name.lower() for name in tags.keys() | own if tags.get(name) != own.get(name)}
        assert changed <= {"comment", "dub_mark"}
        comment = tags.get("comment", tags.get("COMMENT", ""))
        assert comment.splitlines()[0].startswith("Lips dubbed by dub")
        assert comment.splitlines()[1] == OWN_COMMENT
    if suffix != ".mkv":
        boxes = outer_boxes(marked)
        assert boxes.index("moov") < boxes.index("mdat")
        assert boxes.count("uuid") == 2
        assert "uuid" not in outer_boxes(bare)
    code, found = inspect(marked)
    assert code == 0
    assert found["marked"]
    assert found["intact"]
    assert found["statement"]["model"] == "passthrough"
    signed = found["content_credentials"]
    assert signed["state"] == "intact"
    assert signed["is_development"]
    assert signed["is_trusted"]
    assert signed["where"] == ("sidecar" if suffix == ".mkv" else "embedded")
    assert any("compositeWithTrainedAlgorithmicMedia" in kind for kind in signed["source_types"])
    assert inspect(bare)[0] == 8


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_changed_file_is_told(suffix: str, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / f"out{suffix}"
    dub_here(folder / f"in{suffix}", folder / "speech.wav", path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    code, found = inspect(path)
    assert code == 9
    assert found["marked"]
    assert found["content_credentials"]["state"] == "altered"
    assert found["problems"]


def test_a_file_whose_marks_were_stripped_is_told(folder: Path, tmp_path: Path) -> None:
    path, other = tmp_path / "out.mp4", tmp_path / "rewritten.mp4"
    dub_here(folder / "in.mp4", folder / "speech.wav", path)
    ffmpeg("-i", path, "-c", "copy", other)
    code, found = inspect(other)
    assert (code, found["marked"], found["content_credentials"]) == (9, True, None)
    ffmpeg("-i", path, "-c", "copy", "-map_metadata", "-1", other)
    assert inspect(other)[0] == 8
    dub_here(folder / "in.mkv", folder / "speech.wav", tmp_path / "two.mkv")
    (tmp_path / "two.c2pa").unlink()
    code, found = inspect(tmp_path / "two.mkv")
    assert code == 9
    assert "gone" in found["problems"][0]


def test_a_certificate_of_ones_own_signs_and_is_trusted_when_named(
    folder: Path, tmp_path: Path
) -> None:
    files = make_files(tmp_path / "keys")
    path = tmp_path / "out.mp4"
    keys: dict[str, Any] = {"c2pa_cert": files.chain, "c2pa_key": files.key}
    report = dub_here(folder / "in.mp4", folder / "speech.wav", path, **keys)
    assert (report.marks[1].signer, report.marks[1].is_development) == (SIGNER, False)
    code, found = inspect(path)
    assert (code, found["content_credentials"]["is_trusted"]) == (0, False)
    assert "--trust" in found["notes"][0]
    code, found = inspect(path, "--trust", str(files.authority))
    assert (code, found["content_credentials"]["is_trusted"], found["notes"]) == (0, True, [])


def test_a_certificate_that_cannot_sign_is_found_before_the_slow_part(
    folder: Path, tmp_path: Path
) -> None:
    files = make_files(tmp_path / "keys", with_purpose=False)
    words = ["--c2pa-cert", str(files.chain), "--c2pa-key", str(files.key), "-o", "out.mp4"]
    sources = [str(folder / "in.mp4"), "--audio", str(folder / "speech.wav")]
    done = CliRunner().invoke(app, [*sources, *words, "--model", "passthrough"])
    assert done.exit_code == 2
    assert "cannot sign" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir() if path.name != "keys"] == []


def test_credentials_of_the_source_are_kept_as_its_past(folder: Path, tmp_path: Path) -> None:
    import c2pa

    first, second = tmp_path / "first.mp4", tmp_path / "second.mp4"
    dub_here(folder / "in.mp4", folder / "speech.wav", first)
    dub_here(first, folder / "speech.wav", second)
    assert inspect(second)[0] == 0
    with c2pa.Reader(second) as reader:
        facts = json.loads(reader.json())
    assert len(facts["manifests"]) == 2
    (before,) = facts["manifests"][facts["active_manifest"]]["ingredients"]
    assert before["title"] == "first.mp4"
    assert before["active_manifest"] in facts["manifests"]
    with av.open(str(second)) as container:
        assert container.metadata["comment"].count("Lips dubbed") == 1
        assert container.metadata["comment"].endswith(OWN_COMMENT)


def test_without_the_extra_the_tag_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("c2pa", "cryptography"):
        monkeypatch.setitem(sys.modules, name, None)
    path = tmp_path / "out.mkv"
    report = dub_here(folder / "in.mkv", folder / "speech.wav", path)
    assert [mark.kind for mark in report.marks] == ["tag"]
    assert not (tmp_path / "out.c2pa").exists()
    code, found = inspect(path)
    assert code == 0
    assert not found["can_verify_credentials"]
    keys: dict[str, Any] = {"c2pa_cert": Path("a.pem"), "c2pa_key": Path("b.pem")}
    with pytest.raises(ConfigError, match=r"dubcli\[c2pa\]"):
        dub_here(folder / "in.mkv", folder / "speech.wav", tmp_path / "two.mkv", **keys)


def test_a_run_whose_signing_failed_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.mp4"

    def full(*_: Any, **__: Any) -> None:
        raise EncodeError("No space left.", "Free some space.")

    monkeypatch.setattr(credentials, "sign", full)
    with pytest.raises(EncodeError, match="No space"):
        dub_here(folder / "in.mp4", folder / "speech.wav", path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.mp4.dubjob"]
    monkeypatch.undo()
    # Other wishes for marks do not lose the finished picture.
    report = dub_here(folder / "in.mp4", folder / "speech.wav", path, no_mark=True)
    assert any("interrupted run" in warning for warning in report.warnings)
    assert not (tmp_path / "out.mp4.dubjob").exists()


def test_a_sidecar_is_never_replaced_or_left_over_by_mistake(folder: Path, tmp_path: Path) -> None:
    video, audio, path = folder / "in.mkv", folder / "speech.wav", tmp_path / "out.mkv"
    (tmp_path / "out.c2pa").write_text("mine")
    with pytest.raises(ConfigError, match=r"out\.c2pa"):
        dub_here(video, audio, path)
    assert (tmp_path / "out.c2pa").read_text() == "mine"
    dub_here(video, audio, path, overwrite=True)
    assert inspect(path)[0] == 0
    dub_here(video, audio, path, overwrite=True, no_mark=True)
    assert not (tmp_path / "out.c2pa").exists()


def test_the_visible_mark_changes_its_corner_alone(folder: Path, tmp_path: Path) -> None:
    video, audio = folder / "in.mkv", folder / "speech.wav"
    plain, shown = tmp_path / "plain.mkv", tmp_path / "shown.mkv"
    dub_here(video, audio, plain, lossless=True)
    report = dub_here(video, audio, shown, lossless=True, visible_mark=True)
    assert report.marks[-1].kind == "visible"
    assert inspect(shown)[1]["statement"]["visible"]
    for _, before, after in pairs_of(plain, shown):
        assert before.time_s == after.time_s
        assert not same_samples(before.frame, after.frame)
        for one, other in zip(samples(before.frame), samples(after.frame), strict=True):
            scale = Fraction(one.shape[0], FACE_PX)
            rows, columns = (one != other).nonzero()
            assert rows.size
            assert rows.min() >= round(scale * FACE_PX * 9 / 10)
            assert columns.min() >= round(scale * FACE_PX / 2)
    assert len(pictures(shown)) == report.frames


def test_what_is_no_video_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("nothing")
    for name in ("text.mp4", "absent.mp4"):
        done = CliRunner().invoke(app, ["inspect", name])
        assert done.exit_code == 3
        assert len(done.stderr.splitlines()) == 1
