"""Help and plain imports answer at once: nothing heavy is loaded for them."""

from __future__ import annotations

import os
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


def _loaded(code: str, heavy: tuple[str, ...] = HEAVY) -> set[str]:
    """Heavy modules that are in memory after the code ran in a fresh interpreter."""
    probe = f"import sys\n{code}\nprint(*(set({heavy!r}) & set(sys.modules)), file=sys.stderr)"
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
    ("loads_torch", "code"),
    [
        (True, "import dubcli; dubcli.Engine"),
        (
            False,
            "import dubcli.cli.app as cli\ntry: cli.app(['--version'])\nexcept SystemExit: pass",
        ),
    ],
)
def test_threads_that_wait_leave_the_cores_to_others(loads_torch: bool, code: str) -> None:
    probe = (
        f"{code}\nimport os, sys; print(os.environ.get('OMP_WAIT_POLICY'), 'torch' in sys.modules)"
    )
    without = {key: value for key, value in os.environ.items() if "OMP_" not in key}

    def run_with(**own: str) -> list[str]:
        run = subprocess.run(
            [sys.executable, "-c", probe], env={**without, **own}, capture_output=True, check=True
        )
        return run.stdout.decode().split()[-2:]

    assert run_with() == ["PASSIVE", str(loads_torch)]
    assert run_with(OMP_WAIT_POLICY="ACTIVE")[0] == "ACTIVE"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["train", "--help"], ["identities", "--help"]]
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import dubcli.cli.app\n"
        f"try: dubcli.cli.app.app({arguments!r})\n"
        "except SystemExit as stop: assert not stop.code, stop.code"
    )
    assert _loaded(code, (*HEAVY, "numpy", "urllib.request")) == set()


def test_public_names_are_there() -> None:
    import dubcli

    assert dubcli.DubConfig.model
    assert dubcli.DubReport(output="x").frames == 0
    assert set(dubcli.__all__) <= set(dir(dubcli))
    with pytest.raises(AttributeError, match="nothing"):
        _ = dubcli.nothing  # pyright: ignore[reportAttributeAccessIssue]
