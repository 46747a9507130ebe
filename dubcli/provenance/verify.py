"""Read the marks of a file back, and tell whether they are whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dubcli.core.errors import ConfigError
from dubcli.provenance.certificate import development_anchor
from dubcli.provenance.credentials import INTACT, Credentials, is_available, read_credentials
from dubcli.provenance.statement import SENTENCE
from dubcli.provenance.tag import Tag, read_tag


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The marks of one file.

    Attributes:
        tag: Its metadata.
        credentials: Its Content Credentials; None without, or where nothing can read them.
        can_verify: The extra that reads credentials is installed.
        problems: Why the marks are not as they were put, in sentences.
        notes: What else is to be known.
    """

    tag: Tag
    credentials: Credentials | None
    can_verify: bool
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def is_marked(self) -> bool:
        """Whether anything says that the lips were dubbed, or how the file was made."""
        return self.tag.is_there or self.credentials is not None

    @property
    def is_intact(self) -> bool:
        """Whether there are marks and nothing about them is wrong."""
        return self.is_marked and not self.problems


def look_at(path: Path, trust: Path | None = None) -> Findings:
    """Read and verify the marks of a file.

    Args:
        path: A media file.
        trust: PEM of further authorities whose signers are trusted.

    Raises:
        ProbeError: It is no media file.
        ConfigError: `trust` cannot be read.
    """
    tag = read_tag(path)
    can_verify = is_available()
    credentials = read_credentials(path, _anchors(trust)) if can_verify else None
    problems, notes = _problems(tag, credentials, can_verify), _notes(credentials, can_verify)
    return Findings(
        tag=tag,
        credentials=credentials,
        can_verify=can_verify,
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _problems(tag: Tag, credentials: Credentials | None, can_verify: bool) -> list[str]:
    found: list[str] = []
    statement = tag.statement
    if tag.is_there and statement is None:
        found.append("Another program has rewritten the file: what programs read is gone.")
    if statement is not None and SENTENCE not in tag.comment:
        found.append("The comment that named the tool was removed.")
    if credentials is not None and credentials.state != INTACT:
        codes = ", ".join(credentials.problems) or "no cause given"
        found.append(f"The Content Credentials do not fit the file ({credentials.state}: {codes}).")
    signed = statement is not None and statement.credentials != "none"
    if can_verify and credentials is None and signed:
        found.append("The file was signed, and its Content Credentials are gone.")
    return found


def _notes(credentials: Credentials | None, can_verify: bool) -> list[str]:
    if not can_verify:
        return ["Content Credentials were not looked for: pip install 'dubcli[c2pa]'"]
    if credentials is None or credentials.state != INTACT:
        return []
    if credentials.is_development:
        whose = "this user's" if credentials.is_trusted else "somebody's"
        return [f"Signed with {whose} development certificate, which vouches for nobody."]
    if not credentials.is_trusted:
        return ["Nobody here knows the signer's authority: name it with --trust."]
    return []


def _anchors(trust: Path | None) -> str:
    own = development_anchor()
    if trust is None:
        return own
    try:
        return f"{trust.read_text(encoding='ascii')}\n{own}"
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"'{trust}' cannot be read as PEM.", "Give a PEM file.") from error
