"""What is known of a weight file before it is looked at."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HUB_PREFIX = "hf:"
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class HubSource:
    """A file in a Hugging Face repository.

    Attributes:
        repo: `ORG/REPO`.
        revision: A commit; a branch where no commit is known, whose commit is then recorded.
        file: Path in the repository.
    """

    repo: str
    revision: str
    file: str

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, which never moves."""
        return _COMMIT.fullmatch(self.revision) is not None

    def __str__(self) -> str:
        return f"{self.repo}/{self.file}"


@dataclass(frozen=True, kw_only=True)
class UrlSource:
    """A file at an address of its own, such as a release or a bucket."""

    url: str

    @property
    def file(self) -> str:
        """Its name."""
        return self.url.rsplit("/", 1)[-1]

    def __str__(self) -> str:
        return self.url


Source = HubSource | UrlSource


@dataclass(frozen=True, kw_only=True)
class WeightEntry:
    """A weight file, as the manifest or its own configuration describes it.

    Attributes:
        name: `architecture.tag`; the architecture alone where no weights are needed; `hf:...` or
            a path for what is in no manifest.
        architecture: Name in the model registry, or of the part.
        role: `model`, or `part` where users cannot dub with it alone.
        package: Path of the file inside the package, None where it is not shipped.
        path: A file of the user's own, None for all others.
        sources: Where it is downloaded from, the best first; all of them hold the same file.
        sha256: Hex digest of the file; None where there is no file, or nobody states it.
        sha256_start: How the digest begins, where no more of it is known.
        num_bytes: Size of the file; None where it is not known.
        config: Arguments of the model's configuration.
        license: Licence of the weights.
        commercial: Whether it allows commercial use; None where that is not stated.
        needed_by: What uses it, such as `evaluate`.
        source: What they were trained on, in words.
        metrics: Measured scores by name.
    """

    name: str
    architecture: str
    role: str = "model"
    package: str | None = None
    path: Path | None = None
    sources: tuple[Source, ...] = ()
    sha256: str | None = None
    sha256_start: str = ""
    num_bytes: int | None = 0
    config: dict[str, Any] = field(default_factory=dict[str, Any])
    license: str = ""
    commercial: bool | None = None
    needed_by: tuple[str, ...] = ()
    source: str = ""
    metrics: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def needs_weights(self) -> bool:
        """Whether there is a file to load."""
        return self.package is not None or self.path is not None or bool(self.sources)

    @property
    def must_be_accepted(self) -> bool:
        """Whether it is downloaded under a licence that does not allow every use."""
        return bool(self.sources) and self.commercial is not True

    @property
    def agreement(self) -> str:
        """What an accepted licence is kept under: a repository as a whole, else the name."""
        return self.name.split("@")[0] if self.name.startswith(HUB_PREFIX) else self.name
