"""Who may import whom, read from the source without running it."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

import dubcli

PACKAGE = Path(dubcli.__file__).parent


@dataclass(frozen=True)
class Rule:
    """Third-party packages a layer may use (None: any but typer, rich), and layers it may not."""

    third_party: frozenset[str] | None
    forbidden: frozenset[str]


def _rule(third_party: str | None, forbidden: str) -> Rule:
    allowed = None if third_party is None else frozenset(third_party.split())
    return Rule(allowed, frozenset(forbidden.split()))


STAGES = (
    "audio catalogue composite evaluation face hub identities marks media models pipeline training "
    "weights"
)
# What puts stages together, and what the terminal shows of it.
JOBS = "identities marks pipeline training evaluation"
TERMINAL = "cli cli_help cli_identities cli_inspect cli_models cli_plan cli_view"
RULES = {
    "types": _rule("numpy", f"{STAGES} {TERMINAL} doctor config errors"),
    "plan_types": _rule("", f"{STAGES} {TERMINAL} doctor config errors types"),
    "words": _rule("", f"{STAGES} {TERMINAL} doctor config errors types"),
    "errors": _rule("", f"{STAGES} {TERMINAL} doctor config types"),
    "config": _rule("numpy", f"{STAGES} {TERMINAL} doctor"),
    "config_words": _rule("", f"{STAGES} {TERMINAL} doctor config types"),
    "catalogue": _rule("", f"{STAGES.replace('catalogue ', '')} {TERMINAL} doctor config types"),
    "media": _rule(
        "numpy av ffmpeg imageio_ffmpeg",
        f"audio composite face hub models weights {JOBS} {TERMINAL} doctor",
    ),
    "face": _rule(
        "numpy cv2 mediapipe", f"audio hub media models weights {JOBS} {TERMINAL} doctor"
    ),
    "composite": _rule("numpy cv2", f"audio hub media models weights {JOBS} {TERMINAL} doctor"),
    "audio": _rule(
        "numpy onnxruntime", f"face hub models media composite weights {JOBS} {TERMINAL} doctor"
    ),
    "models": _rule(
        "torch einops numpy", f"media face audio composite hub weights {JOBS} {TERMINAL} doctor"
    ),
    "weights": _rule(
        "torch safetensors",
        f"media face audio composite {JOBS} {TERMINAL} doctor",
    ),
    "home": _rule("platformdirs", f"{STAGES} {TERMINAL} doctor config errors types"),
    "hub": _rule(
        "huggingface_hub filelock",
        f"{STAGES.replace('hub ', '')} {TERMINAL} doctor config types",
    ),
    "identities": _rule(
        "numpy torch safetensors cv2",
        f"media audio composite pipeline training evaluation {TERMINAL} doctor",
    ),
    "marks": _rule(
        "numpy cv2 c2pa cryptography",
        f"audio composite face hub models weights {JOBS.replace('marks ', '')} {TERMINAL} doctor",
    ),
    "pipeline": _rule(None, f"training evaluation {TERMINAL} doctor"),
    "training": _rule(None, f"evaluation {TERMINAL} doctor"),
    "evaluation": _rule(None, f"training {TERMINAL} doctor"),
    "doctor": _rule(
        "torch cv2 av huggingface_hub",
        f"audio catalogue composite evaluation face models pipeline training {TERMINAL}",
    ),
    "cli_view": _rule("rich", f"{STAGES} {TERMINAL.replace(' cli_view', '')} doctor"),
    "cli_help": _rule("", f"{STAGES} {TERMINAL.replace('cli_help ', '')} doctor errors types"),
    "cli_identities": _rule(
        "typer rich", "face audio composite media models pipeline training evaluation cli doctor"
    ),
    "cli_inspect": _rule(
        "typer rich",
        "face audio composite hub media models pipeline training evaluation identities cli doctor",
    ),
    "cli_models": _rule(
        "typer rich",
        "face audio composite media models pipeline training evaluation identities cli doctor",
    ),
    "cli_plan": _rule(
        "typer rich", "face audio composite media models identities training evaluation cli doctor"
    ),
    "cli": _rule("typer rich", "face audio composite media models"),
    "__init__": _rule("", TERMINAL),
    "__main__": _rule("", STAGES),
}
TERMINAL_LAYERS = {
    *("cli", "cli_identities", "cli_inspect", "cli_models", "cli_plan", "cli_view"),
}


def _layer(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "pipeline" if first.startswith("pipeline") else first


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
            layer = "pipeline" if layer.startswith("pipeline") else layer
            is_wrong = layer in rule.forbidden
        elif top in sys.stdlib_module_names:
            is_wrong = False
        elif top in ("typer", "rich"):
            is_wrong = _layer(path) not in TERMINAL_LAYERS
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
    assert set(users) <= {"face/detect.py"}
