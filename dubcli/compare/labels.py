"""Labels as pictures: any script where ffmpeg finds a font for it, Latin letters otherwise."""

from __future__ import annotations

import unicodedata

import cv2
import numpy as np

from dubcli.core.errors import FfmpegError
from dubcli.core.types import U8
from dubcli.media.container.ffmpeg import build_argv, ffmpeg_binary, graph, run

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK, _PLATE = (245, 245, 245), (24, 24, 24)
_MOST_LETTERS = 80


def label_picture(text: str, height: int, most_width: int) -> U8:
    """Light writing on a dark plate.

    Args:
        text: Any text; control characters are left out, and what is too long is cut.
        height: Of the plate, px.
        most_width: Of the plate, px.

    Returns:
        Shape (height, W, 3), RGB, W even and at most `most_width`.
    """
    shown = one_line(text)
    drawn = _by_ffmpeg(shown, height, most_width)
    if drawn is None:
        drawn = _by_opencv(latin(shown), height, most_width)
    return drawn


def one_line(text: str) -> str:
    """Text without line breaks, terminal codes and marks that turn its direction."""
    kept = "".join(" " if c.isspace() else c for c in text if _is_shown(c))
    return kept if len(kept) <= _MOST_LETTERS else f"{kept[: _MOST_LETTERS - 1]}…"


def latin(text: str) -> str:
    """Letters without accents; what has no Latin letter of its own becomes a question mark."""
    plain = unicodedata.normalize("NFKD", text)
    bare = (c for c in plain if not unicodedata.combining(c))
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in bare)


def _is_shown(letter: str) -> bool:
    return letter.isspace() or unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Co", "Cn")


def _by_ffmpeg(text: str, height: int, most_width: int) -> U8 | None:
    """Writing with the system's fonts; None where this ffmpeg cannot, or finds no font."""
    size = round(height * 0.62)
    colour = "0x%02x%02x%02x"
    plate = graph.input(
        f"color=c={colour % _PLATE}:s={most_width}x{height}:d=1:r=1", f="lavfi"
    ).filter(
        "drawtext",
        text=text,
        expansion="none",
        fontsize=size,
        fontcolor=colour % _INK,
        x=size // 2,
        y="(h-text_h)/2",
    )
    output = plate.output("pipe:", f="rawvideo", pix_fmt="rgb24", vframes=1)
    try:
        pixels = run(build_argv(ffmpeg_binary(), output))
    except FfmpegError:
        return None
    picture = np.frombuffer(pixels, np.uint8).reshape(height, most_width, 3)
    inked = np.flatnonzero((picture.max(2) > 2 * max(_PLATE)).any(0))
    if not len(inked) and text.strip():
        return None
    right = int(inked[-1]) + size // 2 if len(inked) else size
    return np.ascontiguousarray(picture[:, : min(most_width, right + right % 2)])


def _by_opencv(text: str, height: int, most_width: int) -> U8:
    scale, thick = height / 44, max(1, height // 20)
    (wide, tall), _ = cv2.getTextSize(text, _FONT, scale, thick)
    pad = height // 3
    width = min(most_width, wide + 2 * pad)
    picture = np.full((height, width - width % 2, 3), _PLATE, np.uint8)
    at = (pad, (height + tall) // 2)
    cv2.putText(picture, text, at, _FONT, scale, _INK, thick, cv2.LINE_AA)
    return picture
