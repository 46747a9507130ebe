"""A quick suite on every other Python that is installed: demo, unit and contract tests.

    python tests/other_pythons.py

Looks for Python 3.11 to 3.14 on PATH and among pyenv's, and names those that are missing. Each has
an environment `.venv-3.NN` here, which is made once for one `constraints.txt`; every run installs
the wheel of this working tree anew, so no test sees the sources. The Python that runs this is left
out: `tests/check.py` runs everything on it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from check import ENVIRONMENT, ROOT

VERSIONS = ("3.11", "3.12", "3.13", "3.14")
# Where no CPU build of torch is at hand, an environment takes 6 GB, and pip as much for a while.
_LEAST_FREE_BYTES = 15 * 10**9
# PyAV's newest release differs by Python: its frames' metadata and libsndfile's sound besides.
_TESTS = ("unit", "contract", "media/test_hdr.py", "media/test_sound_file.py")


def find_python(version: str) -> Path | None:
    """An interpreter of a version, such as 3.13; None where there is none."""
    candidates = [shutil.which(f"python{version}")]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates += [str(path) for path in sorted(pyenv.glob(f"{version}.*/bin/python"))]
    for candidate in candidates:
        # pyenv's shims stand for versions that may not be chosen.
        if candidate and _succeeds(
            candidate, f"assert '%d.%d' % sys.version_info[:2] == '{version}'"
        ):
            return Path(candidate)
    return None


def _succeeds(python: str, code: str) -> bool:
    command = [python, "-c", f"import sys; {code}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def environment(python: Path, folder: Path) -> Path:
    """The interpreter of an environment that holds all but the package itself."""
    inside = folder / "bin" / "python"
    stamp, wanted = folder / "constraints.sha256", _constraints()
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return inside
    shutil.rmtree(folder, ignore_errors=True)
    if shutil.disk_usage(folder.parent).free < _LEAST_FREE_BYTES:
        raise OSError(f"less than {_LEAST_FREE_BYTES / 1e9:.0f} GB are free")
    _run(python, "-m", "venv", folder)
    _pip(inside, ".[dev]")
    stamp.write_text(wanted, encoding="utf-8")
    return inside


def _constraints() -> str:
    files = (ROOT / name for name in ("constraints.txt", "pyproject.toml"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def check(python: Path, wheel: Path, scratch: Path) -> bool:
    """Install the wheel, dub the demo clip, run the tests; True where all went well."""
    _pip(python, "--force-reinstall", "--no-deps", wheel)
    scratch.mkdir()
    result = scratch / "demo.mp4"
    # -P: the package is the installed one, not the one that lies here.
    _run(python, "-P", "-m", "dubcli", "demo", "-q", "-o", result, cwd=scratch)
    if not result.is_file():
        return False
    workers = ("-n", str(os.cpu_count() or 1), "--dist", "loadfile")
    tests = [ROOT / "tests" / name for name in _TESTS]
    command = [python, "-P", "-m", "pytest", "-q", *workers, "--basetemp", scratch / "t", *tests]
    return _run(*command, is_checked=False) == 0


def _pip(python: Path, *arguments: Path | str) -> None:
    _run(python, "-m", "pip", "install", "-q", "-c", "constraints.txt", *arguments)


def _run(*command: Path | str, cwd: Path = ROOT, is_checked: bool = True) -> int:
    argv = [str(word) for word in command]
    # The sources must not come in by a path that this process was given.
    variables = {k: v for k, v in {**os.environ, **ENVIRONMENT}.items() if k != "PYTHONPATH"}
    return subprocess.run(argv, cwd=cwd, env=variables, check=is_checked).returncode


def main() -> int:
    """0 where every Python that is installed passes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=VERSIONS, nargs="+", default=VERSIONS)
    parser.add_argument("--folder", type=Path, default=ROOT, help="where the environments lie")
    arguments = parser.parse_args()
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="dub-pythons-") as temporary:
        scratch = Path(temporary)
        _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", scratch / "wheel")
        (wheel,) = (scratch / "wheel").glob("*.whl")
        for version in arguments.only:
            if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
                continue
            python = find_python(version)
            if python is None:
                print(f"Python {version}: not installed here, so not tested.", flush=True)
                continue
            print(f"Python {version}: {python}", flush=True)
            try:
                inside = environment(python, arguments.folder / f".venv-{version}")
            except (subprocess.CalledProcessError, OSError) as error:
                # Its torch may not be obtainable, or not fit on the disk: no fault of the code.
                print(f"Python {version}: no environment could be made, so not tested: {error}.")
                continue
            try:
                passed = check(inside, wheel, scratch / version)
            except subprocess.CalledProcessError as error:
                print(f"Python {version}: {' '.join(error.cmd)} failed.", flush=True)
                passed = False
            print(f"Python {version}: {'passed' if passed else 'FAILED'}.", flush=True)
            failed += [] if passed else [version]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
