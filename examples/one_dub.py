"""Dub one video, with progress, and say what became of it.

python examples/one_dub.py VIDEO AUDIO OUTPUT [MODEL]
"""

import sys
from pathlib import Path

from dubcli import DubConfig, DubError, dub


def show(stage: str, done: int, total: int) -> None:
    """Progress: a total of 0 where nobody knows it."""
    print(f"\r{stage} {done}/{total or '?'}", end="", file=sys.stderr)


def main(video: str, audio: str, output: str, model: str = "iptalker") -> int:
    """Dub; the exit code that the command would have."""
    config = DubConfig(video=Path(video), audio=Path(audio), output=Path(output), model=model)
    try:
        report = dub(config, show)
    except DubError as error:
        print(error.cause, error.next_step, file=sys.stderr)
        return error.exit_code
    print(f"{report.output}: {report.frames_dubbed} of {report.frames} frames dubbed")
    for warning in report.warnings:
        print(f"warning: {warning}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
