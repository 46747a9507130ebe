"""What users install is whole, and the first two commands that they read are the right ones."""

from __future__ import annotations

import email
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LARGEST_WHEEL_BYTES = 95_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    argv = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, timeout=600)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_manifest_and_assets(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        in_archive = {name: archive.getinfo(name).file_size for name in names}
    assert names.count("dubcli/weights_manifest.json") == 1
    kinds = (".py", ".npy", ".safetensors", ".onnx", ".ort", ".json", ".mp4", ".wav", ".html")
    kinds += (".css", ".js")
    for path in (ROOT / "dubcli").rglob("*"):
        if path.is_file() and path.suffix in kinds:
            assert in_archive[path.relative_to(ROOT).as_posix()] == path.stat().st_size
    assert not [name for name in names if name.startswith("tests/")]
    assert wheel.stat().st_size < LARGEST_WHEEL_BYTES


def test_an_installed_wheel_finds_its_manifest(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "from dubcli.weights.manifest import load_manifest\n"
        "from dubcli.weights.resolve import verify\n"
        "manifest = load_manifest()\n"
        "[verify(entry) for entry in manifest.weights.values() if not entry.sources]\n"
        "print(manifest.path)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(run.stdout.strip()) == tmp_path / "site" / "dubcli" / "weights_manifest.json"


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    """What a package index shows of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def test_an_index_takes_the_wheel_and_shows_its_readme(wheel: Path) -> None:
    for argv in (
        ["twine", "check", "--strict", str(wheel)],
        ["check_wheel_contents", "--config", str(ROOT / "pyproject.toml"), str(wheel)],
    ):
        run = subprocess.run(
            [sys.executable, "-m", *argv], capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stdout + run.stderr


# What the manifest says of weights inside the package, as SPDX writes it, and its text.
LICENCES = {
    "Apache-2.0": ("Apache-2.0", "LICENSE", "Apache License"),
    "MIT": ("MIT", "licenses/speech-encoder.txt", "MIT License"),
    "CC0-1.0": ("CC0-1.0", "licenses/recogniser.txt", "CC0 1.0 Universal"),
    "CC BY-NC-SA 4.0": (
        "CC-BY-NC-SA-4.0",
        "licenses/CC-BY-NC-SA-4.0.txt",
        "Attribution-NonCommercial-ShareAlike 4.0 International Public License",
    ),
}


def test_the_licence_expression_names_everything_inside(wheel: Path, metadata: Message) -> None:
    manifest = json.loads((ROOT / "weights_manifest.json").read_text(encoding="utf-8"))
    inside = {
        entry["license"] for entry in manifest["weights"].values() if entry["package"] is not None
    }
    wanted = {"Apache-2.0", *(LICENCES[name][0] for name in inside)}
    assert set(metadata["License-Expression"].split(" AND ")) == wanted
    files = metadata.get_all("License-File") or []
    with zipfile.ZipFile(wheel) as archive:
        for name in inside:
            _, file, words = LICENCES[name]
            assert file in files
            (path,) = (one for one in archive.namelist() if one.endswith(f"/licenses/{file}"))
            assert words in " ".join(archive.read(path).decode().split())


def test_the_wheel_is_typed_and_brings_the_manual(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (manual,) = (name for name in names if name.endswith("/share/man/man1/dub.1"))
        assert archive.read(manual) == (ROOT / "docs" / "dub.1").read_bytes()
    assert "dubcli/py.typed" in names


def test_an_index_shows_where_the_project_lives(metadata: Message) -> None:
    urls = dict(line.split(", ") for line in metadata.get_all("Project-URL") or [])
    assert set(urls) >= {"Homepage", "Documentation", "Changelog", "Issues"}
    assert urls["Homepage"].startswith("https://")
    # One address, here and in the README's links, so none is forgotten when it changes.
    assert all(f"{url}/".startswith(f"{urls['Homepage']}/") for url in urls.values())
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert project.count("https://") == project.count(urls["Homepage"]) == len(urls) + 1


def test_links_of_the_readme_work_on_a_package_index(metadata: Message) -> None:
    home = dict(line.split(", ") for line in metadata.get_all("Project-URL") or [])["Homepage"]
    shown = re.findall(r"\]\((.+?)\)", str(metadata.get_payload()))
    written = re.findall(r"\]\((.+?)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(shown) == len(written) > 5
    for link in shown:
        assert link.startswith(("https://", "#")), link
        if link.startswith(f"{home}/blob/main/"):
            path = link.removeprefix(f"{home}/blob/main/").split("#")[0]
            assert (ROOT / path).is_file(), link


def _readme_commands() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [block.strip() for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)]


def test_the_readme_opens_with_two_one_line_commands() -> None:
    demo, check = _readme_commands()[:2]
    assert "\n" not in demo + check
    assert demo.endswith("dub demo -y")
    assert check.endswith("python tests/check.py")
    assert all("-c constraints.txt" in command for command in (demo, check))


def test_ci_runs_the_readme_command() -> None:
    run = subprocess.run(
        ["bash", str(ROOT / ".ci" / "run"), "--show"], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == _readme_commands()[1]


def test_every_dependency_is_locked_and_justified() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[\[<>=!~ ]", line)[0].lower().replace("_", "-") for line in required}
    lock = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    locked = {
        line.split("==")[0].lower().replace("_", "-") for line in lock if not line.startswith("#")
    }
    explained = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").lower()
    assert names <= locked
    assert all(f"`{name}" in explained.replace("_", "-") for name in names)
    # No libGL, no second OpenCV that overwrites the first one's files, no mediapipe.
    assert [name for name in locked if name.startswith("opencv")] == ["opencv-python-headless"]
    assert "mediapipe" not in locked


def test_the_lock_names_no_machine() -> None:
    lock = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "torch==2.13.0\n" in lock
    assert "+cpu" not in lock
    assert "/" not in lock.replace("https://", "")
