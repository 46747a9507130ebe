"""The main line that docs/architecture.md lists is the one that a dub takes."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import dubcli

PACKAGE = Path(dubcli.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"


def _listed() -> list[tuple[str, str]]:
    """File and function of each stage, in the page's order."""
    text = PAGE.read_text(encoding="utf-8")
    section = text.split("## The main line of a dub", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^\| `([\w/]+\.py)` \| `([\w.]+)` \|", section, re.MULTILINE)


def _defined(path: Path) -> set[str]:
    """Functions and classes of a file, methods as `Class.method`."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            inside = [part for part in node.body if isinstance(part, ast.FunctionDef)]
            names |= {f"{node.name}.{part.name}" for part in inside}
    return names


def _calls(path: Path, function: str) -> list[str]:
    """Names that a function calls, in the order of the source."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            found = [part for part in ast.walk(node) if isinstance(part, ast.Call)]
            found.sort(key=lambda call: (call.lineno, call.col_offset))
            return [
                call.func.id if isinstance(call.func, ast.Name) else call.func.attr
                for call in found
                if isinstance(call.func, ast.Name | ast.Attribute)
            ]
    raise AssertionError(f"{path} has no {function}")


def test_every_stage_is_where_the_page_says() -> None:
    stages = _listed()
    assert 8 <= len(stages) <= 14
    for file, name in stages:
        assert name in _defined(PACKAGE / file), (file, name)


def test_the_stages_run_in_the_page_s_order() -> None:
    """`dub` calls them itself, or the two helpers beside it do: at most one hop away."""
    run = PACKAGE / "pipeline" / "run.py"
    order: list[str] = []
    for name in _calls(run, "dub"):
        order += _calls(run, name) if name in _defined(run) else [name]
    wanted = [
        name
        for file, name in _listed()
        if Path(file).name not in ("dub_command.py", "dub_config.py", "run.py", "renderer.py")
    ]
    places = [order.index(name) for name in wanted]
    assert places == sorted(places)


def test_a_decision_reads_and_loads_nothing() -> None:
    text = (PACKAGE / "pipeline" / "decision.py").read_text(encoding="utf-8")
    for word in ("FrameReader", "load_", "read_", "Detector", "Renderer", "Engine"):
        assert word not in text
