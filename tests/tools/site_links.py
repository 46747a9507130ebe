"""For the docs site: links that leave docs/ lead to the repository, which is no part of the site.

mkdocs calls `on_page_markdown`, see `hooks` in mkdocs.yml.
"""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = re.compile(r"\]\(\.\./([^)\s]+)\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """A page whose links out of docs/ are those of the repository."""
    return _OUTSIDE.sub(rf"]({config['repo_url']}/blob/main/\1)", markdown)
