"""Marks as metadata: a comment in every container, and a statement that programs read.

mp4 and mov hold few tags, so there the statement lies in an XMP packet behind everything else
(ISO 16684-1; a `uuid` box, XMP specification part 3, section 1.3.2), which also carries IPTC's
digital source type. Matroska and WebM hold it as a tag.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from dubcli.core.errors import EncodeError
from dubcli.media.container.probe import open_media
from dubcli.provenance.statement import SENTENCE, SOURCE_TYPE, Statement, statement_of

MATROSKA_TAG = "DUB_MARK"
_XMP_ID = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")
_SPACE = "urn:dubcli:mark:1"
_LARGEST_PACKET = 1 << 20
_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmlns:dub="{space}">
   <xmp:CreatorTool>{tool}</xmp:CreatorTool>
   <Iptc4xmpExt:DigitalSourceType>{source_type}</Iptc4xmpExt:DigitalSourceType>
   <dub:mark>{mark}</dub:mark>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


@dataclass(frozen=True, kw_only=True)
class Tag:
    """What a file's metadata say.

    Attributes:
        comment: The whole comment, '' without one.
        statement: What programs read, None where it is not there or damaged.
    """

    comment: str
    statement: Statement | None

    @property
    def is_there(self) -> bool:
        """Whether either names this tool."""
        return self.statement is not None or SENTENCE in self.comment


def comment_of(path: Path) -> str:
    """The comment of a media file, '' without one.

    Raises:
        ProbeError: The file cannot be read.
    """
    return _tags_of(path).get("comment", "")


def file_tags(statement: Statement, own_comment: str, *, is_matroska: bool) -> dict[str, str]:
    """Tags to set on a result.

    Args:
        statement: What the mark says.
        own_comment: The source's comment, which is kept below the mark's line.
        is_matroska: The container holds any tag.
    """
    lines = [statement.sentence]
    # What was dubbed twice in the same way says so once.
    lines += [line for line in own_comment.splitlines() if line != statement.sentence]
    tags = {"comment": "\n".join(lines)}
    return tags | {MATROSKA_TAG: statement.as_json()} if is_matroska else tags


def append_packet(path: Path, statement: Statement) -> None:
    """Put the statement behind everything else in an mp4 or mov, so that no sample moves.

    Raises:
        EncodeError: The file cannot be written.
    """
    text = _PACKET.format(
        space=_SPACE,
        tool=f"dub {escape(statement.version)}",
        source_type=SOURCE_TYPE,
        mark=escape(statement.as_json()),
    ).encode()
    box = struct.pack(">I4s", 8 + len(_XMP_ID) + len(text), b"uuid") + _XMP_ID + text
    try:
        with path.open("ab") as file:
            file.write(box)
    except OSError as error:
        raise EncodeError(
            f"'{path}' cannot be written: {error.strerror}.", "Free some space."
        ) from error


def read_tag(path: Path) -> Tag:
    """The mark in a file's metadata.

    Raises:
        ProbeError: It is no media file.
    """
    tags = _tags_of(path)
    text = tags.get(MATROSKA_TAG.lower()) or _mark_of(_packet(path))
    return Tag(comment=tags.get("comment", ""), statement=statement_of(text) if text else None)


def _tags_of(path: Path) -> dict[str, str]:
    with open_media(path) as container:
        return {name.lower(): value for name, value in container.metadata.items()}


def _packet(path: Path) -> bytes:
    """The last XMP packet among the outer boxes of a file; nothing where it has none."""
    found = b""
    with path.open("rb") as file:
        end, at = file.seek(0, os.SEEK_END), 0
        while at + 8 <= end:
            file.seek(at)
            size, kind = struct.unpack(">I4s", file.read(8))
            head = 8
            if size == 1 and at + 16 <= end:
                (size,) = struct.unpack(">Q", file.read(8))
                head = 16
            elif size == 0:
                size = end - at
            if size < head or not kind.isascii():
                break
            length = size - head - len(_XMP_ID)
            if kind == b"uuid" and file.read(16) == _XMP_ID and 0 < length <= _LARGEST_PACKET:
                found = file.read(length)
            at += size
    return found


def _mark_of(packet: bytes) -> str:
    # Entities could make a small packet huge; XMP has no use for them.
    if not packet or b"<!DOCTYPE" in packet or b"<!ENTITY" in packet:
        return ""
    try:
        root = ElementTree.fromstring(packet)
    except ElementTree.ParseError:
        return ""
    return next((node.text or "" for node in root.iter(f"{{{_SPACE}}}mark")), "")
