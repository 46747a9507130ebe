"""Pages of one file: template, style and script in it, and a policy that lets in nothing else."""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from dubcli import __version__

# Pictures of terminal codes stand at their place in this block of Unicode.
_CONTROL_PICTURES = 0x2400
_DELETE, _DELETE_PICTURE = 0x7F, "\u2421"
_REPLACEMENT = "\ufffd"
_KEPT_FORMATS = ("\u200c", "\u200d")  # joiners, which scripts and emoji need
_ASSETS = Path(__file__).parent / "assets"


def render_page(
    template: Path, scripts: Sequence[Path], title: str, values: dict[str, Any], data: Any
) -> str:
    """A whole page. All text in it is escaped, and shown without effect of control characters.

    Args:
        template: Extends `layout.html`.
        scripts: Put into the page one behind the other.
        title: Of the page.
        values: For the template.
        data: For the scripts, JSON-ready.
    """
    script = "\n".join(path.read_text(encoding="utf-8") for path in scripts)
    style = (_ASSETS / "page.css").read_text(encoding="utf-8")
    return (
        _templates(template.parent)
        .get_template(template.name)
        .render(
            title=visible(title),
            policy=_policy(script, style),
            script=script,
            style=style,
            version=__version__,
            data=visible(data),
            **visible(values),
        )
    )


def visible(value: Any) -> Any:
    """Texts inside a value with pictures in place of terminal codes and of direction marks.

    Args:
        value: Of texts, numbers, lists, tuples and dicts; anything else is left as it is.
    """
    if isinstance(value, str):
        if value.isascii() and value.isprintable():
            return value  # at once: films inside a page are long
        return "".join(_visible_letter(letter) for letter in value)
    if isinstance(value, dict):
        return {visible(key): visible(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [visible(item) for item in value]
    return value


def asset(name: str) -> Path:
    """A script or template of this package."""
    return _ASSETS / name


def _visible_letter(letter: str) -> str:
    kind = unicodedata.category(letter)
    if kind == "Cc" and letter not in "\n\t":
        code = ord(letter)
        if code == _DELETE:
            return _DELETE_PICTURE
        return chr(_CONTROL_PICTURES + code) if code < 32 else _REPLACEMENT
    if kind == "Cs" or (kind == "Cf" and letter not in _KEPT_FORMATS):
        return _REPLACEMENT
    return letter


def _policy(script: str, style: str) -> str:
    """Nothing is loaded but this script, this style, and pictures and films that lie beside it."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_digest(script)}'",
            f"style-src '{_digest(style)}'",
            "img-src 'self' file: data: blob:",
            "media-src 'self' file: data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _templates(folder: Path) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, _ASSETS]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
