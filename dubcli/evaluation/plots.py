"""Pictures of an evaluation: mouth opening over time, and faces of source and result."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dubcli.core.errors import EncodeError
from dubcli.core.formatting import plain_text
from dubcli.core.types import U8
from dubcli.evaluation.results import Item, write_bytes
from dubcli.evaluation.settings import CROSS_CLIP, RECONSTRUCTION, RUNS, SILENCE

_COMPARED = {
    RECONSTRUCTION: "true",
    CROSS_CLIP: "true mouth of this sound",
    SILENCE: "source",
}


def save_plot(clip: str, items: Sequence[Item], path: Path) -> None:
    """Mouth opening over time: a panel for each run, what is compared in black.

    Args:
        clip: Name of the clip.
        items: What was scored on it.
        path: PNG file.

    Raises:
        EncodeError: The file cannot be written.
    """
    runs = [run for run in RUNS if any(item.run == run for item in items)]
    figure = Figure(figsize=(12, 2.6 * len(runs) + 0.6), layout="constrained")
    # A canvas of its own: pyplot would keep state and choose a window system.
    FigureCanvasAgg(figure)
    about = "mouth opening, inner lip gap over inter-ocular distance"
    figure.suptitle(f"{plain_text(clip)}: {about}", parse_math=False)
    panels = figure.subplots(len(runs), 1, squeeze=False)[:, 0]
    for panel, run in zip(panels, runs, strict=True):
        shown = [item for item in items if item.run == run]
        first = shown[0]
        label = _COMPARED.get(run, "source")
        panel.plot(first.seconds, first.compared, color="black", linewidth=1.4, label=label)
        for item in shown:
            panel.plot(item.seconds, item.output, linewidth=1.1, label=_label(item.system))
        panel.set(title=run, ylabel="opening", xlim=(0, max(first.seconds)))
        panel.set_ylim(bottom=0)
        panel.legend(loc="upper right", fontsize="small", ncols=4)
        panel.grid(alpha=0.3)
    panels[-1].set_xlabel("seconds")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    write_bytes(path, content.getvalue())


def _label(name: str) -> str:
    """A name as a legend shows it: dollars are no formula, and a leading _ does not hide it."""
    shown = plain_text(name).replace("$", r"\$")
    return f"\u200b{shown}" if shown.startswith("_") else shown


def save_sheet(rows: Sequence[Sequence[U8]], path: Path) -> None:
    """Rows of equally large pictures, one above the other, as JPEG.

    Raises:
        EncodeError: The file cannot be written.
    """
    sheet = np.vstack([np.hstack(row) for row in rows])
    encoded, content = cv2.imencode(".jpg", sheet[..., ::-1])
    if not encoded:
        raise EncodeError(f"'{path}' cannot be encoded.")
    write_bytes(path, content.tobytes())
