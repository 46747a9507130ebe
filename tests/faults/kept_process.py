"""A process that does one run after the other, for many runs at little cost each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runner import EndedError, ForkServer, HangError


class KeptProcess(ForkServer):
    """Stands in for `ForkServer`: see `kept_server.py`.

    A run that crashes takes the process down. That is the run's exit code, and the next run gets a
    new process.
    """

    def __init__(self) -> None:
        super().__init__("kept_server.py")

    def start(self, request: dict[str, Any]) -> int:
        """Start a run; returns the process's number."""
        if self._has_ended:
            super().__init__("kept_server.py")
        return super().start(request)

    def wait(self, pid: int, stacks: Path) -> tuple[int, float]:
        """Exit code and peak memory in MiB of a run.

        Raises:
            HangError: It does not end.
            AssertionError: It left threads or open files.
        """
        try:
            return super().wait(pid, stacks)
        except HangError:
            self._end()
            raise
        except EndedError:
            code = self._end()
            return (128 - code if code < 0 else code), 0.0

    def _end(self) -> int:
        self.close()
        return self._process.returncode
