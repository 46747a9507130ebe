"""What the first command of the README installs fits in 1.4 GiB, torch for processors included.

Some of it are programs that test torch, which nothing loads: without them it is 1.4 GB at most.
"""

from __future__ import annotations

import importlib.metadata
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path, PurePath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import dubcli

LARGEST_BYTES = int(1.4 * 2**30)
LARGEST_NEEDED_BYTES = 1_400_000_000
# Disks give files whole blocks; tens of thousands of small files make that 4 % of the whole.
BLOCK_BYTES = 4096
PACKAGE = "dubcli"


def _installed() -> dict[str, Distribution]:
    """The package and all that it needs, without extras, by name."""
    found: dict[str, Distribution] = {}
    waiting = [PACKAGE]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        found[name] = importlib.metadata.distribution(name)
        needed = map(Requirement, found[name].requires or [])
        waiting += [one.name for one in needed if not one.marker or one.marker.evaluate()]
    return found


def _on_disk(files: list[Path]) -> int:
    """Bytes; compiled Python is left out, as the command does."""
    kept = (path for path in files if path.suffix != ".pyc" and path.is_file())
    return sum(-(-path.stat().st_size // BLOCK_BYTES) * BLOCK_BYTES for path in kept)


def _files(installed: Distribution) -> list[Path]:
    return [Path(str(installed.locate_file(file))) for file in installed.files or ()]


def _is_torch_test(file: PurePath) -> bool:
    """What docs/install.md deletes."""
    return file.parts[:2] == ("torch", "test") or (
        file.parts[:2] == ("torch", "bin") and file.name.startswith("test_")
    )


def _torch_tests() -> int:
    torch = importlib.metadata.distribution("torch")
    return _on_disk(
        [Path(str(torch.locate_file(file))) for file in torch.files or () if _is_torch_test(file)]
    )


def test_an_installation_fits_on_a_small_disk() -> None:
    installed = _installed()
    if any(name.startswith("nvidia-") for name in installed):
        pytest.skip("torch is the build for NVIDIA GPUs here, which takes gigabytes by itself")
    # As sources, for an editable installation lists none of its files.
    del installed[PACKAGE]
    sizes = {name: _on_disk(_files(one)) for name, one in installed.items()}
    sizes[PACKAGE] = _on_disk(list(Path(dubcli.__file__).parent.rglob("*")))
    try:
        # Each environment has one of its own.
        sizes["pip"] = _on_disk(_files(importlib.metadata.distribution("pip")))
    except PackageNotFoundError:
        print("This environment has no pip.")
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:8]
    told = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in largest)
    total = sum(sizes.values())
    print(f"{total / 1e9:.3f} GB: {told}")
    assert total <= LARGEST_BYTES, f"{total / 1e9:.3f} GB: {told}"
    needed = total - _torch_tests()
    print(f"{needed / 1e9:.3f} GB without torch's tests")
    assert needed <= LARGEST_NEEDED_BYTES, f"{needed / 1e9:.3f} GB: {told}"
    # What is not counted cannot be too large.
    assert sizes["torch"] > 300_000_000
    assert all(sizes.values()), sizes
