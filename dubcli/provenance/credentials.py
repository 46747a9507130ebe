"""Signed Content Credentials (C2PA 2.x): put them into a result, and read them back.

mp4 and mov carry them inside, in a box before the index; Matroska and WebM have no place for them
yet, so they lie beside the file as `NAME.c2pa`. The library reads and writes streams in pieces: it
holds at most about half a gigabyte, whatever the file's size. Nothing here uses the network.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from dubcli import __version__
from dubcli.core.errors import ConfigError, EncodeError
from dubcli.core.json_text import parse_json
from dubcli.provenance.certificate import DEVELOPMENT_NAME, SigningKey
from dubcli.provenance.statement import SOURCE_TYPE, TOOL, Statement, printable

EXTRA = "pip install 'dubcli[c2pa]'"
SIDECAR = ".c2pa"
_FORMATS = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
}
_EMBEDDING = (".mp4", ".m4v", ".mov")
_ASSERTION = "dubcli.statement"
# States of a file's credentials.
INTACT, ALTERED, DAMAGED = "intact", "altered", "damaged"
# What a certificate that nobody here knows leads to; it says nothing of the content.
_NOT_TRUSTED = "signingCredential.untrusted"


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What a file's Content Credentials say and whether that can be believed.

    Attributes:
        state: `intact`: signed, and the file is as it was; `altered`: it is not; `damaged`:
            nothing can be read.
        where: In which file they lie: `embedded` or `sidecar`.
        signer: Common name in the certificate.
        issuer: Its organisation.
        is_development: The certificate is one that this tool made, which vouches for nobody.
        is_trusted: The certificate's authority is known here: this computer's own development
            authority, or one that the user named.
        source_types: Digital source types of the actions.
        problems: Codes of C2PA for what is wrong.
    """

    state: str
    where: str
    signer: str = ""
    issuer: str = ""
    is_development: bool = False
    is_trusted: bool = False
    source_types: tuple[str, ...] = ()
    problems: tuple[str, ...] = field(default=())


def is_available() -> bool:
    """Whether the extra `c2pa` is installed and works here."""
    try:
        import c2pa
        import cryptography
    except (ImportError, OSError, RuntimeError):  # a wheel without its native library
        return False
    return bool(c2pa and cryptography)


def embeds(output: Path) -> bool:
    """Whether the kind of file carries credentials inside."""
    return output.suffix.lower() in _EMBEDDING


def sidecar_path(output: Path) -> Path:
    """Where credentials lie that the file cannot carry."""
    return output.with_suffix(SIDECAR)


def check_key(key: SigningKey) -> None:
    """Sign a few bytes, so that a certificate that C2PA refuses is found before the slow part.

    Raises:
        ConfigError: It is refused.
    """
    import c2pa

    action = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE}
    assertion = {"label": "c2pa.actions.v2", "data": {"actions": [action]}}
    builder = c2pa.Builder({**_claimant("check"), "assertions": [assertion]})
    builder.set_no_embed()
    try:
        signer = _signer(key)
        builder.sign(signer, "application/octet-stream", io.BytesIO(b"check"), io.BytesIO())
    except c2pa.C2paError as error:
        raise ConfigError(
            f"The certificate in {key.origin} cannot sign Content Credentials: {_said(error)}.",
            "C2PA needs a chain: a certificate for e-mail protection or document signing, then "
            "the authority that issued it.",
        ) from error


def sign(
    made: Path, target: Path, *, statement: Statement, key: SigningKey, source: Path, title: str
) -> None:
    """Sign a finished file.

    Args:
        made: The file. It stays as it is.
        target: The signed copy where the container embeds credentials, else the sidecar.
        statement: What was done.
        key: Whose signature.
        source: What was dubbed; its own credentials are kept as the result's past.
        title: Name of the result.

    Raises:
        EncodeError: It cannot be signed or written.
    """
    import c2pa

    try:
        with made.open("rb") as file:
            builder = _builder(statement, title, source)
            if embeds(made):
                with target.open("w+b") as signed:
                    builder.sign(_signer(key), _FORMATS[made.suffix.lower()], file, signed)
                return
            builder.set_no_embed()
            manifest = builder.sign(
                _signer(key), _FORMATS[made.suffix.lower()], file, _Unwritten(made)
            )
            target.write_bytes(manifest)
    except (c2pa.C2paError, OSError) as error:
        target.unlink(missing_ok=True)
        raise EncodeError(
            f"'{title}' cannot be signed: {_said(error)}.",
            "Free some space, or leave out Content Credentials and all marks with --no-mark.",
        ) from error


def read_credentials(path: Path, anchors: str = "") -> Credentials | None:
    """Read and verify the credentials of a file; None where it has none.

    Args:
        path: A media file; beside it a sidecar is looked for where it carries none inside.
        anchors: PEM of authorities that are trusted.

    Raises:
        ConfigError: The anchors cannot be read.
    """
    import c2pa

    settings: dict[str, Any] = {
        "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    }
    if anchors:
        settings["trust"] = {"user_anchors": anchors}
    try:
        context = c2pa.Context.from_dict(settings)
    except c2pa.C2paError as error:
        raise ConfigError(
            f"The trusted certificates cannot be read: {_said(error)}.", "Give a PEM file."
        ) from error
    sidecar = sidecar_path(path)
    kind = _FORMATS.get(path.suffix.lower(), "application/octet-stream")
    if embeds(path):
        with path.open("rb") as file:
            found = _read(context, kind, file, None, "embedded")
        if found is not None or not sidecar.is_file():
            return found
    if not sidecar.is_file():
        return None
    with path.open("rb") as file:
        return _read(context, kind, file, sidecar.read_bytes(), "sidecar")


def _read(
    context: Any, kind: str, file: IO[bytes], manifest: bytes | None, where: str
) -> Credentials | None:
    import c2pa

    try:
        with c2pa.Reader(kind, file, manifest, context=context) as reader:
            facts = parse_json(reader.json())
            state, results = reader.get_validation_state(), reader.get_validation_results()
    except c2pa.C2paError.ManifestNotFound:  # pyright: ignore[reportAttributeAccessIssue]
        return None
    except (c2pa.C2paError, ValueError) as error:
        return Credentials(state=DAMAGED, where=where, problems=(_said(error),))
    active = facts["manifests"][facts["active_manifest"]]
    signature = active.get("signature_info") or {}
    failures = ((results or {}).get("activeManifest") or {}).get("failure") or []
    problems = tuple(dict.fromkeys(one["code"] for one in failures))
    name = signature.get("common_name") or ""
    return Credentials(
        state=INTACT if state in ("Valid", "Trusted") else ALTERED,
        where=where,
        signer=name,
        issuer=signature.get("issuer") or "",
        is_development=name == DEVELOPMENT_NAME,
        is_trusted=state == "Trusted",
        source_types=_source_types(active),
        problems=tuple(code for code in problems if code != _NOT_TRUSTED),
    )


def _source_types(manifest: dict[str, Any]) -> tuple[str, ...]:
    found: list[str] = []
    for assertion in manifest.get("assertions") or []:
        if str(assertion.get("label", "")).startswith("c2pa.actions"):
            actions = (assertion.get("data") or {}).get("actions") or []
            found += [one["digitalSourceType"] for one in actions if "digitalSourceType" in one]
    return tuple(dict.fromkeys(found))


def _builder(statement: Statement, title: str, source: Path) -> Any:
    """A manifest with the source as what it was made from."""
    import c2pa

    kind = _FORMATS.get(source.suffix.lower(), "application/octet-stream")
    ingredient = {"title": printable(source.name), "format": kind, "relationship": "parentOf"}
    settings = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
    context = c2pa.Context.from_dict(settings)
    builder = c2pa.Builder(_manifest(statement, title, None), context=context)
    builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
    try:
        with source.open("rb") as file:
            builder.add_ingredient(ingredient, kind, file)
    except c2pa.C2paError:
        # Credentials of the source that nobody can read are no reason to lose the result.
        builder = c2pa.Builder(_manifest(statement, title, ingredient), context=context)
        builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
    return builder


def _manifest(
    statement: Statement, title: str, ingredient: dict[str, str] | None
) -> dict[str, Any]:
    action = {
        "action": "c2pa.edited",
        "digitalSourceType": SOURCE_TYPE,
        "softwareAgent": {"name": TOOL, "version": __version__},
        "description": "The lips were repainted to follow other speech; the sound was replaced.",
    }
    facts = {
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [action]}},
            {"label": _ASSERTION, "data": json.loads(statement.as_json())},
        ]
    }
    return _claimant(title) | facts | ({} if ingredient is None else {"ingredients": [ingredient]})


def _claimant(title: str) -> dict[str, Any]:
    return {
        "claim_generator_info": [{"name": TOOL, "version": __version__}],
        "title": printable(title),
    }


def _signer(key: SigningKey) -> Any:
    import c2pa

    info = c2pa.C2paSignerInfo(key.algorithm, key.chain_pem, key.key_pem, None)
    return c2pa.Signer.from_info(info)


def _said(error: Exception) -> str:
    """The library's words without the kind of error before them, or the system's."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    kind, mark, rest = text.partition(": ")
    return (rest if mark and kind.isalnum() else text).rstrip(".") or type(error).__name__


class _Unwritten(io.RawIOBase):
    """Takes a copy of a file without keeping it: what was written is read from the file itself.

    A sidecar is made by copying the file through, which would need its size once more on disk.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def write(self, data: Any) -> int:
        self._file.seek(len(data), io.SEEK_CUR)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        """Nothing is kept, so nothing is outstanding."""

    def close(self) -> None:
        self._file.close()
        super().close()
