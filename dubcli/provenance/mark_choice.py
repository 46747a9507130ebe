"""Which marks a result gets; what can be wrong with them is found before the slow part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dubcli.config import DubConfig, PlanConfig
from dubcli.core.errors import ConfigError
from dubcli.core.reports import Mark
from dubcli.media.container.formats import container_of
from dubcli.provenance.certificate import SigningKey, development_key, own_key
from dubcli.provenance.credentials import (
    EXTRA,
    check_key,
    embeds,
    is_available,
    sidecar_path,
)
from dubcli.provenance.statement import Place, Statement, model_label

LAW = (
    "This result carries no mark. The EU AI Act (Regulation (EU) 2024/1689, article 50) asks that "
    "generated or manipulated video be marked as such in a machine-readable way, and that whoever "
    "publishes a deep fake says that it is one."
)


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What is put on a result.

    Attributes:
        tag: Metadata.
        key: Who signs Content Credentials; None for none.
        place: Where they lie.
        output: The result.
        visible: Every frame shows that it was dubbed.
    """

    tag: bool
    key: SigningKey | None
    place: Place
    output: Path
    visible: bool

    @property
    def sidecar(self) -> Path | None:
        """Where credentials lie beside the result; None where they do not."""
        return sidecar_path(self.output) if self.place == "sidecar" else None

    @property
    def is_matroska(self) -> bool:
        """Whether the container holds any tag."""
        return container_of(self.output).muxer in ("matroska", "webm")

    def statement(self, model: str, weights_sha256: str | None) -> Statement:
        """What the marks say."""
        return Statement(
            model=model_label(model),
            weights_sha256=weights_sha256,
            visible=self.visible,
            credentials=self.place,
        )

    def report(self) -> list[Mark]:
        """The marks as the report states them."""
        found: list[Mark] = []
        if self.tag:
            where = "comment, DUB_MARK" if self.is_matroska else "comment, XMP"
            found.append(Mark(kind="tag", where=where))
        if self.key is not None:
            beside = self.sidecar
            found.append(
                Mark(
                    kind="content-credentials",
                    where="in the file" if beside is None else beside.name,
                    signer=self.key.signer,
                    is_development=self.key.is_development,
                )
            )
        if self.visible:
            found.append(Mark(kind="visible", where="a corner of every frame"))
        return found

    @property
    def notes(self) -> list[str]:
        """What is to be told of marks that are left out."""
        return [] if self.tag else [LAW]


def choose_marks(config: DubConfig, output: Path) -> Marks:
    """Which marks a result gets: all that can be had, unless the user says otherwise.

    Raises:
        ConfigError: The certificate cannot sign, or the extra that signing needs is missing.
    """
    if config.no_mark:
        return Marks(tag=False, key=None, place="none", output=output, visible=False)
    key = _key(config)
    place: Place = "none" if key is None else "embedded" if embeds(output) else "sidecar"
    return Marks(tag=True, key=key, place=place, output=output, visible=config.visible_mark)


def sidecar_of(config: DubConfig, output: Path) -> Path | None:
    """The file that credentials will be written to beside a result; None for none."""
    if config.no_mark or embeds(output) or not is_available():
        return None
    return sidecar_path(output)


def in_words(marks: list[Mark]) -> str:
    """Such as `tag (comment, XMP), Content Credentials (in the file, signed by Anna)`."""
    return ", ".join(_mark_in_words(mark) for mark in marks) or "none"


def _mark_in_words(mark: Mark) -> str:
    if mark.kind == "content-credentials":
        by = "a development certificate" if mark.is_development else mark.signer
        return f"Content Credentials ({mark.where}, signed by {by})"
    return f"{'tag' if mark.kind == 'tag' else 'visible mark'} ({mark.where})"


def _key(config: DubConfig) -> SigningKey | None:
    if config.c2pa_cert is None or config.c2pa_key is None:
        if not is_available():
            return None
        key = development_key(keep=not isinstance(config, PlanConfig))
    else:
        if not is_available():
            raise ConfigError("Signing with --c2pa-cert needs the extra c2pa.", f"Run: {EXTRA}")
        key = own_key(config.c2pa_cert, config.c2pa_key)
    check_key(key)
    return key
