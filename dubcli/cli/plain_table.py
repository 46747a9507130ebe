"""Tables whose cells a terminal shows and does not obey."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from dubcli.core.formatting import plain_text


class PlainTable(Table):
    """A table; control characters in its cells, such as of a file's name, are written out."""

    def add_row(self, *cells: RenderableType | None, **options: object) -> None:
        """Add a row, as `Table.add_row` does."""
        super().add_row(*map(_plain, cells), **options)  # pyright: ignore[reportArgumentType]


def _plain(cell: RenderableType | None) -> RenderableType | None:
    if isinstance(cell, str):
        return plain_text(cell)
    if isinstance(cell, Text):
        return Text(plain_text(cell.plain), style=cell.style)
    return cell
