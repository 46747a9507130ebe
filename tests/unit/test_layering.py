"""Who may import whom, read from the source without running it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dubcli

PACKAGE = Path(dubcli.__file__).parent


@dataclass(frozen=True)
class Rule:
    """Third-party packages a layer may use (None: any but typer, rich), and layers it may use."""

    third_party: frozenset[str] | None
    layers: frozenset[str]


def _rule(third_party: str | None, layers: str) -> Rule:
    allowed = None if third_party is None else frozenset(third_party.split())
    return Rule(allowed, frozenset(layers.split()))


STAGES = "core config media face audio composite weights provenance metrics models occlusion sync"
RULES = {
    "core": _rule("numpy platformdirs onnxruntime", ""),
    "config": _rule("numpy", "core"),
    "media": _rule("numpy av ffmpeg imageio_ffmpeg soundfile", "core config"),
    "face": _rule("numpy cv2 mediapipe", "core occlusion weights"),
    "audio": _rule("numpy", "core"),
    "composite": _rule("numpy cv2", "core face"),
    "weights": _rule("torch safetensors huggingface_hub filelock", "core models"),
    "identities": _rule("numpy torch safetensors cv2", "core face weights"),
    "provenance": _rule("numpy cv2 c2pa cryptography", "core config media"),
    "compare": _rule("numpy cv2", "core config media provenance"),
    "review": _rule("numpy jinja2", "core config face media metrics compare"),
    "study": _rule("numpy jinja2", "core config media metrics compare review"),
    "metrics": _rule(None, "core face media"),
    "models": _rule(
        "torch einops numpy cv2 safetensors", "core config audio face metrics sync training weights"
    ),
    "occlusion": _rule(None, "core config face weights training sync"),
    "sync": _rule(None, "core config audio face media models weights training pipeline"),
    "training": _rule(None, f"{STAGES} pipeline"),
    "pipeline": _rule(None, f"{STAGES} compare identities preview"),
    "preview": _rule(None, f"{STAGES} identities pipeline"),
    "personalize": _rule(None, f"{STAGES} identities training pipeline"),
    "evaluation": _rule(None, f"{STAGES} identities pipeline"),
    "paper_tables": _rule(None, f"{STAGES} identities training pipeline personalize evaluation"),
    "batches": _rule(
        None, f"{STAGES} identities pipeline preview personalize evaluation user_settings"
    ),
    "doctor": _rule("torch cv2 av huggingface_hub", "core config media identities weights"),
    "user_settings": _rule("", "core config models"),
    "cli": _rule(
        "typer rich",
        f"{STAGES} compare review study identities training pipeline preview personalize"
        " evaluation paper_tables doctor batches"
        " user_settings",
    ),
    "__init__": _rule("", f"{STAGES} pipeline preview personalize evaluation batches"),
    "__main__": _rule("", "cli"),
}


def _layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    """Absolute names of everything a file imports, at any depth."""
    package = ["dubcli", *path.relative_to(PACKAGE).parent.parts]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def _violations(path: Path) -> list[str]:
    rule = RULES[_layer(path)]
    found: list[str] = []
    for name in sorted(_imports(path)):
        top, *rest = name.split(".")
        if top == "dubcli":
            layer = rest[0] if rest else ""
            is_wrong = layer in RULES and layer not in (rule.layers | {_layer(path)})
        elif top in sys.stdlib_module_names:
            is_wrong = False
        elif top in ("typer", "rich"):
            is_wrong = _layer(path) != "cli"
        else:
            is_wrong = rule.third_party is not None and top not in rule.third_party
        if is_wrong:
            found.append(f"{path.relative_to(PACKAGE.parent)} imports {name}")
    return found


def _sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_every_module_belongs_to_a_known_layer() -> None:
    assert {_layer(path) for path in _sources()} <= set(RULES)


def test_layers_import_only_what_the_table_allows() -> None:
    assert [line for path in _sources() for line in _violations(path)] == []


def test_only_the_detector_imports_mediapipe() -> None:
    users = [
        str(path.relative_to(PACKAGE))
        for path in _sources()
        if any(name.split(".")[0] == "mediapipe" for name in _imports(path))
    ]
    assert set(users) <= {"face/mediapipe_detector.py"}


# Files whose names mean the same in every folder.
ROLES = {
    *("__init__", "network", "stages", "config", "losses", "adapt", "training", "run"),
    *("options", "paper_tables"),
}
MOST_LINES, MOST_FUNCTION_LINES = 450, 60


def test_no_two_files_have_one_name() -> None:
    places: dict[str, list[str]] = {}
    for path in _sources():
        places.setdefault(path.stem, []).append(str(path.relative_to(PACKAGE)))
    assert {n: where for n, where in places.items() if len(where) > 1 and n not in ROLES} == {}


def test_no_two_classes_have_one_name() -> None:
    places: dict[str, list[str]] = {}
    for path, node in _definitions(ast.ClassDef):
        places.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_files_and_functions_can_be_read_without_a_map() -> None:
    long = [
        f"{path.relative_to(PACKAGE)}: {count} lines"
        for path in _sources()
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    ]
    for path, node in _definitions((ast.FunctionDef, ast.AsyncFunctionDef)):
        count = (node.end_lineno or node.lineno) - node.lineno + 1
        if count > MOST_FUNCTION_LINES:
            long.append(f"{path.relative_to(PACKAGE)}, {node.name}: {count} lines")
    assert long == []


def _definitions(kinds: Any) -> Iterator[tuple[Path, Any]]:
    for path in _sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, kinds):
                yield path, node
