"""The container recipes copy what the package needs; the images themselves are not built."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "docker").glob("*.Dockerfile"))


def _copies(recipe: Path) -> list[tuple[str, str]]:
    """Source and target of each file or folder that a recipe copies."""
    found: list[tuple[str, str]] = []
    for line in re.findall(r"^COPY (.+)$", recipe.read_text(encoding="utf-8"), re.M):
        *sources, target = line.split()
        into_folder = target.endswith("/")
        found += [(one, f"{target}{Path(one).name}" if into_folder else target) for one in sources]
    return found


def test_there_is_one_for_each_kind_of_machine() -> None:
    assert [recipe.stem for recipe in RECIPES] == ["cpu", "cuda"]
    said = (ROOT / "docs" / "containers.md").read_text(encoding="utf-8")
    assert "Neither image was ever built" in said


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_what_it_copies_suffices_to_build_the_package(recipe: Path, tmp_path: Path) -> None:
    for source, target in _copies(recipe):
        place = tmp_path / target
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, place)
    argv = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "out")]
    subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True, timeout=600)
    assert len(list((tmp_path / "out").glob("*.whl"))) == 1


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_nothing_that_it_copies_is_kept_from_the_build(recipe: Path) -> None:
    allowed = [
        line[1:]
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    ]
    assert {source for source, _ in _copies(recipe)} <= set(allowed)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_its_python_is_one_that_the_package_supports(recipe: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = re.search(r"^FROM python:([\d.]+)", recipe.read_text(encoding="utf-8"), re.M)
    assert found is not None
    assert SpecifierSet(project["requires-python"]).contains(found[1])
