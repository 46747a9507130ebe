"""How an identity lies on disk: names of files, limits, and `identity.json`.

Plain Python, so that listing identities loads no tensor library.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from dubcli.core.errors import IdentityError
from dubcli.core.json_text import parse_json
from dubcli.identities.identity import Base, Consent

# What is written, and what is read: format 1 has colours of hair and skin in place of an embedding.
FORMAT, KNOWN_FORMATS = 2, (1, 2)
DESCRIPTION = "identity.json"
ADAPTER = "adapter.safetensors"
PERSON = "person.safetensors"
REFERENCES = "references"
MAX_ADAPTER_BYTES = 10_000_000
MAX_FILE_BYTES = 50_000_000
MAX_TOTAL_BYTES = 200_000_000
MAX_FILES = 200
_REFERENCE = re.compile(r"references/(0|[1-9][0-9]?)(\.crop)?\.png")
_EXTRA = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}\.(csv|jpg|json|md|png|txt)")
_LEARN_AGAIN = "Learn it again with dub finetune, or import it again."


@dataclass(frozen=True, kw_only=True)
class Description:
    """What `identity.json` says; the fields of `Identity` that are no arrays, and the files.

    Attributes:
        files: Digest of each other file, by path inside the directory.
        format: Of the files.
    """

    name: str
    architecture: str
    base: Base
    created: str
    version: str
    consent: Consent
    mouth: dict[str, float]
    report: dict[str, Any]
    files: dict[str, str]
    format: int = FORMAT

    @property
    def num_references(self) -> int:
        """How many reference pictures there are."""
        return sum(1 for name in self.files if name.endswith(".crop.png"))


def reference_files(index: int) -> tuple[str, str]:
    """Where a reference lies: at the source's resolution, and at the model's."""
    return f"{REFERENCES}/{index}.png", f"{REFERENCES}/{index}.crop.png"


def is_extra(name: str) -> bool:
    """Whether a file of this name may lie beside those that an identity needs."""
    return name != DESCRIPTION and _EXTRA.fullmatch(name) is not None


def is_known(name: str) -> bool:
    """Whether a file of this name may belong to an identity at all."""
    needed = name in (DESCRIPTION, ADAPTER, PERSON) or _REFERENCE.fullmatch(name) is not None
    return needed or is_extra(name)


def damaged(where: object, why: str) -> IdentityError:
    """The error for an identity that cannot be trusted."""
    return IdentityError(f"The identity in {where} is damaged: {why}.", _LEARN_AGAIN)


def digest(content: bytes) -> str:
    """Hex sha256."""
    return hashlib.sha256(content).hexdigest()


def renamed(description: Description, name: str) -> Description:
    """The same under another name."""
    return replace(description, name=name)


def dump(description: Description) -> bytes:
    """`identity.json`; it holds a digest of itself, so that no flipped bit passes.

    Raises:
        IdentityError: A statistic of the mouth is not finite.
    """
    if not all(math.isfinite(value) for value in description.mouth.values()):
        raise IdentityError(
            f"The mouth of '{description.name}' was measured as NaN.", "Learn from other footage."
        )
    fields = {**asdict(description), "report": _plain(description.report)}
    content = {"format": fields.pop("format"), **fields}
    content["sha256"] = _own_digest(content)
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def parse(content: bytes, where: object) -> Description:
    """Read and check `identity.json`.

    Args:
        content: The file.
        where: What errors call the identity's place.

    Raises:
        IdentityError: It is no such file, of another format, or damaged.
    """
    try:
        fields = parse_json(content)
        found = fields["format"]
        own = fields.pop("sha256", None)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(where, f"{DESCRIPTION} cannot be read") from error
    if found not in KNOWN_FORMATS:
        raise IdentityError(
            f"The identity in {where} has format {str(found)[:20]}, this version reads {FORMAT} "
            "and older.",
            "Upgrade dubcli, or learn it again with dub finetune.",
        )
    if own != _own_digest(fields):
        raise damaged(where, f"{DESCRIPTION} is not as it was written")
    try:
        description = _description(fields)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(where, f"{DESCRIPTION} lacks or garbles {error}") from error
    _check_files(description.files, where)
    return description


def _own_digest(fields: Mapping[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return digest(text.encode())


def _description(fields: dict[str, Any]) -> Description:
    texts = {key: _text(fields, key) for key in ("name", "architecture", "created", "version")}
    base, consent = fields["base"], fields["consent"]
    return Description(
        **texts,
        base=Base(
            name=_text(base, "name"),
            sha256=None if base["sha256"] is None else _text(base, "sha256"),
        ),
        consent=Consent(
            agreed=bool(consent["agreed"]), date=_text(consent, "date"), how=_text(consent, "how")
        ),
        mouth={str(key): float(value) for key, value in fields["mouth"].items()},
        report=dict(fields["report"]),
        files={key: _text(fields["files"], key) for key in fields["files"]},
        format=int(fields["format"]),
    )


def _text(fields: Mapping[str, Any], key: str) -> str:
    value = fields[key]
    if not isinstance(value, str):
        raise ValueError(key)
    return value


def _check_files(files: Mapping[str, str], where: object) -> None:
    """The list may name nothing outside the layout: it is what is read, exported and removed."""
    unknown = [name for name in files if not is_known(name) or name == DESCRIPTION]
    if unknown or len(files) > MAX_FILES:
        raise damaged(where, f"{DESCRIPTION} lists {(unknown or ['too many files'])[0]!r}")
    numbers = {name for name in files if name.startswith(f"{REFERENCES}/")}
    wanted = {name for index in range(len(numbers) // 2) for name in reference_files(index)}
    missing = sorted(({ADAPTER, PERSON} | wanted) - files.keys())
    if missing or numbers != wanted or not numbers:
        raise damaged(where, f"{DESCRIPTION} does not list {(missing or ['the references'])[0]}")


def check_sizes(sizes: Iterable[int], where: object) -> None:
    """Refuse what no identity is as large as.

    Raises:
        IdentityError: A file, or all together, are too large.
    """
    sizes = list(sizes)
    if max(sizes, default=0) > MAX_FILE_BYTES or sum(sizes) > MAX_TOTAL_BYTES:
        raise IdentityError(
            f"{where} holds {sum(sizes) / 1e6:.0f} MB: more than an identity can.",
            "Get it again from where it was learned.",
        )


def check_contents(description: Description, contents: Mapping[str, bytes], where: object) -> None:
    """Prove that files are those that `identity.json` lists.

    Raises:
        IdentityError: One is missing or is another.
    """
    for name, sha256 in description.files.items():
        if name not in contents:
            raise damaged(where, f"{name} is missing")
        if digest(contents[name]) != sha256:
            raise damaged(where, f"{name} is not as it was written")


def _plain(value: Any) -> Any:
    """JSON values: a number that is not finite, a measure that was not taken, becomes None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if hasattr(value, "item"):  # a scalar of numpy or torch
        return _plain(value.item()) if not isinstance(value, float) else _finite(float(value))
    return _finite(value) if isinstance(value, float) else str(value)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
