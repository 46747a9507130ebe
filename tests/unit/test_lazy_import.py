"""Help and plain imports answer at once: nothing heavy is loaded for them."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "cv2",
    "av",
    "mediapipe",
    "onnxruntime",
    "soundfile",
    "huggingface_hub",
    "safetensors",
)


def _loaded(code: str) -> set[str]:
    """Heavy modules that are in memory after the code ran in a fresh interpreter."""
    probe = f"import sys\n{code}\nprint(*(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)"
    run = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, timeout=300, check=True
    )
    return set(run.stderr.split())


@pytest.mark.parametrize(
    "code",
    [
        "import dubcli",
        "import dubcli.cli.app",
        "from dubcli import DubConfig",
        "import dubcli.weights.manifest; dubcli.weights.manifest.load_manifest()",
        "from dubcli.identities.store import list_identities; list_identities()",
    ],
)
def test_import_loads_nothing_heavy(code: str) -> None:
    assert _loaded(code) == set()


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["train", "--help"], ["identities", "--help"]]
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import dubcli.cli.app\n"
        f"try: dubcli.cli.app.app({arguments!r})\n"
        "except SystemExit as stop: assert not stop.code, stop.code"
    )
    assert _loaded(code) == set()


def test_public_names_are_there() -> None:
    import dubcli

    assert dubcli.DubConfig.model
    assert dubcli.DubReport(output="x").frames == 0
    assert set(dubcli.__all__) <= set(dir(dubcli))
    with pytest.raises(AttributeError, match="nothing"):
        _ = dubcli.nothing  # pyright: ignore[reportAttributeAccessIssue]
