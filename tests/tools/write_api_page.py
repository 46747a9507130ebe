"""Write docs/api.md from the docstrings of the public names.

    python tests/tools/write_api_page.py

A test compares the page with what this would write.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dubcli
from dubcli.config.settings_common import help_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"
COMMAND_LINE = "python tests/tools/write_api_page.py"
FUNCTIONS = ("dub", "plan", "finetune", "evaluate", "batch")
ENGINE_METHODS = ("dub", "plan", "close")
_SECTIONS = ("Args", "Returns", "Raises", "Attributes")

INTRODUCTION = f"""# From Python

Written from the docstrings by `{COMMAND_LINE}`; do not edit.

```python
from pathlib import Path

from dubcli import DubConfig, Engine

recordings = [Path("monday.wav"), Path("tuesday.wav")]
with Engine() as engine:
    for audio in recordings:
        config = DubConfig(video=Path("video.mp4"), audio=audio, output=Path(f"{{audio.stem}}.mp4"))
        report = engine.dub(config)
        print(report.output, report.frames_dubbed, report.warnings)
```

An `Engine` holds what jobs share: the lip-sync models, the speech encoder, the sync experts, the
network that sees what covers a face, and the face detectors. Each is loaded when the first job
needs it, and kept until the engine is closed. The results are those of single calls.

- `from dubcli import ...` has all names of this page; `import dubcli` alone loads nothing.
- `dub`, `plan`, `finetune` and `evaluate` take `engine=`; without it each has one of its own.
- Jobs of one engine run one after the other. For several at a time take an engine, and best a
  process, for each: `batch` does.
- An identity (`DubConfig.identity`) is added to a copy of the model: no other job of the engine
  sees it.
- `progress` is called as `(stage, done, total)`, a total of 0 where nobody knows it.
- Mistakes raise `DubError` with `cause`, `next_step` and `exit_code`, see [errors](errors.md).
- Files and variables ([settings](settings.md)) count for the commands alone.

Examples, which the tests run: [one dub](../examples/one_dub.py), [several with models that are
loaded once](../examples/many_dubs.py), [a batch](../examples/batch_of_jobs.py), [a
notebook](../examples/first_dub.ipynb).
"""


def page() -> str:
    """The page for docs/."""
    lines = [INTRODUCTION.rstrip()]
    for name in FUNCTIONS:
        lines += ["", f"## {name}", *_function(name, getattr(dubcli, name))]
    lines += ["", "## Engine", "", *_described(dubcli.Engine), ""]
    for name in ENGINE_METHODS:
        lines += ["", f"### Engine.{name}", *_function(name, getattr(dubcli.Engine, name))]
    names = [name for name in dubcli.__all__ if isinstance(getattr(dubcli, name), type)]
    for ending, title in (("Config", "What is asked for"), ("", "What comes back")):
        lines += ["", f"## {title}"]
        for name in names:
            if name in ("Engine", "DubError") or name.endswith("Config") != bool(ending):
                continue
            lines += ["", f"### {name}", *_value(getattr(dubcli, name))]
    lines += ["", "## DubError", "", *_described(dubcli.DubError)]
    text = "\n".join(lines)
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def _function(name: str, function: Any) -> Iterator[str]:
    yield from ("", "```python", _signature(name, function), "```", "")
    yield from _described(function)


def _signature(name: str, function: Any) -> str:
    signature = inspect.signature(function)
    kept = [one for one in signature.parameters.values() if one.name != "self"]
    plain = signature.replace(parameters=kept)
    words = re.sub(r"'([^',]*)'", r"\1", str(plain))
    whole = f"{name}{words}"
    if len(whole) <= 88:
        return whole
    lines, is_keyword = [f"{name}("], False
    for one in kept:
        if one.kind is one.KEYWORD_ONLY and not is_keyword:
            lines, is_keyword = [*lines, "    *,"], True
        lines.append("    " + re.sub(r"'([^']*)'", r"\1", str(one)) + ",")
    returned = str(signature.return_annotation).strip("'")
    return "\n".join([*lines, f") -> {returned}"])


def _described(thing: Any) -> Iterator[str]:
    """A docstring of Google's form as Markdown."""
    section = ""
    for line in inspect.cleandoc(thing.__doc__ or "").splitlines():
        if line.rstrip(":") in _SECTIONS and line.endswith(":"):
            section = line.rstrip(":")
            yield from ("", f"**{section}**", "")
        elif section in ("", "Returns"):
            yield line.strip() if section else line
        elif item := re.match(r"    (\w+): (.*)", line):
            yield f"- `{item[1]}`: {item[2]}"
        else:
            yield textwrap.indent(line.strip(), "  ")
    yield ""


def _value(kind: type) -> Iterator[str]:
    """A value: its docstring; of a configuration its fields, whose help is in the code once."""
    yield ""
    yield from _described(kind)
    if not dataclasses.is_dataclass(kind) or not kind.__name__.endswith("Config"):
        return
    yield from ("", "| field | default | what it does |", "|---|---|---|")
    for entry in dataclasses.fields(kind):
        text = " ".join(help_of(entry.metadata).replace("\\[", "[").split()).replace("|", "\\|")
        yield f"| `{entry.name}` | {_default(entry)} | {text or 'by name; of the models in use'} |"


def _default(entry: Any) -> str:
    if entry.default is not dataclasses.MISSING:
        return f"`{entry.default!r}`"
    return "required" if entry.default_factory is dataclasses.MISSING else "`{}`"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
