"""The fuzzer for all but media: settings, job lists, identities, weights, credentials, pictures.

Text is damaged by bytes as media are, and by words: numbers out of range, other types, lines twice
or in another order, codes that steer terminals. Identities are also damaged inside, with digests
that fit, so that what decodes them sees it.
"""

from __future__ import annotations

import io
import json
import random
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fuzz import edit
from other_tests import module_of
from runner import PEAK_MIB, Bench, Done, ForkServer, check_line, check_output, is_readable
from tiny import ffmpeg

Sources = Mapping[str, bytes]
_WORDS = (
    *("0", "-1", "1e999", "nan", "99999999999999999999", "0.5", "true", "null", '""', "[]", "{}"),
    *("'", '"', ",", "=", "\n", "\0", "\x1b]0;x\x07", "\u202e", "..", "/", "/dev/null", "-y", "%d"),
)
_TOKEN = re.compile(r"-?\d+(?:\.\d+)?|\w+|[^\w\s]")


@dataclass(frozen=True)
class _Kind:
    """What is damaged, and the command that reads it.

    Attributes:
        source: Name of the file in `Sources`.
        place: Folder of the case that it lies in.
        argv: The command, for a case.
        codes: How it may end.
        told: Codes at which it says one line, and no more.
        damage: Changes the bytes.
    """

    source: str
    place: str
    argv: Callable[[Bench], list[str]]
    codes: frozenset[int]
    told: frozenset[int]
    damage: Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class FuzzedInput:
    """One damaged file that is no recording.

    Attributes:
        number: Which one.
        seed: Of the series.
        kind: Key of `KINDS`.
    """

    number: int
    seed: int
    kind: str

    def __str__(self) -> str:
        return f"{self.seed}-{self.number}-{self.kind}"

    def make(self, sources: Sources, folder: Path) -> Path:
        """Write the damaged file; returns its path."""
        kind = KINDS[self.kind]
        data = kind.damage(sources[kind.source], random.Random(f"{self.seed} {self.number}"))
        path = folder / kind.source
        path.write_bytes(data)
        return path

    def run(self, bench: Bench, sources: Sources, tiny: Path) -> Done:
        """Give the file to its command in an empty case.

        Raises:
            AssertionError: A rule is broken.
        """
        kind = KINDS[self.kind]
        bench.environment = {"DUB_HOME": str(bench.root / "home")}
        for name in ("mute.mp4", "speech.wav"):
            bench.take(tiny / name)
        for name in ("config.json", "model.safetensors"):  # whole, but for what is damaged next
            (bench.inputs / name).write_bytes(sources[name])
        folder = bench.root / kind.place
        folder.mkdir(exist_ok=True)
        self.make(sources, folder)
        done = bench.run(kind.argv(bench), ("in process",))
        _verify(bench, done, kind)
        return done


def series_of_inputs(seed: int, count: int) -> list[FuzzedInput]:
    """The first cases of a seed, every kind in turn."""
    kinds = list(KINDS)
    return [FuzzedInput(number, seed, kinds[number % len(kinds)]) for number in range(count)]


def _verify(bench: Bench, done: Done, kind: _Kind) -> None:
    told = f"exit code {done.code}, stderr:\n{done.stderr}"
    assert "Traceback" not in done.stderr, told
    assert done.code in kind.codes, told
    assert done.peak_mib < PEAK_MIB, f"{done.peak_mib:.0f} MiB"
    assert list(bench.temporary.iterdir()) == [], told
    if done.code in kind.told:
        check_line(done)
    for path in bench.outputs.iterdir():
        assert path.suffix == ".json" or is_readable(path), f"{path}, {told}"
    if bench.output.exists():
        check_output(bench.output)
    people = bench.root / "home" / "identities"
    for path in people.iterdir() if people.is_dir() else ():
        _require_whole(path)


def _require_whole(path: Path) -> None:
    from dubcli.identities.store import load_identity

    load_identity(path)


def _of_text(data: bytes, source: random.Random) -> bytes:
    """Words or bytes of a text changed."""
    if source.random() < 0.3:
        return _of_bytes(data, source)
    text = data.decode("utf-8")
    for _ in range(source.choice((1, 1, 2, 4))):
        tokens, lines = list(_TOKEN.finditer(text)), text.splitlines(keepends=True)
        kind = source.choice(("word", "word", "word", "twice", "drop", "swap"))
        if kind == "word" and tokens:
            token = source.choice(tokens)
            text = text[: token.start()] + source.choice(_WORDS) + text[token.end() :]
        elif kind == "twice" and lines:
            lines.insert(source.randrange(len(lines)), source.choice(lines))
            text = "".join(lines)
        elif kind == "drop" and lines:
            del lines[source.randrange(len(lines))]
            text = "".join(lines)
        elif lines:
            source.shuffle(lines)
            text = "".join(lines)
    return text.encode("utf-8", "surrogatepass")


def _of_bytes(data: bytes, source: random.Random) -> bytes:
    """Bytes anywhere changed."""
    changed = bytearray(data)
    for _ in range(source.choice((1, 1, 2, 4, 16))):
        edit(changed, source)
    return bytes(changed)


def _of_header(data: bytes, source: random.Random) -> bytes:
    """Bytes or words of the header of a safetensors file changed; sometimes its length fits."""
    length = int.from_bytes(data[:8], "little")
    header = _of_text(data[8 : 8 + length], source)
    told = len(header) if source.random() < 0.8 else source.choice((0, 1 << 31, (1 << 64) - 1))
    return told.to_bytes(8, "little") + header + data[8 + length :]


def _of_box(data: bytes, source: random.Random) -> bytes:
    """Bytes of the box of Content Credentials changed."""
    begin = data.index(b"jumb") - 4
    changed = bytearray(data[begin:])
    for _ in range(source.choice((1, 1, 2, 4, 16))):
        edit(changed, source)
    return data[:begin] + bytes(changed)


def _of_members(data: bytes, source: random.Random) -> bytes:
    """An identity one of whose files is damaged, while all its digests fit."""
    from dubcli.identities.layout import _own_digest, digest

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    about = json.loads(members.pop("identity.json"))
    name = source.choice([*members, "identity.json", "identity.json"])
    if name == "identity.json":
        try:
            about = json.loads(_of_text(json.dumps(about, indent=1).encode(), source))
        except ValueError:
            about = {}
    else:
        change = _of_header if name.endswith(".safetensors") else _of_bytes
        members[name] = change(members[name], source)
    if isinstance(about, dict) and isinstance(about.get("files"), dict):
        about["files"] |= {name: digest(content) for name, content in members.items()}
        about.pop("sha256", None)
        about["sha256"] = _own_digest(about)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for member, content in {"identity.json": json.dumps(about).encode(), **members}.items():
            archive.writestr(member, content)
    return written.getvalue()


def _dub(*words: str) -> Callable[[Bench], list[str]]:
    def argv(bench: Bench) -> list[str]:
        video, audio = bench.inputs / "mute.mp4", bench.inputs / "speech.wav"
        chosen = [word.format(bench.inputs) for word in words]
        return bench.command(video, audio, "-q", "--no-mark", *chosen)

    return argv


def _reads(*words: str) -> Callable[[Bench], list[str]]:
    return lambda bench: [word.format(bench.inputs) for word in words]


_IMPORT = _reads("identities", "import", "{}/anna.dubid", "-y")
_SETS = [word for one in ("no_mark=true", "threads=1", "device=cpu") for word in ("--set", one)]
_OK, _REFUSED = frozenset({0}), frozenset({2, 3, 4, 5})
_BATCH = frozenset({0, 2, 3, 10})
KINDS: dict[str, _Kind] = {
    "settings": _Kind(
        "dub.toml", ".", _reads("config", "show"), _OK | {2}, frozenset({2}), _of_text
    ),
    "list of rows": _Kind(
        *("jobs.jsonl", "list"),
        lambda bench: ["batch", "list/jobs.jsonl", "-q", "--workers", "1", *_SETS],
        *(_BATCH, frozenset({2, 3}), _of_text),
    ),
    "table": _Kind(
        *("jobs.csv", "list"),
        lambda bench: ["batch", "list/jobs.csv", "-q", "--workers", "1", *_SETS],
        *(_BATCH, frozenset({2, 3}), _of_text),
    ),
    "identity": _Kind("anna.dubid", "in", _IMPORT, _OK | {2, 4}, frozenset({2, 4}), _of_bytes),
    "inside identity": _Kind(
        "anna.dubid", "in", _IMPORT, _OK | {2, 4, 7}, frozenset({2, 4, 7}), _of_members
    ),
    "weights": _Kind(
        "model.safetensors",
        "in",
        _dub("--model", "{}/model.safetensors"),
        _OK | _REFUSED,
        _REFUSED,
        _of_header,
    ),
    "configuration of weights": _Kind(
        "config.json", "in", _dub("--model", "{}"), _OK | _REFUSED, _REFUSED, _of_text
    ),
    "credentials": _Kind(
        "signed.mp4",
        "in",
        _reads("inspect", "{}/signed.mp4"),
        frozenset({0, 3, 8, 9}),
        frozenset({3}),
        _of_box,
    ),
    "picture of a face": _Kind(
        "face.png", "in", _dub("--face", "{}/face.png"), _OK | _REFUSED, _REFUSED, _of_bytes
    ),
}


def make_sources(server: ForkServer, folder: Path, tiny: Path) -> dict[str, bytes]:
    """Whole files of every kind, made in an empty folder."""
    bench = Bench(server, folder)
    bench.environment = {"DUB_HOME": str(folder / "home")}
    job = bench.command(bench.take(tiny / "mute.mp4"), bench.take(tiny / "speech.wav"), "-q")
    done = bench.run(job)
    assert done.code == 0, done.stderr
    signed = bench.output.read_bytes()
    assert b"jumb" in signed, "Content Credentials are needed: install the extra c2pa"
    ffmpeg("-i", tiny / "mute.mp4", "-frames:v", "1", folder / "face.png")
    rows = [
        {"video": "in/mute.mp4", "audio": "in/speech.wav", "output": f"out/{name}.mp4", "crf": 20}
        for name in ("one", "two")
    ]
    columns = list(rows[0])
    lines = [",".join(["command", *columns, "model"])]
    lines += [",".join(["dub", *(str(row[key]) for key in columns), "passthrough"]) for row in rows]
    model = {"model": "passthrough", "sync_mode": "pad"}
    made = _made_weights(folder / "weights")
    shutil.rmtree(bench.outputs)
    return {
        **made,
        "signed.mp4": signed,
        "face.png": (folder / "face.png").read_bytes(),
        "jobs.jsonl": "".join(json.dumps({**row, **model}) + "\n" for row in rows).encode(),
        "jobs.csv": "".join(f"{line}\n" for line in lines).encode(),
        "dub.toml": _SETTINGS.encode(),
    }


_SETTINGS = """threads = 2
device = "cpu"

[dub]
model = "passthrough"
crf = 20
sync-mode = "pad"
audio-offset = 0.25

[train]
steps = 10
"""


def _made_weights(folder: Path) -> dict[str, bytes]:
    """A tiny checkpoint with its configuration, and an identity as its exported file."""
    from dubcli.identities.archive import export_identity
    from dubcli.identities.store import save_identity

    checkpoints = module_of("checkpoints", "hub")
    save_identity(module_of("made_identities", "unit").made_identity(), folder / "anna")
    archive = export_identity(folder / "anna", folder / "anna.dubid")
    # Without a digest: damage is to reach the header's reader.
    files = checkpoints.published(checkpoints.weights_of(), sha256=None, bytes=None)
    return {**files, "anna.dubid": archive.read_bytes()}
