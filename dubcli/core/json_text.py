"""Read JSON that anybody may have written. Standard library only."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Args:
        text: The text; bytes are UTF-8, -16 or -32.

    Raises:
        ValueError: It is no JSON, or is nested beyond what can be read.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
