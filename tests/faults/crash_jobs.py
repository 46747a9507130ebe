"""The commands whose every write is followed, and what a user relies on in their folders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from other_tests import module_of
from runner import Bench, Fault
from tiny import ffmpeg

Prepare = Callable[[Bench, Path], list[str]]
# What a user relies on: each name with a value that tells whether it is whole, and which.
Finals = Mapping[str, str]


@dataclass(frozen=True)
class CrashJob:
    """One command.

    Attributes:
        name: What it is called here.
        prepare: Makes its inputs in an empty case from the tiny files; returns its arguments.
        finals: What lies under the names that a user relies on.
        faults: See `hooks.py`: shorter segments, a small network.
        refusal: What a run may say that finds the result of a run that was killed at its very end.
    """

    name: str
    prepare: Prepare
    finals: Callable[[Bench], Finals]
    faults: tuple[Fault, ...] = ()
    refusal: str = ""


def surroundings(bench: Bench) -> dict[str, str | None]:
    """Variables that keep everything that is written in the case's folder."""
    home = bench.root / "home"
    home.mkdir(exist_ok=True)
    return {"DUB_HOME": str(home), "HOME": str(home)}


def _video(bench: Bench, tiny: Path, name: str, frames: int) -> Path:
    """The tiny face, played again and again."""
    path = bench.inputs / name
    shape = ("-frames:v", str(frames), "-c:v", "libx264", "-preset", "ultrafast")
    exact = ("-bitexact", "-threads", "1", "-an")
    ffmpeg("-stream_loop", "-1", "-i", tiny / "mute.mp4", *shape, *exact, path)
    return path


def _dub(bench: Bench, tiny: Path) -> list[str]:
    video = _video(bench, tiny, "face.mp4", 50)
    audio = bench.take(tiny / "long.wav")
    return bench.command(video, audio, "--no-mark", "--sync-mode", "pad")


def _dub_finals(bench: Bench) -> Finals:
    return {**_file(bench.output), **_report(bench.output.with_suffix(".json"))}


def _file(path: Path) -> Finals:
    return {path.name: _sha256(path.read_bytes())} if path.exists() else {}


def _report(path: Path) -> Finals:
    """A report tells times, so its bytes differ from run to run."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text("utf-8"))
        return {path.name: f"{content['frames']} frames"}
    except (ValueError, KeyError):
        return {path.name: "damaged"}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _batch(bench: Bench, tiny: Path) -> list[str]:
    video = bench.take(tiny / "mute.mp4")
    audio = bench.take(tiny / "speech.wav")
    jobs = bench.root / "list" / "jobs.jsonl"
    jobs.parent.mkdir(exist_ok=True)
    rows = [
        {"video": str(video), "audio": str(audio), "output": str(bench.outputs / f"{name}.mp4")}
        for name in ("one", "two")
    ]
    jobs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    chosen = ("model=passthrough", "no_mark=true", "sync_mode=pad", "threads=1", "device=cpu")
    sets = [word for one in chosen for word in ("--set", one)]
    return ["batch", str(jobs), "--workers", "1", "--devices", "cpu", "-q", *sets]


def _batch_finals(bench: Bench) -> Finals:
    finals: dict[str, str] = {}
    for name in ("one", "two"):
        finals |= _file(bench.outputs / f"{name}.mp4")
        finals |= _report(bench.outputs / f"{name}.json")
    return finals


_OLD, _NEW = 0, 1


def _import(bench: Bench, tiny: Path) -> list[str]:
    """Replace an identity by another one, from its exported file."""
    from dubcli.identities.archive import export_identity
    from dubcli.identities.store import save_identity

    made_identity = module_of("made_identities", "unit").made_identity
    people = bench.root / "home" / "identities"
    save_identity(made_identity(seed=_NEW), bench.root / "made" / "anna")
    archive = export_identity(bench.root / "made" / "anna", bench.inputs / "anna.dubid")
    save_identity(made_identity(seed=_OLD), people / "anna")
    return ["identities", "import", str(archive), "-y"]


def _import_finals(bench: Bench) -> Finals:
    path = bench.root / "home" / "identities" / "anna"
    return {"anna": _identity(path)} if path.exists() else {}


def _identity(path: Path, files: tuple[str, ...] = ()) -> str:
    """Which identity it is; of what a date stands in, only whether it is there."""
    from dubcli.core.errors import IdentityError
    from dubcli.identities.store import read_files

    try:
        _, contents = read_files(path)
    except IdentityError as error:
        return f"damaged: {error}"
    chosen = {name: _sha256(contents[name]) for name in files or sorted(contents)}
    return _sha256(json.dumps(chosen).encode())


def _finetune(bench: Bench, tiny: Path) -> list[str]:
    video = bench.inputs / "anna.mp4"
    video.write_bytes(b"video")
    own = ("--name", str(bench.outputs / "anna"), "--consent", "--steps", "4", "--device", "cpu")
    return ["finetune", str(video), *own, "-q"]


def _finetune_finals(bench: Bench) -> Finals:
    path = bench.outputs / "anna"
    files = ("adapter.safetensors", "person.safetensors")
    return {"anna": _identity(path, files)} if path.exists() else {}


JOBS = (
    CrashJob("dub", _dub, _dub_finals, (("short segments",),), "exists"),
    CrashJob("batch", _batch, _batch_finals),
    CrashJob("import", _import, _import_finals),
    CrashJob("finetune", _finetune, _finetune_finals, (("small person",),), "exists"),
)
