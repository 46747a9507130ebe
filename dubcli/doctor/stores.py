"""Weights, free space, where things are kept, and whether the hub answers."""

from __future__ import annotations

import os
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

from dubcli.config import DubConfig
from dubcli.core.choices import RECOGNISER_PARTS, feature_parts
from dubcli.core.errors import DubError, MediaError, WeightsError
from dubcli.doctor.check import Check

LITTLE_DISK_BYTES = 1 << 30
# The main job writes its parts before it knows that there is no room: so little is none.
_NO_DISK_BYTES = 16 << 20
_HUB_S = 3.0


def weights() -> Check:
    """The default model's, and what it needs: here and whole.

    Raises:
        WeightsError: They are not.
    """
    from dubcli.weights.resolve import resolve, size_in_words, verify

    try:
        entry = resolve(DubConfig.model)
    except DubError as error:
        raise WeightsError(
            f"No weights of the default model '{DubConfig.model}' are listed.",
            "Install dubcli again.",
        ) from error
    verify(entry)
    for part in _recognisers(entry.config):
        verify(resolve(part, role="part"))
    return Check(name="weights", value=f"{entry.name}, {size_in_words(entry)}, verified")


def other_weights() -> Check:
    """All others that are on this machine, verified; the main job needs none of them."""
    from dubcli.weights.manifest import load_manifest
    from dubcli.weights.resolve import is_whole, local_path

    manifest = load_manifest()
    default = f"{DubConfig.model}.{manifest.default.get(DubConfig.model)}"
    entry = manifest.weights.get(default)
    its_parts = _recognisers(entry.config if entry else {})
    others = [
        entry
        for entry in manifest.weights.values()
        if entry.needs_weights and entry.name != default and entry.architecture not in its_parts
    ]
    here = [entry for entry in others if local_path(entry) is not None]
    damaged = [entry.name for entry in here if not is_whole(entry)]
    told = f"{len(here)} of {len(others)} are here"
    return Check(
        name="other weights",
        value=told + (f", damaged: {', '.join(damaged)}" if damaged else ", all whole"),
        fix=f"dub models pull {' '.join(damaged)}" if damaged else "",
    )


def _recognisers(config: Mapping[str, Any]) -> set[str]:
    """Parts that the sync expert and a model of this configuration hear by."""
    kinds = {"speech", config.get("second_audio_kind")}
    kinds |= set(feature_parts(config.get("audio_kind", "speech")))
    return {RECOGNISER_PARTS[kind] for kind in kinds if kind in RECOGNISER_PARTS}


def disk() -> Check:
    """Space where a result would lie by default."""
    free = shutil.disk_usage(Path.cwd()).free
    return Check(
        name="disk",
        value=f"{free / 1e9:.1f} GB free in {Path.cwd()}",
        fix="Free some space: results need room." if free < LITTLE_DISK_BYTES else "",
        exit_code=MediaError.exit_code if free < _NO_DISK_BYTES else 0,
    )


def temporary() -> Check:
    """Where parts of a plan, covers and mixed sound are written for a while.

    Raises:
        MediaError: Nothing can be written there.
    """
    import tempfile

    try:
        folder = tempfile.gettempdir()
    except OSError as error:
        raise MediaError(
            "No folder for temporary files can be written.", "Set TMPDIR to one that can."
        ) from error
    free = shutil.disk_usage(folder).free
    return Check(
        name="temporary files",
        value=f"{free / 1e9:.1f} GB free in {folder}",
        fix="Free some space, or set TMPDIR." if free < LITTLE_DISK_BYTES else "",
    )


def paths() -> list[Check]:
    """Where weights, what the user made, and identities are kept."""
    from dubcli.core.paths import data_home
    from dubcli.identities.store import identities_home
    from dubcli.weights.download import hub_cache

    places = {
        "weights cache": (hub_cache(), "HF_HUB_CACHE"),
        "user data": (data_home(), "DUB_HOME"),
        "identities": (identities_home(), "DUB_HOME"),
    }
    return [_place(name, *place) for name, place in places.items()]


def hub() -> Check:
    """Whether the hub of weights answers within a few seconds; the main job does not need it."""
    from huggingface_hub import constants

    from dubcli.weights.download_errors import is_offline

    address = constants.ENDPOINT
    if is_offline():
        return Check(name="hub", value=f"{address}: not asked, HF_HUB_OFFLINE is set")
    problem = _problem_of(address)
    if problem is None:
        return Check(name="hub", value=f"{address} answers")
    return Check(
        name="hub",
        value=f"{address} does not answer: {problem}",
        fix="Only dub models pull and push need it; HF_ENDPOINT names a mirror.",
    )


def _place(name: str, path: Path, variable: str) -> Check:
    nearest = next((one for one in (path, *path.parents) if one.exists()), path)
    is_usable = nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    state = "" if path.exists() else " (not made yet)"
    return Check(
        name=name,
        value=f"{path}{state}{'' if is_usable else ': cannot be written'}",
        fix="" if is_usable else f"Make it writable, or set {variable} to another folder.",
    )


def _problem_of(address: str) -> str | None:
    """Why an address does not answer; None when it does, whatever it says."""
    said: list[str | None] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(address, method="HEAD")
            with urllib.request.urlopen(request, timeout=_HUB_S):
                said.append(None)
        except urllib.error.HTTPError:
            said.append(None)
        # The last two: an address that is none, an answer that is none.
        except (OSError, ValueError, HTTPException) as error:
            said.append(str(getattr(error, "reason", error)))

    # Looking up a name has no time limit of its own.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_HUB_S + 1)
    return said[0] if said else f"nothing within {_HUB_S + 1:.0f} s"
